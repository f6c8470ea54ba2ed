"""Cutting frames into tiles with a halo, so that tiled equals whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def spans(length: int, tile: int, halo: int, stride: int) -> list[Span]:
    """Cover an axis of `length` pixels by tiles that keep about `tile` pixels each.

    Tiles start at multiples of `stride`, so that pooling cells are those of the
    whole image, and reach `halo` pixels beyond what they keep, except at the
    image's own borders: there the network pads as it does for the whole image.
    """
    step = max(stride, tile // stride * stride)
    reach = -(-halo // stride) * stride
    result = []
    for first in range(0, length, step):
        last = min(first + step, length)
        result.append(
            Span(max(0, first - reach), min(length, last + reach), first, last)
        )
    return result


def tiles(
    shape: tuple[int, int], tile: int, halo: int, stride: int
) -> Iterator[tuple[Span, Span]]:
    """Yield (rows, columns) of all tiles of an image, row by row."""
    columns = spans(shape[1], tile, halo, stride)
    for rows in spans(shape[0], tile, halo, stride):
        for column in columns:
            yield rows, column
