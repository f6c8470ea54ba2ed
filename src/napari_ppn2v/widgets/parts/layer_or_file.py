"""Choice of an image layer, with a button that adds a file as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.widgets.layers.open_file import FILES, add_file
from napari_ppn2v.widgets.parts.basics import MessageLine
from napari_ppn2v.widgets.parts.layer_choice import LayerChoice

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image


class LayerOrFile(QWidget):
    """A list of image layers; files become layers that are read piece by piece.

    Signals
    -------
    changed
        Another layer is chosen, or None.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.choice = LayerChoice(viewer)
        self.open_button = QPushButton("Open file…")
        self.open_button.setToolTip(
            "<qt>Add a TIFF, OME-TIFF or .npy file as a layer that is read piece by "
            "piece, however large it is.</qt>"
        )
        self.problem = MessageLine()
        row = QHBoxLayout()
        row.addWidget(self.choice, stretch=1)
        row.addWidget(self.open_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.problem)
        self.choice.changed.connect(lambda *_: self._on_changed())
        self.open_button.clicked.connect(self._ask)

    @property
    def value(self) -> Image | None:
        """The layer chosen."""
        return self.choice.value

    def choose(self, layer: Image) -> None:
        """Choose a layer, as the user would."""
        self.choice.choose(layer)

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        self.choice.reset_choices(event)

    def open_path(self, path: Path) -> None:
        """Add a file as a layer and choose it; what is wrong with it is shown."""
        try:
            layer = add_file(self._viewer, path)
        except PPN2VError as error:
            self.problem.show_error(str(error))
            return
        self.problem.clear()
        self.reset_choices()
        self.choose(layer)

    def _ask(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Open an image", "", FILES)
        if chosen:
            self.open_path(Path(chosen))

    def _on_changed(self) -> None:
        self.problem.clear()
        self.changed.emit()
