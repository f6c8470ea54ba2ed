"""Live plots show what they are given, can be pointed at, and follow the theme."""

from __future__ import annotations

import time

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent

from napari_ppn2v.core.noise_models import curves
from napari_ppn2v.widgets.plots import (
    HeatMapPlot,
    LossPlot,
    NllPlot,
    SlicePlot,
    VariancePlot,
    plot_colours,
)
from tests.widgets import noise_models

ALL = [HeatMapPlot, SlicePlot, VariancePlot, NllPlot, LossPlot]
SECONDS_PER_UPDATE = 0.15  # of processor time; a third of it is usual


@pytest.fixture
def measured():
    return curves.measured_pairs(noise_models.pairs())


@pytest.fixture
def heat_map(qtbot, measured):
    plot = HeatMapPlot()
    qtbot.addWidget(plot)
    plot.resize(400, 220)
    plot.show()
    plot.draw_map(curves.heat_map(measured, (100.0, 240.0), (80.0, 280.0)))
    plot.set_signal(150)
    return plot


def xy(line):
    return line.getOriginalDataset()


def contrast(first, second):
    """Contrast ratio of two colours (WCAG 2)."""

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(
            parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
        )
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_colours_stand_out_from_the_background(theme):
    colours = plot_colours(theme)
    names = ("ink", "model", "measured", "accent", "cursor")
    shown = [getattr(colours, name) for name in names] + list(colours.series)
    assert all(contrast(colour, colours.background) > 3.5 for colour in shown)


@pytest.mark.parametrize("plot_type", ALL)
def test_plots_take_the_colours_of_a_new_theme(qtbot, plot_type):
    plot = plot_type(theme="dark")
    qtbot.addWidget(plot)
    plot.set_theme("light")
    assert plot.backgroundBrush().color().name() == plot_colours("light").background
    assert plot.getAxis("left").textPen().color().name() == plot_colours("light").ink


