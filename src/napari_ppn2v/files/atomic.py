"""Write files so that the final name only ever holds something complete.

Everything is written under a temporary name in the same folder, flushed to the disk and
moved over the final name at the end; a failure or an interruption removes it and leaves
an older result as it was. What a killed process leaves is hidden, and removed by the
next one that writes into the folder (`files.leftovers`).
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import CannotWrite
from napari_ppn2v.files.leftovers import (
    remove,
    remove_leftovers_once,
    set_aside_path,
    temporary_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def atomic_path(
    final: str | PathLike[str], *, needed_bytes: int = 0, folder_marker: str = ""
) -> Iterator[Path]:
    """Give a temporary path that becomes `final` when the block ends without error.

    Parameters
    ----------
    final
        Where the file (or folder) shall be. Its folder must exist. A symbolic link is
        followed.
    needed_bytes
        Space that the result takes; checked before anything is written.
    folder_marker
        Only for results that are folders: an existing folder is replaced if it holds
        an entry of this name, and never otherwise.

    Yields
    ------
    Path to write to, in the same folder and with the same endings.

    Raises
    ------
    CannotWrite  If the folder is missing or read-only, the disk full, or `final` taken
        by a folder that is not ours. Other errors of the block pass through.
    """
    final = Path(os.path.realpath(final))
    remove_leftovers_once(final.parent)
    check_target(final, needed_bytes=needed_bytes, folder_marker=folder_marker)
    temporary = temporary_path(final)
    try:
        yield temporary
        _finish(temporary, final)
    except OSError as error:
        remove(temporary)
        if error.filename is None or _is_ours(error.filename, temporary, final):
            raise cannot_write(error, final) from error
        raise
    except BaseException:
        remove(temporary)
        raise


def check_target(
    final: Path, *, needed_bytes: int = 0, folder_marker: str = ""
) -> None:
    """Refuse what `atomic_path` would refuse, before a long computation.

    Raises
    ------
    CannotWrite
    """
    try:
        _check_target(final, needed_bytes, folder_marker)
    except OSError as error:  # a name that is too long, a drive that is gone
        raise cannot_write(error, final) from error


def write_bytes_atomically(final: str | PathLike[str], content: bytes) -> None:
    """Write a small file as a whole; raises CannotWrite."""
    with atomic_path(final, needed_bytes=len(content)) as path:
        path.write_bytes(content)


def write_text_atomically(final: str | PathLike[str], text: str) -> None:
    """Write a text file in UTF-8; raises CannotWrite."""
    write_bytes_atomically(final, text.encode("utf-8"))


def write_json_atomically(final: str | PathLike[str], content: Any) -> None:
    """Write strict JSON, see `as_json`; raises CannotWrite."""
    write_text_atomically(final, as_json(content, indent=2) + "\n")


def write_arrays_atomically(
    final: str | PathLike[str], arrays: Mapping[str, Any]
) -> None:
    """Write named arrays as a compressed .npz that loads without pickle.

    Raises
    ------
    CannotWrite  If the file cannot be written.
    TypeError  If an array holds Python objects.
    """
    ready: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    objects = [name for name, array in ready.items() if array.dtype.hasobject]
    if objects:
        raise TypeError(f"Python objects are not written to files: {objects}.")
    with atomic_path(final) as path, path.open("wb") as file:
        np.savez_compressed(file, **ready)


def as_json(content: Any, indent: int | None = None) -> str:
    """Return strict JSON of plain values, numpy values, paths and tuples.

    Infinities and NaN become null, as JSON has no word for them.
    """
    return json.dumps(_plain(content), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, os.PathLike) else value


def cannot_write(error: OSError, final: Path) -> CannotWrite:
    """Translate an error of the operating system for the user."""
    kept = "Nothing was left half-written, and an older result is untouched."
    if error.errno in _FULL:
        return CannotWrite(
            f"The disk is full: {final} could not be written ({_free(final)} are free "
            f"without it). Free some space or choose another drive. {kept}"
        )
    if error.errno in _FORBIDDEN:
        return CannotWrite(
            f"{final} could not be written: the folder or the file is read-only or in "
            f"use by another program. Choose another folder or close it there. {kept}"
        )
    if error.errno == errno.EFBIG:
        return CannotWrite(
            f"{final} could not be written: this drive or account takes no file of "
            "this size (drives formatted as FAT32 end at 4 GB). Choose another drive, "
            f"or a .zarr result, which is many small files. {kept}"
        )
    return CannotWrite(
        f"{final} could not be written: {error.strerror or error}. Check the name, the "
        f"folder and the drive. {kept}"
    )


def readable_bytes(count: float) -> str:
    """Return a number of bytes for people: "3.2 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _check_target(final: Path, needed_bytes: int, folder_marker: str) -> None:
    folder = final.parent
    if not folder.is_dir():
        raise CannotWrite(
            f"{final} cannot be written: there is no folder {folder}. Create it or "
            "choose another one."
        )
    is_old_result = bool(folder_marker) and (final / folder_marker).exists()
    if final.is_dir() and not is_old_result:
        raise CannotWrite(
            f"{final} is a folder that is not a result of this kind, so it is not "
            "replaced. Choose another name."
        )
    if final.is_file() and folder_marker:
        raise CannotWrite(
            f"{final} is a file, but the result will be a folder. Choose another name."
        )
    if not os.access(folder, os.W_OK):
        raise cannot_write(PermissionError(errno.EACCES, "read-only"), final)
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise CannotWrite(
            f"{final} needs {readable_bytes(needed_bytes)}, but only "
            f"{readable_bytes(free)} are free on this drive. Free some space or choose "
            "another drive."
        )


def _finish(temporary: Path, final: Path) -> None:
    """Flush what was written to the disk and move it over the final name."""
    _flush_all(temporary)
    if not temporary.is_dir():
        temporary.replace(final)
    elif not final.is_dir():
        temporary.rename(final)
    else:
        _replace_folder(temporary, final)
    with suppress(OSError):  # folders cannot be flushed on every system
        _flush(final.parent)


def _replace_folder(temporary: Path, final: Path) -> None:
    """Put a folder in the place of another one; killed in between, the old one is kept.

    Set aside, the old one is whole and gets its name back where the new one is
    missing; what is being removed must not, so it is renamed once more.
    """
    old = set_aside_path(final)
    final.rename(old)
    try:
        temporary.rename(final)
    except OSError:
        old.rename(final)
        raise
    rest = temporary_path(final)
    old.rename(rest)
    remove(rest)


def _flush_all(path: Path) -> None:
    """Flush a file, or all files of a folder: a power cut comes without a warning."""
    if not path.is_dir():
        _flush(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            _flush(Path(folder, name))
        with suppress(OSError):
            _flush(Path(folder))


def _flush(path: Path) -> None:
    # a file has to be open for writing to be flushed on Windows
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_ours(filename: Any, temporary: Path, final: Path) -> bool:
    name = os.fsdecode(filename) if isinstance(filename, (str, bytes)) else ""
    return name.startswith((str(temporary), str(final)))


def _free(final: Path) -> str:
    try:
        return readable_bytes(shutil.disk_usage(final.parent).free)
    except OSError:
        return "an unknown amount"
