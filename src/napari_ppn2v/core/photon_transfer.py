"""The photon-transfer line: how the variance of the noise grows with the signal.

For a camera that counts photons, variance = gain · excess · (signal - offset) +
read_noise² (Janesick 2007, "Photon Transfer", chapters 2 and 5; excess noise of
electron multiplication: Robbins and Hadwen 2003). The slope of the line is gain times
excess noise factor; where the line crosses zero lies offset - read_noise² / slope. A
line has two numbers and the camera four, so the rest takes more than a line: see
`core.camera_readout`.

Finite repeats: `SignalObservationPairs.from_calibration` takes the mean of m repeats,
which contains the observation itself, as the signal. Its residuals are stretched by
sqrt(m / (m - 1)), so that variances here are those with m - 1 in the denominator
(ddof 1). With m instead (ddof 0) every variance and the slope are (m - 1) / m of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.pair_histogram import PairCells, PairHistogram

    Floats = NDArray[np.float64]

_FEWEST_PAIRS = 200.0  # in a row of signals
_SMALLEST_SHARE = 1 / 250  # of all pairs, in a row
_MOST_CLIPPED = 2e-3  # share at an end of the range that spoils a row
_LIT = 2.0  # times the smallest variance, from which a row holds mostly photon noise
_FEWEST_LIT = 6  # rows
_MODEL_ERROR = 0.03  # of a variance, allowed where dark rows are compared with the line
_STRAIGHT = 0.02  # misfit up to which dark rows are taken to lie on the line
_AGREEING = 0.8  # share of the dark pairs that have to lie on the line of the lit ones
_BENT = 0.01  # of the variance, by which saturated rows lie below the line at least
_MOST_REFITS = 6
_MOST_BENT = 0.25  # share of the rows that may be left out for it
_HUBER = 2.0  # standard errors from which a row counts less
_ROUNDS = 40


@dataclass(frozen=True)
class SignalRows:
    """Moments of the observations in rows of signal, from dark to bright.

    Attributes
    ----------
    signal : mean signal, ADU
    variance, variance_error : ADU², with the standard error by the fourth moment
    count : number of pairs
    n_clipped : number of rows left out because their observations are clipped
    """

    signal: Floats
    variance: Floats
    variance_error: Floats
    count: Floats
    n_clipped: int = 0

    def __len__(self) -> int:
        return len(self.signal)

    def taken(self, which: NDArray) -> SignalRows:
        """Keep some of the rows."""
        return SignalRows(
            self.signal[which],
            self.variance[which],
            self.variance_error[which],
            self.count[which],
            self.n_clipped,
        )


@dataclass(frozen=True)
class TransferLine:
    """The line variance = intercept + slope·signal, with its uncertainty.

    Attributes
    ----------
    slope : ADU, gain times excess noise factor
    intercept : ADU²
    covariance : (2, 2), of slope and intercept
    misfit : part of the variance by which rows scatter about the line beyond chance
    n_rows : used
    has_odd_dark_rows : whether the darkest rows lie off the line and were left out
    n_bent : number of brightest rows left out because they bend down
    """

    slope: float
    intercept: float
    covariance: Floats
    misfit: float
    n_rows: int
    has_odd_dark_rows: bool = False
    n_bent: int = 0

    @property
    def slope_error(self) -> float:
        """Standard error of the slope, ADU."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def zero(self) -> float:
        """Signal (ADU) at which the line reaches a variance of zero."""
        return -self.intercept / self.slope

    @property
    def zero_error(self) -> float:
        """Standard error of `zero`, ADU."""
        return self.error_at(self.zero) / self.slope

    def at(self, signal: float) -> float:
        """Variance (ADU²) of the line at one signal; may be negative."""
        return self.intercept + self.slope * signal

    def error_at(self, signal: float) -> float:
        """Return the standard error (ADU²) of the line at one signal."""
        place = np.array([signal, 1.0])
        return float(np.sqrt(max(place @ self.covariance @ place, 0.0)))


