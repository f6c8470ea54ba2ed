"""What pictures of a noise model show: counts of pairs, moments, slices, variances.

Figures on paper and plots on the screen draw the same numbers, which are made here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_ppn2v.core.noise_models.camera_models import (
    PoissonGammaModel,
    PoissonGaussianModel,
)
from napari_ppn2v.core.pair_histogram import (
    PairCells,
    PhotonTransfer,
    photon_transfer,
)
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.shared import Limits

    Floats = NDArray[np.float64]

_MOST_COLUMNS = 128  # of a heat map, in either direction
_SLICE_COLUMNS = 36
_SLICE_POINTS = 401
_FEWEST_PAIRS_PER_SLICE = 400
_FEWEST_PAIRS_SHOWN = 20
_FEWEST_PAIRS_PER_ROW = 30
_CELL_SIZE = 0.12  # noise standard deviations; as pairs are sorted into cells
_MARGIN = 0.05  # of the signals shown, beyond them
_WITHIN_CELL = (-0.375, -0.125, 0.125, 0.375)


@dataclass(frozen=True)
class MeasuredPairs:
    """Pairs to draw.

    Attributes
    ----------
    cells
        Ordered by signal.
    transfer
        Photon-transfer line, None where there is no noise to see.
    limits
        Clipping limits, ADU.
    step
        1 for whole grey values, 0 for others.
    """

    cells: PairCells
    transfer: PhotonTransfer | None
    limits: Limits
    step: float

    def spread(self, low: float = -np.inf, high: float = np.inf) -> PairCells:
        """Lay each cell's pairs out over its extent, so that no column stays empty.

        Clipped observations stay where they are. Only cells whose mean signal lies
        between `low` and `high` (ADU) are given.
        """
        first, last = np.searchsorted(self.cells.signal, [low, high])
        signal, observation, weight = (
            values[first:last]
            for values in (self.cells.signal, self.cells.observation, self.cells.weight)
        )
        if self.transfer is None:
            return PairCells(signal, observation, weight)
        shift = np.array([(s, x) for s in _WITHIN_CELL for x in _WITHIN_CELL])
        height = _CELL_SIZE * np.sqrt(self.transfer.variance(signal))
        width = _CELL_SIZE * np.sqrt(self.transfer.variance(observation))
        for limit in self.limits:
            if limit is not None:
                width = np.where(observation == limit, 0.0, width)
        return PairCells(
            (signal[:, None] + height[:, None] * shift[:, 0]).ravel(),
            (observation[:, None] + width[:, None] * shift[:, 1]).ravel(),
            np.repeat(weight / len(shift), len(shift)),
        )

    def signal_quantiles(self, shares: list[float]) -> Floats:
        """Signals (ADU) below which given shares of the pairs lie."""
        share = np.cumsum(self.cells.weight) / self.cells.weight.sum()
        return np.interp(shares, share, self.cells.signal)


@dataclass(frozen=True)
class HeatMap:
    """Numbers of pairs; `counts` is (observations, signals), edges in ADU."""

    signal_edges: Floats
    observation_edges: Floats
    counts: Floats


@dataclass(frozen=True)
class Slice:
    """The distribution of the observations at one signal.

    Attributes
    ----------
    signal, mean, sd
        ADU; mean and standard deviation are those of the model.
    observations, density
        (N,) ADU and 1/ADU: the model's density.
    components
        (components, N), 1/ADU: each Gaussian of a mixture; no rows for other kinds.
    edges, measured
        (M + 1,) ADU and (M,) 1/ADU: histogram of the pairs near the signal; None where
        there are too few of them.
    n_pairs
        How many pairs the histogram holds.
    """

    signal: float
    mean: float
    sd: float
    observations: Floats
    density: Floats
    components: Floats
    edges: Floats | None
    measured: Floats | None
    n_pairs: float

    @property
    def shown_range(self) -> tuple[float, float]:
        """Observations (ADU) worth showing."""
        return self.mean - 4 * self.sd, self.mean + 5 * self.sd

    @property
    def highest(self) -> float:
        """Largest density, measured or the model's, 1/ADU."""
        top = float(self.density.max())
        return top if self.measured is None else max(top, float(self.measured.max()))


def measured_pairs(pairs: Any) -> MeasuredPairs | None:
    """Read a `PairHistogram`, or anything with the arrays of weighted pairs.

    Parameters
    ----------
    pairs
        A `PairHistogram`, of which the training pairs are taken, an object with the
        arrays `signal`, `observation` (ADU) and `weight`, or None.

    Returns
    -------
    MeasuredPairs, or None where there are no pairs at all.
    """
    if pairs is None:
        return None
    source = getattr(pairs, "training", pairs)
    arrays = (source.signal, source.observation, source.weight)
    signal, observation, weight = (np.asarray(a, float).ravel() for a in arrays)
    if not len(signal) or not weight.sum() > 0:
        return None
    order = np.argsort(signal, kind="stable")
    cells = PairCells(signal[order], observation[order], weight[order])
    is_whole = float(np.mean(observation == np.rint(observation))) > 0.25
    limits = getattr(pairs, "limits", (None, None))
    return MeasuredPairs(cells, _transfer(pairs, cells), limits, float(is_whole))


