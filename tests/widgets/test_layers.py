"""Layers are read as they are, and results and previews lie exactly on their source."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points, Shapes

from napari_ppn2v.errors import BadAxes, BadData
from napari_ppn2v.widgets.layers.placing import (
    add_preview,
    add_result,
    describe,
    read_layer,
    rectangle_of,
    update_preview,
    visible_region,
)

LONG = "2024-11-21 HeLa Tubulin-GFP 488 nm 20 ms exposure field 12 of 96 raw data"


@pytest.fixture
def viewer():
    return ViewerModel()


def noise(*shape, dtype=np.float32):
    rng = np.random.default_rng(0)
    return (rng.random(shape) * 200).astype(dtype)


def stack(viewer, shape=(24, 64, 48), **options):
    options = {"name": "cells", "rgb": False, **options}
    return viewer.add_image(noise(*shape), **options)


@pytest.mark.parametrize(
    ("shape", "labels", "axes"),
    [
        ((32, 40), None, "YX"),
        ((5, 32, 40), None, "TYX"),
        ((5, 4, 32, 40), None, "TZYX"),
        ((2, 3, 2, 32, 40), None, "TZCYX"),
        ((5, 32, 40), ("z", "y", "x"), "ZYX"),
        ((5, 2, 32, 40), ("Time", "Channel", "Y", "X"), "TCYX"),
        ((2, 5, 32, 40), ("c", "-3", "-2", "-1"), "CTYX"),
        ((32, 40, 2), ("y", "x", "c"), "YXC"),
        ((5, 32, 40), ("frame", "row", "row"), "TYX"),
    ],
)
def test_axes_come_from_the_labels_or_are_guessed(viewer, shape, labels, axes):
    layer = stack(viewer, shape, **({"axis_labels": labels} if labels else {}))
    assert read_layer(layer).axes == axes


def test_a_plain_line_says_what_was_understood(viewer):
    layer = stack(viewer, axis_labels=("t", "y", "x"))
    layer.data = layer.data.astype(np.uint16)
    data = read_layer(layer)
    assert describe(data) == "24 frames of 64 x 48, uint16, no channel axis"
    assert describe(data, "CYX", 3) == "1 frame of 64 x 48, uint16, channel 3 of 24"
    assert describe(data, "CYX") == "1 frame of 64 x 48, uint16, 24 channels"
    guessed = read_layer(stack(viewer))
    assert describe(guessed).endswith("no channel axis (guessed)")


def test_lazy_arrays_stay_lazy(tmp_path):
    pixels = noise(6, 64, 48, dtype=np.uint16)
    reads = []
    dask_array = dask.array.from_array(pixels, chunks=(1, 64, 48)).map_blocks(
        lambda block: reads.append(1) or block, dtype=np.uint16, meta=pixels[:0]
    )
    zarr_array = zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(1, 64, 48))
    for lazy in (dask_array, zarr_array):
        layer = Image(lazy, name="lazy", contrast_limits=(0, 200))
        reads.clear()
        data = read_layer(layer)
        assert describe(data).startswith("6 frames of 64 x 48, uint16, no channel")
        assert data.data is layer.data
        assert not reads


def test_the_finest_of_several_resolutions_is_used(viewer):
    fine = noise(4, 64, 64)
    layer = viewer.add_image([fine, fine[:, ::2, ::2]], name="pyramid")
    data = read_layer(layer)
    assert data.shape == (4, 64, 64)
    assert data.notice == "'pyramid' holds 2 resolutions; the finest is used."


def test_colours_are_channels(viewer):
    layer = viewer.add_image(noise(64, 48, 3, dtype=np.uint8), rgb=True)
    data = read_layer(layer)
    assert (data.axes, data.layer_axes) == ("YXC", "YX")
    assert describe(data) == "1 frame of 64 x 48, uint8, 3 channels"
    with pytest.raises(BadAxes, match="shown in colour"):
        data.with_axes("TYX")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Labels(np.ones((32, 32), int), name="n"), "layer of the type Labels"),
        (Shapes(name="n"), "layer of the type Shapes"),
        (Points(name="n"), "layer of the type Points"),
        (Image(np.ones((32, 32), bool), name="n"), "looks like a mask"),
        (Image(np.ones((1,) * 4 + (8, 8)), name="n"), "has 6 axes"),
    ],
    ids=["labels", "shapes", "points", "boolean", "6-D"],
)
def test_what_holds_no_image_is_refused_by_name(layer, message):
    with pytest.raises((BadData, BadAxes), match=message) as caught:
        read_layer(layer)
    assert str(caught.value).startswith("'n'")


def test_a_result_lies_on_its_source_and_looks_like_it(viewer):
    layer = stack(
        viewer,
        (3, 4, 32, 40),
        name=LONG,
        scale=(2, 0.5, 0.1, 0.2),
        translate=(0, 10, -3, 7),
        units=("s", "um", "um", "um"),
        axis_labels=("t", "z", "y", "x"),
        colormap="green",
        contrast_limits=(0, 180),
        gamma=0.8,
        blending="additive",
    )
    above = viewer.add_image(noise(8, 8), name="above")
    source = read_layer(layer)
    done = add_result(
        viewer,
        source,
        noise(3, 4, 32, 40),
        what="denoised (MMSE)",
        metadata={"seed": 0},
    )
    assert done.name == f"{LONG} · denoised (MMSE)"
    assert list(viewer.layers) == [layer, done, above]
    for place in ("scale", "translate"):
        np.testing.assert_array_equal(getattr(done, place), getattr(layer, place))
    assert done.units == layer.units
    assert done.axis_labels == layer.axis_labels
    assert done.colormap == layer.colormap
    assert tuple(done.contrast_limits) == (0, 180)
    assert (done.gamma, done.blending) == (0.8, "additive")
    assert done.metadata == {"napari_ppn2v": {"seed": 0}}


@pytest.mark.parametrize("axes", ["TZYX", "YXT", "TCYX"])
@pytest.mark.parametrize("turned", ["rotate", "shear", "affine"])
def test_a_result_lies_on_a_turned_source(viewer, axes, turned):
    n_axes = len(axes)
    shape = tuple({"T": 3, "Z": 4, "C": 2, "Y": 32, "X": 40}[axis] for axis in axes)
    rotation = np.eye(n_axes)
    where = np.ix_([n_axes - 2, n_axes - 1], [n_axes - 2, n_axes - 1])
    rotation[where] = [[0.6, -0.8], [0.8, 0.6]]
    shear = np.eye(n_axes)
    shear[-2, -1] = 0.25
    full = np.eye(n_axes + 1)
    full[:n_axes, :n_axes] = rotation
    options = {"rotate": rotation, "shear": shear, "affine": full}
    scale = np.arange(1, n_axes + 1) / 4
    layer = stack(viewer, shape, scale=scale, **{turned: options[turned]})
    source = read_layer(layer).with_axes(axes)
    done = add_result(viewer, source, noise(*shape), what="denoised", metadata={})
    corners = [np.zeros(n_axes), np.array(shape) - 1.0]
    for corner in corners:
        np.testing.assert_allclose(
            done.data_to_world(corner), layer.data_to_world(corner)
        )


def test_a_result_for_one_channel_keeps_the_place_of_the_other_axes(viewer):
    layer = stack(
        viewer,
        (2, 3, 2, 32, 40),
        scale=(9, 8, 1, 0.1, 0.2),
        translate=(1, 2, 0, 3, 4),
        axis_labels=("t", "z", "c", "y", "x"),
        units=("s", "um", "pixel", "um", "um"),
    )
    done = add_result(
        viewer,
        read_layer(layer),
        noise(2, 3, 32, 40),
        what="denoised",
        metadata={},
        axes="TZYX",
    )
    assert tuple(done.scale) == (9, 8, 0.1, 0.2)
    assert tuple(done.translate) == (1, 2, 3, 4)
    assert done.axis_labels == ("t", "z", "y", "x")
    assert [str(unit) for unit in done.units] == [
        "second",
        "micrometer",
        "micrometer",
        "micrometer",
    ]


def test_a_plane_of_a_stack_keeps_its_scale(viewer):
    layer = stack(viewer, scale=(5, 0.1, 0.2))
    done = add_result(
        viewer,
        read_layer(layer),
        noise(64, 48),
        what="denoised",
        metadata={},
        axes="YX",
    )
    assert tuple(done.scale) == (0.1, 0.2)


def test_the_result_of_a_colour_image_is_in_colour(viewer):
    pixels = noise(64, 48, 3, dtype=np.uint8)
    layer = viewer.add_image(pixels, rgb=True, scale=(2, 3), name="colours")
    source = read_layer(layer)
    done = add_result(viewer, source, pixels, what="denoised", metadata={}, axes="YXC")
    assert done.rgb
    assert tuple(done.scale) == (2, 3)
    one = add_result(viewer, source, noise(64, 48), what="red", metadata={}, axes="YX")
    assert not one.rgb
    assert tuple(one.scale) == (2, 3)


def test_a_result_of_a_source_that_is_gone_comes_last(viewer):
    layer = stack(viewer)
    source = read_layer(layer)
    other = viewer.add_image(noise(8, 8), name="other")
    viewer.layers.remove(layer)
    done = add_result(viewer, source, noise(24, 64, 48), what="denoised", metadata={})
    assert list(viewer.layers) == [other, done]


def test_two_results_have_different_names(viewer):
    source = read_layer(stack(viewer))
    names = {
        add_result(viewer, source, source.data, what="denoised", metadata={}).name
        for _ in range(2)
    }
    assert len(names) == 2


def test_a_result_that_would_look_flat_gets_its_own_contrast(viewer):
    layer = stack(viewer, contrast_limits=(0, 60000))
    image = noise(24, 64, 48) + 1000
    done = add_result(viewer, read_layer(layer), image, what="denoised", metadata={})
    low, high = done.contrast_limits
    assert 1000 <= low < 1010
    assert 1190 < high <= 1200


def test_a_residual_is_symmetric_about_zero(viewer):
    source = read_layer(stack(viewer, colormap="green"))
    image = np.random.default_rng(0).normal(2, 5, (24, 64, 48)).astype(np.float32)
    done = add_result(
        viewer, source, image, what="residual", metadata={}, show_as="residual"
    )
    low, high = done.contrast_limits
    assert low == -high
    assert 14 < high < 22
    assert done.colormap.name == "gray"


def test_an_uncertainty_has_colours_of_its_own(viewer):
    source = read_layer(stack(viewer))
    done = add_result(
        viewer,
        source,
        noise(24, 64, 48),
        what="posterior standard deviation",
        metadata={},
        show_as="posterior_std",
    )
    assert done.colormap.name == "magma"


@pytest.mark.parametrize("value", [0.0, np.nan], ids=["constant", "not a number"])
def test_a_result_without_contrast_can_be_shown(viewer, value):
    source = read_layer(stack(viewer))
    image = np.full((24, 64, 48), value, np.float32)
    done = add_result(viewer, source, image, what="denoised", metadata={})
    assert done.contrast_limits[0] < done.contrast_limits[1]


def test_a_cut_out_time_axis_does_not_disturb(viewer):
    layer = stack(viewer, (64, 48))
    done = add_result(
        viewer,
        read_layer(layer),
        noise(3, 64, 48),
        what="denoised",
        metadata={},
        axes="TYX",
    )
    assert done.axis_labels == ("t", "y", "x")


@pytest.mark.parametrize("axes", ["TZYX", "YXC", "TCYX", "XYT", "YX"])
@settings(max_examples=12)
@given(seed=st.integers(0, 1000))
def test_a_preview_lies_exactly_over_the_pixels_it_shows(axes, seed):
    rng = np.random.default_rng(seed)
    viewer = ViewerModel()
    shape = tuple({"T": 3, "Z": 4, "C": 2, "Y": 32, "X": 40}[axis] for axis in axes)
    n_axes = len(axes)
    angle = rng.uniform(0, 360) if n_axes == 2 else None
    layer = stack(
        viewer,
        shape,
        scale=rng.uniform(0.1, 3, n_axes),
        translate=rng.uniform(-50, 50, n_axes),
        rotate=angle,
    )
    source = read_layer(layer).with_axes(axes)
    n_frames, n_channels = source.layout.n_frames, source.layout.n_channels

    def check(preview, frame, rows, columns, image, channel):
        for y, x in [(0, 0), (image.shape[0] - 1, image.shape[1] - 1)]:
            index = source.layout.index(
                frame, rows.start + y, columns.start + x, channel=channel
            )
            where = preview.world_to_data(layer.data_to_world(index))
            found = preview.data[tuple(np.rint(where).astype(int))]
            assert found == image[y, x]
            np.testing.assert_allclose(where, np.rint(where), atol=1e-6)

    def part():
        frame, channel = int(rng.integers(n_frames)), int(rng.integers(n_channels))
        y, x = rng.integers(0, 20, 2)
        rows, columns = slice(int(y), int(y) + 12), slice(int(x), int(x) + 9)
        return frame, rows, columns, noise(12, 9), channel

    *first, channel = part()
    preview = add_preview(viewer, source, *first, channel=channel)
    check(preview, *first, channel)
    *second, channel = part()
    update_preview(preview, source, *second, channel=channel)
    check(preview, *second, channel)
    assert preview.ndim == layer.ndim


def test_a_preview_of_a_colour_image_is_grey(viewer):
    layer = viewer.add_image(noise(64, 48, 3, dtype=np.uint8), rgb=True)
    preview = add_preview(
        viewer, read_layer(layer), 0, slice(0, 64), slice(0, 48), noise(64, 48)
    )
    assert not preview.rgb
    assert preview.data.shape == (64, 48)


def test_the_frame_on_screen_is_found(viewer):
    layer = stack(
        viewer,
        (3, 4, 32, 40),
        scale=(2, 5, 0.1, 0.1),
        translate=(100, 0, 0, 0),
        units=("s", "um", "um", "um"),
    )
    viewer.dims.set_current_step(0, 2)
    viewer.dims.set_current_step(1, 1)
    frame, rows, columns = visible_region(viewer, layer, "TZYX")
    assert frame == 2 * 4 + 1
    assert (rows, columns) == (slice(0, 32), slice(0, 40))


def test_the_frame_is_found_where_another_layer_has_more_axes(viewer):
    viewer.add_image(noise(7, 3, 32, 40))
    layer = stack(viewer, (3, 32, 40))
    viewer.dims.set_current_step(0, 6)
    viewer.dims.set_current_step(1, 2)
    assert visible_region(viewer, layer, "TYX")[0] == 2


def look_at(viewer, centre, half):
    """Move the camera so that rows and columns from -half to half are on screen."""
    camera = viewer.scene.camera
    viewer.canvas.size = (600, 800)
    camera.center = (0, *centre)
    camera.zoom = 300 / half


@pytest.mark.parametrize("is_several", [False, True], ids=["plain", "multiscale"])
def test_the_part_on_screen_is_found(viewer, is_several):
    fine = noise(3, 512, 512)
    data = [fine, fine[:, ::2, ::2], fine[:, ::4, ::4]] if is_several else fine
    layer = viewer.add_image(data, scale=(1, 0.5, 0.5), multiscale=is_several)
    look_at(viewer, (50, 75), 6)  # pixel 100, 150
    assert visible_region(viewer, layer, "TYX") == (1, slice(88, 113), slice(134, 167))


def test_the_part_on_screen_is_cut_at_the_border(viewer):
    layer = stack(viewer, (3, 64, 48))
    look_at(viewer, (0, 40), 12)
    assert visible_region(viewer, layer, "TYX") == (1, slice(0, 13), slice(24, 48))


def test_where_nothing_is_on_screen_the_whole_frame_counts(viewer):
    layer = stack(viewer, (3, 64, 48))
    look_at(viewer, (500, 500), 12)
    assert visible_region(viewer, layer, "TYX") == (1, slice(0, 64), slice(0, 48))


def test_an_axis_that_runs_into_the_screen_counts_as_a_whole(viewer):
    layer = stack(viewer, (8, 32, 40))
    viewer.dims.order = (2, 0, 1)
    look_at(viewer, (4, 10), 3)
    assert visible_region(viewer, layer, "TYX")[1:] == (slice(6, 15), slice(0, 40))


def test_turned_layers_are_seen_by_their_bounding_box(viewer):
    layer = stack(viewer, (512, 512), rotate=45)
    look_at(viewer, layer.data_to_world((200, 300)), 30)
    _, rows, columns = visible_region(viewer, layer, "YX")
    half = (30 + 40) * np.sqrt(0.5)
    for part, centre in ((rows, 200), (columns, 300)):
        assert abs(part.start - (centre - half)) <= 1
        assert abs(part.stop - (centre + half)) <= 2


def test_a_rectangle_gives_rows_and_columns(viewer):
    layer = stack(viewer, (3, 64, 48), scale=(1, 0.5, 0.25), translate=(0, 10, 0))
    corners = np.array([[0, 4.6, 2], [0, 4.6, 20.4], [0, 30.2, 20.4], [0, 30.2, 2]])
    world = np.array([layer.data_to_world(corner) for corner in corners])
    drawn = viewer.add_shapes(name="drawn", ndim=3)
    drawn.add_ellipses(world[:, :] * 0.5)
    drawn.add_rectangles(world)
    assert rectangle_of(drawn, layer, "TYX") == (slice(5, 31), slice(2, 21))


def test_a_flat_rectangle_over_a_stack_is_cut_at_the_border(viewer):
    layer = stack(viewer, (3, 64, 48))
    drawn = viewer.add_shapes(name="drawn", ndim=2)
    drawn.add_rectangles(np.array([[-5, 40], [-5, 90], [9.2, 90], [9.2, 40]]))
    assert rectangle_of(drawn, layer, "TYX") == (slice(0, 10), slice(40, 48))


def test_without_a_rectangle_it_says_how_to_draw_one(viewer):
    layer = stack(viewer)
    drawn = viewer.add_shapes(name="drawn", ndim=2)
    with pytest.raises(BadData, match="holds no rectangle"):
        rectangle_of(drawn, layer, "TYX")
    drawn.add_rectangles(np.array([[100, 100], [100, 120], [120, 120], [120, 100]]))
    with pytest.raises(BadData, match="outside of the image 'cells'"):
        rectangle_of(drawn, layer, "TYX")
