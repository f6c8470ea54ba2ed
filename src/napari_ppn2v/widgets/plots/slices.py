"""The distribution of the observations at one signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

# isort: split
import pyqtgraph as pg

from napari_ppn2v.widgets.plots.base import AREA, DASHES, DOTS, LINE, Key, Plot

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.curves import Slice

_DECADES = 5  # shown on the logarithmic scale
_LINEAR = "share per grey value"
_LOGARITHMIC = "share (logarithmic)"


class SlicePlot(Plot):
    """Histogram of the pairs near a signal, the model, and its Gaussians."""

    def __init__(self, *, theme: str = "dark", parent: Any = None) -> None:
        super().__init__(
            "observed (grey values)",
            _LINEAR,
            theme=theme,
            description="Distribution of the observed values at the chosen signal",
            parent=parent,
        )
        self.setToolTip(
            "<qt>Which values the camera reads at the signal of the cursor: measured "
            "(filled), and according to the noise model (line). Dashed: the Gaussians "
            "that the model is made of. Dotted: the noise-free signal.</qt>"
        )
        self._shown: Slice | None = None
        self._is_logarithmic = False
        self._measured = self.plot([], [])
        self._model = self._line()
        self._components: list[Any] = []
        self._signal = pg.InfiniteLine(angle=90, movable=False)
        self.addItem(self._signal)
        self._signal.hide()
        self._recolour()

    @property
    def is_logarithmic(self) -> bool:
        """Whether the densities are shown on a logarithmic scale."""
        return self._is_logarithmic

    def set_logarithmic(self, is_logarithmic: bool) -> None:
        """Choose the scale; the logarithmic one shows the tails."""
        self._is_logarithmic = is_logarithmic
        self.getAxis("left").setLogMode(x=False, y=is_logarithmic)
        self._set_y_label(_LOGARITHMIC if is_logarithmic else _LINEAR)
        if self._shown is not None:
            self.draw(self._shown)

    def draw(self, shown: Slice) -> None:
        """Show one slice."""
        self._shown = shown
        top = max(shown.highest, 1e-12)
        floor = top * 10.0**-_DECADES
        bottom = np.log10(floor) if self._is_logarithmic else 0.0
        self._draw_measured(shown, floor, bottom)
        self._model.setData(shown.observations, self._scaled(shown.density, floor))
        self._draw_components(shown, floor)
        self._say(shown)
        self._signal.setValue(shown.signal)
        self._signal.show()
        self.setXRange(*shown.shown_range, padding=0)
        upper = np.log10(3 * top) if self._is_logarithmic else 1.15 * top
        self.setYRange(bottom, upper, padding=0)

    def _say(self, shown: Slice) -> None:
        """Explain what is there."""
        key = [
            Key(AREA, "measured", "measured"),
            Key(LINE, "model", "model"),
            Key(DASHES, "accent", "its Gaussians"),
            Key(DOTS, "ink", "signal"),
        ]
        is_there = (shown.measured is not None, True, len(shown.components) > 0, True)
        self._set_key(*(k for k, is_so in zip(key, is_there, strict=True) if is_so))

    def _draw_measured(self, shown: Slice, floor: float, bottom: float) -> None:
        if shown.measured is None or shown.edges is None:
            self._measured.setData([], [], stepMode=None, fillLevel=None)
            return
        self._measured.setData(
            shown.edges,
            self._scaled(shown.measured, floor),
            stepMode="center",
            fillLevel=bottom,
        )

    def _draw_components(self, shown: Slice, floor: float) -> None:
        while len(self._components) < len(shown.components):
            self._components.append(self._line())
            self._recolour_components()
        for place, line in enumerate(self._components):
            if place < len(shown.components):
                values = self._scaled(shown.components[place], floor)
                line.setData(shown.observations, values)
            else:
                line.setData([], [])

    def _scaled(self, density: np.ndarray, floor: float) -> np.ndarray:
        if not self._is_logarithmic:
            return density
        # far below the axis: the line leaves the picture instead of following its rim
        return np.log10(np.maximum(density, 1e-6 * floor))

    def _recolour(self) -> None:
        super()._recolour()
        colours = self.colours
        fill = pg.mkColor(colours.measured)
        fill.setAlpha(90)
        self._measured.setPen(self._pen(colours.measured, 1))
        self._measured.setFillBrush(fill)
        self._model.setPen(self._pen(colours.model, 2))
        self._signal.setPen(self._pen(colours.ink, 1, Qt.PenStyle.DotLine))
        self._recolour_components()

    def _recolour_components(self) -> None:
        for line in self._components:
            line.setPen(self._pen(self.colours.accent, 1.2, Qt.PenStyle.DashLine))
