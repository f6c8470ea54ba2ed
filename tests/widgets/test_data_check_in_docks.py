"""The check of data in the docks: seen before a training, dropped with its image."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.session.session import NamedNoiseModel
from napari_ppn2v.widgets.denoise.noise_section import CALIBRATION
from napari_ppn2v.widgets.denoise.panel import DenoisePanel
from napari_ppn2v.widgets.noise_model.panel import NoiseModelPanel
from napari_ppn2v.widgets.noise_model.source import ESTIMATE
from tests.widgets import noise_models

SECONDS = 240_000  # ms, on a very busy machine
CAMERA = Camera("scmos", gain=2.2, offset=100.0, read_noise=3.0)


@pytest.fixture(scope="module")
def noisy():
    return simulate_stack(
        CAMERA, n_frames=6, size=96, peak_electrons=300, seed=1
    ).observation


@pytest.fixture
def dock(qtbot):
    """The dock beside a viewer without a window, which is made in no time."""
    viewer = ViewerModel()
    panel = DenoisePanel(viewer)
    qtbot.addWidget(panel, before_close_func=DenoisePanel.close_down)
    viewer.layers.events.connect(panel.reset_choices)
    panel.estimates.want = lambda request: None
    return viewer, panel


def add(viewer, panel, data, name):
    layer = viewer.add_image(data, name=name)
    panel.reset_choices()
    panel.choose_layer(layer)
    return layer


def check(part, qtbot):
    assert part.isVisibleTo(part.parentWidget())
    part.button.button.click()
    assert part.is_busy
    qtbot.waitUntil(lambda: not part.is_busy, timeout=SECONDS)
    return part.findings


def test_there_is_nothing_to_check_without_an_image(dock):
    _, panel = dock
    assert not panel.data_check.isVisibleTo(panel)


def test_good_data_are_called_fine_and_nothing_else_is_said(dock, qtbot, noisy):
    viewer, panel = dock
    add(viewer, panel, noisy, "cells")
    found = check(panel.data_check, qtbot)
    assert panel.data_check.check.verdict == "fine"
    assert "✓ fine" in found.head.text()
    assert not found.important.isVisibleTo(found)
    assert found.folded.isVisibleTo(found)
    assert not found.folded.isExpanded()
    assert "Noise correlation" in found.fine.text()
    assert "6 of 6 frames" in found.fine.text()


def test_smoothed_data_are_told_with_figure_and_advice(dock, qtbot, noisy):
    viewer, panel = dock
    smooth = np.stack([gaussian_filter(x.astype(float), (0, 1)) for x in noisy])
    add(viewer, panel, smooth.astype(np.float32), "smoothed")
    found = check(panel.data_check, qtbot)
    assert panel.data_check.check.verdict == "will not work"
    assert "✗ will not work" in found.head.text()
    (told,) = [f for f in panel.data_check.check.important if "correl" in f.name]
    assert "✗ Noise correlation" in found.important.text()
    assert told.advice[:20] in found.important.text()
    # it informs and does not block
    assert panel.start.button.isEnabled()


def test_findings_go_when_another_image_is_chosen(dock, qtbot, noisy):
    viewer, panel = dock
    first = add(viewer, panel, noisy, "cells")
    check(panel.data_check, qtbot)
    panel.image.frames.set_text("0-3")
    assert panel.data_check.findings.isVisibleTo(panel)
    add(viewer, panel, noisy[:4].copy(), "others")
    assert not panel.data_check.findings.isVisibleTo(panel)
    assert panel.data_check.check is None
    panel.choose_layer(first)
    check(panel.data_check, qtbot)
    panel.image.axes.setText("ZYX")
    panel.image.axes.textEdited.emit("ZYX")
    assert not panel.data_check.findings.isVisibleTo(panel)


def test_a_check_of_an_image_that_is_no_longer_chosen_says_nothing(dock, qtbot, noisy):
    viewer, panel = dock
    add(viewer, panel, noisy, "cells")
    panel.data_check.button.button.click()
    add(viewer, panel, noisy[:4].copy(), "others")
    assert not panel.data_check.is_busy
    qtbot.wait(300)
    assert panel.data_check.check is None
    assert panel.data_check.button.isVisibleTo(panel.data_check)


def test_a_stopped_check_shows_what_it_has_seen(dock, qtbot, noisy):
    viewer, panel = dock
    add(viewer, panel, np.concatenate([noisy] * 3), "cells")
    panel.data_check.button.button.click()
    panel.data_check.stop_button.click()
    qtbot.waitUntil(lambda: not panel.data_check.is_busy, timeout=SECONDS)
    assert panel.data_check.check is not None
    assert panel.data_check.check.is_stopped
    assert panel.data_check.button.isVisibleTo(panel.data_check)


def test_the_calibration_chosen_is_checked_with_the_image(dock, qtbot, noisy):
    viewer, panel = dock
    dark = simulate_calibration(
        CAMERA, n_repeats=24, size=64, peak_electrons=20, seed=3
    ).observation
    scene = viewer.add_image(dark, name="too dark")
    add(viewer, panel, noisy, "cells")
    panel.noise.choose(CALIBRATION)
    panel.noise.recording.choose(scene)
    found = check(panel.data_check, qtbot)
    assert "Calibration recording" in found.important.text()
    assert "Signal range" in found.important.text()
    assert panel.data_check.check.verdict != "fine"


def test_each_channel_is_checked_by_itself(dock, qtbot, noisy):
    viewer, panel = dock
    smooth = np.stack([gaussian_filter(x.astype(float), (0, 1)) for x in noisy])
    both = np.stack([noisy.astype(np.float32), smooth.astype(np.float32)])
    layer = viewer.add_image(both, name="two", axis_labels=("c", "t", "y", "x"))
    panel.reset_choices()
    panel.choose_layer(layer)
    panel.image.channels.setCurrentText("channel 0")
    check(panel.data_check, qtbot)
    assert panel.data_check.check.finding("noise correlation").verdict == "fine"
    panel.image.channels.setCurrentText("all channels")
    assert panel.data_check.check is None
    found = check(panel.data_check, qtbot)
    assert "Channel 1: Noise of neighbouring" in found.important.text()


def test_findings_are_readable_in_both_themes(dock, qtbot, noisy):
    viewer, panel = dock
    add(viewer, panel, noisy, "cells")
    found = check(panel.data_check, qtbot)
    before = found.head.text()
    viewer.theme = "light" if viewer.theme == "dark" else "dark"
    assert found.head.text() != before


def test_a_check_loads_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from napari_ppn2v.pipeline.stack_checks import check_observation\n"
        "from napari_ppn2v.pipeline.stack_request import Stack\n"
        "from napari_ppn2v.stop import StopToken\n"
        "noisy = np.random.default_rng(0).poisson(50, (6, 64, 64))\n"
        "stack = Stack(data=noisy.astype(np.uint16), axes='TYX')\n"
        "list(check_observation(stack, (0,), StopToken()))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)


# -- the dock of noise models -------------------------------------------------------


@pytest.fixture
def noise_panel(qtbot):
    """The dock beside a viewer without a window, which is made in no time."""
    viewer = ViewerModel()
    viewer.add_image(noise_models.recording(), name="diaphragm")
    made = NoiseModelPanel(viewer)
    qtbot.addWidget(made, before_close_func=NoiseModelPanel.close_down)
    made.reset_choices()
    return made


def test_a_recording_is_checked_against_the_image_to_be_denoised(noise_panel, qtbot):
    bright = simulate_stack(
        noise_models.SCMOS, n_frames=3, size=64, peak_electrons=900, seed=1
    ).observation
    image = noise_panel.viewer.add_image(bright, name="cells")
    noise_panel.reset_choices()
    part = noise_panel.pairs_check.check
    assert noise_panel.pairs_check.image.value is None
    check(part, qtbot)
    assert part.check.subject == "calibration"
    assert part.check.finding("signal range") is None
    noise_panel.pairs_check.image.choose(image)
    assert part.check is None
    found = check(part, qtbot)
    assert part.check.finding("signal range").verdict != "fine"
    assert "Signal range" in found.important.text()


def test_a_noisy_image_in_the_dock_of_noise_models_is_checked_too(noise_panel, qtbot):
    part = noise_panel.pairs_check.check
    noise_panel.source.choose(ESTIMATE)
    assert part.button.button.text() == "Check data"
    assert not noise_panel.pairs_check.image.isVisibleTo(noise_panel.pairs_check)
    check(part, qtbot)
    assert part.check.subject == "images"


def test_the_camera_is_read_from_pairs_with_its_uncertainties(noise_panel, qtbot):
    card = noise_panel.camera
    assert not card.isVisibleTo(noise_panel)
    named = NamedNoiseModel("fitted", noise_models.model(n_components=1))
    noise_panel._show(replace(named, pairs=noise_models.pairs()))
    assert card.isVisibleTo(noise_panel)
    qtbot.waitUntil(lambda: card.readout is not None, timeout=SECONDS)
    gain = card.readout.gain or card.readout.slope
    assert gain.value == pytest.approx(2.2, rel=0.1)
    assert gain.error > 0
    assert "Gain" in card.lines.text()
    assert "grey values" in card.lines.text()
    assert card.notes.text()


def test_what_the_noise_does_not_tell_of_the_camera_is_said(noise_panel, qtbot):
    card = noise_panel.camera
    noise_panel._show(NamedNoiseModel("alone", noise_models.model(n_components=1)))
    qtbot.waitUntil(lambda: card.readout is not None, timeout=SECONDS)
    assert card.readout.read_noise is None
    assert "(sCMOS, CCD) or" in card.lines.text()
    assert "not told" in card.lines.text()
    assert "cannot be separated" in card.notes.text()


def test_a_known_offset_is_used(noise_panel, qtbot):
    config = NoiseModelConfig(kind="camera", offset=100.0)
    noise_panel.settings.set_value(config)
    noise_panel._show(NamedNoiseModel("alone", noise_models.model(n_components=1)))
    card = noise_panel.camera
    qtbot.waitUntil(lambda: card.readout is not None, timeout=SECONDS)
    assert "100 (given)" in card.lines.text()
