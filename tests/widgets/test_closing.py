"""Docks, viewers and the program are closed while a run goes on.

Each test plays in a program of its own, which has to come to its end by itself, without
a word on stderr: threads that outlive their window crash only there.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
import traceback
import weakref

import pytest

SECONDS = 5.0  # for a run to end; 2 on a machine that does nothing else
WAITS = 240.0  # for anything; a busy machine may be twenty times as slow
ALL = WAITS + 60  # for a program
NO_SCREEN = re.compile("QOpenGLWidget|propagateSizeHints")  # Qt's, of `offscreen`


def play(scene: str) -> dict:
    """Play a scene in a program of its own; return what it has noted."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, scene],
        capture_output=True,
        text=True,
        timeout=ALL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if not NO_SCREEN.search(line)]
    assert said == []
    return json.loads(done.stdout.splitlines()[-1])


def test_a_closed_dock_ends_its_run_in_every_stage_and_can_be_opened_again(slowdown):
    noted = play("docks")
    stages = ["loading", "n2v", "noise model", "refinement 1", "denoise"]
    assert list(noted["seconds"]) == stages
    assert max(noted["seconds"].values()) < SECONDS * slowdown
    assert noted["layers"] == ["cells"]
    for name, count in noted["listeners at first"].items():
        assert noted["listeners"][name] <= count + 1, name
    assert noted["threads"] == 0
    assert noted["kept"] == []  # of docks and of the pixels they worked on


@pytest.mark.slow
def test_a_closed_viewer_ends_its_run_and_leaves_the_one_of_another_viewer(slowdown):
    noted = play("viewers")
    assert noted["seconds"] < SECONDS * slowdown
    assert noted["other goes on"]
    assert noted["other"] == "finished"


def test_the_viewer_asks_before_it_is_closed_in_the_middle_of_a_run(slowdown):
    noted = play("question")
    assert "Executing Denoising “cells” (PPN2V)" in noted["asked"][0]
    assert noted["busy after cancel"]
    assert noted["seconds"] < SECONDS * slowdown


def test_an_export_ends_with_its_dock_or_its_viewer_and_leaves_no_file(slowdown):
    noted = play("exports")
    assert list(noted["seconds"]) == ["dock, at once", "dock, later", "viewer"]
    assert max(noted["seconds"].values()) < SECONDS * slowdown
    assert noted["files"] == []
    assert noted["kept"] == []


@pytest.mark.parametrize(
    "scene", ["quit", pytest.param("quit while loading", marks=pytest.mark.slow)]
)
def test_the_program_ends_though_a_run_goes_on(scene):
    assert play(scene)["is_busy"]


# -- the program -------------------------------------------------------------------

MANY = 1_000_000


def program(scene: str) -> None:
    """Play a scene beside the event loop, and write what it has noted."""
    import napari
    from qtpy.QtCore import QTimer

    without_graphics_card()
    noted: dict = {}
    steps = SCENES[scene](noted)
    waited_for = [lambda: True]
    began = time.monotonic()

    def tick() -> None:
        timer.stop()  # a dialog's own loop must not come back in here
        try:
            assert time.monotonic() - began < WAITS, f"waits in vain: {noted}"
            if waited_for[0]():
                waited_for[0] = next(steps)
            timer.start()
        except StopIteration:
            napari.Viewer.close_all()
            app.quit()  # windows that were never shown are not missed
        except Exception:  # noqa: BLE001 - said, and the exit status says so
            traceback.print_exc()
            sys.stderr.write(f"{noted}\n")
            sys.stderr.flush()
            os._exit(1)

    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(tick)
    app = napari.qt.get_qapp()
    app.setQuitOnLastWindowClosed(False)
    timer.start()
    napari.run(force=True)
    sys.stdout.write(json.dumps(noted) + "\n")


def without_graphics_card() -> None:
    """Answer napari's questions about it, see `viewer_rig`."""
    from napari._vispy import canvas
    from napari._vispy.layers import base, image, labels

    image.get_gl_extensions = lambda: ""
    for module in (image, base, labels, canvas):
        module.get_max_texture_sizes = lambda: (2048, 2048)


