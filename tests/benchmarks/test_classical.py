"""Classical filters are exact where that can be said, and get their best parameter."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import common
from evidence import anscombe, classical
from napari_ppn2v.core.camera import Camera

CAMERA = Camera("scmos", 2.2, 100, 3.3, rounded=False)


def waves(n_frames: int = 3, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean smooth scenes of an sCMOS camera, (T, Y, X), ADU."""
    y, x = np.mgrid[:side, :side] / side
    phases = np.arange(n_frames)[:, None, None]
    truth = 260 + 150 * np.sin(9 * x + phases) * np.cos(7 * y - phases)
    return CAMERA.expose(truth, np.random.default_rng(0)), truth


def method(name: str) -> classical.Filter:
    if name == "bm3d":
        pytest.importorskip("bm3d")
    return classical.FILTERS[name]


# --- Exact cases -----------------------------------------------------------------


def test_mean_and_median_of_a_window_are_those_of_its_pixels():
    image = np.array([[1, 2, 3], [4, 50, 6], [7, 8, 9]], np.float32)
    size = (("size", 3),)
    assert method("mean").apply(image, size)[1, 1] == pytest.approx(10.0)
    assert method("median").apply(image, size)[1, 1] == 6.0


@pytest.mark.parametrize("name", ["mean", "median"])
def test_edges_are_continued_by_reflection(name):
    image = np.random.default_rng(0).normal(100, 10, (12, 9)).astype(np.float32)
    padded = np.pad(image, 2, mode="symmetric")
    parameters = (("size", 5),)
    inside = method(name).apply(padded, parameters)[2:-2, 2:-2]
    np.testing.assert_allclose(method(name).apply(image, parameters), inside, rtol=1e-6)


def test_gaussian_filter_weighs_neighbours_by_the_bell():
    image = np.zeros((31, 31), np.float32)
    image[15, 15] = 1
    seen = method("gaussian").apply(image, (("sigma", 2.0),))
    bell = np.exp(-(np.arange(-8, 9) ** 2) / (2 * 2.0**2))
    expected = np.outer(bell, bell) / bell.sum() ** 2
    np.testing.assert_allclose(seen[7:24, 7:24], expected, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(classical.FILTERS))
def test_filters_keep_a_constant_image_its_shape_and_type(name):
    image = np.full((20, 24), 137, np.uint16)
    chosen = method(name).with_known_noise(5.0)
    seen = chosen.apply(image, chosen.grid[0])
    assert seen.dtype == np.float32
    # BM3D computes in single precision
    np.testing.assert_allclose(seen, np.full((20, 24), 137.0), rtol=1e-4)


# --- Anscombe transform ----------------------------------------------------------


@pytest.mark.parametrize("read_noise", [0.0, 3.3], ids=["no read noise", "read noise"])
@pytest.mark.parametrize("electrons", [0, 0.3, 1, 3, 10, 100])
def test_transform_and_inverse_are_unbiased(electrons, read_noise):
    camera = replace(CAMERA, read_noise=max(read_noise, 1e-3))
    line = anscombe.line_of_camera(camera.gain, camera.offset, read_noise)
    signal = np.full(300_000, camera.offset + camera.gain * electrons)
    stabilised = anscombe.stabilise(
        camera.expose(signal, np.random.default_rng(1)), line
    )
    bias = (anscombe.unstabilise(stabilised.mean(), line) - signal[0]) / camera.gain
    # 0.05 photons: the closed form is an approximation; three standard errors of the
    # simulation are added, which matter for many electrons only
    assert abs(bias) < 0.05 + 3 * np.sqrt((electrons + 2) / signal.size)
    if electrons >= 3:
        assert stabilised.std() == pytest.approx(1.0, abs=0.05)


def test_line_of_variance_is_read_off_noisy_images():
    noisy, _ = waves(n_frames=6, side=256)
    line = anscombe.estimate_variance_line(list(noisy))
    assert line is not None
    assert line.gain == pytest.approx(CAMERA.gain, rel=0.1)
    expected = anscombe.line_of_camera(CAMERA.gain, CAMERA.offset, CAMERA.read_noise)
    assert line.dark == pytest.approx(expected.dark, abs=4)  # 2 electrons


def test_noise_that_does_not_rise_with_the_signal_has_no_line():
    assert anscombe.estimate_variance_line([np.full((32, 32), 7.0)]) is None
    truth = waves(1, 128)[1][0]
    falling = truth + np.random.default_rng(0).normal(0, 4e3 / truth)
    assert anscombe.estimate_variance_line([falling]) is None
    adapted = method("nlm").adapted_to([falling])
    assert adapted.grid == method("nlm").grid


