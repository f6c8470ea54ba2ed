"""Long jobs in napari's thread worker: stop, pause, failure, close."""

from __future__ import annotations

import gc
import threading
import time
import weakref

import pytest

pytest.importorskip("napari.qt.threading")

from napari_ppn2v import workers
from napari_ppn2v.errors import BadData, Busy, OutOfMemory, RunFailed
from napari_ppn2v.events import Notice, StageStarted, StepDone
from napari_ppn2v.session.session import Session
from napari_ppn2v.session.state import Status
from napari_ppn2v.workers import launch
from napari_ppn2v.workers.engine import load_engine


class Result:
    def __init__(self, steps: int, is_stopped: bool) -> None:
        self.steps, self.is_stopped = steps, is_stopped


def counting(total: int, pause: float = 0.0):
    """A job that counts, and ends early with what it has when it is stopped."""

    def job(stop):
        yield StageStarted("n2v", total)
        for step in range(1, total + 1):
            if stop.is_stopped:
                return Result(step - 1, True)
            time.sleep(pause)
            yield StepDone("n2v", step, total)
        return Result(total, False)

    return job


@pytest.fixture
def session(qapp):
    load_engine()  # on a busy machine longer than what is waited for below
    yield Session()
    assert workers.stop_all()
    qapp.processEvents()


def ended(session):
    return lambda: not session.is_busy


def test_a_job_runs_beside_the_window_and_returns_its_result(session, qtbot):
    results, threads = [], []

    def job(stop):
        threads.append(threading.current_thread())
        return (yield from counting(5)(stop))

    def done(result):
        results.append((result.steps, threading.current_thread()))
        return "All five."

    launch(session, job, title="counting", on_done=done)
    assert session.is_busy
    qtbot.waitUntil(ended(session))
    assert results == [(5, threading.main_thread())]
    assert threads[0] is not threading.main_thread()
    assert session.state.status is Status.FINISHED
    assert session.state.message == "All five."
    assert session.state.share == 1.0


def test_stop_is_a_normal_end_with_the_best_so_far(session, qtbot):
    results = []
    run = launch(
        session, counting(10_000, 0.005), title="counting", on_done=results.append
    )
    qtbot.waitUntil(lambda: session.state.share > 0)
    run.stop()
    assert session.state.status is Status.STOPPING
    qtbot.waitUntil(ended(session))
    assert results[0].is_stopped
    assert 0 < results[0].steps < 10_000
    assert session.state.status is Status.STOPPED


def test_a_paused_job_does_nothing_until_it_goes_on(session, qtbot):
    run = launch(session, counting(100_000, 0.002), title="counting")
    qtbot.waitUntil(lambda: session.state.share > 0)
    run.pause()
    assert session.state.status is Status.PAUSED
    qtbot.wait(250)
    reached = session.state.stages[0].step
    qtbot.wait(250)
    assert session.state.stages[0].step == reached
    run.resume()
    assert session.state.status is Status.RUNNING
    qtbot.waitUntil(lambda: session.state.stages[0].step > reached)
    run.stop()
    qtbot.waitUntil(ended(session))


def test_a_paused_job_can_be_stopped(session, qtbot):
    run = launch(session, counting(100_000, 0.002), title="counting")
    qtbot.waitUntil(lambda: session.state.share > 0)
    run.pause()
    qtbot.wait(100)
    run.stop()
    qtbot.waitUntil(ended(session))
    assert session.state.status is Status.STOPPED


def failing_with(error):
    def job(stop):
        yield StageStarted("n2v", 10)
        raise error

    return job


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (BadData("The image is empty. Choose another."), BadData, "The image is empty"),
        (RuntimeError("mat1 and mat2 differ"), RunFailed, "mat1 and mat2 differ"),
        (RuntimeError("CUDA out of memory. Tried"), OutOfMemory, "Memory ran out"),
        (MemoryError(), OutOfMemory, "Memory ran out"),
        (ZeroDivisionError("division by zero"), RunFailed, "ZeroDivisionError"),
        (StopIteration("odd"), RunFailed, "unexpected error"),
    ],
)
def test_every_failure_is_seen(session, qtbot, error, kind, words):
    failures = []
    launch(session, failing_with(error), title="failing", on_failed=failures.append)
    qtbot.waitUntil(ended(session))
    assert session.state.status is Status.FAILED
    assert words in session.state.message
    assert type(failures[0]) is kind


