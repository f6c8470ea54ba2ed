"""Files as layers that are read piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.layers._source import layer_source

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_ppn2v.files.source import ImageSource

FILES = "Images (*.tif *.tiff *.lsm *.stk *.npy);;All files (*)"


def add_file(viewer: ViewerModel, path: Path) -> Image:
    """Add an image file as a layer without reading it.

    Pixel size, axis labels and channel names come along.

    Raises
    ------
    BadFile  If it is missing, damaged or of a foreign format.
    """
    from napari_ppn2v.files.images import open_image

    source = open_image(path)
    with layer_source(path=str(path)):
        layer = Image(as_dask(source.data), **attributes_of(source))
    viewer.layers.append(layer)
    return layer


def attributes_of(source: ImageSource) -> dict[str, Any]:
    """Return name, place and contrast of a layer for an opened file.

    Reads the first frame, for the contrast; a few hot pixels do not spoil it.
    """
    axes = source.axes or "TZCYX"[-len(source.shape) :]
    sizes = [source.pixel_size.get(axis) for axis in axes]
    first = np.asarray(source.data[(0,) * (len(source.shape) - 2)])
    low, high = (float(value) for value in np.nanpercentile(first, (0.5, 99.8)))
    attributes: dict[str, Any] = {
        "name": source.name,
        "scale": tuple(size.size if size else 1.0 for size in sizes),
        "units": tuple(size.unit or "pixel" if size else "pixel" for size in sizes),
        "contrast_limits": (low, high if high > low else low + 1),
    }
    if source.axes:
        attributes["axis_labels"] = tuple(axes.lower())
    return attributes


def as_dask(data: Any) -> Any:
    """Wrap a lazy array so that napari reads one frame at a time."""
    import dask.array as da

    shape = tuple(int(size) for size in data.shape)
    chunks = tuple(1 if n < len(shape) - 2 else size for n, size in enumerate(shape))
    lazy: Any = da
    return lazy.from_array(data, chunks=chunks, asarray=True, fancy=False)
