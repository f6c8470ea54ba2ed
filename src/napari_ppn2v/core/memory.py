"""Lack of memory: how it shows, what to say, and how to go on with less."""

from __future__ import annotations

import ctypes
import errno
import gc
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_ppn2v.errors import OutOfMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

# of torch's allocators for processors (Linux and macOS, Windows), graphics cards and
# their libraries, and of the C++ runtime below them
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "bad_alloc",
    "alloc_failed",
    "could not create a memory object",
)
# oneDNN, on a processor: its code for a convolution found no memory. What it cannot do
# at all it says of "a primitive descriptor".
_ENDS = "could not create a primitive"
_LEFT = "What was saved before is intact, and a run with checkpoints can be resumed."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in main memory or on a card."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if not isinstance(error, RuntimeError):
        return False
    words = str(error).lower().strip()
    return words.endswith(_ENDS) or any(word in words for word in _WORDS)


def out_of_memory(doing: str, advice: str) -> OutOfMemory:
    """Make the error for memory that is too small even for the smallest pieces.

    Parameters
    ----------
    doing : with what, "even with tiles of 32 pixels"
    advice : what the user can do about it, a sentence
    """
    return OutOfMemory(f"Memory ran out {doing}. {advice} {_LEFT}")


@contextmanager
def named_memory_errors(doing: str) -> Iterator[None]:
    """Turn a lack of memory that nothing smaller can help into an error in words.

    Raises
    ------
    OutOfMemory
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        advice = (
            "Close other programs, train on fewer frames, choose a smaller patch or "
            "batch size, or compute on the processor (CPU) in place of a GPU."
        )
        raise out_of_memory(doing, advice) from error


def release_memory() -> None:
    """Give back what is held but not used, so that a second try finds it."""
    gc.collect()
    if sys.platform == "linux":  # elsewhere, what is free goes back by itself
        with suppress(OSError, AttributeError):  # not in every C library
            ctypes.CDLL(None).malloc_trim(0)
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
