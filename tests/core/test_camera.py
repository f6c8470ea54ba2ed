import numpy as np
import pytest
from scipy.stats import norm, poisson

from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.errors import BadSetting

CAMERAS = [
    pytest.param(Camera("scmos", 2.2, 100, 3.3), id="scmos"),
    pytest.param(Camera("scmos", 6.0, 100, 1.0), id="scmos, electrons resolved"),
    pytest.param(Camera("scmos", 0.5, 100, 0.3), id="scmos, below one grey value"),
    pytest.param(Camera("emccd", 6.5, 100, 2.0), id="emccd"),
    pytest.param(Camera("emccd", 2.0, 100, 4.0), id="emccd, read noise dominates"),
    pytest.param(Camera("gaussian", 8.0, 400, 12.0), id="gaussian"),
]
ELECTRONS = [0.0, 0.3, 2.0, 15.0, 150.0]


def grey_values_around(camera, signal):
    mean, variance = camera.moments(signal)
    sd = variance**0.5
    return np.arange(max(0, int(mean - 12 * sd - 5)), int(mean + 18 * sd + 200))


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("electrons", ELECTRONS)
def test_probabilities_sum_to_one_with_the_stated_moments(camera, electrons):
    signal = camera.offset + camera.gain * electrons
    x = grey_values_around(camera, signal)
    p = camera.pmf(x, signal)
    mean, variance = camera.moments(signal)
    assert p.sum() == pytest.approx(1, abs=1e-4)
    # Rounding is an independent noise of 1/12 only where it is finer than the noise.
    coarse = camera.read_noise < 0.5
    shift, change = (0.2, 0.5) if coarse else (2e-3, 2e-3)
    assert (p * x).sum() == pytest.approx(mean, abs=shift * variance**0.5)
    assert (p * (x - mean) ** 2).sum() == pytest.approx(variance, rel=change)


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("electrons", ELECTRONS)
def test_exposures_follow_the_probabilities(camera, electrons):
    signal = camera.offset + camera.gain * electrons
    n = 100_000
    seen = camera.expose(np.full(n, signal), np.random.default_rng(0)).astype(int)
    x = grey_values_around(camera, signal)
    empirical = np.bincount(seen - x[0], minlength=len(x)) / n
    distance = np.abs(np.cumsum(empirical) - np.cumsum(camera.pmf(x, signal))).max()
    assert distance < 1.95 / n**0.5  # Kolmogorov-Smirnov, p about 1e-3


@pytest.mark.parametrize("electrons", [0.2, 3.0, 40.0])
def test_scmos_probability_equals_the_sum_over_electrons(electrons):
    camera = Camera("scmos", 2.2, 100, 3.3)
    x = np.arange(60, 320)
    n = np.arange(0, 400)
    edges = (x[:, None] + [-0.5, 0.5])[..., None] - (100 + 2.2 * n)
    cells = np.diff(norm.cdf(edges / 3.3), axis=1)[:, 0]
    expected = cells @ poisson.pmf(n, electrons)
    p = camera.pmf(x, 100 + 2.2 * electrons)
    seen = expected > 1e-8
    np.testing.assert_allclose(np.log(p[seen]), np.log(expected[seen]), atol=1e-3)


def test_emccd_probability_equals_a_fine_sum_over_the_output_charge():
    camera = Camera("emccd", 6.5, 100, 2.0)
    electrons, x = 1.5, np.arange(92, 260)
    n, h = np.arange(1, 60), 0.002
    y = (np.arange(30_000) + 0.5) * h
    log_gamma = np.cumsum(np.log(np.maximum(n - 1, 1)))  # log (n - 1)!
    erlang = np.exp((n - 1) * np.log(y)[:, None] - y[:, None] - log_gamma)
    density = erlang @ poisson.pmf(n, electrons)
    edges = (x[:, None] + [-0.5, 0.5])[..., None] - (100 + 6.5 * y)
    expected = np.diff(norm.cdf(edges / 2.0), axis=1)[:, 0] @ density * h
    peak = np.diff(norm.cdf((x[:, None] + [-0.5, 0.5] - 100) / 2.0))[:, 0]
    expected += np.exp(-electrons) * peak
    p = camera.pmf(x, 100 + 6.5 * electrons)
    np.testing.assert_allclose(np.log(p), np.log(expected), atol=1e-3)


@pytest.mark.parametrize("kind", ["scmos", "emccd", "gaussian"])
def test_log_probability_stays_finite_far_in_the_tails(kind):
    camera = Camera(kind, 3.0, 100, 2.0)
    x = np.array([1, 40, 1000, 30_000, 65_534])
    values = camera.log_probability(x[:, None], np.array([0, 100, 101, 5000, 60_000]))
    assert np.isfinite(values).all()


def test_limits_collect_everything_beyond():
    camera = Camera("scmos", 2.0, 5, 3.0, bit_depth=8)
    x = np.arange(256)
    for signal in (5.0, 20.0, 240.0, 256.0):
        p = camera.pmf(x, signal)
        assert p.sum() == pytest.approx(1, abs=1e-3)
    seen = camera.expose(np.full(50_000, 250.0), np.random.default_rng(1))
    assert seen.dtype == np.uint8
    assert (seen == 255).mean() == pytest.approx(camera.pmf(255, 250.0), abs=0.01)


def test_unrounded_exposures_are_float_and_unlimited():
    camera = Camera("gaussian", 1.0, 0.0, 5.0, rounded=False)
    seen = camera.expose(np.zeros(1000), np.random.default_rng(0))
    assert seen.dtype == np.float32
    assert seen.min() < 0


def test_simulated_stack_has_the_asked_psnr_and_is_repeatable():
    camera = Camera("emccd", 6.5, 100, 2.0)
    stack = simulate_stack(camera, n_frames=3, size=128, psnr=16, seed=4)
    again = simulate_stack(camera, n_frames=3, size=128, psnr=16, seed=4)
    assert stack.observation.dtype == np.uint16
    assert stack.signal.dtype == np.float32
    np.testing.assert_array_equal(stack.observation, again.observation)
    for signal, observation in zip(stack.signal, stack.observation, strict=True):
        error = ((observation - signal.astype(float)) ** 2).mean()
        assert 10 * np.log10(np.ptp(signal) ** 2 / error) == pytest.approx(16, abs=0.5)


def test_simulated_calibration_covers_the_range():
    camera = Camera()
    calibration = simulate_calibration(
        camera, n_repeats=4, size=(64, 96), peak_electrons=500
    )
    assert calibration.observation.shape == (4, 64, 96)
    assert calibration.signal.shape == (64, 96)
    assert calibration.signal.min() == pytest.approx(100)
    assert calibration.signal.max() == pytest.approx(1200, rel=1e-3)


def test_brightness_given_twice_is_refused():
    with pytest.raises(BadSetting, match="twice"):
        simulate_stack(Camera(), n_frames=1, size=64, peak_electrons=3, psnr=20)


def test_a_camera_out_of_range_is_refused():
    with pytest.raises(BadSetting, match="Gain"):
        Camera(gain=0)