def signal_rows(pairs: PairHistogram) -> SignalRows:
    """Moments of all pairs, those held out included, in rows of their signal.

    Rows are whole rows of cells, so that no observation decides where it counts. Rows
    with more than 0.2 % of their observations at an end of the range are left out: a
    clipped distribution has too small a variance and a shifted mean, and averages of
    clipped repeats are no signals.

    Raises
    ------
    BadData  If fewer than 3 rows are left.
    """
    cells = all_cells(pairs)
    row = _row_of_cells(cells, pairs)
    n_rows = int(row.max()) + 1

    def total(values: Floats) -> Floats:
        return np.bincount(row, values, n_rows).astype(float)

    count = np.maximum(total(cells.weight), 1e-12)
    residual = cells.observation - cells.signal
    residual = residual - (total(cells.weight * residual) / count)[row]
    variance = total(cells.weight * residual**2) / count
    fourth = total(cells.weight * residual**4) / count
    error = np.sqrt(np.maximum(fourth - variance**2, 0) / count)
    is_clipped = total(cells.weight * _at_an_end(cells, pairs)) / count > _MOST_CLIPPED
    usable = ~is_clipped & (count >= _FEWEST_PAIRS) & (variance > 0) & (error > 0)
    rows = SignalRows(
        total(cells.weight * cells.signal) / count,
        variance,
        error,
        count,
        int(is_clipped.sum()),
    ).taken(usable)
    if len(rows) < 3:
        raise BadData(
            f"Only {len(rows)} ranges of signal hold 200 pairs or more that are not "
            "clipped, too few for a photon-transfer line. Give more frames, or a "
            "recording with dark and bright regions below saturation."
        )
    return rows


def transfer_line(
    rows: SignalRows, through: tuple[float, float] | None = None
) -> TransferLine:
    """Fit the photon-transfer line by reweighted least squares.

    Each row weighs by its standard error and by the misfit that all rows share, found
    so that chi² equals its degrees of freedom (Paule and Mandel 1982); rows beyond
    two standard errors count less (Huber weights). The darkest rows are used only if
    they lie on the line of the rows with light: where pixels differ in their offset,
    or the mean of few repeats is uncertain, they hold other pixels than those of
    little light. Rows at the bright end that bend down together are saturated and
    left out.

    Parameters
    ----------
    through
        Signal (ADU) and variance (ADU²) without light, if known: the line then passes
        there.

    Raises
    ------
    BadData  If the variance does not grow with the signal.
    """
    kept, has_odd_dark_rows = _without_odd_dark_rows(rows, through)
    line, n_bent = _fitted(kept, through), 0
    # Saturation differs from frame to frame where each was scaled by itself, and does
    # then not show as a pile of values at one limit.
    for _ in range(_MOST_REFITS):
        more = _bent_rows(line, kept, n_bent)
        if more == n_bent:
            break
        n_bent = more
        line = _fitted(kept.taken(np.arange(len(kept) - n_bent)), through)
    return replace(line, has_odd_dark_rows=has_odd_dark_rows, n_bent=n_bent)


def _without_odd_dark_rows(
    rows: SignalRows, through: tuple[float, float] | None
) -> tuple[SignalRows, bool]:
    """Leave dark rows out if they do not lie on the line of those with light."""
    smoothed = np.convolve(np.pad(rows.variance, 1, mode="edge"), np.ones(3) / 3)[2:-2]
    darkest = int(np.argmin(smoothed))
    is_lit = (smoothed >= _LIT * smoothed[darkest]) & (np.arange(len(rows)) > darkest)
    if is_lit.sum() < _FEWEST_LIT or is_lit.all():
        return rows, False
    lit = rows.taken(is_lit)
    line, whole = _fitted(lit, through), _fitted(rows, through)
    is_bent = whole.misfit > max(_STRAIGHT, 2 * line.misfit)
    if not is_bent and _agrees(line, rows.taken(~is_lit)):
        return rows, False
    return lit, True


def _bent_rows(line: TransferLine, rows: SignalRows, known: int) -> int:
    """Count the brightest rows that lie below the line, one and all."""
    expected = line.intercept + line.slope * rows.signal
    is_low = rows.variance < expected * (1 - _BENT) - rows.variance_error
    most, count = int(_MOST_BENT * len(rows)), known
    while count < most and is_low[len(rows) - 1 - count]:
        count += 1
    return count if count > known + 1 else known


def all_cells(pairs: PairHistogram) -> PairCells:
    """Put the cells that were fitted to and those held out together."""
    parts = [pairs.training]
    if pairs.held_out is not pairs.training:
        parts.append(pairs.held_out)
    return type(pairs.training)(
        np.concatenate([part.signal for part in parts]),
        np.concatenate([part.observation for part in parts]),
        np.concatenate([part.weight for part in parts]),
    )