def test_memory_that_runs_out_in_torch_is_seen_and_the_next_run_works(session, qtbot):
    import torch

    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    launch(session, failing_with(error), title="failing")
    qtbot.waitUntil(ended(session))
    assert session.state.message.startswith("Memory ran out")
    launch(session, counting(3), title="the next one")
    qtbot.waitUntil(ended(session))
    assert session.state.status is Status.FINISHED


def test_what_napari_keeps_of_a_run_holds_neither_it_nor_what_it_worked_on(
    session, qtbot
):
    class Pixels:
        """A large array, say, and the dock that shows it."""

    pixels = Pixels()
    known = weakref.ref(pixels)

    def done(result, held=pixels):
        return ""

    run = launch(session, counting(3), title="counting", on_done=done)
    kept_by_napari, its_run = run.worker, weakref.ref(run)
    qtbot.waitUntil(ended(session))
    qtbot.waitUntil(workers.is_idle)
    session.run = None
    del run, done, pixels
    qtbot.wait(50)
    gc.collect()
    assert kept_by_napari is not None
    assert its_run() is None
    assert known() is None


def test_an_error_before_the_first_event_is_seen(session, qtbot):
    def job(stop):
        raise RuntimeError("no such device")

    launch(session, job, title="failing")
    qtbot.waitUntil(ended(session))
    assert "no such device" in session.state.message


def test_a_failure_reaches_naparis_notifications(session, qtbot):
    from napari.utils.notifications import notification_manager

    before = len(notification_manager.records)
    launch(session, failing_with(RuntimeError("boom")), title="failing")
    qtbot.waitUntil(ended(session))
    qtbot.waitUntil(lambda: len(notification_manager.records) > before)
    assert "boom" in notification_manager.records[-1].message


def test_a_second_run_is_refused_while_one_goes_on(session, qtbot):
    run = launch(session, counting(100_000, 0.002), title="the first")
    with pytest.raises(Busy, match="the first"):
        launch(session, counting(1), title="the second")
    run.stop()
    qtbot.waitUntil(ended(session))
    launch(session, counting(1), title="the second")
    qtbot.waitUntil(ended(session))


def test_an_abandoned_run_ends_and_calls_nobody_back(session, qtbot):
    called = []
    run = launch(
        session,
        counting(100_000, 0.002),
        title="counting",
        on_event=lambda event: called.append("event"),
        on_done=lambda result: called.append("done"),
    )
    run.abandon()
    called.clear()
    qtbot.waitUntil(ended(session))
    assert called == []
    assert not run.is_running


def test_frequent_events_come_together_and_none_of_the_rare_ones_is_lost(
    session, qtbot
):
    seen = []

    def job(stop):
        yield StageStarted("n2v", 20_000)
        for step in range(1, 20_001):
            yield StepDone("n2v", step, 20_000)
            if step % 4000 == 0:
                yield Notice(str(step))

    launch(session, job, title="counting", on_event=seen.append)
    qtbot.waitUntil(ended(session), timeout=10_000)
    notices = [event.message for event in seen if isinstance(event, Notice)]
    assert notices == ["4000", "8000", "12000", "16000", "20000"]
    assert sum(isinstance(event, StepDone) for event in seen) < 200
    assert session.state.stages[0].step == 20_000


def test_an_error_while_the_result_is_shown_ends_the_run_too(session, qtbot):
    def refuse(result):
        raise BadData("The layer is gone.")

    launch(session, counting(1), title="counting", on_done=refuse)
    qtbot.waitUntil(ended(session))
    assert session.state.status is Status.FAILED
    assert "The layer is gone." in session.state.message


def test_an_unforeseen_error_while_the_result_is_shown_ends_the_run_too(session, qtbot):
    def stumble(result):
        raise ValueError("a layer of this name")

    launch(session, counting(1), title="counting", on_done=stumble)
    qtbot.waitUntil(ended(session))
    assert session.state.status is Status.FAILED
    assert "a layer of this name" in session.state.message
