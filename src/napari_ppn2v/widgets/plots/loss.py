"""Losses of all stages of a training, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt

# isort: split
import pyqtgraph as pg

from napari_ppn2v.widgets.plots.base import LINE, RING, Key, Plot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Curve = Sequence[tuple[int, float, float]]

STAGE_NAMES = {
    "n2v": "Noise2Void",
    "pn2v": "with noise model",
    "refinement": "refinement",
}
_RING = 11  # pixels
_HIGHEST = 1.05  # where the steep start of a curve is cut, below the words
_TOP = 1.8  # room for the names of the stages and their best losses
_BOTTOM = -0.12


class LossPlot(Plot):
    """Training and validation losses against step; the best of each stage is marked.

    The losses of the stages have different units, so each is drawn on its own scale,
    from its best value at the bottom to its usual ones after the steep start.
    """

    def __init__(self, *, theme: str = "dark", parent: Any = None) -> None:
        super().__init__(
            "training step",
            "loss (lower is better)",
            theme=theme,
            description="Training and validation loss of each stage, lower is better",
            parent=parent,
        )
        self.setToolTip(
            "<qt>How well the network does on the pixels it is trained on, and on "
            "pixels kept apart (validation). Both should fall and level off. Each "
            "stage has a scale of its own; the ring marks the best weights, which are "
            "kept.</qt>"
        )
        self.getAxis("left").setTicks([])
        self.getAxis("left").setWidth(24)
        self._set_key(
            Key(LINE, "measured", "training"),
            Key(LINE, "model", "validation"),
            Key(RING, "ink", "best, kept"),
        )
        self._training = self._line()
        self._validation = self._line()
        self._best = self.plot([], [], pen=None, symbol="o")
        self._best.setSymbolSize(_RING)
        self._borders: list[Any] = []
        self._words: list[Any] = []
        self.setYRange(_BOTTOM, _TOP, padding=0)
        self._recolour()

    def show(self, curves: Mapping[str, Curve] | None = None) -> None:
        """Show curves, or with nothing given the widget itself (as QWidget.show).

        Parameters
        ----------
        curves
            Stage -> sequence of (step, training loss, validation loss).
        """
        if curves is None:
            super().show()
            return
        self.draw(curves)

    def draw(self, curves: Mapping[str, Curve]) -> None:
        """Show the losses of each stage, in the order given."""
        pieces, best, words, starts, start = [], [], [], [0.0], 0.0
        for stage, curve in curves.items():
            points = np.asarray(curve, float).reshape(-1, 3)
            x = start + points[:, 0]
            training, validation, lowest = _on_one_scale(points)
            cut = (np.minimum(losses, _HIGHEST) for losses in (training, validation))
            pieces.append((x, *cut))
            words.append((start, _stage_name(stage)))
            if lowest is not None:
                place = int(np.nanargmin(points[:, 2]))
                best.append((x[place], min(validation[place], _HIGHEST)))
                words[-1] = (start, f"{words[-1][1]}\n{lowest:.4g}")
            start = float(x[-1]) if len(x) else start
            starts.append(start)
        for line, column in ((self._training, 1), (self._validation, 2)):
            line.setData(
                *_joined([(p[0], p[column]) for p in pieces]), connect="finite"
            )
        self._best.setData([b[0] for b in best], [b[1] for b in best])
        self._fill(self._words, words)
        self._divide(starts[1:-1])
        self.setXRange(0, max(start, 1.0), padding=0.02)

    def _divide(self, borders: list[float]) -> None:
        """Draw a line between one stage and the next."""
        while len(self._borders) < len(borders):
            line = pg.InfiniteLine(angle=90, movable=False)
            line.setPen(self._pen(self.colours.faint, 1, Qt.PenStyle.DashLine))
            self._borders.append(line)
            self.addItem(line)
        for place, line in enumerate(self._borders):
            line.setVisible(place < len(borders))
            if place < len(borders):
                line.setValue(borders[place])

    def _fill(self, items: list[Any], texts: list[tuple[float, str]]) -> None:
        """Write texts above the curves, each from a step on."""
        while len(items) < len(texts):
            item = pg.TextItem(color=self.colours.ink, anchor=(0, 0))
            font = item.textItem.font()
            font.setPointSize(8)
            item.setFont(font)
            items.append(item)
            self.addItem(item, ignoreBounds=True)
        for place, item in enumerate(items):
            item.setVisible(place < len(texts))
            if place < len(texts):
                x, text = texts[place]
                item.setText(text)
                item.setPos(x, _TOP)

    def _recolour(self) -> None:
        super()._recolour()
        colours = self.colours
        self._training.setPen(self._pen(colours.measured, 1.3))
        self._validation.setPen(self._pen(colours.model, 2))
        self._best.setSymbolPen(self._pen(colours.ink, 1.5))
        self._best.setSymbolBrush(None)
        for line in self._borders:
            line.setPen(self._pen(colours.faint, 1, Qt.PenStyle.DashLine))
        for item in self._words:
            item.setColor(colours.ink)


def _stage_name(stage: str) -> str:
    """Return "Noise2Void, longer 2" for "n2v, longer 2"."""
    known = next((name for name in STAGE_NAMES if stage.startswith(name)), "")
    return STAGE_NAMES.get(known, "") + stage.removeprefix(known)


def _on_one_scale(points: Floats) -> tuple[Floats, Floats, float | None]:
    """Losses from 0 at the best validation to 1 at the worst after the start."""
    training, validation = points[:, 1], points[:, 2]
    if not np.isfinite(validation).any():
        return training * np.nan, validation * np.nan, None
    late = points[len(points) // 5 :, 1:]
    finite = late[np.isfinite(late)]
    lowest = float(np.nanmin(validation))
    low = float(min(finite.min(), lowest)) if len(finite) else lowest
    high = float(finite.max()) if len(finite) else lowest
    height = max(high - low, 1e-9 * max(abs(low), 1.0))
    return (training - low) / height, (validation - low) / height, lowest


def _joined(pieces: list[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """One curve of all pieces, with gaps between them."""
    gap = np.array([np.nan])
    parts = [(np.append(x, gap), np.append(y, gap)) for x, y in pieces]
    if not parts:
        return np.zeros(0), np.zeros(0)
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
