"""Layers of napari on one side, arrays with axes on the other.

With `layer_data` the only module that knows how a layer holds its pixels and its place.
All functions belong on the GUI thread.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image
from napari.utils.transforms import Affine

from napari_ppn2v.core.axes import AxisLayout, check_axes
from napari_ppn2v.errors import BadData
from napari_ppn2v.widgets.layers.data import (
    LayerData,
    array_source,
    describe,
    read_layer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

__all__ = [
    "LayerData",
    "add_overlay",
    "add_preview",
    "add_result",
    "array_source",
    "describe",
    "read_layer",
    "rectangle_of",
    "update_preview",
    "visible_region",
]

Show = Literal["estimate", "posterior_std", "residual"]

_FAR_AWAY = 1e12  # in world units; beyond any image
_SAMPLES = 200_000  # pixels that contrast limits are computed from
_PERCENTILES = (0.1, 99.9)
_USED_RANGE = 0.2  # share of the source's limits below which a result looks flat
_BEYOND_RANGE = 0.25  # share of the source's limits by which a result may exceed them


def add_result(
    viewer: ViewerModel,
    source: LayerData,
    image: NDArray,
    *,
    what: str,
    metadata: dict[str, Any],
    axes: str | None = None,
    show_as: Show = "estimate",
) -> Image:
    """Add a result as a layer that lies on its source, right above it in the list.

    Parameters
    ----------
    image
        Array in the axes `axes`.
    what
        Second half of its name: "denoised (MMSE)".
    metadata
        Kept in the layer under "napari_ppn2v": where the result comes from.
    axes
        Letters of "TZCYX"; those of the source if not given. Fewer are allowed: one
        channel of several has no C.
    show_as
        An estimate is shown like its source; a posterior standard deviation and a
        residual have colours and contrast of their own.

    Raises
    ------
    BadAxes  If the axes do not fit the array.
    """
    letters = check_axes(axes or source.axes, image.shape)
    is_rgb = (
        source.is_rgb
        and letters.endswith("C")
        and image.shape[-1] in (3, 4)
        and show_as == "estimate"
    )
    if source.is_rgb and letters.endswith("C") and not is_rgb:
        # planes to scroll through: napari takes the last two axes for the image
        image, letters = np.moveaxis(image, -1, 0), f"C{letters[:-1]}"
    place = _placed(source, letters[:-1] if is_rgb else letters)
    layer = Image(
        image,
        rgb=is_rgb,
        name=f"{source.name} · {what}",
        metadata={"napari_ppn2v": metadata},
        blending=source.blending,
        **place,
        **({} if is_rgb else _appearance(source, image, show_as)),
    )
    return _insert(viewer, source, layer)


def add_preview(
    viewer: ViewerModel,
    source: LayerData,
    frame: int,
    rows: slice,
    columns: slice,
    image: NDArray,
    *,
    channel: int = 0,
) -> Image:
    """Add a layer that shows a part of one frame exactly where it is in its source.

    Parameters
    ----------
    frame
        Number of the frame in the layout of `source`.
    rows, columns
        Pixels of the frame that `image` belongs to.
    image
        (Y, X), ADU.
    channel
        Which channel it belongs to.
    """
    axes = source.layer_axes
    place = _placed(source, axes)
    place["translate"] = _corner(source, frame, rows, columns, channel)
    layer = Image(
        _as_block(source, image),
        rgb=False,
        name=f"{source.name} · preview",
        metadata={"napari_ppn2v": {"is_preview": True}},
        blending=source.blending,
        **place,
        **_appearance(source, image, "estimate"),
    )
    return _insert(viewer, source, layer)


def add_overlay(
    viewer: ViewerModel,
    source: LayerData,
    above: Layer,
    frame: int,
    image: NDArray,
    *,
    what: str,
    channel: int = 0,
    look: dict[str, Any],
) -> Image:
    """Add a layer over another one, for the middle of one frame of its source.

    Parameters
    ----------
    above : layer that it is laid over
    frame : number of the frame in the layout of `source`
    image : (Y, X), no larger than a frame
    what : second half of its name
    look : colours, contrast limits and what else a layer is told
    """
    height, width = source.layout.frame_shape
    rows, columns = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    place = _placed(source, source.layer_axes)
    place["translate"] = _corner(
        source, frame, slice(rows, None), slice(columns, None), channel
    )
    layer = Image(
        _as_block(source, image),
        rgb=False,
        name=f"{source.name} · {what}",
        metadata={"napari_ppn2v": {"is_overlay": True}},
        **place,
        **look,
    )
    return _insert(viewer, replace(source, layer=above), layer)


def update_preview(
    layer: Image,
    source: LayerData,
    frame: int,
    rows: slice,
    columns: slice,
    image: NDArray,
    *,
    channel: int = 0,
) -> None:
    """Show another image in a layer made by `add_preview`, perhaps at another place."""
    layer.data = _as_block(source, image)
    corner = _corner(source, frame, rows, columns, channel)
    if not np.allclose(layer.translate, corner):
        layer.translate = corner


def visible_region(
    viewer: ViewerModel, layer: Layer, axes: str
) -> tuple[int, slice, slice]:
    """Return which pixels of an image layer are on screen.

    Parameters
    ----------
    axes
        Letters of the layer's data, with the C of RGB.

    Returns
    -------
    frame : int
        Number of the frame in the layout of these axes.
    rows, columns : slice
        Of the frame; all of it where the canvas shows nothing of the layer.
    """
    layer, viewer = _real(layer), _real(viewer)
    data = layer.data[0] if layer.multiscale else layer.data
    layout = AxisLayout(axes, tuple(int(size) for size in data.shape))
    point = np.asarray(viewer.dims.point)
    at = np.rint(layer.world_to_data(point)).astype(int)
    sizes = tuple(layout.size(axis) for axis in layout.frame_axes)
    position = [
        int(np.clip(at[axes.index(axis)], 0, size - 1))
        for axis, size in zip(layout.frame_axes, sizes, strict=True)
    ]
    frame = int(np.ravel_multi_index(position, sizes)) if sizes else 0
    corners = [layer.world_to_data(corner) for corner in _canvas_corners(viewer)]
    parts = []
    for axis in "YX":
        dim = axes.index(axis)
        along = [corner[dim] for corner in corners]
        parts.append(_part_between(min(along), max(along), layout.size(axis)))
    if any(part.stop <= part.start for part in parts):
        height, width = layout.frame_shape
        return frame, slice(0, height), slice(0, width)
    return frame, parts[0], parts[1]


def rectangle_of(shapes_layer: Layer, layer: Layer, axes: str) -> tuple[slice, slice]:
    """Return the rows and columns of an image inside the first rectangle drawn.

    Parameters
    ----------
    axes
        Letters of the image layer's data, with the C of RGB.

    Raises
    ------
    BadData  If there is no rectangle, or no pixel of the image inside of it.
    """
    shapes_layer, layer = _real(shapes_layer), _real(layer)
    kinds = list(getattr(shapes_layer, "shape_type", ()))
    if "rectangle" not in kinds:
        raise BadData(
            f"The layer '{shapes_layer.name}' holds no rectangle. Draw one around the "
            "part to train on with the rectangle tool (R) of a shapes layer."
        )
    corners = np.asarray(shapes_layer.data[kinds.index("rectangle")])
    inside = np.array(
        [layer.world_to_data(shapes_layer.data_to_world(corner)) for corner in corners]
    )
    data = layer.data[0] if layer.multiscale else layer.data
    parts = []
    for axis in "YX":
        dim = axes.index(axis)
        # a pixel counts where its centre, at whole numbers, lies inside
        start = max(0, math.ceil(inside[:, dim].min()))
        stop = min(int(data.shape[dim]), math.floor(inside[:, dim].max()) + 1)
        if stop <= start:
            raise BadData(
                f"The rectangle in '{shapes_layer.name}' lies outside of the image "
                f"'{layer.name}'. Draw it over the image."
            )
        parts.append(slice(start, stop))
    return parts[0], parts[1]


def _placed(source: LayerData, axes: str) -> dict[str, Any]:
    """Scale, place, units and labels of a layer with some of the source's axes.

    An axis that the source does not have gets scale 1 and no unit.
    """
    known = source.layer_axes
    at = [known.find(axis) for axis in axes]  # -1 for those it does not have
    has = [i for i, place in enumerate(at) if place >= 0]
    keep = [at[i] for i in has]

    def matrix(values: NDArray) -> NDArray:
        square = np.eye(len(axes))
        square[np.ix_(has, has)] = values[np.ix_(keep, keep)]
        return square

    affine = np.eye(len(axes) + 1)
    affine[:-1, :-1] = matrix(source.affine)
    affine[has, -1] = source.affine[keep, -1]
    return {
        "scale": _for_each(at, source.scale, [1.0] * len(axes)),
        "translate": _for_each(at, source.translate, [0.0] * len(axes)),
        "rotate": matrix(source.rotate),
        "shear": matrix(_shear_matrix(source)),
        "affine": affine,
        "units": _for_each(at, source.units, ["pixel"] * len(axes)),
        # numbers, which napari gives, say nothing beside letters
        "axis_labels": (
            tuple(axes.lower())
            if -1 in at
            else tuple(source.axis_labels[i] for i in keep)
        ),
    }


def _for_each(at: Sequence[int], values: Sequence, others: Sequence) -> tuple:
    """Return the values at these places, the other ones where the place is -1."""
    return tuple(
        other if place < 0 else values[place]
        for place, other in zip(at, others, strict=True)
    )


def _shear_matrix(source: LayerData) -> NDArray:
    if source.shear.ndim == 2:
        return source.shear
    matrix = np.eye(len(source.scale))
    matrix[np.triu_indices(len(matrix), k=1)] = source.shear
    return matrix


def _corner(
    source: LayerData, frame: int, rows: slice, columns: slice, channel: int
) -> NDArray:
    """Return where the first pixel of a part of a frame is, as a translation."""
    at = {"C": channel, "Y": rows.start or 0, "X": columns.start or 0}
    at.update(source.layout.positions(frame))
    pixel = np.array([at[axis] for axis in source.layer_axes], float)
    to_world = Affine(
        scale=source.scale, rotate=source.rotate, shear=_shear_matrix(source)
    ).linear_matrix
    return np.asarray(source.translate) + to_world @ pixel


def _as_block(source: LayerData, image: NDArray) -> NDArray:
    """Give a (Y, X) image all dimensions of the source's layer, of size 1."""
    sizes = dict.fromkeys(source.layer_axes, 1)
    sizes["Y"], sizes["X"] = image.shape
    turned = image.T if source.layout.is_transposed else image
    return turned.reshape([sizes[axis] for axis in source.layer_axes])


