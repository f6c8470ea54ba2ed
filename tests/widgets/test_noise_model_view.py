"""The view shows a noise model, its pairs, its fit, and what is at the cursor."""

from __future__ import annotations

import re

import numpy as np
import pytest

from napari_ppn2v.events import FitProgress, NoiseModelFitted, PairsReady
from napari_ppn2v.widgets.noise_model.view import NOTHING, WAITING, NoiseModelView
from tests.widgets import noise_models


@pytest.fixture
def view(qtbot):
    made = NoiseModelView()
    qtbot.addWidget(made)
    made.resize(400, 800)
    made.show()
    return made


def test_without_a_model_it_says_what_to_do_and_shows_no_empty_plots(view):
    assert view.title() == NOTHING
    assert view.cursor_signal is None
    assert not view.heat_map.isVisible()


def test_a_model_is_shown_with_its_name_range_and_pairs(view):
    view.show_model(noise_models.model("gmm"), noise_models.pairs(), "diaphragm")
    assert "diaphragm (mixture of 3 Gaussians)" in view.title()
    assert f"{noise_models.pairs().n_pairs:,} pixel pairs" in view.title()
    assert view.heat_map.isVisible()
    low, high = noise_models.pairs().signal_range
    assert low < view.cursor_signal < high


def test_a_camera_tells_gain_offset_and_read_noise(view):
    view.show_model(noise_models.model("camera"), noise_models.pairs())
    assert "grey values per electron" in view.title()
    offset = float(re.search(r"offset ([\d.]+)", view.title()).group(1))
    assert offset == pytest.approx(noise_models.SCMOS.offset, abs=2)


def test_dragging_the_cursor_changes_the_slice_and_the_words(view, qtbot):
    view.show_model(noise_models.model("gmm"), noise_models.pairs())
    with qtbot.waitSignal(view.signal_changed):
        view.heat_map._cursor.setValue(190.0)
    assert "At a signal of 190.0" in view.readout()
    assert "pixel pairs are near" in view.readout()
    assert view.slice._signal.value() == 190
    assert view.variance._signal.value() == 190


def test_the_cursor_can_be_set_from_outside(view, qtbot):
    view.set_cursor(150)  # nothing to look at yet
    view.show_model(noise_models.model("gmm"), noise_models.pairs())
    with qtbot.assertNotEmitted(view.signal_changed):
        view.set_cursor(170)
    assert view.cursor_signal == 170
    assert "170.0" in view.readout()


@pytest.mark.parametrize("kind", ["gmm", "histogram", "camera"])
def test_a_model_without_pairs_is_shown_alone(view, kind):
    view.show_model(noise_models.model(kind), None, "from a file")
    assert "pixel pairs" not in view.readout()
    assert "more probable" in view.heat_map.plotItem.titleLabel.text
    assert view.slice._shown.measured is None


def test_the_cursor_stays_when_another_model_is_shown(view):
    view.show_model(noise_models.model("gmm"), noise_models.pairs())
    view.set_cursor(180)
    view.show_model(noise_models.model("camera"), noise_models.pairs())
    assert view.cursor_signal == 180


def test_pairs_are_shown_before_there_is_a_model(view, qtbot):
    view.show_fit(PairsReady(noise_models.pairs()))
    qtbot.waitUntil(lambda: view.title() == WAITING)
    assert view.heat_map.isVisible()


def test_a_fit_moves_the_curves_and_ends_with_its_held_out_value(view, qtbot):
    events, result = noise_models.fit("gmm")
    snapshots = [e for e in events if isinstance(e, FitProgress) and e.snapshot]
    assert snapshots
    for event in events[: events.index(snapshots[0]) + 1]:
        view.show_fit(event)
    qtbot.waitUntil(lambda: view.model is snapshots[0].snapshot)
    first = view.slice._model.getData()[1].copy()
    for event in events:
        view.show_fit(event)
    qtbot.waitUntil(lambda: view.model is result.model)
    assert isinstance(events[-1], NoiseModelFitted)
    assert view.nll._held_out.value() == pytest.approx(result.held_out_nll)
    assert list(view.nll._lines) == [result.name]
    assert not np.array_equal(first, view.slice._model.getData()[1])


def test_pictures_of_a_fit_follow_at_their_own_pace(view, qtbot, monkeypatch):
    drawn = []
    monkeypatch.setattr(view.nll, "draw", lambda *_: drawn.append(1))
    events, result = noise_models.fit("gmm")
    for _ in range(20):
        for event in events:
            view.show_fit(event)
    qtbot.waitUntil(lambda: view.model is result.model)
    qtbot.wait(150)
    assert len(drawn) <= 2


def test_a_wide_view_has_the_slice_beside_the_heat_map(view):
    view.show_model(noise_models.model("gmm"), noise_models.pairs())
    assert view.slice.y() > view.heat_map.y()
    view.resize(900, 600)
    view.layout().activate()
    assert view.slice.x() > view.heat_map.x()


def test_the_theme_reaches_all_plots(view):
    view.show_model(noise_models.model("gmm"), noise_models.pairs())
    view.set_theme("light")
    backgrounds = {
        plot.backgroundBrush().color().name()
        for plot in (view.heat_map, view.slice, view.variance, view.nll)
    }
    assert len(backgrounds) == 1
    assert "darker: more pixels" in view.heat_map.plotItem.titleLabel.text
