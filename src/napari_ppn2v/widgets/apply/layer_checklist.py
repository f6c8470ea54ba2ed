"""Choice of several image layers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.widgets.layers.placing import LayerData, describe, read_layer
from napari_ppn2v.widgets.parts.layer_choice import is_ours

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_LOWEST, _HIGHEST = 90, 260  # pixels, between which the list grows with its layers
_LINES = 2.4  # height of an entry, in lines of text


class LayerChecklist(QWidget):
    """The image layers of a viewer, each with a box to check and what it is.

    Previews and results are left out.

    What is checked stays so when layers are renamed, reordered, added or removed.

    Signals
    -------
    changed
        Other layers are checked, or the list has changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._data: list[LayerData | None] = []
        self._layers: list[Image] = []
        self.list = QListWidget()
        self.list.setAccessibleName("Layers to denoise")
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.all_button, self.none_button = QPushButton("All"), QPushButton("None")
        self.all_button.setToolTip("Check all layers")
        self.none_button.setToolTip("Check no layer")
        row = QHBoxLayout()
        row.addWidget(self.all_button)
        row.addWidget(self.none_button)
        row.addStretch()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.list)
        column.addLayout(row)
        self.setFocusProxy(self.list)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.list.itemChanged.connect(lambda _: self.changed.emit())
        self.all_button.clicked.connect(lambda: self._check_all(True))
        self.none_button.clicked.connect(lambda: self._check_all(False))
        self.reset_choices()

    def checked(self) -> list[LayerData]:
        """Return the layers that are checked, as they are now.

        Raises
        ------
        BadData, BadAxes  If one can no longer be denoised.
        """
        return [read_layer(layer) for layer in self._chosen()]

    @property
    def first_checked(self) -> Image | None:
        """The first layer that is checked, None where none is."""
        return next(iter(self._chosen()), None)

    def _chosen(self) -> list[Image]:
        return [
            layer
            for number, layer in enumerate(self._layers)
            if self._item(number).checkState() == Qt.CheckState.Checked
        ]

    def check(self, layers: list[Layer]) -> None:
        """Check these layers and no others, as far as they can be denoised."""
        self.list.blockSignals(True)
        for number, layer in enumerate(self._layers):
            if self._data[number] is not None:
                is_chosen = any(layer is other for other in layers)
                self._item(number).setCheckState(_state(is_chosen))
        self.list.blockSignals(False)
        self.changed.emit()

    def check_selected(self) -> None:
        """Check what is selected in the viewer, if nothing is checked yet."""
        if not self._chosen():
            self.check(list(self._viewer.layers.selection))

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        checked = self._chosen()
        self.list.blockSignals(True)
        self.list.clear()
        self._layers = [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Image) and not is_ours(layer)
        ]
        self._data = []
        for layer in self._layers:
            self._add(layer, is_checked=any(layer is other for other in checked))
        self.list.blockSignals(False)
        entry = self.list.sizeHintForRow(0) if self._layers else 0
        height = entry * self.list.count() + 2 * self.list.frameWidth()
        self.list.setFixedHeight(min(_HIGHEST, max(_LOWEST, height)))
        for button in (self.all_button, self.none_button):
            button.setEnabled(bool(self._layers))
        self.changed.emit()

    def _add(self, layer: Layer, *, is_checked: bool) -> None:
        item = QListWidgetItem()
        try:
            data: LayerData | None = read_layer(layer)
            assert data is not None
            words = describe(data)
        except PPN2VError as error:
            data, words = None, f"cannot be denoised: {error}"
        item.setText(f"{layer.name}\n{words}")
        item.setToolTip(f"{layer.name}\n{words}")
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable
        if data is not None:
            flags |= Qt.ItemFlag.ItemIsEnabled
        item.setFlags(flags)
        item.setCheckState(_state(is_checked and data is not None))
        height = round(_LINES * self.list.fontMetrics().height())
        item.setSizeHint(QSize(0, height))
        self.list.addItem(item)
        self._data.append(data)

    def _item(self, number: int) -> QListWidgetItem:
        item = self.list.item(number)
        assert item is not None
        return item

    def _check_all(self, is_checked: bool) -> None:
        self.check(list(self._layers) if is_checked else [])


def _state(is_checked: bool) -> Qt.CheckState:
    return Qt.CheckState.Checked if is_checked else Qt.CheckState.Unchecked
