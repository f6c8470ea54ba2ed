"""OME-Zarr as its specifications ask for it, with levels for viewers."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pytest
import zarr

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadSetting, CannotWrite
from napari_ppn2v.files.images import Spacing, open_image
from napari_ppn2v.files.pyramid import halved, level_shapes
from napari_ppn2v.files.results import ResultWriter

SCALE = {"X": Spacing(0.1, "µm"), "Y": Spacing(0.2, "µm"), "T": Spacing(1.5, "s")}
ALLOWED_TYPES = {"time", "channel", "space"}


def noisy(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(90, 4000, shape).astype(dtype)


def write(path, image, axes, **options):
    n_channels = image.shape[axes.index("C")] if "C" in axes else None
    layout = as_frames(image, axes, 0).layout
    options = {"dtype": image.dtype, "pixel_size": SCALE, **options}
    with ResultWriter(path, layout, n_channels=n_channels, **options) as writer:
        for channel in range(n_channels or 1):
            for index, frame in enumerate(as_frames(image, axes, channel)):
                writer.write_frame(index, frame, channel=channel)
    return path


def described(path, version):
    """Attributes of an image, read as JSON without any Zarr library."""
    if version == "0.4":
        assert json.loads((path / ".zgroup").read_text()) == {"zarr_format": 2}
        attributes = json.loads((path / ".zattrs").read_text())
        return attributes, attributes["multiscales"][0]["version"]
    group = json.loads((path / "zarr.json").read_text())
    assert (group["zarr_format"], group["node_type"]) == (3, "group")
    return group["attributes"]["ome"], group["attributes"]["ome"]["version"]


@pytest.fixture(params=["0.5", "0.4"])
def version(request):
    return request.param


@pytest.mark.parametrize("axes", ["YX", "TYX", "ZCYX", "TCZYX"])
def test_metadata_hold_what_the_specification_requires(tmp_path, version, axes):
    shape = tuple({"T": 2, "Z": 3, "C": 2, "Y": 21, "X": 17}[axis] for axis in axes)
    path = tmp_path / "a.zarr"
    names = ("DAPI", "GFP") if "C" in axes else ()
    write(path, noisy(*shape), axes, ome_zarr_version=version, channel_names=names)
    ome, stated = described(path, version)
    assert stated == version
    (image,) = ome["multiscales"]
    order = [axis["type"] for axis in image["axes"]]
    # 2 to 5 axes: time, then channel, then space, of which two or three
    assert order == sorted(order, key=["time", "channel", "space"].index)
    assert 2 <= order.count("space") <= 3
    assert order.count("time") <= 1
    assert order.count("channel") <= 1
    assert set(order) <= ALLOWED_TYPES
    assert len({axis["name"] for axis in image["axes"]}) == len(axes)
    for dataset in image["datasets"]:
        array = zarr.open_array(str(path / dataset["path"]), mode="r")
        kinds = [t["type"] for t in dataset["coordinateTransformations"]]
        assert kinds in (["scale"], ["scale", "translation"])
        for transformation in dataset["coordinateTransformations"]:
            assert len(transformation[transformation["type"]]) == array.ndim
        if version == "0.5":
            assert list(array.metadata.dimension_names) == [
                axis["name"] for axis in image["axes"]
            ]
        else:
            meta = json.loads((path / dataset["path"] / ".zarray").read_text())
            assert (meta["zarr_format"], meta["dimension_separator"]) == (2, "/")
            assert meta["compressor"]["id"] == "blosc"
    for channel in ome.get("omero", {"channels": []})["channels"]:
        assert set(channel["window"]) == {"start", "end", "min", "max"}
        assert len(bytes.fromhex(channel["color"])) == 3
    assert ("omero" in ome) == ("C" in axes)


@pytest.mark.parametrize("axes", ["YX", "XYT", "ZCYX", "TZCYX"])
def test_our_reader_returns_pixels_scale_and_names(tmp_path, version, axes):
    shape = tuple({"T": 2, "Z": 3, "C": 2, "Y": 21, "X": 17}[axis] for axis in axes)
    image = noisy(*shape)
    names = ("DAPI", "GFP") if "C" in axes else ()
    path = write(
        tmp_path / "a.zarr",
        image,
        axes,
        ome_zarr_version=version,
        channel_names=names,
        provenance={"seed": 3},
    )
    source = open_image(path)
    assert source.metadata["format"] == f"OME-Zarr {version}"
    assert source.metadata["provenance"] == {"seed": 3}
    assert source.metadata.get("channel_names", ()) == names
    assert source.pixel_size == {a: SCALE[a] for a in axes if a in SCALE}
    np.testing.assert_array_equal(
        source.data, image.transpose([axes.index(axis) for axis in source.axes])
    )


class TestLevels:
    @pytest.mark.parametrize(
        ("size", "expected"),
        [
            ((1024, 800), [(1024, 800)]),
            ((1025, 3), [(1025, 3), (513, 2), (257, 1)]),
            ((4096, 2048), [(4096, 2048), (2048, 1024), (1024, 512), (512, 256)]),
        ],
    )
    def test_halve_the_sides_of_large_frames_until_they_fit_a_screen(
        self, size, expected
    ):
        assert level_shapes(*size) == expected

    def test_are_means_of_four_pixels_and_of_what_is_there_at_an_odd_border(self):
        block = np.array([[1, 3, 10], [5, 7, 20], [2, 4, 9]])
        np.testing.assert_array_equal(halved(block), [[4, 15], [3, 9]])
        np.testing.assert_array_equal(
            halved(block.astype("float32") / 8), [[0.5, 1.875], [0.375, 1.125]]
        )
        assert halved(np.full((3, 3), 65535, "uint16")).max() == 65535

    def test_are_written_whatever_the_order_of_the_tiles(self, tmp_path, version):
        image = noisy(2, 1100, 1301)
        path = tmp_path / "a.zarr"
        tiles = [
            (
                frame,
                slice(top, min(top + 256, 1100)),
                slice(left, min(left + 300, 1301)),
            )
            for frame in range(2)
            for top in range(0, 1100, 256)
            for left in range(0, 1301, 300)
        ]
        np.random.default_rng(1).shuffle(tiles)
        layout = as_frames(image, "TYX").layout
        options = {"ome_zarr_version": version, "dtype": "u2", "pixel_size": SCALE}
        with ResultWriter(path, layout, chunk_side=256, **options) as writer:
            for frame, rows, columns in tiles:
                writer.write(frame, rows, columns, image[frame, rows, columns])
        levels = [zarr.open_array(str(path / name), mode="r") for name in "012"]
        assert [level.shape for level in levels] == [
            (2, 1100, 1301),
            (2, 550, 651),
            (2, 275, 326),
        ]
        assert {level.chunks for level in levels} == {(1, 256, 256)}
        for frame in range(2):
            half = halved(image[frame])
            np.testing.assert_array_equal(levels[0][frame], image[frame])
            np.testing.assert_array_equal(levels[1][frame], half)
            np.testing.assert_array_equal(levels[2][frame], halved(half))

    def test_lie_where_the_full_resolution_lies(self, tmp_path, version):
        path = write(
            tmp_path / "a.zarr", noisy(1100, 1301), "YX", ome_zarr_version=version
        )
        ome, _ = described(path, version)
        datasets = ome["multiscales"][0]["datasets"]
        places = [
            [t[t["type"]] for t in d["coordinateTransformations"]] for d in datasets
        ]
        assert places[0] == [[0.2, 0.1]]
        # the first pixel of a level is the mean of 2 (4) pixels of the recording
        np.testing.assert_allclose(places[1], [[0.4, 0.2], [0.1, 0.05]])
        np.testing.assert_allclose(places[2], [[0.8, 0.4], [0.3, 0.15]])
        assert ome["multiscales"][0]["type"] == "local mean"

    def test_reading_takes_the_full_resolution(self, tmp_path, version):
        image = noisy(1100, 1301)
        path = write(tmp_path / "a.zarr", image, "YX", ome_zarr_version=version)
        np.testing.assert_array_equal(open_image(path).data, image)


def test_a_result_of_one_version_replaces_that_of_the_other(tmp_path):
    path = tmp_path / "a.zarr"
    for version in ("0.4", "0.5", "0.4"):
        write(path, noisy(21, 17), "YX", ome_zarr_version=version)
        assert open_image(path).metadata["format"] == f"OME-Zarr {version}"
    assert sorted(item.name for item in path.iterdir()) == [".zattrs", ".zgroup", "0"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("years of work")
    for version in ("0.4", "0.5"):
        with pytest.raises(CannotWrite, match="not replaced"):
            write(tmp_path / "a.zarr", noisy(21, 17), "YX", ome_zarr_version=version)
    assert (tmp_path / "a.zarr" / "thesis.txt").exists()


def test_an_unknown_version_is_named(tmp_path):
    with pytest.raises(BadSetting, match=r"'0\.3'.*0\.5 or 0\.4"):
        write(tmp_path / "a.zarr", noisy(21, 17), "YX", ome_zarr_version="0.3")


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_processes_write_their_blocks_and_the_writer_keeps_count(
    tmp_path, version, dtype
):
    image = noisy(2, 1100, 700, dtype="float32") - 200
    layout = as_frames(image, "TYX").layout
    path = tmp_path / "a.zarr"
    with ResultWriter(path, layout, dtype=dtype, ome_zarr_version=version) as writer:
        elsewhere = pickle.loads(pickle.dumps(writer.shared))
        for frame in (1, 0):
            for rows in (slice(0, 512), slice(512, 1100)):
                block = image[frame, rows]
                written = elsewhere.write(frame, rows, slice(0, 700), block)
                is_complete = writer.count(written)
                assert is_complete == (rows.stop == 1100)
            elsewhere.fill_smaller_levels(frame, 0)
    expected = np.clip(image, 0, None).astype(dtype) if dtype == "uint16" else image
    np.testing.assert_array_equal(open_image(path).data, expected)
    smaller = zarr.open_array(str(path / "1"), mode="r")
    np.testing.assert_array_equal(smaller[1], halved(expected[1]))
    assert writer.clipped == ((image < 0).sum() if dtype == "uint16" else 0, 0)


def test_pixels_that_no_process_has_written_leave_nothing(tmp_path):
    image = noisy(2, 64, 64, dtype="float32")
    writer = ResultWriter(tmp_path / "a.zarr", as_frames(image, "TYX").layout)
    with pytest.raises(CannotWrite, match="4096 of 8192 pixels are missing"), writer:
        writer.count(writer.shared.write(0, slice(0, 64), slice(0, 64), image[0]))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_being_written_stays_young(tmp_path, monkeypatch):
    """Other computers take old temporary folders for those of killed processes."""
    monkeypatch.setattr("napari_ppn2v.files.zarr_writing.SECONDS_BETWEEN_DATES", 0)
    image = noisy(2, 64, 64, dtype="float32")
    with ResultWriter(tmp_path / "a.zarr", as_frames(image, "TYX").layout) as writer:
        (temporary,) = tmp_path.iterdir()
        os.utime(temporary, (0, 0))
        for index, frame in enumerate(image):
            writer.write_frame(index, frame)
        assert temporary.stat().st_mtime > 1e9
