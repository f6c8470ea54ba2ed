"""The ground that the tests of docks stand on."""

from __future__ import annotations

import os
import time

import numpy as np


def test_viewers_hold_images_without_a_screen(make_napari_viewer):
    viewer = make_napari_viewer()
    layer = viewer.add_image(np.ones((3, 16, 16), np.uint16), name="recording")
    viewer.dims.set_point(0, 2)
    assert [item.name for item in viewer.layers] == ["recording"]
    assert layer.data.dtype == np.uint16


def test_napari_and_the_tests_use_the_same_binding(qapp):
    import qtpy

    assert os.environ["PYTEST_QT_API"] == qtpy.API
    assert type(qapp).__module__.split(".")[0].lower() == qtpy.API


def test_windows_are_made_in_memory_unless_told_otherwise(qapp):
    assert qapp.platformName() == os.environ["QT_QPA_PLATFORM"]


def test_signals_of_a_worker_arrive_in_order(qtbot):
    from napari.qt.threading import create_worker

    def count():
        for number in range(3):
            time.sleep(0.005)
            yield number

    worker = create_worker(count)
    seen = []
    worker.yielded.connect(seen.append)
    with qtbot.waitSignal(worker.finished):
        worker.start()
    assert seen == [0, 1, 2]
