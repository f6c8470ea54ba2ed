"""The dock of noise models, driven as a user drives it; all fits are real."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QDockWidget

from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.files.library import NoiseModelLibrary
from napari_ppn2v.files.noise_model_files import (
    Provenance,
    load_noise_model,
    read_provenance,
    save_noise_model,
)
from napari_ppn2v.session.session import NamedNoiseModel
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.noise_model.panel import NoiseModelPanel
from napari_ppn2v.widgets.noise_model.source import CALIBRATION, ESTIMATE, PAIRS
from tests.widgets import noise_models

LONGEST = 240_000  # milliseconds, on a very busy machine
ONE = {"n_components": 1, "n_coefficients": 1}  # Gaussian of fixed width


@pytest.fixture
def panel(qtbot):
    """The dock beside a viewer without a window, which is made in no time."""
    viewer = ViewerModel()
    viewer.add_image(noise_models.recording(), name="diaphragm")
    made = NoiseModelPanel(viewer)
    qtbot.addWidget(made, before_close_func=NoiseModelPanel.close_down)
    made.reset_choices()
    made.settings.set_value(NoiseModelConfig(kind="gmm", n_components=2))
    return made


@pytest.fixture
def wait(qtbot, panel):
    """Wait until the run is over; returns how it ended."""

    def until_done():
        qtbot.waitUntil(lambda: not panel.session.is_busy, timeout=LONGEST)
        qtbot.waitUntil(lambda: not panel.run.is_running, timeout=LONGEST)
        return panel.session.state.status

    return until_done


def add_fitted(panel, name, kind, **settings):
    """Put a model that is fitted already into the session."""
    named = NamedNoiseModel(
        name, noise_models.model(kind, **settings), noise_models.pairs()
    )
    return panel.session.add_noise_model(named)


def test_fitting_a_recording_shows_model_quality_and_likelihood(panel, wait):
    panel.fit()
    assert wait() is Status.FINISHED
    assert panel.shown.name == "diaphragm · mixture of 2 Gaussians"
    assert panel.shown.origin == "calibration recording: diaphragm"
    assert list(panel.session.noise_models) == [panel.shown.name]
    assert panel.models.value.name == panel.shown.name
    assert panel.view.model is panel.shown.model
    assert panel.quality.table.rowCount() == 10
    assert "describes the pixels kept apart well" in panel.quality.words()
    assert panel.view.nll._held_out.value() == pytest.approx(panel.shown.held_out_nll)
    assert "nats per pixel" in panel.session.state.message


def test_refitting_with_other_settings_keeps_both(panel, wait):
    add_fitted(panel, "before", "gmm")
    panel.settings.set_value(NoiseModelConfig(kind="histogram"))
    panel.fit()
    wait()
    assert list(panel.session.noise_models) == ["before", "diaphragm · histogram"]
    assert panel.shown.model.kind == "histogram"


def test_a_noisy_and_a_clean_layer_make_pairs(panel, wait):
    clean = noise_models.recording().mean(axis=0)
    panel.viewer.add_image(clean, name="clean")
    panel.reset_choices()
    panel.source.choose(PAIRS)
    panel.source.observation.choose(panel.viewer.layers["diaphragm"])
    panel.source.signal.choose(panel.viewer.layers["clean"])
    assert panel.fit_button.reason() == ""
    panel.fit()
    assert wait() is Status.FINISHED
    assert "clean version" in panel.shown.origin


def test_a_noisy_layer_alone_can_be_estimated_and_stopped(panel, qtbot, wait):
    panel.source.choose(ESTIMATE)
    panel.fit()
    qtbot.waitUntil(
        lambda: any(stage.step for stage in panel.session.state.stages), timeout=LONGEST
    )
    panel.monitor.stop_button.click()
    assert wait() is Status.STOPPED
    assert panel.shown is None
    assert "before there was a noise model" in panel.session.state.message


def test_the_same_layer_cannot_be_its_own_clean_version(panel):
    panel.source.choose(PAIRS)
    assert "another layer" in panel.fit_button.reason()


def test_without_layers_the_button_says_why(qtbot):
    panel = NoiseModelPanel(ViewerModel())
    qtbot.addWidget(panel)
    assert "Open an image" in panel.fit_button.reason()
    assert not panel.fit_button.button.isEnabled()
    panel.close_down()


def test_a_single_frame_is_no_calibration_and_is_refused_in_words(panel):
    panel.viewer.add_image(noise_models.recording()[0], name="one frame")
    panel.reset_choices()
    panel.choose_layer(panel.viewer.layers["one frame"])
    panel.fit()
    assert "at least 2 exposures" in panel.message.text()
    assert panel.run is None


def test_what_cannot_be_fitted_is_said_in_the_panel(panel, wait):
    panel.viewer.add_image(np.full((5, 32, 32), 7, np.uint16), name="constant")
    panel.reset_choices()
    panel.choose_layer(panel.viewer.layers["constant"])
    panel.fit()
    assert wait() is Status.FAILED
    assert "no noise to learn from" in panel.message.text()


def test_settings_that_do_not_matter_to_the_kind_are_hidden(panel):
    shown = panel.settings.usual.editor("n_components").isVisibleTo
    assert shown(panel.settings.usual)
    panel.settings.set_value(NoiseModelConfig(kind="histogram", n_bins=64))
    assert not shown(panel.settings.usual)
    assert panel.settings.value() == NoiseModelConfig(kind="histogram", n_bins=64)


def test_a_channel_is_asked_for_where_there_are_several(panel):
    two = np.stack([noise_models.recording()] * 2)
    layer = panel.viewer.add_image(two, name="two", axis_labels=("c", "t", "y", "x"))
    panel.reset_choices()
    panel.choose_layer(layer)
    assert panel.source.channel.isVisibleTo(panel.source)
    panel.source.channel.setValue(1)
    assert panel.request().channel == 1
    panel.choose_layer(panel.viewer.layers["diaphragm"])
    assert panel.request().channel == 0


def test_labels_and_other_layers_are_not_offered(panel):
    panel.viewer.add_labels(np.zeros((48, 48), int))
    panel.reset_choices()
    assert panel.source.observation.combo.count() == 1


def test_models_of_other_docks_are_listed_and_shown(panel):
    add_fitted(panel, "bootstrapped", "camera")
    panel.models.choose("bootstrapped")
    assert panel.shown.name == "bootstrapped"
    assert "grey values per electron" in panel.view.title()
    assert panel.quality.table.rowCount() > 0


def test_models_that_the_session_forgets_are_kept_by_no_dock(panel):
    def look_at(name):
        fitted = deepcopy((noise_models.model("gmm", **ONE), noise_models.pairs()))
        kept = panel.session.add_noise_model(NamedNoiseModel(name, *fitted))
        panel.models.choose(kept.name)
        assert panel.shown is kept
        assert panel.quality.table.rowCount() > 0
        return weakref.ref(kept.model), weakref.ref(kept.pairs)

    forgotten = [look_at(name) for name in ("one", "two")]
    look_at("three")
    for name in ("one", "two"):
        panel.session.remove_noise_model(name)
    gc.collect()
    assert [[known() for known in one] for one in forgotten] == [[None, None]] * 2
    assert panel.shown.name == "three"


def test_a_fit_of_another_dock_is_watched_live(panel, qtbot):
    events, result = noise_models.fit("gmm")
    panel.session.begin("denoising of cells")
    for event in events:
        panel.session.apply(event)
    qtbot.waitUntil(lambda: panel.view.model is result.model)
    assert "goes on" in panel.fit_button.reason()
    panel.session.finish()
    assert panel.fit_button.reason() == ""


def test_two_models_are_compared_on_held_out_pixels(panel, wait):
    add_fitted(panel, "one Gaussian of fixed width", "gmm", **ONE)
    add_fitted(panel, "camera", "camera")
    panel.models.choose("camera")
    panel.comparison.models.choose("one Gaussian of fixed width")
    panel.comparison.button.clicked.emit()
    assert wait() is Status.FINISHED
    text = panel.comparison.message.text()
    assert text.startswith("“camera” is")
    assert "better than “one Gaussian" in text


def test_a_model_is_not_compared_with_itself(panel):
    add_fitted(panel, "camera", "camera")
    panel.models.choose("camera")
    panel.comparison.models.choose("camera")
    assert "another noise model" in panel.comparison.button.reason()


def test_models_without_pairs_cannot_be_compared(panel, wait, tmp_path):
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path, kind in zip(paths, ("gmm", "histogram"), strict=True):
        save_noise_model(path, noise_models.model(kind))
    panel.models.add_file(paths[0])
    wait()
    panel.comparison.models.add_file(paths[1])
    assert "Neither of the two" in panel.comparison.button.reason()


def test_a_saved_model_is_loaded_and_judged_on_other_pairs(panel, wait, tmp_path):
    path = save_noise_model(tmp_path / "old.npz", noise_models.model("gmm"))
    panel.models.add_file(path)
    assert wait() is Status.FINISHED
    assert panel.shown.name == "old"
    assert not panel.quality.isVisibleTo(panel)
    add_fitted(panel, "new", "camera")
    panel.pairs_of.list.setCurrentText("new")
    assert panel.pairs_of.value is noise_models.pairs()
    assert panel.quality.isVisibleTo(panel)


def test_a_damaged_file_is_refused_in_words(panel, wait, tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK nothing")
    panel.models.add_file(path)
    assert wait() is Status.FAILED
    assert "broken.npz" in panel.message.text()


@pytest.mark.parametrize(
    ("kind", "dialect", "suffix"),
    [("camera", "own", ".npz"), ("gmm", "ppn2v-gmm", ".npz")],
)
def test_models_are_saved_in_the_dialects_that_hold_them(
    panel, tmp_path, kind, dialect, suffix
):
    add_fitted(panel, "shown", kind)
    panel.models.choose("shown")
    panel.saving.save_as(tmp_path / "saved", dialect)
    written = tmp_path / f"saved{suffix}"
    assert load_noise_model(written).kind == noise_models.model(kind).kind
    assert str(written) in panel.saving.message.text()


def test_a_dialect_that_cannot_hold_the_model_is_refused_in_words(panel, tmp_path):
    add_fitted(panel, "shown", "camera")
    panel.models.choose("shown")
    panel.saving.save_as(tmp_path / "saved", "ppn2v-gmm")
    assert "mixture of Gaussians" in panel.saving.message.text()
    assert list(tmp_path.iterdir()) == []


def test_models_are_kept_in_the_library_by_name_camera_and_gain(panel):
    library = NoiseModelLibrary()
    add_fitted(panel, "shown", "gmm")
    panel.models.choose("shown")
    for edit, text in (
        (panel.saving.name, "iXon EM 300"),
        (panel.saving.camera, "iXon 888"),
        (panel.saving.gain, "300"),
    ):
        edit.setText(text)
    panel.saving.keep()
    (entry,) = library.entries()
    assert read_provenance(entry.path).camera == "iXon 888"
    assert any("iXon EM 300" in ref for ref in _listed(panel.models))
    panel.saving.keep()
    assert "already" in panel.saving.message.text()
    assert panel.saving.replace_button.isVisibleTo(panel.saving)
    panel.saving.replace_button.click()
    assert "Kept in the library" in panel.saving.message.text()
    library.delete("iXon EM 300")


def _listed(choice):
    return [choice.list.itemText(row) for row in range(choice.list.count())]


def test_opening_the_dock_reads_no_model_of_the_library():
    library = NoiseModelLibrary()
    library.save(noise_models.model("gmm"), Provenance(name="kept"))
    code = (
        "import sys; from qtpy.QtWidgets import QApplication; app = QApplication([]);"
        "from napari.components import ViewerModel;"
        "from napari_ppn2v.widgets.noise_model.panel import NoiseModelPanel;"
        "panel = NoiseModelPanel(ViewerModel()); assert panel.models.value;"
        "assert 'torch' not in sys.modules; panel.close_down()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    library.delete("kept")
    assert answer.returncode == 0, answer.stderr


def test_the_image_is_checked_against_the_range_of_the_model(panel, wait):
    add_fitted(panel, "shown", "gmm")
    panel.models.choose("shown")
    bright = panel.viewer.add_image(noise_models.recording() * 3, name="bright")
    panel.reset_choices()
    panel.coverage.layer.choose(bright)
    panel.coverage.button.clicked.emit()
    assert wait() is Status.FINISHED
    assert "“bright” reaches from" in panel.coverage.message.text()
    assert panel.coverage.message.kind == "warning"


class TestCursor:
    """The cursor follows the mouse over the image."""

    def test_a_denoised_layer_gives_its_value(self, panel, qtbot):
        add_fitted(panel, "shown", "gmm")
        panel.models.choose("shown")
        denoised = panel.viewer.add_image(np.full((48, 48), 173.0), name="denoised")
        panel.reset_choices()
        panel.follow.box.setChecked(True)
        panel.follow.denoised.choose(denoised)
        move(panel.viewer, (0, 20, 20))
        qtbot.waitUntil(lambda: panel.view.cursor_signal == 173)

    def test_a_noisy_layer_gives_its_local_mean(self, panel, qtbot):
        add_fitted(panel, "shown", "gmm")
        panel.models.choose("shown")
        panel.follow.box.setChecked(True)
        panel.viewer.dims.set_point(0, 3)
        move(panel.viewer, (3, 20, 30))
        expected = noise_models.recording()[3, 18:23, 28:33].mean()
        qtbot.waitUntil(
            lambda: panel.view.cursor_signal == pytest.approx(expected, abs=1e-3)
        )

    def test_outside_of_the_image_it_stays(self, panel, qtbot):
        add_fitted(panel, "shown", "gmm")
        panel.models.choose("shown")
        before = panel.view.cursor_signal
        panel.follow.box.setChecked(True)
        move(panel.viewer, (0, 500, 500))
        qtbot.wait(100)
        assert panel.view.cursor_signal == before

    def test_it_listens_no_more_when_switched_off_or_closed(self, panel):
        n_before = len(panel.viewer.mouse_move_callbacks)
        panel.follow.box.setChecked(True)
        assert len(panel.viewer.mouse_move_callbacks) == n_before + 1
        panel.follow.box.setChecked(False)
        assert len(panel.viewer.mouse_move_callbacks) == n_before
        panel.follow.box.setChecked(True)
        panel.close_down()
        assert len(panel.viewer.mouse_move_callbacks) == n_before


def move(viewer, position):
    """Do what napari does when the mouse moves."""
    for callback in viewer.mouse_move_callbacks:
        callback(viewer, SimpleNamespace(position=position))


def test_a_click_on_a_range_of_the_table_moves_the_cursor(panel):
    add_fitted(panel, "shown", "gmm")
    panel.models.choose("shown")
    panel.quality.table.selectRow(4)
    low, high = panel.quality.table.item(4, 0).text().split(" – ")
    assert float(low) - 1 < panel.view.cursor_signal < float(high) + 1


def test_the_verdict_is_told_by_sign_word_and_colour(panel):
    add_fitted(panel, "poor", "gmm", n_coefficients=1)
    panel.models.choose("poor")
    column = panel.quality.table.columnCount() - 1
    cells = [
        panel.quality.table.item(row, column)
        for row in range(panel.quality.table.rowCount())
    ]
    assert any(cell.text() == "○ poor" for cell in cells)
    by_word = {cell.text(): cell.foreground().color().name() for cell in cells}
    assert len(set(by_word.values())) == len(by_word)


def test_the_theme_of_the_viewer_is_followed(panel):
    add_fitted(panel, "shown", "gmm")
    panel.models.choose("shown")
    before = panel.view.slice.backgroundBrush().color().name()
    panel.viewer.theme = "light"
    assert panel.view.slice.backgroundBrush().color().name() != before


def test_closing_the_dock_stops_its_fit(make_napari_viewer, qtbot):
    viewer = make_napari_viewer()
    viewer.add_image(noise_models.recording(), name="diaphragm")
    panel = NoiseModelPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Noise model (PPN2V)")
    panel.reset_choices()
    panel.settings.set_value(NoiseModelConfig(kind="auto"))
    panel.fit()
    run = panel.run
    docks = panel.viewer.window._qt_window.findChildren(QDockWidget)
    (dock,) = [d for d in docks if d.objectName() == "Noise model (PPN2V)"]
    dock.destroyOnClose()
    qtbot.waitUntil(lambda: not run.is_running, timeout=LONGEST)
    assert run.is_abandoned
    assert not panel.session.noise_models
    assert not panel.session.is_busy


def test_nothing_is_cut_off_in_a_narrow_dock(panel, qtbot):
    add_fitted(panel, "shown", "gmm")
    panel.models.choose("shown")
    content = panel.scroll_area.widget()
    assert content.minimumSizeHint().width() <= 400


def test_sources_have_words_of_their_own(panel):
    for kind in (CALIBRATION, PAIRS, ESTIMATE):
        panel.source.choose(kind)
        assert panel.source.kind == kind
        assert panel.source._help.text()
