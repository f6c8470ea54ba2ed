"""The one place that starts threads: long jobs in napari's thread worker.

A job is the same generator that the command line and the tests run. Its events reach
the session, and through it the docks, on the thread of the window.
"""

from __future__ import annotations

import functools
import importlib
import logging
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari import current_viewer
from napari.qt.threading import create_worker
from napari.utils import progress
from napari.utils.notifications import show_error
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QLabel, QStatusBar

from napari_ppn2v.core.memory import is_out_of_memory
from napari_ppn2v.errors import Busy, OutOfMemory, PPN2VError, RunFailed
from napari_ppn2v.events import FitProgress, StepDone
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari_ppn2v.events import Event
    from napari_ppn2v.session.session import Session

    Job = Callable[[StopToken], Generator[Event, None, Any]]

logger = logging.getLogger(__name__)

SECONDS_BETWEEN = 0.2  # of the frequent events: 20 000 of them froze a window 0.9 s
_PAUSE_POLL = 0.05
_ACTIVITY_MS = 1000  # between changes of the bar in napari's activity dock
_SLOW, _USUAL = 10, 100  # per cent, of the picture that says that something goes on
_FREQUENT = (StepDone, FitProgress)
_NAMES = 16  # of runs that are begun again and again
_RUNNING: set[Run] = set()  # kept alive until their threads have ended
_LOADING = threading.Lock()
_ENGINE = (
    "pipeline.stack_job",
    "pipeline.noise_model_job",
    "pipeline.apply_stacks_job",
    "pipeline.budget",
    "core.noise_models.curves",
)


@dataclass(frozen=True)
class _Failure:
    """What a worker returns in place of a result."""

    error: PPN2VError


