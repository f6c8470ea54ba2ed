"""Where the runs of the viewer are kept, how many, and who works in which folder."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.files.atomic import readable_bytes
from napari_ppn2v.files.locks import FileLock

if TYPE_CHECKING:
    from pathlib import Path

MOST_RUNS = 4  # kept at a time
MOST_BYTES = 2_000_000_000  # of all of them
LEFT_FREE = 500_000_000  # bytes on the drive, below which nothing more is kept
MOST_DAYS = 30.0  # after which nobody asks for a run any more
PREFIX, LOCK = "run-", "in-use.lock"
_DAY = 86_400.0  # seconds


def recovery_root() -> Path:
    """Return the folder that holds those of all runs of this user."""
    from platformdirs import user_state_path

    return user_state_path("napari-ppn2v", appauthor=False) / "recovery"


def is_in_use(folder: Path) -> bool:
    """Whether a process works in the folder of a run."""
    lock = FileLock(folder / LOCK)
    try:
        return not lock.acquire()
    except PPN2VError:
        return True  # nothing can be done in there
    finally:
        lock.release()


def clean_up(root: Path) -> None:
    """Delete the oldest runs beyond the number, the size and the age that are kept."""
    now, n_bytes, n_kept = time.time(), 0, 0
    known = sorted(
        ((_age(f, now), f) for f in run_folders(root)), key=lambda pair: pair[0]
    )
    for age, folder in known:
        size = sum(_size(path) for path in folder.glob("*"))
        n_bytes, n_kept = n_bytes + size, n_kept + 1
        is_empty = not any(folder.glob("*.pt")) and not any(folder.glob("*.ppn2v"))
        is_old = age > MOST_DAYS * _DAY or (is_empty and age > _DAY)
        if not (is_old or n_kept > MOST_RUNS or n_bytes > MOST_BYTES):
            continue
        if not is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
            n_bytes, n_kept = n_bytes - size, n_kept - 1


def run_folders(root: Path) -> list[Path]:
    """List the folders of all runs."""
    try:
        return [path for path in root.glob(f"{PREFIX}*") if path.is_dir()]
    except OSError:
        return []


def _age(folder: Path, now: float) -> float:
    """Seconds since anything was written into a folder."""
    times = [now]
    for path in (folder, *folder.glob("*")):
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return now - max(times[1:], default=now)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def check_room(folder: Path) -> None:
    """Leave the user some room on the drive; raises OSError."""
    free = shutil.disk_usage(folder).free
    if free < LEFT_FREE:
        raise OSError(
            f"only {readable_bytes(free)} are free on the drive of {folder}. Free some "
            "space before the next run."
        )
