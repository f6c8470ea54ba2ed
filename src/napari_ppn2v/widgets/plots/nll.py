"""Negative log-likelihood while noise models are fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

# isort: split
import pyqtgraph as pg

from napari_ppn2v.widgets.plots.base import LINE, Key, Plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Trace = Sequence[tuple[int, float]]

_SYMBOLS = ("o", "s", "t1", "d", "p", "star")
_SIGNS = ("●", "■", "▲", "◆", "⬟", "★")


class NllPlot(Plot):
    """One line for each model tried, lower is better; the result at the end."""

    def __init__(self, *, theme: str = "dark", parent: Any = None) -> None:
        super().__init__(
            "iteration (logarithmic)",
            "nats per pixel",
            theme=theme,
            description="Negative log-likelihood during the fit, lower is better",
            parent=parent,
        )
        self.setToolTip(
            "<qt>Negative log-likelihood of the pairs under each model tried. Lower is "
            "better: the model finds the observations more probable.</qt>"
        )
        self.getAxis("bottom").setLogMode(x=True, y=False)
        self._lines: dict[str, Any] = {}
        self._held_out = pg.InfiniteLine(angle=0, movable=False)
        self._held_out.hide()
        self.addItem(self._held_out)
        self._recolour()

    def draw(
        self, traces: Mapping[str, Trace], held_out_nll: float | None = None
    ) -> None:
        """Show (iteration, nats per pixel) of each model, and that of the result.

        Parameters
        ----------
        held_out_nll
            Of the chosen model, on pixels kept apart; None while it is not known.
        """
        for name in [name for name in self._lines if name not in traces]:
            self.removeItem(self._lines.pop(name))
        for name, trace in traces.items():
            if name not in self._lines:
                self._lines[name] = self.plot([], [], symbolSize=5)
            points = np.asarray(trace, float).reshape(-1, 2)
            points = points[np.isfinite(points[:, 1])]
            self._lines[name].setData(
                np.log10(np.maximum(points[:, 0], 1)), points[:, 1]
            )
        self._held_out.setVisible(held_out_nll is not None)
        if held_out_nll is not None:
            self._held_out.setValue(held_out_nll)
        self._recolour_lines()
        self._set_ranges(held_out_nll)

    def _set_ranges(self, held_out_nll: float | None) -> None:
        drawn = [line.getData() for line in self._lines.values()]
        drawn = [(x, y) for x, y in drawn if x is not None and len(x)]
        if not drawn:
            return
        self.setXRange(0, max(1.0, *(float(x[-1]) for x, _ in drawn)), padding=0.03)
        # without the steep first steps, which would flatten all the rest
        late = np.concatenate([y[len(y) // 4 :] for _, y in drawn])
        values = late if held_out_nll is None else np.append(late, held_out_nll)
        low, high = float(values.min()), float(values.max())
        margin = max(0.1 * (high - low), 1e-3)
        self.setYRange(low - margin, high + 6 * margin, padding=0)

    def _recolour(self) -> None:
        super()._recolour()
        self._recolour_lines()
        self._held_out.setPen(self._pen(self.colours.ink, 1))

    def _recolour_lines(self) -> None:
        series, key = self.colours.series, []
        for place, (name, line) in enumerate(self._lines.items()):
            colour = series[place % len(series)]
            line.setPen(self._pen(colour, 1.6))
            line.setSymbol(_SYMBOLS[place % len(_SYMBOLS)])
            line.setSymbolBrush(colour)
            line.setSymbolPen(None)
            key.append(Key(_SIGNS[place % len(_SIGNS)], colour, _short(name)))
        if self._held_out.isVisible():
            words = f"chosen, on held-out pixels: {self._held_out.value():.4f}"
            key.append(Key(LINE, "ink", words))
        self._set_key(*key)


def _short(name: str) -> str:
    """Name a model in few letters: of mixtures what tells them apart."""
    return (
        name.partition(" (")[0]
        .removeprefix("mixture of ")
        .replace(" coefficients", " coeff.")
        .replace(" coefficient", " coeff.")
    )
