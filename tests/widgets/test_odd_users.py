"""What users do that nobody had in mind: each of these once broke something."""

from __future__ import annotations

import time

import dask.array as da
import numpy as np
import pytest
import torch
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QApplication, QComboBox, QLabel

from napari_ppn2v.core.frames import as_frames, check_trainable
from napari_ppn2v.errors import BadData
from napari_ppn2v.events import Notice
from napari_ppn2v.files.library import NoiseModelLibrary
from napari_ppn2v.session.session import Session
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.denoise.panel import DenoisePanel
from napari_ppn2v.widgets.layers.placing import add_result, read_layer
from napari_ppn2v.widgets.parts.file_names import file_stem
from napari_ppn2v.widgets.parts.image_section import WHOLE, ImageSection
from napari_ppn2v.widgets.parts.noise_model_choice import NoiseModelChoice
from napari_ppn2v.workers import launch
from tests.widgets.test_denoise_panel import (
    SECONDS,
    dock,
    is_over,
    noisy_like,
    press,
    scene,
    start_and_stop,
    tiny,
)

__all__ = ["dock"]


def colours(shape=(64, 64), n=3):
    planes = [noisy_like(shape, seed) for seed in range(3)]
    planes += [np.full(shape, 255)] * (n - 3)
    return np.stack(planes, axis=-1).astype(np.uint8)


# -- layers -------------------------------------------------------------------------


@pytest.mark.parametrize("show_as", ["posterior_std", "residual"])
@pytest.mark.parametrize("shape", [(64, 64), (4, 64, 64)], ids=["image", "stack"])
def test_uncertainty_and_residual_of_a_colour_image_lie_over_it(show_as, shape):
    viewer = ViewerModel()
    scale = (2.0, 0.5, 0.25)[-len(shape) :]
    layer = viewer.add_image(colours(shape), rgb=True, name="photo", scale=scale)
    values = np.random.default_rng(1).normal(size=(*shape, 3)).astype(np.float32)
    axes = "TYXC"[-len(shape) - 1 :]
    made = add_result(
        viewer, read_layer(layer), values, what="x", axes=axes, metadata={},
        show_as=show_as,
    )  # fmt: skip
    assert made.data.shape == (3, *shape)  # colours are planes to scroll through
    np.testing.assert_array_equal(made.data[1], values[..., 1])
    np.testing.assert_allclose(made.scale[1:], scale)
    assert made.axis_labels[0] == "c"


def test_two_of_three_colours_lie_over_the_image_too():
    viewer = ViewerModel()
    layer = viewer.add_image(colours(), rgb=True, name="photo", scale=(0.5, 0.25))
    made = add_result(
        viewer, read_layer(layer), colours()[..., :2], what="x", axes="YXC", metadata={}
    )
    assert made.data.shape == (2, 64, 64)
    np.testing.assert_allclose(made.scale, (1, 0.5, 0.25))


# -- runs ---------------------------------------------------------------------------


def test_a_longer_training_that_was_stopped_is_resumed_not_begun_anew(dock, qtbot):
    viewer, panel = dock(40)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    first = viewer.layers[-1].data.copy()
    followups, session = panel.denoising.followups, panel.session
    press(followups.longer)

    def trains():
        now = session.state.running_stage
        return now is not None and now.name == "refinement 2" and now.step > 2

    qtbot.waitUntil(trains, timeout=SECONDS)
    panel.denoising.monitor.stop_button.click()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    press(followups.resume)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert session.state.status is Status.FINISHED
    stages = [stage.name for stage in session.state.stages]
    assert "refinement 2" in stages
    assert "n2v" not in stages
    longer = viewer.layers.selection.active.data
    assert not np.array_equal(longer, first)


def test_what_can_follow_a_run_waits_for_the_run_of_another_dock(dock, qtbot):
    viewer, panel = dock(5000)
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    start_and_stop(panel, qtbot)
    other = launch(panel.session, endless, title="Something else")
    assert not panel.denoising.followups.resume.isEnabled()
    other.stop()
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.denoising.followups.resume.isEnabled()


def endless(stop):
    while not stop.is_stopped:
        yield Notice("working")
        time.sleep(0.02)


def test_an_image_that_can_no_longer_be_read_is_said_in_words(dock, qtbot):
    viewer, panel = dock()
    is_gone = []

    def read(block):
        if is_gone:
            raise OSError("the network drive is gone")
        return block

    stack = noisy_like((2, 64, 64))
    lazy = da.from_array(stack, chunks=(1, 64, 64)).map_blocks(
        read, dtype=stack.dtype, meta=stack[:0, :0, :0]
    )
    layer = Image(lazy, name="far away", cache=False)
    panel.choose_layer(viewer.add_layer(layer))
    is_gone.append(True)
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert panel.session.state.status is Status.FAILED
    assert "Frame 0 cannot be read (the network drive is gone)" in (
        panel.session.state.message
    )


