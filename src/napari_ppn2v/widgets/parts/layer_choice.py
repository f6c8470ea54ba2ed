"""Choice of a layer that follows the layer list of its viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from magicgui.widgets import create_widget
from napari.layers import Image
from napari.utils._magicgui import find_viewer_ancestor
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from magicgui.widgets.bases import CategoricalWidget
    from napari.layers import Layer

_SHORTEST = 10  # letters of a name that are always shown


class LayerChoice(QWidget):
    """A list of the viewer's layers of one type to choose from.

    The choice is the layer, not its name: it stays when layers are renamed, reordered,
    added or removed. The panel around calls `reset_choices` when the layer list
    changes; napari does so for docked widgets that have a method of this name.

    Parameters
    ----------
    viewer
        Whose layers; by default the viewer that this widget is docked in.
    layer_type
        Type of layer to choose from.
    is_optional
        Whether no layer at all can be chosen, as "-----".
    accepts
        Leaves out layers for which it returns False. Live previews are always left
        out.

    Signals
    -------
    changed(layer)
        Another layer is chosen, or None.
    """

    changed = Signal(object)

    def __init__(
        self,
        viewer: Any = None,
        *,
        layer_type: type[Layer] = Image,
        is_optional: bool = False,
        accepts: Callable[[Layer], bool] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = getattr(viewer, "__wrapped__", viewer)
        self._layer_type = layer_type
        self._accepts = accepts or (lambda layer: True)
        self._told: Layer | None = None
        self._is_filling = False
        choices = {"choices": lambda _: self._layers(), "nullable": is_optional}
        self._widget = cast(
            "CategoricalWidget", create_widget(annotation=layer_type, options=choices)
        )
        self.combo: QComboBox = self._widget.native
        self._set_up_combo()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo)
        self.setFocusProxy(self.combo)
        self._widget.changed.connect(self._tell)
        self.reset_choices()

    @property
    def value(self) -> Any:
        """The layer chosen; None if there is none to choose or none is chosen."""
        return self._widget.value

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer, as the user would; a layer not in the list is ignored."""
        real = getattr(layer, "__wrapped__", layer)
        if real in self._widget.choices:
            self._widget.value = real

    def reset_choices(self, event: Any = None) -> None:
        """Read the layer list anew and keep the layer chosen, if it is still there."""
        chosen = self._told
        self._is_filling = True
        # emptied first: magicgui would keep the old order, and go by names
        self._widget.choices = ()
        self._widget.reset_choices()
        layers = self._layers()
        if chosen in layers:
            self._widget.value = chosen
        elif layers and self._widget.value is not None:
            self._widget.value = self._most_likely(layers)
        self._is_filling = False
        self._tell()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the wheel from choosing in passing; cut long names in the middle."""
        kind = None if event is None else event.type()
        if (
            event is not None
            and kind == QEvent.Type.Wheel
            and not self.combo.hasFocus()
        ):
            event.ignore()
            return True
        if watched is self.combo and kind == QEvent.Type.Paint:
            self._paint_combo()
            return True
        return bool(super().eventFilter(watched, event))

    def _paint_combo(self) -> None:
        """Draw the combo box as Qt does, but with an elided name."""
        style = self.combo.style()
        if style is None:
            return
        option = QStyleOptionComboBox()
        self.combo.initStyleOption(option)
        painter = QStylePainter(self.combo)
        room = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            self.combo,
        )
        option.currentText = self.combo.fontMetrics().elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, room.width()
        )
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)

    def _set_up_combo(self) -> None:
        self.combo.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.combo.setMinimumContentsLength(_SHORTEST)
        self.combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.combo.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.combo.setAccessibleName("Image layer")
        self.combo.installEventFilter(self)

    def _layers(self) -> list[Layer]:
        viewer = self._viewer or find_viewer_ancestor(self)
        if viewer is None:
            return []
        return [
            layer
            for layer in viewer.layers
            if isinstance(layer, self._layer_type)
            and not _is_preview(layer)
            and self._accepts(layer)
        ]

    def _most_likely(self, layers: list[Layer]) -> Layer:
        """Return the layer selected in the viewer, else the first one; no result."""
        viewer = self._viewer or find_viewer_ancestor(self)
        active = viewer.layers.selection.active if viewer is not None else None
        recorded = [layer for layer in layers if not is_ours(layer)] or layers
        return active if active in recorded else recorded[0]

    def _tell(self, *_: Any) -> None:
        if self._is_filling:
            return
        layer = self.value
        self.combo.setToolTip(
            "There is no image in the viewer yet." if layer is None else layer.name
        )
        if layer is not self._told:
            self._told = layer
            self.changed.emit(layer)


def is_ours(layer: Layer) -> bool:
    """Whether a layer is a preview or a result, which nobody denoises once more."""
    return "napari_ppn2v" in layer.metadata


def _is_preview(layer: Layer) -> bool:
    ours = layer.metadata.get("napari_ppn2v")
    return isinstance(ours, dict) and bool(ours.get("is_preview"))
