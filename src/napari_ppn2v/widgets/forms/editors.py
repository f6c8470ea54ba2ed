"""One small editor per type of setting, all with the same three members.

`value()`, `set_value(value)` and the signal `edited`, which is emitted once for each
change by the user and never by `set_value`.
"""

from __future__ import annotations

import math
import re
import types
import typing
from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QValidator
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.widgets.forms.words import choice_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtpy.QtGui import QWheelEvent

_LARGEST_INT = 2**31 - 1  # of Qt's spin box
_LARGEST_FLOAT = 1e300
_ALL_DECIMALS = 323  # so that Qt never rounds a value
_NARROWEST = 72  # pixels; docks are narrow
_NARROWEST_WITH_UNIT = 100  # pixels
_UNFINISHED = re.compile(r"[+-]?\d*[.,]?\d*(e[+-]?\d*)?", re.IGNORECASE)


class Editor(Protocol):
    """What all editors offer; each of them is a QWidget."""

    edited: Any

    def value(self) -> Any:
        """Return what is entered."""
        ...

    def set_value(self, value: Any) -> None:
        """Show a value without telling that anything was edited."""
        ...


class IntEditor(QSpinBox):
    """A whole number; the keys up and down step by one."""

    edited = Signal()

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        low, high = metadata["minimum"], metadata["maximum"]
        self.setRange(
            -_LARGEST_INT if low is None else int(low),
            _LARGEST_INT if high is None else int(high),
        )
        self.setGroupSeparatorShown(False)
        _prepare_spin_box(self, metadata)
        self.valueChanged.connect(lambda _: self.edited.emit())

    def value(self) -> int:
        """Return the number, of what is being typed too."""
        self.interpretText()
        return super().value()

    def set_value(self, value: int) -> None:
        """Show a number."""
        with QSignalBlocker(self):
            self.setValue(value)

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Turn the number only where the user is in the editor."""
        if not _passes_by(self, event):
            super().wheelEvent(event)


class FloatEditor(QDoubleSpinBox):
    """A real number of any size, kept exactly: 0.003, 1e-7, 65535.

    The keys up and down change the second digit.
    """

    edited = Signal()

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        low, high = metadata["minimum"], metadata["maximum"]
        self.setDecimals(_ALL_DECIMALS)
        self.setRange(
            -_LARGEST_FLOAT if low is None else float(low),
            _LARGEST_FLOAT if high is None else float(high),
        )
        _prepare_spin_box(self, metadata)
        # there is no step that suits 1e-7 and 65535; the room is for the digits
        self.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
        self.valueChanged.connect(lambda _: self.edited.emit())

    def value(self) -> float:
        """Return the number, of what is being typed too."""
        self.interpretText()
        return super().value()

    def set_value(self, value: float) -> None:
        """Show a number."""
        with QSignalBlocker(self):
            self.setValue(value)

    def textFromValue(self, value: float) -> str:
        """Write a number with as many digits as it needs."""
        return number_text(value)

    def valueFromText(self, text: str | None) -> float:
        """Read a number, with a point or a comma."""
        return float(self._number_in(text or "").replace(",", "."))

    def validate(
        self, text: str | None, position: int
    ) -> tuple[QValidator.State, str, int]:
        """Tell a number from the beginning of one and from anything else."""
        written = text or ""
        number = self._number_in(written)
        try:
            is_inside = self.minimum() <= self.valueFromText(written) <= self.maximum()
        except ValueError:
            is_inside = False
        if is_inside:
            state = QValidator.State.Acceptable
        elif _UNFINISHED.fullmatch(number):
            state = QValidator.State.Intermediate
        else:
            state = QValidator.State.Invalid
        return state, written, position

    def stepBy(self, steps: int) -> None:
        """Change the second digit."""
        now = self.value()
        size = 10.0 ** (math.floor(math.log10(abs(now))) - 1) if now else 1.0
        self.setValue(float(f"{now + steps * size:.12g}"))

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Turn the number only where the user is in the editor."""
        if not _passes_by(self, event):
            super().wheelEvent(event)

    def _number_in(self, text: str) -> str:
        return text.removesuffix(self.suffix()).strip()


