"""A part of a dock that opens and closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon, QPixmap
from superqt import QCollapsible

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

_OPEN, _CLOSED = "▾", "▸"
_INDENT = 8  # pixels


class Section(QCollapsible):
    """Closed at first; opens at once, without animation.

    Its arrow is a letter: unlike an icon, it has the colour of the theme.

    Parameters
    ----------
    title : of the section
    content : what it holds; more can be added by `addWidget`
    """

    def __init__(
        self, title: str, content: QWidget | None = None, parent: QWidget | None = None
    ) -> None:
        nothing = QPixmap(1, 1)
        nothing.fill(Qt.GlobalColor.transparent)
        icon = QIcon(nothing)
        super().__init__(
            f"{_CLOSED} {title}", parent, expandedIcon=icon, collapsedIcon=icon
        )
        self._title = title
        self.setDuration(0)
        self.toggleButton().setAccessibleName(title)
        self.toggled.connect(self._on_toggled)
        for part, left in ((self, 0), (self.content(), _INDENT)):
            layout = part.layout()
            if layout is not None:
                layout.setContentsMargins(left, 0, 0, 0)
                layout.setSpacing(2)
        if content is not None:
            self.addWidget(content)

    def set_title(self, title: str) -> None:
        """Give it another title."""
        self._title = title
        self.toggleButton().setAccessibleName(title)
        self._on_toggled(self.isExpanded())

    def _on_toggled(self, is_open: bool) -> None:
        self.setText(f"{_OPEN if is_open else _CLOSED} {self._title}")
