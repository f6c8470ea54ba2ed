"""The loss of refinement: the mean is taught and judged, the width reads along."""

import numpy as np
import pytest
import torch

from napari_ppn2v.core.noise_weights import NoiseDeviance
from napari_ppn2v.core.objectives import mean_and_width
from napari_ppn2v.core.priors.gaussian import GaussianPrior

SCALE = 20.0  # ADU
NOISE = NoiseDeviance(slope=2.0, dark=100.0, floor=50.0, scale=150.0)


def prior_of(mean, width, n_features=4):
    """Return a prior that gives this mean and width at every pixel, in units of std."""
    prior = GaussianPrior(n_features)
    with torch.no_grad():
        prior.linear.weight.normal_(std=0.1)
        outputs = prior.linear(torch.ones(n_features))
        prior.linear.bias += torch.tensor([mean, np.log(width)]) - outputs
    return prior


def loss_of(prior, target, features=None):
    features = torch.ones(len(target), 4) if features is None else features
    samples, log_weights = prior(features)
    objective = mean_and_width(SCALE)
    return objective(100 + SCALE * samples, log_weights, torch.as_tensor(target))


TARGET = [90.0, 104.0, 131.0]


def test_the_loss_is_the_error_of_the_mean_however_wrong_the_width():
    losses = [loss_of(prior_of(0.0, width), TARGET) for width in (0.01, 0.3, 4.0)]
    mean = prior_of(0.0, 1.0)(torch.ones(1, 4))[0].mean() * SCALE + 100
    for loss in losses:
        expected = ((mean - torch.tensor(TARGET)) / SCALE).square()
        assert torch.allclose(loss, expected, rtol=1e-3)


def test_the_error_counts_less_where_there_is_more_noise():
    dark, bright = 105.0, 600.0
    counted = []
    for signal in (dark, bright):
        prior = prior_of(0.0, 0.5)
        shift = signal - 100
        samples, log_weights = prior(torch.ones(1, 4))
        samples = 100 + SCALE * samples + shift
        target = torch.tensor([signal + 3.0])
        loss = mean_and_width(SCALE, NOISE)(samples, log_weights, target)
        counted.append(loss.item())
    ratio = (2 * (bright - 100) + 50) / (2 * (dark - 100) + 50)
    assert counted[0] / counted[1] == pytest.approx(ratio, rel=0.1)


def test_the_width_learns_the_error_that_is_left():
    torch.manual_seed(0)
    prior = prior_of(0.0, 2.0)
    with torch.no_grad():
        prior.linear.weight.zero_()
        prior.linear.bias[0] = 0.0
    target = 100 + 0.4 * SCALE * torch.randn(4000)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.03)
    for _ in range(300):
        optimizer.zero_grad()
        loss_of(prior, target).mean().backward()
        optimizer.step()
    samples, log_weights = prior(torch.ones(1, 4))
    width = ((samples - samples.mean()) ** 2 * log_weights.exp()).sum().sqrt().item()
    assert width == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("shapes", [True, False])
def test_a_width_that_reads_along_leaves_the_features_to_the_mean(shapes):
    features = torch.ones(3, 4, requires_grad=True)
    gradients = []
    for width in (0.01, 3.0):
        torch.manual_seed(1)
        prior = prior_of(0.0, width)
        prior.width_shapes_features = shapes
        (gradient,) = torch.autograd.grad(
            loss_of(prior, TARGET, features=features).sum(), features
        )
        gradients.append(gradient)
    assert torch.allclose(*gradients, rtol=1e-3) is not shapes
