"""Arrays out of .npz and .npy files of strangers, within bounds that are known before.

`numpy.load` believes what a file says: a few kilobytes can ask for terabytes, or for an
endless number of elements without a size. Here the sizes in the directory of the
archive, in the header of each array and in the file itself have to agree before
anything is unpacked, and nothing but numbers and text is taken.
"""

from __future__ import annotations

import io
import zipfile
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MAGIC_ZIP, MAGIC_NPY = b"PK", b"\x93NUMPY"

_KINDS = "biufcU"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes
_LONGEST_HEADER = 10_000  # bytes; longer ones take a parser minutes
_MOST_MEMBERS = 10_000
_UNPACKED, _SLACK = 1100, 1_000_000  # a deflated byte holds up to 1032


class ArrayHeader(NamedTuple):
    """What the beginning of an array file says, within reason.

    `offset` is where its `n_bytes` bytes of elements begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    n_bytes: int
    is_fortran: bool


def read_array_header(path: Path) -> ArrayHeader:
    """Read the header of an .npy; raises as `read_archive`.

    NumPy itself ends the program on some of them, by a division by zero.
    """
    with path.open("rb") as file:
        return _header(file.read(_LONGEST_HEADER + 16))


def read_archive(
    path: Path, *, largest: int, names: Container[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz.

    Parameters
    ----------
    largest
        Bytes of all its arrays together; more are refused before anything is unpacked.
    names
        Of the arrays wanted, without ".npy"; None for all.

    Raises
    ------
    ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error
        If the archive is damaged, too large, or holds other things than arrays. All are
        among `files.lazy.DAMAGED`; the caller makes a sentence of them.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_members(members, path.stat().st_size, largest)
        return {
            name: _member(archive, info)
            for name, info in _named(members)
            if names is None or name in names
        }


def read_array(path: Path, *, largest: int) -> NDArray[Any]:
    """Read an .npy; raises as `read_archive`."""
    size = path.stat().st_size
    if size > largest:
        raise ValueError(f"it is {size} bytes long, of at most {largest}")
    with path.open("rb") as file:
        return _array(file, size)


def check_stored(path: Path) -> None:
    """Refuse an archive that is longer unpacked than packed, before it is unpacked.

    Raises
    ------
    ValueError, OSError, zipfile.BadZipFile  As `read_archive`.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    total = sum(info.file_size for info in members)
    if any(info.compress_type for info in members) or total > path.stat().st_size:
        raise ValueError(f"it would unpack to {total} bytes")


def _named(members: list[zipfile.ZipInfo]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in members:
        yield info.filename.removesuffix(".npy"), info


def _check_members(members: list[zipfile.ZipInfo], size: int, largest: int) -> None:
    """Refuse what would unpack to too much, whatever its headers say."""
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"it has {len(members)} parts")
    if len({info.filename for info in members}) < len(members):
        raise ValueError("two of its parts have the same name")
    if any(info.compress_type not in _METHODS for info in members):
        raise ValueError("it is packed in a way that NumPy does not use")
    total = sum(info.file_size for info in members)
    if total > min(largest, _UNPACKED * size + _SLACK):
        raise ValueError(
            f"it claims to hold {total} bytes of arrays in a file of {size} bytes, "
            f"where at most {largest} make sense"
        )


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(info) as stream:
        return _array(stream, info.file_size)


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """Read one array of a file, or of a part of it, that is `size` bytes long."""
    start = stream.read(min(size, _LONGEST_HEADER + 16))
    header = _header(start)
    if header.offset + header.n_bytes != size:
        raise ValueError(
            f"an array of {header.n_bytes} bytes is announced, but there are "
            f"{size - header.offset}"
        )
    content = start[header.offset :] + stream.read(size - len(start))
    if len(content) != header.n_bytes:
        raise EOFError("an array ends too early")
    flat = np.frombuffer(bytearray(content), header.dtype)
    return flat.reshape(header.shape, order="F" if header.is_fortran else "C")


def _header(start: bytes) -> ArrayHeader:
    """Read the header at the beginning of an array file."""
    head = io.BytesIO(start)
    version = np.lib.format.read_magic(head)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"an array of the version {version} is not known")
    shape, is_fortran, dtype = read_header(head, max_header_size=_LONGEST_HEADER)
    n_bytes = _count(shape, dtype) * dtype.itemsize
    return ArrayHeader(shape, dtype, head.tell(), n_bytes, is_fortran)


def _count(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Count the elements, in integers that do not overflow."""
    if dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ValueError(f"an array holds elements of type {dtype}, not numbers")
    if len(shape) > 8 or any(length < 0 for length in shape):
        raise ValueError(f"an array cannot have the shape {shape}")
    count = 1
    for length in shape:
        count *= length
    return count
