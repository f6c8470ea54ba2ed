"""What OME-Zarr 0.4 and 0.5 ask to be said of an image, and its empty arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.files.units import zarr_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from napari_ppn2v.files.units import Spacing

VERSIONS = ("0.5", "0.4")
"""Versions of OME-Zarr that are written, the default first."""

_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


def check_version(version: str) -> str:
    """Return a version of OME-Zarr that can be written; raises BadSetting."""
    if version not in VERSIONS:
        raise BadSetting(
            f"The version of OME-Zarr is '{version}'. Choose {' or '.join(VERSIONS)}; "
            "0.4 is for programs that do not yet read 0.5."
        )
    return version


@dataclass(frozen=True)
class Layout:
    """Axes, chunks and levels of an image to be written.

    Attributes
    ----------
    axes
        Letters in the order of the standard: of "TCZYX" those that there are.
    shapes
        Shape of each level, the full resolution first.
    chunk_side
        Pixels along Y and X in one chunk; the other axes have one element in each.
    version
        Of OME-Zarr, "0.5" (Zarr 3) or "0.4" (Zarr 2).
    """

    axes: str
    shapes: tuple[tuple[int, ...], ...]
    chunk_side: int
    version: str = VERSIONS[0]

    @property
    def zarr_format(self) -> Literal[2, 3]:
        """Version of Zarr itself."""
        return 2 if self.version == "0.4" else 3


def create_arrays(path: Path, layout: Layout, dtype: np.dtype) -> Any:
    """Create the group and its empty arrays "0", "1"..., and return the group."""
    import zarr

    group = zarr.create_group(str(path), zarr_format=layout.zarr_format)
    for number, shape in enumerate(layout.shapes):
        sides = [min(layout.chunk_side, size) for size in shape[-2:]]
        group.create_array(
            str(number),
            shape=shape,
            dtype=dtype,
            chunks=(1,) * (len(shape) - 2) + tuple(sides),
            fill_value=0,
            **_of_version(layout),
        )
    return group


def _of_version(layout: Layout) -> dict[str, Any]:
    if layout.zarr_format == 3:
        return {"dimension_names": list(layout.axes.lower())}
    from numcodecs import Blosc

    # the codec that every reader of Zarr 2 has, and folders in place of dots
    return {
        "compressors": Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE),
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    }


def description(
    layout: Layout, pixel_size: Mapping[str, Spacing], omero: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the attributes of the group: axes, levels and their scales, channels.

    Parameters
    ----------
    omero : names and display ranges of the channels, see `channels`; None for none

    Notes
    -----
    A pixel of level n is the mean of 2**n pixels along Y and X, so its centre lies
    (2**n - 1) / 2 pixels further than that of the first of them: the translation.
    """
    image: dict[str, Any] = {
        "name": "result",
        "axes": [_axis(axis, pixel_size) for axis in layout.axes],
        "datasets": [
            {
                "path": str(number),
                "coordinateTransformations": _place(layout.axes, pixel_size, number),
            }
            for number in range(len(layout.shapes))
        ],
    }
    if len(layout.shapes) > 1:
        image["type"] = "local mean"
        image["metadata"] = {"description": "means of 2 x 2 pixels (Y, X) per level"}
    if layout.version == "0.4":
        image["version"] = layout.version
        found: dict[str, Any] = {"multiscales": [image]}
        return found if omero is None else {**found, "omero": omero}
    ome: dict[str, Any] = {"version": layout.version, "multiscales": [image]}
    return {"ome": ome if omero is None else {**ome, "omero": omero}}


def channels(
    names: Sequence[str], ranges: Mapping[int, tuple[float, float]]
) -> dict[str, Any] | None:
    """Names of the channels with the range of values each is shown in.

    Returns
    -------
    dict, None unless there are a name and a range for each channel.
    """
    if not names or len(names) != len(ranges):
        return None
    entries = []
    for name, (_, (low, high)) in zip(names, sorted(ranges.items()), strict=True):
        window = {"min": low, "max": high, "start": low, "end": high}
        entries.append(
            {"label": name, "color": "FFFFFF", "active": True, "window": window}
        )
    return {"channels": entries}


def _axis(axis: str, pixel_size: Mapping[str, Spacing]) -> dict[str, str]:
    entry = {"name": axis.lower(), "type": _TYPES[axis]}
    unit = zarr_unit(pixel_size[axis].unit) if axis in pixel_size else None
    return {**entry, "unit": unit} if unit else entry


def _place(
    axes: str, pixel_size: Mapping[str, Spacing], level: int
) -> list[dict[str, Any]]:
    scale, translation = [], []
    for axis in axes:
        spacing = pixel_size.get(axis)
        size = spacing.size if spacing and axis != "C" else 1.0
        factor = 2**level if axis in "YX" else 1
        scale.append(size * factor)
        translation.append(size * (factor - 1) / 2)
    found: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
    if level:
        found.append({"type": "translation", "translation": translation})
    return found
