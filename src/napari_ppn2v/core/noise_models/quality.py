"""How well a noise model describes pairs that it was not fitted to, signal by signal.

In each range of signals, mean and variance of the held-out observations are compared
with those of the model, and all of the distribution by the probability integral
transform: if the model is true, the values F(x|s) of its distribution function are
even between 0 and 1. Grey values are whole numbers, and clipped ones pile up, so F
jumps at them; the mass of each is then spread evenly over its jump (Brockwell 2007,
"Universal residuals"). The largest distance of their distribution from evenness is
that of Kolmogorov and Smirnov.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairCells, PairHistogram

    Floats = NDArray[np.float64]

Verdict = Literal["good", "fair", "poor"]

_FEWEST_PAIRS = 200.0  # in a range; ranges of fewer join the next one
_NODES = 24  # signals per range at which the distribution is tabulated
_STEPS_PER_SD = 48
_REACH = 9.0  # standard deviations of the model
_MOST_STEPS = 6000
_ERRORS = 3.0  # standard errors that chance is given before a deviation counts
_CHANCE_KS = 1.63  # over sqrt(n): exceeded by chance once in a hundred times
_NARROWEST = 1e-6  # jump of F that a cell is spread over, at least


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
    """

    signal_low: float
    signal_high: float
    n_pairs: int
    bias: float
    bias_in_sd: float
    variance_ratio: float
    ks: float
    verdict: Verdict

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
    table = _Distribution(model, pairs, cells)
    residual = cells.observation - cells.signal - table.excess_at(cells.signal)
    n_pairs = float(cells.weight.sum())
    bias = cells.mean_of(residual)
    square = cells.mean_of((residual - bias) ** 2)
    fourth = cells.mean_of((residual - bias) ** 4)
    expected = cells.mean_of(table.variance_at(cells.signal))
    ratio = square / expected
    ks = _ks_distance(*table.jumps(cells), cells.weight)
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


class _Distribution:
    """The model's distribution function of x - s at some signals of one range.

    Between the signals it is interpolated; atoms at clipping limits stay where they
    are.
    """

    def __init__(
        self, model: NoiseModel, pairs: PairHistogram, cells: PairCells
    ) -> None:
        self._pairs, self._limits = pairs, model.limits
        low, high = float(cells.signal.min()), float(cells.signal.max())
        self.nodes = np.linspace(low, max(high, low + 1e-3), _NODES)
        self._edges, mass, self._atoms = _masses(model, self.nodes, cells, pairs.cell)
        total = mass.sum(1) + self._atoms.sum(1)
        mass, self._atoms = mass / total[:, None], self._atoms / total[:, None]
        zero = np.zeros((len(mass), 1))
        below = np.concatenate([zero, np.cumsum(mass, axis=1)], axis=1)
        self._below = self._atoms[:, :1] + below  # F at the edges
        middle = 0.5 * (self._edges[1:] + self._edges[:-1])
        values = np.broadcast_to(middle, mass.shape)
        ends = [0.0 if limit is None else limit for limit in self._limits]
        mean = (mass * values).sum(1) + self._atoms @ np.array(ends)
        square = (mass * (values - mean[:, None]) ** 2).sum(1)
        square += (self._atoms * (np.array(ends) - mean[:, None]) ** 2).sum(1)
        self._excess, self._variance = mean - self.nodes, square

    def excess_at(self, signal: Floats) -> Floats:
        """E[x|s] - s with clipping, ADU."""
        return np.interp(signal, self.nodes, self._excess)

    def variance_at(self, signal: Floats) -> Floats:
        """Variance of x with clipping, ADU²."""
        return np.interp(signal, self.nodes, self._variance)

    def jumps(self, cells: PairCells) -> tuple[Floats, Floats]:
        """F just below and just above each cell of observations."""
        edges = self._pairs.column_edges
        column = np.clip(
            np.searchsorted(edges, cells.observation, side="right") - 1,
            0,
            len(edges) - 2,
        )
        low = self.below(edges[column], cells.signal)
        high = self.below(edges[column + 1], cells.signal)
        # the outer columns also hold what lies beyond
        low[column == 0] = self._atom(0, cells.signal[column == 0])
        last = column == len(edges) - 2
        high[last] = 1 - self._atom(1, cells.signal[last])
        for side, limit in enumerate(self._limits):
            if limit is None:
                continue
            at = cells.observation == limit
            atom = self._atom(side, cells.signal[at])
            low[at], high[at] = (0.0, atom) if side == 0 else (1 - atom, 1.0)
        return low, high

    def below(self, observation: Floats, signal: Floats) -> Floats:
        """Probability of less than `observation` at each signal, limits included.

        The shape at each node is moved along with the signal, so that a few nodes do.
        """
        row = np.clip(np.searchsorted(self.nodes, signal) - 1, 0, len(self.nodes) - 2)
        gap = self.nodes[row + 1] - self.nodes[row]
        part = np.clip((signal - self.nodes[row]) / gap, 0, 1)
        values = [
            self._moved(observation - signal + self.nodes[at], at)
            for at in (row, row + 1)
        ]
        return values[0] * (1 - part) + values[1] * part

    def _moved(self, observation: Floats, row: NDArray) -> Floats:
        step = self._edges[1] - self._edges[0]
        place = np.clip(
            (observation - self._edges[0]) / step, 0, len(self._edges) - 1.000001
        )
        column = place.astype(int)
        part = place - column
        return (
            self._below[row, column] * (1 - part) + self._below[row, column + 1] * part
        )

    def _atom(self, side: int, signal: Floats) -> Floats:
        return np.interp(signal, self.nodes, self._atoms[:, side])


