"""Arrays that live in files: read where and when they are indexed, never as a whole.

None of them maps files into memory, so the memory of a job that runs through a long
stack stays that of one piece, also as the operating system counts it.
"""

from __future__ import annotations

import lzma
import math
import operator
import struct
import tokenize
import zipfile
import zlib
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from napari_ppn2v.core.memory import is_out_of_memory
from napari_ppn2v.errors import BadFile, OutOfMemory, PPN2VError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_ppn2v.core.frames import ArrayLike

_READ_ALONG, _LITTLE = 16_000_000, 500_000  # bytes

DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What readers of other packages raise on damaged bytes; no error of ours is one."""


class LazyArray:
    """Base: shape, dtype, and indexing with integers, slices and an ellipsis."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes when read as a whole."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[...], dtype=dtype)


class RawArray(LazyArray):
    """Uncompressed elements in one piece of a file, read by ordinary reads.

    Not through a memory map: where the file is cut off or its drive goes away in the
    midst of it, a map ends the whole program instead of raising an error, and a limit
    on a program's memory counts all of the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype,
        offset: int,
        is_fortran: bool = False,
    ) -> None:
        self.path, self.shape, self.dtype = path, tuple(shape), np.dtype(dtype)
        self._offset = offset
        self._order: Literal["C", "F"] = "F" if is_fortran else "C"
        missing = offset + self.nbytes - path.stat().st_size
        if missing > 0:
            raise truncated(
                path, f"{missing} of {self.nbytes} bytes of pixels are missing"
            )

    def __getitem__(self, index: Any) -> np.ndarray:
        full, shape = full_index(index, self.shape), self.shape
        if self._order == "F":
            full, shape = full[::-1], shape[::-1]
        try:
            with self.path.open("rb", buffering=0) as file:
                found = self._part(file, self._offset, shape, full)
        except DAMAGED as error:
            raise unreadable(self.path, error) from error
        return found.T if self._order == "F" else found

    def _part(
        self, file: BinaryIO, at: int, shape: tuple[int, ...], index: list[int | slice]
    ) -> np.ndarray:
        """Read a part of elements of this shape that begin at this byte."""
        if not index:
            return self._elements(file, at, ())
        head, rest = index[0], index[1:]
        step = math.prod(shape[1:]) * self.dtype.itemsize
        if not isinstance(head, slice):
            return self._part(file, at + head * step, shape[1:], rest)
        places = range(*head.indices(shape[0]))
        wanted = math.prod(_lengths(rest, shape[1:]))
        if not places or not wanted:
            return np.empty((len(places), *_lengths(rest, shape[1:])), self.dtype)
        first, last = min(places[0], places[-1]), max(places[0], places[-1])
        n_bytes = (last - first + 1) * step
        used = len(places) * wanted * self.dtype.itemsize / n_bytes
        # what lies between is read along, unless it is much
        if used == 1 or n_bytes <= (_READ_ALONG if used >= 0.25 else _LITTLE):
            start = at + first * step
            block = self._elements(file, start, (last - first + 1, *shape[1:]))
            part = block[(slice(None, None, places.step), *rest)]
            return part if part.shape == block.shape else part.copy()
        found = np.empty((len(places), *_lengths(rest, shape[1:])), self.dtype)
        for number, place in enumerate(places):
            found[number] = self._part(file, at + place * step, shape[1:], rest)
        return found

    def _elements(self, file: BinaryIO, at: int, shape: tuple[int, ...]) -> np.ndarray:
        found = np.empty(shape, self.dtype)
        left = memoryview(found.reshape(-1).view(np.uint8).data)
        file.seek(at)
        while left:
            count = file.readinto(left)  # type: ignore[attr-defined]
            if not count:
                raise truncated(self.path, f"it ended {len(left)} bytes too early")
            left = left[count:]
        return found


class DecodedArray(LazyArray):
    """Elements that a decoder reads piece by piece, its errors made readable.

    Parameters
    ----------
    source
        A Zarr array, of a Zarr store or laid over the pages of a TIFF file.
    """

    def __init__(self, path: Path, source: Any) -> None:
        self.path, self._source = path, source
        self.shape, self.dtype = tuple(source.shape), np.dtype(source.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        try:
            return np.asarray(self._source[index])
        except DAMAGED as error:
            raise unreadable(self.path, error) from error

    def probe(self) -> None:
        """Read one element, so that a missing decoder shows before a long job."""
        self[(0,) * self.ndim]


class JoinedArray(LazyArray):
    """Arrays of several files, one after the other along one axis.

    Parameters
    ----------
    parts
        Arrays of equal dtype, and of equal shape but for the joined axis.
    axis
        Axis along which they are joined; None makes a new first axis.
    """

    def __init__(self, parts: Sequence[ArrayLike], axis: int | None) -> None:
        self._parts, self._axis = list(parts), axis or 0
        self._is_new_axis = axis is None
        first = self._parts[0]
        self.dtype = np.dtype(first.dtype)
        sizes = [1 if axis is None else int(part.shape[axis]) for part in self._parts]
        self._ends = list(accumulate(sizes))
        shape = list(first.shape)
        if axis is None:
            shape.insert(0, 0)
        shape[self._axis] = self._ends[-1]
        self.shape = tuple(shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        full: list[Any] = list(full_index(index, self.shape))
        chosen = full[self._axis]
        if not isinstance(chosen, slice):
            return self._read_one(full, int(chosen))
        size = self.shape[self._axis]
        one_by_one = [self._read_one(full, at) for at in range(*chosen.indices(size))]
        # integers before the joined axis leave it further to the front
        front = sum(isinstance(part, slice) for part in full[: self._axis])
        if not one_by_one:
            return np.empty(self._empty_shape(full), self.dtype)
        return np.stack(one_by_one, axis=front)

    def _read_one(self, full: list[Any], at: int) -> np.ndarray:
        at += self.shape[self._axis] if at < 0 else 0
        if not 0 <= at < self.shape[self._axis]:
            raise IndexError(f"{at} is outside of the {self.shape[self._axis]} joined.")
        which = bisect_right(self._ends, at)
        before = self._ends[which - 1] if which else 0
        index = list(full)
        if self._is_new_axis:
            del index[self._axis]
        else:
            index[self._axis] = at - before
        return np.asarray(self._parts[which][tuple(index)])

    def _empty_shape(self, full: list[Any]) -> tuple[int, ...]:
        return tuple(
            len(range(*part.indices(size)))
            for part, size in zip(full, self.shape, strict=True)
            if isinstance(part, slice)
        )


def full_index(index: Any, shape: tuple[int, ...]) -> list[int | slice]:
    """Return an integer, not negative, or a slice for each axis.

    Raises
    ------
    IndexError  If an integer is outside, or the index is of another kind.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    if len(parts) != len(shape):
        raise IndexError(f"{len(parts)} indices are too many for {len(shape)} axes.")
    return [
        part if isinstance(part, slice) else _within(operator.index(part), size)
        for part, size in zip(parts, shape, strict=True)
    ]


