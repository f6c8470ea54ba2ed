"""Training states on disk: written atomically, loaded without running code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.archives import check_stored
from napari_ppn2v.files.atomic import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

SECONDS_BETWEEN = 20.0


class FileCheckpoint:
    """One training state in one file; each save replaces the last one as a whole.

    Parameters
    ----------
    path : of the file; its folder must exist
    is_resumed : whether a state that is already there is to be used
    seconds_between : wall time between two saves; `SECONDS_BETWEEN` by default
    """

    def __init__(
        self,
        path: Path,
        *,
        is_resumed: bool,
        seconds_between: float | None = None,
    ) -> None:
        self.path, self.is_resumed = path, is_resumed
        self.seconds_between = (
            SECONDS_BETWEEN if seconds_between is None else seconds_between
        )
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed since the last save."""
        return time.monotonic() - self._last >= self.seconds_between

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file by this state.

        Raises
        ------
        CannotWrite  If the disk is full or the folder read-only; the last state stays.
        """
        import torch

        # a path would lend the archive its name, and not every name is allowed there
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            torch.save(state, file)
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the kept state, or None if there is none or it is not wanted.

        Raises
        ------
        BadFile  If the file is not a training state.
        """
        import torch

        if not self.is_resumed or not self.path.exists():
            return None
        try:
            check_stored(self.path)
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError("it is no training state")
        except Exception as error:  # the reader raises many kinds on foreign bytes
            raise BadFile(
                f"The saved training state {self.path.name} cannot be read. "
                "Start again without resuming."
            ) from error
        return state
