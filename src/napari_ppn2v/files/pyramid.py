"""Smaller copies of large frames, so that viewers show them without reading all."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

WORTHWHILE_SIDE = 1024
"""Pixels of the longer side above which frames get smaller copies."""

SMALLEST_SIDE = 512
"""Pixels of the longer side at which no smaller copy is made."""


def level_shapes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes (Y, X) of all levels, the full resolution first.

    Each level has half the side of the one before, rounded up. Frames up to
    `WORTHWHILE_SIDE` have one level.
    """
    shapes = [(height, width)]
    if max(height, width) <= WORTHWHILE_SIDE:
        return shapes
    while max(shapes[-1]) > SMALLEST_SIDE:
        shapes.append(((shapes[-1][0] + 1) // 2, (shapes[-1][1] + 1) // 2))
    return shapes


def halved(block: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, of those that are there at an odd border.

    Parameters
    ----------
    block : (Y, X) of any integer or float type

    Returns
    -------
    ndarray, (ceil(Y / 2), ceil(X / 2)), of the same type; integers are rounded.
    """
    height, width = block.shape
    means = block.astype(np.float64)
    for axis, size in ((0, height), (1, width)):
        firsts = np.arange(0, size, 2)
        counts = np.minimum(2, size - firsts)
        counts = counts[:, np.newaxis] if axis == 0 else counts
        means = np.add.reduceat(means, firsts, axis=axis) / counts
    return (np.rint(means) if block.dtype.kind in "iu" else means).astype(block.dtype)


def fill_levels(levels: Sequence[Any], place: tuple[int, ...]) -> None:
    """Compute all smaller levels of one frame, chunk by chunk.

    Parameters
    ----------
    levels
        Zarr arrays of all levels, the full resolution first, whose last axes are Y, X.
    place
        Index of the frame along the axes before them.
    """
    for finer, coarser in pairwise(levels):
        height, width = coarser.shape[-2:]
        side_y, side_x = coarser.chunks[-2:]
        for top in range(0, height, side_y):
            for left in range(0, width, side_x):
                rows = slice(top, min(top + side_y, height))
                columns = slice(left, min(left + side_x, width))
                source = (_doubled(rows), _doubled(columns))
                block = np.asarray(finer[(*place, *source)])
                coarser[(*place, rows, columns)] = halved(block)


def _doubled(part: slice) -> slice:
    # what lies beyond an odd border is cut off when it is read
    return slice(2 * part.start, 2 * part.stop)
