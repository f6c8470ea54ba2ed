"""What a noise model is fitted to: a calibration, a clean version, or an estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.widgets.layers.placing import describe, read_layer
from napari_ppn2v.widgets.parts.basics import MessageLine, WrappedLabel
from napari_ppn2v.widgets.parts.layer_choice import LayerChoice

if TYPE_CHECKING:
    from napari.layers import Image

CALIBRATION, PAIRS, ESTIMATE = "calibration", "pairs", "estimate"
_LABELS = {
    CALIBRATION: "Calibration recording",
    PAIRS: "Noisy image and its clean version",
    ESTIMATE: "Estimate from a noisy image",
}
_HELP = {
    CALIBRATION: "Many exposures of one static scene, from dark to at least as bright "
    "as your images, with the same camera settings.",
    PAIRS: "Noisy frames, and the same frames denoised or recorded without noise.",
    ESTIMATE: "Nothing else is needed: a short Noise2Void training estimates the "
    "signal first. It takes a few minutes.",
}


class NoiseModelSource(QWidget):
    """Choice of the layers that the pairs of signal and observation come from.

    Signals
    -------
    changed
        Another source, layer or channel was chosen.
    """

    changed = Signal()

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kinds = QComboBox()
        self.kinds.setAccessibleName("What the noise model is fitted to")
        for kind, label in _LABELS.items():
            self.kinds.addItem(label, kind)
        self.observation = LayerChoice(viewer)
        self.signal = LayerChoice(viewer)
        self.channel = QSpinBox()
        self.channel.setToolTip("Channel to fit the noise of, counted from 0.")
        self._help, self._understood = WrappedLabel(), WrappedLabel()
        self._message = MessageLine()
        self._names = {part: QLabel() for part in ("observation", "signal", "channel")}
        self._names["signal"].setText("Clean version")
        self._names["channel"].setText("Channel")
        self._lay_out()
        self.kinds.currentIndexChanged.connect(self._on_kind)
        self.observation.changed.connect(self._refresh)
        self.signal.changed.connect(self._refresh)
        self.channel.valueChanged.connect(self._refresh)
        self._on_kind()

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow(self._names["observation"], self.observation)
        form.addRow(self._names["signal"], self.signal)
        form.addRow(self._names["channel"], self.channel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.kinds)
        column.addWidget(self._help)
        column.addLayout(form)
        column.addWidget(self._understood)
        column.addWidget(self._message)

    @property
    def kind(self) -> str:
        """Source chosen: "calibration", "pairs" or "estimate"."""
        return str(self.kinds.currentData())

    def choose(self, kind: str) -> None:
        """Choose a source, as the user would."""
        self.kinds.setCurrentIndex(list(_LABELS).index(kind))

    def reset_choices(self, event: object = None) -> None:
        """List the layers anew."""
        self.observation.reset_choices(event)
        self.signal.reset_choices(event)
        self._refresh()

    def missing(self) -> str:
        """Say what is still to be chosen, empty where nothing is."""
        if self.observation.value is None:
            return "Open an image first, then choose its layer."
        if self.kind == PAIRS and self.signal.value is self.observation.value:
            return "Choose another layer as the clean version."
        return ""

    def parts(self) -> dict[str, Any]:
        """Return what goes into a `NoiseModelRequest`, as the layers are now.

        Raises
        ------
        BadAxes, BadData
        """
        observation = stack_of(self.observation.value)
        chosen: dict[str, Any] = {"channel": self.channel.value()}
        if self.kind == CALIBRATION:
            return {**chosen, "calibration": (observation,)}
        chosen["observation"] = observation
        if self.kind == PAIRS:
            chosen["signal"] = stack_of(self.signal.value)
        return chosen

    def name(self) -> str:
        """Return the name of the noisy layer, "" if there is none."""
        layer = self.observation.value
        return "" if layer is None else str(layer.name)

    def origin(self) -> str:
        """Say in words what a model fitted now is made from."""
        return f"{_LABELS[self.kind].lower()}: {self.name()}"

    def _on_kind(self) -> None:
        self._help.setText(_HELP[self.kind])
        noisy = "Recording" if self.kind == CALIBRATION else "Noisy image"
        self._names["observation"].setText(noisy)
        for part in (self.signal, self._names["signal"]):
            part.setVisible(self.kind == PAIRS)
        self._refresh()

    def _refresh(self, *_: object) -> None:
        """Say what was understood of the layer."""
        layer = self.observation.value
        text = error = ""
        n_channels = 1
        if layer is not None:
            try:
                data = read_layer(layer)
                n_channels = data.layout.n_channels
                text = describe(data, channel=min(self.channel.value(), n_channels - 1))
            except PPN2VError as problem:
                error = str(problem)
        for part in (self.channel, self._names["channel"]):
            part.setVisible(n_channels > 1)
        self.channel.setMaximum(n_channels - 1)
        self._understood.setText(text)
        self._understood.setVisible(bool(text))
        self._message.show_error(error)
        self.changed.emit()


def stack_of(layer: Image) -> Stack:
    """Return the pixels of a layer with their axes; raises BadAxes or BadData."""
    data = read_layer(layer)
    return Stack(data=data.data, axes=data.axes, name=data.name)
