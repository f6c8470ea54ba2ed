"""Choice of the image that a package is tested with and shows."""

from __future__ import annotations

from dataclasses import dataclass
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
    from napari.layers import Image


@dataclass(frozen=True)
class _Offer:
    layer: Image
    axes: str | None
    ndim: int  # of the layer, as it was offered


class ImageChoice(QWidget):
    """A layer if the user wants one: what is chosen goes into a file for others.

    The layer that the dock is about is offered. One that the user has chosen here stays
    chosen as long as it is there.

    Signals
    -------
    changed
        Another image is chosen, or none.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._offered: _Offer | None = None
        self._is_offering = self._is_by_hand = False
        self.box, self.layer = QCheckBox(IMAGE), LayerChoice(viewer)
        self.box.setToolTip(f"<qt>{IMAGE_HELP}</qt>")
        self.note = WrappedLabel()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.box, self.layer, self.note):
            column.addWidget(part)
        self.box.toggled.connect(self._on_changed)
        self.layer.changed.connect(self._on_layer)
        self._on_changed()

    def offer(self, layer: Image, axes: str | None) -> None:
        """Choose a layer, with the axes that it has in the dock.

        Parameters
        ----------
        axes : as they were entered there, right or wrong; None for the layer's own
        """
        offered = _Offer(layer, axes, layer.ndim)
        if offered != self._offered:
            self._offered = offered
            self._choose_offered()
            self.changed.emit()

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        chosen = self.layer.value
        self._is_offering = True
        self.layer.reset_choices(event)
        self._is_offering = False
        if self.layer.value is not chosen:  # it is gone
            self._is_by_hand = False
        self._choose_offered()

    def _choose_offered(self) -> None:
        if self._offered is not None and not self._is_by_hand:
            self._is_offering = True
            self.layer.choose(self._offered.layer)
            self._is_offering = False

    def data(self) -> LayerData | None:
        """Return the layer as it is now, None where none is wanted.

        Raises
        ------
        BadAxes, BadData
            If it holds no image, the axes entered do not fit, or there is no layer.
        """
        if not self.box.isChecked():
            return None
        layer, offered = self.layer.value, self._offered
        if layer is None:
            raise BadData(
                f"There is no image layer. Open an image, or untick “{IMAGE}”."
            )
        data = read_layer(layer)
        if offered is None or offered.layer is not layer or offered.axes is None:
            return data
        # unless its pixels were replaced by some of other axes since
        return data.with_axes(offered.axes) if layer.ndim == offered.ndim else data

    def show_channel(self, channel: int | None) -> None:
        """Say what of the layer becomes public; None where it has one channel."""
        is_wanted = self.box.isChecked()
        self.note.setText(image_words(channel) if is_wanted else SIMULATED)

    def _on_layer(self, *_: Any) -> None:
        self._is_by_hand = self._is_by_hand or not self._is_offering
        self._on_changed()

    def _on_changed(self, *_: Any) -> None:
        self.layer.setVisible(self.box.isChecked())
        self.show_channel(None)
        self.changed.emit()
