"""Results come back with the user's values, axes, scale and history, or not at all."""

from __future__ import annotations

import errno
import io
import tracemalloc

import numpy as np
import pytest
import tifffile
import zarr

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadAxes, BadData, CannotWrite
from napari_ppn2v.files import tiff_writing
from napari_ppn2v.files.images import Spacing, open_image
from napari_ppn2v.files.results import ResultWriter

SCALE = {
    "X": Spacing(0.065, "µm"),
    "Y": Spacing(65, "nm"),
    "Z": Spacing(0.3, "µm"),
    "T": Spacing(1.5, "s"),
}
ENDINGS = ["a.ome.tif", "a.zarr"]


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def result_of(shape, seed=0):
    return np.random.default_rng(seed).normal(500, 90, shape).astype(np.float32)


def write_all(path, image, axes, **options):
    """Write every frame of every channel as it is."""
    count = image.shape[axes.index("C")] if "C" in axes else 1
    with ResultWriter(
        path, as_frames(image, axes, 0).layout, n_channels=count, **options
    ) as writer:
        for channel in range(count):
            for index, frame in enumerate(as_frames(image, axes, channel)):
                writer.write_frame(index, frame, channel=channel)
    return writer


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("axes", ["YX", "TYX", "ZTYX", "CTZYX", "TZCYX", "YXC", "XCTY"])
def test_every_pixel_returns_under_the_axes_it_had(tmp_path, ending, axes):
    shape = tuple({"T": 3, "Z": 4, "C": 2, "Y": 21, "X": 17}[axis] for axis in axes)
    image = result_of(shape)
    writer = write_all(tmp_path / ending, image, axes, pixel_size=SCALE)
    source = open_image(tmp_path / ending)
    assert source.axes == writer.axes
    expected = image.transpose([axes.index(axis) for axis in source.axes])
    np.testing.assert_array_equal(source.data, expected)
    assert source.pixel_size == {a: SCALE[a] for a in axes if a != "C"} | (
        {a: SCALE[a] for a in "ZT"} if ending == "a.ome.tif" else {}
    )
    assert names(tmp_path) == [ending]


def test_tiff_keeps_the_users_order_of_axes_and_zarr_that_of_its_standard(tmp_path):
    image = result_of((3, 2, 4, 21, 17))
    for ending, axes in zip(ENDINGS, ["ZCTYX", "TCZYX"], strict=True):
        assert write_all(tmp_path / ending, image, "ZCTYX").axes == axes


def test_the_tiff_says_to_tifffile_what_it_says_to_us(tmp_path):
    path = tmp_path / "a.ome.tif"
    image = result_of((3, 2, 21, 17))
    write_all(path, image, "TCYX", pixel_size=SCALE, channel_names=["DAPI", "GFP"])
    with tifffile.TiffFile(path) as tif:
        series = tif.series[0]
        assert (series.axes, series.shape) == ("TCYX", (3, 2, 21, 17))
        assert 'PhysicalSizeY="65' in tif.ome_metadata
        assert 'PhysicalSizeYUnit="nm"' in tif.ome_metadata
        np.testing.assert_array_equal(series.asarray(), image)
        numerator, denominator = tif.pages[0].tags["XResolution"].value
    # older tifffile rounds the fraction
    assert numerator / denominator == pytest.approx(1e4 / 0.065, rel=2e-5)
    assert open_image(path).metadata["channel_names"] == ("DAPI", "GFP")


def test_the_zarr_says_to_zarr_what_it_says_to_us(tmp_path):
    image = result_of((3, 2, 21, 17))
    write_all(
        tmp_path / "a.zarr", image, "TCYX", pixel_size=SCALE, channel_names=["a", "b"]
    )
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5"
    assert [axis["name"] for axis in ome["multiscales"][0]["axes"]] == list("tcyx")
    window = ome["omero"]["channels"][1]["window"]
    assert window["end"] == image[:, 1].max()
    np.testing.assert_array_equal(group["0"][:], image)
    assert open_image(tmp_path / "a.zarr").metadata["channel_names"] == ("a", "b")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("side", [(1, 1), (1, 9), (7, 3), (600, 530)])
def test_tiles_in_any_order_fill_frames_of_any_size(tmp_path, ending, side):
    image = result_of((2, *side))
    tiles = [
        (
            frame,
            slice(row, min(row + 256, side[0])),
            slice(col, min(col + 256, side[1])),
        )
        for frame in range(2)
        for row in range(0, side[0], 256)
        for col in range(0, side[1], 256)
    ]
    np.random.default_rng(1).shuffle(tiles)
    with ResultWriter(tmp_path / ending, as_frames(image, "TYX").layout) as writer:
        for frame, rows, columns in tiles:
            writer.write(frame, rows, columns, image[frame, rows, columns])
    found = np.asarray(open_image(tmp_path / ending).data)
    np.testing.assert_array_equal(found.reshape(image.shape), image)


