"""Strength of the noise against signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

# isort: split
import pyqtgraph as pg

from napari_ppn2v.widgets.plots.base import DOT, DOTS, LINE, Key, Plot

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_DOT = 6  # pixels


class VariancePlot(Plot):
    """Variance of the pairs, of the model, and the photon-transfer line."""

    def __init__(self, *, theme: str = "dark", parent: Any = None) -> None:
        super().__init__(
            "noise-free signal (grey values)",
            "variance (grey values²)",
            theme=theme,
            description="Variance of the noise against the noise-free signal",
            parent=parent,
        )
        self.setToolTip(
            "<qt>How strong the noise is at each signal. For a camera that counts "
            "photons it is a straight line: its slope is the gain (twice the gain for "
            "EMCCD), and where it ends at the left, without light, is the read noise."
            "</qt>"
        )
        self._measured = self.plot([], [], pen=None, symbol="o", symbolSize=_DOT)
        self._model = self._line()
        self._transfer = self._line()
        self._signal = pg.InfiniteLine(angle=90, movable=False)
        self.addItem(self._signal)
        self._signal.hide()
        self._top_measured = 0.0
        self._recolour()

    def draw_measured(
        self,
        signals: ArrayLike,
        variances: ArrayLike,
        line: tuple[Floats, Floats] | None,
    ) -> None:
        """Show variances (ADU²) of the pairs, and their photon-transfer line."""
        signals, variances = np.asarray(signals, float), np.asarray(variances, float)
        self._measured.setData(signals, variances)
        self._transfer.setData(*(line or ([], [])))
        key = [Key(LINE, "model", "model")]
        if len(variances):
            key.insert(0, Key(DOT, "measured", "measured"))
        if line is not None:
            key.append(Key(DOTS, "accent", "photon-transfer line"))
        self._set_key(*key)
        self._top_measured = (
            float(np.quantile(variances, 0.95)) if len(variances) else 0.0
        )

    def draw_model(self, signals: Floats, variances: Floats) -> None:
        """Show the variance of the model; sets the range of both axes."""
        self._model.setData(signals, variances)
        self.setXRange(signals[0], signals[-1], padding=0)
        top = max(float(variances.max()), self._top_measured, 1e-12)
        self.setYRange(0, 1.15 * top, padding=0)

    def set_signal(self, signal: float) -> None:
        """Mark the signal that is looked at."""
        self._signal.setValue(signal)
        self._signal.show()

    def _recolour(self) -> None:
        super()._recolour()
        colours = self.colours
        self._measured.setSymbolBrush(colours.measured)
        self._measured.setSymbolPen(None)
        self._model.setPen(self._pen(colours.model, 2))
        self._transfer.setPen(self._pen(colours.accent, 1.6, Qt.PenStyle.DotLine))
        self._signal.setPen(self._pen(colours.cursor, 1))
