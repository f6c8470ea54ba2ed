"""What a result shall hold, and where it is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.widgets.apply_words import ESTIMATES
from napari_ppn2v.widgets.forms.config_form import ConfigForm
from napari_ppn2v.widgets.section import Section
from napari_ppn2v.widgets.sections.settings_section import DEVICES, MOST_THREADS

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.apply_stacks_request import TrainedModel

_STD_HELP = (
    "A further layer or file with the uncertainty of each pixel, in grey values."
)
_ADVANCED = ("blind", "tile_size")


class OptionsSection(QWidget):
    """Estimate, further layers, number type; under Advanced: device, threads, tiles.

    Signals
    -------
    changed
        Any of it has changed.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model: TrainedModel | None = None
        self._error = ""
        self.estimate = QComboBox()
        self.estimate.setAccessibleName("Estimate")
        self.with_std = QCheckBox("posterior standard deviation")
        self.with_residual = QCheckBox("residual")
        self.keeps_dtype = QCheckBox("keep the image's number type")
        self.device, self.threads = QComboBox(), QSpinBox()
        self.form = ConfigForm(InferenceConfig, fields=_ADVANCED)
        self.advanced = Section("Advanced")
        self._set_words()
        self._lay_out()
        self._connect()
        self.set_model(None)

    def _set_words(self) -> None:
        self.with_residual.setToolTip(
            "<qt>A further layer with observation minus result. It should look like "
            "pure noise.</qt>"
        )
        self.keeps_dtype.setToolTip(
            "<qt>Round the result to the number type of the image. Otherwise it is "
            "float32, which keeps fractions of grey values.</qt>"
        )
        for name, label in DEVICES.items():
            self.device.addItem(label, name)
        self.device.setAccessibleName("Device")
        self.threads.setRange(0, MOST_THREADS)
        self.threads.setSpecialValueText("automatic")
        self.threads.setToolTip(
            "<qt>Threads of the processor. Automatic: all but one, so that the viewer "
            "stays responsive.</qt>"
        )

    def _lay_out(self) -> None:
        rows = QFormLayout()
        rows.addRow("Estimate", self.estimate)
        where = QWidget()
        lines = QFormLayout(where)
        lines.setContentsMargins(0, 0, 0, 0)
        lines.addRow("Device", self.device)
        lines.addRow("Threads", self.threads)
        self.advanced.addWidget(where)
        self.advanced.addWidget(self.form)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        for box in (self.with_std, self.with_residual, self.keeps_dtype):
            column.addWidget(box)
        column.addWidget(self.advanced)

    def _connect(self) -> None:
        self.estimate.currentIndexChanged.connect(lambda _: self._on_estimate())
        for box in (self.with_std, self.with_residual, self.keeps_dtype):
            box.toggled.connect(lambda _: self.changed.emit())
        self.device.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.threads.valueChanged.connect(lambda _: self.changed.emit())
        self.form.value_changed.connect(lambda _: self.changed.emit())
        self.form.error_changed.connect(self._on_error)

    # -- what is chosen ---------------------------------------------------------------

    @property
    def inference(self) -> InferenceConfig:
        """Estimate, blindness, tile size, and whether the uncertainty is wanted."""
        return replace(
            self.form.value(),
            estimate=self._estimate,
            posterior_std=self.with_std.isEnabled() and self.with_std.isChecked(),
        )

    @property
    def dtype(self) -> str:
        """Type of the result: "float32" or "same"."""
        return "same" if self.keeps_dtype.isChecked() else "float32"

    @property
    def has_residual(self) -> bool:
        """Whether observation - result is wanted, too."""
        return self.with_residual.isEnabled() and self.with_residual.isChecked()

    @property
    def device_name(self) -> str:
        """Device chosen: "auto", "cpu", "cuda" or "mps"."""
        return str(self.device.currentData())

    @property
    def n_threads(self) -> int | None:
        """Threads of the processor, None for the default."""
        return self.threads.value() or None

    def problem_text(self) -> str:
        """Say which setting is refused, empty where none is."""
        return self._error

    def choose_estimate(self, name: str) -> None:
        """Choose an estimate by its name in the settings."""
        self.estimate.setCurrentIndex(self.estimate.findData(name))

    # -- what the model can -----------------------------------------------------------

    def set_model(self, model: TrainedModel | None) -> None:
        """Offer the estimates that a model can give."""
        self._model = model
        before = self._estimate
        self.estimate.blockSignals(True)
        self.estimate.clear()
        for name, words in ESTIMATES.items():
            if not self._refusal(InferenceConfig(estimate=name)):
                self.estimate.addItem(self._in_full(name, words), name)
        self.choose_estimate(before)
        if self.estimate.currentIndex() < 0:
            self.choose_estimate("auto")
        self.estimate.blockSignals(False)
        self.estimate.setEnabled(model is not None)
        self._on_estimate()

    def set_for_files(self, is_for_files: bool) -> None:
        """Offer a residual for layers only: it is quickly computed from two files."""
        self.with_residual.setVisible(not is_for_files)
        self.with_residual.setEnabled(not is_for_files)

    @property
    def _estimate(self) -> str:
        return str(self.estimate.currentData() or "auto")

    def _in_full(self, name: str, words: str) -> str:
        """Say what "automatic" means for this model."""
        if name != "auto" or self._model is None:
            return words
        chosen = dict.fromkeys(ESTIMATES[d.estimate] for d in self._model.denoisers)
        return f"{words} ({' / '.join(chosen)})"

    def _refusal(self, wanted: InferenceConfig) -> str:
        """Say why the model cannot do what is wanted, empty where it can."""
        try:
            for denoiser in self._model.denoisers if self._model is not None else ():
                settled(denoiser, wanted)
        except BadSetting as error:
            return str(error)
        return ""

    def _on_estimate(self) -> None:
        wanted = InferenceConfig(estimate=self._estimate, posterior_std=True)
        refusal = self._refusal(wanted)
        self.with_std.setEnabled(not refusal)
        self.with_std.setToolTip(f"<qt>{refusal or _STD_HELP}</qt>")
        self.changed.emit()

    def _on_error(self, message: str) -> None:
        self._error = message
        self.changed.emit()
