"""Docks that are opened and closed for hours leave nothing behind."""

from __future__ import annotations

import gc
import weakref

import pytest
from qtpy import PYSIDE6
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication

from napari_ppn2v.session.session import session_of

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
    QApplication.processEvents()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    return known


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
