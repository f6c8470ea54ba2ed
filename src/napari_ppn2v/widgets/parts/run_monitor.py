"""What a run is doing: stages, progress, time, messages, pause and Stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.session.state import RunState, Status
from napari_ppn2v.widgets.parts.basics import ElidedLabel, MessageLine, WrappedLabel
from napari_ppn2v.widgets.parts.stage_words import (
    clock_words,
    duration_words,
    stage_words,
)

if TYPE_CHECKING:
    from napari_ppn2v.session.session import Controls, Session
    from napari_ppn2v.session.state import Stage

REFRESH_MS = 500  # of the clock, between events
_SHOWN_NOTICES = 4
_NARROWEST_BAR = 40  # pixels
_STATUS_WORDS = {
    Status.RUNNING: "running",
    Status.PAUSED: "paused",
    Status.STOPPING: "stopping; this takes up to two seconds",
    Status.FINISHED: "finished",
    Status.STOPPED: "stopped",
    Status.FAILED: "ended with an error",
}


class HasRun(Protocol):
    """A dock, or a part of it, that begins runs."""

    @property
    def run(self) -> Controls | None:
        """The run that it began last."""
        ...


class RunMonitor(QWidget):
    """Shows the run of a session, whichever dock began it, and can end it.

    Hidden until there is a run. What became of a run is shown by its own dock alone.

    Parameters
    ----------
    owner : whose attribute `run` is the run of this dock
    """

    def __init__(
        self, session: Session, owner: HasRun, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._owner = session, owner
        self._state = RunState()
        self._title = ElidedLabel()
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._bar = QProgressBar()
        self._bar.setRange(0, 1000)
        self._bar.setTextVisible(False)
        self._bar.setAccessibleName("Progress of the whole run")
        self._clock, self._device = QLabel(), ElidedLabel()
        self._device.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._stages = _StageList()
        self._notices = WrappedLabel()
        self._warning, self._message = MessageLine(), MessageLine()
        self.pause_button = QPushButton("Pause")
        self.stop_button = QPushButton("Stop")
        self.stop_button.setToolTip(
            "<qt>End the run and keep the best weights so far. They can be used to "
            "denoise, and the training can go on later.</qt>"
        )
        self.pause_button.clicked.connect(self._on_pause)
        self.stop_button.clicked.connect(self._on_stop)
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._show_clock)
        session.state_changed.connect(self.show_state)
        self.show_state(session.state)

    def _lay_out(self) -> None:
        line = QHBoxLayout()
        line.addWidget(self._clock)
        line.addWidget(self._device, stretch=1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.pause_button)
        buttons.addWidget(self.stop_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._title)
        column.addWidget(self._bar)
        column.addLayout(line)
        column.addWidget(self._stages)
        column.addLayout(buttons)
        for label in (self._message, self._warning, self._notices):
            column.addWidget(label)

    def disconnect_session(self) -> None:
        """Follow the session no more; for when the dock is closed."""
        self._session.state_changed.disconnect(self.show_state)
        self._timer.stop()

    def show_state(self, state: RunState) -> None:
        """Show a state."""
        before, self._state = self._state, state
        run = self._session.run
        is_own = run is not None and run is self._owner.run
        self.setVisible(state.status.is_busy or is_own)
        part = f" · {state.part} ({state.part_index + 1} of {state.n_parts})"
        self._title.setText(state.title + (part if state.part else ""))
        _set_value(self._bar, 1000 if _is_over(state) else round(1000 * state.share))
        self._device.setText(state.device)
        self._stages.show_stages(state.stages)
        if state.notices is not before.notices or state.status != before.status:
            self._show_words(state)
        self._show_buttons(state)
        self._show_clock()
        if state.status is Status.RUNNING:
            self._timer.start()
        else:
            self._timer.stop()

    def _show_words(self, state: RunState) -> None:
        plain = [n.message for n in state.notices if not n.is_warning]
        warnings = [n.message for n in state.notices if n.is_warning]
        self._notices.setText("\n".join(dict.fromkeys(plain[-_SHOWN_NOTICES:])))
        self._notices.setVisible(bool(plain))
        self._warning.show_warning("\n".join(dict.fromkeys(warnings)))
        if state.status is Status.FAILED:
            self._message.show_error(state.message)
        else:
            self._message.show_info(state.message)

    def _show_buttons(self, state: RunState) -> None:
        busy = state.status.is_busy
        is_paused = state.status is Status.PAUSED
        self.pause_button.setVisible(busy)
        self.stop_button.setVisible(busy)
        self.pause_button.setText("Resume" if is_paused else "Pause")
        can_act = busy and state.status is not Status.STOPPING
        self.pause_button.setEnabled(can_act)
        self.stop_button.setEnabled(can_act)

    def _show_clock(self) -> None:
        state, now = self._state, time.monotonic()
        elapsed = clock_words(state.elapsed(now))
        left = state.remaining(now)
        if left is not None:
            words = f"about {duration_words(left)} left"
        else:
            words = _STATUS_WORDS.get(state.status, "")
        self._clock.setText(f"{elapsed} · {words}" if words else elapsed)

    def _on_pause(self) -> None:
        run = self._session.run
        if run is not None and self._state.status is Status.PAUSED:
            run.resume()
        elif run is not None:
            run.pause()

    def _on_stop(self) -> None:
        if self._session.run is not None:
            self._session.run.stop()


def _is_over(state: RunState) -> bool:
    return state.status is Status.FINISHED


class _StageList(QWidget):
    """One line for each stage: name, bar, and how long it took."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self._rows: list[tuple[QLabel, QProgressBar, QLabel]] = []

    def show_stages(self, stages: tuple[Stage, ...]) -> None:
        """Show these stages; widgets are kept and used again."""
        while len(self._rows) < len(stages):
            self._rows.append(self._new_row(len(self._rows)))
        last = max((i for i, s in enumerate(stages) if s.began is not None), default=0)
        for number, row in enumerate(self._rows):
            for part in row:
                part.setVisible(number < len(stages))
            if number < len(stages):
                is_passed = number < last and stages[number].began is None
                _show_stage(stages[number], *row, is_passed=is_passed)

    def _new_row(self, number: int) -> tuple[QLabel, QProgressBar, QLabel]:
        row = (QLabel(), QProgressBar(), QLabel())
        row[1].setRange(0, 100)
        row[1].setTextVisible(False)
        row[1].setMaximumHeight(10)
        row[1].setMinimumWidth(_NARROWEST_BAR)
        row[2].setAlignment(Qt.AlignmentFlag.AlignRight)
        for column, part in enumerate(row):
            self._grid.addWidget(part, number, column)
        return row


def _show_stage(
    stage: Stage, name: QLabel, bar: QProgressBar, text: QLabel, *, is_passed: bool
) -> None:
    name.setText(stage_words(stage.name))
    name.setToolTip(stage.detail)
    name.setEnabled(stage.began is not None)
    # no bar that runs to and fro where the steps are not known: see `_set_value`
    _set_value(bar, round(100 * stage.share))
    bar.setAccessibleName(f"Progress of {stage_words(stage.name)}")
    if stage.seconds is not None:
        text.setText(duration_words(stage.seconds))
    elif stage.is_running and stage.total:
        text.setText(f"{stage.step} / {stage.total}")
    elif stage.is_running:
        text.setText("working")
    else:
        text.setText("not needed" if is_passed else "waiting")


def _set_value(bar: QProgressBar, value: int) -> None:
    """Set a bar without drawing it at once, which Qt does for each by itself.

    For each drawing the whole window is put together, its canvas included. Without a
    graphics card that took 40 ms, so drawings are left to come together; a bar that
    runs to and fro kept the window busy all the time.
    """
    if bar.value() != value:
        bar.setUpdatesEnabled(False)
        bar.setValue(value)
        bar.setUpdatesEnabled(True)
