"""What a check says: figures, a verdict, a sentence, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Verdict = Literal["fine", "careful", "will not work"]

VERDICTS: tuple[Verdict, ...] = ("fine", "careful", "will not work")
"""From the best to the worst."""

CHANCE = 3.0
"""Standard errors that a figure must lie beyond its threshold before it counts."""


@dataclass(frozen=True)
class Finding:
    """The answer to one question about a recording.

    Attributes
    ----------
    name : of the question, "noise correlation" for example
    verdict : "fine", "careful" (it works, with a flaw that the sentence names) or
        "will not work" (an assumption of the method is broken)
    figures : what was measured, by name; the unit is part of the name
    sentence : the figures in words
    advice : what to do, empty where there is nothing to do
    """

    name: str
    verdict: Verdict
    figures: Mapping[str, float] = field(default_factory=dict)
    sentence: str = ""
    advice: str = ""

    @property
    def is_important(self) -> bool:
        """Whether the user should read it before training."""
        return self.verdict != "fine"

    @property
    def in_words(self) -> str:
        """Sentence and advice in one line."""
        return f"{self.sentence} {self.advice}".strip()


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts, "fine" if there are none."""
    return max(verdicts, key=VERDICTS.index, default="fine")


def worst_of_each(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep the worst finding of each name, in the order of their first appearance."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        known = kept.get(finding.name)
        if known is None or worst((known.verdict, finding.verdict)) != known.verdict:
            kept[finding.name] = finding
    return tuple(kept.values())


def graded(value: float, error: float, limits: tuple[float, float]) -> Verdict:
    """Judge a figure of which more is worse, less what chance explains of it.

    Parameters
    ----------
    value, error : the figure and its standard error
    limits : above the first one must be careful, above the second it will not work
    """
    beyond_chance = value - CHANCE * error
    if beyond_chance > limits[1]:
        return "will not work"
    return "careful" if beyond_chance > limits[0] else "fine"


def share(part: float) -> str:
    """Write a share for people: "25 %", "0.35 %", "0.002 %"."""
    return f"{100 * part:.2g} %" if part < 0.1 else f"{100 * part:.0f} %"
