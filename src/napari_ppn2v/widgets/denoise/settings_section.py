"""Advanced settings, device and threads; closed until somebody wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.pipeline.setting_changes import (
    base_of,
    changes_from,
    moved_to,
    with_changes,
)
from napari_ppn2v.widgets.parts.basics import WrappedLabel
from napari_ppn2v.widgets.parts.computing_choice import ComputingChoice
from napari_ppn2v.widgets.parts.section import Section

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.widgets.forms.run_config_form import RunConfigForm


class SettingsSection(QWidget):
    """All settings of a run; what is changed moves along to other presets.

    Signals
    -------
    changed
        A setting, the device or the number of threads was changed.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._config = preset("balanced")
        self._error = ""
        self._form: RunConfigForm | None = None
        self.section = Section("Advanced settings")
        self.computing = ComputingChoice()
        self.reset = QPushButton("Back to the preset")
        self.told = WrappedLabel()
        self._lay_out()
        self._connect()
        self._tell()

    def _lay_out(self) -> None:
        self.section.addWidget(self.computing)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.section)
        column.addWidget(self.told)
        column.addWidget(self.reset)

    def _connect(self) -> None:
        self.section.toggled.connect(self._on_toggled)
        self.computing.changed.connect(self.changed)
        self.reset.clicked.connect(self._on_reset)

    @property
    def config(self) -> RunConfig:
        """The settings."""
        return self._config

    def problem_text(self) -> str:
        """Say which setting is refused, empty where none is."""
        return self._error

    def config_of(self, name: str) -> RunConfig:
        """Return another preset with what was changed in this one.

        Raises
        ------
        BadSetting  If that preset does not allow it.
        """
        return moved_to(name, self._config)

    def use_preset(self, name: str) -> None:
        """Change to another preset; what was changed by hand stays changed."""
        try:
            config = moved_to(name, self._config)
        except BadSetting:  # what was changed has no place there
            config = preset(name)
        self.set_config(config)

    def set_config(self, config: RunConfig) -> None:
        """Show these settings."""
        self._config, self._error = config, ""
        if self._form is not None:
            self._form.set_value(config)
        self._tell()

    def open_form(self) -> RunConfigForm:
        """Make the form, which is not made before it is wanted."""
        if self._form is None:
            from napari_ppn2v.widgets.forms.run_config_form import RunConfigForm

            self._form = RunConfigForm(self._config)
            self._form.value_changed.connect(self._on_edited)
            self._form.error_changed.connect(self._on_error)
            self.section.addWidget(self._form)
        return self._form

    def _on_toggled(self, is_open: bool) -> None:
        if is_open:
            self.open_form()

    def _on_edited(self, config: RunConfig) -> None:
        before, self._config = self._config, config
        if config.method != before.method:
            self._config = _with_method(config.method, before)
            assert self._form is not None
            self._form.set_value(self._config)
        self._error = ""
        self._tell()
        self.changed.emit()

    def _on_error(self, message: str) -> None:
        self._error = message
        self.changed.emit()

    def _on_reset(self) -> None:
        self.set_config(preset(self._config.preset))
        self.changed.emit()

    def _tell(self) -> None:
        """Say how many settings differ from the preset: they act while hidden."""
        count = len(changes_from(self._config, preset(self._config.preset)))
        self.told.setText(
            f"{count} setting{'s' * (count != 1)} changed from the preset."
        )
        self.told.setVisible(count > 0)
        self.reset.setVisible(count > 0)


def _with_method(method: str, config: RunConfig) -> RunConfig:
    """Return the settings with another method and the steps that belong to it."""
    kept = changes_from(config, base_of(config))
    kept.pop("inference.estimate", None)  # not every method has every estimate
    try:
        return with_changes(preset(config.preset, method=method), kept)
    except BadSetting:
        return preset(config.preset, method=method)
