"""What a method has to reach, and whether it did: decided from the rows alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evidence.details_scenes import HEIGHTS, LEVELS
from evidence.methods import NOISY
from evidence.tables import NOT_RUN, Mean, paired

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evidence.ledger import Row

OURS = "auto-bootstrapped-ours"
REFERENCES = {
    "n2v-published": "Noise2Void as published",
    "n2v-ours": "Noise2Void, ours",
}
BANDS = tuple(range(5))
MOST_LEFT = 0.10
SHARES = ("flat", "recovered")  # measures that are read in per cent


@dataclass(frozen=True)
class Bar:
    """A comparison with Noise2Void, or with a fixed value.

    Attributes
    ----------
    words : the bar as a reader reads it
    measure : name in the rows
    places : values of `at` that all have to pass
    sign : 1 where more is better, -1 where less is
    slack : standard errors of the difference by which it may fall behind
    limit : what the value may not exceed, in place of a comparison
    place_words : of one place, with {} for it
    """

    words: str
    measure: str
    places: tuple[Any, ...]
    sign: int
    slack: float = 0.0
    limit: float | None = None
    place_words: str = "{}"


LEVEL_WORDS = "brighter than {} %"
SHAPE_WORDS = {"pixel": "single bright pixels", "point source": "point sources"}
BARS = (
    Bar("uniform light: at most 10 % of the noise is left", "flat noise left", LEVELS,
        -1, limit=MOST_LEFT, place_words=LEVEL_WORDS),
    Bar("uniform light: no more noise left than by Noise2Void", "flat noise left",
        LEVELS, -1, place_words=LEVEL_WORDS),
    *(
        Bar(f"{words}: at least Noise2Void's height", f"recovered {shape}",
            tuple(HEIGHTS), 1, place_words="{:g} × the noise")
        for shape, words in SHAPE_WORDS.items()
    ),
    Bar("finest correct detail: not coarser than Noise2Void's by more than one "
        "standard error", "finest detail", ("all",), 1, slack=1.0),
    Bar("error by fineness: in no band above Noise2Void's by more than one standard "
        "error", "spectral error", BANDS, -1, slack=1.0, place_words="band {}"),
    Bar("SSIM: not below Noise2Void's by more than one standard error", "ssim",
        ("all",), 1, slack=1.0),
)  # fmt: skip


def longest(rows: Sequence[Row]) -> list[Row]:
    """Keep, of each data set, the noisy images and the longest trainings alone."""
    most: dict[str, float] = {}
    for row in rows:
        name = row["data set"]
        most[name] = max(most.get(name, 0.0), row["seconds"])
    return [
        row
        for row in rows
        if row["method"] == NOISY.name or row["seconds"] == most[row["data set"]]
    ]


def by_repeat(
    rows: Sequence[Row], data_set: str, method: str, measure: str, at: Any
) -> dict[int, float]:
    """Return the value of each repeat."""
    wanted = (data_set, method, measure, at)
    columns = ("data set", "method", "measure", "at")
    return {
        row["repeat"]: row["value"]
        for row in rows
        if tuple(row[column] for column in columns) == wanted
    }


@dataclass(frozen=True)
class Verdict:
    """Whether ours meets a bar.

    Attributes
    ----------
    n : places where it was measured; 0 where it was not run
    missed : where it falls short and by what, in words
    """

    n: int
    missed: tuple[str, ...] = ()

    @property
    def short(self) -> str:
        """Say it in a few words."""
        if self.n == 0:
            return NOT_RUN
        if not self.missed:
            return "**met**"
        return "not met" + (f" at {len(self.missed)} of {self.n}" if self.n > 1 else "")

    @property
    def full(self) -> str:
        """Say where it was missed, too."""
        if not self.missed:
            return self.short
        return f"{self.short} ({'; '.join(self.missed)})"


def verdict(rows: Sequence[Row], data_set: str, bar: Bar, reference: str) -> Verdict:
    """Decide whether ours meets a bar at all of its places.

    Parameters
    ----------
    reference : name of the Noise2Void that it is compared with
    """
    missed = []
    for place in bar.places:
        ours = by_repeat(rows, data_set, OURS, bar.measure, place)
        if bar.limit is None:
            theirs = by_repeat(rows, data_set, reference, bar.measure, place)
            found = paired(ours, theirs)
        else:
            found = Mean.of(list(ours.values())) if ours else None
        if found is None:
            return Verdict(0)
        if not _passes(found, bar):
            missed.append(_words(bar, place, found))
    return Verdict(len(bar.places), tuple(missed))


def _passes(found: Mean, bar: Bar) -> bool:
    if bar.limit is not None:
        return bar.sign * (found.mean - bar.limit) >= 0
    error = 0.0 if math.isnan(found.error) else found.error
    return bar.sign * found.mean + bar.slack * error >= 0


def _words(bar: Bar, place: Any, found: Mean) -> str:
    """Say where a bar was missed and by what: a value, or the difference to it."""
    is_difference = bar.limit is None
    if bar.measure.startswith(SHARES):
        unit = "points" if is_difference else "%"
        value = per_cent(found, 1, signed=is_difference, unit=unit)
    else:
        value = found.shown(3, signed=is_difference)
    if bar.places == ("all",):
        return value
    return f"{bar.place_words.format(place)}: {value}"


def per_cent(mean: Mean, digits: int, *, signed: bool = False, unit: str = "%") -> str:
    """Write a share, 1 for all, in per cent."""
    scaled = Mean(100 * mean.mean, 100 * mean.error, mean.n)
    text = scaled.shown(digits, signed=signed)
    # the unit belongs to the figures, not after "(n = 1)"
    return text.replace(" (n", f" {unit} (n") if " (n" in text else f"{text} {unit}"
