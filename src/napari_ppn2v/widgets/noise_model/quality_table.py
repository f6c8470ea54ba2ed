"""Table of the quality of a fit, signal by signal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QBrush, QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.widgets.noise_model.words import overall_words
from napari_ppn2v.widgets.parts.basics import WrappedLabel
from napari_ppn2v.widgets.plots import plot_colours

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.quality import RangeQuality

_HEADERS = {
    "signal": "Range of signals, in grey values.",
    "bias": "Mean of the observations less that of the model, in standard deviations "
    "of the noise. Good: at most 0.05 besides chance.",
    "variance": "Variance of the observations over that of the model. Good: 1.00 ± "
    "0.06 besides chance.",
    "shape": "Largest distance between the distributions (Kolmogorov-Smirnov). Good: "
    "at most 0.020 besides chance.",
    "fit": "What it comes to. Chance is allowed for: few pixel pairs deviate more.",
}
_SIGNS = {"good": "●", "fair": "◐", "poor": "○"}


class QualityTable(QWidget):
    """How well the model describes pixels kept apart from the fit.

    Signals
    -------
    signal_chosen(float)
        The user clicked a range; its middle in grey values.
    """

    signal_chosen = Signal(float)

    def __init__(self, *, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._ranges: tuple[RangeQuality, ...] = ()
        self._theme = theme
        self._words = WrappedLabel()
        self.table = QTableWidget(0, len(_HEADERS))
        self.table.setHorizontalHeaderLabels(list(_HEADERS))
        self.table.setAccessibleName("Quality of the fit per range of signals")
        for column, text in enumerate(_HEADERS.values()):
            item = self.table.horizontalHeaderItem(column)
            if item is not None:
                item.setToolTip(f"<qt>{text}</qt>")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        # the dock scrolls, the table does not
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        rows, columns = self.table.verticalHeader(), self.table.horizontalHeader()
        if rows is not None and columns is not None:
            rows.hide()
            rows.setDefaultSectionSize(22)
            columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
            columns.setMinimumSectionSize(40)
        self.table.itemSelectionChanged.connect(self._on_selected)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._words)
        layout.addWidget(self.table)
        self.hide()

    def words(self) -> str:
        """Return the verdict shown."""
        return self._words.text()

    def show_quality(self, ranges: tuple[RangeQuality, ...]) -> None:
        """Show the verdicts; nothing hides the table."""
        self._ranges = ranges
        self.setVisible(bool(ranges))
        if not ranges:
            return
        from napari_ppn2v.core.noise_models.quality import overall

        self._words.setText(overall_words(overall(ranges), ranges))
        self.table.blockSignals(True)
        self.table.clearSelection()
        self.table.setRowCount(len(ranges))
        for row, item in enumerate(ranges):
            self._fill(row, item)
        self.table.blockSignals(False)
        self._fix_height()

    def set_theme(self, theme: str) -> None:
        """Take the colours of one of napari's themes."""
        self._theme = theme
        for row, item in enumerate(self._ranges):
            self._colour(row, item)

    def _fill(self, row: int, item: RangeQuality) -> None:
        texts = (
            f"{item.signal_low:,.0f} – {item.signal_high:,.0f}",
            f"{round(item.bias_in_sd, 2) + 0.0:+.2f}",
            f"{item.variance_ratio:.2f}",
            f"{item.ks:.3f}",
            f"{_SIGNS[item.verdict]} {item.verdict}",
        )
        for column, text in enumerate(texts):
            cell = QTableWidgetItem(text)
            cell.setToolTip(f"<qt>{item.in_words}; {item.n_pairs:,} pixel pairs</qt>")
            if 0 < column < len(texts) - 1:
                cell.setTextAlignment(
                    Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                )
            self.table.setItem(row, column, cell)
        self._colour(row, item)

    def _colour(self, row: int, item: RangeQuality) -> None:
        """Colour the verdict: blue and orange, which colour-blind people tell apart."""
        colours = plot_colours(self._theme)
        by_verdict = {
            "good": colours.measured,
            "fair": colours.ink,
            "poor": colours.model,
        }
        cell = self.table.item(row, len(_HEADERS) - 1)
        if cell is not None:
            cell.setForeground(QBrush(QColor(by_verdict[item.verdict])))

    def _fix_height(self) -> None:
        header = self.table.horizontalHeader()
        height = 4 + (header.sizeHint().height() if header is not None else 24)
        height += sum(self.table.rowHeight(row) for row in range(len(self._ranges)))
        self.table.setFixedHeight(height)

    def _on_selected(self) -> None:
        rows = {index.row() for index in self.table.selectedIndexes()}
        if len(rows) == 1:
            item = self._ranges[rows.pop()]
            self.signal_chosen.emit(0.5 * (item.signal_low + item.signal_high))
