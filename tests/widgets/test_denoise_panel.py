"""The main dock, driven as a user drives it; trainings are real and tiny."""

from __future__ import annotations

import time
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.layers import Image
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QDockWidget, QLabel

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.denoise.panel import DenoisePanel

SECONDS = 240_000  # ms to wait for a tiny training on a very busy machine


def scene(n_frames=3, side=64, seed=0):
    """Truth and noisy frames of soft blobs, about 40 photons at most."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    truth = np.stack(
        [gaussian_filter(rng.normal(size=(side, side)), 3) for _ in range(n_frames)]
    )
    truth = 100 + 88 * (truth - truth.min()) / np.ptp(truth)
    noisy = 100 + 2.2 * rng.poisson((truth - 100) / 2.2) + rng.normal(0, 3, truth.shape)
    return truth.astype(np.float32), np.rint(noisy).clip(0).astype(np.uint16)


def tiny(n_steps=30) -> RunConfig:
    training = TrainingConfig(
        n_steps=n_steps, batch_size=4, patch_size=32, steps_per_validation=10
    )
    return RunConfig(
        method="refined",
        n_refinements=1,
        network=UNetConfig(n_filters=8),
        pretraining=training,
        refinement=training,
        training=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


@pytest.fixture
def dock(make_napari_viewer):
    """Make a viewer with the dock in it, and tiny settings."""

    def make(n_steps=30):
        viewer = make_napari_viewer()
        panel = DenoisePanel(viewer)
        viewer.window.add_dock_widget(panel, name="Denoise (PPN2V)")
        panel.reset_choices()
        viewer.layers.events.connect(panel.reset_choices)
        panel.settings.set_config(tiny(n_steps))
        panel.estimates.blockSignals(True)
        panel.estimates.want = lambda request: None  # timed in a test of its own
        return viewer, panel

    return make


def is_over(panel):
    return lambda: not panel.session.is_busy


def press(button):
    button = getattr(button, "button", button)
    assert button.isEnabled(), button.toolTip()
    button.click()


def psnr_gain(result, noisy, truth):
    error = np.mean((noisy - truth) ** 2.0)
    return 10 * np.log10(error / np.mean((result - truth) ** 2))


def test_one_button_gives_a_denoised_layer_in_the_place_of_its_source(dock, qtbot):
    viewer, panel = dock(60)
    truth, noisy = scene(side=96)
    source = viewer.add_image(
        noisy,
        name="cells",
        scale=(2.0, 0.1, 0.1),
        translate=(0, 5, 7),
        units=("s", "um", "um"),
        axis_labels=("t", "y", "x"),
        colormap="green",
    )
    panel.choose_layer(source)
    assert "3 frames of 96 x 96, uint16, no channel axis" in (
        panel.image.understood.text()
    )
    press(panel.start)
    qtbot.waitUntil(lambda: panel.denoising.preview.layer is not None, timeout=SECONDS)
    assert panel.start.reason() != ""
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED
    names = [layer.name for layer in viewer.layers]
    assert names == ["cells", "cells · denoised (MMSE)"] or names == [
        "cells",
        "cells · denoised (prior mean)",
    ]
    result = viewer.layers[1]
    assert result.data.dtype == np.float32
    assert psnr_gain(result.data, noisy, truth) > 3
    np.testing.assert_allclose(result.scale, source.scale)
    np.testing.assert_allclose(result.translate, source.translate)
    assert result.units == source.units
    assert result.axis_labels == source.axis_labels
    assert result.colormap.name == "green"
    provenance = result.metadata["napari_ppn2v"]
    assert provenance["settings"]["method"] == "refined"
    assert provenance["data"]["axes"] == "TYX"
    assert provenance["software"]["napari-ppn2v"]
    assert list(panel.session.denoisers) == ["cells"]
    (noise_model,) = panel.session.noise_models.values()
    assert noise_model.pairs is not None


def test_the_curves_and_the_noise_model_are_seen_while_the_run_goes_on(dock, qtbot):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    state = panel.session.state
    assert [stage for stage, _ in state.curves] == ["n2v", "refinement 1"]
    assert panel.denoising.losses.isVisibleTo(panel)
    assert panel.denoising.noise_plots.isVisibleTo(panel)
    assert state.fit.model is not None
    assert state.device.startswith("CPU")


def start_and_stop(panel, qtbot, stage="n2v"):
    press(panel.start)
    session = panel.session

    def is_there():
        now = session.state.running_stage
        assert session.is_busy
        return now is not None and now.name == stage and now.step > 2

    qtbot.waitUntil(is_there, timeout=SECONDS)
    began = time.monotonic()
    panel.denoising.monitor.stop_button.click()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    return time.monotonic() - began


def test_stop_keeps_the_best_weights_and_offers_to_denoise_with_them(dock, qtbot):
    viewer, panel = dock(5000)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    start_and_stop(panel, qtbot)
    assert panel.session.state.status is Status.STOPPED
    assert [layer.name for layer in viewer.layers] == ["cells"]
    followups = panel.denoising.followups
    assert followups.denoise.isVisibleTo(panel)
    press(followups.denoise)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert viewer.layers[-1].name == "cells · denoised (prior mean)"


def test_a_stopped_run_that_is_resumed_ends_like_one_never_stopped(dock, qtbot):
    viewer, panel = dock(80)
    layer = viewer.add_image(scene()[1], name="cells")
    panel.choose_layer(layer)
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    whole = viewer.layers[-1].data.copy()
    start_and_stop(panel, qtbot)
    assert panel.session.state.status is Status.STOPPED
    press(panel.denoising.followups.resume)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED
    assert len(panel.session.noise_models) == 2  # one for each run, none for resuming
    resumed = next(la for la in viewer.layers if la.name.endswith("[1]"))
    np.testing.assert_array_equal(resumed.data, whole)


def test_training_longer_adds_a_layer_and_keeps_the_first(dock, qtbot):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    press(panel.denoising.followups.longer)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED
    assert len(viewer.layers) == 3


def test_a_paused_run_goes_on_where_it_was(dock, qtbot):
    viewer, panel = dock(60)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    session, monitor = panel.session, panel.denoising.monitor
    qtbot.waitUntil(lambda: session.state.share > 0.05, timeout=SECONDS)
    monitor.pause_button.click()
    assert session.state.status is Status.PAUSED
    qtbot.wait(300)
    reached = session.state.share
    qtbot.wait(300)
    assert session.state.share == reached
    monitor.pause_button.click()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert session.state.status is Status.FINISHED


def test_the_layer_may_be_removed_renamed_or_edited_during_the_run(dock, qtbot):
    viewer, panel = dock()
    noisy = scene()[1]
    layer = viewer.add_image(noisy, name="cells")
    other = viewer.add_image(np.zeros((64, 64)), name="other")
    panel.choose_layer(layer)
    press(panel.start)
    layer.name = "renamed"
    viewer.layers.move(0, 2)
    viewer.layers.remove(layer)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED
    result = viewer.layers[-1]
    assert result.name.startswith("cells · denoised")
    assert other in viewer.layers


def test_data_put_into_the_layer_later_are_what_is_denoised(dock, qtbot):
    viewer, panel = dock()
    layer = viewer.add_image(scene()[1], name="cells")
    panel.choose_layer(layer)
    layer.data = scene(n_frames=2, side=80, seed=4)[1]
    assert "2 frames of 80 x 80" in panel.image.understood.text()
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert viewer.layers[-1].data.shape == (2, 80, 80)


def test_closing_the_dock_ends_the_run_and_adds_nothing(dock, qtbot, slowdown):
    viewer, panel = dock(100_000)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    qtbot.waitUntil(lambda: panel.session.state.share > 0, timeout=SECONDS)
    docked = panel.parent()
    assert isinstance(docked, QDockWidget)
    began = time.monotonic()
    docked.destroyOnClose()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert time.monotonic() - began < 10 * slowdown
    assert [layer.name for layer in viewer.layers] == ["cells"]


def test_a_failure_is_seen_and_the_dock_can_be_used_again(dock, qtbot):
    viewer, panel = dock()
    broken = scene()[1].astype(np.float32)
    broken[1, 5, 5] = np.nan
    panel.choose_layer(viewer.add_image(broken, name="broken"))
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    state = panel.session.state
    assert state.status is Status.FAILED
    assert "Frame 1 holds 1 values that are not a number" in state.message
    assert panel.denoising.preview.layer is None
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED


def test_a_runtime_error_in_the_middle_leaves_the_run_resumable(
    dock, qtbot, monkeypatch
):
    from napari_ppn2v.pipeline import refinement

    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))

    def explode(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    with monkeypatch.context() as patch:
        patch.setattr(refinement, "train_prior", explode)
        press(panel.start)
        qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FAILED
    assert "device-side assert" in panel.session.state.message
    press(panel.denoising.followups.resume)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (np.zeros((3, 64, 64), bool), {}, "mask"),
        (np.full((3, 64, 64), 7, np.uint8), {}, "same value"),
        (scene(side=10)[1], {}, "10 x 10"),
    ],
)
def test_what_cannot_be_denoised_is_said_in_one_sentence(
    dock, qtbot, data, options, words
):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(data, name="odd", **options))
    if panel.start.reason():
        assert words in panel.start.reason()
        return
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FAILED
    assert words in panel.session.state.message


def noisy_like(shape, seed=1):
    rng = np.random.default_rng(seed)
    base = np.linspace(0, 40, shape[-1])
    return (100 + rng.poisson(base, shape)).astype(np.uint16)


@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (lambda: noisy_like((64, 64)), "YX"),
        (lambda: noisy_like((1, 64, 64)), "TYX"),
        (lambda: noisy_like((2, 1, 2, 64, 64)), "TZCYX"),
        (lambda: da.from_array(noisy_like((2, 64, 64)), chunks=(1, 64, 64)), "TYX"),
        (lambda: zarr.array(noisy_like((2, 64, 64))), "TYX"),
    ],
    ids=["single", "one frame", "5-D", "dask", "zarr"],
)
def test_layers_of_all_kinds_work(dock, qtbot, make, axes):
    viewer, panel = dock(10)
    panel.choose_layer(viewer.add_layer(Image(make(), name="cells")))
    assert panel.image.axes.text() == axes
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED, panel.session.state.message
    assert viewer.layers[-1].name.startswith("cells · denoised")


def test_multiscale_layers_are_denoised_at_the_finest_resolution(dock, qtbot):
    viewer, panel = dock(10)
    fine = noisy_like((2, 128, 128))
    layer = viewer.add_image([fine, fine[:, ::2, ::2]], multiscale=True, name="cells")
    panel.choose_layer(layer)
    assert "2 resolutions" in panel.image.understood.text()
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert viewer.layers[-1].data.shape == fine.shape


def test_colour_images_are_denoised_channel_by_channel(dock, qtbot):
    viewer, panel = dock(10)
    colours = np.stack([noisy_like((64, 64), seed) for seed in range(3)], axis=-1)
    layer = viewer.add_image(colours.astype(np.uint8), rgb=True, name="photo")
    panel.choose_layer(layer)
    panel.image.channels.setCurrentText("all channels")
    panel.results.dtype_box.setChecked(True)
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED, panel.session.state.message
    assert viewer.layers[-1].data.shape == (64, 64, 3)
    assert viewer.layers[-1].rgb


def test_axes_can_be_corrected_and_wrong_ones_are_explained(dock):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(noisy_like((4, 64, 64)), name="cells"))
    panel.image.axes.clear()
    panel.image.axes.insert("CYX")
    panel.image.axes.textEdited.emit("CYX")
    assert "4 channels" in panel.image.understood.text() or (
        "channel 0 of 4" in panel.image.understood.text()
    )
    panel.image.axes.setText("QYX")
    panel.image.axes.textEdited.emit("QYX")
    assert "'Q' is none of" in panel.start.reason()
    panel.image.axes.setText("TYX")
    panel.image.axes.textEdited.emit("TYX")
    assert panel.start.reason() == ""


def test_a_disabled_button_says_why(dock):
    viewer, panel = dock()
    assert "Choose an image" in panel.start.reason()
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    assert panel.start.reason() == ""
    panel.noise.choose("saved")
    assert "saved noise model" in panel.start.reason()
    panel.noise.choose("bootstrap")
    panel.image.frames.set_text("7")
    assert "numbered 0 to 2" in panel.start.reason()
    panel.image.frames.set_text("0-1")
    assert panel.start.reason() == ""


def test_a_calibration_recording_gives_the_noise_model(dock, qtbot):
    viewer, panel = dock(10)
    rng = np.random.default_rng(3)
    still = 100 + rng.poisson(np.tile(np.linspace(0, 60, 64), (12, 64, 1)))
    viewer.add_image(still.astype(np.uint16), name="still")
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    panel.noise.choose("calibration")
    panel.noise.recording.choose(viewer.layers["still"])
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED, panel.session.state.message
    made_from = viewer.layers[-1].metadata["napari_ppn2v"]["noise_model_from"]
    assert made_from == "calibration: still"
    # and what was fitted can be chosen for the next run
    (name,) = panel.session.noise_models
    panel.noise.choose("saved")
    panel.noise.saved.choose(name)
    panel.choose_layer(viewer.layers["cells"])
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FINISHED, panel.session.state.message


def test_uncertainty_and_residual_become_layers_of_their_own(dock, qtbot):
    viewer, panel = dock()
    noisy = scene()[1]
    panel.choose_layer(viewer.add_image(noisy, name="cells"))
    panel.results.std.setChecked(True)
    panel.results.residual.setChecked(True)
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    names = [layer.name for layer in viewer.layers]
    assert {"cells · posterior sd", "cells · residual"} < set(names)
    denoised = next(layer for layer in viewer.layers if "denoised" in layer.name)
    residual = viewer.layers["cells · residual"].data
    np.testing.assert_allclose(residual, noisy - denoised.data, atol=1e-3)
    assert (viewer.layers["cells · posterior sd"].data > 0).all()


def test_two_viewers_have_runs_of_their_own(dock, qtbot):
    first, one = dock(20)
    second, two = dock(20)
    assert one.session is not two.session
    one.choose_layer(first.add_image(scene()[1], name="cells"))
    two.choose_layer(second.add_image(scene(seed=5)[1], name="nuclei"))
    press(one.start)
    press(two.start)
    qtbot.waitUntil(lambda: is_over(one)() and is_over(two)(), timeout=SECONDS)
    assert first.layers[-1].name.startswith("cells · denoised")
    assert second.layers[-1].name.startswith("nuclei · denoised")


def test_a_second_dock_of_the_same_viewer_waits_for_the_first(dock, qtbot):
    viewer, panel = dock(5000)
    other = DenoisePanel(viewer)
    qtbot.addWidget(other)
    layer = viewer.add_image(scene()[1], name="cells")
    other.reset_choices()
    panel.choose_layer(layer)
    press(panel.start)
    assert "goes on" in other.start.reason()
    assert other.denoising.monitor.isVisibleTo(other)
    other.denoising.monitor.stop_button.click()  # any dock can stop it
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert other.start.reason() == ""
    assert panel.denoising.followups.isVisibleTo(panel)
    assert not other.denoising.monitor.isVisibleTo(other)
    other.close_down()


def test_our_docks_lie_over_each_other_as_tabs(dock, qtbot):
    viewer, panel = dock()
    second = DenoisePanel(viewer)
    docked = viewer.window.add_dock_widget(second, name="second")
    window = viewer.window._qt_window
    qtbot.waitUntil(lambda: panel.parent() in window.tabifiedDockWidgets(docked))


def test_the_preview_switches_between_prior_mean_and_mmse(dock, qtbot):
    viewer, panel = dock(400)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    session, control = panel.session, panel.denoising.preview

    def has_mmse():
        seen = session.state.preview
        return seen is not None and seen.mmse is not None

    qtbot.waitUntil(has_mmse, timeout=SECONDS)
    panel.run.pause()
    qtbot.wait(200)
    control.prior_mean.setChecked(True)
    shown = session.state.preview.prior_mean
    np.testing.assert_array_equal(np.squeeze(control.layer.data), shown)
    control.mmse.setChecked(True)
    shown = session.state.preview.mmse
    np.testing.assert_array_equal(np.squeeze(control.layer.data), shown)
    viewer.layers.remove(control.layer)
    assert not control.wanted.isChecked()
    panel.run.stop()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)


def test_the_preview_follows_the_frame_on_screen(dock, qtbot):
    viewer, panel = dock(100_000)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    session = panel.session
    qtbot.waitUntil(lambda: session.state.preview is not None, timeout=SECONDS)
    for frame in (0, 2):
        viewer.dims.set_current_step(0, frame)
        qtbot.waitUntil(
            lambda f=frame: session.state.preview.frame == f, timeout=20_000
        )
        layer = panel.denoising.preview.layer
        assert layer.translate[0] == frame
    panel.run.stop()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)


def test_times_are_measured_for_the_image_chosen(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    panel = DenoisePanel(viewer)
    viewer.window.add_dock_widget(panel)
    panel.reset_choices()
    small = replace(tiny(), preset="balanced", network=UNetConfig(n_filters=4))
    panel.settings.set_config(small)
    viewer.layers.events.connect(panel.reset_choices)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    qtbot.waitUntil(lambda: "about" in panel.time.text_of("fast"), timeout=SECONDS)
    assert "about" in panel.time.text_of("thorough")
    assert not panel.session.is_busy


def test_what_was_done_can_be_copied_as_a_script_that_runs(
    dock, qtbot, monkeypatch, tmp_path
):
    from qtpy.QtWidgets import QApplication

    viewer, panel = dock(20)
    noisy = scene()[1]
    panel.choose_layer(viewer.add_image(noisy, name="cells"))
    panel.image.frames.set_text("0-1")
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    press(panel.denoising.followups.longer)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    QApplication.clipboard().clear()
    press(panel.denoising.followups.script)
    script = QApplication.clipboard().text()
    assert "training_frames" in script
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    names = {}
    exec(compile(script, "copied.py", "exec"), names)
    result = viewer.layers.selection.active
    np.testing.assert_array_equal(names["image"], result.data)


def test_a_planned_stage_that_is_passed_over_is_not_needed(qtbot):
    from napari_ppn2v.events import StageStarted
    from napari_ppn2v.session.session import Session
    from napari_ppn2v.widgets.parts.run_monitor import RunMonitor

    session = Session()

    class Owner:
        run = None

    monitor = RunMonitor(session, Owner())
    qtbot.addWidget(monitor)
    session.begin("a run", [("n2v", 10), ("inference choice", 0), ("denoise", 3)])
    session.apply(StageStarted("n2v", 10))
    words = [label.text() for label in monitor.findChildren(QLabel)]
    assert words.count("waiting") == 2
    session.apply(StageStarted("denoise", 3))
    words = [label.text() for label in monitor.findChildren(QLabel)]
    assert "not needed" in words
    assert "waiting" not in words


def test_a_parent_change_without_a_dock_is_no_close(dock):
    _, panel = dock()
    assert not panel.is_closed
    panel.event(QEvent(QEvent.Type.ParentChange))
    assert not panel.is_closed
