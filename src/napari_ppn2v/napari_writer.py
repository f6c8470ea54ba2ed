"""Save an image layer as OME-TIFF with its pixel size, axes and provenance."""

# No future annotations here: napari reads the types of what it calls.

from pathlib import Path
from typing import Any

import numpy as np

from napari_ppn2v import __version__
from napari_ppn2v.core.axes import AxisLayout
from napari_ppn2v.errors import BadAxes, CannotWrite
from napari_ppn2v.files.atomic import as_json
from napari_ppn2v.files.results import ResultWriter
from napari_ppn2v.files.units import Spacing, canonical_unit
from napari_ppn2v.widgets.layers.data import axes_from_labels

METADATA = "napari_ppn2v"
"""Where the layers of results keep how they were made."""

_TIMES = {"ns", "µs", "ms", "s", "min", "h"}


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write the pixels of one image layer; an older file is replaced at the very end.

    Parameters
    ----------
    path
        Ends in .ome.tif, .ome.tiff or .tif.
    data
        Array of the layer, lazy or not; a list of them, of which the first has full
        resolution, for a multiscale layer.
    attributes
        As napari describes a layer: name, scale, units, axis_labels, rgb, metadata.

    Returns
    -------
    The path written, in a list.

    Raises
    ------
    CannotWrite  If the folder, the disk, the type or missing values do not allow it.
    BadAxes  If the layer has more than five axes.

    Notes
    -----
    Y and X come last in the file, whatever their place in the layer. Where the layer
    is moved, turned or sheared in the viewer is not kept.
    """
    pixels = data[0] if attributes.get("multiscale") else data
    layout = layout_of(pixels, attributes)
    dtype = _dtype_in_file(np.dtype(pixels.dtype), Path(path))
    names = ("red", "green", "blue", "alpha") if attributes.get("rgb") else ()
    writer = ResultWriter(
        path,
        layout,
        n_channels=layout.n_channels if "C" in layout.axes else None,
        dtype=dtype,
        pixel_size=_pixel_size(layout, attributes),
        channel_names=names[: layout.n_channels],
        provenance=_provenance(attributes),
    )
    with writer:
        for channel in range(layout.n_channels):
            for frame in range(layout.n_frames):
                image = _frame(pixels, layout, frame, channel)
                _check_finite(image, attributes.get("name", "image"), frame)
                writer.write_frame(frame, image.astype(dtype), channel=channel)
    return [path]


def layout_of(pixels: Any, attributes: dict[str, Any]) -> AxisLayout:
    """Return the axes of a layer: from its labels, else by their number."""
    shape = tuple(int(size) for size in pixels.shape)
    if len(shape) > 5:
        raise BadAxes(
            f"The layer has {len(shape)} axes (shape {shape}); an OME-TIFF holds up to "
            "five: time, depth, channel, row, column. Save it in parts."
        )
    labels = attributes.get("axis_labels") or ()
    n_axes = len(shape) - 1 if attributes.get("rgb") else len(shape)
    unlabelled = [""] * n_axes
    labels = labels if len(labels) == n_axes else unlabelled
    letters, _ = axes_from_labels(labels, n_axes)
    is_rgb_and_more = attributes.get("rgb") and "C" in letters
    if is_rgb_and_more or not {"Y", "X"} <= set(letters):
        letters, _ = axes_from_labels(unlabelled, n_axes)
    return AxisLayout(f"{letters}C" if attributes.get("rgb") else letters, shape)


def _dtype_in_file(dtype: np.dtype, path: Path) -> np.dtype:
    """Type that OME-TIFF has and that holds the same values."""
    if dtype.kind == "c":
        raise CannotWrite(
            f"OME-TIFF cannot hold complex numbers, so {path.name} was not written. "
            "Save the magnitude or the real part instead."
        )
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f" and dtype.itemsize < 4:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if dtype.itemsize >= 8 else dtype


def _pixel_size(layout: AxisLayout, attributes: dict[str, Any]) -> dict[str, Spacing]:
    """Spacing of the axes for which the layer states more than "one pixel"."""
    axes = layout.axes.replace("C", "") if attributes.get("rgb") else layout.axes
    scale = attributes.get("scale")
    units = attributes.get("units")
    found: dict[str, Spacing] = {}
    if scale is None or len(scale) != len(axes):
        return found
    for at, axis in enumerate(axes):
        unit = canonical_unit(str(units[at])) if units is not None else ""
        size = float(scale[at])
        says_nothing = unit in ("", "pixel") and size == 1
        fits_time = axis != "T" or unit in _TIMES
        if axis != "C" and size > 0 and fits_time and not says_nothing:
            found[axis] = Spacing(size, unit)
    return found


def _provenance(attributes: dict[str, Any]) -> dict[str, Any]:
    metadata = attributes.get("metadata") or {}
    made = metadata.get(METADATA)
    content = {"layer": attributes.get("name", ""), "written_by": __version__}
    if isinstance(metadata.get("description"), str):
        content["description"] = metadata["description"]
    if isinstance(made, dict):
        content |= {str(key): made[key] for key in made if _has_json(made[key])}
    return content


def _has_json(value: Any) -> bool:
    """Whether a value can be told in JSON; other plugins may add what cannot."""
    try:
        as_json(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _frame(pixels: Any, layout: AxisLayout, frame: int, channel: int) -> np.ndarray:
    whole = slice(None)
    image = np.asarray(pixels[layout.index(frame, whole, whole, channel=channel)])
    return image.T if layout.is_transposed else image


def _check_finite(image: np.ndarray, name: str, frame: int) -> None:
    if image.dtype.kind != "f":
        return
    wrong = image.size - int(np.isfinite(image).sum())
    if wrong:
        raise CannotWrite(
            f"'{name}' was not saved: {wrong} pixels of frame {frame} have no value "
            "(NaN or infinite). Fill or crop them first, or save with another plugin."
        )