@pytest.mark.parametrize("ending", ENDINGS)
def test_provenance_told_at_the_end_can_be_read_back(tmp_path, ending):
    image = result_of((2, 21, 17))
    layout = as_frames(image, "TYX").layout
    with ResultWriter(
        tmp_path / ending, layout, provenance={"early": 1}, pixel_size=SCALE
    ) as writer:
        for index, frame in enumerate(image):
            writer.write_frame(index, frame)
        writer.provenance = {"seed": 3, "text": 'a < "b" & σ µm', "long": "x" * 5000}
    source = open_image(tmp_path / ending)
    assert source.metadata["provenance"] == writer.provenance
    np.testing.assert_array_equal(source.data, image)


def test_one_channel_of_several_is_written_without_channel_axis(tmp_path):
    image = result_of((3, 2, 21, 17))
    frames = as_frames(image, "TCYX", channel=1)
    with ResultWriter(tmp_path / "a.tif", frames.layout) as writer:
        for index, frame in enumerate(frames):
            writer.write_frame(index, frame)
    source = open_image(tmp_path / "a.tif")
    assert source.axes == "TYX"
    np.testing.assert_array_equal(source.data, image[:, 1])


def test_channels_cannot_be_put_together_without_a_channel_axis(tmp_path):
    with pytest.raises(BadAxes, match="no channel axis"):
        ResultWriter(tmp_path / "a.tif", as_frames(np.eye(5)).layout, n_channels=2)


class TestTypes:
    VALUES = np.array([[-3.2, 0.4, 1.5, 2.5], [254.6, 255.4, 300, 1e9]], np.float32)

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_integers_are_rounded_and_clipped_and_the_clipped_counted(
        self, tmp_path, ending
    ):
        writer = write_all(tmp_path / ending, self.VALUES, "YX", dtype=">u1")
        found = np.asarray(open_image(tmp_path / ending).data)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, [[0, 0, 2, 2], [255, 255, 255, 255]])
        assert writer.clipped == (1, 2)

    @pytest.mark.parametrize("dtype", ["i1", "u2", "i2", "u4", "i4", "u8", "i8"])
    def test_each_integer_type_clips_at_its_own_limits(self, tmp_path, dtype):
        info = np.iinfo(dtype)
        image = np.array([[-1e30, 7.0, 1e30]], np.float32)
        writer = write_all(tmp_path / "a.zarr", image, "YX", dtype=dtype)
        found = open_image(tmp_path / "a.zarr").data[0]
        assert [int(value) for value in found] == [info.min, 7, info.max]
        assert writer.clipped == (1, 1)

    def test_the_float_just_beyond_the_largest_integer_does_not_wrap_around(
        self, tmp_path
    ):
        image = np.array([[2.0**64, 2.0**63]])
        with ResultWriter(
            tmp_path / "a.zarr", as_frames(image).layout, dtype="u8"
        ) as writer:
            writer.write_frame(0, image)
        found = [int(value) for value in open_image(tmp_path / "a.zarr").data[0]]
        assert found == [2**64 - 1, 2**63]
        assert writer.clipped == (0, 1)

    def test_half_precision_clips_at_its_limit(self, tmp_path):
        writer = write_all(tmp_path / "a.zarr", self.VALUES, "YX", dtype="f2")
        assert open_image(tmp_path / "a.zarr").data[1, 3] == np.finfo("f2").max
        assert writer.clipped == (0, 1)

    @pytest.mark.parametrize("dtype", ["i8", "u8", "f2"])
    def test_types_that_ome_tiff_lacks_are_refused_at_the_start(self, tmp_path, dtype):
        with pytest.raises(CannotWrite, match="cannot hold"):
            ResultWriter(tmp_path / "a.tif", as_frames(np.eye(5)).layout, dtype=dtype)


def test_bigtiff_is_used_where_offsets_need_it(tmp_path, monkeypatch):
    image = result_of((2, 21, 17))
    write_all(tmp_path / "small.tif", image, "TYX")
    monkeypatch.setattr(tiff_writing, "BIGTIFF_FROM", image.nbytes)
    write_all(tmp_path / "big.tif", image, "TYX", provenance={"a": 1})
    for name, is_big in (("small.tif", False), ("big.tif", True)):
        with tifffile.TiffFile(tmp_path / name) as tif:
            assert tif.is_bigtiff == is_big
        np.testing.assert_array_equal(open_image(tmp_path / name).data, image)


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    frame = result_of((256, 256))
    layout = as_frames(np.broadcast_to(frame, (200, 256, 256)), "TYX").layout
    with ResultWriter(tmp_path / "a.tif", layout) as writer:
        writer.write_frame(0, frame)
        tracemalloc.start()
        for index in range(1, 200):
            writer.write_frame(index, frame)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 12 * frame.nbytes


