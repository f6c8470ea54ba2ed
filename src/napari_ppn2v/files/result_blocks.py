"""Blocks of a result: checked, converted, written by whichever process has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.conversion import as_dtype
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.files.zarr_writing import ZarrBlocks


@dataclass(frozen=True, slots=True)
class WrittenBlock:
    """What the writer of a result has to know of a block that is written elsewhere.

    `below` and `above` count pixels that were clipped; `low` and `high` are the
    extremes of what is written.
    """

    frame: int
    channel: int
    n_pixels: int
    below: int
    above: int
    low: float
    high: float


@dataclass(frozen=True)
class SharedResult:
    """A Zarr result under its temporary name, for other processes to write into.

    Made by `ResultWriter.shared`, sent to the process, and told to the writer again
    by `ResultWriter.count`.
    """

    blocks: ZarrBlocks
    layout: AxisLayout
    dtype: np.dtype

    def write(
        self,
        frame: int,
        rows: slice,
        columns: slice,
        block: np.ndarray,
        *,
        channel: int = 0,
    ) -> WrittenBlock:
        """Write one block (rows, columns), not empty, of one frame, in ADU.

        Raises
        ------
        BadData  If the block does not fit or holds values that are not finite.
        OSError  If it cannot be written.
        """
        top, left = checked_place(self.layout, frame, rows, columns, block, channel)
        kept, below, above = as_dtype(block, self.dtype)
        self.blocks.write(position_of(self.layout, frame, channel), top, left, kept)
        low, high = float(kept.min()), float(kept.max())
        return WrittenBlock(frame, channel, kept.size, below, above, low, high)

    def fill_smaller_levels(self, frame: int, channel: int) -> None:
        """Compute the smaller levels of a frame that is complete."""
        self.blocks.fill_smaller_levels(position_of(self.layout, frame, channel))


def position_of(layout: AxisLayout, frame: int, channel: int) -> dict[str, int]:
    """Position of a frame of a result along all axes but Y and X."""
    return {**layout.positions(frame), "C": channel}


def checked_place(
    layout: AxisLayout,
    frame: int,
    rows: slice,
    columns: slice,
    block: np.ndarray,
    channel: int,
) -> tuple[int, int]:
    """Return the first row and column of a block, if it fits and is finite.

    Raises
    ------
    BadData  If the block does not fit or holds values that are not finite.
    IndexError  If there is no such frame or channel.
    """
    if not 0 <= frame < layout.n_frames:
        raise IndexError(f"There is no frame {frame} in the result.")
    if not 0 <= channel < layout.n_channels:
        raise IndexError(f"There is no channel {channel} in the result.")
    height, width = layout.frame_shape
    top, bottom, _ = rows.indices(height)
    left, right, _ = columns.indices(width)
    if block.shape != (bottom - top, right - left):
        raise BadData(
            f"A block of {block.shape} does not fit rows {top} to {bottom} and "
            f"columns {left} to {right} of a frame of {height} x {width}."
        )
    wrong = block.size - int(np.isfinite(block).sum())
    if wrong:
        raise BadData(
            f"The result of frame {frame} holds {wrong} values that are not finite,"
            " so it is not written. Please report this with the settings used."
        )
    return top, left
