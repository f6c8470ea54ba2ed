"""Noisy pixels weigh by the inverse of their noise, measured from the images alone."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.camera import Camera
from napari_ppn2v.core.noise_weights import LEAST_VARIANCE, noise_weight
from napari_ppn2v.core.objectives import squared_error


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


def test_weights_are_inverse_to_the_variance_of_the_noise(recording):
    std = float(np.std(recording))
    weight = noise_weight(recording, std)
    signals = torch.tensor([150.0, 300.0, 600.0, 900.0])
    found = weight(signals).double().numpy()
    expected = 1 / (2.2 * (signals.numpy() - 100) + LEAST_VARIANCE * std**2)
    assert found / found.mean() == pytest.approx(expected / expected.mean(), rel=0.06)


def test_weights_are_one_on_average_and_carry_no_gradient(recording):
    weight = noise_weight(recording, float(np.std(recording)))
    means = torch.linspace(90, 900, 50, requires_grad=True)
    found = weight(means)
    assert float(found.mean()) == pytest.approx(1)
    assert not found.requires_grad


def test_dark_pixels_weigh_alike_whatever_is_predicted_below_the_offset(recording):
    weight = noise_weight(recording, float(np.std(recording)))
    found = weight(torch.tensor([-500.0, 0.0, 60.0, 500.0]))
    assert found[0] == found[1] == found[2] > found[3]


def test_noise_that_does_not_grow_with_the_signal_gives_no_weights():
    rng = np.random.default_rng(1)
    frames = [smooth_signal(rng, 400, 100) + rng.normal(0, 9, (256, 256))]
    weight = noise_weight([f.astype(np.float32) for f in frames], 30.0)
    if weight is not None:  # a slope by chance alone: then hardly any difference
        found = weight(torch.tensor([100.0, 400.0]))
        assert float(found.max() / found.min()) < 1.2


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.float32),
        np.full((64, 64), 7, np.float32),
        np.tile(np.float32([0, 65535]), (64, 32)),
    ],
    ids=["tiny", "constant", "clipped at both ends"],
)
def test_images_that_tell_nothing_of_the_noise_give_no_weights(image):
    assert noise_weight([image], 1.0) is None


def test_a_weighted_squared_error_is_the_weight_times_the_plain_one(recording):
    std = float(np.std(recording))
    weight = noise_weight(recording, std)
    samples = torch.tensor([[120.0], [300.0], [800.0]])
    target = torch.tensor([130.0, 310.0, 700.0])
    none = torch.zeros(1, 1)
    plain = squared_error(std)(samples, none, target)
    weighted = squared_error(std, weight)(samples, none, target)
    assert torch.allclose(weighted, weight(samples[:, 0]) * plain)