@pytest.mark.parametrize("plot_type", ALL)
def test_plots_are_modest_and_let_the_dock_scroll(qtbot, plot_type):
    plot = plot_type()
    qtbot.addWidget(plot)
    assert plot.sizeHint().width() <= 400
    assert plot.sizeHint().height() <= 220
    assert plot.accessibleName()
    assert not plot.getAxis("left").autoSIPrefix
    wheel = QWheelEvent(
        QPointF(50, 50),
        QPointF(50, 50),
        QPoint(0, 120),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    plot.wheelEvent(wheel)
    assert not wheel.isAccepted()


def test_the_heat_map_shows_pairs_on_a_logarithmic_scale(heat_map, measured):
    shown = curves.heat_map(measured, (100.0, 240.0), (80.0, 280.0))
    image = heat_map._image.image
    assert np.isnan(image[shown.counts < 0.25]).all()
    assert np.nanmax(image) == pytest.approx(np.log10(shown.counts.max()), rel=1e-4)
    assert "more pixels" in heat_map.plotItem.titleLabel.text


def test_dragging_the_cursor_tells_the_signal(heat_map, qtbot):
    with qtbot.waitSignal(heat_map.signal_changed) as told:
        heat_map._cursor.setValue(180.0)  # what pyqtgraph does while it is dragged
    assert told.args == [180.0]


def test_a_click_brings_the_cursor(heat_map, qtbot):
    place = heat_map.mapFromScene(
        heat_map.getViewBox().mapViewToScene(QPointF(200, 150))
    )
    with qtbot.waitSignal(heat_map.signal_changed):
        qtbot.mouseClick(heat_map.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert heat_map.signal == pytest.approx(200, abs=1)


def test_arrow_keys_move_the_cursor(heat_map, qtbot):
    qtbot.keyClick(heat_map, Qt.Key.Key_Right)
    assert heat_map.signal == pytest.approx(151.4)
    qtbot.keyClick(heat_map, Qt.Key.Key_Left)
    assert heat_map.signal == pytest.approx(150)


def test_setting_the_cursor_tells_nothing_and_stays_in_view(heat_map, qtbot):
    with qtbot.assertNotEmitted(heat_map.signal_changed):
        heat_map.set_signal(10_000)
    assert heat_map.signal == 240


def test_signals_outside_of_the_fit_are_shaded(heat_map):
    signals = np.linspace(100, 240, 5)
    heat_map.draw_model(signals, signals, np.full(5, 3.0), (110.0, 220.0))
    below, above = (region.getRegion() for region in heat_map._outside)
    assert below[1] == 110
    assert above[0] == 220
    np.testing.assert_allclose(xy(heat_map._upper)[1], signals + 3)


def test_a_slice_shows_measurement_model_and_gaussians(qtbot, measured):
    plot = SlicePlot()
    qtbot.addWidget(plot)
    shown = curves.slice_at(noise_models.model("gmm"), measured, 150.0)
    plot.draw(shown)
    np.testing.assert_allclose(xy(plot._model)[1], shown.density)
    total = sum(xy(line)[1] for line in plot._components)
    np.testing.assert_allclose(total, shown.density, atol=2e-3 * shown.density.max())
    assert "Gaussians" in plot.plotItem.titleLabel.text
    assert plot._signal.value() == 150


def test_a_histogram_has_no_gaussians_to_show(qtbot, measured):
    plot = SlicePlot()
    qtbot.addWidget(plot)
    plot.draw(curves.slice_at(noise_models.model("gmm"), measured, 150.0))
    plot.draw(curves.slice_at(noise_models.model("histogram"), measured, 150.0))
    assert all(len(line.getData()[0] or ()) == 0 for line in plot._components)
    assert "Gaussians" not in plot.plotItem.titleLabel.text


def test_the_logarithmic_scale_shows_the_tails(qtbot, measured):
    plot = SlicePlot()
    qtbot.addWidget(plot)
    shown = curves.slice_at(noise_models.model("camera"), measured, 150.0)
    plot.draw(shown)
    plot.set_logarithmic(True)
    np.testing.assert_allclose(xy(plot._model)[1], np.log10(shown.density))
    bottom, top = plot.viewRange()[1]
    assert bottom < np.log10(shown.density.max()) - 4
    assert plot.getAxis("left").logTickStrings([-3.0, -2.5, 0.0], 1, 1) == [
        "10⁻³",
        "",
        "1",
    ]
    assert top > bottom


def test_the_cursor_can_be_moved_smoothly(qtbot, heat_map, measured):
    plot, model = SlicePlot(), noise_models.model("gmm")
    qtbot.addWidget(plot)
    plot.show()
    plot.draw(curves.slice_at(model, measured, 150.0))
    n_items, times = len(plot.plotItem.items), []
    for signal in np.linspace(110, 230, 12):
        began = time.thread_time()
        heat_map.set_signal(signal)
        plot.draw(curves.slice_at(model, measured, float(signal)))
        plot.grab()
        times.append(time.thread_time() - began)
    assert np.median(times) < SECONDS_PER_UPDATE
    assert len(plot.plotItem.items) == n_items, "items are used again"


def test_variance_is_drawn_with_its_photon_transfer_line(qtbot, measured):
    plot = VariancePlot()
    qtbot.addWidget(plot)
    signals = np.linspace(105, 220, 9)
    variances = 3.3**2 + 2.2 * (signals - 100)
    plot.draw_measured(signals, variances, (signals, variances))
    plot.draw_model(signals, variances)
    assert "photon-transfer" in plot.plotItem.titleLabel.text
    assert plot.viewRange()[1][1] > variances.max()
    plot.draw_measured([], [], None)
    plot.draw_model(signals, variances)
    assert "photon-transfer" not in plot.plotItem.titleLabel.text


def test_each_model_tried_has_its_line_of_likelihoods(qtbot):
    plot = NllPlot()
    qtbot.addWidget(plot)
    traces = {"histogram": [(1, 3.6), (2, 3.5)], "mixture of 3 Gaussians": [(10, 3.4)]}
    plot.draw(traces)
    assert list(plot._lines) == list(traces)
    assert not plot._held_out.isVisible()
    plot.draw({**traces, "mixture of 3 Gaussians": [(10, 3.4), (20, 3.3)]}, 3.35)
    np.testing.assert_allclose(
        plot._lines["mixture of 3 Gaussians"].getData(), [[1, np.log10(20)], [3.4, 3.3]]
    )
    assert plot._held_out.isVisible()
    assert plot._held_out.value() == 3.35
    assert "held-out pixels: 3.3500" in plot.plotItem.titleLabel.text
    plot.draw({})
    assert not plot._lines


CURVE = [(50, 9.0, 8.0), (100, 2.0, 2.5), (150, 1.5, 2.0), (200, 1.2, 2.2)]


@pytest.fixture
def losses(qtbot):
    plot = LossPlot()
    qtbot.addWidget(plot)
    return plot


def test_stages_follow_each_other_on_one_axis(losses):
    losses.show({"n2v": CURVE, "refinement 1": CURVE})
    steps, _ = xy(losses._validation)
    steps = steps[np.isfinite(steps)]
    assert steps.tolist() == [50, 100, 150, 200, 250, 300, 350, 400]
    names = [item.toPlainText().split("\n")[0] for item in losses._words]
    assert names == ["Noise2Void", "refinement 1"]


def test_the_best_of_each_stage_is_marked_with_its_value(losses):
    losses.show({"n2v": CURVE, "pn2v": CURVE[:2]})
    assert xy(losses._best)[0].tolist() == [150, 300]
    words = [item.toPlainText() for item in losses._words]
    assert words == ["Noise2Void\n2", "with noise model\n2.5"]


def test_losses_of_different_units_share_the_axis(losses):
    losses.show({"n2v": CURVE, "pn2v": [(s, 1e4 * t, 1e4 * v) for s, t, v in CURVE]})
    values = xy(losses._validation)[1]
    np.testing.assert_allclose(values[:4], values[5:9])


@pytest.mark.parametrize(
    "curves_", [{}, {"n2v": []}, {"n2v": CURVE[:1]}, {"n2v": [(1, np.nan, np.nan)]}]
)
def test_shortest_curves_are_shown(losses, curves_):
    losses.show(curves_)
    losses.grab()


def test_fewer_stages_than_before_leave_no_names_behind(losses):
    losses.show({"n2v": CURVE, "pn2v": CURVE})
    losses.show({"n2v": CURVE})
    assert [item.isVisible() for item in losses._words] == [True, False]
    assert not any(line.isVisible() for line in losses._borders)


def test_without_curves_show_is_that_of_any_widget(losses):
    losses.show()
    assert losses.isVisible()
