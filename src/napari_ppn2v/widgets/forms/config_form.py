"""A form for any frozen dataclass of documented settings."""

from __future__ import annotations

import typing
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.widgets.forms.editors import make_editor
from napari_ppn2v.widgets.forms.words import tooltip
from napari_ppn2v.widgets.parts.basics import MessageLine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class FieldsForm(QWidget):
    """Labelled editors for the fields of a settings dataclass, without checks.

    Emits `edited` once for each change by the user.

    Parameters
    ----------
    config_type
        A dataclass whose fields are made by `settings.setting`.
    fields
        Names of the fields to show, in this order; all documented ones by default.
    instead
        Of a field, what to say or offer in place of what the settings do: "choices",
        "help"...
    """

    edited = Signal()

    def __init__(
        self,
        config_type: type,
        *,
        fields: Sequence[str] | None = None,
        instead: Mapping[str, Mapping[str, Any]] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        changes = instead or {}
        documented = {
            item.name: {**item.metadata, **changes.get(item.name, {})}
            for item in fields_of(config_type)
            if item.metadata
        }
        hints = typing.get_type_hints(config_type)
        self._editors: dict[str, Any] = {}
        self._labels: dict[str, QLabel] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        for name in documented if fields is None else fields:
            meta = documented[name]
            editor, label = make_editor(hints[name], meta), QLabel(meta["label"])
            for widget in (label, editor, *editor.findChildren(QWidget)):
                widget.setToolTip(tooltip(meta))
            label.setBuddy(editor)
            editor.edited.connect(self.edited)
            layout.addRow(label, editor)
            self._editors[name], self._labels[name] = editor, label

    def edits(self) -> dict[str, Any]:
        """Return the values of the fields shown."""
        return {name: editor.value() for name, editor in self._editors.items()}

    def show_config(self, config: Any) -> None:
        """Show the values of a config; `edited` is not emitted."""
        for name, editor in self._editors.items():
            editor.set_value(getattr(config, name))

    def editor(self, name: str) -> Any:
        """Return the editor of one field."""
        return self._editors[name]

    def set_shown(self, name: str, is_shown: bool) -> None:
        """Show or hide one field with its label; its value stays."""
        self._editors[name].setVisible(is_shown)
        self._labels[name].setVisible(is_shown)


class ConfigForm(QWidget):
    """A form for the settings of one frozen dataclass.

    Parameters
    ----------
    config_type
        A dataclass whose fields are made by `settings.setting`.
    fields
        Names of the fields to show, in this order; all documented ones by default.
    values
        The config to begin with, the defaults if not given.

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
        self,
        config_type: type,
        *,
        fields: Sequence[str] | None = None,
        values: Any | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._form = FieldsForm(config_type, fields=fields)
        self._config = config_type() if values is None else values
        self._error = ""
        self._message = MessageLine()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._form)
        layout.addWidget(self._message)
        layout.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._form.show_config(self._config)
        self._form.edited.connect(self._on_edited)

    def value(self) -> Any:
        """Return the config as entered; fields not shown keep what was set.

        Raises
        ------
        BadSetting  If the settings contradict each other; see `error`.
        """
        return replace(self._config, **self._form.edits())

    def set_value(self, config: Any) -> None:
        """Show a config; `value_changed` is not emitted."""
        self._config = config
        self._form.show_config(config)
        self._set_error("")

    def error(self) -> str:
        """Return why the settings are refused, empty where they are allowed."""
        try:
            self.value()
        except BadSetting as error:
            return str(error)
        return ""

    def editor(self, name: str) -> Any:
        """Return the editor of one field."""
        return self._form.editor(name)

    def set_shown(self, name: str, is_shown: bool) -> None:
        """Show or hide one field with its label; its value stays."""
        self._form.set_shown(name, is_shown)

    def _on_edited(self) -> None:
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
