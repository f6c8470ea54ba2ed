"""Calibrated uncertainties fit the errors, on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.std_calibration import StdCalibration, StdTally, _rising

NOISE = 10.0


def widths(side=384):
    """Smoothing by two widths, left and right, so that the error differs by place."""
    return np.arange(side)[None, :] < side // 2


def denoised(image):
    is_left = widths(len(image))
    return np.where(is_left, gaussian_filter(image, 1.2), gaussian_filter(image, 3.0))


def expected_std():
    """Of Gaussian smoothing: noise / (2 sqrt(pi) width)."""
    left, right = (NOISE / (2 * np.sqrt(np.pi) * width) for width in (1.2, 3.0))
    return np.where(widths(), left, right) * np.ones((384, 1))


@pytest.fixture(scope="module")
def calibrated():
    """A model that tells places apart, with a scale that is wrong in both."""
    rng = np.random.default_rng(0)
    given = (3 * expected_std() ** 0.5).astype(np.float32)
    tally, errors = StdTally(), []
    for seed in range(3):
        scene = np.random.default_rng(100 + seed).normal(size=(384, 384))
        signal = 200 + 400 * gaussian_filter(scene, 12)
        x = signal + rng.normal(0, NOISE, signal.shape)
        f = denoised(x)
        simulated = f + rng.normal(0, NOISE, signal.shape)
        tally.add(given, x, f, simulated, denoised(simulated), f)
        errors.append(f - signal)
    return given, tally.result("refined", False), np.stack(errors)


def test_the_calibrated_spread_is_one_where_the_given_one_is_not(calibrated):
    given, calibration, errors = calibrated
    assert abs(np.std(errors / given) - 1) > 0.2
    scaled = errors / calibration(given)
    assert scaled.std() == pytest.approx(1, abs=0.1)
    for half in (widths(), ~widths()):
        inside = np.broadcast_to(half, given.shape)
        assert scaled[:, inside].std() == pytest.approx(1, abs=0.15)
    assert np.mean(np.abs(scaled) < 1) == pytest.approx(0.68, abs=0.05)
    assert np.mean(np.abs(scaled) < 1.96) == pytest.approx(0.95, abs=0.03)


def test_what_was_more_uncertain_stays_more_uncertain(calibrated):
    _, calibration, _ = calibrated
    std = np.geomspace(0.01, 1000, 200).astype(np.float32)
    assert np.all(np.diff(calibration(std)) >= -1e-6 * std[1:])
    assert np.isfinite(calibration(np.zeros(3, np.float32))).all()


def test_it_survives_a_file(calibrated):
    _, calibration, _ = calibrated
    assert StdCalibration.from_plain(calibration.as_plain()) == calibration
    with pytest.raises(ValueError, match="no sense"):
        StdCalibration.from_plain({**calibration.as_plain(), "std": [1.0]})


def test_nothing_seen_is_no_calibration():
    assert StdTally().result("mmse", True) is None


def test_values_that_fall_are_pooled_by_their_weights():
    values = _rising(np.array([3.0, 1.0, 2.0, 5.0]), np.array([1.0, 3.0, 1.0, 1.0]))
    np.testing.assert_allclose(values, [1.5, 1.5, 2.0, 5.0])
