"""Valid files made invalid, by what they are made of: JSON, arrays, archives, bytes.

Random bytes hardly ever get past the first check of a reader. What comes from here has
the right shell and something wrong inside, at any depth.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ODD_NUMBERS = (0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 10**30, 1e308, -1e-308, 0.5)
ODD_TEXTS = (
    "",
    "..",
    "../../outside",
    "/outside",
    "\0",
    "é\ud800",
    "pickle",
    "x" * 999,
)
ODD_TYPES = (
    "|O",
    "<f8",
    ">f4",
    "<f2",
    "|V0",
    "|S0",
    "<U5",
    "<c16",
    "|b1",
    "<i8",
    "|u1",
)
ODD_SHAPES = ((), (0,), (1,), (2, 2), (10**12,), (2**31, 2**31), (-1,), (1,) * 40)


def odd_value(rng: Random) -> Any:
    """Draw what a field does not expect."""
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(ODD_TEXTS)
    if kind == 1:
        return rng.choice([None, True, False, [], {}, [[]], [None], {"": None}])
    if kind == 2:
        return rng.choice([float("nan"), float("inf"), -float("inf")])
    if kind == 3:
        return [odd_value(rng) for _ in range(rng.randrange(4))]
    if kind == 4:
        return {rng.choice(ODD_TEXTS[:4]): odd_value(rng)}
    return rng.choice(ODD_NUMBERS)


def mutated_json(text: bytes, rng: Random) -> bytes:
    """Change one value, or a few, of a JSON document, or its syntax."""
    if rng.random() < 0.15:
        return mutated_bytes(text, rng)
    if rng.random() < 0.03:
        return b"[" * 100_000 if rng.random() < 0.5 else b'{"a":' * 100_000
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return mutated_bytes(text, rng)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        content = _with_one_change(content, rng)
    # surrogates do not survive UTF-8; the escapes do
    return json.dumps(content).encode()


def _with_one_change(content: Any, rng: Random) -> Any:
    places = list(_places(content))
    if not places:
        return odd_value(rng)
    holder, key = rng.choice(places)
    way = rng.randrange(6)
    if way == 0:
        del holder[key]
    elif way == 1 and isinstance(holder, dict):
        holder[rng.choice(ODD_TEXTS)] = holder.pop(key)
    elif way == 2 and isinstance(holder, dict):
        holder[key] = {str(key): holder[key]}
    elif way == 3:
        other, name = rng.choice(places)
        holder[key] = json.loads(
            json.dumps(
                other.get(name)
                if isinstance(other, dict)
                else other[name % len(other)]
                if other
                else None
            )
        )
    else:
        holder[key] = odd_value(rng)
    return content


def _places(content: Any) -> Any:
    if isinstance(content, dict):
        for key in list(content):
            yield content, key
            yield from _places(content[key])
    elif isinstance(content, list):
        for index in range(min(len(content), 50)):
            yield content, index
            yield from _places(content[index])


def mutated_bytes(content: bytes, rng: Random) -> bytes:
    """Cut, blank, repeat, insert or change bytes."""
    if not content:
        return bytes(rng.randrange(256) for _ in range(8))
    data, way = bytearray(content), rng.randrange(6)
    at = rng.randrange(len(data))
    if way == 0:
        return bytes(data[:at])
    if way == 1:
        size = rng.randrange(400)
        data[at : at + size] = bytes(min(size, len(data) - at))
    elif way == 2:
        data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))
    elif way == 3:
        del data[at : at + rng.randrange(1, 50)]
    elif way == 4:
        number = rng.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, len(data)])
        data[at : at + 4] = struct.pack(rng.choice("<>") + "I", number)
    else:
        end = len(data) if rng.random() < 0.5 else min(len(data), 600)
        for _ in range(rng.choice([1, 4, 30])):
            data[rng.randrange(end)] = rng.randrange(256)
    return bytes(data)


def mutated_npy(content: bytes, rng: Random) -> bytes:
    """Change the type, the shape or the values of one array."""
    way = rng.randrange(6)
    if way == 0:
        return mutated_bytes(content, rng)
    try:
        if content[6:7] != b"\1" or b"|V" in content[:80] or len(content) < 130:
            return mutated_bytes(content, rng)
        array = np.load(io.BytesIO(content), allow_pickle=False)
        if array.ndim > 8 or array.size > 10**6:
            return mutated_bytes(content, rng)
    except Exception:  # noqa: BLE001 - whatever was done to it before
        return mutated_bytes(content, rng)
    if way == 1:
        shape, kind = rng.choice(ODD_SHAPES), rng.choice([array.dtype.str, *ODD_TYPES])
        return npy_header(shape, kind, rng.random() < 0.1) + array.tobytes()
    if way == 2:
        return npy_header(array.shape, rng.choice(ODD_TYPES)) + array.tobytes()
    if array.dtype.kind == "U" and array.ndim == 0:
        text = mutated_json(str(array).encode("utf-8", "replace"), rng)
        return as_npy(np.array(text.decode("utf-8", "replace")))
    if array.dtype == np.uint8 and array.ndim == 1:
        return as_npy(np.frombuffer(mutated_json(array.tobytes(), rng), np.uint8))
    return as_npy(_odd_values(array, rng))


def _odd_values(array: np.ndarray, rng: Random) -> np.ndarray:
    """Put odd numbers in an array, or give it another shape or type."""
    changed = array.copy()
    way = rng.randrange(5)
    if way == 0:
        return changed.reshape(-1)[: rng.randrange(changed.size + 1)]
    if way == 1:
        return changed[None]
    if way == 2 and changed.ndim:
        return changed[::-1]
    if changed.dtype.kind not in "fiu" or not changed.size:
        return changed
    if changed.dtype.kind == "f":
        odd = rng.choice([np.nan, np.inf, -np.inf, 1e300, -1.0, 0.0, 1e-300])
    else:
        odd = rng.choice([0, 1, np.iinfo(changed.dtype).max])
    with np.errstate(all="ignore"):
        if way == 3:
            changed[...] = odd
        else:
            for _ in range(rng.choice([1, 3, 20])):
                changed.flat[rng.randrange(changed.size)] = odd
    return changed


def npy_header(shape: tuple[int, ...], kind: str, is_fortran: bool = False) -> bytes:
    """Return the header of an array file, of any shape and type, true or not."""
    text = f"{{'descr': {kind!r}, 'fortran_order': {is_fortran}, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def as_npy(array: np.ndarray) -> bytes:
    """Return an array as the bytes of its file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    """Return the members of an archive; raises what zipfile raises."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(info.file_size for info in archive.infolist()) > 10_000_000:
            raise zipfile.BadZipFile("grown too large")
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(
    members: dict[str, bytes] | list[tuple[str, bytes]],
    method: int = zipfile.ZIP_STORED,
) -> bytes:
    """Return an archive of these members, under any names."""
    file = io.BytesIO()
    pairs = members.items() if isinstance(members, dict) else members
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in pairs:
            info = zipfile.ZipInfo(name or "empty")
            info.compress_type = method
            archive.writestr(info, content)
    return file.getvalue()


def mutated_zip(content: bytes, rng: Random) -> bytes:
    """Change a member of an archive, its name or its method, or the archive itself."""
    if rng.random() < 0.15:
        return mutated_bytes(content, rng)
    try:
        members = unzipped(content)
    except Exception:  # noqa: BLE001 - whatever was done to it before
        return mutated_bytes(content, rng)
    for _ in range(rng.choice([1, 1, 2])):
        _change_a_member(members, rng)
    return zipped(members, rng.choice([0, 0, 0, 8, 8, 12, 14]))


def _change_a_member(members: dict[str, bytes], rng: Random) -> None:
    if not members:
        members["header.npy"] = b""
        return
    name, way = rng.choice(sorted(members)), rng.randrange(12)
    if way == 0:
        del members[name]
    elif way == 1:
        members[rng.choice(["", "..", "/a.npy", "../b.npy", "c", name[:-4]])] = (
            members.pop(name)
        )
    elif way == 2:
        members[rng.choice(sorted(members))] = members[name]
    elif way == 3:
        members[name] = mutated_bytes(members[name], rng)
    else:
        members[name] = mutated_file(name, members[name], rng)


def mutated_tiff(content: bytes, rng: Random) -> bytes:
    """Change entries of the directories of a TIFF, or its text, or any bytes."""
    entries = list(_tiff_entries(content)) if rng.random() < 0.8 else []
    if not entries:
        return mutated_bytes(content, rng)
    data, order = bytearray(content), "<" if content[:2] == b"II" else ">"
    for _ in range(rng.choice([1, 1, 2, 4])):
        at, way = rng.choice(entries), rng.randrange(5)
        if way == 0:
            tags = [
                256,
                257,
                258,
                259,
                262,
                270,
                273,
                277,
                278,
                279,
                322,
                323,
                324,
                339,
            ]
            data[at : at + 2] = struct.pack(order + "H", rng.choice(tags))
        elif way == 1:
            data[at + 2 : at + 4] = struct.pack(order + "H", rng.randrange(20))
        elif way == 2:
            number = rng.choice([0, 1, 2, 1000, 10**6, 2**31, 2**32 - 1])
            data[at + 4 : at + 8] = struct.pack(order + "I", number)
        else:
            odd = [0, 1, 2, 5, 7, 8, 16, 64, 65535, 10**6, 2**31, 2**32 - 1]
            odd += [32773, 32946, 34925, 50000, rng.randrange(len(data))]
            data[at + 8 : at + 12] = struct.pack(order + "I", rng.choice(odd))
    return bytes(data)


def _tiff_entries(content: bytes) -> Any:
    """Offsets of the entries of all directories of a classic TIFF."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None or len(content) < 8:
        return
    (at,) = struct.unpack_from(order + "I", content, 4)
    for _ in range(20):
        if not 0 < at < len(content) - 2:
            return
        (count,) = struct.unpack_from(order + "H", content, at)
        end = at + 2 + 12 * count
        if count > 100 or end + 4 > len(content):
            return
        yield from range(at + 2, end, 12)
        (at,) = struct.unpack_from(order + "I", content, end)


_BY_ENDING: dict[str, Callable[[bytes, Random], bytes]] = {
    ".npz": mutated_zip,
    ".ppn2v": mutated_zip,
    ".pt": mutated_zip,
    ".zip": mutated_zip,
    ".zarr": mutated_zip,  # packed, see `readers`
    ".npy": mutated_npy,
    ".json": mutated_json,
    ".zarray": mutated_json,
    ".zattrs": mutated_json,
    ".zgroup": mutated_json,
    ".tif": mutated_tiff,
}


def mutated_file(name: str, content: bytes, rng: Random) -> bytes:
    """Change the content of a file by what its name says it is."""
    ending = "." + name.rpartition("/")[2].rpartition(".")[2]
    return _BY_ENDING.get(ending, mutated_bytes)(content, rng)
