"""The one place that starts threads: long jobs in napari's thread worker.

A job is the same generator that the command line and the tests run. Its events reach
the session, and through it the docks, on the thread of the window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.workers.run import Run, is_idle, launch, stop_all

if TYPE_CHECKING:
    from napari_ppn2v.workers.run import Job

__all__ = ["Job", "Run", "is_idle", "launch", "stop_all"]