def _transfer(pairs: Any, cells: PairCells) -> PhotonTransfer | None:
    transfer: PhotonTransfer | None = getattr(pairs, "transfer", None)
    if transfer is not None:
        return transfer
    try:
        return photon_transfer(cells)
    except BadData:
        return None


def shown_range(
    model: NoiseModel, measured: MeasuredPairs | None
) -> tuple[float, float]:
    """Signals (ADU) to show: what the fit covers, less a thin tail of bright pixels."""
    low, high = model.signal_range
    if measured is not None:
        ends = measured.signal_quantiles([1e-4, 1 - 1e-4])
        low, high = max(low, float(ends[0])), min(high, float(ends[1]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def moments_at(model: NoiseModel, signals: Floats) -> tuple[Floats, Floats]:
    """Mean (ADU) and standard deviation (ADU) of the observations at some signals."""
    with torch.no_grad():
        mean, variance = model.moments(torch.as_tensor(np.asarray(signals, float)))
    return mean.cpu().numpy(), variance.clamp_min(0).sqrt().cpu().numpy()


def density_at(model: NoiseModel, observation: Floats, signal: Floats) -> Floats:
    """p(x|s) per ADU, broadcast; what is clipped is not shown."""
    if isinstance(model, PoissonGaussianModel | PoissonGammaModel):
        # in closed form: the table of a camera just fitted or read takes half a second
        inside = np.maximum(signal, model.dark_signal)
        return np.exp(model.exact_log_likelihood(observation - signal + inside, inside))
    with torch.no_grad():
        log_density = model.log_likelihood(
            torch.as_tensor(observation), torch.as_tensor(signal)
        )
    return np.exp(log_density.double().cpu().numpy())


def components_at(
    model: NoiseModel, observations: Floats, signal: float
) -> NDArray[np.float64]:
    """Weighted density of each Gaussian of a mixture at one signal.

    Returns
    -------
    array (components, N), 1/ADU; no rows for models of one Gaussian or of other kinds.
    """
    nothing = np.zeros((0, len(observations)))
    if not hasattr(model, "components"):
        return nothing
    with torch.no_grad():
        parts = model.components(torch.tensor([signal], dtype=torch.float64))
    log_weights, means, variances = (
        part.cpu().numpy().reshape(-1, 1) for part in parts
    )
    if len(means) < 2:
        return nothing
    height = np.exp(log_weights) / np.sqrt(2 * np.pi * variances)
    return height * np.exp(-0.5 * (observations - means) ** 2 / variances)


def even_edges(low: float, high: float, most: int, step: float) -> Floats:
    """Edges of even columns (ADU).

    Whole grey values (`step` 1) get columns that each hold equally many of them;
    others would be empty or twice as high.
    """
    width = (high - low) / most
    if step > 0:
        width = max(float(np.ceil(width / step)), 1.0) * step
        low = float(np.floor(low)) - 0.5 * step
    count = max(int(np.ceil((high - low) / width)), 1)
    return low + width * np.arange(count + 1.0)


def heat_map(
    measured: MeasuredPairs,
    signal_range: tuple[float, float],
    observation_range: tuple[float, float],
) -> HeatMap:
    """Count the pairs in even columns of signal and rows of observation."""
    rows = even_edges(*observation_range, _MOST_COLUMNS, measured.step)
    columns = even_edges(*signal_range, _MOST_COLUMNS // 2, 0.0)
    pairs = measured.spread()
    counts, _, _ = np.histogram2d(
        pairs.observation, pairs.signal, bins=(rows, columns), weights=pairs.weight
    )
    return HeatMap(columns, rows, counts)


def variance_curve(
    cells: PairCells, signal_range: tuple[float, float], n_rows: int = 40
) -> tuple[Floats, Floats]:
    """Variance (ADU²) of the pairs about their own mean, in even rows of signal (ADU).

    Rows of fewer than 30 pairs are left out.
    """
    edges = np.linspace(*signal_range, n_rows + 1)
    row = np.digitize(cells.signal, edges) - 1
    inside = (row >= 0) & (row < n_rows)
    row, weight = row[inside], cells.weight[inside]
    residual = (cells.observation - cells.signal)[inside]

    def total(values: Floats) -> Floats:
        return np.bincount(row, values, n_rows).astype(float)

    count = total(weight)
    filled = count >= _FEWEST_PAIRS_PER_ROW
    safe = np.maximum(count, 1)
    mean = total(weight * residual) / safe
    variance = total(weight * (residual - mean[row]) ** 2) / safe
    return (0.5 * (edges[1:] + edges[:-1]))[filled], variance[filled]


def slice_signals(
    model: NoiseModel, measured: MeasuredPairs | None, count: int = 4
) -> Floats:
    """Choose signals (ADU) from dark to bright, each with enough pairs about it."""
    low, high = shown_range(model, measured)
    by_value = np.linspace(low, high, count + 2)[1:-1]
    if measured is None:
        return by_value
    # Half way between even in brightness and even in the number of pixels: images
    # are mostly dark, and the bright end should be seen all the same.
    shares = np.interp(np.linspace(0, 3, count), range(4), [0.1, 0.5, 0.9, 0.99])
    by_count = measured.signal_quantiles(list(shares))
    return np.clip(np.sort(0.5 * (by_count + by_value)), low, high)


def slice_at(model: NoiseModel, measured: MeasuredPairs | None, signal: float) -> Slice:
    """Compare model and pairs at one signal (ADU)."""
    mean, sd = (float(values[0]) for values in moments_at(model, np.array([signal])))
    sd = max(sd, 1e-6)
    low, high = mean - 4 * sd, mean + 5 * sd
    lower, upper = model.limits
    start = low if lower is None else max(low, lower + 0.5)
    stop = high if upper is None else min(high, upper - 0.5)
    values = np.linspace(start, max(stop, start + 1e-6), _SLICE_POINTS)
    edges, counted, n_pairs = _histogram_near(measured, signal, sd, (low, high))
    return Slice(
        signal=signal,
        mean=mean,
        sd=sd,
        observations=values,
        density=density_at(model, values, np.full_like(values, signal)),
        components=components_at(model, values, signal),
        edges=edges,
        measured=counted,
        n_pairs=n_pairs,
    )


def _histogram_near(
    measured: MeasuredPairs | None,
    signal: float,
    sd: float,
    shown: tuple[float, float],
) -> tuple[Floats | None, Floats | None, float]:
    """Histogram of the pairs within as little of `signal` as gives enough of them."""
    if measured is None:
        return None, None, 0.0
    reach = 0.6 * sd
    if measured.transfer is not None:  # cells are laid out over their height
        reach += 0.5 * _CELL_SIZE * float(np.sqrt(measured.transfer.variance(signal)))
    pairs = measured.spread(signal - reach, signal + reach)
    distance = np.abs(pairs.signal - signal)
    near = distance <= 0.5 * sd
    for part in (0.1, 0.2, 0.3):
        if pairs.weight[distance <= part * sd].sum() >= _FEWEST_PAIRS_PER_SLICE:
            near = distance <= part * sd
            break
    total = float(pairs.weight[near].sum())
    if total < _FEWEST_PAIRS_SHOWN:
        return None, None, total
    edges = even_edges(*shown, _SLICE_COLUMNS, measured.step)
    counts = np.histogram(pairs.observation[near], edges, weights=pairs.weight[near])[0]
    return edges, counts / (total * (edges[1] - edges[0])), total


def density_map(
    model: NoiseModel,
    signal_range: tuple[float, float],
    observation_range: tuple[float, float],
) -> HeatMap:
    """Density (1/ADU) of a model whose pairs are not known, in place of counts."""
    rows = even_edges(*observation_range, _MOST_COLUMNS, 0.0)
    columns = even_edges(*signal_range, _MOST_COLUMNS // 2, 0.0)
    middles = [0.5 * (edges[1:] + edges[:-1]) for edges in (rows, columns)]
    density = density_at(model, middles[0][:, None], middles[1][None, :])
    return HeatMap(columns, rows, density)


@dataclass(frozen=True)
class Frame:
    """What part of the plane of signals and observations a picture shows, ADU."""

    signals: tuple[float, float]
    observations: tuple[float, float]


def frame_for(model: NoiseModel | None, measured: MeasuredPairs | None) -> Frame:
    """Choose what to show: all that the model covers, and where the pairs are.

    With pairs it does not depend on the model's shape, so that it holds still while
    the model is being fitted. One of the two must be there.
    """
    ends = [] if model is None else [model.signal_range]
    if measured is not None:
        quantiles = measured.signal_quantiles([1e-4, 1 - 1e-4])
        ends.append((float(quantiles[0]), float(quantiles[1])))
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    margin = max(_MARGIN * (high - low), 0.5)
    signals = np.linspace(low, high, 65)
    if measured is not None and measured.transfer is not None:
        sd = np.sqrt(measured.transfer.variance(signals))
    elif model is not None:
        sd = moments_at(model, signals)[1]
    else:
        sd = np.full(len(signals), margin)
    return Frame(
        (low - margin, high + margin),
        (float((signals - 3.5 * sd).min()), float((signals + 4.5 * sd).max())),
    )


def middle_signal(model: NoiseModel | None, measured: MeasuredPairs | None) -> float:
    """Signal (ADU) to look at first: a bit brighter than the most of the pixels."""
    if measured is not None:
        return float(measured.signal_quantiles([0.6])[0])
    assert model is not None
    low, high = model.signal_range
    return low + 0.4 * (high - low)


def mean_and_sd(
    model: NoiseModel, signal_range: tuple[float, float], count: int = 257
) -> tuple[Floats, Floats, Floats]:
    """Even signals, and the model's mean and standard deviation there, all ADU."""
    signals = np.linspace(*signal_range, count)
    return signals, *moments_at(model, signals)
