import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.pairs import (
    PairCells,
    PhotonTransfer,
    SignalObservationPairs,
    photon_transfer,
)
from napari_ppn2v.errors import BadData

CAMERA = Camera("scmos", gain=2.0, offset=100, read_noise=3.0)


def repeats_of(m, size=128, seed=0, camera=CAMERA, peak_electrons=200.0):
    return simulate_calibration(
        camera, n_repeats=m, size=size, peak_electrons=peak_electrons, seed=seed
    )


class CountingFrames:
    """Frames that remember how many were read."""

    def __init__(self, array):
        self.array, self.reads = array, 0

    def __len__(self):
        return len(self.array)

    def frame(self, index):
        self.reads += 1
        return self.array[index].astype(np.float32)


@pytest.mark.parametrize("m", [5, 20, 100])
def test_finite_average_is_corrected(m):
    repeats = repeats_of(m, size=max(48, int(400 / m**0.5)))
    line = SignalObservationPairs.from_calibration(repeats.observation).histogram()
    mean = repeats.observation.mean(0, dtype=float).astype(np.float32)
    plain = SignalObservationPairs.from_pseudo_ground_truth(
        mean[None], repeats.observation
    ).histogram()
    assert line.transfer.slope == pytest.approx(2.0, rel=0.03)
    ratio = plain.transfer.slope / line.transfer.slope
    assert ratio == pytest.approx((m - 1) / m, abs=0.012)


def test_several_scenes_of_different_numbers_of_repeats_are_one_set():
    scenes = [repeats_of(m, 64, seed=m).observation for m in (5, 12)]
    histogram = SignalObservationPairs.from_calibration(scenes).histogram()
    assert histogram.n_pairs == 17 * 64**2
    assert histogram.transfer.slope == pytest.approx(2.0, rel=0.05)


def test_recordings_are_read_frame_by_frame_and_not_changed():
    array = repeats_of(6, 64).observation
    before = array.copy()
    frames = CountingFrames(array)
    SignalObservationPairs.from_calibration(frames).histogram()
    assert frames.reads <= 3 * len(array) + 2
    np.testing.assert_array_equal(array, before)


def test_cells_hold_all_pairs_with_their_means():
    repeats = repeats_of(8, 64)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        repeats.signal[None], repeats.observation
    )
    histogram = pairs.histogram()
    sides = (histogram.training, histogram.held_out)
    assert sum(c.weight.sum() for c in sides) == repeats.observation.size
    total = sum(c.observation @ c.weight for c in sides)
    assert total == pytest.approx(repeats.observation.sum(dtype=float), rel=1e-9)
    total = sum(c.signal @ c.weight for c in sides)
    assert total == pytest.approx(8 * repeats.signal.sum(dtype=float), rel=1e-6)


def test_a_fifth_of_the_pixels_is_held_out_and_the_split_is_repeatable():
    observation = repeats_of(8, 64).observation
    first, second = (
        SignalObservationPairs.from_calibration(observation).histogram()
        for _ in range(2)
    )
    share = first.held_out.weight.sum() / first.n_pairs
    assert share == pytest.approx(0.2, abs=0.005)
    np.testing.assert_array_equal(first.held_out.weight, second.held_out.weight)


def test_whole_grey_values_keep_columns_of_their_own():
    repeats = repeats_of(20, 64)
    histogram = SignalObservationPairs.from_pseudo_ground_truth(
        repeats.signal[None], repeats.observation
    ).histogram()
    dim = histogram.training.observation < 110
    values = histogram.training.observation[dim]
    np.testing.assert_allclose(values, np.rint(values), atol=1e-9)
    assert histogram.cell == 1.0


def test_trimming_leaves_out_both_ends_of_the_signal():
    repeats = repeats_of(4, 64)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        repeats.signal[None], repeats.observation
    )
    low, high = np.percentile(repeats.signal, [2, 98])
    histogram = pairs.within_percentiles(2, 98).histogram()
    assert histogram.signal_range == pytest.approx((low, high), rel=1e-3)
    assert histogram.training.signal.min() >= histogram.signal_range[0]
    assert histogram.training.signal.max() <= histogram.signal_range[1]
    assert histogram.n_pairs == pytest.approx(0.96 * pairs.n_pairs, rel=0.01)


def test_saturated_pixels_are_found_and_stay_at_the_limit():
    camera = Camera("scmos", gain=2.0, offset=100, read_noise=3.0, bit_depth=8)
    observation = repeats_of(10, 96, camera=camera, peak_electrons=75.0).observation
    histogram = SignalObservationPairs.from_calibration(observation).histogram()
    assert histogram.limits == (None, 255.0)
    assert histogram.training.observation.max() == 255.0
    at_limit = histogram.training.observation == 255.0
    apart = histogram.held_out.observation == 255.0
    assert at_limit.any()
    assert apart.any()
    # 2 % of such pixels are saturated: their average would no longer be their signal.
    assert histogram.signal_range[1] < 248


