"""Locks that a process holds while it lives, and that no crash leaves behind."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from napari_ppn2v.files.atomic import cannot_write

if TYPE_CHECKING:
    from pathlib import Path

_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


class FileLock:
    """Says whether somebody works in a folder, be it in this process or another one.

    The operating system keeps the lock and gives it back at the end of the process,
    however it ends; a number of a process in a file could mean another one by then.

    Parameters
    ----------
    path : of the file that is locked; made where it is missing, and left there
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is held through this object."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Take the lock; returns whether it is held now. Waits for nobody.

        Raises
        ------
        CannotWrite  If the file cannot be made or the drive knows no locks.
        """
        if self.is_held:
            return True
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise cannot_write(error, self.path) from error
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno in _TAKEN:
                return False
            raise cannot_write(error, self.path) from error
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back, if it is held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
