"""Loss and estimates against explicit float64 loops and closed forms."""

import math

import numpy as np
import pytest
import torch

from napari_ppn2v.core.objectives import negative_log_likelihood, squared_error
from napari_ppn2v.core.posterior import posterior_estimate, prior_mean
from napari_ppn2v.core.priors import PRIORS, FreeSamples, GaussianPrior


class KnownGaussian:
    """x given s is normal with variance 4 + 0.5 s."""

    kind, signal_range, limits = "known", (0.0, 1000.0), (None, None)

    def log_likelihood(self, observation, signal):
        variance = 4 + 0.5 * signal
        squared = (observation - signal) ** 2 / variance
        return -0.5 * (squared + torch.log(2 * math.pi * variance))


def by_loops(samples, weights, observation):
    """Loss, MMSE and posterior sd in float64, term by term as in the papers."""
    losses, estimates, deviations = [], [], []
    for s, w, x in zip(samples, weights, observation, strict=True):
        likelihood = [
            wk
            * math.exp(-0.5 * (x - sk) ** 2 / (4 + 0.5 * sk))
            / math.sqrt(2 * math.pi * (4 + 0.5 * sk))
            for sk, wk in zip(s, w, strict=True)
        ]
        total = math.fsum(likelihood)
        mean = math.fsum(p * sk for p, sk in zip(likelihood, s, strict=True)) / total
        second = math.fsum(
            p * (sk - mean) ** 2 for p, sk in zip(likelihood, s, strict=True)
        )
        losses.append(-math.log(total))
        estimates.append(mean)
        deviations.append(math.sqrt(second / total))
    return np.array(losses), np.array(estimates), np.array(deviations)


@pytest.fixture
def draws():
    rng = np.random.default_rng(3)
    signal = rng.uniform(10, 500, 60)
    samples = signal[:, None] + rng.normal(0, 12, (60, 25)).clip(-9, 40)
    return samples, signal + rng.normal(0, 8, 60)


def test_loss_and_estimates_equal_the_loops_with_equal_weights(draws):
    samples, observation = draws
    loss, mmse, deviation = by_loops(
        samples, np.full(samples.shape, 1 / 25), observation
    )
    s, x = torch.tensor(samples).float(), torch.tensor(observation).float()
    log_weights = torch.full((1, 25), -math.log(25))
    ours = negative_log_likelihood(KnownGaussian())(s, log_weights, x)
    estimate = posterior_estimate(s, log_weights, x, KnownGaussian())
    np.testing.assert_allclose(ours.numpy(), loss, rtol=1e-5)
    np.testing.assert_allclose(estimate.mmse.numpy(), mmse, rtol=1e-5)
    np.testing.assert_allclose(estimate.posterior_std.numpy(), deviation, rtol=1e-3)
    np.testing.assert_allclose(estimate.prior_mean.numpy(), samples.mean(1), rtol=1e-5)


def test_loss_and_estimates_equal_the_loops_with_unequal_weights(draws):
    samples, observation = draws
    weights = np.random.default_rng(0).dirichlet(np.ones(25), 60)
    loss, mmse, _ = by_loops(samples, weights, observation)
    s, x = torch.tensor(samples).float(), torch.tensor(observation).float()
    log_weights = torch.tensor(np.log(weights)).float()
    ours = negative_log_likelihood(KnownGaussian())(s, log_weights, x)
    estimate = posterior_estimate(s, log_weights, x, KnownGaussian())
    np.testing.assert_allclose(ours.numpy(), loss, rtol=1e-5)
    np.testing.assert_allclose(estimate.mmse.numpy(), mmse, rtol=1e-5)


def test_estimates_stay_finite_for_outliers_where_the_linear_form_is_nan():
    samples = torch.tensor([[100.0, 110.0, 120.0]])
    log_weights = torch.full((1, 3), -math.log(3))
    observation = torch.tensor([60000.0])
    likelihood = KnownGaussian().log_likelihood(observation[:, None], samples).exp()
    assert likelihood.sum() == 0  # 0/0 in the linear form
    estimate = posterior_estimate(samples, log_weights, observation, KnownGaussian())
    assert all(torch.isfinite(part).all() for part in estimate)
    assert estimate.mmse.item() == pytest.approx(120)  # the most likely sample


def test_a_gaussian_prior_and_gaussian_noise_give_the_textbook_posterior():
    class Fixed(KnownGaussian):
        def log_likelihood(self, observation, signal):
            return -0.5 * (observation - signal) ** 2 / 9 - math.log(3)

    prior = GaussianPrior(2, n_samples=24)
    with torch.no_grad():
        prior.linear.weight.zero_()
        prior.linear.bias.copy_(torch.tensor([5.0, math.log(2.0)]))
    samples, log_weights = prior(torch.zeros(1, 2))
    estimate = posterior_estimate(samples, log_weights, torch.tensor([53.0]), Fixed())
    assert estimate.prior_mean.item() == pytest.approx(50, rel=1e-5)
    assert estimate.mmse.item() == pytest.approx(
        (50 / 4 + 53 / 9) / (1 / 4 + 1 / 9), abs=1e-3
    )
    assert estimate.posterior_std.item() == pytest.approx(
        (1 / 4 + 1 / 9) ** -0.5, rel=1e-3
    )


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("n_samples", [1, 8, 50])
def test_the_weights_of_a_prior_sum_to_one(kind, n_samples):
    samples, log_weights = PRIORS[kind](4, n_samples)(torch.randn(7, 4))
    assert samples.shape == (7, n_samples)
    torch.testing.assert_close(log_weights.exp().sum(1), torch.ones(1))


def test_a_gaussian_prior_takes_over_the_estimate_of_noise2void():
    torch.manual_seed(0)
    point, prior = FreeSamples(6, 1), GaussianPrior(6)
    prior.start_from(point)
    features = torch.randn(9, 6)
    torch.testing.assert_close(
        prior_mean(*prior(features)), prior_mean(*point(features)), atol=1e-5, rtol=1e-5
    )


def test_the_squared_error_is_in_units_of_the_data():
    samples = torch.tensor([[10.0, 14.0]])
    log_weights = torch.full((1, 2), -math.log(2))
    loss = squared_error(2.0)(samples, log_weights, torch.tensor([8.0]))
    assert loss.item() == pytest.approx(((12 - 8) / 2) ** 2)


def test_many_samples_in_chunks_give_the_loss_and_gradient_of_all_at_once():
    rng = np.random.default_rng(0)
    values = torch.tensor(rng.uniform(50, 400, (900, 800))).float()
    observation = torch.tensor(rng.uniform(50, 400, 900)).float()
    log_weights = torch.full((1, 800), -math.log(800))
    results = []
    for pieces in (1, 9):  # 900 x 800 samples exceed a chunk, 100 x 800 do not
        samples = values.clone().requires_grad_()
        loss = torch.cat(
            [
                negative_log_likelihood(KnownGaussian())(s, log_weights, x)
                for s, x in zip(
                    samples.chunk(pieces), observation.chunk(pieces), strict=True
                )
            ]
        )
        (loss * torch.arange(900)).sum().backward()
        results.append((loss.detach(), samples.grad))
    torch.testing.assert_close(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])
