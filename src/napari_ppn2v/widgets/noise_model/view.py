"""A noise model to look at: pairs, cursor, slice, strength of the noise, its fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QSizePolicy,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.session.state import Fit, RunState, advance
from napari_ppn2v.widgets.noise_model.words import cursor_words, model_words
from napari_ppn2v.widgets.parts.basics import WrappedLabel
from napari_ppn2v.widgets.plots import HeatMapPlot, NllPlot, SlicePlot, VariancePlot

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.curves import Frame, MeasuredPairs
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event

_SIDE_BY_SIDE = 760  # pixels of width from which there are two columns
_HIGHEST_PLOT = 300  # pixels
_NARROWEST_TEXT = 280  # pixels; narrower lines would ask for a very high view
_REDRAW_MS = 300  # between two pictures of a model that is being fitted

NOTHING = "No noise model yet. Fit one, or choose one that is saved."
WAITING = "The noise model is being fitted to these pairs."


class NoiseModelView(QWidget):
    """Shows one noise model and the pairs it was fitted to, or its fit while it runs.

    Signals
    -------
    signal_changed(float)
        The user moved the cursor; grey values.
    """

    signal_changed = Signal(float)

    def __init__(self, *, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model: NoiseModel | None = None
        self._pairs: PairHistogram | None = None
        self._measured: MeasuredPairs | None = None
        self._frame: Frame | None = None
        self._drawn: object = None  # the pairs or model that the heat map shows
        self._state = RunState()
        self._shown_fit = Fit()
        self._name = ""
        self._title, self._readout = WrappedLabel(NOTHING), WrappedLabel()
        self.heat_map = HeatMapPlot(theme=theme)
        self.slice = SlicePlot(theme=theme)
        self.variance = VariancePlot(theme=theme)
        self.nll = NllPlot(theme=theme)
        self.logarithmic = QCheckBox("Logarithmic scale (shows the tails)")
        self.tabs = QTabWidget()
        self.tabs.addTab(self.variance, "Strength of the noise")
        self.tabs.addTab(self.nll, "During the fit")
        self.tabs.setDocumentMode(True)
        self.tabs.setMaximumHeight(_HIGHEST_PLOT)
        # not expanding, which would leave gaps between the blocks
        self.tabs.setSizePolicy(
            QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred
        )
        for label in (self._title, self._readout):
            label.setMinimumWidth(_NARROWEST_TEXT)
        for plot in (self.heat_map, self.slice):
            plot.setMaximumHeight(_HIGHEST_PLOT)
        # what is left over in a dock belongs below, not between the plots
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self._turning = self._lay_out()
        self.heat_map.signal_changed.connect(self._on_cursor)
        self.logarithmic.toggled.connect(self.slice.set_logarithmic)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_REDRAW_MS)
        self._timer.timeout.connect(self._draw_fit)
        self._show_plots()

    def _lay_out(self) -> QBoxLayout:
        """Place all parts; returns what turns with the width there is."""
        turning = QBoxLayout(QBoxLayout.Direction.TopToBottom)
        for parts in ((self.heat_map, self._readout), (self.slice, self.logarithmic)):
            block = QVBoxLayout()
            for part in parts:
                block.addWidget(part)
            turning.addLayout(block)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self._title)
        column.addLayout(turning)
        column.addWidget(self.tabs)
        return turning

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Put the slice beside the heat map where there is room, else below."""
        super().resizeEvent(event)
        is_wide = self.width() >= _SIDE_BY_SIDE
        wanted = QBoxLayout.Direction
        for place in range(self._turning.count()):
            self._turning.setStretch(place, int(is_wide))
        self._turning.setDirection(
            wanted.LeftToRight if is_wide else wanted.TopToBottom
        )

    # -- what is shown ----------------------------------------------------------------

    @property
    def model(self) -> NoiseModel | None:
        """The noise model shown."""
        return self._model

    @property
    def cursor_signal(self) -> float | None:
        """Where the cursor is, grey values; None while there is nothing to look at."""
        return self.heat_map.signal if self.heat_map.has_cursor else None

    def readout(self) -> str:
        """Return what is said about the signal at the cursor."""
        return self._readout.text()

    def title(self) -> str:
        """Return what is said about the model."""
        return self._title.text()

    def set_theme(self, theme: str) -> None:
        """Take the colours of one of napari's themes."""
        for plot in (self.heat_map, self.slice, self.variance, self.nll):
            plot.set_theme(theme)

    def show_model(
        self, model: NoiseModel, pairs: PairHistogram | None = None, name: str = ""
    ) -> None:
        """Show a finished noise model.

        Parameters
        ----------
        pairs
            What it was fitted to; None shows the model alone.
        """
        self._name = name
        self._set_pairs(pairs)
        self._model = model
        self._draw_all()

    def show_fit(self, event: Event) -> None:
        """Take note of an event of a fit; others are passed over."""
        self._state = advance(self._state, event, 0.0)
        self.show_fit_state(self._state.fit)

    def show_fit_state(self, fit: Fit) -> None:
        """Show how far a fit is: pairs, the model as it is now, its likelihood.

        Events come faster than can be drawn, so pictures follow at their own pace.
        """
        self._state = RunState(fit=fit)
        if fit is not self._shown_fit and not self._timer.isActive():
            self._timer.start()

    def _draw_fit(self) -> None:
        fit, before = self._state.fit, self._shown_fit
        self._shown_fit = fit
        is_begun = fit.pairs is not None and fit.pairs is not before.pairs
        if is_begun:
            self._name, self._model = "", None
            self._set_pairs(fit.pairs)
            self.tabs.setCurrentWidget(self.nll)
        if fit.snapshot is not None and fit.snapshot is not before.snapshot:
            self._model = fit.snapshot
            self._draw_all()
        elif is_begun:
            self._draw_all()
        is_done = fit.model is not None
        self.nll.draw(dict(fit.traces), fit.held_out_nll if is_done else None)

    def show_traces(
        self, traces: dict[str, Any], held_out_nll: float | None = None
    ) -> None:
        """Show the likelihoods of a fit that is over."""
        self.nll.draw(traces, held_out_nll)

    def set_cursor(self, signal: float) -> None:
        """Move the cursor to a signal (grey values), as near as the plot reaches."""
        if not self.heat_map.has_cursor:
            return
        self.heat_map.set_signal(signal)
        self._draw_slice()

    # -- drawing ----------------------------------------------------------------------

    def _set_pairs(self, pairs: PairHistogram | None) -> None:
        from napari_ppn2v.core.noise_models.curves import measured_pairs

        if pairs is not self._pairs or pairs is None:
            self._pairs, self._measured = pairs, measured_pairs(pairs)
            self._drawn = None

    def _show_plots(self) -> None:
        """Show plots only once there is something in them."""
        has_any = self._model is not None or self._measured is not None
        parts = (self.heat_map, self._readout, self.slice, self.logarithmic, self.tabs)
        for part in parts:
            part.setVisible(has_any)

    def _draw_all(self) -> None:
        self._show_plots()
        self._write_title()
        self._draw_map()
        if self._model is None:
            self._readout.setText("")
            return
        self._draw_model()
        self._draw_slice()

    def _write_title(self) -> None:
        if self._model is None:
            self._title.setText(NOTHING if self._pairs is None else WAITING)
            return
        self._title.setText(model_words(self._model, self._pairs, self._name))

    def _draw_map(self) -> None:
        from napari_ppn2v.core.noise_models import curves

        if self._measured is None and self._model is None:
            return
        shown = curves.frame_for(self._model, self._measured)
        subject = self._measured or self._model
        if shown == self._frame and subject is self._drawn:
            return
        self._frame, self._drawn = shown, subject
        if self._measured is not None:
            counted = curves.heat_map(self._measured, shown.signals, shown.observations)
        else:
            assert self._model is not None
            counted = curves.density_map(self._model, shown.signals, shown.observations)
        is_new = not self.heat_map.has_cursor
        self.heat_map.draw_map(counted, is_density=self._measured is None)
        low, high = shown.signals
        if is_new or not low < self.heat_map.signal < high:
            middle = curves.middle_signal(self._model, self._measured)
            self.heat_map.set_signal(middle)

    def _draw_model(self) -> None:
        from napari_ppn2v.core.noise_models import curves

        assert self._model is not None
        assert self._frame is not None
        signals, mean, sd = curves.mean_and_sd(self._model, self._frame.signals)
        self.heat_map.draw_model(signals, mean, sd, self._model.signal_range)
        if self._measured is None:
            self.variance.draw_measured([], [], None)
        else:
            transfer = self._measured.transfer
            line = None if transfer is None else transfer.variance(signals)
            self.variance.draw_measured(
                *curves.variance_curve(self._measured.cells, self._frame.signals),
                None if line is None else (signals, line),
            )
        self.variance.draw_model(signals, sd**2)

    def _draw_slice(self) -> None:
        from napari_ppn2v.core.noise_models import curves

        signal = self.cursor_signal
        if self._model is None or signal is None:
            return
        shown = curves.slice_at(self._model, self._measured, signal)
        self.slice.draw(shown)
        self.variance.set_signal(signal)
        self._readout.setText(cursor_words(shown, has_pairs=self._measured is not None))

    def _on_cursor(self, signal: float) -> None:
        self._draw_slice()
        self.signal_changed.emit(signal)
