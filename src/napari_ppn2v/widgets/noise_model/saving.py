"""Keep a noise model: in a file of one of the known dialects, or in the library."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.files.library import NoiseModelLibrary
from napari_ppn2v.files.noise_model_files import Provenance, save_noise_model
from napari_ppn2v.widgets.parts.basics import MessageLine
from napari_ppn2v.widgets.parts.section import Section

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel

_DIALECTS = {
    "own": "Noise model of this plugin (*.npz)",
    "ppn2v-gmm": "For PPN2V, DivNoising or CAREamics (*.npz)",
    "pn2v-histogram": "For PN2V (*.npy)",
}


def dialects_for(model: NoiseModel) -> tuple[str, ...]:
    """Return the file dialects that can hold a model of this kind."""
    more = {"gmm": ("ppn2v-gmm",), "histogram": ("pn2v-histogram",)}
    return ("own", *more.get(model.kind, ()))


class NoiseModelSaving(QWidget):
    """Buttons and a small form to save the noise model shown.

    Signals
    -------
    library_changed
        A model was added to the library.
    """

    library_changed = Signal()

    def __init__(
        self, library: NoiseModelLibrary | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._library = library or NoiseModelLibrary()
        self._model: NoiseModel | None = None
        self._origin = ""
        self.save_button = QPushButton("Save to a file…")
        self.name, self.camera, self.gain = QLineEdit(), QLineEdit(), QLineEdit()
        self.date = QLineEdit(date.today().isoformat())
        self.keep_button = QPushButton("Keep in the library")
        self.replace_button = QPushButton("Replace the one of this name")
        self.message = MessageLine()
        self._lay_out()
        self.save_button.clicked.connect(self._ask)
        self.keep_button.clicked.connect(lambda: self.keep())
        self.replace_button.clicked.connect(lambda: self.keep(replacing=True))
        self.name.textChanged.connect(self._on_name)
        self.show_model(None)

    def _lay_out(self) -> None:
        self.save_button.setToolTip(
            "<qt>In the format of this plugin; mixtures of Gaussians also for PPN2V, "
            "DivNoising and CAREamics, histograms for PN2V.</qt>"
        )
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        hints = {
            "Name": (self.name, "for example: iXon EM 300"),
            "Camera": (self.camera, "maker and model"),
            "Gain": (self.gain, "as set in the camera's program"),
            "Date": (self.date, "year-month-day"),
        }
        for label, (edit, hint) in hints.items():
            edit.setPlaceholderText(hint)
            form.addRow(label, edit)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(form)
        column.addWidget(self.keep_button)
        column.addWidget(self.replace_button)
        self.replace_button.hide()
        self.library_form = Section("Keep in the library, by camera and gain")
        self.library_form.addWidget(content)
        row = QHBoxLayout()
        row.addWidget(self.save_button)
        row.addStretch(1)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addLayout(row)
        outer.addWidget(self.library_form)
        outer.addWidget(self.message)

    def show_model(
        self, model: NoiseModel | None, name: str = "", origin: str = ""
    ) -> None:
        """Take the model that would be saved; None if there is none."""
        self._model, self._origin = model, origin
        if model is not None and not self.name.isModified():
            self.name.setText(name)
        self.setEnabled(model is not None)
        self.message.clear()
        self.replace_button.hide()

    def save_as(self, path: Path, dialect: str = "own") -> None:
        """Write a file; what goes wrong is shown."""
        if self._model is None:
            return
        try:
            written = save_noise_model(
                path, self._model, self._provenance(), dialect=dialect
            )
        except PPN2VError as error:
            self.message.show_error(str(error))
            return
        self.message.show_info(f"Saved as {written}.")

    def keep(self, *, replacing: bool = False) -> None:
        """Add the model to the library; what goes wrong is shown."""
        if self._model is None:
            return
        self.replace_button.hide()
        try:
            self._library.save(self._model, self._provenance(), replacing=replacing)
        except PPN2VError as error:
            self.message.show_error(str(error))
            self.replace_button.setVisible(self._is_taken())
            return
        self.message.show_info(f"Kept in the library as “{self.name.text().strip()}”.")
        self.library_changed.emit()

    def _provenance(self) -> Provenance:
        texts = {
            key: getattr(self, key).text().strip()
            for key in ("name", "camera", "gain", "date")
        }
        return Provenance(**texts, source=self._origin)

    def _is_taken(self) -> bool:
        name = self.name.text().strip()
        return any(e.provenance.name == name for e in self._library.entries())

    def _on_name(self) -> None:
        self.replace_button.hide()
        self.keep_button.setEnabled(bool(self.name.text().strip()))

    def _ask(self) -> None:
        if self._model is None:
            return
        filters = {_DIALECTS[dialect]: dialect for dialect in dialects_for(self._model)}
        chosen, words = QFileDialog.getSaveFileName(
            self,
            "Save the noise model",
            f"{self.name.text().strip() or 'noise model'}.npz",
            ";;".join(filters),
        )
        if chosen:
            self.save_as(Path(chosen), filters.get(words, "own"))
