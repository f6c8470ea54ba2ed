"""How much compressed bytes unpack to, found out without keeping it.

A few megabytes can unpack to terabytes. Decoders for TIFF and Zarr unpack first and
compare afterwards, so pieces that could be such bombs are measured before.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGEST_PIECE = 4_000_000_000
"""Bytes of one strip, tile or chunk; memory holds several of them."""

_AT_ONCE = 2**20
_HARMLESS = 64_000_000  # bytes that any machine has, and a bomb has more
_MOST_PER_BYTE = 1100  # a deflated byte holds up to 1032
_ZSTD_BLOCK = 128 * 1024


def check_piece(path: Path, content: bytes, wanted: int) -> None:
    """Refuse a compressed piece of an image that unpacks to far more than it should.

    Parameters
    ----------
    path : for the message
    content : as it lies in the file, compressed by a method told by its first bytes;
        others are let pass
    wanted : bytes that the piece has unpacked

    Raises
    ------
    BadFile
    """
    if wanted > LARGEST_PIECE:
        raise BadFile(
            f"{path} is stored in pieces of {wanted / 1e9:.1f} GB, of which each would "
            f"have to fit into memory as a whole; at most {LARGEST_PIECE / 1e9:.0f} GB "
            "are read. Export it once more in tiles or chunks."
        )
    most = 2 * wanted + _HARMLESS
    if _unpacks_beyond(content, most):
        raise BadFile(
            f"A piece of {path} would unpack to more than {most / 1e6:.0f} MB, but the "
            f"image has {wanted / 1e6:.3g} MB there. The file is damaged, or made to "
            "fill the memory; nothing more of it is read. Get it from its source again."
        )


def _unpacks_beyond(content: bytes, most: int) -> bool:
    """Whether it is compressed and more than `most` bytes come out of it."""
    kinds: tuple[tuple[bytes, Callable[[bytes, int], bool]], ...] = (
        (b"\x1f\x8b", _deflate(31)),
        (b"\x28\xb5\x2f\xfd", _zstd_is_beyond),
        (b"\xfd7zXZ", _stepwise(lzma.LZMADecompressor)),
        (b"BZh", _stepwise(bz2.BZ2Decompressor)),
        (b"\x78", _deflate(15)),
    )
    for sign, is_beyond in kinds:
        if content.startswith(sign):
            return is_beyond(content, most)
    return _is_blosc(content) and struct.unpack_from("<I", content, 4)[0] > most


def _is_blosc(content: bytes) -> bool:
    """Whether a Blosc header begins it, which states how long the whole is.

    Pixels stored as they are can begin with the same byte.
    """
    if content[:1] != b"\x02" or len(content) <= 16:
        return False
    return struct.unpack_from("<I", content, 12)[0] == len(content)


def _deflate(window: int) -> Callable[[bytes, int], bool]:
    def is_beyond(content: bytes, most: int) -> bool:
        if len(content) * _MOST_PER_BYTE <= most:
            return False
        unpacker, total, left = zlib.decompressobj(window), 0, content
        try:
            while left and total <= most and not unpacker.eof:
                total += len(unpacker.decompress(left, _AT_ONCE))
                left = unpacker.unconsumed_tail
        except zlib.error:  # other bytes that begin so; the decoder will tell
            return False
        return total > most

    return is_beyond


def _stepwise(make: Callable[[], Any]) -> Callable[[bytes, int], bool]:
    def is_beyond(content: bytes, most: int) -> bool:
        unpacker, total, given = make(), 0, content
        try:
            while total <= most and not unpacker.eof:
                found = unpacker.decompress(given, _AT_ONCE)
                total, given = total + len(found), b""
                if not found and unpacker.needs_input:
                    break
        except (OSError, EOFError, lzma.LZMAError):
            return False
        return total > most

    return is_beyond


def _zstd_is_beyond(content: bytes, most: int) -> bool:
    """Sum what the blocks of a Zstandard frame can hold (RFC 8878, section 3.1.1)."""
    descriptor = content[4] if len(content) > 4 else 0
    is_single = bool(descriptor & 0x20)
    size_bytes = (1 if is_single else 0, 2, 4, 8)[descriptor >> 6]
    at = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[descriptor & 3]
    claimed = int.from_bytes(content[at : at + size_bytes], "little")
    if claimed > most:
        return True
    at, total = at + size_bytes, 0
    while at + 3 <= len(content) and total <= most:
        block = int.from_bytes(content[at : at + 3], "little")
        is_last, kind, size = block & 1, block >> 1 & 3, block >> 3
        total += _ZSTD_BLOCK if kind == 2 else size
        at += 3 + (1 if kind == 1 else size)
        if is_last:
            break
    return total > most
