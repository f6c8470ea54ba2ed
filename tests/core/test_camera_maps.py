"""Per-pixel camera maps: checked, and frames corrected by them one by one."""

import numpy as np
import pytest

from napari_ppn2v.core.camera_maps import CameraMaps, CommonCamera, fixed_pattern
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.photon_transfer import signal_rows, transfer_line
from napari_ppn2v.errors import BadData

SIZE = (48, 64)


def made_maps(seed=0):
    rng = np.random.default_rng(seed)
    return CameraMaps.from_arrays(
        rng.normal(100, 4, SIZE), rng.normal(2.2, 0.1, SIZE), np.full(SIZE, 9.0)
    )


def recording(maps, n_frames=40, seed=1):
    """Repeats of a ramp of 0 to 80 electrons as this camera sees it; and electrons."""
    rng = np.random.default_rng(seed)
    electrons = np.linspace(0, 80, SIZE[0] * SIZE[1]).reshape(SIZE)
    counted = rng.poisson(electrons, (n_frames, *SIZE))
    noise = rng.normal(0, 3, counted.shape)
    return np.rint(maps.offset + maps.gain * counted + noise), electrons


def test_corrected_frames_have_one_offset_and_gain():
    maps = made_maps()
    frames, electrons = recording(maps, 400)
    corrected = maps.correct(as_frames(frames, "TYX"))
    mean = np.mean([corrected.frame(i) for i in range(400)], axis=0)
    common = maps.common
    assert np.abs(mean - common.offset - common.gain * electrons).max() < 6


def test_regions_selections_and_crops_are_corrected_alike():
    maps = made_maps()
    frames = maps.correct(as_frames(recording(maps, 5)[0], "TYX"))
    whole = frames.frame(3)
    rows, columns = slice(5, 20), slice(7, 33)
    np.testing.assert_array_equal(frames.region(3, rows, columns), whole[rows, columns])
    np.testing.assert_array_equal(frames.select([3]).frame(0), whole)
    part = frames.crop(rows, columns)
    np.testing.assert_array_equal(part.frame(3), whole[rows, columns])
    assert part.shape == (15, 26)
    assert (len(frames), frames.dtype) == (5, np.float64)
    assert "corrected with camera maps" in frames.describe()


def test_frames_are_read_one_by_one_and_left_as_they_are():
    class Counting:
        def __init__(self, array):
            self.array, self.read = array, 0
            self.shape, self.dtype = array.shape, array.dtype

        def __getitem__(self, index):
            self.read += 1
            return self.array[index]

    maps = made_maps()
    source = Counting(recording(maps, 6)[0].astype(np.float32))
    before = source.array.copy()
    frames = maps.correct(as_frames(source, "TYX"))
    assert source.read == 0
    frames.frame(2)
    assert source.read == 1
    np.testing.assert_array_equal(source.array, before)


def test_axes_of_the_recording_do_not_matter():
    maps = made_maps()
    stack = recording(maps, 3)[0]
    turned = maps.correct(as_frames(stack.transpose(2, 0, 1), "XTY"))
    plain = maps.correct(as_frames(stack, "TYX"))
    np.testing.assert_array_equal(turned.frame(1), plain.frame(1))


def test_other_pixels_can_be_brought_to_the_camera_of_a_model():
    maps = made_maps()
    frames, electrons = recording(maps, 300)
    corrected = maps.correct(as_frames(frames, "TYX"), CommonCamera(50.0, 1.0))
    mean = np.mean([corrected.frame(i) for i in range(300)], axis=0)
    assert np.abs(mean - 50 - electrons).mean() < 0.6


def test_the_line_of_all_pixels_gets_straight_and_has_the_common_gain():
    maps = made_maps()
    frames = as_frames(recording(maps, 60)[0], "TYX")

    def line(source):
        pairs = SignalObservationPairs.from_calibration(source).histogram()
        return transfer_line(signal_rows(pairs))

    assert line(maps.correct(frames)).slope == pytest.approx(2.2, rel=0.03)
    assert line(maps.correct(frames)).misfit < 0.03


def test_right_maps_remove_the_fixed_pattern_and_wrong_ones_add_some():
    maps = made_maps()
    frames = as_frames(recording(maps)[0], "TYX")
    right = fixed_pattern(frames, maps)
    assert right.after < 0.3 * right.before
    assert "The maps help." in right.in_words
    flat = np.random.default_rng(3).poisson(50, (40, *SIZE)) + 100.0
    wrong = fixed_pattern(as_frames(flat, "TYX"), maps)
    assert wrong.after > 2 * wrong.before + 1
    assert "make it worse" in wrong.in_words


def test_read_noise_follows_the_gain():
    maps = made_maps()
    expected = 3.0 * maps.common.gain / maps.gain
    np.testing.assert_allclose(maps.read_noise(), expected, rtol=1e-5)


def test_a_few_defective_pixels_take_the_medians_and_are_counted():
    gain = np.full(SIZE, 2.0)
    gain[3, 4], gain[5, 6], gain[7, 8] = np.nan, -1.0, 50.0
    maps = CameraMaps.from_arrays(np.full(SIZE, 100), gain)
    assert maps.n_defective == 3
    assert (maps.gain == 2).all()


@pytest.mark.parametrize(
    ("offset", "gain", "message"),
    [
        (np.zeros(SIZE), np.zeros(SIZE), "no usable calibration"),
        (np.zeros(SIZE), np.full(SIZE, np.nan), "no usable calibration"),
        (np.zeros(SIZE), np.ones((48, 63)), "the same size"),
        (np.zeros(5), np.ones(5), "one value for each pixel"),
    ],
    ids=["no gain", "not finite", "shapes", "not images"],
)
def test_what_is_no_calibration_is_refused(offset, gain, message):
    with pytest.raises(BadData, match=message):
        CameraMaps.from_arrays(offset, gain, name="maps.npz")


def test_frames_of_another_region_are_refused_and_a_crop_fits_them():
    maps = made_maps()
    small = as_frames(np.ones((2, 20, 20)), "TYX")
    with pytest.raises(BadData, match="20 x 20"):
        maps.correct(small)
    assert maps.crop(slice(0, 20), slice(10, 30)).correct(small).shape == (20, 20)


def test_frames_are_not_corrected_twice():
    maps = made_maps()
    once = maps.correct(as_frames(recording(maps, 2)[0], "TYX"))
    with pytest.raises(BadData, match="already"):
        maps.correct(once)