def open_viewer():
    """Open a viewer with an image and the dock; returns viewer, dock and panel."""
    import napari
    import numpy as np

    viewer = napari.Viewer(show=False)
    noisy = np.random.default_rng(0).poisson(40.0, (3, 64, 64))
    viewer.add_image(noisy.astype(np.uint16), name="cells")
    return viewer, *open_dock(viewer)


def open_dock(viewer):
    dock, panel = viewer.window.add_plugin_dock_widget(
        "napari-ppn2v", "Denoise (PPN2V)"
    )
    panel.choose_layer(viewer.layers["cells"])
    return dock, panel


def begin(panel, stage: str = "n2v") -> None:
    """Begin a run that stays long in one stage."""
    from napari_ppn2v.core.network_config import UNetConfig
    from napari_ppn2v.core.noise_model_config import NoiseModelConfig
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig

    def training(name: str) -> TrainingConfig:
        n_steps = MANY if stage == name else 10
        return TrainingConfig(
            n_steps=n_steps, batch_size=2, patch_size=32, steps_per_validation=10
        )

    panel.settings.set_config(
        RunConfig(
            method="refined",
            n_refinements=1,
            network=UNetConfig(n_filters=4),
            pretraining=training("n2v"),
            refinement=training("refinement 1"),
            noise_model=NoiseModelConfig(kind="gmm", n_components=2),
        )
    )
    panel.start.button.click()
    assert panel.session.is_busy, panel.start.reason()


def is_in(panel, stage: str):
    def is_there() -> bool:
        state = panel.session.state
        assert state.status.is_busy, f"{stage}: {state.status.value}, {state.message}"
        return any(s.name == stage and s.began is not None for s in state.stages)

    return is_there


def is_idle() -> bool:
    from napari_ppn2v import workers

    return workers.is_idle()


def listeners(viewer, session) -> dict[str, int]:
    """Count who listens to what outlives a dock."""
    return {
        "state": len(session.state_changed),
        "noise models": len(session.noise_models_changed),
        "denoisers": len(session.denoisers_changed),
        "theme": len(viewer.events.theme.callbacks),
        "point": len(viewer.dims.events.point.callbacks),
        "removed": len(viewer.layers.events.removed.callbacks),
        "inserted": len(viewer.layers.events.inserted.callbacks),
    }


def docks(noted: dict):
    from napari_ppn2v.session.session import session_of

    viewer, dock, panel = open_viewer()
    session = session_of(viewer)
    dock.destroyOnClose()
    noted["listeners at first"] = listeners(viewer, session)
    noted["seconds"], used = {}, {}
    for stage in ("loading", "n2v", "noise model", "refinement 1", "denoise"):
        dock, panel = open_dock(viewer)
        begin(panel, stage)
        if stage != "loading":
            yield is_in(panel, stage)
        used[f"dock, {stage}"] = weakref.ref(panel)
        used[f"pixels, {stage}"] = weakref.ref(panel.denoising.order.request)
        began = time.monotonic()
        dock.titleBarWidget().close_button.click()
        yield is_idle
        noted["seconds"][stage] = time.monotonic() - began
    noted["layers"] = [layer.name for layer in viewer.layers]
    noted["listeners"] = listeners(viewer, session)
    del dock, panel
    from qtpy.QtCore import QThreadPool

    yield lambda: QThreadPool.globalInstance().activeThreadCount() == 0
    noted["threads"] = QThreadPool.globalInstance().activeThreadCount()
    gc.collect()
    noted["kept"] = [name for name, known in used.items() if known() is not None]


def viewers(noted: dict):
    _, _, its_panel = open_viewer()
    begin(its_panel)
    yield is_in(its_panel, "n2v")
    viewer, _, panel = open_viewer()
    begin(panel)
    yield is_in(panel, "n2v")
    session, its_session = panel.session, its_panel.session
    began = time.monotonic()
    viewer.close()
    yield lambda: not session.is_busy
    noted["seconds"] = time.monotonic() - began
    noted["other goes on"] = its_session.is_busy
    its_panel.run.stop()
    yield lambda: not its_session.is_busy
    begin(its_panel, "none")
    yield lambda: not its_session.is_busy
    noted["other"] = its_session.state.status.value