def test_a_new_run_replaces_no_model_of_the_same_name(dock, qtbot, tmp_path):
    viewer, panel = dock(5)
    panel.choose_layer(viewer.add_image(noisy_like((2, 32, 32)), name="a/b: 1"))
    for _ in range(2):
        press(panel.start)
        qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    assert list(panel.session.denoisers) == ["a/b: 1", "a/b: 1 (2)"]
    folder = tmp_path / "models"
    folder.mkdir()
    panel.denoising.save_model(folder / ".ppn2v")  # a name without a name
    assert [path.name for path in folder.iterdir()] == ["model.ppn2v"]


@pytest.mark.parametrize(
    ("layer", "file"),
    [
        ("cells", "cells"),
        ("../a/b: c", "a_b_ c"),
        ("Zelle 3 µm ä 🙂", "Zelle 3 µm ä"),
        ("", "image"),
        ("🙂/..", "image"),
    ],
)
def test_files_are_named_after_layers_of_any_name(layer, file):
    assert file_stem(layer) == file
    assert len(file_stem("x" * 300)) == 100


# -- choosing -----------------------------------------------------------------------


@pytest.fixture
def section(qtbot):
    """Part of a dock that chooses the image, with a viewer that has no window."""
    viewer = ViewerModel()
    section = ImageSection(viewer)
    qtbot.addWidget(section)
    viewer.layers.events.connect(section.reset_choices)
    section.choose(viewer.add_image(noisy_like((3, 64, 64)), name="cells"))
    yield viewer, section
    section.close_down()


SQUARE = np.array([[10, 20], [10, 40], [30, 40], [30, 20]])


def test_a_region_stays_chosen_when_its_layer_is_renamed(section):
    viewer, section = section
    drawn = viewer.add_shapes([SQUARE], name="region")
    section.region.setCurrentText("region")
    drawn.name = WHOLE  # of all names
    section.reset_choices()
    assert section.region.currentIndex() == 2
    assert section.training_region() == (slice(10, 31), slice(20, 41))


def test_a_region_that_is_removed_gives_way_to_whole_frames_and_tells(section, qtbot):
    viewer, section = section
    viewer.add_shapes([SQUARE], name="region")
    section.region.setCurrentText("region")
    with qtbot.waitSignal(section.changed):
        viewer.layers.remove("region")
    assert section.region.currentText() == WHOLE
    assert section.training_region() is None


def test_a_rectangle_drawn_after_its_layer_was_chosen_counts(section, qtbot):
    viewer, section = section
    drawn = viewer.add_shapes(name="region", ndim=2)
    section.region.setCurrentText("region")
    with pytest.raises(BadData, match="holds no rectangle"):
        section.training_region()
    with qtbot.waitSignal(section.changed):
        drawn.add(SQUARE, shape_type="rectangle")
    assert section.training_region() == (slice(10, 31), slice(20, 41))


def test_the_transparency_of_a_colour_image_is_no_channel_to_denoise(section):
    viewer, section = section
    section.choose(viewer.add_image(colours(n=4), rgb=True, name="photo"))
    section.channels.setCurrentText("all channels")
    assert section.chosen_channels == (0, 1, 2)
    assert "transparency" in section.understood.text()


def test_axes_of_the_image_before_do_not_stay(section):
    viewer, section = section
    section.choose(viewer.add_image(np.zeros((1, 1, 1, 2, 8, 8)), name="too many"))
    assert "6 axes" in section.problem_text()
    assert section.axes.text() == ""


def test_axes_named_by_the_user_survive_new_data(section):
    viewer, section = section
    section.axes.setText("CYX")
    section.axes.textEdited.emit("CYX")
    viewer.layers["cells"].data = noisy_like((2, 48, 48))
    assert section.axes.text() == "CYX"
    assert "2 channels" in section.understood.text() or section.channels.count() == 3
    viewer.layers["cells"].data = noisy_like((48, 48))
    assert section.axes.text() == "YX"


def test_the_order_of_bytes_is_nothing_a_user_reads(section):
    viewer, section = section
    section.choose(viewer.add_image(noisy_like((64, 64)).astype(">u2"), name="old"))
    assert "uint16" in section.understood.text()


