"""Cutting frames into tiles with a halo, so that tiled equals whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray


def middle_of(image: NDArray[np.float32], largest_side: int) -> NDArray[np.float32]:
    """Return the middle of an image, of that side (pixels) or as large as it is."""
    rows, columns = (middle(side, largest_side) for side in image.shape)
    return image[rows, columns]


def middle(side: int, most: int) -> slice:
    """Return the middle of an axis, of at most that many pixels."""
    kept = min(side, most)
    return slice((side - kept) // 2, (side + kept) // 2)


@dataclass(frozen=True, slots=True)
class Span:
    """One tile along one axis: what is read, and what of it is kept.

    `start`:`stop` is read (a multiple of the stride from 0, clipped to the image),
    `keep_start`:`keep_stop` is kept, in the same coordinates.
    """

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def read(self) -> slice:
        """Slice of the image to read."""
        return slice(self.start, self.stop)

    @property
    def keep(self) -> slice:
        """Slice of the image that this tile gives."""
        return slice(self.keep_start, self.keep_stop)

    @property
    def inner(self) -> slice:
        """Slice of the tile that is kept."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)


def spans(
    length: int, tile: int, halo: int, stride: int, within: slice | None = None
) -> list[Span]:
    """Cover an axis of `length` pixels by tiles that keep about `tile` pixels each.

    Tiles start at multiples of `stride`, so that pooling cells are those of the
    whole image, and reach `halo` pixels beyond what they keep, except at the
    image's own borders: there the network pads as it does for the whole image.

    Parameters
    ----------
    within : the part to be covered, from a multiple of `stride`; None for all
    """
    step = tile_step(tile, stride)
    reach = -(-halo // stride) * stride
    begin, end = (0, length) if within is None else (within.start, within.stop)
    result = []
    for first in range(begin, end, step):
        last = min(first + step, end)
        # a part may end anywhere, but what is read ends with a pooling cell
        beyond = -(-last // stride) * stride + reach
        result.append(Span(max(0, first - reach), min(length, beyond), first, last))
    return result


def tile_step(tile: int, stride: int) -> int:
    """Distance between tiles that shall keep about `tile` pixels."""
    return max(stride, tile // stride * stride)


def tiles(
    shape: tuple[int, int],
    tile: int,
    halo: int,
    stride: int,
    part: tuple[slice, slice] | None = None,
) -> Iterator[tuple[Span, Span]]:
    """Yield (rows, columns) of all tiles of an image, row by row.

    Parameters
    ----------
    part : rows and columns to be covered, see `spans`; None for all
    """
    within = (None, None) if part is None else part
    columns = spans(shape[1], tile, halo, stride, within[1])
    for rows in spans(shape[0], tile, halo, stride, within[0]):
        for column in columns:
            yield rows, column
