"""What a check has found: one verdict, what to know, and the rest on request."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_ppn2v.widgets.parts.basics import WrappedLabel
from napari_ppn2v.widgets.parts.section import Section
from napari_ppn2v.widgets.plots import plot_colours

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_ppn2v.core.checks.findings import Finding, Verdict

MARKS: dict[str, str] = {"fine": "✓", "careful": "!", "will not work": "✗"}
"""Shapes that tell verdicts apart for those who do not see colours apart."""

_RED = {True: "#ff8787", False: "#b91c1c"}  # on dark and on light grounds
_INK_ON_BADGE = {True: "#000000", False: "#ffffff"}


class FindingsView(QWidget):
    """A badge with the verdict, the findings that matter, the fine ones folded.

    Hidden while there is nothing to show.
    """

    def __init__(self, *, theme: str = "dark", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._theme = theme
        self._verdict: Verdict = "fine"
        self._badge = self._headline = self._note = ""
        self._groups: tuple[tuple[str, tuple[Finding, ...]], ...] = ()
        self.head, self.important = _RichLabel(), _RichLabel()
        self.fine = _RichLabel()
        self.folded = Section("", self.fine)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for part in (self.head, self.important, self.folded):
            column.addWidget(part)
        self.hide()

    def show_findings(
        self,
        verdict: Verdict,
        headline: str,
        groups: Iterable[tuple[str, Sequence[Finding]]],
        *,
        badge: str = "",
        note: str = "",
    ) -> None:
        """Show findings.

        Parameters
        ----------
        verdict : of all of them
        headline : in one sentence
        groups : findings under a title each; an empty title shows none
        badge : words on the badge, the verdict by default
        note : what was looked at, shown with the fine findings
        """
        self._verdict, self._headline, self._note = verdict, headline, note
        self._badge = badge or verdict
        self._groups = tuple((title, tuple(found)) for title, found in groups)
        self.folded.collapse(animate=False)
        self._draw()
        self.setVisible(True)

    def clear(self) -> None:
        """Show nothing."""
        self._groups = ()
        for label in (self.head, self.important, self.fine):
            label.clear()
        self.setVisible(False)

    def set_theme(self, theme: str) -> None:
        """Take the colours of one of napari's themes."""
        self._theme = theme
        if not self.isHidden():
            self._draw()

    def text(self) -> str:
        """Return all that is said, without colours, for readers of screens."""
        lines = [f"{self._badge}: {self._headline}"]
        for title, found in self._groups:
            lines += [title] if title else []
            lines += [f"{each.name}: {each.in_words}" for each in found]
        return "\n".join(lines)

    def _draw(self) -> None:
        colour, ink = self._colour(self._verdict), self._ink_on_badge()
        self.head.setText(
            f"<span style='background-color:{colour}; color:{ink}'><b>&nbsp;"
            f"{MARKS[self._verdict]} {html.escape(self._badge)}&nbsp;</b></span> "
            f"{html.escape(self._headline)}"
        )
        self.head.setAccessibleName(self.text())
        told = [
            (title, [each for each in found if each.is_important])
            for title, found in self._groups
        ]
        fine = [
            (title, [each for each in found if not each.is_important])
            for title, found in self._groups
        ]
        self.important.setText(self._listed(told))
        self.important.setVisible(any(found for _, found in told))
        self._draw_fine(fine)

    def _draw_fine(self, fine: list[tuple[str, list[Finding]]]) -> None:
        count = sum(len(found) for _, found in fine)
        note = f"<p style='margin:4px 0 0 0'>{html.escape(self._note)}</p>"
        self.fine.setText(self._listed(fine) + (note if self._note else ""))
        things = "question is" if count == 1 else "questions are"
        self.folded.set_title(f"{count} {things} answered “fine”")
        self.folded.setVisible(bool(count))

    def _listed(self, groups: list[tuple[str, list[Finding]]]) -> str:
        parts = []
        for title, found in groups:
            if title and found:
                parts.append(
                    f"<p style='margin:4px 0 0 0'><u>{html.escape(title)}</u></p>"
                )
            parts += [self._told(each) for each in found]
        return "".join(parts)

    def _told(self, finding: Finding) -> str:
        name = finding.name[:1].upper() + finding.name[1:]
        text = (
            f"<span style='color:{self._colour(finding.verdict)}'>"
            f"<b>{MARKS[finding.verdict]} {html.escape(name)}</b></span><br>"
            f"{html.escape(finding.sentence)}"
        )
        if finding.advice:
            text += f"<br><i>→ {html.escape(finding.advice)}</i>"
        return f"<p style='margin:5px 0 0 0'>{text}</p>"

    def _colour(self, verdict: Verdict) -> str:
        colours = plot_colours(self._theme)
        by_verdict = {
            "fine": colours.accent,
            "careful": colours.model,
            "will not work": _RED[colours.is_dark],
        }
        return by_verdict[verdict]

    def _ink_on_badge(self) -> str:
        return _INK_ON_BADGE[plot_colours(self._theme).is_dark]


class _RichLabel(WrappedLabel):
    """Text with colours; whoever sets it escapes what is not its own."""

    def __init__(self) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.RichText)