def _row_of_cells(cells: PairCells, pairs: PairHistogram) -> NDArray[np.intp]:
    """Return the row of each cell; rows of few pairs are joined with the next."""
    row = np.searchsorted(pairs.row_edges, cells.signal, side="right") - 1
    row = np.clip(row, 0, len(pairs.row_edges) - 2)
    counts = np.bincount(row, cells.weight, len(pairs.row_edges) - 1)
    enough = max(_FEWEST_PAIRS, _SMALLEST_SHARE * counts.sum())
    label, held, number = np.zeros(len(counts), int), 0.0, 0
    for place, count in enumerate(counts):
        label[place] = number
        held += count
        if held >= enough:
            number, held = number + 1, 0.0
    if held > 0 and number > 0:
        label[label == number] = number - 1
    return label[row]


def _at_an_end(cells: PairCells, pairs: PairHistogram) -> NDArray[np.bool_]:
    """Observations in the outermost columns, or at a limit where values pile up.

    Of an unclipped recording these are one in many thousands.
    """
    first, last = pairs.column_edges[1], pairs.column_edges[-2]
    at_end = (cells.observation < first) | (cells.observation >= last)
    for limit in pairs.limits:
        if limit is not None:
            at_end |= cells.observation == limit
    return at_end


def _agrees(line: TransferLine, dark: SignalRows) -> bool:
    """Whether most pairs of the dark rows lie on the line of the others."""
    expected = line.intercept + line.slope * dark.signal
    own = np.array([line.error_at(float(signal)) for signal in dark.signal])
    allowed = np.sqrt(
        dark.variance_error**2 + own**2 + (_MODEL_ERROR * dark.variance) ** 2
    )
    is_near = np.abs(dark.variance - expected) <= 4 * allowed
    return float(dark.count[is_near].sum()) >= _AGREEING * float(dark.count.sum())


def _fitted(
    rows: SignalRows,
    through: tuple[float, float] | None,
) -> TransferLine:
    """Reweighted least squares; the error of a row follows the line, not its chance."""
    centre = float(np.average(rows.signal, weights=rows.count))
    origin, level = (centre, 0.0) if through is None else through
    design = (rows.signal - origin)[:, None]
    if through is None:
        design = np.concatenate([design, np.ones_like(design)], axis=1)
    target = rows.variance - level
    relative = rows.variance_error / rows.variance
    misfit = 0.0
    expected: Floats = rows.variance
    trust: Floats = np.ones(len(rows))
    answer = normal = np.asarray(0.0)
    for _ in range(_ROUNDS):
        scale = expected * np.sqrt(relative**2 + misfit**2)
        weight = trust / scale**2
        normal = design.T @ (design * weight[:, None])
        answer = np.asarray(np.linalg.solve(normal, design.T @ (weight * target)))
        fitted = level + design @ answer
        expected = np.maximum(fitted, 0.02 * float(np.median(rows.variance)))
        pull = np.abs(rows.variance - fitted) / expected
        misfit = _misfit(pull, relative, trust, design.shape[1])
        pull = pull / np.sqrt(relative**2 + misfit**2)
        trust = 1 / np.maximum(pull / _HUBER, 1.0)
    slope = float(answer[0])
    height = level if through is not None else float(answer[1])
    inverse = np.zeros((2, 2))
    inverse[: len(answer), : len(answer)] = np.linalg.inv(normal)
    turn = np.array([[1.0, 0.0], [-origin, 1.0]])  # from about `origin` to about zero
    covariance = turn @ inverse @ turn.T
    if not slope > 2 * covariance[0, 0] ** 0.5:
        raise BadData(
            "The noise does not grow with the signal, so there is no gain to be told. "
            "Give a recording with dark and bright regions, or check that the signal "
            "and the noisy frames belong together."
        )
    return TransferLine(
        slope,
        height - slope * origin,
        covariance,
        misfit,
        len(rows),
    )


def _misfit(pull: Floats, relative: Floats, trust: Floats, n_free: int) -> float:
    """Part of the variance by which the line is wrong everywhere, by bisection."""
    freedom = float(trust.sum()) - n_free

    def excess(misfit: float) -> float:
        return float((trust * pull**2 / (relative**2 + misfit**2)).sum()) - freedom

    if freedom <= 0 or excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return high
