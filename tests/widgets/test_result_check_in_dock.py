"""After a run: how far from the truth, what was lost, and a report to keep."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.denoise import result_check
from napari_ppn2v.widgets.denoise.panel import DenoisePanel
from tests.widgets.test_denoise_panel import SECONDS, is_over, press, tiny

CAMERA = Camera("scmos", gain=2.2, offset=100.0, read_noise=3.0)


@pytest.fixture(scope="module")
def sample():
    return simulate_stack(CAMERA, n_frames=2, size=96, peak_electrons=60, seed=1)


@pytest.fixture
def dock(make_napari_viewer, sample):
    viewer = make_napari_viewer()
    panel = DenoisePanel(viewer)
    viewer.window.add_dock_widget(panel, name="Denoise (PPN2V)")
    viewer.layers.events.connect(panel.reset_choices)
    panel.estimates.want = lambda request: None
    panel.settings.set_config(tiny(40))
    layer = viewer.add_image(sample.observation, name="cells", scale=(1, 0.1, 0.1))
    panel.reset_choices()
    panel.choose_layer(layer)
    return viewer, panel


def run(panel, qtbot):
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED
    return panel.denoising.result_check


def wait(part, qtbot):
    qtbot.waitUntil(lambda: not part.is_busy, timeout=SECONDS)


def test_a_quick_check_tells_error_and_verdict_and_writes_a_report(
    dock, qtbot, sample, tmp_path
):
    viewer, panel = dock
    part = run(panel, qtbot)
    wait(part, qtbot)  # it began by itself
    ((_, check),) = part.checked.checks
    truth = sample.signal
    error = np.sqrt(np.mean((viewer.layers[1].data - truth) ** 2))
    assert check.errors.rmse == pytest.approx(error, rel=0.3)
    assert f"± {check.errors.rmse:.3g} grey values" in part.error.text()
    assert f"{check.errors.psnr:.1f} dB" in part.error.text()
    assert part.findings.isVisibleTo(panel)
    # the finished run is still shown beside it
    assert panel.session.state.status is Status.FINISHED
    assert panel.denoising.followups.isVisibleTo(panel)
    page = tmp_path / "cells_report.html"
    part.write(page)
    wait(part, qtbot)
    assert "cells_report.json" in part.note.text()
    text = page.read_text(encoding="utf-8")
    assert "Can the result be believed?" in text
    assert "Denoising of cells" in text
    plain = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert plain["run"]["data"][0]["sha256"]
    assert plain["run"]["steps"] == 80
    assert plain["channels"]["0"]["expected_errors"]["rmse"] == check.errors.rmse
    assert "bootstrapped" in plain["channels"]["0"]["methods_paragraph"]
    forgotten_by_the_next_run(panel, part)


def forgotten_by_the_next_run(panel, part):
    press(panel.denoising.followups.longer)
    assert part.checked is None
    assert not part.isVisibleTo(panel)
    panel.run = panel.denoising.run
    panel.denoising.run.abandon()


def test_what_a_bad_result_has_lost_is_marked_where_it_is(dock, qtbot, monkeypatch):
    viewer, panel = dock
    monkeypatch.setattr(result_check, "CHEAP", 0.0)
    part = run(panel, qtbot)
    assert not part.is_busy  # it waits to be asked
    flatten(panel.denoising.report)
    part.button.button.click()
    wait(part, qtbot)
    assert part.findings.head.text().count("✗ bad") == 1
    assert "✗ Leftover structure" in part.findings.important.text()
    press(part.leftover)
    press(part.leftover)  # once more shows no second one
    names = [layer.name for layer in viewer.layers]
    assert names == ["cells", viewer.layers[1].name, "cells · leftover map"]
    overlay, source = viewer.layers[2], viewer.layers[0]
    ((_, check),) = part.checked.checks
    np.testing.assert_array_equal(overlay.data[0], check.shown.leftover.excess)
    assert viewer.dims.current_step[0] == check.shown.frame
    np.testing.assert_allclose(overlay.scale, source.scale)
    low, middle, high = overlay.colormap.map([0.0, 0.5, 1.0])
    assert middle[3] == 0
    assert low[3] == high[3] == 1
    assert "Orange" in part.note.text()


def flatten(report):
    """Spoil the networks, so that bright places come out too dark."""
    denoiser = report.runs[0].denoiser
    for model in (denoiser.model, denoiser.refined):
        if model is not None:
            scale = model.normalisation
            model.normalisation = replace(scale, std=0.5 * scale.std)


def test_without_a_noise_model_the_button_says_why(dock, qtbot, tmp_path):
    _, panel = dock
    panel.settings.set_config(replace(tiny(20), method="n2v"))
    part = run(panel, qtbot)
    assert not part.is_busy
    assert not part.button.button.isEnabled()
    assert "Without a noise model" in part.button.reason()
    page = tmp_path / "n2v.html"
    part.write(page)
    wait(part, qtbot)
    assert "Noise2Void" in page.read_text(encoding="utf-8")


def test_a_flaw_of_the_data_is_told_once_when_a_run_begins(dock, qtbot, sample):
    viewer, panel = dock
    clipped = np.maximum(sample.observation, np.median(sample.observation))
    layer = viewer.add_image(clipped.astype(np.uint16), name="clipped")
    panel.reset_choices()
    panel.choose_layer(layer)
    press(panel.start)
    notices = lambda: [n.message for n in panel.session.state.notices]  # noqa: E731
    qtbot.waitUntil(lambda: any("clipping" in n for n in notices()), timeout=SECONDS)
    panel.denoising.run.abandon()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    # who has looked at the findings is not told again
    press(panel.data_check.button)
    wait(panel.data_check, qtbot)
    press(panel.start)
    qtbot.waitUntil(
        lambda: any(s.name == "n2v" and s.step for s in panel.session.state.stages),
        timeout=SECONDS,
    )
    assert notices() == []
    panel.denoising.run.abandon()
