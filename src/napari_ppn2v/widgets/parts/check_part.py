"""A check at the push of a button: progress, Stop, and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.widgets.parts.findings_view import FindingsView
from napari_ppn2v.widgets.parts.side_run import SideRun

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget


class CheckPart(SideRun):
    """Checks inform and never block."""

    def __init__(
        self, button: str, help_: str, *, theme: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(button, help_, parent)
        self.findings = FindingsView(theme=theme)
        self.column.addWidget(self.findings)

    def clear(self) -> None:
        """Give up what goes on, and forget what was found."""
        self.cancel()
        self.message.clear()
        self.findings.clear()

    def set_theme(self, theme: str) -> None:
        """Take the colours of one of napari's themes."""
        self.findings.set_theme(theme)
