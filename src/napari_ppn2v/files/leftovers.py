"""Temporary names, and the end of those whose process was killed.

A killed process cannot remove what it was writing. The name therefore tells which
process it belongs to: computer, number, and second of its start, as numbers are used
again. Whoever writes into the same folder next removes what belongs to none.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = ".ppn2v-"
SECONDS_ELSEWHERE = 24 * 3600.0
"""After this time without a change, what another computer was writing is left over."""

_NAME = re.compile(
    re.escape(PREFIX) + r"(tmp|old)-([0-9a-f]{8})-([0-9a-f]+)-([0-9a-f]+)-"
    r"[0-9a-f]{8}-(.+)",
    re.DOTALL,
)
_CLOCK_SECONDS = 10.0  # the clock may have been set since the process began
_REMEMBERED = 16  # folders
_KEPT_CHARACTERS = 50  # of the final name, which may be as long as names can be


class _Owner(NamedTuple):
    """A process: hash of its computer's name, its number, and when it began."""

    computer: str
    number: int
    began: int

    def __str__(self) -> str:
        return f"{self.computer}-{self.number:x}-{self.began:x}"


def temporary_path(final: Path) -> Path:
    """Return a new hidden name in the same folder, with the same endings."""
    return _hidden(final, "tmp", final.name[-_KEPT_CHARACTERS:])


def set_aside_path(final: Path) -> Path:
    """Return a new hidden name for an older result that is about to be replaced.

    Its process gone, it gets its name back from `remove_leftovers`, unless there is a
    newer result.
    """
    return _hidden(final, "old", final.name)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that are gone have left half-written in a folder.

    An older result that was being replaced when its process was killed gets its name
    back. What cannot be removed stays; it does no harm.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(PREFIX)]
        for name in names:
            match = _NAME.fullmatch(name)
            if match is None or _is_at_work(folder / name, _owner(match)):
                continue
            final = folder / match[5]
            if match[1] == "old" and not final.exists():
                with suppress(OSError):
                    (folder / name).rename(final)
            else:
                remove(folder / name)


@functools.lru_cache(maxsize=_REMEMBERED)
def remove_leftovers_once(folder: Path) -> None:
    """Do so once while a folder is in use: it may hold very many files.

    A window that is open for days writes each run into a folder of its own, so only the
    folders written to last are remembered.
    """
    remove_leftovers(folder)


def remove(path: Path) -> None:
    """Remove a file or a folder, or as much of it as can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _hidden(final: Path, kind: Literal["tmp", "old"], name: str) -> Path:
    this = _process(os.getpid())
    return final.with_name(f"{PREFIX}{kind}-{this}-{uuid.uuid4().hex[:8]}-{name}")


def _owner(match: re.Match[str]) -> _Owner:
    return _Owner(match[2], int(match[3], 16), int(match[4], 16))


def _is_at_work(path: Path, owner: _Owner) -> bool:
    """Whether the process that a temporary name tells of may still be writing."""
    if owner.computer == _computer():
        there = _process(owner.number)
        return there is not None and abs(there.began - owner.began) <= _CLOCK_SECONDS
    try:
        return time.time() - path.stat().st_mtime < SECONDS_ELSEWHERE
    except OSError:
        return True


def _process(number: int) -> _Owner | None:
    """Return a process of this computer, None if there is none of this number."""
    import psutil

    try:
        began = psutil.Process(number).create_time()
    except psutil.NoSuchProcess:
        return None
    except psutil.Error:  # of another user: there is one, and it is not ours to know
        began = time.time()
    return _Owner(_computer(), number, int(began))


@functools.cache
def _computer() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]