def question(noted: dict):
    from qtpy.QtCore import QTimer
    from qtpy.QtGui import QCloseEvent
    from qtpy.QtWidgets import QApplication, QLabel

    class FromFrame(QCloseEvent):
        """What a window gets when its frame is clicked; code cannot send it."""

        def spontaneous(self) -> bool:
            return True

    viewer, _, panel = open_viewer()
    window = viewer.window._qt_window
    begin(panel)
    yield is_in(panel, "n2v")

    def close_and(press: str) -> None:
        def answer() -> None:
            dialog = QApplication.activeModalWidget()
            if dialog is not None:  # napari also asks because there are layers
                labels = dialog.findChildren(QLabel)
                noted["asked"] += [label.text() for label in labels]
                getattr(dialog, press).click()

        timer = QTimer()
        timer.timeout.connect(answer)
        timer.start(100)
        window.closeEvent(FromFrame())
        timer.stop()

    noted["asked"] = []
    close_and("cancel_btn")
    noted["busy after cancel"] = panel.session.is_busy
    began = time.monotonic()
    close_and("close_btn")
    yield is_idle
    noted["seconds"] = time.monotonic() - began


def exports(noted: dict):
    import tempfile
    from pathlib import Path

    import napari

    from napari_ppn2v.session.session import NamedDenoiser, session_of

    viewer = napari.Viewer(show=False)
    session_of(viewer).add_denoiser(NamedDenoiser("cells", (untrained(),)))
    noted["seconds"], used = {}, {}

    def export(to: str):
        dock, panel = viewer.window.add_plugin_dock_widget(
            "napari-ppn2v", "Apply a model (PPN2V)"
        )
        panel.export.export_to(Path(to, "cells.zip"))
        used[len(used)] = weakref.ref(panel)
        return dock, panel.export.exporting

    with tempfile.TemporaryDirectory() as folder:
        for when in ("dock, at once", "dock, later", "viewer"):
            dock, exporting = export(folder)
            if when != "dock, at once":
                yield lambda run=exporting: run.bar.value() > 0 or not run.is_busy
            assert exporting.is_busy
            began = time.monotonic()
            if when == "viewer":
                viewer.close()
            else:
                dock.titleBarWidget().close_button.click()
            yield is_idle
            noted["seconds"][when] = time.monotonic() - began
        noted["files"] = [path.name for path in Path(folder).iterdir()]
    del dock, exporting
    yield lambda: True
    gc.collect()
    noted["kept"] = [name for name, known in used.items() if known() is not None]


def untrained():
    """Make a model that passes each image 16 times, as slow as exports are."""
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import Blindness
    from napari_ppn2v.core.networks import UNetConfig
    from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork

    network = PriorNetwork(UNetConfig(n_filters=32), "free", 1, Normalisation(40, 6))
    return Denoiser(network.eval(), None, Blindness(4, "mean"), "prior-mean", True)


def quit_program(noted: dict):
    viewer, _, panel = open_viewer()
    begin(panel)
    yield is_in(panel, "n2v")
    noted["is_busy"] = panel.session.is_busy
    viewer.window._qt_window.close(quit_app=True)
    yield lambda: False


def quit_while_loading(noted: dict):
    viewer, _, panel = open_viewer()
    yield lambda: panel.estimates._run is not None
    begin(panel)
    yield lambda: "torch" in sys.modules
    noted["is_busy"] = panel.session.is_busy
    viewer.window._qt_window.close(quit_app=True)
    yield lambda: False


SCENES = {
    "docks": docks,
    "viewers": viewers,
    "question": question,
    "exports": exports,
    "quit": quit_program,
    "quit while loading": quit_while_loading,
}

if __name__ == "__main__":
    program(sys.argv[1])