class ChoiceEditor(QComboBox):
    """One of several words."""

    edited = Signal()

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        for choice in metadata["choices"]:
            self.addItem(choice_text(choice), choice)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumContentsLength(8)
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        _prepare(self, metadata)
        self.currentIndexChanged.connect(lambda _: self.edited.emit())

    def value(self) -> str:
        """Return the choice as the settings know it."""
        return str(self.currentData())

    def set_value(self, value: str) -> None:
        """Show a choice."""
        with QSignalBlocker(self):
            self.setCurrentIndex(self.findData(value))

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Change the choice only where the user is in the editor."""
        if not _passes_by(self, event):
            super().wheelEvent(event)


class TextEditor(QLineEdit):
    """Free text; an edit ends with Enter or by leaving the field."""

    edited = Signal()

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        self._told = ""
        _prepare(self, metadata)
        self.editingFinished.connect(self._tell)

    def value(self) -> str:
        """Return the text."""
        return self.text()

    def set_value(self, value: str) -> None:
        """Show a text."""
        self._told = value
        self.setText(value)

    def _tell(self) -> None:
        if self.text() != self._told:
            self._told = self.text()
            self.edited.emit()


class BoolEditor(QCheckBox):
    """On or off."""

    edited = Signal()

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        _prepare(self, metadata)
        self.toggled.connect(lambda _: self.edited.emit())

    def value(self) -> bool:
        """Return whether it is on."""
        return self.isChecked()

    def set_value(self, value: bool) -> None:
        """Show whether it is on."""
        with QSignalBlocker(self):
            self.setChecked(value)


class RangeEditor(QWidget):
    """The two ends of a range."""

    edited = Signal()

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        self._low = FloatEditor({**metadata, "unit": ""})
        self._high = FloatEditor(metadata)
        for end, editor in (("lowest", self._low), ("highest", self._high)):
            editor.setAccessibleName(f"{metadata['label']}: {end}")
            editor.edited.connect(self.edited)
        _in_a_row(self, (self._low, QLabel("to"), self._high))

    def value(self) -> tuple[float, float]:
        """Return both ends."""
        return self._low.value(), self._high.value()

    def set_value(self, value: tuple[float, float]) -> None:
        """Show both ends."""
        self._low.set_value(value[0])
        self._high.set_value(value[1])


class OptionalEditor(QWidget):
    """A value, or None by a check box "automatic" beside its editor."""

    edited = Signal()

    def __init__(self, editor: Any, metadata: Mapping[str, Any]) -> None:
        super().__init__()
        self._editor = editor
        self.automatic = QCheckBox("automatic")
        _prepare(self.automatic, metadata)
        self.automatic.setAccessibleName(f"{metadata['label']}: automatic")
        self.automatic.setMinimumWidth(0)
        if metadata["suggestion"] is not None:
            editor.set_value(metadata["suggestion"])
        editor.edited.connect(self.edited)
        self.automatic.toggled.connect(editor.setDisabled)
        self.automatic.toggled.connect(lambda _: self.edited.emit())
        self.setFocusProxy(self.automatic)
        if isinstance(editor, RangeEditor):
            _in_a_column(self, (self.automatic, editor))
        else:
            _in_a_row(self, (self.automatic, editor))

    def value(self) -> Any:
        """Return the value, or None for automatic."""
        return None if self.automatic.isChecked() else self._editor.value()

    def set_value(self, value: Any) -> None:
        """Show a value, or automatic for None."""
        with QSignalBlocker(self):
            self.automatic.setChecked(value is None)
            self._editor.setDisabled(value is None)
            if value is not None:
                self._editor.set_value(value)


def make_editor(hint: Any, metadata: Mapping[str, Any]) -> Any:
    """Return the editor for a setting of this type.

    Parameters
    ----------
    hint
        bool, int, float, str or tuple[float, float], or one of these and None.
    metadata
        Of the field, as `settings.setting` leaves it.
    """
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        (inner,) = (part for part in typing.get_args(hint) if part is not type(None))
        return OptionalEditor(make_editor(inner, metadata), metadata)
    if metadata["choices"] is not None:
        return ChoiceEditor(metadata)
    if typing.get_origin(hint) is tuple:
        return RangeEditor(metadata)
    kinds = {bool: BoolEditor, int: IntEditor, float: FloatEditor, str: TextEditor}
    return kinds[hint](metadata)


def number_text(value: float) -> str:
    """Write a number in the shortest way that means exactly this number.

    >>> number_text(1e-7), number_text(512.0), number_text(0.003)
    ('1e-7', '512', '0.003')
    """
    text = repr(float(value)).removesuffix(".0").replace("e+", "e")
    return re.sub(r"e(-?)0+", r"e\1", text)


def _prepare(editor: QWidget, metadata: Mapping[str, Any]) -> None:
    editor.setMinimumWidth(_NARROWEST)
    editor.setAccessibleName(metadata["label"])
    editor.setAccessibleDescription(metadata["help"])


def _prepare_spin_box(
    editor: QSpinBox | QDoubleSpinBox, metadata: Mapping[str, Any]
) -> None:
    _prepare(editor, metadata)
    if metadata["unit"]:
        editor.setSuffix(f" {metadata['unit']}")
        editor.setMinimumWidth(_NARROWEST_WITH_UNIT)
    # a number is told when it is complete, not after each key
    editor.setKeyboardTracking(False)
    editor.setCorrectionMode(type(editor).CorrectionMode.CorrectToNearestValue)
    editor.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    editor.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)


def _passes_by(editor: QWidget, event: QWheelEvent | None) -> bool:
    """Leave the wheel to the scroll area unless the user is in the editor."""
    if event is None or editor.hasFocus():
        return False
    event.ignore()
    return True


def _in_a_row(parent: QWidget, widgets: tuple[QWidget, ...]) -> None:
    row = QHBoxLayout(parent)
    row.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        row.addWidget(widget)
    row.setStretchFactor(widgets[-1], 1)


def _in_a_column(parent: QWidget, widgets: tuple[QWidget, ...]) -> None:
    column = QVBoxLayout(parent)
    column.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        column.addWidget(widget)
