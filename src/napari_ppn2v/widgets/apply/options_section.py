"""What a result shall hold, and where it is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QVBoxLayout, QWidget

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.widgets.apply.words import ESTIMATES
from napari_ppn2v.widgets.forms.config_form import ConfigForm
from napari_ppn2v.widgets.parts.computing_choice import ComputingChoice
from napari_ppn2v.widgets.parts.result_options import STD_HELP, ResultOptions
from napari_ppn2v.widgets.parts.section import Section

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.apply_stacks_request import TrainedModel

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
        self.results = ResultOptions()
        self.computing = ComputingChoice()
        self.form = ConfigForm(InferenceConfig, fields=_ADVANCED)
        self.advanced = Section("Advanced")
        self._lay_out()
        self._connect()
        self.set_model(None)

    def _lay_out(self) -> None:
        rows = QFormLayout()
        rows.addRow("Estimate", self.estimate)
        self.advanced.addWidget(self.computing)
        self.advanced.addWidget(self.form)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.results)
        column.addWidget(self.advanced)

    def _connect(self) -> None:
        self.estimate.currentIndexChanged.connect(lambda _: self._on_estimate())
        self.results.changed.connect(self.changed)
        self.computing.changed.connect(self.changed)
        self.form.value_changed.connect(lambda _: self.changed.emit())
        self.form.error_changed.connect(self._on_error)

    # -- what is chosen ---------------------------------------------------------------

    @property
    def inference(self) -> InferenceConfig:
        """Estimate, blindness, tile size, and whether the uncertainty is wanted."""
        return replace(
            self.form.value(),
            estimate=self._estimate,
            posterior_std=self.results.has_std,
        )

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
        self.results.residual.setVisible(not is_for_files)
        self.results.residual.setEnabled(not is_for_files)

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
        self.results.std.setEnabled(not refusal)
        self.results.std.setToolTip(f"<qt>{refusal or STD_HELP}</qt>")
        self.changed.emit()

    def _on_error(self, message: str) -> None:
        self._error = message
        self.changed.emit()
