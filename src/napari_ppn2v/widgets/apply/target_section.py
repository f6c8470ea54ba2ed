"""What a model is applied to: one layer, several layers, or files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_ppn2v.errors import BadAxes
from napari_ppn2v.pipeline.apply_stacks_request import ChosenStack, usual_channels
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.widgets.apply.files_section import FilesSection
from napari_ppn2v.widgets.apply.layer_checklist import LayerChecklist
from napari_ppn2v.widgets.layers.placing import LayerData, read_layer
from napari_ppn2v.widgets.parts.image_section import ALL_CHANNELS, ImageSection

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_ppn2v.pipeline.apply_stacks_request import TrainedModel

ONE, SEVERAL, FILES = "one layer", "several layers", "files"
_LABELS = {ONE: "One layer", SEVERAL: "Several layers", FILES: "Files or a folder"}
_NO_LAYERS = "There is no image layer. Drop a file into the viewer, or open a sample."


class TargetSection(QWidget):
    """Choice of what is denoised.

    Signals
    -------
    changed
        Anything about the choice has changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model: TrainedModel | None = None
        self._fitted: dict[str, tuple[Any, ...]] = {}
        self.kinds = QComboBox()
        self.kinds.setAccessibleName("What the model is applied to")
        for kind, label in _LABELS.items():
            self.kinds.addItem(label, kind)
        self.image = ImageSection(viewer)
        self.image.part.hide()  # nothing is trained here
        self.layers = LayerChecklist(viewer)
        self.files = FilesSection()
        self._parts: dict[str, Any] = {
            ONE: self.image,
            SEVERAL: self.layers,
            FILES: self.files,
        }
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.kinds)
        for part in self._parts.values():
            column.addWidget(part)
            part.changed.connect(self._on_part)
        self.kinds.currentIndexChanged.connect(lambda _: self._on_kind())
        self._on_kind()

    @property
    def kind(self) -> str:
        """What is chosen: `ONE`, `SEVERAL` or `FILES`."""
        return str(self.kinds.currentData())

    def choose(self, kind: str) -> None:
        """Choose one of the three, as the user would."""
        self.kinds.setCurrentIndex(list(_LABELS).index(kind))

    def choose_layer(self, layer: Image) -> None:
        """Choose one layer, as the user would."""
        self.choose(ONE)
        self.image.choose(layer)

    def set_model(self, model: TrainedModel | None) -> None:
        """Choose the channels that a model is meant for, wherever that can be told."""
        self._model = model
        self._fit_channels()

    @property
    def first_layer(self) -> Image | None:
        """The first of the layers chosen, None where there is none."""
        if self.kind == ONE:
            return self.image.layer.value
        return self.layers.first_checked if self.kind == SEVERAL else None

    @property
    def entered_axes(self) -> str | None:
        """The axes entered, right or wrong; None where each layer has its own."""
        return self.image.axes.text() if self.kind == ONE else None

    def problem_text(self) -> str:
        """Say what keeps it from being denoised, empty where nothing does."""
        if self.kind == ONE:
            return self.image.problem_text()
        if self.kind == FILES:
            return self.files.problem_text()
        return "" if self.layers.list.count() else _NO_LAYERS

    def stacks(
        self, model: TrainedModel
    ) -> tuple[tuple[ChosenStack, ...], tuple[LayerData, ...]]:
        """Return the stacks of the layers chosen, and these layers, as they are now.

        Raises
        ------
        BadAxes, BadData  If a layer does not fit the model or cannot be denoised.
        """
        if self.kind == ONE:
            # read anew: the layer may hold other pixels by now
            data = read_layer(self.image.layer.value).with_axes(self.image.axes.text())
            channels = self.image.chosen_channels
            together = self.image.is_put_together
            return (_chosen(data, channels, together),), (data,)
        layers = tuple(self.layers.checked())
        stacks = []
        for data in layers:
            channels, together = usual_channels(
                model, data.layout.n_channels, data.name
            )
            stacks.append(_chosen(data, channels, together))
        return tuple(stacks), layers

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        self.image.reset_choices(event)
        self.layers.reset_choices(event)

    def _on_kind(self) -> None:
        for kind, part in self._parts.items():
            part.setVisible(kind == self.kind)
        if self.kind == SEVERAL:
            self.layers.check_selected()
        self.changed.emit()

    def _on_part(self) -> None:
        self._fit_channels()
        self.changed.emit()

    def _fit_channels(self) -> None:
        """Choose channels anew; the user's own choice stays while nothing changes."""
        data, model, files = self.image.data, self._model, self.files
        if model is None:
            return
        count = 1 if data is None else data.layout.n_channels
        layer = None if data is None else id(data.layer)
        self._fit(ONE, self.image.channels, (model.name, layer, count))
        self._fit(FILES, files.channels, (model.name, files.images, files.n_channels))

    def _fit(self, kind: str, box: QComboBox, situation: tuple[Any, ...]) -> None:
        if self._fitted.get(kind) == situation or self._model is None:
            return
        self._fitted[kind] = situation
        _choose_channel(box, self._model, situation[-1])


def _choose_channel(box: QComboBox, model: TrainedModel, n_channels: int) -> None:
    if n_channels == 1:
        return
    try:
        usual_channels(model, n_channels, "")
    except BadAxes:
        first = model.channels[0] if model.channels else 0
        box.setCurrentIndex(first if first < n_channels else 0)
    else:
        box.setCurrentText(ALL_CHANNELS)


def _chosen(data: LayerData, channels: tuple[int, ...], together: bool) -> ChosenStack:
    return ChosenStack(
        stack=Stack(data=data.data, axes=data.axes, name=data.name),
        channels=channels,
        is_put_together=together,
    )
