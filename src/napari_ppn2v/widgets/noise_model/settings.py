"""Settings of a noise-model fit: the usual ones, and the rest when asked for."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.widgets.forms.config_form import ConfigForm
from napari_ppn2v.widgets.parts.section import Section

if TYPE_CHECKING:
    from typing import Any

_USUAL = ("kind", "n_components", "n_coefficients", "trim_percent")
_OTHERS = tuple(
    item.name for item in fields(NoiseModelConfig) if item.name not in _USUAL
)
_MIXTURE, _HISTOGRAM = ("auto", "gmm"), ("auto", "histogram")
_CAMERA = ("auto", "camera", "poisson-gaussian", "poisson-gamma")
_BY_KIND = {
    "n_components": _MIXTURE,
    "n_coefficients": _MIXTURE,
    "variance_floor": _MIXTURE,
    "likelihood_floor": _MIXTURE,
    "n_bins": _HISTOGRAM,
    "data_range": _HISTOGRAM,
    "is_plain_histogram": _HISTOGRAM,
    "offset": _CAMERA,
    "read_noise": _CAMERA,
}
"""Kinds of noise model that a setting matters to."""


class NoiseModelSettings(QWidget):
    """A form for `NoiseModelConfig` that shows what matters to the chosen kind.

    Signals
    -------
    changed
        A setting was edited, whether it is allowed or not.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.usual = ConfigForm(NoiseModelConfig, fields=_USUAL)
        self.others = ConfigForm(NoiseModelConfig, fields=_OTHERS)
        self.more = Section("Advanced settings")
        self.more.addWidget(self.others)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.usual)
        column.addWidget(self.more)
        for form in (self.usual, self.others):
            form.value_changed.connect(self._on_edited)
            form.error_changed.connect(self._on_edited)
        self._on_edited()

    def value(self) -> NoiseModelConfig:
        """Return the settings as entered; raises BadSetting."""
        others = self.others.value()
        return replace(
            self.usual.value(), **{name: getattr(others, name) for name in _OTHERS}
        )

    def set_value(self, config: NoiseModelConfig) -> None:
        """Show other settings."""
        self.usual.set_value(config)
        self.others.set_value(config)
        self._on_edited()

    def error(self) -> str:
        """Return why the settings are refused, empty where they are allowed."""
        return self.usual.error() or self.others.error()

    def _on_edited(self, *_: Any) -> None:
        if not self.usual.error():
            kind = self.usual.value().kind
            for name, kinds in _BY_KIND.items():
                form = self.usual if name in _USUAL else self.others
                form.set_shown(name, kind in kinds)
        self.changed.emit()
