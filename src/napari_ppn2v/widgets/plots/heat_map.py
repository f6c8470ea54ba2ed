"""All pairs of signal and observation, with the model over them and a cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QRectF, QSize, Qt, Signal

# isort: split
import pyqtgraph as pg

from napari_ppn2v.widgets.plots.base import DASHES, LINE, Key, Plot

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QMouseEvent

    from napari_ppn2v.core.noise_models.curves import HeatMap

    Floats = NDArray[np.float64]

_KEY_STEP = 0.01  # of the signals shown
_DECADES = 4  # of a density that are shown


class HeatMapPlot(Plot):
    """Observed against noise-free signal, on a logarithmic scale of colour.

    The vertical cursor is moved with the mouse, by a click or by the arrow keys;
    `signal_changed` then tells its place in grey values.
    """

    signal_changed = Signal(float)

    def __init__(self, *, theme: str = "dark", parent: Any = None) -> None:
        super().__init__(
            "noise-free signal (grey values)",
            "observed (grey values)",
            theme=theme,
            description="Observed value against noise-free signal, with movable cursor",
            parent=parent,
        )
        self.setToolTip(
            "<qt>Each column shows which values the camera reads for one noise-free "
            "signal. Drag the vertical line, click, or use the arrow keys to choose "
            "the signal that is looked at below.</qt>"
        )
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._image = pg.ImageItem(axisOrder="row-major")
        self._image.setZValue(-10)
        self.addItem(self._image)
        self._mean = self._line()
        self._upper = self._line()
        self._lower = self._line()
        self._outside = [
            pg.LinearRegionItem(values=(0, 0), movable=False) for _ in range(2)
        ]
        for region in self._outside:
            region.setZValue(5)
            for line in region.lines:
                line.setPen(pg.mkPen(None))
            self.addItem(region)
        self._cursor = pg.InfiniteLine(
            angle=90,
            movable=True,
            label="{value:.0f}",
            labelOpts={"position": 0.06, "anchors": [(0, 0.5), (1, 0.5)]},
        )
        self._cursor.setZValue(20)
        self._cursor.hide()
        self._cursor.sigPositionChanged.connect(self._on_moved)
        self._counted: float | None = None
        self._is_told = False  # the cursor is set by the program, not by the user
        self.addItem(self._cursor)
        self._recolour()

    def sizeHint(self) -> QSize:
        """Ask for a little more than the other plots."""
        return QSize(380, 210)

    @property
    def signal(self) -> float:
        """Where the cursor is, ADU."""
        return float(self._cursor.value())

    @property
    def has_cursor(self) -> bool:
        """Whether there is something to look at."""
        return bool(self._cursor.isVisible())

    def draw_map(self, shown: HeatMap, *, is_density: bool = False) -> None:
        """Show numbers of pairs, or where there are none the model's density."""
        counts = np.asarray(shown.counts, float)
        top = float(counts.max())
        if is_density:
            low, high = np.log10(top) - _DECADES, np.log10(max(top, 1e-300))
            values = np.log10(np.maximum(counts, 10**low))
        else:
            low, high = 0.0, np.log10(max(top, 10.0))
            values = np.log10(np.maximum(counts, 1.0))
            values[counts < 0.25] = np.nan  # nothing there: transparent
        x, y = shown.signal_edges, shown.observation_edges
        self._image.setImage(
            values.astype(np.float32), autoLevels=False, levels=(low, high)
        )
        self._image.setRect(QRectF(x[0], y[0], x[-1] - x[0], y[-1] - y[0]))
        self.setXRange(x[0], x[-1], padding=0)
        self.setYRange(y[0], y[-1], padding=0)
        self._cursor.setBounds((x[0], x[-1]))
        self._cursor.show()
        self._counted = None if is_density else top
        self._say()

    def _say(self) -> None:
        """Explain colours and lines."""
        shade = "brighter" if self.colours.is_dark else "darker"
        note = ""
        if self.has_cursor:
            more = "more probable"
            if self._counted is not None:
                more = f"more pixels (up to {self._counted:,.0f})"
            note = f"{shade}: {more}\ngrey sides: outside of the fit"
        self._set_key(
            Key(LINE, "model", "mean of the model"),
            Key(DASHES, "model", "± 1 standard deviation"),
            note=note,
        )

    def draw_model(
        self,
        signals: Floats,
        mean: Floats,
        sd: Floats,
        signal_range: tuple[float, float],
    ) -> None:
        """Show mean and standard deviation, and which signals the fit has covered."""
        self._mean.setData(signals, mean)
        self._upper.setData(signals, mean + sd)
        self._lower.setData(signals, mean - sd)
        width = 10 * (signals[-1] - signals[0])
        low, high = signal_range
        self._outside[0].setRegion((low - width, low))
        self._outside[1].setRegion((high, high + width))

    def set_signal(self, signal: float) -> None:
        """Move the cursor without telling of a change."""
        self._is_told = True
        try:
            self._cursor.setValue(signal)
        finally:
            self._is_told = False

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move the cursor with the arrow keys."""
        moves = {Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1}
        if event is None or event.key() not in moves or not self.has_cursor:
            super().keyPressEvent(event)
            return
        (low, high), _ = self.viewRange()
        step = _KEY_STEP * (high - low) * moves[Qt.Key(event.key())]
        self._cursor.setValue(self.signal + step)
        event.accept()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Bring the cursor to where the mouse is pressed; it can be dragged on."""
        if (
            event is not None
            and event.button() == Qt.MouseButton.LeftButton
            and self.has_cursor
        ):
            place = self.getViewBox().mapSceneToView(event.position())
            (low, high), _ = self.viewRange()
            if low <= place.x() <= high:
                self._cursor.setValue(place.x())
        super().mousePressEvent(event)

    def _on_moved(self) -> None:
        if not self._is_told:
            self.signal_changed.emit(self.signal)

    def _recolour(self) -> None:
        super()._recolour()
        colours = self.colours
        self._image.setLookupTable(colours.lookup_table())
        self._mean.setPen(self._pen(colours.model, 1.6))
        for line in (self._upper, self._lower):
            line.setPen(self._pen(colours.model, 1.2, Qt.PenStyle.DashLine))
        shade = pg.mkColor(colours.faint)
        shade.setAlpha(90)
        for region in self._outside:
            region.setBrush(shade)
        self._cursor.setPen(self._pen(colours.cursor, 1.6))
        self._cursor.setHoverPen(self._pen(colours.cursor, 3))
        ground = pg.mkColor(colours.background)
        self._cursor.label.setColor(colours.ink)
        self._cursor.label.fill = pg.mkBrush(ground)
        self._say()