class Run:
    """A job that goes on in a thread; made by `launch`.

    Attributes
    ----------
    stop_token : polled by the job
    worker : napari's
    is_abandoned : whether nobody waits for the result any more
    """

    def __init__(
        self,
        session: Session,
        title: str,
        on_event: Callable[[Event], None] | None,
        on_done: Callable[[Any], str | None] | None,
        on_failed: Callable[[PPN2VError], None] | None,
        is_quiet: bool,
        is_light: bool = False,
    ) -> None:
        self.session, self.title, self._is_quiet = session, title, is_quiet
        self._is_light = is_light
        self.stop_token = StopToken()
        self.is_abandoned = False
        self.worker: Any = None
        self._on_event, self._on_done, self._on_failed = on_event, on_done, on_failed
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._is_closed = False  # the state says how the run ended
        self._activity: _Activity | None = None
        self._job: Job | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread still works."""
        return self in _RUNNING

    def stop(self) -> None:
        """Ask the job to end with the best it has; it ends within a few steps."""
        if self.is_running and not self.stop_token.is_stopped:
            self.stop_token.stop()
            self._may_go_on.set()
            self.session.stopping()

    def pause(self) -> None:
        """Let the job wait at its next event."""
        if self.is_running and not self.stop_token.is_stopped:
            self._may_go_on.clear()
            self.session.pause()

    def resume(self) -> None:
        """Let the job go on."""
        if self.is_running and not self._may_go_on.is_set():
            self._may_go_on.set()
            self.session.resume()

    def abandon(self) -> None:
        """Stop, and ignore what comes of it: its dock was closed."""
        self.is_abandoned = True
        self.stop()

    # -- in the thread ----------------------------------------------------------------

    def _work(self) -> Generator[tuple[Event, ...], None, Any]:
        gate = _Gate()
        assert self._job is not None
        try:
            if not self._is_light:
                _load_engine()
            steps = self._job(self.stop_token)
            while True:
                self._wait_while_paused()
                try:
                    event = next(steps)
                except StopIteration as end:
                    if gate.held:
                        yield gate.take()
                    return end.value
                batch = gate.add(event)
                if batch:
                    yield batch
        # Errors are returned. A RuntimeError, which nearly every error of torch is,
        # would be taken for a deleted worker and vanish without a word; and what
        # napari does with others is itself an error with PySide6.
        except PPN2VError as error:
            return _Failure(error)
        except Exception as error:
            logger.warning("A run has failed.", exc_info=error)
            return _Failure(in_words(error))

    def _wait_while_paused(self) -> None:
        while not self._may_go_on.wait(_PAUSE_POLL):
            if self.worker.abort_requested:
                break
        if self.worker.abort_requested:  # the window is closing
            self.stop_token.stop()

    # -- on the thread of the window --------------------------------------------------

    def _start(self, job: Job) -> None:
        self._job = job
        self.worker = create_worker(
            _named(self.title), self, _start_thread=False, _ignore_errors=True
        )
        self.worker.yielded.connect(self._on_batch)
        self.worker.returned.connect(self._on_returned)
        self.worker.finished.connect(self._on_finished)
        _WARNINGS.remember()
        _RUNNING.add(self)
        if current_viewer() is not None and not self._is_quiet:
            # without a viewer it would be printed
            self._activity = _Activity(self)
        self.worker.start()

    def _on_batch(self, batch: Sequence[Event]) -> None:
        if self.is_abandoned:
            return
        self.session.apply_all(batch)
        if self._on_event is not None:
            for event in batch:
                self._on_event(event)

    def _on_returned(self, result: Any) -> None:
        self._is_closed = True
        if isinstance(result, _Failure):
            self._report(result.error)
            return
        is_stopped = bool(getattr(result, "is_stopped", False))
        if self.is_abandoned or self._on_done is None:
            self.session.finish(is_stopped=is_stopped)
            return
        try:
            message = self._on_done(result)
        except PPN2VError as error:
            self._report(error)
            return
        except Exception as error:
            logger.warning("The result of a run cannot be shown.", exc_info=error)
            self._report(in_words(error))
            return
        self.session.finish(message or "", is_stopped=is_stopped)

    def _report(self, error: PPN2VError) -> None:
        self.session.fail(str(error))
        if not self._is_quiet:
            show_error(str(error))
        if self._on_failed is not None and not self.is_abandoned:
            self._on_failed(error)

    def _on_finished(self) -> None:
        _RUNNING.discard(self)
        if self._activity is not None:
            self._activity.close()
        if not self._is_closed:  # the worker was told to quit between two events
            self._is_closed = True
            self.session.finish(is_stopped=True)
        # napari keeps each worker as long as its window: not so pixels and docks
        self.worker.yielded.disconnect(self._on_batch)
        self.worker.returned.disconnect(self._on_returned)
        self.worker.finished.disconnect(self._on_finished)
        self._job = None
        self._on_event = self._on_done = self._on_failed = None
        _WARNINGS.restore()


def launch(
    session: Session,
    job: Job,
    *,
    title: str,
    planned: Sequence[tuple[str, int]] = (),
    expected: Mapping[str, float] | None = None,
    on_event: Callable[[Event], None] | None = None,
    on_done: Callable[[Any], str | None] | None = None,
    on_failed: Callable[[PPN2VError], None] | None = None,
    is_quiet: bool = False,
    is_light: bool = False,
) -> Run:
    """Run a job in a thread; call this, and be called back, on the window's thread.

    Parameters
    ----------
    session : shows the run's state; one run at a time
    job
        Called in the thread with the stop token; returns a generator of events.
    title : what is done, for the user
    planned : names and numbers of steps of the stages to come
    expected : seconds that they are estimated to take
    on_event : called with each event, after the session
    on_done
        Called with the job's result, stopped or not; what it returns is shown as the
        last message.
    on_failed : called with the error, of whatever kind, in words for the user
    is_quiet : keep out of napari's notifications and activity dock
    is_light
        The job needs neither torch nor any module that is not loaded yet, so that it
        begins at once.

    Returns
    -------
    Run

    Raises
    ------
    Busy  If another run of this session goes on.
    """
    if session.is_busy:
        raise Busy(session.why_busy)
    run = Run(session, title, on_event, on_done, on_failed, is_quiet, is_light)
    session.run = run
    session.begin(title, planned, expected)
    run._start(job)
    return run


def stop_all(seconds: float = 5.0) -> bool:
    """Stop all runs and wait for their threads; for the end of the program.

    Returns
    -------
    bool
        Whether all of them ended in time.
    """
    runs = list(_RUNNING)
    for run in runs:
        run.abandon()
        run.worker.quit()
    deadline = time.monotonic() + seconds
    while any(run.worker.is_running for run in runs):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _load_engine() -> None:
    """Load what jobs need, torch included, by one thread at a time.

    Two threads that import modules which need each other can wait for each other for
    ever; Python then lets one of them fail. It happened where a run began while the
    measurement of its time was still loading.
    """
    with _LOADING:
        for name in _ENGINE:
            importlib.import_module(f"napari_ppn2v.{name}")


def in_words(error: BaseException) -> PPN2VError:
    """Turn an error that no check foresaw into a message for the user."""
    text = str(error).strip()
    if is_out_of_memory(error):
        return OutOfMemory(
            "Memory ran out, so the run was ended; models trained before are kept. "
            "Close other programs, choose a smaller batch or patch size under "
            "Advanced settings, train on fewer frames, or compute on the processor "
            "(CPU) in place of a GPU."
        )
    first = text.splitlines()[0] if text else "no further details"
    return RunFailed(
        f"The run ended with an unexpected error ({type(error).__name__}: {first}). "
        "Models trained before are kept. Please report it with the settings used; "
        "'Copy as Python' holds them."
    )


def _work(run: Run) -> Generator[tuple[Event, ...], None, Any]:
    return (yield from run._work())


class _Named(functools.partial):
    """The work of a run, with a name for when its window is closed meanwhile.

    napari keeps each worker, and so its function, as long as its window. So the
    function holds no run, which is handed to it as it begins.
    """

    title: str

    def __new__(cls, title: str) -> _Named:
        """Give the work a name for the user."""
        named = super().__new__(cls, _work)
        named.title = title
        return named

    def __repr__(self) -> str:
        """Return the title."""
        return f"{self.title} (PPN2V)"


@functools.lru_cache(maxsize=_NAMES)
def _named(title: str) -> _Named:
    """Return the work of that name, the same one for each run of it."""
    return _Named(title)


class _Activity:
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


class _Warnings:
    """Has warnings shown after all runs as before them.

    A worker shows those of its thread by a function of its own, and puts back the one
    it has found. Where two overlap that is the other worker's, which would be kept
    with all it holds, and be asked to show warnings for ever.
    """

    def __init__(self) -> None:
        self._before: tuple[Any, Any] | None = None

    def remember(self) -> None:
        """Take note before the first of the workers begins."""
        if not _RUNNING and not self._are_a_workers():
            self._before = warnings.showwarning, warnings.filters

    def restore(self) -> None:
        """Put back after the last one has ended."""
        if not _RUNNING and self._are_a_workers() and self._before is not None:
            warnings.showwarning, warnings.filters = self._before

    @staticmethod
    def _are_a_workers() -> bool:
        return str(warnings.showwarning.__module__).startswith("superqt")


_WARNINGS = _Warnings()


class _Gate:
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