def test_a_channel_without_content_is_named():
    frames = as_frames(colours(n=4), "YXC", 3)
    with pytest.raises(BadData, match="Every pixel of channel 3 of the image"):
        check_trainable(frames, 16)


def test_the_wheel_changes_nothing_in_passing(dock, qtbot):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(noisy_like((2, 3, 64, 64)), name="cells"))
    panel.image.axes.setText("TCYX")
    panel.image.axes.textEdited.emit("TCYX")
    computing = panel.settings.computing
    widgets = [panel.image.channels, panel.image.region, panel.noise.kinds]
    widgets += [computing.device, computing.threads, panel.image.layer.choice.combo]
    computing.threads.setValue(3)
    panel.setFocus()
    for widget in widgets:
        before = (getattr(widget, "currentIndex", int)(), computing.threads.value())
        QApplication.sendEvent(widget, wheel_over(widget))
        now = (getattr(widget, "currentIndex", int)(), computing.threads.value())
        assert now == before, widget.accessibleName()
        assert not widget.focusPolicy() & ~Qt.FocusPolicy.StrongFocus


def wheel_over(widget):
    at = QPointF(widget.rect().center())
    return QWheelEvent(
        at,
        QPointF(widget.mapToGlobal(widget.rect().center())),
        QPoint(0, 0),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )


def test_every_list_and_number_says_what_it_is(dock):
    _, panel = dock()
    panel.settings.open_form()
    labelled = {label.buddy() for label in panel.findChildren(QLabel)}
    lists = panel.findChildren(QComboBox)
    for widget in [*lists, *panel.findChildren(QAbstractSpinBox)]:
        around = {widget, widget.parentWidget()}
        assert widget.accessibleName() or around & labelled, widget.toolTip()


def test_a_speed_that_cannot_be_measured_is_not_measured_for_ever(
    make_napari_viewer, qtbot
):
    viewer = make_napari_viewer()
    panel = DenoisePanel(viewer)
    viewer.window.add_dock_widget(panel)
    panel.settings.set_config(tiny())
    viewer.add_image(scene()[1], name="cells")
    device = panel.settings.computing.device
    absent = "cuda" if torch.backends.mps.is_available() else "mps"
    device.setCurrentIndex(device.findData(absent))
    with qtbot.waitSignal(panel.estimates.failed, timeout=SECONDS):
        panel.reset_choices()
    assert "measuring" not in panel.time.text_of("fast")


def test_noise2void_alone_offers_no_uncertainty(dock):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    form = panel.settings.open_form()
    method = next(c for c in form.findChildren(QComboBox) if c.findData("n2v") >= 0)
    method.setCurrentIndex(method.findData("n2v"))
    assert not panel.results.std.isEnabled()
    method.setCurrentIndex(method.findData("refined"))
    assert panel.results.std.isEnabled()


def test_of_two_files_with_the_same_name_the_one_loaded_is_chosen(qtbot, tmp_path):
    choice = NoiseModelChoice(Session(), NoiseModelLibrary(tmp_path / "library"))
    qtbot.addWidget(choice)
    first, second = tmp_path / "a" / "camera.npz", tmp_path / "b" / "camera.npz"
    choice.add_file(first)
    choice.add_file(second)
    assert choice.value.path == second
    assert str(tmp_path / "b") in choice.value.name
    choice.refresh()
    assert choice.value.path == second


def test_an_image_that_is_its_own_calibration_is_warned_of(dock):
    viewer, panel = dock()
    panel.choose_layer(viewer.add_image(scene()[1], name="cells"))
    viewer.add_image(scene(seed=3)[1], name="still")
    panel.noise.choose("calibration")
    panel.noise.recording.choose(viewer.layers["cells"])
    assert "the image itself" in panel.noise.warning.text()
    assert panel.start.reason() == ""  # the scene may be static
    panel.noise.recording.choose(viewer.layers["still"])
    assert panel.noise.warning.text() == ""
    panel.noise.recording.choose(viewer.layers["cells"])
    panel.noise.choose("bootstrap")
    assert panel.noise.warning.text() == ""


def test_progress_and_errors_are_scrolled_to(dock, qtbot):
    viewer, panel = dock()
    broken = scene()[1].astype(np.float32)
    broken[1, 5, 5] = np.nan
    panel.choose_layer(viewer.add_image(broken, name="broken"))
    window = panel.window()
    window.resize(900, 500)
    window.show()
    bar = panel.scroll_area.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    bar.setValue(0)
    press(panel.start)
    qtbot.waitUntil(is_over(panel), timeout=SECONDS)
    qtbot.waitUntil(lambda: bar.value() > 0)
    window.hide()
