"""Layers that are saved and opened again keep values, place, axes and provenance."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from napari.layers import Image

from napari_ppn2v.errors import BadAxes, CannotWrite
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.units import Spacing
from napari_ppn2v.napari_writer import write_image

RNG = np.random.default_rng(3)


def saved(layer: Image, path):
    data, attributes, _ = layer.as_layer_data_tuple()
    assert write_image(str(path), data, attributes) == [str(path)]
    return open_image(path)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"]
)
def test_values_and_type_survive(tmp_path, dtype):
    data = RNG.normal(100, 20, (3, 20, 24)).astype(dtype)
    source = saved(Image(data), tmp_path / "a.ome.tif")
    assert source.dtype == dtype
    np.testing.assert_array_equal(np.asarray(source.data), data)


@pytest.mark.parametrize(
    ("given", "written"),
    [("bool", "uint8"), ("float16", "float32"), ("int64", "float64")],
)
def test_types_that_the_format_lacks_are_written_as_one_that_holds_them(
    tmp_path, given, written
):
    data = RNG.integers(0, 2, (8, 9)).astype(given)
    source = saved(Image(data), tmp_path / "a.ome.tif")
    assert source.dtype == written
    np.testing.assert_array_equal(np.asarray(source.data), data)


def test_scale_units_and_axes_survive(tmp_path):
    layer = Image(
        RNG.integers(0, 99, (2, 3, 16, 18), dtype=np.uint16),
        scale=(0.5, 2.0, 0.1, 0.065),
        units=("s", "µm", "µm", "nm"),
        axis_labels=("t", "z", "y", "x"),
    )
    source = saved(layer, tmp_path / "a.ome.tif")
    assert source.axes == "TZYX"
    assert source.pixel_size == {
        "T": Spacing(0.5, "s"),
        "Z": Spacing(2.0, "µm"),
        "Y": Spacing(0.1, "µm"),
        "X": Spacing(0.065, "nm"),
    }


def test_one_pixel_is_not_written_as_a_size(tmp_path):
    source = saved(Image(np.ones((4, 8, 8), np.uint8)), tmp_path / "a.ome.tif")
    assert source.axes == "TYX"
    assert source.pixel_size == {}


@pytest.mark.parametrize("labels", [("y", "x", "t"), ("z", "x", "y")])
def test_rows_and_columns_come_last_wherever_they_were(tmp_path, labels):
    data = RNG.integers(0, 99, (5, 6, 7), dtype=np.uint16)
    scale = dict(zip(labels, (0.2, 0.3, 1.0), strict=True))
    layer = Image(data, axis_labels=labels, scale=tuple(scale.values()))
    source = saved(layer, tmp_path / "a.ome.tif")
    assert source.axes[-2:] == "YX"
    order = [labels.index(axis.lower()) for axis in source.axes]
    np.testing.assert_array_equal(np.asarray(source.data), data.transpose(order))


def test_colours_of_rgb_become_channels(tmp_path):
    data = RNG.integers(0, 255, (10, 12, 3), dtype=np.uint8)
    source = saved(Image(data, rgb=True, scale=(0.5, 0.5)), tmp_path / "a.ome.tif")
    assert source.axes == "CYX"
    np.testing.assert_array_equal(np.asarray(source.data), data.transpose(2, 0, 1))
    assert source.pixel_size["X"].size == 0.5


def test_of_a_multiscale_layer_the_full_resolution_is_saved(tmp_path):
    data = RNG.integers(0, 99, (32, 32), dtype=np.uint16)
    layer = Image([data, data[::2, ::2]], multiscale=True)
    source = saved(layer, tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(np.asarray(source.data), data)


def test_lazy_layers_are_saved(tmp_path):
    data = RNG.integers(0, 99, (4, 32, 32), dtype=np.uint16)
    lazy = dask.array.from_array(data, chunks=(1, 32, 32))
    source = saved(Image(lazy), tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(np.asarray(source.data), data)


def test_how_a_result_was_made_is_kept(tmp_path):
    made = {"estimate": "mmse", "gain": np.float32(2.5), "axes": ("t", "y", "x")}
    layer = Image(
        np.ones((8, 8), np.float32), name="cells", metadata={"napari_ppn2v": made}
    )
    provenance = saved(layer, tmp_path / "a.ome.tif").metadata["provenance"]
    assert provenance["layer"] == "cells"
    assert provenance["estimate"] == "mmse"
    assert provenance["gain"] == 2.5


def test_what_json_cannot_say_about_a_layer_is_no_reason_not_to_save(tmp_path):
    layer = Image(
        np.ones((8, 8), np.float32),
        metadata={"napari_ppn2v": {"model": object(), "steps": 3}, "other": object()},
    )
    provenance = saved(layer, tmp_path / "a.ome.tif").metadata["provenance"]
    assert provenance["steps"] == 3


def test_pixels_without_a_value_are_counted_and_nothing_is_left(tmp_path):
    data = np.ones((2, 8, 8), np.float32)
    data[1, 2, 3:5] = np.nan
    with pytest.raises(CannotWrite, match="2 pixels of frame 1"):
        saved(Image(data, name="gaps"), tmp_path / "a.ome.tif")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_saving_fails(tmp_path):
    path = tmp_path / "a.ome.tif"
    saved(Image(np.ones((8, 8), np.float32)), path)
    before = path.read_bytes()
    with pytest.raises(CannotWrite):
        saved(Image(np.full((8, 8), np.inf, np.float32), contrast_limits=(0, 1)), path)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.ome.tif"]


def test_six_axes_are_refused_in_words(tmp_path):
    layer = Image(np.ones((1, 1, 1, 1, 8, 8), np.uint8))
    with pytest.raises(BadAxes, match="up to five"):
        saved(layer, tmp_path / "a.ome.tif")


def test_complex_numbers_are_refused_in_words(tmp_path):
    with pytest.raises(CannotWrite, match="complex"):
        write_image(str(tmp_path / "a.ome.tif"), np.ones((4, 4), complex), {})


@pytest.mark.parametrize("plugin", ["napari-ppn2v", None])
def test_napari_saves_a_layer_with_its_scale(
    viewer_rig, make_napari_viewer, tmp_path, plugin
):
    """Also without naming the plugin: no other writer claims .ome.tif."""
    viewer = make_napari_viewer()
    data = RNG.integers(0, 999, (3, 16, 16), dtype=np.uint16)
    viewer.add_image(
        data,
        name="result",
        scale=(1, 0.1, 0.1),
        units=("pixel", "µm", "µm"),
        axis_labels=("t", "y", "x"),
    )
    path = tmp_path / "result.ome.tif"
    assert viewer.layers["result"].save(path, plugin=plugin) == [str(path)]
    source = open_image(path)
    assert source.axes == "TYX"
    assert source.pixel_size == {"Y": Spacing(0.1, "µm"), "X": Spacing(0.1, "µm")}
    np.testing.assert_array_equal(np.asarray(source.data), data)
