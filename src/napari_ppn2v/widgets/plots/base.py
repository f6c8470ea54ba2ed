"""What all plots share: axes in plain words, theme, modest size, no surprises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# qtpy first: pyqtgraph takes the binding that is there already
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QSizePolicy, QWidget

# isort: split
import pyqtgraph as pg

from napari_ppn2v.widgets.plots.theme import PlotColours, plot_colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QWheelEvent

_LEFT_AXIS = 54  # pixels, equal in all plots so that they line up
_SMALL = "8pt"
_LINE_LENGTH = 52  # letters of the key per line
_LINE_HEIGHT = 14  # pixels

LINE, DASHES, DOTS, DOT, RING, AREA = "━━", "╍╍", "┅┅", "●", "○", "▆▆"
"""Signs of the key above a plot."""


@dataclass(frozen=True)
class Key:
    """One entry of the key above a plot: a sign, the name of its colour, the words.

    `colour` is an attribute of `PlotColours`, or a colour itself.
    """

    sign: str
    colour: str
    text: str


class _Axis(pg.AxisItem):
    """An axis that writes powers of ten in one way."""

    def logTickStrings(
        self, values: Sequence[float], scale: float, spacing: float
    ) -> list[str]:
        """Write 1, 10, 100 and 10⁻¹, 10⁻²; nothing between them."""
        return [_power(float(value)) for value in values]


def _power(exponent: float) -> str:
    if abs(exponent - round(exponent)) > 1e-6:
        return ""
    if 0 <= round(exponent) <= 4:
        return str(10 ** round(exponent))
    digits = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    return "10" + str(round(exponent)).translate(digits)


class Plot(pg.PlotWidget):
    """A plot of fixed view that scrolls with its dock and follows the theme.

    Parameters
    ----------
    x_label, y_label : with their units
    theme : name of one of napari's
    description : what is shown, for screen readers
    """

    def __init__(
        self,
        x_label: str,
        y_label: str,
        *,
        theme: str = "dark",
        description: str = "",
        parent: QWidget | None = None,
    ) -> None:
        axes = {name: _Axis(name) for name in ("bottom", "left")}
        super().__init__(parent=parent, axisItems=axes)
        self._labels = {"bottom": x_label, "left": y_label}
        self._key: tuple[Key, ...] = ()
        self._note = ""
        self.colours: PlotColours = plot_colours(theme)
        self.setAccessibleName(description)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setMinimumSize(180, 130)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.setMouseEnabled(x=False, y=False)
        self.getViewBox().disableAutoRange()
        for name in ("bottom", "left"):
            axis = self.getAxis(name)
            axis.enableAutoSIPrefix(False)
            axis.setStyle(tickLength=-4, autoExpandTextSpace=False, tickTextOffset=3)
        self.getAxis("left").setWidth(_LEFT_AXIS)

    def sizeHint(self) -> QSize:
        """Ask for little room; pyqtgraph's own hint takes half of the window."""
        return QSize(380, 180)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Let the dock scroll."""
        if event is not None:
            event.ignore()

    def set_theme(self, theme: str) -> None:
        """Take the colours of one of napari's themes."""
        self.colours = plot_colours(theme)
        self._recolour()

    def _recolour(self) -> None:
        """Apply the colours; plots extend this by their own items."""
        colours = self.colours
        self.setBackground(colours.background)
        for name, text in self._labels.items():
            axis = self.getAxis(name)
            axis.setPen(colours.faint)
            axis.setTextPen(colours.ink)
            axis.setLabel(text, **{"color": colours.ink, "font-size": _SMALL})
        self._write_key()

    def _set_key(self, *key: Key, note: str = "") -> None:
        """Say above the plot what is what; it is no legend, which would hide data."""
        if (key, note) != (self._key, self._note):
            self._key, self._note = key, note
            self._write_key()

    def _write_key(self) -> None:
        lines, length = [""], 0
        for entry in self._key:
            if length + len(entry.text) + 4 > _LINE_LENGTH and length:
                lines.append("")
                length = 0
            length += len(entry.text) + 4
            colour = getattr(self.colours, entry.colour, entry.colour)
            sign = f"<span style='color:{colour}'>{entry.sign}</span>"
            lines[-1] += f"{sign}&nbsp;{entry.text} &nbsp; "
        lines = [line for line in (*lines, *self._note.splitlines()) if line]
        title = "<br>".join(lines) or None
        self.setTitle(title, color=self.colours.ink, size=_SMALL)
        # pyqtgraph gives titles one line of room
        height = _LINE_HEIGHT * len(lines) + 4
        self.plotItem.titleLabel.setMaximumHeight(height)
        self.plotItem.layout.setRowFixedHeight(0, height)

    def _set_y_label(self, text: str) -> None:
        self._labels["left"] = text
        style = {"color": self.colours.ink, "font-size": _SMALL}
        self.getAxis("left").setLabel(text, **style)

    def _pen(
        self, colour: str, width: float = 1.0, style: Any = Qt.PenStyle.SolidLine
    ) -> Any:
        return pg.mkPen(colour, width=width, style=style)

    def _line(self) -> Any:
        """Add an empty curve."""
        return self.plot([], [], antialias=True)
