"""A button whose job runs beside everything else, with a bar and Stop of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_ppn2v.session.session import Session
from napari_ppn2v.widgets.parts.basics import ExplainedButton, MessageLine
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_ppn2v.errors import PPN2VError
    from napari_ppn2v.events import Event
    from napari_ppn2v.session.state import RunState
    from napari_ppn2v.workers import Job, Run


class SideRun(QWidget):
    """A button, in its place a bar and Stop while it works, and a message below.

    Each run has a session of its own, so that no button waits for it, and what is shown
    of a finished run of the dock stays.

    Signals
    -------
    asked
        The button was pressed.
    """

    asked = Signal()

    def __init__(self, button: str, help_: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = ExplainedButton(button)
        self.button.set_help(f"<qt>{help_}</qt>")
        self.bar, self.stop_button = QProgressBar(), QPushButton("Stop")
        self.message = MessageLine()
        self._run: Run | None = None
        self._session: Session | None = None
        self._progress = QWidget()
        self._lay_out(button.rstrip("…"))
        self.button.clicked.connect(self.asked)
        self.stop_button.clicked.connect(self._on_stop)

    def _lay_out(self, name: str) -> None:
        self.bar.setRange(0, 100)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName(f"Progress of: {name}")
        row = QHBoxLayout(self._progress)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, stretch=1)
        row.addWidget(self.stop_button)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(2)
        for part in (self.button, self._progress, self.message):
            self.column.addWidget(part)
        self._progress.hide()

    @property
    def is_busy(self) -> bool:
        """Whether a run goes on."""
        return self._run is not None

    def start(
        self,
        job: Job,
        title: str,
        on_done: Callable[[Any], None],
        *,
        on_event: Callable[[Event], None] | None = None,
        is_light: bool = False,
    ) -> None:
        """Run a job; one that goes on is given up.

        Parameters
        ----------
        on_done : called with its result, also if the user stopped it
        on_event : called with each event
        is_light : see `workers.launch`
        """
        self.cancel()
        self.message.clear()
        session = Session()
        self._session = session

        def is_current() -> bool:
            return self._session is session

        def show(state: RunState) -> None:
            if is_current():
                self.bar.setValue(round(100 * state.share))

        def done(result: Any) -> None:
            if is_current():
                self._end()
                on_done(result)

        def failed(error: PPN2VError) -> None:
            if is_current():
                self._end()
                self.message.show_error(str(error))

        session.state_changed.connect(show)
        self.bar.setValue(0)
        self.stop_button.setEnabled(True)
        self.button.hide()
        self._progress.show()
        self._run = launch(
            session,
            job,
            title=title,
            on_event=on_event,
            on_done=done,
            on_failed=failed,
            is_quiet=True,  # what is wrong is said here
            is_light=is_light,
        )

    def cancel(self) -> None:
        """Give up what goes on; its result is not shown."""
        if self._run is not None:
            self._run.abandon()
        self._end()

    def _end(self) -> None:
        self._run = self._session = None
        self._progress.hide()
        self.button.show()

    def _on_stop(self) -> None:
        if self._run is not None:
            self.stop_button.setEnabled(False)
            self._run.stop()
