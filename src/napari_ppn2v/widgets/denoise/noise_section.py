"""Where the noise model comes from: this image, a calibration, or a saved one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.widgets.parts.basics import MessageLine, WrappedLabel
from napari_ppn2v.widgets.parts.layer_or_file import LayerOrFile
from napari_ppn2v.widgets.parts.noise_model_choice import (
    NoiseModelChoice,
    NoiseModelRef,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_ppn2v.session.session import Session

BOOTSTRAP, CALIBRATION, SAVED = "bootstrap", "calibration", "saved"
_LABELS = {
    BOOTSTRAP: "Estimate from this image",
    CALIBRATION: "Calibration recording",
    SAVED: "Saved noise model",
}
_HELP = {
    BOOTSTRAP: "Nothing else is needed: a first training estimates the signal, and the "
    "noise model is fitted to the image and that estimate.",
    CALIBRATION: "A layer with many exposures of one static scene, made with the same "
    "camera and settings, from dark to at least as bright as the image.",
    SAVED: "A noise model of the same camera and settings.",
}

_ITSELF = (
    "This is the image itself. It serves as its own calibration only where all its "
    "frames show one static scene; otherwise movement is taken for noise."
)


class NoiseSection(QWidget):
    """Choice of the source of the noise model.

    Signals
    -------
    changed
        Another source, layer or model was chosen.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        session: Session,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.kinds = QComboBox()
        self.kinds.setAccessibleName("Where the noise model comes from")
        for kind, label in _LABELS.items():
            self.kinds.addItem(label, kind)
        self.recording = LayerOrFile(viewer)
        self.recording.choice.combo.setAccessibleName("Calibration recording")
        self.saved = NoiseModelChoice(session)
        self._help, self.warning = WrappedLabel(), MessageLine()
        self._stack = QStackedWidget()
        # no taller than its content, however much room the dock has
        self._stack.setSizePolicy(
            QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum
        )
        for part in (QWidget(), self.recording, self.saved):
            self._stack.addWidget(part)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.kinds, self._stack, self._help, self.warning):
            column.addWidget(part)
        self.kinds.currentIndexChanged.connect(self._on_kind)
        self.recording.changed.connect(self.changed)
        self.saved.changed.connect(self.changed)
        self._on_kind()

    @property
    def kind(self) -> str:
        """Source chosen: "bootstrap", "calibration" or "saved"."""
        return str(self.kinds.currentData())

    @property
    def recording_layer(self) -> Image | None:
        """Layer of the calibration recording, None where none is chosen."""
        return self.recording.value if self.kind == CALIBRATION else None

    @property
    def saved_model(self) -> NoiseModelRef | None:
        """The saved noise model, None where none is chosen."""
        return self.saved.value if self.kind == SAVED else None

    def choose(self, kind: str) -> None:
        """Choose a source, as the user would."""
        self.kinds.setCurrentIndex(list(_LABELS).index(kind))

    def show_image(self, layer: Image | None) -> None:
        """Warn where the calibration recording is the image to be denoised."""
        is_itself = layer is not None and layer is self.recording_layer
        self.warning.show_warning(_ITSELF if is_itself else "")

    def missing(self) -> str:
        """Say what is still to be chosen, empty where nothing is."""
        if self.kind == CALIBRATION and self.recording.value is None:
            return "Choose the layer of the calibration recording."
        if self.kind == SAVED and self.saved.value is None:
            return "Choose a saved noise model, or load one from a file."
        return ""

    def reset_choices(self, event: object = None) -> None:
        """List the layers anew."""
        self.recording.reset_choices(event)

    def _on_kind(self) -> None:
        self._stack.setCurrentIndex(self.kinds.currentIndex())
        self._stack.setVisible(self.kind != BOOTSTRAP)
        self._help.setText(_HELP[self.kind])
        self.changed.emit()
