"""Looked-up likelihoods give the estimates of the exact ones."""

import numpy as np
import pytest
import torch

from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.many_samples import LikelihoodRows
from napari_ppn2v.core.noise_models import PoissonGaussianModel
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.posterior import posterior_estimate
from napari_ppn2v.events import drain

CAMERAS = {
    "scmos": Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3),
    "emccd": Camera(kind="emccd", gain=6.5, offset=100, read_noise=2.0),
}


@pytest.fixture(
    scope="module",
    params=[
        ("scmos", "gmm"),
        ("emccd", "gmm"),
        ("emccd", "camera"),
        ("scmos", "histogram"),
    ],
    ids=" ".join,
)
def setup(request):
    name, kind = request.param
    stack = simulate_stack(
        CAMERAS[name], n_frames=3, size=96, peak_electrons=60, seed=0
    )
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        stack.signal, stack.observation
    )
    model = drain(fit_noise_model(pairs, NoiseModelConfig(kind=kind))).model
    return model, stack


@pytest.mark.parametrize("is_float", [False, True], ids=["whole numbers", "floats"])
def test_estimates_equal_the_exact_ones(setup, is_float):
    model, stack = setup
    rng = np.random.default_rng(0)
    observation = torch.tensor(
        stack.observation[0].reshape(-1)[:3000].astype(np.float32)
    )
    if is_float:
        observation = observation + torch.tensor(rng.uniform(-0.4, 0.4, 3000)).float()
    signal = torch.tensor(stack.signal[0].reshape(-1)[:3000])
    sigma = model.moments(signal)[1].sqrt()
    noise = torch.tensor(rng.normal(size=(3000, 200))).float()
    samples = signal[:, None] + 0.4 * sigma[:, None] * noise
    exact = posterior_estimate(samples, torch.zeros(1, 200), observation, model)
    fast = LikelihoodRows(model).posterior(samples, observation)
    torch.testing.assert_close(fast.prior_mean, samples.mean(1))
    error = ((fast.mmse - exact.mmse).abs() / sigma).numpy()
    # whole numbers have rows of their own; others lie up to 0.03 sigma beside one
    assert error.mean() < (2e-3 if is_float else 5e-4)
    assert np.quantile(error, 0.999) < (0.03 if is_float else 2e-3)
    spread = (fast.posterior_std / exact.posterior_std.clamp_min(1e-3) - 1).abs()
    assert spread.median() < 0.005


def test_rows_are_made_once_for_each_observation(setup):
    model, _ = setup
    rows = LikelihoodRows(model)
    observation = torch.tensor([110.0, 150.0, 110.0, 180.0])
    samples = torch.full((4, 70), 140.0) + torch.linspace(-30, 30, 70)
    one = rows.posterior(samples, observation)
    count = len(rows._row_of)
    again = rows.posterior(samples, observation)
    assert count == len(rows._row_of) == 3
    assert torch.equal(one.mmse, again.mmse)


def test_an_observation_far_from_every_sample_takes_the_exact_way(setup):
    model, _ = setup
    samples = 120 + torch.linspace(0, 5, 80)[None]
    observation = torch.tensor([9000.0])
    fast = LikelihoodRows(model).posterior(samples, observation)
    exact = posterior_estimate(samples, torch.zeros(1, 80), observation, model)
    torch.testing.assert_close(fast.mmse, exact.mmse)
    assert torch.isfinite(fast.posterior_std).all()


def test_clipped_observations_take_the_exact_way():
    """They are as likely for every signal far beyond the limit."""
    model = PoissonGaussianModel(
        gain=2.0,
        offset=100.0,
        read_noise=3.0,
        signal_range=(110.0, 900.0),
        limits=(105.0, 310.0),
    )
    samples = torch.linspace(20, 800, 90)[None].expand(3, -1)
    observation = torch.tensor([105.0, 310.0, 312.0])
    exact = posterior_estimate(samples, torch.zeros(1, 90), observation, model)
    fast = LikelihoodRows(model).posterior(samples, observation)
    torch.testing.assert_close(fast.mmse, exact.mmse)
    torch.testing.assert_close(fast.posterior_std, exact.posterior_std)
