"""Can the result be believed: shown below a finished run, with its report."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QWidget

from napari_ppn2v.core.checks.findings import worst
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.events import StageStarted
from napari_ppn2v.widgets.parts.basics import MessageLine, WrappedLabel
from napari_ppn2v.widgets.parts.check_part import CheckPart
from napari_ppn2v.widgets.parts.file_names import file_stem

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.core.checks.findings import Finding
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.result_check import ResultCheck
    from napari_ppn2v.pipeline.stack_job import StackReport
    from napari_ppn2v.pipeline.stack_summary import StackCheck
    from napari_ppn2v.stop import StopToken

CHEAP = 10.0
"""Seconds up to which a result is checked without being asked."""

_TITLE = "Can the result be believed?"
_ERROR, _EXPECTED = "expected error", "Expected error"
_HELP = (
    "Denoises some frames again, and as many with simulated noise. Tells how large the "
    "error is, without ground truth, and whether structure was taken away together "
    "with the noise."
)
_HEADLINES = {
    "fine": "What was taken away looks like noise and nothing else.",
    "careful": "Believable, but look at this:",
    "will not work": "Do not trust it before you have looked at this:",
}
_COLOURS = (
    "Orange: the result is too dark there, something may be lost. Blue: it is too "
    "bright. Where there is no colour, only noise was taken away. This is frame {}, "
    "the one with the most of it among those looked at."
)
_PAGES = "Reports (*.html)"


class ResultCheckPart(CheckPart):
    """Expected error, verdict, map of what was left, and the report of a run.

    Signals
    -------
    leftover_wanted(int, object)
        Channel and check whose map of leftover structure is to be shown.
    """

    leftover_wanted = Signal(int, object)

    def __init__(self, *, theme: str, parent: QWidget | None = None) -> None:
        super().__init__("Check the result", _HELP, theme=theme, parent=parent)
        self._report: StackReport | None = None
        self.checked: StackCheck | None = None
        self.title, self.error = QLabel(_TITLE), WrappedLabel()
        self.error.setTextFormat(Qt.TextFormat.RichText)
        self.note = MessageLine()
        self.leftover = QPushButton("Show leftover map")
        self.leftover.setToolTip(
            "<qt>Add a layer that colours places where more than noise was taken "
            "away.</qt>"
        )
        self.save = QPushButton("Save report…")
        self.save.setToolTip(
            "<qt>Write one page (HTML) with settings, pictures, findings and a "
            "paragraph for the methods section, and all figures beside it (JSON).</qt>"
        )
        self._lay_out_more()
        self.asked.connect(self.begin)
        self.leftover.clicked.connect(self._on_leftover)
        self.save.clicked.connect(self._ask_where)
        self.forget()

    def _lay_out_more(self) -> None:
        font = self.title.font()
        font.setBold(True)
        self.title.setFont(font)
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.leftover)
        row.addWidget(self.save)
        self.column.insertWidget(0, self.title)
        self.column.insertWidget(self.column.indexOf(self.findings), self.error)
        self.column.addWidget(buttons)
        self.column.addWidget(self.note)

    def show_run(self, report: StackReport) -> None:
        """Offer to check a result; do so at once where it takes seconds."""
        self.forget()
        if report.result is None:
            return
        from napari_ppn2v.pipeline.stack_summary import check_is_possible

        self._report = report
        self.setVisible(True)
        try:
            check_is_possible(report)
        except PPN2VError as error:
            self.button.set_reason(str(error))
            return
        self.button.set_reason("")
        if seconds_of_check(report) <= CHEAP:
            self.begin()

    def forget(self) -> None:
        """Show nothing: there is no result, or another one is being made."""
        self.clear()
        self._report = self.checked = None
        self.error.hide()
        self.leftover.hide()
        self.note.clear()
        self.setVisible(False)

    def begin(self) -> None:
        """Check the result."""
        report = self._report
        if report is None:
            return

        def job(stop: StopToken) -> Generator[Event, None, StackCheck]:
            from napari_ppn2v.pipeline.stack_summary import check_stack_result

            return check_stack_result(report, stop)

        self.start(job, "Checking the result", self._show)

    def write(self, path: Path) -> None:
        """Write the report to a file, and its figures beside it; checks if needed."""
        report, known = self._report, self.checked
        if report is None:
            return

        def job(stop: StopToken) -> Generator[Event, None, StackCheck | None]:
            return _written(report, known, path, stop)

        def done(checked: StackCheck | None) -> None:
            if checked is None:
                return
            self._show(checked)
            names = f"{path.name} and {path.with_suffix('.json').name}"
            self.note.show_info(f"Saved {names} in {path.parent}.")

        self.note.clear()
        self.start(job, "Writing the report", done)

    def _show(self, checked: StackCheck) -> None:
        checks = checked.checks
        if not checks:
            return
        self.checked = checked
        self.button.hide()  # nothing new can come of it
        self.error.setText("<br>".join(_error_words(*each) for each in checks))
        self.error.setToolTip(f"<qt>{html.escape(_about_error(checks))}</qt>")
        self.error.setVisible(bool(self.error.text()))
        groups = [
            (f"Channel {channel}" if len(checks) > 1 else "", told_of(check))
            for channel, check in checks
        ]
        verdict = worst(f.verdict for _, found in groups for f in found)
        badge = "bad" if verdict == "will not work" else verdict
        note = f"Looked at: {sum(len(c.images) for _, c in checks)} images."
        self.findings.show_findings(
            verdict, _HEADLINES[verdict], groups, badge=badge, note=note
        )
        self.leftover.setVisible(_most_left(checks)[1].residual.leftover.share > 0)

    def _on_leftover(self) -> None:
        if self.checked is None:
            return
        channel, check = _most_left(self.checked.checks)
        self.leftover_wanted.emit(channel, check)
        self.note.show_info(_COLOURS.format(check.shown.frame))

    def _ask_where(self) -> None:
        if self._report is None:
            return
        name = file_stem(self._report.request.observation.name)
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the report", f"{name}_report.html", _PAGES
        )
        if chosen:
            path = Path(chosen)
            is_page = path.suffix.lower() in (".html", ".htm")
            self.write(path if is_page else path.with_name(f"{path.name}.html"))


def seconds_of_check(report: StackReport) -> float:
    """Estimate how long a check takes, from how long the denoising took."""
    from napari_ppn2v.pipeline.result_check import MOST_IMAGES, SIDE

    request = report.request
    frames = request.observation.frames(request.channels[0])
    height, width = frames.shape
    looked_at = min(len(frames), MOST_IMAGES) * min(height, SIDE) * min(width, SIDE)
    share = looked_at / (len(frames) * height * width)
    # each image once more as it is, and once with simulated noise
    return 2 * share * report.seconds.get("denoise", 0.0)


def told_of(check: ResultCheck) -> tuple[Finding, ...]:
    """Return the findings, the worst first; a known error stands by itself."""
    order = ("will not work", "careful", "fine")
    told = (f for f in check.findings if f.name != _ERROR or not f.figures)
    return tuple(sorted(told, key=lambda each: order.index(each.verdict)))


def _error_words(channel: int, check: ResultCheck) -> str:
    found = _error_of(check)
    if found is None:
        return ""
    figures = found.figures
    return (
        f"<b>{_EXPECTED}</b> ± {figures['rmse_adu']:.3g} grey values "
        f"({figures['rmse_low_adu']:.3g} to {figures['rmse_high_adu']:.3g})"
        f"<br><b>PSNR</b> {figures['psnr_db']:.1f} dB, both without ground truth"
    )


def _error_of(check: ResultCheck) -> Finding | None:
    return next((f for f in check.findings if f.name == _ERROR and f.figures), None)


def _about_error(checks: tuple[tuple[int, ResultCheck], ...]) -> str:
    found = [_error_of(check) for _, check in checks]
    told = " ".join(dict.fromkeys(f.in_words for f in found if f is not None))
    return f"{told} The root mean square over pixels, estimated from the noise model."


def _most_left(
    checks: tuple[tuple[int, ResultCheck], ...],
) -> tuple[int, ResultCheck]:
    return max(checks, key=lambda each: each[1].shown.leftover.share)


def _written(
    report: StackReport, known: StackCheck | None, path: Path, stop: StopToken
) -> Generator[Event, None, StackCheck | None]:
    """Check if need be, gather and write; None if stopped."""
    from napari_ppn2v.core.devices import threads
    from napari_ppn2v.pipeline.stack_summary import check_stack_result, summarise_stack
    from napari_ppn2v.reports.make import write_report

    checked = known or (yield from check_stack_result(report, stop))
    if stop.is_stopped:
        return None
    summary = yield from summarise_stack(report, checked, path.parent, stop)
    if summary is None:
        return None
    yield StageStarted("report", 0)
    with threads(report.request.threads):
        write_report(summary, path.name)
    return checked
