"""The expected error against the true one, on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.expected_error import error_sums, expected_errors

GAIN, READ = 2.0, 4.0


def scene(seed, side=384, height=300.0):
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(side, side)), 6)
    return 100 + height * (smooth - smooth.min()) / np.ptp(smooth)


def variance_of(signal):
    return GAIN * np.maximum(signal - 100, 0) + READ**2


def expose(signal, rng):
    electrons = np.maximum(signal - 100, 0) / GAIN
    return 100 + GAIN * rng.poisson(electrons) + rng.normal(0, READ, signal.shape)


def denoised(image):
    return gaussian_filter(image, 1.5)


def measured(signal, rng, *, variance_factor=1.0, estimator=denoised):
    x = expose(signal, rng)
    f = estimator(x)
    simulated = expose(f, rng)
    variance = variance_factor * variance_of(f)
    sums = error_sums(x, f, simulated, estimator(simulated), variance)
    return sums, float(np.sqrt(np.mean((f - signal) ** 2)))


@pytest.fixture(scope="module")
def stack():
    rng = np.random.default_rng(0)
    heights = (60, 100, 200, 400, 800, 1500)
    return [measured(scene(k, height=h), rng) for k, h in enumerate(heights)]


def test_the_error_of_each_image_is_known_within_six_percent(stack):
    """As far as chance lets it: the figure is 2 to 4 % uncertain by itself."""
    found = expected_errors([sums for sums, _ in stack])
    off = [e.rmse / truth - 1 for e, (_, truth) in zip(found.told, stack, strict=True)]
    assert np.abs(off).mean() < 0.04
    assert np.abs(off).max() < 0.08
    for each, (_, truth) in zip(found.told, stack, strict=True):
        assert each.low < truth < each.high
    assert found.rmse == pytest.approx(
        np.sqrt(np.mean([truth**2 for _, truth in stack])), rel=0.05
    )


@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_a_variance_that_is_a_little_wrong_hardly_moves_it(factor):
    rng = np.random.default_rng(1)
    stack = [measured(scene(k), rng, variance_factor=factor) for k in range(4)]
    found = expected_errors([sums for sums, _ in stack])
    truth = np.sqrt(np.mean([truth**2 for _, truth in stack]))
    assert found.rmse == pytest.approx(truth, rel=0.2)
    # the variance alone is further off
    assert abs(found.from_variance / truth - 1) > abs(found.rmse / truth - 1)


def test_a_result_that_lost_fine_lines_has_a_larger_error():
    rng = np.random.default_rng(2)
    signal = scene(5)
    lined = signal.copy()
    lined[::9] += 60
    lined[:, ::9] += 60
    kept, truth_kept = measured(signal, rng)
    lost, truth_lost = measured(lined, rng)
    found = [expected_errors([s]).told[0].rmse for s in (kept, lost)]
    assert truth_lost > 2 * truth_kept
    assert found[1] > 1.7 * found[0]


def test_errors_of_single_pixels_are_seen_where_the_variance_is_known():
    """Neighbours know nothing of them; what the variance says beyond chance does."""
    rng = np.random.default_rng(3)
    stack = []
    for seed in range(8):
        signal = scene(seed, height=100)
        speckled = signal + 6 * rng.normal(size=signal.shape)
        stack.append(measured(speckled, rng))
    sums = [each for each, _ in stack]
    truth = np.sqrt(np.mean([truth**2 for _, truth in stack]))
    found = expected_errors(sums, variance_uncertainty=0.01)
    assert np.mean([each.from_neighbours for each in sums]) < 0.3 * truth**2
    assert found.rmse == pytest.approx(truth, rel=0.15)
    assert found.white_share > 0.5


def test_a_variance_from_the_same_data_has_no_say():
    """Whatever it is: what the network lost is in it, as noise."""
    signals = [scene(k) for k in range(4)]
    found = []
    for factor in (0.95, 1.05):
        rng = np.random.default_rng(1)
        sums = [measured(s, rng, variance_factor=factor)[0] for s in signals]
        found.append(expected_errors(sums, variance_uncertainty=None))
    assert found[0].per_image == found[1].per_image
    assert found[0].white_share == 0


def correlated(signal, rng):
    """Noise smoothed along x, as of a slow amplifier."""
    white = rng.normal(size=signal.shape)
    smooth = (white + np.roll(white, 1, 1)) / np.sqrt(2)
    return signal + np.sqrt(variance_of(signal)) * smooth


def test_noise_that_is_correlated_along_x_is_not_given_an_error():
    rng = np.random.default_rng(4)
    signal = scene(0)
    x = correlated(signal, rng)
    f = denoised(x)
    simulated = expose(f, rng)
    sums = error_sums(x, f, simulated, denoised(simulated), variance_of(f))
    found = expected_errors([sums])
    assert found.told == ()
    assert found.rmse is None
    assert found.psnr is None
    assert "along x" in found.reason


def test_a_known_correlation_of_the_noise_is_enough_not_to_tell(stack):
    found = expected_errors([sums for sums, _ in stack], noise_correlation=0.3)
    assert found.told == ()
    assert "0.30" in found.reason


def test_frames_of_zeros_are_not_given_an_error_of_zero():
    rng = np.random.default_rng(5)
    signal = np.full((128, 128), 0.02)
    x = rng.poisson(signal).astype(np.float32)
    f = denoised(x)
    simulated = rng.poisson(f).astype(np.float32)
    sums = error_sums(x, f, simulated, denoised(simulated), f)
    found = expected_errors([sums])
    assert found.per_image == (None,)
    assert "one and the same grey value" in found.reason


def test_an_error_that_drowns_in_the_noise_is_not_told():
    rng = np.random.default_rng(6)
    signal = np.full((64, 64), 500.0) + np.linspace(0, 1, 64)

    def almost_perfect(image):
        return signal + 1e-3 * gaussian_filter(image - signal, 4)

    sums, truth = measured(signal, rng, estimator=almost_perfect)
    assert truth < 0.01
    found = expected_errors([sums])
    assert found.told == ()
    assert found.reason


def test_the_peak_needs_no_truth_and_is_not_moved_by_single_pixels():
    rng = np.random.default_rng(7)
    signal = scene(1, side=256)
    sums, _ = measured(signal, rng)

    def with_a_hot_pixel(image):
        result = denoised(image)
        result[3, 4] = 60_000
        return result

    hot, _ = measured(signal, np.random.default_rng(7), estimator=with_a_hot_pixel)
    assert hot.peak == pytest.approx(sums.peak, rel=0.01)
    told = expected_errors([sums]).told[0]
    assert told.psnr == pytest.approx(20 * np.log10(sums.peak / told.rmse))


def test_chance_errors_shrink_by_looking_at_several_images():
    truths, alone, together = [], [], []
    rng = np.random.default_rng(8)
    stack = [measured(scene(k, side=96, height=600), rng) for k in range(10)]
    sums = [each for each, _ in stack]
    truths = np.array([truth for _, truth in stack])
    alone = np.sqrt([max(each.from_neighbours, 0) for each in sums])
    together = np.array([each.rmse for each in expected_errors(sums).told])
    assert np.mean((together / truths - 1) ** 2) < np.mean((alone / truths - 1) ** 2)
