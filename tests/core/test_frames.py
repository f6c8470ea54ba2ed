"""Any array as frames, and results back in the user's axes."""

from __future__ import annotations

import itertools

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.core.frames import (
    as_frames,
    channel_count,
    check_trainable,
    evenly_spread,
)
from napari_ppn2v.errors import BadAxes, BadData

ALL_AXES = [
    "".join(order)
    for count in range(2, 6)
    for letters in itertools.combinations("TZCYX", count)
    if {"Y", "X"} <= set(letters)
    for order in itertools.permutations(letters)
]


class Counting:
    """An array that remembers how many elements were read from it."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.reads = []

    def __getitem__(self, index):
        part = self.array[index]
        self.reads.append(part.size)
        return part


def numbered(shape, dtype=np.uint16):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@given(axes=st.sampled_from(ALL_AXES), data=st.data())
def test_frames_of_any_axes_return_into_exactly_the_users_array(axes, data):
    sizes = st.integers(1, 4)
    shape = tuple(data.draw(sizes) for _ in axes)
    image = numbered(shape)
    channels = [
        as_frames(image, axes, channel=c) for c in range(channel_count(image, axes))
    ]
    restored = channels[0].layout.restore_channels([list(c) for c in channels])
    assert restored.dtype == np.float32
    np.testing.assert_array_equal(restored, image)


@given(axes=st.sampled_from(ALL_AXES), data=st.data())
def test_one_channel_returns_without_the_channel_axis(axes, data):
    shape = tuple(data.draw(st.integers(1, 3)) for _ in axes)
    image = numbered(shape)
    channel = data.draw(st.integers(0, channel_count(image, axes) - 1))
    frames = as_frames(image, axes, channel=channel)
    expected = image
    if frames.layout.n_channels > 1:
        expected = image.take(channel, axis=axes.index("C"))
    np.testing.assert_array_equal(frames.layout.restore(list(frames)), expected)


def test_frames_are_numbered_in_the_users_order_last_axis_fastest():
    image = numbered((2, 3, 4, 5))
    frames = as_frames(image, "TZYX")
    assert len(frames) == 6
    np.testing.assert_array_equal(frames.frame(4), image[1, 1])
    np.testing.assert_array_equal(as_frames(image, "ZTYX").frame(4), image[1, 1])


def test_only_the_part_asked_for_is_read():
    source = Counting(numbered((100, 64, 48)))
    frames = as_frames(source, "TYX")
    frames.describe()
    chosen = frames.select([7, 93])
    assert source.reads == []
    np.testing.assert_array_equal(chosen.frame(1), source.array[93])
    part = chosen.region(0, slice(60, 80), slice(10, 14))
    np.testing.assert_array_equal(part, source.array[7, 60:64, 10:14])
    assert source.reads == [64 * 48, 16]


def test_region_of_a_transposed_image_is_rows_by_columns():
    image = numbered((5, 6, 7))
    region = as_frames(image, "XTY").region(2, slice(1, 4), slice(0, 2))
    np.testing.assert_array_equal(region, image[0:2, 2, 1:4].T)


@pytest.mark.parametrize(
    "dtype",
    ["u1", "i1", "<u2", ">u2", "<i2", ">i4", "u4", ">u8", "i8", "f2", "<f4", ">f8"],
)
def test_every_real_dtype_becomes_native_float32(dtype):
    image = numbered((3, 4)).astype(dtype)
    frame = as_frames(image).frame(0)
    assert frame.dtype == np.dtype("=f4")
    np.testing.assert_array_equal(frame, image.astype(float))


@pytest.mark.parametrize(
    "wrap", [da.from_array, zarr.array, list], ids=["dask", "zarr", "list"]
)
def test_dask_zarr_and_lists_read_the_same(wrap):
    image = numbered((3, 8, 9))
    np.testing.assert_array_equal(as_frames(wrap(image), "TYX").frame(2), image[2])


def test_a_frame_never_shares_memory_with_the_source():
    image = np.ones((2, 3, 5), np.float32)
    as_frames(image).frame(0)[:] = 5
    assert (image == 1).all()


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((5, 6), "YX", "1 frame of 5 x 6, uint16, no channel axis (guessed)"),
        ((24, 5, 6), "TYX", "24 frames of 5 x 6, uint16, no channel axis (guessed)"),
        (
            (2, 7, 5, 6),
            "TZYX",
            "14 frames of 5 x 6 (T=2, Z=7), uint16, no channel axis (guessed)",
        ),
        (
            (2, 7, 1, 5, 6),
            "TZCYX",
            "14 frames of 5 x 6 (T=2, Z=7), uint16, channel 0 of 1 (guessed)",
        ),
    ],
)
def test_axes_not_given_are_guessed_and_the_guess_is_stated(shape, axes, sentence):
    frames = as_frames(numbered(shape))
    assert frames.layout.axes == axes
    assert frames.layout.guess == sentence
    assert frames.describe() == sentence
    assert as_frames(numbered(shape), axes).layout.guess == ""


def test_every_channel_counted_can_be_read():
    for shape in [(5, 6), (9, 5, 6), (5, 6, 3), (2, 5, 6, 4), (2, 2, 3, 5, 6)]:
        image = numbered(shape)
        channels = [as_frames(image, channel=c) for c in range(channel_count(image))]
        stack = [list(frames) for frames in channels]
        np.testing.assert_array_equal(channels[0].layout.restore_channels(stack), image)


class TestSelection:
    def test_whole_time_points_keep_their_axes(self):
        frames = as_frames(numbered((4, 3, 5, 6)), "TZYX").select(range(3, 9))
        assert frames.layout.shape == (2, 3, 5, 6)

    def test_any_other_choice_lies_along_the_first_frame_axis(self):
        image = numbered((4, 3, 5, 6))
        frames = as_frames(image, "TZYX").select([10, 1])
        assert frames.layout.shape == (2, 1, 5, 6)
        restored = frames.layout.restore(list(frames))
        np.testing.assert_array_equal(restored[:, 0], [image[3, 1], image[0, 1]])

    def test_selecting_twice_counts_within_the_first_selection(self):
        image = numbered((9, 5, 6))
        frames = as_frames(image).select(range(4, 9)).select([2])
        np.testing.assert_array_equal(frames.frame(0), image[6])

    def test_one_image_taken_twice_gains_a_time_axis(self):
        frames = as_frames(numbered((5, 6))).select([0, 0])
        assert (frames.layout.axes, frames.layout.shape) == ("TYX", (2, 5, 6))
        assert frames.layout.restore(list(frames)).shape == (2, 5, 6)

    @pytest.mark.parametrize("wrong", [[], [3], [-1]])
    def test_frames_that_do_not_exist_are_refused(self, wrong):
        with pytest.raises(BadData, match="numbered 0 to 2"):
            as_frames(numbered((3, 5, 6))).select(wrong)


class TestBadInput:
    @pytest.mark.parametrize(
        ("axes", "message"),
        [
            ("TTX", "more than once"),
            ("SYX", "'S' is none of"),
            ("TZX", "'Y' is missing"),
            ("YX", "name 2 axes, the image has 3"),
            ("", "'Y' is missing"),
        ],
    )
    def test_axes_that_do_not_fit_are_refused(self, axes, message):
        with pytest.raises(BadAxes, match=message):
            as_frames(numbered((7, 5, 6)), axes)

    @pytest.mark.parametrize("shape", [(), (7,), (1, 1, 1, 1, 5, 6)])
    def test_too_few_or_too_many_axes_are_refused(self, shape):
        with pytest.raises(BadAxes, match="2 to 5 axes"):
            as_frames(np.ones(shape))

    @pytest.mark.parametrize("shape", [(5, 6, 3), (8, 5, 6, 4)])
    def test_colour_without_a_choice_asks_for_a_channel(self, shape):
        with pytest.raises(BadAxes, match=r"looks like . channels.*channel=0.*axes='T"):
            as_frames(numbered(shape))

    def test_many_channels_without_a_choice_ask_for_one(self):
        with pytest.raises(BadAxes, match=r"has 2 channels.*channel=0 to channel=1"):
            as_frames(numbered((2, 5, 6)), "CYX")

    @pytest.mark.parametrize(("axes", "channel"), [("TYX", 1), ("CYX", 2), ("CYX", -1)])
    def test_a_channel_that_does_not_exist_is_refused(self, axes, channel):
        with pytest.raises(BadAxes, match=f"no channel {channel}"):
            as_frames(numbered((2, 5, 6)), axes, channel=channel)

    @pytest.mark.parametrize("dtype", [bool, complex, object, "U3", "M8[s]"])
    def test_types_without_grey_values_are_refused(self, dtype):
        with pytest.raises(BadData, match="holds no grey values"):
            as_frames(np.empty((5, 6), dtype))

    @pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6)])
    def test_empty_arrays_are_refused(self, shape):
        with pytest.raises(BadData, match="is empty"):
            as_frames(np.empty(shape))

    def test_images_of_different_sizes_are_refused(self):
        with pytest.raises(BadData, match="same size"):
            as_frames([np.ones((2, 3)), np.ones((4, 5))])

    def test_values_not_finite_are_counted_and_located_when_read(self):
        image = np.ones((3, 4, 5))
        image[1, 0, :2] = np.nan
        image[1, 1, 1] = -np.inf
        image[1, 2, 2] = 1e300
        frames = as_frames(image)
        frames.frame(0)
        with pytest.raises(BadData, match=r"Frame 1 holds 2 .*NaN.* and 2 .* of 20"):
            frames.frame(1)

    def test_results_that_do_not_fit_are_refused(self):
        layout = as_frames(numbered((3, 4, 5))).layout
        with pytest.raises(BadData, match="3 frames of 4 x 5"):
            layout.restore(np.ones((2, 4, 5)))
        with pytest.raises(BadAxes, match="no channel axis"):
            layout.restore_channels([np.ones((3, 4, 5))] * 2)

    def test_a_frame_that_does_not_exist_is_an_index_error(self):
        with pytest.raises(IndexError):
            as_frames(numbered((3, 4, 5))).frame(3)

    def test_regions_with_steps_are_refused(self):
        with pytest.raises(ValueError, match="step 1"):
            as_frames(numbered((9, 8))).region(0, slice(None, None, 2), slice(None))


class TestTrainable:
    def test_constant_frames_are_refused(self):
        image = np.repeat([1.0, 2.0], 25).reshape(2, 5, 5)
        with pytest.raises(BadData, match="each of the 2 frames"):
            check_trainable(as_frames(image), 4)

    def test_frames_smaller_than_a_patch_are_refused(self):
        with pytest.raises(BadData, match=r"5 x 90 pixels.* 64 x 64"):
            check_trainable(as_frames(numbered((5, 90))), 64)

    def test_only_the_first_frame_that_varies_is_read(self):
        source = Counting(numbered((9, 8, 8)))
        check_trainable(as_frames(source, "TYX"), 8)
        assert source.reads == [64]


def test_a_region_of_every_frame_is_read_like_frames_of_its_own():
    stack = np.arange(3 * 10 * 12, dtype=np.float32).reshape(3, 10, 12)
    region = as_frames(stack, "TYX").crop(slice(2, 9), slice(4, 50))
    assert region.shape == (7, 8)
    assert region.layout.shape == (3, 7, 8)
    np.testing.assert_array_equal(region.frame(1), stack[1, 2:9, 4:])
    np.testing.assert_array_equal(
        region.region(2, slice(1, 3), slice(0, 2)), stack[2, 3:5, 4:6]
    )
    inner = region.select([2, 0]).crop(slice(1, 3), slice(1, 3))
    np.testing.assert_array_equal(inner.frame(0), stack[2, 3:5, 5:7])


def test_a_region_of_transposed_frames_keeps_rows_and_columns_apart():
    stack = np.arange(10 * 12, dtype=np.float32).reshape(10, 12)
    region = as_frames(stack, "XY").crop(slice(3, 5), slice(0, 4))
    np.testing.assert_array_equal(region.frame(0), stack.T[3:5, 0:4])


def test_a_region_without_pixels_is_refused():
    frames = as_frames(np.zeros((10, 12)), "YX")
    with pytest.raises(BadData, match="10 x 12"):
        frames.crop(slice(10, 12), slice(None))


@given(n=st.integers(0, 500), count=st.integers(0, 600))
def test_evenly_spread_numbers_are_distinct_and_reach_both_ends(n, count):
    chosen = evenly_spread(n, count)
    assert len(chosen) == len(set(chosen)) == min(n, count)
    assert chosen == sorted(chosen)
    if len(chosen) > 1:
        assert (chosen[0], chosen[-1]) == (0, n - 1)
        steps = np.diff(chosen)
        assert steps.max() - steps.min() <= 1
