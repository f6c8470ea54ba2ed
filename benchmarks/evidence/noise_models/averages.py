"""Means over folds, and differences paired by fold, of the rows of a study."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from evidence.noise_models.study import POSTERIOR, by_fold
from evidence.tables import NOT_RUN, Mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evidence.ledger import Row

FEWEST_SHOWN = 1e-4  # of the pixels, that are told to be impossible


def folds_of(rows: Sequence[Row], column: str, **named: Any) -> dict[int, float]:
    """Mean over repeats of a column, for each fold."""
    found: dict[int, list[float]] = {}
    for (_, fold), value in by_fold(rows, column, **named).items():
        found.setdefault(fold, []).append(value)
    return {fold: statistics.fmean(values) for fold, values in sorted(found.items())}


def mean_of(rows: Sequence[Row], column: str, **named: Any) -> Mean | None:
    """Mean over folds and its standard error."""
    found = folds_of(rows, column, **named)
    return Mean.of(list(found.values())) if found else None


def paired(
    rows: Sequence[Row], column: str, first: dict[str, Any], second: dict[str, Any]
) -> Mean | None:
    """Mean over folds of a difference, first minus second, of those that have both."""
    a, b = folds_of(rows, column, **first), folds_of(rows, column, **second)
    both = [a[fold] - b[fold] for fold in a if fold in b]
    return Mean.of(both) if both else None


def shown(mean: Mean | None, digits: int, *, signed: bool = False) -> str:
    """Write a mean, or nothing where nothing was run."""
    return "" if mean is None else mean.shown(digits, signed=signed)


def likelihood_cell(rows: Sequence[Row], digits: int = 3, **named: Any) -> str:
    """Write a held-out likelihood, and the share of impossible pixels if there are."""
    named = {**named, "way": POSTERIOR}
    nll = mean_of(rows, "nll", **named)
    if nll is None:
        return "fit failed" if _failed(rows, **named) else ""
    impossible = mean_of(rows, "impossible", **named)
    text = nll.shown(digits)
    if impossible is None or impossible.mean < FEWEST_SHOWN:
        return text
    rest = mean_of(rows, "nll possible", **named)
    return f"{text} ({percent(impossible.mean)} impossible; others {shown(rest, 3)})"


def psnr_cell(
    rows: Sequence[Row], way: str, reference: dict[str, Any], **named: Any
) -> str:
    """Write the PSNR, and its difference to that of a reference, paired by fold."""
    named = {**named, "way": way}
    mean = mean_of(rows, "psnr", **named)
    if mean is None:
        return NOT_RUN
    difference = paired(rows, "psnr", named, {**reference, "way": way})
    if difference is None or (
        difference.mean == 0 and named == {**reference, "way": way}
    ):
        return f"{mean.mean:.2f}"
    return f"{mean.mean:.2f} ({shown(difference, 2, signed=True)})"


def has_psnr(rows: Sequence[Row], way: str, **named: Any) -> bool:
    """Whether images were denoised in a way."""
    return bool(by_fold(rows, "psnr", way=way, **named))


def _failed(rows: Sequence[Row], **named: Any) -> bool:
    return bool(by_fold(rows, "failed", **named))


def percent(share: float) -> str:
    """Write a share, two digits that count."""
    return f"{100 * share:.2g} %"
