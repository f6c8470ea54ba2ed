"""How well a noise model describes pairs that it was not fitted to, signal by signal.

In each range of signals, mean and variance of the held-out observations are compared
with those of the model, and all of the distribution by the probability integral
transform: if the model is true, the values F(x|s) of its distribution function are
even between 0 and 1. Grey values are whole numbers, and clipped ones pile up, so F
jumps at them; the mass of each is then spread evenly over its jump (Brockwell 2007,
"Universal residuals"). The largest distance of their distribution from evenness is
that of Kolmogorov and Smirnov. Their histogram is the randomised PIT histogram
(Czado, Gneiting and Held 2009, "Predictive model assessment for count data") averaged
over all randomisations, so that it is the same every time.

The likelihood of held-out pairs is made comparable between kinds of model: each is
divided by its sum over all grey values first, for a floor, a coarse bin or a Gaussian
narrower than a grey value would count for more or less than probability otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_ppn2v.core.noise_models.distribution import (
    Distribution,
    ks_distance,
    log_likelihood,
    pit_histogram,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairCells, PairHistogram

    Floats = NDArray[np.float64]

Verdict = Literal["good", "fair", "poor"]

_FEWEST_PAIRS = 200.0  # in a range; ranges of fewer join the next one
_ERRORS = 3.0  # standard errors that chance is given before a deviation counts
_CHANCE_KS = 1.63  # over sqrt(n): exceeded by chance once in a hundred times


@dataclass(frozen=True)
class Tolerance:
    """Deviations up to which a verdict is given, beyond what chance explains.

    `bias` is in standard deviations of the noise, `variance` the part by which the
    variance is too large or too small, `ks` the distance of the distributions.
    """

    bias: float
    variance: float
    ks: float


GOOD = Tolerance(bias=0.05, variance=0.06, ks=0.02)
FAIR = Tolerance(bias=0.12, variance=0.12, ks=0.05)
"""Beyond `FAIR` a model is poor.

