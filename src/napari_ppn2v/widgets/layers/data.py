"""What the engine needs to know of an image layer, read once on the GUI thread."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_ppn2v.core.axes import AXES, AxisLayout, check_axes
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadAxes, BadData
from napari_ppn2v.session.script_text import ArraySource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Layer

_WORDS = {
    "T": ("t", "time", "times", "timepoint", "frame", "frames", "repeat"),
    "Z": ("z", "depth", "plane", "planes", "slice", "slices", "section"),
    "C": ("c", "ch", "channel", "channels", "colour", "color", "wavelength"),
    "Y": ("y", "row", "rows", "height", "lines"),
    "X": ("x", "column", "columns", "col", "width", "samples"),
}
_LETTER_OF = {word: letter for letter, words in _WORDS.items() for word in words}
_ADVICE = {
    "Labels": "which holds numbers of objects, not grey values",
    "Shapes": "which holds drawings, not grey values",
}


@dataclass(frozen=True, eq=False)
class LayerData:
    """An image layer as it was when it was read.

    Attributes
    ----------
    data : the pixels; numpy as it is, dask and Zarr unread, the finest of a pyramid
    axes : one letter of "TZCYX" for each axis of `data`, colours of RGB included
    is_guessed : whether the letters do not come from the layer's own axis labels
    is_rgb : whether the last axis holds colours; it is no dimension of the layer then
    scale, translate, rotate, shear, affine, units, axis_labels
        Place in the world, by dimension of the layer.
    colormap, contrast_limits, gamma, blending : how it is shown
    path : file it was read from, "" if none
    sample : (plugin, key) of the sample it is, None if none
    notice : a sentence for the user, "" if there is nothing to say
    is_multiscale : whether the layer holds several resolutions
    layer : the layer itself, only to find its place in the list
    """

    name: str
    data: Any
    axes: str
    is_guessed: bool
    is_rgb: bool
    scale: tuple[float, ...]
    translate: tuple[float, ...]
    rotate: Any
    shear: Any
    affine: Any
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]
    colormap: Any
    contrast_limits: tuple[float, float]
    gamma: float
    blending: str
    path: str = ""
    sample: tuple[str, str] | None = None
    notice: str = ""
    is_multiscale: bool = False
    layer: Any = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis of `data`."""
        return tuple(int(size) for size in self.data.shape)

    @property
    def dtype(self) -> np.dtype:
        """Type of the pixels."""
        return np.dtype(self.data.dtype)

    @property
    def layout(self) -> AxisLayout:
        """The axes with their sizes."""
        return AxisLayout(self.axes, self.shape)

    @property
    def layer_axes(self) -> str:
        """Letters of the layer's dimensions: the axes but for the colours of RGB."""
        return self.axes[:-1] if self.is_rgb else self.axes

    def with_axes(self, axes: str) -> LayerData:
        """Return the same with axes named by the user.

        Raises
        ------
        BadAxes  If they do not fit the array, or contradict the colours of RGB.
        """
        letters = check_axes(axes, self.shape)
        if self.is_rgb and not letters.endswith("C"):
            raise BadAxes(
                f"'{self.name}' is shown in colour, so its last axis is C, but the "
                f"axes given are {letters}. Give {self.axes}, or split the layer into "
                "its channels (right click, Split RGB)."
            )
        return replace(self, axes=letters, is_guessed=False)


