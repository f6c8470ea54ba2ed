"""Ctrl-C: once stops the job cleanly, twice aborts it."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_ppn2v.cli.output import say
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def stop_on_interrupt() -> Iterator[StopToken]:
    """Give a token that the first Ctrl-C sets; the second raises KeyboardInterrupt."""
    stop = StopToken()

    def interrupted(number: int, frame: Any) -> None:
        if stop.is_stopped:
            raise KeyboardInterrupt
        stop.stop()
        say("Stopping at the next safe point. Press Ctrl-C again to abort at once.")

    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread receives signals
        return
    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
