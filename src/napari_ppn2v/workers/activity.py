"""The bar of a run in napari's activity dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.utils import progress
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QLabel, QStatusBar

if TYPE_CHECKING:
    from napari_ppn2v.workers.run import Run

_ACTIVITY_MS = 1000  # between changes of the bar
_SLOW, _USUAL = 10, 100  # per cent, of the picture that says that something goes on


class Activity:
    """The bar of a run in napari's activity dock.

    napari handles all events that wait, those of the run among them, inside of each
    change of a bar. So the changes come from a timer of their own, and seldom; made
    by the handler of an event they would mix up the order of the events.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._bar: Any = None
        self._is_closed = False
        self._timer = QTimer()
        self._timer.setInterval(_ACTIVITY_MS)
        self._timer.timeout.connect(self._show)
        self._timer.start()

    def close(self) -> None:
        """Take the bar away."""
        self._is_closed = True
        self._timer.stop()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
            _set_speed_of_indicator(_USUAL)

    def _show(self) -> None:
        self._timer.stop()  # the events handled inside may be those of this timer
        if self._bar is None:
            bar: Any = progress(total=100, desc=self._run.title)
            if self._is_closed:  # the run came to its end meanwhile
                bar.close()
                return
            self._bar = bar
            _set_speed_of_indicator(_SLOW)
        done = int(100 * self._run.session.state.share)
        if done > self._bar.n:
            self._bar.update(done - self._bar.n)
        if not self._is_closed:
            self._timer.start()


def _set_speed_of_indicator(per_cent: int) -> None:
    """Set how fast the picture moves by which napari shows that something goes on.

    For each of its 33 frames a second the whole window is put together. Without a
    graphics card, on two processors, that took more than half of the training's time.
    """
    for window in QApplication.topLevelWidgets():
        for bar in window.findChildren(QStatusBar):
            for label in bar.findChildren(QLabel):
                movie = label.movie()
                if movie is not None:
                    movie.setSpeed(per_cent)
