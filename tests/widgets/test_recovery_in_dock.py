"""A run that was interrupted is offered by the dock, and goes on as if it had not been.

The last test kills the process of a viewer in the middle of a training.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.pipeline.recovery import unfinished_runs
from napari_ppn2v.pipeline.recovery_record import (
    Given,
    KnownStack,
    Progress,
    RecoveryRecord,
)
from napari_ppn2v.session.state import Status

SECONDS = 240_000  # ms to wait for a tiny training on a very busy machine
ALONE = 300.0  # s, for a program
STEPS = 100  # of each training of a viewer that is killed


def noisy(n_frames=2, side=64):
    """Frames of soft stripes, about 40 photons at most."""
    rows = np.sin(np.linspace(0, 9, side))[:, None] + np.sin(np.linspace(0, 7, side))
    rng = np.random.default_rng(0)
    return (100 + 2 * rng.poisson(10 * (2 + rows), (n_frames, side, side))).astype(
        np.uint16
    )


def tiny(n_steps=20) -> RunConfig:
    training = TrainingConfig(
        n_steps=n_steps, batch_size=2, patch_size=32, steps_per_validation=10
    )
    return RunConfig(
        method="refined",
        n_refinements=1,
        network=UNetConfig(n_filters=4),
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


def interrupt(root, data, stage="refinement 1", step=15, name="cells"):
    """Leave behind what a viewer leaves that crashes; returns it and its request."""
    from napari_ppn2v.events import StepDone
    from napari_ppn2v.pipeline.memory_checkpoints import KeptTrainings
    from napari_ppn2v.pipeline.recovery import Recovery
    from napari_ppn2v.pipeline.stack_job import denoise_stack
    from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
    from napari_ppn2v.stop import StopToken

    stack = Stack(data=data, axes="TYX", name=name)
    request = StackRequest(observation=stack, config=tiny(), threads=1)
    kept = Recovery(root, Given(("cells.tif",)))
    trainings = KeptTrainings(kept)
    running = denoise_stack(request, StopToken(), checkpoints=trainings, recovery=kept)
    for event in kept.watch(running):
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, step):
            break
    return kept, request


def pixels_without_interruption(request):
    from napari_ppn2v.events import drain
    from napari_ppn2v.pipeline.stack_job import denoise_stack
    from napari_ppn2v.stop import StopToken

    return drain(denoise_stack(request, StopToken())).result.image


def end_its_process(kept):
    kept._lock.release()


@pytest.fixture(autouse=True)
def every_step_is_kept(monkeypatch):
    from napari_ppn2v.pipeline import recovery

    monkeypatch.setattr(recovery, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(recovery, "MOST_TIME", 1e9)


def open_dock(viewer):
    from napari_ppn2v.widgets.denoise.panel import DenoisePanel

    panel = DenoisePanel(viewer)
    panel.estimates.want = lambda request: None
    docked = viewer.window.add_dock_widget(panel, name="Denoise (PPN2V)")
    viewer.layers.events.connect(panel.reset_choices)
    panel.reset_choices()
    return docked, panel


def is_over(panel):
    return lambda: not panel.session.is_busy


def test_an_interrupted_run_is_told_in_one_line_and_resumed(
    make_napari_viewer, qtbot, interrupted_runs
):
    kept, request = interrupt(interrupted_runs, noisy())
    end_its_process(kept)
    viewer = make_napari_viewer()
    _, panel = open_dock(viewer)
    section = panel.recovery
    assert section.isVisibleTo(panel)
    words = section.message.text()
    assert words.startswith("A run on “cells” from ")
    assert " was interrupted at step 14 of 20 (Refinement 1)." in words
    assert words.endswith("To resume it, open “cells.tif” (2 x 64 x 64, uint16).")
    assert not section.resume.isEnabled()
    viewer.add_image(noisy()[:1], name="other")
    assert not section.resume.isEnabled()
    layer = viewer.add_image(noisy(), name="something else")
    assert section.message.text().endswith("(Refinement 1).")
    panel.choose_layer(viewer.layers["other"])
    section.resume.click()
    qtbot.waitUntil(lambda: panel.session.is_busy, timeout=SECONDS)
    assert not section.isVisibleTo(panel)
    assert panel.image.layer.value is layer
    assert panel.settings.config == tiny()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    state = panel.session.state
    assert state.status is Status.FINISHED, state.message
    whole = pixels_without_interruption(request)
    np.testing.assert_array_equal(viewer.layers[-1].data, whole)
    assert not section.isVisibleTo(panel)
    assert list(interrupted_runs.iterdir()) == []
    assert len(panel.session.noise_models) == 1


def test_other_pixels_of_the_same_size_are_refused(
    make_napari_viewer, qtbot, interrupted_runs
):
    kept, _ = interrupt(interrupted_runs, noisy(), "n2v", 5)
    end_its_process(kept)
    viewer = make_napari_viewer()
    _, panel = open_dock(viewer)
    section = panel.recovery
    changed = noisy()
    changed[1, 7, 7] += 1
    layer = viewer.add_image(changed, name="cells")
    section.resume.click()
    qtbot.waitUntil(lambda: section.problem.text() != "", timeout=SECONDS)
    assert "are not those of the run" in section.problem.text()
    assert not panel.session.is_busy
    layer.data = noisy()
    section.resume.click()
    qtbot.waitUntil(lambda: panel.session.is_busy, timeout=SECONDS)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED


def test_a_run_is_discarded_by_two_clicks(make_napari_viewer, interrupted_runs):
    kept, _ = interrupt(interrupted_runs, noisy(1), "n2v", 3)
    end_its_process(kept)
    viewer = make_napari_viewer()
    _, panel = open_dock(viewer)
    section = panel.recovery
    section.discard.click()
    assert section.discard.text() == "Discard for good"
    assert kept.folder.exists()
    section.discard.click()
    assert not kept.folder.exists()
    assert not section.isVisibleTo(panel)


def test_a_run_that_goes_on_in_another_viewer_is_not_offered(
    make_napari_viewer, interrupted_runs
):
    kept, _ = interrupt(interrupted_runs, noisy(1), "n2v", 3)
    viewer = make_napari_viewer()
    _, panel = open_dock(viewer)
    assert not panel.recovery.isVisibleTo(panel)
    end_its_process(kept)
    panel.recovery.rescan()
    assert panel.recovery.isVisibleTo(panel)
    assert kept._lock.acquire()  # the other viewer is faster
    viewer.add_image(noisy(1), name="cells")
    panel.recovery.resume.click()
    assert not panel.recovery.isVisibleTo(panel)
    assert not panel.session.is_busy
    kept.release()
    kept._lock.release()


def test_a_dock_that_is_closed_in_the_middle_leaves_its_run_to_be_resumed(
    make_napari_viewer, qtbot
):
    viewer = make_napari_viewer()
    viewer.add_image(noisy(), name="cells")
    docked, panel = open_dock(viewer)
    panel.settings.set_config(tiny(100_000))
    panel.start.button.click()
    session = panel.session

    def is_trained():  # reading the image has its share, too
        return any(s.name == "n2v" and s.step > 0 for s in session.state.stages)

    qtbot.waitUntil(is_trained, timeout=SECONDS)
    docked.destroyOnClose()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    docked, panel = open_dock(viewer)

    def is_offered():
        panel.recovery.rescan()
        return panel.recovery.isVisibleTo(panel)

    qtbot.waitUntil(is_offered, timeout=SECONDS)
    assert " was stopped at step " in panel.recovery.message.text()
    panel.recovery.resume.click()
    qtbot.waitUntil(
        lambda: session.state.share > 0 and session.is_busy, timeout=SECONDS
    )
    panel.denoising.monitor.stop_button.click()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    # it can be resumed below its progress; one offer is enough
    assert not panel.recovery.isVisibleTo(panel)
    assert panel.denoising.followups.resume.isVisibleTo(panel)
    # and where another run is begun instead, nothing is left of it
    panel.settings.set_config(tiny(10))
    panel.start.button.click()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert session.state.status is Status.FINISHED, session.state.message
    assert not panel.recovery.isVisibleTo(panel)


def record(**more) -> RecoveryRecord:
    stack = KnownStack("cells", "", "TYX", (3, 64, 64), "uint16", (0,), "f00")
    return RecoveryRecord(observation=stack, config=tiny(), channels=(0,), **more)


NOW = datetime.fromisoformat("2026-05-07T18:00:00+02:00")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            record(began=NOW.isoformat(), progress=Progress("", "n2v", 810, 1500)),
            "A run on “cells” from 18:00 was interrupted at step 810 of 1500 "
            "(Noise2Void training).",
        ),
        (
            record(
                began=(NOW - timedelta(days=1)).isoformat(),
                status="failed",
                progress=Progress("channel 1", "refinement 2", 8, 9),
            ),
            "A run on “cells” from 6 May, 18:00 ended with an error at step 8 of 9 "
            "(Refinement 2, channel 1).",
        ),
        (
            record(
                began="2026-05-07T15:30:00+00:00",
                is_longer=True,
                status="stopped",
                progress=Progress("", "denoise", 0, 25),
            ),
            "A longer training on “cells” from 17:30 was stopped (at: Denoising).",
        ),
    ],
)
def test_what_a_run_was_is_said_in_a_sentence(given, expected):
    from napari_ppn2v.widgets.denoise.recovery import run_words

    assert run_words(given, NOW) == expected


# -- a viewer that is killed ----------------------------------------------------------


def start(scene: str, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", __name__, scene, str(folder)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=ALONE)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory) -> np.ndarray:
    """Pixels of a run whose viewer nobody kills."""
    folder = tmp_path_factory.mktemp("whole")
    assert end_of(start("whole", folder))["status"] == "finished"
    assert not list((folder / "recovery").iterdir())
    return np.load(folder / "whole.npy")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("stage", ["n2v", "refinement 1"])
def test_a_viewer_that_was_killed_in_training_gives_the_same_pixels_when_it_is_back(
    tmp_path, never_killed, stage
):
    killed = start("killed", tmp_path)
    wanted = f"checkpoint_{stage.replace(' ', '_')}_c0.pt"
    deadline = time.monotonic() + ALONE
    while not list((tmp_path / "recovery").glob(f"*/{wanted}")):
        assert killed.poll() is None, killed.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGSTOP)
    assert unfinished_runs(tmp_path / "recovery") == []  # its viewer lives
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(timeout=60) == -signal.SIGKILL
    killed.communicate()
    noted = end_of(start("resumed", tmp_path))
    assert " was interrupted " in noted["offer"]
    assert noted["status"] == "finished", noted
    assert noted["repeated steps"] == 0
    again = np.load(tmp_path / "resumed.npy")
    np.testing.assert_array_equal(again, never_killed)
    assert not list((tmp_path / "recovery").iterdir())


def program(scene: str, folder: Path) -> None:
    """Play a scene in a real viewer; what it has noted is its last line."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_ppn2v.pipeline import recovery
    from tests.widgets.test_closing import without_graphics_card

    without_graphics_card()
    recovery.recovery_root = lambda: folder / "recovery"
    recovery.SECONDS_BETWEEN, recovery.MOST_TIME = 0.0, 1e9
    app = napari.qt.get_qapp()
    noted: dict = {}
    steps = play(scene, folder, noted)
    waited_for = [lambda: True]

    def tick() -> None:
        try:
            if waited_for[0]():
                waited_for[0] = next(steps)
        except StopIteration:
            timer.stop()
            napari.Viewer.close_all()
            app.quit()

    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(tick)
    timer.start()
    napari.run(force=True)
    sys.stdout.write(json.dumps(noted) + "\n")


def play(scene: str, folder: Path, noted: dict):
    import napari

    viewer = napari.Viewer(show=False)
    viewer.add_image(noisy(), name="cells")
    _, panel = open_dock(viewer)
    panel.settings.computing.threads.setValue(1)
    section = panel.recovery
    noted["offer"] = section.message.text() if section.isVisibleTo(panel) else ""
    if scene == "resumed":
        section.resume.click()
        yield lambda: panel.session.is_busy
    else:
        panel.settings.set_config(tiny(STEPS))
        panel.start.button.click()
    seen: list[int] = []
    panel.session.state_changed.connect(
        lambda state: seen.extend(s.step for s in state.stages if s.step)
    )
    yield lambda: not panel.session.is_busy
    state = panel.session.state
    noted["status"] = state.status.value
    noted["message"] = state.message
    first = [s.step for s in state.stages if s.name == "n2v"]
    noted["repeated steps"] = sum(0 < step < STEPS for step in first)
    np.save(folder / f"{scene}.npy", viewer.layers[-1].data)


if __name__ == "__main__":
    program(sys.argv[1], Path(sys.argv[2]))
