"""Is the data fit for it: the check before a training, for a layer and a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ppn2v.widgets.parts.check_part import CheckPart

if TYPE_CHECKING:
    from collections.abc import Hashable

    from qtpy.QtWidgets import QWidget

    from napari_ppn2v.core.checks.findings import Finding
    from napari_ppn2v.pipeline.data_check import DataCheck
    from napari_ppn2v.workers import Job

_HELP = (
    "Looks at a part of the data, which takes seconds: clipped pixels, stretched "
    "contrast, noise that neighbouring pixels share, stripes, hot pixels, and more. "
    "It informs and never keeps you from going on."
)
_HEADLINES = {
    "fine": "Nothing was found that speaks against it.",
    "careful": "It works, with {} to know of:",
    "will not work": "Not as it is. An assumption of the method is broken:",
}
_NUMBERS = {1: "one flaw", 2: "two flaws", 3: "three flaws"}


class DataCheckPart(CheckPart):
    """A check whose findings are dropped when something else is chosen.

    Parameters
    ----------
    button : its words, "Check data"
    """

    def __init__(
        self, button: str, *, theme: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(button, _HELP, theme=theme, parent=parent)
        self._arrays: tuple[Any, ...] = ()
        self._words: Hashable = None
        self.check: DataCheck | None = None

    def set_subject(self, arrays: tuple[Any, ...], words: Hashable = None) -> None:
        """Say what is chosen; findings on anything else are dropped.

        Parameters
        ----------
        arrays : whose identity counts
        words : what else counts, axes and channels for example
        """
        is_same = len(arrays) == len(self._arrays) and all(
            array is known for array, known in zip(arrays, self._arrays, strict=True)
        )
        if not is_same or words != self._words:
            self._arrays, self._words = arrays, words
            self.clear()

    @property
    def is_told(self) -> bool:
        """Whether a check of what is chosen came to its end, so that all is shown."""
        return self.check is not None and not self.check.is_stopped

    def clear(self) -> None:
        """Give up what goes on, and forget what was found."""
        self.check = None
        super().clear()

    def begin(self, job: Job, name: str) -> None:
        """Run a job that returns a `DataCheck`, all of whose modules are loaded."""
        self.findings.clear()
        self.start(job, f"Checking “{name}”", self._show, is_light=True)

    def _show(self, check: DataCheck) -> None:
        self.check = check
        if not check.read:  # stopped before anything was looked at
            return
        groups = data_groups(check)
        self.findings.show_findings(
            check.verdict, headline(check), groups, note=_read_words(check)
        )


def headline(check: DataCheck) -> str:
    """Say in one sentence what the check has come to."""
    count = len(check.important)
    flaws = _NUMBERS.get(count, f"{count} flaws")
    text = _HEADLINES[check.verdict].format(flaws)
    return f"{text} (stopped early)" if check.is_stopped else text


def data_groups(check: DataCheck) -> list[tuple[str, tuple[Finding, ...]]]:
    """Return findings under titles, where image and calibration were both checked."""
    groups = [("", _worst_first(check.findings))]
    known = check.calibration
    if known is not None:
        groups = [("Image", groups[0][1])]
        groups.append(("Calibration recording", _worst_first(known.findings)))
    return groups


def _worst_first(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    order = ("will not work", "careful", "fine")
    return tuple(sorted(findings, key=lambda each: order.index(each.verdict)))


def _read_words(check: DataCheck) -> str:
    parts = check.read + (check.calibration.read if check.calibration else ())
    looked = [
        f"{part.n_frames_read} of {part.n_frames} frames, the middle "
        f"{part.window[0]} x {part.window[1]} pixels"
        for part in parts
    ]
    looked = list(dict.fromkeys(looked))
    return f"Looked at: {'; '.join(looked)}. It took {check.seconds:.1f} seconds."
