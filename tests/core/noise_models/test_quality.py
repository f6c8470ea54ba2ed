"""Quality of a fit: true models are good, and what is wrong is found and named."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from simulated import BRIGHT_8_BIT, EMCCD, SCMOS, fitted

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models import PoissonGammaModel, PoissonGaussianModel
from napari_ppn2v.core.noise_models.distribution import ks_distance as _ks_distance
from napari_ppn2v.core.noise_models.quality import (
    FAIR,
    GOOD,
    fit_quality,
    overall,
)
from napari_ppn2v.core.pairs import SignalObservationPairs

CONTINUOUS = Camera("scmos", gain=2.0, offset=0, read_noise=3.0, rounded=False)
MODELS = {"scmos": PoissonGaussianModel, "emccd": PoissonGammaModel}


@cache
def pairs_of(camera, electrons, n_repeats=60):
    calibration = simulate_calibration(
        camera, n_repeats=n_repeats, size=96, peak_electrons=electrons, seed=1
    )
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        calibration.signal[None], calibration.observation
    )
    return pairs.within_percentiles(0.5, 99.5).histogram()


def true_model(camera, pairs):
    return MODELS[camera.kind](
        gain=camera.gain,
        offset=camera.offset,
        read_noise=camera.read_noise,
        signal_range=pairs.signal_range,
        limits=pairs.limits,
        cell=pairs.cell,
    )


class Wrong:
    """A model whose noise is stretched, and moved by some standard deviations."""

    kind = "wrong"

    def __init__(self, model, stretch=1.0, shift=0.0):
        self.model, self.stretch, self.shift = model, stretch, shift
        self.limits, self.signal_range = model.limits, model.signal_range

    def moments(self, signal):
        mean, variance = self.model.moments(signal)
        return mean + self.shift * variance.sqrt(), variance * self.stretch**2

    def log_likelihood(self, observation, signal):
        mean, _ = self.moments(signal)
        inside = signal + (observation - mean) / self.stretch
        return self.model.log_likelihood(inside, signal) - math.log(self.stretch)


ALL = {
    "scmos": (SCMOS, 60),
    "scmos dark": (SCMOS, 2),
    "emccd dark": (EMCCD, 5),
    "continuous": (CONTINUOUS, 60),
    "8 bit": (BRIGHT_8_BIT, 140),
}
UNCLIPPED = [name for name in ALL if name != "8 bit"]  # may be stretched and moved


@pytest.mark.parametrize(("camera", "electrons"), ALL.values(), ids=ALL)
@pytest.mark.parametrize("n_repeats", [10, 60])
def test_a_true_model_is_good_everywhere(camera, electrons, n_repeats):
    pairs = pairs_of(camera, electrons, n_repeats)
    ranges = fit_quality(true_model(camera, pairs), pairs)
    assert {item.verdict for item in ranges} == {"good"}
    assert overall(ranges) == "good"


@pytest.mark.parametrize(
    ("camera", "electrons"), [ALL[name] for name in UNCLIPPED], ids=UNCLIPPED
)
@pytest.mark.parametrize("factor", [1.2, 1 / 1.2])
def test_a_variance_wrong_by_a_fifth_is_poor(camera, electrons, factor):
    pairs = pairs_of(camera, electrons)
    ranges = fit_quality(Wrong(true_model(camera, pairs), stretch=factor**0.5), pairs)
    assert overall(ranges) == "poor"
    median = np.median([item.variance_ratio for item in ranges])
    assert median == pytest.approx(1 / factor, rel=0.05)


def test_a_variance_wrong_by_a_tenth_is_fair_and_said_in_words():
    pairs = pairs_of(SCMOS, 60)
    wrong = Wrong(true_model(SCMOS, pairs), stretch=1.1**-0.5)
    ranges = fit_quality(wrong, pairs)
    assert overall(ranges) == "fair"
    assert any("stronger" in item.in_words for item in ranges)


@pytest.mark.parametrize(
    ("camera", "electrons"), [ALL[name] for name in UNCLIPPED], ids=UNCLIPPED
)
def test_a_wrong_offset_shows_as_bias_of_its_size(camera, electrons):
    pairs = pairs_of(camera, electrons)
    ranges = fit_quality(Wrong(true_model(camera, pairs), shift=-0.2), pairs)
    assert overall(ranges) == "poor"
    biases = [item.bias_in_sd for item in ranges]
    assert np.median(biases) == pytest.approx(0.2, abs=0.02)
    assert "brighter" in ranges[0].in_words


def test_one_gaussian_is_poor_for_an_emccd_at_low_light():
    single = fitted("gmm", EMCCD, 5.0, n_components=1)
    ranges = fit_quality(single, pairs_of(EMCCD, 5))
    assert overall(ranges) == "poor"
    assert any("another shape" in item.in_words for item in ranges)


@pytest.mark.parametrize("kind", ["gmm", "histogram", "camera"])
def test_fitted_models_of_a_camera_are_good(kind):
    assert overall(fit_quality(fitted(kind), pairs_of(SCMOS, 60))) == "good"


def test_ranges_follow_each_other_and_hold_all_held_out_pairs():
    pairs = pairs_of(SCMOS, 60)
    ranges = fit_quality(true_model(SCMOS, pairs), pairs, n_ranges=7)
    assert len(ranges) == 7
    for before, after in pairwise(ranges):
        assert before.signal_high == after.signal_low
    assert sum(r.n_pairs for r in ranges) == pairs.held_out.weight.sum()
    assert ranges[0].signal_low <= pairs.held_out.signal.min()
    assert ranges[-1].signal_high >= pairs.held_out.signal.max() - 1e-9


def test_ranges_of_few_pairs_are_joined():
    pairs = pairs_of(SCMOS, 60, 10)
    ranges = fit_quality(true_model(SCMOS, pairs), pairs, n_ranges=500)
    assert 1 < len(ranges) < 500
    assert all(item.n_pairs >= 200 for item in ranges)


def test_clipped_observations_are_compared_as_clipped():
    below_zero = Camera("scmos", gain=1.5, offset=0, read_noise=2.0)
    pairs = pairs_of(below_zero, 3)
    assert pairs.limits[0] == 0
    model = true_model(below_zero, pairs)
    assert overall(fit_quality(model, pairs)) == "good"
    state = {**model.state(), "limits": np.array([np.nan, np.nan])}
    unaware = PoissonGaussianModel.from_state(state)
    assert overall(fit_quality(unaware, pairs)) == "poor"


def test_verdicts_are_ordered():
    assert GOOD.bias < FAIR.bias
    assert GOOD.variance < FAIR.variance
    assert GOOD.ks < FAIR.ks


def test_evenly_filled_jumps_are_at_no_distance():
    ends = np.linspace(0, 1, 11)
    assert _ks_distance(ends[:-1], ends[1:], np.ones(10)) < 1e-5


@given(st.floats(0.01, 0.99))
@hypothesis_settings(max_examples=20)
def test_distance_of_all_mass_at_one_place(place):
    at = np.array([place])
    distance = _ks_distance(at, at, np.ones(1))
    assert distance == pytest.approx(max(place, 1 - place), abs=1e-5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
@hypothesis_settings(max_examples=30)
def test_distance_agrees_with_that_of_scipy_for_single_values(values):
    from scipy.stats import kstest

    at = np.array(values)
    assert _ks_distance(at, at, np.ones(len(at))) == pytest.approx(
        kstest(at, "uniform").statistic, abs=1e-4
    )
