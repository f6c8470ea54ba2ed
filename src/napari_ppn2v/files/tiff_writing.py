"""Fill an uncompressed OME-TIFF block by block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from xml.sax.saxutils import escape

import numpy as np

from napari_ppn2v.errors import CannotWrite
from napari_ppn2v.files.units import micrometres, ome_unit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_ppn2v.files.units import Spacing

BIGTIFF_FROM = 2**32 - 2**26
"""Bytes of pixels from which offsets of 64 bits are needed; leaves room for tags."""

_DTYPES = "uint8 uint16 uint32 int8 int16 int32 float32 float64"
_PLACEHOLDER = "PROVENANCE-IS-WRITTEN-AT-THE-END"


class TiffTarget:
    """An OME-TIFF whose pixels lie in one piece, so that any block has its place.

    Blocks are written with ordinary writes, not through a memory map: a full disk is
    then an error that can be caught, and written pages do not count as our memory.
    """

    folder_markers: ClassVar[tuple[str, ...]] = ()

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
        import tifffile

        self._path, self._axes, self._shape = path, axes, shape
        self._dtype = dtype
        n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        written = tifffile.imwrite(
            path,
            data=None,
            shape=shape,
            dtype=dtype,
            ome=True,
            bigtiff=n_bytes >= BIGTIFF_FROM,
            photometric="minisblack",
            returnoffset=True,
            metadata=_ome_metadata(axes, shape, pixel_size, channel_names),
            **_resolution(pixel_size),
        )
        if written is None:
            raise CannotWrite(f"{path.name} could not be laid out as one piece.")
        self._offset = int(written[0])
        self._file = path.open("r+b")

    @staticmethod
    def axes_for(axes: str) -> str:
        """Order of axes in the file: the user's, with Y and X at the end."""
        return "".join(axis for axis in axes if axis not in "YX") + "YX"

    @staticmethod
    def check(dtype: np.dtype, path: Path) -> None:
        """Refuse types that OME-TIFF does not have."""
        if dtype.name not in _DTYPES.split():
            raise CannotWrite(
                f"OME-TIFF cannot hold {dtype.name}. Write {path.name} as float32, or "
                "as .zarr."
            )

    def write(
        self, position: Mapping[str, int], row: int, column: int, block: np.ndarray
    ) -> None:
        """Put a block at its place, row by row unless it spans the frame's width."""
        *_, height, width = self._shape
        plane = 0
        for axis, size in zip(self._axes[:-2], self._shape[:-2], strict=True):
            plane = plane * size + position[axis]
        first = (plane * height + row) * width + column
        block = np.ascontiguousarray(block)
        pieces = [block] if block.shape[1] == width else list(block)
        for at, piece in enumerate(pieces):
            self._file.seek(self._offset + (first + at * width) * self._dtype.itemsize)
            self._file.write(piece.data)

    def close(self, provenance: str) -> None:
        """Finish the file with the provenance as the description of the image."""
        import tifffile

        self._file.close()
        xml = str(tifffile.tiffcomment(self._path))
        xml = xml.replace(_PLACEHOLDER, escape(provenance))
        tifffile.tiffcomment(self._path, xml.encode("utf-8"))

    def abandon(self) -> None:
        """Close the file; what is buffered need not reach a full disk."""
        try:
            self._file.close()
        except OSError:
            # the reason was raised already, or the file is about to be removed
            return


def _ome_metadata(
    axes: str,
    shape: tuple[int, ...],
    pixel_size: Mapping[str, Spacing],
    channel_names: Sequence[str],
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"axes": axes, "Description": _PLACEHOLDER}
    keys = {axis: f"PhysicalSize{axis}" for axis in "XYZ"} | {"T": "TimeIncrement"}
    for axis, key in keys.items():
        if axis in pixel_size:
            metadata[key] = pixel_size[axis].size
            metadata[f"{key}Unit"] = ome_unit(pixel_size[axis].unit)
    n_channels = shape[axes.index("C")] if "C" in axes else 1
    if len(channel_names) == n_channels:
        metadata["Channel"] = {"Name": list(channel_names)}
    return metadata


def _resolution(pixel_size: Mapping[str, Spacing]) -> dict[str, Any]:
    """Pixels per centimetre for programs that do not read OME-XML."""
    sizes = [micrometres(pixel_size[axis]) for axis in "XY" if axis in pixel_size]
    if len(sizes) < 2 or None in sizes:
        return {}
    per_centimetre = tuple(1e4 / size for size in sizes if size)
    return {"resolution": per_centimetre, "resolutionunit": "CENTIMETER"}