def _appearance(source: LayerData, image: NDArray, show_as: Show) -> dict[str, Any]:
    low, high = _robust_limits(image)
    if show_as == "posterior_std":
        return {"colormap": "magma", "contrast_limits": _apart(low, high)}
    if show_as == "residual":
        width = max(abs(low), abs(high))
        return {"colormap": "gray", "contrast_limits": _apart(-width, width)}
    limits = source.contrast_limits
    width = limits[1] - limits[0]
    is_like_source = (
        low >= limits[0] - _BEYOND_RANGE * width
        and high <= limits[1] + _BEYOND_RANGE * width
        and high - low >= _USED_RANGE * width
    )
    look = {"contrast_limits": limits if is_like_source else _apart(low, high)}
    if source.is_rgb:
        return look
    return {**look, "colormap": source.colormap, "gamma": source.gamma}


def _robust_limits(image: NDArray) -> tuple[float, float]:
    step = max(1, image.size // _SAMPLES)
    # a step that shares no factor with the width sees all columns
    step += step > 1 and image.shape[-1] % step == 0
    values = np.ravel(image)[::step].astype(np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)


def _apart(low: float, high: float) -> tuple[float, float]:
    """Return limits that napari accepts: the second above the first."""
    return (low, high) if high > low else (low, low + max(1.0, abs(low) * 1e-3))


def _insert(viewer: ViewerModel, source: LayerData, layer: Image) -> Image:
    layers = _real(_real(viewer).layers)
    if source.layer is not None and source.layer in layers:
        layers.insert(layers.index(source.layer) + 1, layer)
    else:
        layers.append(layer)
    return layer


def _canvas_corners(viewer: Any) -> list[NDArray]:
    """Return the world coordinates of what is on screen, by its outermost corners.

    A dimension that is not on screen counts as a whole. Not read from the layer: what
    a multiscale layer says of itself is what it has loaded, which is more.
    """
    camera = getattr(viewer, "scene", viewer).camera
    canvas = getattr(viewer, "canvas", None)
    size = viewer._canvas_size if canvas is None else canvas.viewbox_size(viewer.layers)
    half = np.asarray(size) / camera.zoom / 2
    low = np.full(viewer.dims.ndim, -_FAR_AWAY)
    high = np.full(viewer.dims.ndim, _FAR_AWAY)
    if viewer.dims.ndisplay == 2:
        shown = list(viewer.dims.displayed)
        low[shown] = camera.center[-2:] - half
        high[shown] = camera.center[-2:] + half
    return [
        np.array(corner) for corner in itertools.product(*zip(low, high, strict=True))
    ]


def _part_between(low: float, high: float, size: int) -> slice:
    """Return the pixels of which a part lies between two coordinates."""
    # pixel i reaches from i - 0.5 to i + 0.5
    start, stop = math.floor(low + 0.5), math.ceil(high + 0.5)
    return slice(min(max(0, start), size), max(0, min(size, stop)))


def _real(proxied: Any) -> Any:
    """Return what is behind the proxy that napari hands to plugins."""
    return getattr(proxied, "__wrapped__", proxied)