@pytest.mark.parametrize("ending", ENDINGS)
class TestFailures:
    @pytest.fixture
    def old(self, tmp_path, ending):
        """An older result under the final name."""
        image = result_of((2, 21, 17), seed=9)
        write_all(tmp_path / ending, image, "TYX")
        return image

    @pytest.fixture
    def image(self):
        return result_of((2, 21, 17))

    @pytest.fixture(autouse=True)
    def _older_result_is_kept(self, tmp_path, ending, old):
        yield
        assert names(tmp_path) == [ending]
        np.testing.assert_array_equal(open_image(tmp_path / ending).data, old)

    def interrupted(self, path, image, error):
        with ResultWriter(path, as_frames(image, "TYX").layout) as writer:
            writer.write_frame(0, image[0])
            raise error

    @pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
    def test_an_interruption(self, tmp_path, ending, image, error):
        with pytest.raises(type(error)):
            self.interrupted(tmp_path / ending, image, error)

    def test_a_job_that_ends_early(self, tmp_path, ending, image):
        writer = ResultWriter(tmp_path / ending, as_frames(image, "TYX").layout)
        with pytest.raises(CannotWrite, match="357 of 714 pixels are missing"), writer:
            writer.write_frame(0, image[0])

    def test_values_not_finite(self, tmp_path, ending, image):
        image[1, 2, 3] = np.nan
        layout = as_frames(image, "TYX").layout
        writer = ResultWriter(tmp_path / ending, layout)
        with pytest.raises(BadData, match="frame 1 holds 1 values"), writer:
            writer.write_frame(1, image[1])

    def test_blocks_that_do_not_fit(self, tmp_path, ending, image):
        layout = as_frames(image, "TYX").layout
        writer = ResultWriter(tmp_path / ending, layout)
        with pytest.raises(BadData, match="does not fit"), writer:
            writer.write(0, slice(0, 5), slice(0, 5), image[0])
        with pytest.raises(IndexError), writer:
            writer.write_frame(2, image[0])
        with pytest.raises(IndexError), writer:
            writer.write_frame(0, image[0], channel=1)

    def test_too_little_space_at_the_start(self, tmp_path, ending):
        huge = np.broadcast_to(np.float32(1), (10**6, 10**5, 10**5))
        writer = ResultWriter(tmp_path / ending, as_frames(huge, "TYX").layout)
        with pytest.raises(CannotWrite, match="free on this drive"), writer:
            pytest.fail("the block must not run")


@pytest.mark.parametrize("at", ["write", "close"])
def test_a_disk_that_runs_full_while_writing(tmp_path, at):
    image = result_of((2, 21, 17))

    class Full(io.FileIO):
        def write(self, block):
            raise OSError(errno.ENOSPC, "No space left on device")

    def filled_up():
        with ResultWriter(tmp_path / "a.tif", as_frames(image, "TYX").layout) as writer:
            inner = writer._target
            inner._file.close()
            raw = Full(inner._path, "r+")
            # a buffer shows the error only when it is flushed at the end
            inner._file = raw if at == "write" else io.BufferedRandom(raw)
            for index, frame in enumerate(image):
                writer.write_frame(index, frame)

    with pytest.raises(CannotWrite, match="disk is full"):
        filled_up()
    assert names(tmp_path) == []


@pytest.mark.parametrize("ending", ["a.png", "a", "a.npy"])
def test_endings_that_are_not_written_are_named(tmp_path, ending):
    with pytest.raises(CannotWrite, match=r"as \.tif, \.ome\.tif or \.zarr"):
        ResultWriter(tmp_path / ending, as_frames(np.eye(5)).layout)


def test_a_result_may_replace_the_image_it_was_made_from(tmp_path):
    path = tmp_path / "a.tif"
    write_all(path, result_of((3, 21, 17)), "TYX")
    source = open_image(path)
    frames = as_frames(source.data, source.axes)
    with ResultWriter(path, frames.layout) as writer:
        for index, frame in enumerate(frames):
            writer.write_frame(index, frame + 1)
    np.testing.assert_array_equal(open_image(path).data, result_of((3, 21, 17)) + 1)


def test_writing_outside_of_the_block_is_a_mistake(tmp_path):
    writer = ResultWriter(tmp_path / "a.tif", as_frames(np.eye(5)).layout)
    with pytest.raises(RuntimeError, match="inside its `with` block"):
        writer.write_frame(0, np.eye(5))
