"""Fill an OME-Zarr image (0.4 or 0.5) block by block, from one process or many."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path  # noqa: TC003 - documented field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_ppn2v.errors import CannotWrite
from napari_ppn2v.files.ome_zarr import (
    VERSIONS,
    Layout,
    channels,
    create_arrays,
    description,
)
from napari_ppn2v.files.pyramid import fill_levels, level_shapes
from napari_ppn2v.files.zarr_reading import PROVENANCE_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_ppn2v.files.units import Spacing

CHUNK_SIDE = 512
"""Pixels along Y and X in one chunk, unless the blocks to be written ask for others."""

SECONDS_BETWEEN_DATES = 600.0
_SMALLEST_CHUNK, _LARGEST_CHUNK = 256, 1024


def chunk_side_for(tile: int) -> int:
    """Side of chunks for blocks along multiples of `tile` pixels.

    It is a multiple of the tile or a divisor, so that no two tiles share a chunk that
    neither of them fills.
    """
    if tile <= _LARGEST_CHUNK:
        return tile * math.ceil(_SMALLEST_CHUNK / tile)
    sides = range(_LARGEST_CHUNK, _SMALLEST_CHUNK // 2, -1)
    return next((side for side in sides if tile % side == 0), tile)


@dataclass(frozen=True)
class ZarrBlocks:
    """The pixels of a Zarr image that is being written, for any process to fill.

    Several processes may write at once if each has whole chunks to itself.

    Attributes
    ----------
    path : the group, under its temporary name
    axes : in the order of the arrays
    n_levels : number of arrays, "0" the full resolution
    """

    path: Path
    axes: str
    n_levels: int

    @cached_property
    def _levels(self) -> list[Any]:
        import zarr

        return [
            zarr.open_array(str(self.path / str(number)), mode="r+")
            for number in range(self.n_levels)
        ]

    def write(
        self, position: Mapping[str, int], row: int, column: int, block: np.ndarray
    ) -> None:
        """Put a block at its place in the full resolution."""
        height, width = block.shape
        window = slice(row, row + height), slice(column, column + width)
        self._levels[0][(*self._place(position), *window)] = block

    def fill_smaller_levels(self, position: Mapping[str, int]) -> None:
        """Compute the smaller levels of one frame, all of which is written."""
        fill_levels(self._levels, self._place(position))

    def _place(self, position: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(position[axis] for axis in self.axes[:-2])

    def __reduce__(self) -> Any:
        # without the arrays, which the other process opens for itself
        return type(self), (self.path, self.axes, self.n_levels)


class ZarrTarget:
    """An OME-Zarr image in chunks of one frame, with smaller levels of large frames.

    A block that ends inside a chunk has the chunk read and written again, so blocks
    along multiples of `chunk_side` are the fastest.
    """

    folder_markers: ClassVar[tuple[str, ...]] = ("zarr.json", ".zgroup")

    def __init__(
        self,
        path: Path,
        *,
        axes: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        pixel_size: Mapping[str, Spacing],
        channel_names: Sequence[str],
        chunk_side: int = CHUNK_SIDE,
        version: str = VERSIONS[0],
    ) -> None:
        shapes = tuple((*shape[:-2], *level) for level in level_shapes(*shape[-2:]))
        self._layout = Layout(axes, shapes, chunk_side, version)
        self._pixel_size, self._channel_names = pixel_size, channel_names
        self._ranges: dict[int, tuple[float, float]] = {}
        self._left: dict[tuple[int, ...], int] = {}
        self._group = create_arrays(path, self._layout, dtype)
        self._group.attrs.update(description(self._layout, pixel_size, None))
        self.blocks = ZarrBlocks(path, axes, len(shapes))
        self._dated = time.monotonic()

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
        """Put a block at its place; the last one of a frame also fills its levels."""
        self.blocks.write(position, row, column, block)
        if not block.size:
            return
        reach = float(block.min()), float(block.max())
        if self.count(position, block.size, reach):
            self.blocks.fill_smaller_levels(position)

    def count(
        self, position: Mapping[str, int], n_pixels: int, reach: tuple[float, float]
    ) -> bool:
        """Take note of a block that was written, here or by another process.

        Returns
        -------
        bool
            Whether its frame is complete and has smaller levels to be filled.
        """
        self._show_life()
        low, high = self._ranges.get(position["C"], (np.inf, -np.inf))
        self._ranges[position["C"]] = min(low, reach[0]), max(high, reach[1])
        if len(self._layout.shapes) == 1:
            return False
        place = tuple(position[axis] for axis in self._layout.axes[:-2])
        whole = math.prod(self._layout.shapes[0][-2:])
        self._left[place] = self._left.get(place, whole) - n_pixels
        if self._left[place] > 0:
            return False
        del self._left[place]
        return True

    def close(self, provenance: str) -> None:
        """Add the provenance and, with names for channels, their display ranges."""
        if provenance:
            self._group.attrs[PROVENANCE_KEY] = provenance
        omero = channels(self._channel_names, self._ranges)
        if omero is not None:
            self._group.attrs.update(description(self._layout, self._pixel_size, omero))

    def abandon(self) -> None:
        """Do nothing: no file is held open."""

    def _show_life(self) -> None:
        """Date the folder anew: chunks deep inside do not, and old ones are removed."""
        if time.monotonic() - self._dated > SECONDS_BETWEEN_DATES:
            self._dated = time.monotonic()
            os.utime(self.blocks.path)
