"""Means, standard errors and Markdown pages, made from the rows of a CSV file."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common import markdown_table
from napari_ppn2v.files.atomic import write_text_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from evidence.ledger import Row

NOT_RUN = "not run"
MADE_BY = "<!-- Made from the CSV file beside it; do not edit by hand. -->"


@dataclass(frozen=True)
class Mean:
    """A mean over repeats and its standard error, nan for a single one."""

    mean: float
    error: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Return mean and standard error of the repeats."""
        n = len(values)
        error = statistics.stdev(values) / math.sqrt(n) if n > 1 else math.nan
        return cls(statistics.fmean(values), error, n)

    def shown(self, digits: int = 2, *, signed: bool = False) -> str:
        """Write `mean ± error`, or the mean and (n = 1)."""
        sign = "+" if signed else ""
        mean = f"{self.mean:{sign}.{digits}f}"
        if math.isnan(self.error):
            return f"{mean} (n = {self.n})"
        return f"{mean} ± {self.error:.{digits}f}"


def repeat_means(
    rows: Iterable[Row], column: str, n_images: int | None = None
) -> dict[int, float]:
    """Mean over images of a score for each repeat that scored all of them.

    Parameters
    ----------
    rows : of one method on one data set, one for each image and repeat
    n_images : images that a complete repeat scored; the most of any, if not given
    """
    by_repeat: dict[int, dict[Any, float]] = {}
    for row in rows:
        place = (row.get("part"), row["image"])
        by_repeat.setdefault(row["repeat"], {})[place] = row[column]
    if not by_repeat:
        return {}
    whole = n_images or max(len(found) for found in by_repeat.values())
    return {
        repeat: statistics.fmean(found.values())
        for repeat, found in sorted(by_repeat.items())
        if len(found) == whole
    }


def paired(first: dict[int, float], second: dict[int, float]) -> Mean | None:
    """Mean difference of the repeats that both have, None if there is none.

    A result without chance, such as a filter's, is paired with every repeat.
    """
    if len(second) == 1 and len(first) > 1:
        second = dict.fromkeys(first, next(iter(second.values())))
    both = [first[repeat] - second[repeat] for repeat in first if repeat in second]
    return Mean.of(both) if both else None


def page(title: str, *parts: str) -> str:
    """Join a title, paragraphs and tables to a Markdown page."""
    pieces = [f"# {title}", MADE_BY, *(part.strip() for part in parts)]
    return "\n\n".join(pieces) + "\n"


def write_page(path: Path, title: str, *parts: str) -> None:
    """Write a Markdown page, replacing the last one as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, page(title, *parts))


def cross_table(
    rows: Sequence[tuple[str, str]],
    columns: Sequence[tuple[str, str]],
    cell: Callable[[str, str], str],
    corner: str = "",
) -> str:
    """Lay out a table; `rows` and `columns` are (key, label), `cell` fills it."""
    return markdown_table(
        [
            {corner: label, **{head: cell(key, column) for column, head in columns}}
            for key, label in rows
        ]
    )
