"""Batches gone through in parts: in less memory, or on several devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from napari_ppn2v.core.memory import is_out_of_memory, out_of_memory, release_memory
from napari_ppn2v.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

R = TypeVar("R")


class BatchParts:
    """In how many parts batches are gone through: more, whenever memory runs out.

    Parameters
    ----------
    batch_size : patches of a batch, the most parts there can be
    patch_size : side of a patch, pixels
    n_devices : that share each batch

    Attributes
    ----------
    count : of the parts, one for each device as long as memory suffices
    """

    def __init__(self, batch_size: int, patch_size: int, n_devices: int = 1) -> None:
        self.batch_size, self.patch_size = batch_size, patch_size
        self.count = min(n_devices, batch_size)
        self._news: list[Notice] = []

    def within_memory(self, work: Callable[[], R], clear: Callable[[], None]) -> R:
        """Do some work, and again in more parts as long as memory runs out.

        Parameters
        ----------
        work : reads `count` and can be repeated
        clear : lets go of what half-done work has left

        Raises
        ------
        OutOfMemory  If single patches do not fit either.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                self._part_more(error)
            # here the error is gone, and with it what it held in memory
            clear()
            release_memory()

    def news(self) -> Iterator[Notice]:
        """Yield what the user should know, once."""
        while self._news:
            yield self._news.pop(0)

    def _part_more(self, error: BaseException) -> None:
        if not is_out_of_memory(error):
            raise error
        if self.count >= self.batch_size:
            raise out_of_memory(
                f"in training, even with one patch of {self.patch_size} x "
                f"{self.patch_size} pixels at a time",
                "Close other programs, choose a smaller patch size, fewer samples or "
                "a smaller network, or train on the processor (device 'cpu').",
            ) from error
        self.count = min(2 * self.count, self.batch_size)
        self._news.append(
            Notice(
                f"Memory ran out. Going on with each batch of {self.batch_size} "
                f"patches in {self.count} parts: this takes longer and trains the "
                "same way.",
                is_warning=True,
            )
        )
