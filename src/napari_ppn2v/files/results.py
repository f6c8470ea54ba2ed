"""Write results piece by piece, in any order, with memory independent of their size.

    with ResultWriter("out.ome.tif", frames.layout, pixel_size=...) as writer:
        writer.write(index, rows, columns, block)

The result appears under its name only when the block ends and every pixel has been
written; before, and after any error, an older result stays as it was.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from napari_ppn2v.core.conversion import as_dtype
from napari_ppn2v.errors import CannotWrite
from napari_ppn2v.files.atomic import as_json, atomic_path
from napari_ppn2v.files.ome_zarr import VERSIONS, check_version
from napari_ppn2v.files.result_blocks import (
    SharedResult,
    WrittenBlock,
    checked_place,
    position_of,
)
from napari_ppn2v.files.tiff_writing import TiffTarget
from napari_ppn2v.files.zarr_writing import CHUNK_SIDE, ZarrTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike

    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.files.units import Spacing


class Target(Protocol):
    """A file format that takes blocks in any order."""

    def write(
        self, position: Mapping[str, int], row: int, column: int, block: np.ndarray
    ) -> None:
        """Put a block (rows, columns) at a position along the other axes."""
        ...

    def close(self, provenance: str) -> None:
        """Write what remains, the JSON of how the result was made included."""
        ...

    def abandon(self) -> None:
        """Let go of the file without finishing it."""
        ...


class ResultWriter:
    """A result file that is filled block by block; a context manager.

    Parameters
    ----------
    path
        Ends in .tif, .tiff (OME-TIFF, as BigTIFF above 4 GB) or .zarr (OME-Zarr, with
        smaller levels of frames with a side above 1024 pixels).
    layout
        Layout of the frames denoised (`frames.layout`).
    n_channels
        Number of channels put together. None: one channel, so no channel axis unless
        the user's image has one of size 1.
    dtype
        Type in the file. Into integers, values are rounded and clipped, see `clipped`.
    pixel_size
        Pixel sizes of the user's image (`ImageSource.pixel_size`).
    channel_names
        Names of the channels written.
    provenance
        How the result was made, kept as JSON in the file. The attribute may be
        replaced until the block ends, so it can tell what only the end shows.
    ome_zarr_version
        "0.5", or "0.4" for programs that do not yet read it.
    chunk_side
        Side of the chunks of a Zarr result, in pixels.

    Attributes
    ----------
    clipped
        Number of pixels below and above the range of an integer type so far.
    axes
        Axes in the file. TIFF keeps the user's order except that Y and X come last;
        Zarr has the order TCZYX that OME-Zarr prescribes.

    Raises
    ------
    CannotWrite  At the start if the folder, the disk space, the ending or the type do
        not allow it; later if the disk runs full or pixels are missing at the end.

    Notes
    -----
    Frames are numbered as in the layout, whatever the order in the file. Every pixel is
    written once.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        layout: AxisLayout,
        *,
        n_channels: int | None = None,
        dtype: Any = np.float32,
        pixel_size: Mapping[str, Spacing] | None = None,
        channel_names: Sequence[str] = (),
        provenance: Any = None,
        ome_zarr_version: str = VERSIONS[0],
        chunk_side: int = CHUNK_SIDE,
    ) -> None:
        self.path = Path(path)
        self.provenance = provenance
        self.dtype = np.dtype(dtype).newbyteorder("=")
        self.clipped = (0, 0)
        self._layout = layout.of_result(n_channels)
        self._format = _format_for(self.path)
        self.axes = self._format.axes_for(self._layout.axes)
        self._shape = tuple(self._layout.size(axis) for axis in self.axes)
        self._format.check(self.dtype, self.path)
        self._pixel_size = dict(pixel_size or {})
        self._channel_names = tuple(channel_names)
        self._of_zarr: dict[str, Any] = {
            "version": check_version(ome_zarr_version),
            "chunk_side": chunk_side,
        }
        self.chunk_side = chunk_side
        self._stack = ExitStack()
        self._target: Target | None = None
        self._missing = int(np.prod(self._shape, dtype=np.int64))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(
                atomic_path(
                    self.path,
                    needed_bytes=self._missing * self.dtype.itemsize,
                    folder_marker=self._folder_marker(),
                )
            )
            self._target = self._format(
                temporary,
                axes=self.axes,
                shape=self._shape,
                dtype=self.dtype,
                pixel_size=self._pixel_size,
                channel_names=self._channel_names,
                **(self._of_zarr if self._format is ZarrTarget else {}),
            )
            stack.push(self._end)
            self._stack = stack.pop_all()
        return self

    def _folder_marker(self) -> str:
        """File by which an older result is known, whatever its version."""
        known = self._format.folder_markers
        there = [marker for marker in known if (self.path / marker).exists()]
        return next(iter(there or known), "")

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(
        self,
        frame: int,
        rows: slice,
        columns: slice,
        block: np.ndarray,
        *,
        channel: int = 0,
    ) -> None:
        """Write one block (rows, columns) of one frame, in ADU.

        Raises
        ------
        BadData  If the block does not fit or holds values that are not finite.
        """
        if self._target is None:
            raise RuntimeError("A ResultWriter is written to inside its `with` block.")
        top, left = checked_place(self._layout, frame, rows, columns, block, channel)
        position = position_of(self._layout, frame, channel)
        self._target.write(position, top, left, self._kept(block))
        self._missing -= block.size

    def write_frame(self, frame: int, image: np.ndarray, *, channel: int = 0) -> None:
        """Write one whole frame (Y, X), in ADU."""
        self.write(frame, slice(None), slice(None), image, channel=channel)

    @property
    def shared(self) -> SharedResult | None:
        """What other processes write blocks with; None where only this one can."""
        if not isinstance(self._target, ZarrTarget):
            return None
        return SharedResult(self._target.blocks, self._layout, self.dtype)

    def count(self, written: WrittenBlock) -> bool:
        """Take note of a block that another process has written.

        Returns
        -------
        bool
            Whether its frame is complete and `SharedResult.fill_smaller_levels` is
            still to be called for it.
        """
        if not isinstance(self._target, ZarrTarget):
            raise RuntimeError("Only Zarr results are written by other processes.")
        self._missing -= written.n_pixels
        below, above = self.clipped
        self.clipped = below + written.below, above + written.above
        position = position_of(self._layout, written.frame, written.channel)
        return self._target.count(
            position, written.n_pixels, (written.low, written.high)
        )

    def _kept(self, block: np.ndarray) -> np.ndarray:
        """Return the block in the type of the file, counting what was clipped."""
        converted, below, above = as_dtype(block, self.dtype)
        self.clipped = (self.clipped[0] + below, self.clipped[1] + above)
        return converted

    def _end(self, kind: Any, error: Any, trace: Any) -> None:
        target, self._target = self._target, None
        if target is None:
            return
        if error is not None:
            target.abandon()
            return
        if self._missing > 0:
            target.abandon()
            raise CannotWrite(
                f"{self.path} was not written: {self._missing} of "
                f"{np.prod(self._shape)} pixels are missing because the job ended "
                "early. Run it again; an older result is untouched."
            )
        try:
            target.close(as_json(self.provenance) if self.provenance else "")
        except BaseException:
            target.abandon()
            raise


def _format_for(path: Path) -> type[TiffTarget] | type[ZarrTarget]:
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        return TiffTarget
    if suffix == ".zarr":
        return ZarrTarget
    raise CannotWrite(
        "Results are written as .tif, .ome.tif or .zarr, not as "
        f"'{suffix or path.name}'. Choose one of these endings."
    )
