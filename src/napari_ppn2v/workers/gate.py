"""What lets the events of a job pass to the window, seldom enough for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_ppn2v.events import FitProgress, StepDone

if TYPE_CHECKING:
    from napari_ppn2v.events import Event

SECONDS_BETWEEN = 0.2  # of the frequent events: 20 000 of them froze a window 0.9 s
_FREQUENT = (StepDone, FitProgress)


class Gate:
    """Holds frequent events back, so that the window is not flooded with them.

    Of the steps of one stage only the newest is kept. Rare events pass at once, with
    what was held.
    """

    def __init__(self) -> None:
        self.held: list[Event] = []
        self._last = 0.0

    def add(self, event: Event) -> tuple[Event, ...]:
        """Take an event; return what is due, which may be nothing."""
        if isinstance(event, StepDone) and self.held:
            newest = self.held[-1]
            if isinstance(newest, StepDone) and newest.stage == event.stage:
                self.held.pop()
        self.held.append(event)
        is_rare = not isinstance(event, _FREQUENT)
        if is_rare or time.monotonic() - self._last >= SECONDS_BETWEEN:
            return self.take()
        return ()

    def take(self) -> tuple[Event, ...]:
        """Return all that is held."""
        batch, self.held = tuple(self.held), []
        self._last = time.monotonic()
        return batch
