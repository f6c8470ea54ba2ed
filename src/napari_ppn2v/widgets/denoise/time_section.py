"""Fast, Balanced or Thorough, each with the time it takes on this machine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QGridLayout, QLabel, QRadioButton, QWidget

from napari_ppn2v.widgets.parts.stage_words import duration_words

if TYPE_CHECKING:
    from collections.abc import Mapping

CHOICES = {
    "fast": ("Fast", "A first look; often enough for strong structures."),
    "balanced": ("Balanced", "A good result in reasonable time."),
    "thorough": ("Thorough", "The best result; for images that matter."),
}
"""Preset -> label and help."""


class TimeSection(QWidget):
    """Choice of a preset.

    Signals
    -------
    changed
        The user chose another preset.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._group = QButtonGroup(self)
        self._buttons: dict[str, QRadioButton] = {}
        self._times: dict[str, QLabel] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(0)
        for column, (name, (label, text)) in enumerate(CHOICES.items()):
            button, seconds = QRadioButton(label), QLabel()
            button.setToolTip(f"<qt>{text}</qt>")
            seconds.setTextFormat(Qt.TextFormat.PlainText)
            self._group.addButton(button)
            self._buttons[name], self._times[name] = button, seconds
            grid.addWidget(button, 0, column)
            grid.addWidget(seconds, 1, column)
        self._buttons["balanced"].setChecked(True)
        self._group.buttonToggled.connect(self._on_toggled)
        self.show_unknown()

    @property
    def preset(self) -> str:
        """Name of the preset chosen."""
        return next(n for n, button in self._buttons.items() if button.isChecked())

    def choose(self, preset: str) -> None:
        """Choose a preset, as the user would."""
        self._buttons[preset].setChecked(True)

    def button_of(self, preset: str) -> QRadioButton:
        """Return the button of a preset."""
        return self._buttons[preset]

    def text_of(self, preset: str) -> str:
        """Return what is said about the time of a preset."""
        return self._times[preset].text()

    def show_unknown(self) -> None:
        """Show no times: no image is chosen."""
        self._show({})

    def show_measuring(self) -> None:
        """Say that the times are being measured."""
        for label in self._times.values():
            label.setText("measuring…")

    def show_seconds(self, seconds: Mapping[str, float]) -> None:
        """Show how long each preset takes, in seconds."""
        self._show(
            {
                name: f"about {duration_words(value)}"
                for name, value in seconds.items()
                if math.isfinite(value)
            }
        )

    def _show(self, texts: Mapping[str, str]) -> None:
        for name, label in self._times.items():
            label.setText(texts.get(name, ""))
            words = f"{CHOICES[name][0]}, {texts.get(name, 'time not known yet')}"
            self._buttons[name].setAccessibleName(words)

    def _on_toggled(self, button: QRadioButton, is_checked: bool) -> None:
        if is_checked:
            self.changed.emit()
