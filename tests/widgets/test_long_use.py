"""Docks that are opened and closed for hours, and their runs, leave nothing behind."""

from __future__ import annotations

import gc
import weakref

import pytest
from napari.qt.threading import create_worker
from qtpy import PYSIDE6
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_ppn2v.events import Notice
from napari_ppn2v.session.session import session_of
from napari_ppn2v.workers import launch

DOCKS = ["Denoise (PPN2V)", "Noise model (PPN2V)", "Apply a model (PPN2V)"]


@pytest.fixture
def viewer(make_napari_viewer):
    """A viewer in which every dock was open before, so that all is loaded."""
    viewer = make_napari_viewer()
    for name in DOCKS:
        open_and_close(viewer, name)
    return viewer


def open_and_close(viewer, name):
    """Open a dock, close it, and return what is left: a weak reference to it."""
    dock, panel = viewer.window.add_plugin_dock_widget("napari-ppn2v", name)
    QApplication.processEvents()
    dock.destroyOnClose()
    known = weakref.ref(panel)
    del dock, panel
    settle()
    return known


def settle():
    """Let Qt and Python clear away what is no longer needed."""
    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()


def waiting_for_the_end_of_the_program():
    app = QApplication.instance()
    if PYSIDE6:
        from qtpy.QtCore import SIGNAL

        return app.receivers(SIGNAL("aboutToQuit()"))
    return app.receivers(app.aboutToQuit)


def listeners(viewer):
    """Count who listens to what outlives a dock."""
    session, layers = session_of(viewer), viewer.layers.events
    counts = {
        name: len(getattr(layers, name).callbacks)
        for name in ("inserted", "removed", "reordered", "renamed")
    }
    return counts | {
        "theme": len(viewer.events.theme.callbacks),
        "point": len(viewer.dims.events.point.callbacks),
        "state": len(session.state_changed),
        "noise models": len(session.noise_models_changed),
        "denoisers": len(session.denoisers_changed),
        "end of the program": waiting_for_the_end_of_the_program(),
    }


@pytest.mark.parametrize("name", DOCKS)
def test_a_closed_dock_is_gone_and_nobody_listens_for_it(viewer, name):
    before = listeners(viewer)
    left = [open_and_close(viewer, name) for _ in range(3)]
    assert listeners(viewer) == before
    assert [known() for known in left] == [None] * 3


N_RUNS = 20


def kept_of_each(play):
    """Count the objects that stay for each of many workers."""

    def left_by_many():
        for _ in range(N_RUNS):
            play()
        settle()
        return len(gc.get_objects())

    before = left_by_many()
    return round((left_by_many() - before) / N_RUNS)


def test_napari_keeps_no_more_of_a_run_than_of_any_worker(make_napari_viewer, qtbot):
    session = session_of(make_napari_viewer())

    def steps():
        yield 1

    def job(stop):
        yield Notice("working")

    def theirs():
        worker = create_worker(steps, _start_thread=False, _ignore_errors=True)
        with qtbot.waitSignal(worker.finished):
            worker.start()

    def ours():
        launch(session, job, title="working", is_quiet=True, is_light=True)
        qtbot.waitUntil(lambda: not session.is_busy)

    assert kept_of_each(ours) <= kept_of_each(theirs)
