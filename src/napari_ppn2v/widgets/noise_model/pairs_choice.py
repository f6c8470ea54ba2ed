"""Which pixel pairs the model shown is drawn over and judged by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.session.session import NamedNoiseModel, Session


class PairsChoice(QWidget):
    """Its own pairs, or those of another model of the session.

    Hidden while there is nothing to choose from.

    Signals
    -------
    changed
        Other pairs are chosen.
    """

    changed = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._shown: NamedNoiseModel | None = None
        self.list = QComboBox()
        self.list.setToolTip(
            "<qt>Pixel pairs that the model is drawn over and judged by. Those of a "
            "new recording show whether a saved model still holds.</qt>"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(QLabel("Drawn over the pixel pairs of"))
        column.addWidget(self.list)
        self.list.currentIndexChanged.connect(lambda _: self.changed.emit())

    @property
    def value(self) -> PairHistogram | None:
        """The pairs chosen; None where there is no model, or it comes without."""
        if self._shown is None:
            return None
        if self.list.currentIndex() > 0:
            other = self._session.noise_models.get(self.list.currentText())
            return None if other is None else other.pairs
        return self._shown.pairs

    def show_model(self, shown: NamedNoiseModel | None) -> None:
        """List what this model can be drawn over; the choice stays where it can."""
        self._shown = shown
        self.refresh()

    def refresh(self) -> None:
        """List anew the models of the session that come with pairs."""
        shown, known = self._shown, self._session.noise_models
        before = self.list.currentText()
        others = [n for n, m in known.items() if m.pairs is not None]
        own = "its own" if shown is not None and shown.pairs is not None else "none"
        self.list.blockSignals(True)
        self.list.clear()
        self.list.addItem(own)
        self.list.addItems([n for n in others if shown is None or n != shown.name])
        self.list.setCurrentIndex(max(0, self.list.findText(before)))
        self.list.blockSignals(False)
        self.setVisible(shown is not None and self.list.count() > 1)
