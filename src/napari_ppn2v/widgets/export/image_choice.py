"""Choice of the image that a package is tested with and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_ppn2v.errors import BadData
from napari_ppn2v.widgets.export.words import IMAGE, IMAGE_HELP, SIMULATED, image_words
from napari_ppn2v.widgets.layers.data import LayerData, read_layer
from napari_ppn2v.widgets.parts.basics import WrappedLabel
from napari_ppn2v.widgets.parts.layer_choice import LayerChoice

if TYPE_CHECKING:
    from napari.components import ViewerModel


class ImageChoice(QWidget):
    """A layer if the user wants one: what is chosen goes into a file for others.

    Signals
    -------
    changed
        Another image is chosen, or none.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._recorded: LayerData | None = None
        self.box, self.layer = QCheckBox(IMAGE), LayerChoice(viewer)
        self.box.setToolTip(f"<qt>{IMAGE_HELP}</qt>")
        self.note = WrappedLabel()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.box, self.layer, self.note):
            column.addWidget(part)
        self.box.toggled.connect(self._on_changed)
        self.layer.changed.connect(self._on_changed)
        self._on_changed()

    def offer(self, recorded: LayerData | None) -> None:
        """Choose the layer that the model was trained on, which keeps its axes."""
        if recorded is not None and recorded is not self._recorded:
            self.layer.choose(recorded.layer)
        self._recorded = recorded

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        self.layer.reset_choices(event)

    def data(self) -> LayerData | None:
        """Return the layer as it is now, None where none is wanted.

        Raises
        ------
        BadAxes, BadData  If it holds no image, or there is no layer.
        """
        if not self.box.isChecked():
            return None
        layer, recorded = self.layer.value, self._recorded
        if layer is None:
            raise BadData(
                f"There is no image layer. Open an image, or untick “{IMAGE}”."
            )
        data = read_layer(layer)
        if recorded is None or recorded.layer is not layer:
            return data
        is_alike = len(recorded.axes) == len(data.axes)
        return data.with_axes(recorded.axes) if is_alike else data

    def show_channel(self, channel: int | None) -> None:
        """Say what of the layer becomes public; None where it has one channel."""
        is_wanted = self.box.isChecked()
        self.note.setText(image_words(channel) if is_wanted else SIMULATED)

    def _on_changed(self, *_: Any) -> None:
        self.layer.setVisible(self.box.isChecked())
        self.show_channel(None)
        self.changed.emit()