def _masses(
    model: NoiseModel, nodes: Floats, cells: PairCells, cell: float
) -> tuple[Floats, Floats, Floats]:
    """Probabilities of small even steps of x at each node.

    Returns
    -------
    edges (N + 1,) ADU, mass (nodes, N), atoms (nodes, 2) at the limits
    """
    signal = torch.from_numpy(nodes)
    with torch.no_grad():
        mean, variance = (part.double().numpy() for part in model.moments(signal))
    sd = np.sqrt(np.maximum(variance, 1e-12))
    low, high = model.limits
    lowest = min(float((mean - _REACH * sd).min()), float(cells.observation.min()))
    highest = max(float((mean + _REACH * sd).max()), float(cells.observation.max()))
    step = max(float(sd.min()) / _STEPS_PER_SD, (highest - lowest) / _MOST_STEPS)
    if cell > 0:  # whole grey values, each with the density at its middle
        step = max(round(step / cell), 1) * cell
        lowest = np.floor(lowest / cell) * cell - 0.5 * cell
    start = lowest if low is None else max(lowest, low + 0.5 * cell)
    stop = highest if high is None else min(highest, high - 0.5 * cell)
    count = max(round(np.ceil((stop - start) / step)), 2)
    edges = start + step * np.arange(count + 1.0)
    middle = 0.5 * (edges[1:] + edges[:-1])
    mass = step * _probability(model, middle[None, :], nodes[:, None])
    if high is not None:
        mass[:, middle >= high] = 0.0
    atoms = np.zeros((len(nodes), 2))
    for side, limit in enumerate((low, high)):
        if limit is not None:
            atoms[:, side] = _probability(model, np.full_like(nodes, limit), nodes)
    return edges, mass, atoms


def _probability(model: NoiseModel, observation: Floats, signal: Floats) -> Floats:
    x, s = np.broadcast_arrays(observation, signal)
    with torch.no_grad():
        log_density = model.log_likelihood(
            torch.tensor(x, dtype=torch.float32), torch.tensor(s, dtype=torch.float32)
        )
    return np.exp(log_density.double().numpy())


def _ks_distance(low: Floats, high: Floats, weight: Floats) -> float:
    """Largest distance between evenness and masses spread evenly from low to high."""
    middle = 0.5 * (low + high)
    half = np.maximum(0.5 * (high - low), 0.5 * _NARROWEST)
    # the distribution function is a sum of ramps: its slope changes at their ends
    ends = np.concatenate([middle - half, middle + half])
    slope = np.concatenate([weight / (2 * half), -weight / (2 * half)]) / weight.sum()
    order = np.argsort(ends, kind="stable")
    at = ends[order]
    rises = np.cumsum(slope[order])[:-1] * np.diff(at)
    reached = np.concatenate([[0.0], np.cumsum(rises)])
    return float(np.abs(reached - np.clip(at, 0, 1)).max())
