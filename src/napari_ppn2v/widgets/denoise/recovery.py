"""A run that was interrupted: what it was, and buttons to resume or discard it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.pipeline.recovery import Recovery, unfinished_runs
from napari_ppn2v.pipeline.recovery_record import FAILED, same_stack
from napari_ppn2v.pipeline.run_folder import RUNNING
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.session.session import Session
from napari_ppn2v.widgets.denoise.order import Order
from napari_ppn2v.widgets.layers.data import LayerData, read_layer
from napari_ppn2v.widgets.parts.basics import MessageLine
from napari_ppn2v.widgets.parts.layer_choice import is_ours
from napari_ppn2v.widgets.parts.stage_words import stage_words
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari.components import ViewerModel

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.recovery_record import KnownStack, RecoveryRecord
    from napari_ppn2v.session.state import RunState
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.workers import Run

    Found = LayerData | KnownStack

_ENDS = {RUNNING: "was interrupted", FAILED: "ended with an error"}
_ASK, _SURE = "Discard", "Discard for good"


class RecoverySection(QWidget):
    """Tells of one run that can be taken up again; hidden where there is none.

    Signals
    -------
    resumed
        The user resumes a run: its `Order` and its `Recovery`, which is claimed.
    """

    resumed = Signal(object, object)

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        self._found: list[Recovery] = []
        self._shown: Recovery | None = None
        self._search: Run | None = None
        self.message, self.problem = MessageLine(), MessageLine()
        self.resume, self.discard = QPushButton("Resume"), QPushButton(_ASK)
        self.bar = QProgressBar()
        self.cancel_button = QPushButton("Cancel")
        self._buttons, self._progress = QWidget(), QWidget()
        self._lay_out()
        self.resume.clicked.connect(self._on_resume)
        self.discard.clicked.connect(self._on_discard)
        self.cancel_button.clicked.connect(self.cancel)
        self.rescan()

    def _lay_out(self) -> None:
        self.resume.setToolTip(
            "<qt>Go on from the last state that was kept, with the settings of that "
            "run. The result is that of a run without interruption.</qt>"
        )
        self.discard.setToolTip(
            "<qt>Delete what was kept of this run. Images and models stay.</qt>"
        )
        self.bar.setRange(0, 100)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Comparing the pixels")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 6)
        for widget, parts in (
            (self._buttons, (self.resume, self.discard)),
            (self._progress, (self.bar, self.cancel_button)),
        ):
            row = QHBoxLayout(widget)
            row.setContentsMargins(0, 0, 0, 0)
            for part in parts:
                row.addWidget(part)
        for line in (self.message, self.problem, self._buttons, self._progress):
            column.addWidget(line)

    # -- showing ----------------------------------------------------------------------

    def rescan(self) -> None:
        """Look for runs anew; those that go on in any viewer are left out."""
        if self._search is not None:
            return
        self.problem.clear()
        self._found = unfinished_runs()
        self.refresh()

    def refresh(self) -> None:
        """Show the newest run whose image is here, else the newest one."""
        if self._search is not None:
            return
        here = [run for run in self._found if not self._missing(_record(run))]
        shown = next(iter([*here, *self._found]), None)
        if shown is not self._shown:
            self.problem.clear()
        self._shown = shown
        self.discard.setText(_ASK)
        self._progress.hide()
        is_offered = shown is not None and not self._session.is_busy
        self.setVisible(is_offered)
        if shown is None or not is_offered:
            return
        record = _record(shown)
        missing = self._missing(record)
        words = run_words(record, datetime.now().astimezone())
        if missing:
            words += f" To resume it, open {' and '.join(map(stack_words, missing))}."
        self.message.show_warning(words)
        self.message.setToolTip("\n".join(s.path for s in record.stacks if s.path))
        self._buttons.show()
        self.resume.setEnabled(not missing)

    def _missing(self, record: RecoveryRecord) -> list[KnownStack]:
        return [known for known in record.stacks if not self._candidates(known)]

    def _candidates(self, known: KnownStack) -> list[LayerData]:
        """List the layers of the same shape and type; the one of that name first."""
        found = []
        for layer in self._viewer.layers:
            if not isinstance(layer, Image) or is_ours(layer):
                continue
            try:
                data = read_layer(layer)
                if known.may_be(data.data):
                    found.append(data.with_axes(known.axes))
            except PPN2VError:
                continue  # it cannot be the one
        return sorted(found, key=lambda data: data.name != known.name)

    # -- the buttons ------------------------------------------------------------------

    def _on_discard(self) -> None:
        recovery = self._shown
        if recovery is None:
            return
        if self.discard.text() != _SURE:  # an hour of training, and no way back
            self.discard.setText(_SURE)
            return
        if self._claim(recovery):
            recovery.remove()
        self.rescan()

    def _on_resume(self) -> None:
        recovery = self._shown
        if recovery is None or not self._claim(recovery):
            return
        record = _record(recovery)
        needed = [(known, self._candidates(known)) for known in record.stacks]

        def job(
            stop: StopToken,
        ) -> Generator[Event, None, list[Found]]:
            return _same_layers(needed, stop)

        def done(found: list[Found]) -> None:
            self._on_found(recovery, found)

        def failed(error: PPN2VError) -> None:
            self._give_up(recovery, str(error))

        # its own, so that no finished run is forgotten before this one begins
        session = Session()
        session.state_changed.connect(self._show_progress)
        self.problem.clear()
        self._buttons.hide()
        self._progress.show()
        self._search = launch(
            session,
            job,
            title="Comparing the pixels",
            on_done=done,
            on_failed=failed,
            is_quiet=True,
            is_light=True,
        )

    def _claim(self, recovery: Recovery) -> bool:
        try:
            is_ours_now = recovery.claim()
        except PPN2VError as error:
            self.problem.show_error(str(error))
            return False
        if not is_ours_now:  # taken up or discarded elsewhere meanwhile
            self.rescan()
        return is_ours_now

    def _show_progress(self, state: RunState) -> None:
        self.bar.setValue(round(100 * state.share))

    def _on_found(self, recovery: Recovery, found: list[Found]) -> None:
        is_cancelled = self._search is not None and self._search.stop_token.is_stopped
        other = [stack for stack in found if not isinstance(stack, LayerData)]
        layers = [data for data in found if isinstance(data, LayerData)]
        if is_cancelled:
            self._give_up(recovery, "")
        elif other:
            self._give_up(
                recovery,
                f"The pixels here are not those of the run: {stack_words(other[0])} "
                "differs or was changed. Open it as it was, or discard the run.",
            )
        else:
            self._search = None
            self._found.remove(recovery)
            self._shown = None
            self.hide()
            self.resumed.emit(Order.taken_up(_record(recovery), layers), recovery)

    def _give_up(self, recovery: Recovery, problem: str) -> None:
        self._search = None
        recovery.release()
        self.rescan()
        self.problem.show_error(problem)

    def cancel(self) -> None:
        """Compare no longer."""
        if self._search is not None:
            self._search.stop()


def _same_layers(
    needed: Sequence[tuple[KnownStack, list[LayerData]]], stop: StopToken
) -> Generator[Event, None, list[Found]]:
    """Find the layers with the pixels that are known; what is not found stays."""
    found: list[Found] = []
    for known, layers in needed:
        stacks = [Stack(data=la.data, axes=la.axes, name=la.name) for la in layers]
        number = yield from same_stack(known, stacks, stop)
        found.append(known if number is None else layers[number])
    return found


def _record(recovery: Recovery) -> RecoveryRecord:
    assert recovery.record is not None  # see `unfinished_runs`
    return recovery.record


def run_words(record: RecoveryRecord, now: datetime) -> str:
    """Say in a sentence what a run was and how far it came.

    Parameters
    ----------
    now : with the time zone; a run of another day is told with its date
    """
    began = datetime.fromisoformat(record.began) if record.began else now
    began = began.astimezone(now.tzinfo)
    when = f"{began:%H:%M}"
    if began.date() != now.date():
        when = f"{began.day} {began:%B}, {when}"
    what = "longer training" if record.is_longer else "run"
    ends = _ENDS.get(record.status, "was stopped")
    return (
        f"A {what} on “{record.observation.name}” from {when} {ends}"
        f"{_place_words(record)}."
    )


def _place_words(record: RecoveryRecord) -> str:
    now = record.progress
    where = ", ".join(filter(None, (stage_words(now.stage), now.part)))
    if now.step and now.total:
        return f" at step {now.step} of {now.total} ({where})"
    return f" (at: {where})" if where else ""


def stack_words(known: KnownStack) -> str:
    """Name a stack so that the user finds it: file or layer, size and type."""
    size = " x ".join(str(n) for n in known.shape)
    name = Path(known.path).name or known.name
    return f"“{name}” ({size}, {known.dtype})"
