"""Weighted cells of (signal, observation) pairs, and the photon-transfer line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from napari_ppn2v.core.photon_statistics import Floats

Limits = tuple[float | None, float | None]

_ROW_STEP = 0.08  # noise standard deviations per row of signal...
_COLUMN_STEP = 0.1  # ...and per column of observation
_MOST_ROWS, _MOST_COLUMNS = 1024, 4096
_FEWEST_PAIRS = 500
_MOST_CLIPPED = 0.02  # share of observations at a limit that spoils their average


@dataclass(frozen=True)
class PhotonTransfer:
    """The line variance = intercept + slope·signal (ADU², ADU).

    For a camera the slope is gain times excess noise factor, and the intercept is
    read_noise² - slope·offset. `floor` is the smallest variance met in the data.
    """

    slope: float
    intercept: float
    floor: float

    def variance(self, signal: ArrayLike) -> Floats:
        """Variance (ADU²) at each signal, never below `floor`."""
        return np.maximum(self.intercept + self.slope * np.asarray(signal), self.floor)

    @property
    def dark_signal(self) -> float:
        """Signal (ADU) below which the variance stays at `floor`."""
        return (self.floor - self.intercept) / max(self.slope, 1e-300)

    def stabilise(self, value: ArrayLike) -> Floats:
        """Map values so that the noise has a standard deviation of about 1."""
        value = np.asarray(value, float)
        sd = self.floor**0.5
        if self.slope <= 0 or not np.isfinite(self.dark_signal):
            return value / sd
        above = value - self.dark_signal
        bright = np.sqrt(self.floor + self.slope * np.maximum(above, 0)) - sd
        return np.minimum(above, 0) / sd + 2 / self.slope * bright

    def unstabilise(self, mapped: ArrayLike) -> Floats:
        """Inverse of `stabilise`."""
        mapped = np.asarray(mapped, float)
        sd = self.floor**0.5
        if self.slope <= 0 or not np.isfinite(self.dark_signal):
            return mapped * sd
        bright = (sd + self.slope / 2 * np.maximum(mapped, 0)) ** 2 - self.floor
        above = np.where(mapped < 0, mapped * sd, bright / self.slope)
        return self.dark_signal + above


@dataclass(frozen=True)
class PairCells:
    """Weighted pairs: three float64 arrays of equal length.

    `signal` and `observation` are the means (ADU) of the pairs in each cell, `weight`
    their number.
    """

    signal: Floats
    observation: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.signal)

    def mean_of(self, values: Floats) -> float:
        """Average a quantity given per cell over the pairs."""
        return float(values @ self.weight / self.weight.sum())


@dataclass(frozen=True)
class PairHistogram:
    """All that a noise model is fitted to and compared on.

    Attributes
    ----------
    training, held_out
        Cells of the two disjoint sets of pixels.
    signal_range, observation_range
        ADU, of the pairs used; and of all observations.
    limits
        Values at which observations pile up because they were clipped.
    cell
        Step of the grey values: 1 for integers, 0 for continuous values.
    transfer
        Photon-transfer line of the pairs.
    n_pairs
        Number of pairs used.
    row_edges, column_edges
        Edges (ADU) of the cells along signal and observation. The first and last
        column also hold what a corrected observation has beyond them.
    """

    training: PairCells
    held_out: PairCells
    signal_range: tuple[float, float]
    observation_range: tuple[float, float]
    limits: Limits
    cell: float
    transfer: PhotonTransfer
    n_pairs: int
    row_edges: Floats
    column_edges: Floats


@dataclass(frozen=True)
class PairStatistics:
    """A regular subsample of the pairs, with what was learnt in the first pass."""

    signal: Floats
    observation: Floats
    observation_range: tuple[float, float]
    limits: Limits
    cell: float
    signal_range: tuple[float, float] = (-np.inf, np.inf)

    def trimmed(self, low: float, high: float) -> PairStatistics:
        """Keep signals between two percentiles, and say what range that is."""
        bounds = self._unclipped_range(*np.percentile(self.signal, [low, high]))
        kept = (self.signal >= bounds[0]) & (self.signal <= bounds[1])
        if kept.sum() < min(_FEWEST_PAIRS, 0.5 * len(kept) + 1):
            raise BadData(
                f"Only {int(kept.sum())} pairs are left between the {low:g} and "
                f"{high:g} percentile of the signal. Trim less or give more frames."
            )
        return replace(
            self,
            signal=self.signal[kept],
            observation=self.observation[kept],
            signal_range=(float(bounds[0]), float(bounds[1])),
        )

    def _unclipped_range(self, low: float, high: float) -> tuple[float, float]:
        """Cut the range where a signal would be an average of clipped values.

        Nothing is cut where less than half of the pairs would be left.
        """
        if self.limits == (None, None):
            return low, high
        inside = (self.signal >= low) & (self.signal <= high)
        edges = np.unique(np.quantile(self.signal[inside], np.linspace(0, 1, 81)))
        row = np.clip(np.searchsorted(edges, self.signal), 1, len(edges) - 1) - 1
        count = np.maximum(np.bincount(row[inside], minlength=len(edges) - 1), 1)
        is_spoilt = np.zeros(len(edges) - 1, bool)
        for limit in self.limits:
            if limit is not None:
                at = inside & (self.observation == limit)
                share = np.bincount(row[at], minlength=len(edges) - 1) / count
                is_spoilt |= share > _MOST_CLIPPED
        good = np.flatnonzero(~is_spoilt)
        if len(good) < 2 or count[good].sum() < 0.5 * inside.sum():
            return low, high
        return float(edges[good[0]]), float(edges[good[-1] + 1])


def photon_transfer(pairs: PairCells, limits: Limits = (None, None)) -> PhotonTransfer:
    """Fit the variance of the observations as a line of the signal.

    Variances of about 60 rows of equal numbers of pairs are fitted by iteratively
    reweighted least squares with Huber weights, so that hot pixels and rows spoilt by
    clipping do not tilt the line.

    Raises
    ------
    BadData  If there are fewer than 10 pairs or no noise at all.
    """
    mean, variance, count = _row_moments(pairs, limits)
    usable = (count >= 8) & (variance > 0)
    if usable.sum() == 0:
        raise BadData(
            "The observations do not differ from their signal, so there is no noise "
            "to learn from. Check that the noisy and the clean images are not swapped "
            "or equal."
        )
    mean, variance, count = mean[usable], variance[usable], count[usable]
    slope, intercept = _robust_line(mean, variance, count)
    smallest = float(np.quantile(variance, 0.02))
    if slope <= 0:
        level = float(np.average(variance, weights=count))
        return PhotonTransfer(0.0, level, level)
    at_low_end = intercept + slope * mean.min()
    floor = float(min(max(at_low_end, 0.25 * smallest), smallest))
    return PhotonTransfer(slope, intercept, floor)


def _row_moments(pairs: PairCells, limits: Limits) -> tuple[Floats, Floats, Floats]:
    """Mean signal, residual variance and number of pairs of rows of signal."""
    order = np.argsort(pairs.signal, kind="stable")
    s, x, w = pairs.signal[order], pairs.observation[order], pairs.weight[order]
    n_rows = int(np.clip(w.sum() // 200, 1, 60))
    row = np.minimum((np.cumsum(w) - w) / w.sum() * n_rows, n_rows - 1).astype(int)

    def total(values: Floats) -> Any:
        return np.bincount(row, values, n_rows)

    count = np.maximum(total(w), 1e-12)
    residual = x - s
    mean_residual = total(w * residual) / count
    variance = total(w * (residual - mean_residual[row]) ** 2) / count
    clipped = np.zeros(len(x), bool)
    for limit in limits:
        if limit is not None:
            clipped |= x == limit
    is_clean = total(w * clipped) / count < 1e-3
    keep = is_clean if is_clean.any() else np.ones(n_rows, bool)
    return (total(w * s) / count)[keep], variance[keep], count[keep]


def _robust_line(mean: Floats, variance: Floats, count: Floats) -> tuple[float, float]:
    """Slope and intercept; the sd of a variance is proportional to the variance."""
    if len(mean) < 2 or np.ptp(mean) < 1e-9 * max(1.0, np.abs(mean).max()):
        return 0.0, float(np.median(variance))
    expected, outlying = np.full_like(variance, np.median(variance)), np.ones(1)
    centre = mean.mean()
    slope = intercept = 0.0
    for _ in range(30):
        scale = expected / np.sqrt(count)
        weight = np.sqrt(outlying) / scale
        design = np.stack([mean - centre, np.ones_like(mean)], axis=1)
        answer = np.linalg.lstsq(design * weight[:, None], variance * weight)[0]
        slope, intercept = float(answer[0]), float(answer[1] - answer[0] * centre)
        expected = np.maximum(
            intercept + slope * mean, 0.02 * float(np.median(variance))
        )
        pull = np.abs(variance - intercept - slope * mean) / scale
        spread = max(1.5 * float(np.median(pull)), 1e-12)
        outlying = 1 / np.maximum(pull / (1.5 * spread), 1)
    return slope, intercept


def accumulate(
    frames: Iterable[tuple[NDArray, NDArray]],
    statistics: PairStatistics,
    held_out: float,
) -> PairHistogram:
    """Sort frames of pairs into cells whose size follows the noise."""
    sample = PairCells(
        statistics.signal, statistics.observation, np.ones(len(statistics.signal))
    )
    transfer = photon_transfer(sample, statistics.limits)
    bins = _Bins.for_pairs(statistics, transfer)
    sums = [_CellSums(), _CellSums()]  # training, held out
    n_pairs = 0
    for signal, observation in frames:
        s, x = signal.ravel().astype(float), observation.ravel().astype(float)
        inside = (s >= bins.low) & (s <= bins.high)
        apart = _held_out_pixels(len(s), held_out)
        n_pairs += int(inside.sum())
        for chosen, part in ((inside & ~apart, sums[0]), (inside & apart, sums[1])):
            part.add(bins.index(s[chosen], x[chosen]), s[chosen], x[chosen])
    training = sums[0].cells()
    apart_cells = sums[1].cells() if held_out > 0 else training
    return PairHistogram(
        training=training,
        held_out=apart_cells if len(apart_cells) else training,
        signal_range=statistics.signal_range,
        observation_range=statistics.observation_range,
        limits=statistics.limits,
        cell=statistics.cell,
        transfer=transfer,
        n_pairs=n_pairs,
        row_edges=bins.row_edges(),
        column_edges=bins.column_edges,
    )


@dataclass(frozen=True)
class _Bins:
    """Rows of signal and columns of observation, both even in noise units."""

    transfer: PhotonTransfer
    low: float
    high: float
    n_rows: int
    column_edges: Floats
    limits: Limits

    @classmethod
    def for_pairs(cls, statistics: PairStatistics, transfer: PhotonTransfer) -> _Bins:
        low, high = statistics.signal_range
        extent = float(np.diff(transfer.stabilise(np.array([low, high])))[0])
        if not extent > 0:
            raise BadData(
                f"The signal has the same value, {low:g}, everywhere. A noise model "
                "needs dark and bright regions; record a scene with both."
            )
        n_rows = int(np.clip(np.ceil(extent / _ROW_STEP), 16, _MOST_ROWS))
        first, last = statistics.observation_range
        spread = transfer.stabilise(np.array([first, last]))
        count = int(np.clip(np.ceil(np.ptp(spread) / _COLUMN_STEP), 32, _MOST_COLUMNS))
        edges = transfer.unstabilise(np.linspace(spread[0], spread[1], count + 1))
        if statistics.cell > 0:  # columns hold whole grey values
            edges = np.unique(np.rint(edges / statistics.cell)) * statistics.cell
            edges = np.append(edges, edges[-1] + statistics.cell)
            edges = edges - 0.5 * statistics.cell
        return cls(transfer, low, high, n_rows, edges, statistics.limits)

    def row_edges(self) -> Floats:
        """Edges of the rows, ADU."""
        bounds = self.transfer.stabilise(np.array([self.low, self.high]))
        edges = np.linspace(bounds[0], bounds[1], self.n_rows + 1)
        return self.transfer.unstabilise(edges)

    def index(self, signal: Floats, observation: Floats) -> NDArray[np.int64]:
        """Flat number of the cell of each pair; atoms have cells of their own."""
        bounds = self.transfer.stabilise(np.array([self.low, self.high]))
        height = self.transfer.stabilise(signal) - bounds[0]
        row = (height / np.ptp(bounds) * self.n_rows).astype(np.int64)
        row = np.clip(row, 0, self.n_rows - 1)
        column = np.searchsorted(self.column_edges, observation, side="right")
        n_columns = len(self.column_edges) + 3
        for limit, own in zip(self.limits, (n_columns - 2, n_columns - 1), strict=True):
            if limit is not None:
                column = np.where(observation == limit, own, column)
        return row * n_columns + column


class _CellSums:
    """Running sums of weight, signal and observation per cell."""

    def __init__(self) -> None:
        self._index = np.zeros(0, np.int64)
        self._sums = np.zeros((3, 0))

    def add(
        self, index: NDArray[np.int64], signal: Floats, observation: Floats
    ) -> None:
        """Add pairs, given the cell of each."""
        if not len(index):
            return
        # counting all cells costs less than sorting all pairs: there are far fewer
        count = np.bincount(index)
        used = np.flatnonzero(count)
        sums = (count, np.bincount(index, signal), np.bincount(index, observation))
        new = np.stack([values[used] for values in sums])
        merged, where = np.unique(
            np.concatenate([self._index, used]), return_inverse=True
        )
        both = np.concatenate([self._sums, new], axis=1)
        self._sums = np.stack([np.bincount(where, row, len(merged)) for row in both])
        self._index = merged

    def cells(self) -> PairCells:
        """Return the means of all cells that hold anything."""
        weight, signal, observation = self._sums
        return PairCells(signal / weight, observation / weight, weight)


def _held_out_pixels(n_pixels: int, share: float) -> NDArray[np.bool_]:
    """Mark a fixed, evenly scattered share of the pixels of a frame."""
    # Multiples of the golden ratio modulo 1 fill the interval evenly (Weyl).
    golden = np.arange(n_pixels, dtype=np.float64) * 0.6180339887498949
    return golden % 1.0 < share
