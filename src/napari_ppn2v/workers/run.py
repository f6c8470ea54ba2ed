"""A job in a thread: begun, paused, stopped, and what comes of it."""

from __future__ import annotations

import functools
import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari import current_viewer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error

from napari_ppn2v.errors import Busy, PPN2VError
from napari_ppn2v.stop import StopToken
from napari_ppn2v.workers.activity import Activity
from napari_ppn2v.workers.engine import load_engine
from napari_ppn2v.workers.failures import in_words
from napari_ppn2v.workers.gate import Gate
from napari_ppn2v.workers.shown_warnings import ShownWarnings

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari_ppn2v.events import Event
    from napari_ppn2v.session.session import Session

    Job = Callable[[StopToken], Generator[Event, None, Any]]

logger = logging.getLogger(__name__)

_PAUSE_POLL = 0.05
_NAMES = 16  # of runs that are begun again and again
_RUNNING: set[Run] = set()  # kept alive until their threads have ended
_WARNINGS = ShownWarnings()


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
        self._activity: Activity | None = None
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
        gate = Gate()
        assert self._job is not None
        try:
            if not self._is_light:
                load_engine()
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
        if not _RUNNING:
            _WARNINGS.remember()
        _RUNNING.add(self)
        if current_viewer() is not None and not self._is_quiet:
            # without a viewer it would be printed
            self._activity = Activity(self)
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
        if not _RUNNING:
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


def is_idle() -> bool:
    """Whether the threads of all runs have ended."""
    return not _RUNNING


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