Chosen on simulated sCMOS, EMCCD and 8-bit cameras of 5 to 2000 electrons: true models
are good in all ranges, whether pairs hold 500 or 50 000 observations each; variances
wrong by 5 % pass as good, by 10 % are at best fair, and by 20 % poor; so are offsets
wrong by 0.2 noise standard deviations, and one Gaussian for an EMCCD at few electrons.
"""


@dataclass(frozen=True)
class RangeQuality:
    """How a noise model does in one range of signals.

    Attributes
    ----------
    signal_low, signal_high
        The range, ADU.
    n_pairs
        Number of held-out pairs in it.
    bias
        Mean observation of the data less that of the model, ADU.
    bias_in_sd
        The same in standard deviations of the model.
    variance_ratio
        Variance of the data over that of the model.
    ks
        Kolmogorov-Smirnov distance of the distributions, 0 … 1.
    verdict
        "good", "fair" or "poor".
    log_likelihood
        Held-out log-likelihood, nats per pixel and ADU, of the normalised model; nan
        where it was not computed.
    pit
        Randomised PIT histogram: share of the pairs in each tenth of the model's
        distribution, times ten; all 1 for a true model. High in the middle, the model
        is too wide; high at both ends, too narrow; a slope is a bias.
    """

    signal_low: float
    signal_high: float
    n_pairs: int
    bias: float
    bias_in_sd: float
    variance_ratio: float
    ks: float
    verdict: Verdict
    log_likelihood: float = math.nan
    pit: tuple[float, ...] = ()

    @property
    def in_words(self) -> str:
        """The verdict with what is wrong, for the user."""
        wrong = []
        if abs(self.bias_in_sd) > GOOD.bias:
            side = "brighter" if self.bias > 0 else "darker"
            wrong.append(f"the data are {abs(self.bias):.2g} grey values {side}")
        if abs(self.variance_ratio - 1) > GOOD.variance:
            side = "stronger" if self.variance_ratio > 1 else "weaker"
            share = abs(self.variance_ratio - 1)
            wrong.append(f"the noise is {share:.0%} {side} (variance)")
        if self.verdict == "good":
            return "good"
        return f"{self.verdict}: {' and '.join(wrong) or 'another shape'}"


def fit_quality(
    model: NoiseModel, pairs: PairHistogram, n_ranges: int = 10
) -> tuple[RangeQuality, ...]:
    """Compare a model with the held-out pairs in ranges of signal.

    Parameters
    ----------
    n_ranges
        At most; they are even in units of the noise, and ranges of fewer than 200
        pairs are joined.

    Returns
    -------
    tuple of RangeQuality, from dark to bright; empty without pairs
    """
    # Whole rows of cells only: the cells of a row differ in their mean signal by
    # chance, and a cut through a row would part bright from dark observations.
    row = np.searchsorted(pairs.row_edges, pairs.held_out.signal, side="right") - 1
    row = np.clip(row, 0, len(pairs.row_edges) - 2)
    ends = _range_rows(row, pairs, n_ranges)
    edges = pairs.row_edges[ends]
    return tuple(
        _quality(
            model,
            pairs,
            _taken(pairs.held_out, (row >= first) & (row < last)),
            (low, high),
        )
        for first, last, low, high in zip(
            ends[:-1], ends[1:], edges[:-1], edges[1:], strict=True
        )
    )


def pointwise_log_likelihood(model: NoiseModel, pairs: PairHistogram) -> Floats:
    """Log-likelihood of each held-out cell, of the model normalised over grey values.

    Returns
    -------
    (cells,) nats per ADU; comparable between kinds of model
    """
    cells = pairs.held_out
    values = log_likelihood(model, cells)
    order = np.argsort(cells.signal, kind="stable")
    for part in np.array_split(order, max(1, min(10, len(order) // 50))):
        some = _taken(cells, part)
        table = Distribution(model, pairs, some)
        values[part] -= table.log_total_at(some.signal)
    return values


def overall(ranges: tuple[RangeQuality, ...]) -> Verdict:
    """One verdict for all: the worst that more than a tenth of the pairs get."""
    worse: tuple[Verdict, ...] = ("poor", "fair")
    total = sum(item.n_pairs for item in ranges)
    met = 0
    for verdict in worse:
        met += sum(item.n_pairs for item in ranges if item.verdict == verdict)
        if met > 0.1 * total:
            return verdict
    return "good"


def _taken(cells: PairCells, which: NDArray) -> PairCells:
    kind = type(cells)
    return kind(cells.signal[which], cells.observation[which], cells.weight[which])


def _range_rows(row: NDArray, pairs: PairHistogram, n_ranges: int) -> NDArray:
    """Rows of cells between which the ranges lie; each holds enough pairs."""
    n_rows = len(pairs.row_edges) - 1
    per_row = np.bincount(row, pairs.held_out.weight, n_rows)
    below = np.concatenate([[0.0], np.cumsum(per_row)])
    # rows are even in units of the noise
    even = np.unique(np.rint(np.linspace(0, n_rows, n_ranges + 1)).astype(int))
    kept = [0]
    for place in even[1:]:
        if below[place] - below[kept[-1]] >= _FEWEST_PAIRS:
            kept.append(int(place))
    if len(kept) > 1:
        kept[-1] = n_rows
    elif below[-1] > 0:
        kept.append(n_rows)
    return np.array(kept)


def _quality(
    model: NoiseModel,
    pairs: PairHistogram,
    cells: PairCells,
    signals: tuple[float, float],
) -> RangeQuality:
    table = Distribution(model, pairs, cells)
    residual = cells.observation - cells.signal - table.excess_at(cells.signal)
    n_pairs = float(cells.weight.sum())
    bias = cells.mean_of(residual)
    square = cells.mean_of((residual - bias) ** 2)
    fourth = cells.mean_of((residual - bias) ** 4)
    expected = cells.mean_of(table.variance_at(cells.signal))
    ratio = square / expected
    jumps = table.jumps(cells)
    ks = ks_distance(*jumps, cells.weight)
    spread = np.sqrt(max(fourth / square**2 - 1, 0.0)) if square > 0 else 0.0
    chance = Tolerance(
        bias=_ERRORS * float(np.sqrt(ratio / n_pairs)),
        variance=_ERRORS * float(spread / np.sqrt(n_pairs)),
        ks=_CHANCE_KS / float(np.sqrt(n_pairs)),
    )
    found = Tolerance(
        bias=abs(bias) / float(np.sqrt(expected)),
        variance=max(ratio, 1 / max(ratio, 1e-12)) - 1,
        ks=ks,
    )
    return RangeQuality(
        signal_low=float(signals[0]),
        signal_high=float(signals[1]),
        n_pairs=round(n_pairs),
        bias=bias,
        bias_in_sd=bias / float(np.sqrt(expected)),
        variance_ratio=ratio,
        ks=ks,
        verdict=_verdict(found, chance),
        log_likelihood=cells.mean_of(
            log_likelihood(model, cells) - table.log_total_at(cells.signal)
        ),
        pit=pit_histogram(*jumps, cells.weight),
    )


def _verdict(found: Tolerance, chance: Tolerance) -> Verdict:
    """Judge the part of the deviations that chance does not explain."""
    limits: tuple[tuple[Verdict, Tolerance], ...] = (("good", GOOD), ("fair", FAIR))
    for verdict, allowed in limits:
        if (
            found.bias <= allowed.bias + chance.bias
            and found.variance <= allowed.variance + chance.variance
            and found.ks <= allowed.ks + chance.ks
        ):
            return verdict
    return "poor"