# --- Search ----------------------------------------------------------------------


def test_search_takes_the_parameters_of_highest_psnr():
    noisy, truth = waves()
    chosen = method("gaussian")
    found = classical.grid_search(chosen, noisy, truth)
    by_hand = {
        point: common.mean_psnr(
            [chosen.apply(image, point) for image in noisy], list(truth)
        )
        for point in chosen.grid
    }
    assert found.parameters == max(by_hand, key=by_hand.__getitem__)
    assert dict(found.psnr_by_parameters) == pytest.approx(by_hand, rel=1e-6)
    for image, estimate in zip(noisy, found.estimates, strict=True):
        expected = chosen.apply(image, found.parameters)
        np.testing.assert_array_equal(estimate, expected)
    assert found.cpu_seconds_per_megapixel > 0


def test_only_the_named_images_choose_the_parameters():
    noisy, truth = waves(2)
    noisy = [truth[0] + 1e-3, noisy[1]]  # nearly clean: wants the weakest filter
    weak, strong = (
        classical.grid_search(method("gaussian"), noisy, truth, search_on=[index])
        for index in (0, 1)
    )
    assert weak.parameters == (("sigma", 0.5),)
    assert strong.parameters > weak.parameters
    assert len(strong.estimates) == 2


def test_a_given_range_takes_the_place_of_each_images_own():
    noisy, truth = waves(1)
    own = classical.grid_search(method("mean"), noisy, truth)
    wide = classical.grid_search(
        method("mean"), noisy, truth, data_range=10 * float(np.ptp(truth[0]))
    )
    for (_, first), (_, second) in zip(
        own.psnr_by_parameters, wide.psnr_by_parameters, strict=True
    ):
        assert second == pytest.approx(first + 20)


def test_search_says_which_images_are_missing():
    noisy, truth = waves(2)
    with pytest.raises(ValueError, match="2 noisy images but 1 truths"):
        classical.grid_search(method("mean"), noisy, truth[:1])
    with pytest.raises(ValueError, match="no image to search on"):
        classical.grid_search(method("mean"), noisy, truth, search_on=[])


# --- Gains -----------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(classical.FILTERS))
def test_each_filter_gains_decibels_and_repeats_exactly(name):
    noisy, truth = waves(1)
    chosen = method(name)
    if name == "bm3d":  # seconds per point
        chosen = replace(chosen, grid=chosen.grid[:1])
        chosen = replace(chosen, stabilised_grid=chosen.stabilised_grid[1:2])
    found = classical.grid_search(chosen, noisy, truth)
    gained = max(score for _, score in found.psnr_by_parameters)
    gained -= common.mean_psnr(noisy, truth)
    assert gained > 5  # a median of 3 x 3 gains about 7 dB on smooth scenes
    again = chosen.apply(noisy[0], found.parameters)
    np.testing.assert_array_equal(again, found.estimates[0])


@pytest.mark.parametrize("name", ["bm3d", "nlm"])
def test_known_noise_is_used_in_place_of_an_estimate(name):
    noisy, _ = waves(1)
    known = method(name).with_known_noise(20.0)
    assert all(dict(point)["noise_sd"] == 20.0 for point in known.grid)
    assert known.adapted_to(noisy).grid == known.grid
    weak = method(name).with_known_noise(2.0)
    rough, smooth = (
        each.apply(noisy[0], each.grid[0]) - noisy[0] for each in (weak, known)
    )
    assert rough.std() < 0.5 * smooth.std()


def test_stabilised_search_beats_one_strength_for_all_on_photon_noise():
    camera = Camera("scmos", 10.0, 100, 2.0, rounded=False)
    y, x = np.mgrid[:96, :96] / 96
    truth = 100 + 600 * np.exp(-((x - 0.5) ** 2 + (y - 0.5) ** 2) * 20)
    noisy = camera.expose(truth, np.random.default_rng(0))
    chosen = replace(
        method("nlm"),
        grid=method("nlm").grid[:8],
        stabilised_grid=method("nlm").stabilised_grid[:8],
    )
    found = classical.grid_search(chosen, [noisy], [truth])
    assert {"gain", "dark"} <= dict(found.parameters).keys()


def test_missing_bm3d_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)
    chosen = classical.FILTERS["bm3d"]
    with pytest.raises(ModuleNotFoundError, match=r"requirements\.txt"):
        chosen.apply(np.ones((16, 16)), chosen.grid[0])


def test_parameters_are_shown_in_words():
    parameters = (("strength", 1.25), ("noise_sd", 25.0))
    assert classical.shown(parameters) == "strength 1.25, noise sd 25"