def _within(at: int, size: int) -> int:
    if not -size <= at < size:
        raise IndexError(f"{at} is outside of the {size} elements of an axis.")
    return at % size


def _lengths(index: list[int | slice], shape: tuple[int, ...]) -> list[int]:
    """Shape of what an index gives."""
    pairs = zip(index, shape, strict=True)
    return [len(range(*i.indices(n))) for i, n in pairs if isinstance(i, slice)]


def truncated(path: Path, what: str) -> BadFile:
    """Make the error for a file that ends too early."""
    return BadFile(
        f"The file {path} is incomplete: {what}. Copy it again from where it was "
        "recorded; the transfer or the recording was probably interrupted."
    )


def unreadable(path: Path, error: Exception) -> PPN2VError:
    """Make the error for pixels that cannot be read or decoded."""
    if is_out_of_memory(error):
        return OutOfMemory(
            f"Memory ran out while {path} was read ({error}). Close other programs, or "
            "save the image in smaller pieces: uncompressed TIFF or Zarr."
        )
    if isinstance(error, FileNotFoundError):
        return BadFile(
            f"The file {path} is no longer there. It was moved, renamed or removed, or "
            "its drive is gone. Put it back, then start again or resume."
        )
    if "imagecodecs" in str(error) or isinstance(error, ImportError):
        return BadFile(
            f"The pixels of {path} are compressed in a way that needs an additional "
            f"package ({error}). Install it with 'pip install imagecodecs', or save "
            "the image without compression."
        )
    why = str(error).rstrip(".") or type(error).__name__
    return BadFile(
        f"The pixels of {path} cannot be read: {why}. The "
        "file may be damaged or incomplete; copy it again or export it once more."
    )