def read_layer(layer: Layer) -> LayerData:
    """Read what a layer is, on the GUI thread; no pixel of a lazy array is read.

    Raises
    ------
    BadData  If it holds no grey values: labels, shapes, booleans, complex numbers...
    BadAxes  If it has fewer than 2 or more than 5 axes.
    """
    layer = getattr(layer, "__wrapped__", layer)
    kind = type(layer).__name__
    if not isinstance(layer, Image):
        what = _ADVICE.get(kind, "which holds no grey values")
        raise BadData(
            f"'{layer.name}' is a layer of the type {kind}, {what}. Choose an image "
            "layer with the frames as the camera recorded them."
        )
    is_several = bool(layer.multiscale)
    data = layer.data[0] if is_several else layer.data
    axes, is_guessed = _axes_of(layer, data)
    _check(layer.name, data, axes)
    notice = (
        f"'{layer.name}' holds {len(layer.data)} resolutions; the finest is used."
        if is_several
        else ""
    )
    source = layer.source
    return LayerData(
        name=layer.name,
        data=data,
        axes=axes,
        is_guessed=is_guessed,
        is_rgb=bool(layer.rgb),
        scale=_floats(layer.scale),
        translate=_floats(layer.translate),
        rotate=np.array(layer.rotate),
        shear=np.array(layer.shear),
        affine=np.array(layer.affine.affine_matrix),
        units=tuple(layer.units),
        axis_labels=tuple(layer.axis_labels),
        colormap=layer.colormap,
        contrast_limits=_limits(layer),
        gamma=float(layer.gamma),
        blending=str(layer.blending),
        path=str(source.path or ""),
        sample=tuple(source.sample) if source.sample else None,
        notice=notice,
        is_multiscale=is_several,
        layer=layer,
    )


def describe(
    data: LayerData, axes: str | None = None, channel: int | None = None
) -> str:
    """Say in one line what is understood: "24 frames of 512 x 512, uint16, ...".

    Parameters
    ----------
    axes : in place of those of the layer
    channel : the one chosen, None for all of them
    """
    known = data if axes is None else data.with_axes(axes)
    layout = known.layout
    text = layout.describe(known.dtype, channel or 0)
    if channel is None and layout.n_channels > 1:
        text = re.sub(r"channel 0 of (\d+)", r"\1 channels", text)
    return text + (
        " (guessed)" if known.is_guessed and len(known.layer_axes) > 2 else ""
    )


def array_source(data: LayerData) -> ArraySource:
    """Say where the pixels of a layer come from, for a script that gets them again."""
    return ArraySource(
        axes=data.axes,
        layer=data.name,
        path=data.path,
        sample=data.sample,
        is_multiscale=data.is_multiscale,
        shape=data.shape,
        dtype=str(data.dtype),
    )


def axes_from_labels(labels: Sequence[str], n_axes: int) -> tuple[str, bool]:
    """Turn axis labels into letters; what they do not tell is guessed.

    The last two unknown axes are Y and X, what is before them T, Z and C.

    Returns
    -------
    axes : str
    is_guessed : bool
    """
    found = [_LETTER_OF.get(str(label).strip().lower(), "") for label in labels]
    found = [letter if found.count(letter) == 1 else "" for letter in found]
    is_guessed = "" in found
    for letter in "XY":
        if letter not in found and "" in found:
            found[n_axes - 1 - found[::-1].index("")] = letter
    for letter in "TZC":
        if letter not in found and "" in found:
            found[found.index("")] = letter
    return "".join(found), is_guessed


def _axes_of(layer: Any, data: Any) -> tuple[str, bool]:
    """Name the axes; the number of axes is checked first.

    Raises
    ------
    BadAxes
    """
    n_axes = len(data.shape)
    if not 2 <= n_axes <= len(AXES):
        word = "axis" if n_axes == 1 else "axes"
        raise BadAxes(
            f"'{layer.name}' has {n_axes} {word} (shape {tuple(data.shape)}), but an "
            "image has 2 to 5: time, depth, channel, rows and columns. Choose another "
            "layer, or take out the axes that are none of these."
        )
    axes, is_guessed = axes_from_labels(layer.axis_labels, layer.ndim)
    if not layer.rgb:
        return axes, is_guessed
    if "C" in axes:
        axes, is_guessed = axes_from_labels([""] * layer.ndim, layer.ndim)
    return f"{axes}C", is_guessed


def _check(name: str, data: Any, axes: str) -> None:
    try:
        as_frames(data, axes, 0)
    except (BadAxes, BadData) as error:
        raise type(error)(f"'{name}': {error}") from error


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _limits(layer: Any) -> tuple[float, float]:
    low, high = (float(value) for value in layer.contrast_limits)
    return (low, high) if math.isfinite(low + high) else (0.0, 1.0)