def test_an_unclipped_range_has_no_limits():
    histogram = SignalObservationPairs.from_calibration(
        repeats_of(10, 96).observation
    ).histogram()
    assert histogram.limits == (None, None)


def test_zero_clipped_dark_pixels_are_a_lower_limit():
    camera = Camera("scmos", gain=2.0, offset=1, read_noise=3.0)
    repeats = repeats_of(10, 96, camera=camera, peak_electrons=8.0)
    pairs = SignalObservationPairs.from_calibration(repeats.observation)
    assert pairs.histogram().limits[0] == 0.0


@pytest.mark.parametrize("scale", [1e-4, 1.0, 300.0])
def test_units_of_the_data_do_not_matter(scale):
    repeats = repeats_of(10, 64)
    rng = np.random.default_rng(0)
    smooth = repeats.observation + rng.uniform(-0.5, 0.5, repeats.observation.shape)
    histogram = SignalObservationPairs.from_pseudo_ground_truth(
        scale * repeats.signal[None], scale * smooth
    ).histogram()
    assert histogram.cell == 0.0
    assert histogram.limits == (None, None)
    assert histogram.transfer.slope == pytest.approx(2.0 * scale, rel=0.04)


def test_photon_transfer_withstands_hot_pixels():
    repeats = repeats_of(30, 96)
    rng = np.random.default_rng(1)
    hot = rng.random(repeats.signal.shape) < 0.002
    observation = repeats.observation.astype(float)
    observation[:, hot & (repeats.signal < 130)] += 200 * rng.random(30)[:, None]
    histogram = SignalObservationPairs.from_pseudo_ground_truth(
        repeats.signal[None], observation
    ).histogram()
    assert histogram.transfer.slope == pytest.approx(2.0, rel=0.1)


@settings(max_examples=50, deadline=None)
@given(
    slope=st.floats(1e-3, 100),
    dark=st.floats(-1000, 1000),
    floor=st.floats(1e-3, 1e4),
    value=st.floats(-1e4, 1e5),
)
def test_stabilising_map_is_inverted(slope, dark, floor, value):
    transfer = PhotonTransfer(slope, floor - slope * dark, floor)
    back = transfer.unstabilise(transfer.stabilise(value))
    assert back == pytest.approx(value, rel=1e-6, abs=1e-4)


def test_stabilised_noise_has_unit_standard_deviation():
    transfer = PhotonTransfer(2.0, 9.0 - 200.0, 9.0)
    for signal in (150.0, 400.0, 3000.0):
        sd = transfer.variance(signal) ** 0.5
        step = transfer.stabilise(signal + sd / 2) - transfer.stabilise(signal - sd / 2)
        assert step == pytest.approx(1.0, abs=0.02)


def test_constant_noise_gives_a_flat_line():
    rng = np.random.default_rng(0)
    s = rng.uniform(0, 100, 50_000)
    line = photon_transfer(PairCells(s, s + rng.normal(0, 5, s.size), np.ones(s.size)))
    assert line.variance(np.array([1.0, 99.0])) == pytest.approx([25, 25], rel=0.05)


STATIC = np.arange(64.0).reshape(1, 8, 8).repeat(3, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda: cal(np.ones((1, 8, 8))), "1 frame", id="one repeat"),
        pytest.param(lambda: cal(np.full((4, 8, 8), 7)), "same value, 7", id="flat"),
        pytest.param(lambda: cal(np.full((4, 8, 8), np.nan)), "finite", id="NaN"),
        pytest.param(lambda: cal(STATIC), "no noise", id="no noise"),
        pytest.param(lambda: cal(np.ones((2, 3, 8, 8))), "4 axes", id="axes"),
        pytest.param(
            lambda: pseudo(np.ones((2, 8, 8)), np.ones((3, 8, 8))),
            "3 noisy",
            id="count",
        ),
        pytest.param(
            lambda: pseudo(np.ones((2, 8, 9)), np.ones((2, 8, 8))), "shape", id="shape"
        ),
        pytest.param(
            lambda: pseudo(np.ones((0, 8, 8)), np.ones((0, 8, 8))),
            "no frames",
            id="none",
        ),
        pytest.param(
            lambda: pseudo(
                np.ones((1, 64, 64)),
                np.random.default_rng(0).normal(9, 1, (1, 64, 64)),
            ),
            "same value, 1, everywhere",
            id="constant signal",
        ),
    ],
)
def test_unusable_recordings_are_named_errors(make, message):
    with pytest.raises(BadData, match=message):
        make().histogram()


def cal(array):
    return SignalObservationPairs.from_calibration(array)


def pseudo(signal, observation):
    return SignalObservationPairs.from_pseudo_ground_truth(signal, observation)
