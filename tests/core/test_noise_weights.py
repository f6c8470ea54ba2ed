"""Noisy pixels count by their noise, measured from the images alone."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.camera import Camera
from napari_ppn2v.core.noise_weights import NoiseDeviance, noise_deviance
from napari_ppn2v.core.objectives import deviance, squared_error

CAMERA = NoiseDeviance(slope=2.2, dark=100.0, floor=40.0, scale=300.0)


def variance(signal, noise=CAMERA):
    return noise.slope * max(signal - noise.dark, 0) + noise.floor


def smooth_signal(rng, low, high, size=256):
    field = gaussian_filter(rng.normal(size=(size, size)), 12)
    field = (field - field.min()) / np.ptp(field)
    return low + (high - low) * field


@pytest.fixture(scope="module")
def recording():
    """Four frames of an sCMOS camera; variance = 2.2 (signal - 100) + 9."""
    rng = np.random.default_rng(0)
    camera = Camera(kind="scmos", gain=2.2, offset=100, read_noise=3)
    signals = [smooth_signal(rng, 105, 900) for _ in range(4)]
    return [camera.expose(s, rng).astype(np.float32) for s in signals]


@pytest.mark.parametrize(
    ("observation", "mean"),
    [(300, 250), (250, 300), (90, 60), (60, 90), (80, 400), (400, 80), (120, 120)],
)
def test_the_deviance_is_the_integral_of_the_residual_over_the_variance(
    observation, mean
):
    found = CAMERA(torch.tensor(float(mean)), torch.tensor(float(observation)))
    expected, _ = quad(
        lambda t: (observation - t) / variance(t), mean, observation, points=[100.0]
    )
    assert float(found) == pytest.approx(2 * CAMERA.scale * expected, abs=2e-2)


def test_its_gradient_is_that_of_least_squares_over_the_variance():
    means = torch.tensor([60.0, 101.0, 250.0, 900.0], requires_grad=True)
    observations = torch.tensor([90.0, 80.0, 400.0, 700.0])
    CAMERA(means, observations).sum().backward()
    for mean, x, found in zip(means.tolist(), observations, means.grad, strict=True):
        expected = -2 * CAMERA.scale * (float(x) - mean) / variance(mean)
        assert float(found) == pytest.approx(expected, rel=1e-4)


def test_it_is_smallest_at_the_mean_of_skewed_noise_even_if_the_variance_is_wrong():
    """Otherwise a validation would reward predictions that are too bright or dark."""
    rng = np.random.default_rng(1)
    observations = torch.tensor(100 + 6.4 * rng.gamma(0.5, 4, 400_000)).float()
    candidates = observations.mean() * torch.linspace(0.95, 1.05, 41)
    losses = [float(CAMERA(m.expand_as(observations), observations).mean())
              for m in candidates]  # fmt: skip
    best = float(candidates[int(np.argmin(losses))])
    assert best == pytest.approx(float(observations.mean()), rel=0.003)


def test_the_strength_of_the_noise_is_measured_from_the_images(recording):
    noise = noise_deviance(recording, float(np.std(recording)))
    assert noise.slope == pytest.approx(2.2, rel=0.05)
    assert noise.dark == pytest.approx(100, abs=6)


def test_a_typical_pixel_counts_as_in_a_plain_squared_error(recording):
    std = float(np.std(recording))
    noise = noise_deviance(recording, std)
    x = torch.tensor(np.stack(recording)).reshape(-1)
    m = torch.tensor(gaussian_filter(np.stack(recording), (0, 2, 2))).reshape(-1)
    none = torch.zeros(1, 1)
    plain = squared_error(std)(m[:, None], none, x).mean()
    ours = deviance(std, noise)(m[:, None], none, x).mean()
    assert 0.4 < float(ours / plain) < 1.5


def test_noise_that_does_not_grow_with_the_signal_counts_alike_everywhere():
    rng = np.random.default_rng(1)
    frames = [smooth_signal(rng, 400, 100) + rng.normal(0, 9, (256, 256))]
    assert noise_deviance([f.astype(np.float32) for f in frames], 80.0) is None


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.float32),
        np.full((64, 64), 7, np.float32),
        np.tile(np.float32([0, 65535]), (64, 32)),
    ],
    ids=["tiny", "constant", "clipped at both ends"],
)
def test_images_that_tell_nothing_of_the_noise_make_all_pixels_count_alike(image):
    assert noise_deviance([image], 1.0) is None


def test_predictions_far_below_the_dark_signal_stay_finite():
    found = CAMERA(torch.tensor([-1e6, -5.0, 1e6]), torch.tensor([0.0, 65535.0, 0.0]))
    assert torch.isfinite(found).all()
    assert (found > 0).all()
