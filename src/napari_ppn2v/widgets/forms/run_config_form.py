"""All settings of a run, in sections that open and close."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.config import (
    UNSUPERVISED,
    InferenceConfig,
    PriorConfig,
    RunConfig,
    TrainingConfig,
    method_help,
)
from napari_ppn2v.widgets.forms.config_form import FieldsForm
from napari_ppn2v.widgets.parts.basics import MessageLine
from napari_ppn2v.widgets.parts.section import Section

METHOD_FIELDS = (
    "method",
    "n_refinements",
    "pseudo_ground_truth",
    "starts_from_n2v",
    "seed",
)
SECTIONS: dict[str, tuple[str, type]] = {
    "pretraining": ("Noise2Void training", TrainingConfig),
    "noise_model": ("Noise model", NoiseModelConfig),
    "training": ("PN2V training", TrainingConfig),
    "refinement": ("Refinement", TrainingConfig),
    "network": ("Network", UNetConfig),
    "prior": ("Prior", PriorConfig),
    "inference": ("Inference", InferenceConfig),
}
"""Field of `RunConfig` -> title of its section, type of its settings."""

OFFERED = {"method": {"choices": UNSUPERVISED, "help": method_help(UNSUPERVISED)}}
"""No targets can be chosen in the viewer, so no methods that need them."""

_USED_BY = {
    "noise_model": ("pn2v", "refined"),
    "training": ("pn2v", "refined"),
    "refinement": ("refined",),
    "prior": ("pn2v",),
    "pseudo_ground_truth": ("pn2v", "refined"),
    "n_refinements": ("refined",),
    "starts_from_n2v": ("pn2v",),
}


class RunConfigForm(QWidget):
    """A form for `RunConfig` with one collapsible section per part of it.

    What the chosen method does not use is hidden and keeps its values.

    Signals
    -------
    value_changed(config)
        Once for each change by the user that gives an allowed config.
    error_changed(message)
        When a change is refused, and with "" when all is well again.
    """

    value_changed = Signal(object)
    error_changed = Signal(str)

    def __init__(
        self, values: RunConfig | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._config = values or RunConfig()
        self._error = ""
        self._message = MessageLine()
        self._top = FieldsForm(RunConfig, fields=METHOD_FIELDS, instead=OFFERED)
        self._forms: dict[str, FieldsForm] = {}
        self._sections: dict[str, Section] = {}
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self._top)
        layout.addWidget(self._message)
        for name, (title, config_type) in SECTIONS.items():
            self._forms[name] = FieldsForm(config_type)
            self._sections[name] = Section(title, self._forms[name])
            self._forms[name].edited.connect(self._on_edited)
            layout.addWidget(self._sections[name])
        self._top.edited.connect(self._on_edited)
        self._show(self._config)

    def value(self) -> RunConfig:
        """Return the settings as entered; what is not shown keeps what was set.

        Raises
        ------
        BadSetting  Naming the section whose settings are refused; see `error`.
        """
        parts = {name: self._part(name) for name in SECTIONS}
        return replace(self._config, **parts, **self._top.edits())

    def set_value(self, config: RunConfig) -> None:
        """Show settings; `value_changed` is not emitted."""
        self._config = config
        self._show(config)
        self._set_error("")

    def error(self) -> str:
        """Return why the settings are refused, empty where they are allowed."""
        try:
            self.value()
        except BadSetting as error:
            return str(error)
        return ""

    def editor(self, name: str) -> Any:
        """Return one editor: "method", "inference.estimate", "training.n_steps"."""
        section, _, field = name.rpartition(".")
        return (self._forms[section] if section else self._top).editor(field)

    def section(self, name: str) -> Section:
        """Return the collapsible section of one part, for example "network"."""
        return self._sections[name]

    def _part(self, name: str) -> Any:
        try:
            return replace(getattr(self._config, name), **self._forms[name].edits())
        except BadSetting as error:
            raise BadSetting(f"{SECTIONS[name][0]}: {error}") from error

    def _show(self, config: RunConfig) -> None:
        self._top.show_config(config)
        for name, form in self._forms.items():
            form.show_config(getattr(config, name))
        self._show_what_is_used()

    def _show_what_is_used(self) -> None:
        method = self._top.editor("method").value()
        for name, methods in _USED_BY.items():
            if name in self._sections:
                self._sections[name].setVisible(method in methods)
            else:
                self._top.set_shown(name, method in methods)

    def _on_edited(self) -> None:
        self._show_what_is_used()
        try:
            config = self.value()
        except BadSetting as error:
            self._set_error(str(error))
            return
        self._config = config
        self._set_error("")
        self.value_changed.emit(config)

    def _set_error(self, error: str) -> None:
        is_new, self._error = error != self._error, error
        self._message.show_error(error)
        if is_new:
            self.error_changed.emit(error)
