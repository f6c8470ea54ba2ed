"""A request to stop early that is safe to share between threads."""

from __future__ import annotations

import threading


class StopToken:
    """Set once by the user (Ctrl-C, a Stop button), polled by long jobs.

    A stop is a normal end: the job returns the best it has, marked as stopped.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def stop(self) -> None:
        """Ask the running job to end at its next safe point."""
        self._event.set()

    @property
    def is_stopped(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()
