"""How much of an image is denoised at once, and how it becomes less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ppn2v.core.memory import is_out_of_memory, out_of_memory
from napari_ppn2v.core.tiling import Span, tiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_ppn2v.core.networks import UNet

SMALLEST_TILE = 32


@dataclass(frozen=True, slots=True)
class TileSize:
    """How much is denoised at once; less, wherever memory runs out.

    Attributes
    ----------
    side : of a tile, pixels
    share : of the values that are usually held at once, see
        `core.inference.VALUES_PER_PASS`
    """

    side: int
    share: float = 1.0

    def smaller(self, error: BaseException) -> TileSize:
        """Return half the side, if the error was a lack of memory and that can help.

        Raises
        ------
        OutOfMemory  If the tiles are as small as they can be.
        Exception  The error itself, if it was another one.
        """
        if not is_out_of_memory(error):
            raise error
        if self.side // 2 < SMALLEST_TILE:
            raise out_of_memory(
                f"even with tiles of {self.side} pixels",
                "Close other programs, or denoise on the processor (device 'cpu').",
            ) from error
        # a sixteenth of the values, too: of tiles with a quarter of the pixels four
        # times as many would go into one blind pass, which then needs as much as before
        return TileSize(self.side // 2, self.share / 16)

    def __str__(self) -> str:
        return (
            f"Memory ran out. Going on with tiles of {self.side} pixels, which gives "
            "the same result."
        )


def cut_tiles(
    todo: Iterable[tuple[Span, Span]],
    side: int,
    shape: tuple[int, int],
    network: UNet,
) -> Iterator[tuple[Span, Span]]:
    """Yield smaller tiles for exactly what the larger ones cover."""
    for rows, columns in todo:
        part = rows.keep, columns.keep
        yield from tiles(shape, side, network.halo, network.stride, part)
