"""Fill an OME-Zarr 0.5 image block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_ppn2v.errors import CannotWrite
from napari_ppn2v.files.units import zarr_unit
from napari_ppn2v.files.zarr_reading import PROVENANCE_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_ppn2v.files.units import Spacing

_CHUNK = 512
_TYPES = {"T": "time", "C": "channel", "Z": "space", "Y": "space", "X": "space"}


class ZarrTarget:
    """An OME-Zarr image of one resolution level, in chunks of 512 x 512.

    A block that ends inside a chunk has the chunk read and written again, so blocks
    along multiples of 512 are the fastest.
    """

    folder_marker: ClassVar[str] = "zarr.json"

    def __init__(
        self,
        path: Path,
        *,
        axes: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        pixel_size: Mapping[str, Spacing],
        channel_names: Sequence[str],
    ) -> None:
        import zarr

        self._axes = axes
        self._group = zarr.create_group(str(path), zarr_format=3)
        self._ome = _ome(axes, pixel_size)
        self._group.attrs["ome"] = self._ome
        self._channel_names = channel_names
        self._ranges: dict[int, tuple[float, float]] = {}
        self._array = self._group.create_array(
            "0",
            shape=shape,
            dtype=dtype,
            chunks=tuple([1] * (len(axes) - 2) + [min(_CHUNK, n) for n in shape[-2:]]),
            dimension_names=list(axes.lower()),
            fill_value=0,
        )

    @staticmethod
    def axes_for(axes: str) -> str:
        """Order of axes that OME-Zarr prescribes: time, channel, space."""
        return "".join(axis for axis in "TCZYX" if axis in axes)

    @staticmethod
    def check(dtype: np.dtype, path: Path) -> None:
        """Refuse types that Zarr does not have."""
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise CannotWrite(
                f"Zarr cannot hold {dtype.name}. Write {path.name} as float32."
            )

    def write(
        self, position: Mapping[str, int], row: int, column: int, block: np.ndarray
    ) -> None:
        """Put a block at its place."""
        height, width = block.shape
        place: list[int | slice] = [position[axis] for axis in self._axes[:-2]]
        place += [slice(row, row + height), slice(column, column + width)]
        self._array[tuple(place)] = block
        if block.size:
            low, high = self._ranges.get(position["C"], (np.inf, -np.inf))
            new = min(low, float(block.min())), max(high, float(block.max()))
            self._ranges[position["C"]] = new

    def close(self, provenance: str) -> None:
        """Add the provenance and, with names for channels, their display ranges."""
        if provenance:
            self._group.attrs[PROVENANCE_KEY] = provenance
        if len(self._channel_names) == len(self._ranges):
            self._group.attrs["ome"] = {**self._ome, "omero": self._omero()}

    def abandon(self) -> None:
        """Do nothing: no file is held open."""

    def _omero(self) -> dict[str, Any]:
        channels = []
        for name, (_, (low, high)) in zip(
            self._channel_names, sorted(self._ranges.items()), strict=True
        ):
            window = {"min": low, "max": high, "start": low, "end": high}
            channels.append({"label": name, "color": "FFFFFF", "window": window})
        return {"channels": channels}


def _ome(axes: str, pixel_size: Mapping[str, Spacing]) -> dict[str, Any]:
    described, scale = [], []
    for axis in axes:
        spacing = pixel_size.get(axis)
        entry = {"name": axis.lower(), "type": _TYPES[axis]}
        unit = zarr_unit(spacing.unit) if spacing else None
        described.append({**entry, "unit": unit} if unit else entry)
        scale.append(spacing.size if spacing and axis != "C" else 1.0)
    level = {
        "path": "0",
        "coordinateTransformations": [{"type": "scale", "scale": scale}],
    }
    image = {"name": "result", "axes": described, "datasets": [level]}
    return {"version": "0.5", "multiscales": [image]}
