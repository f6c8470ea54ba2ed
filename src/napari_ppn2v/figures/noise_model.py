"""Picture of a noise model, and of the pairs that it was fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from napari_ppn2v.core.pair_histogram import (
    PairCells,
    PhotonTransfer,
    photon_transfer,
)
from napari_ppn2v.errors import BadData
from napari_ppn2v.figures.common import (
    Style,
    StyleName,
    add_title,
    colour_bar,
    legend,
    new_figure,
    plain,
    style_named,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import Limits

    Floats = NDArray[np.float64]

_MOST_COLUMNS = 128  # of a heat map, in either direction
_FEWEST_PAIRS_PER_SLICE = 400
_KIND_NAMES = {
    "gmm": "mixture of Gaussians",
    "histogram": "histogram",
    "poisson-gaussian": "sCMOS camera (Poisson-Gaussian)",
    "poisson-gamma": "EMCCD camera (Poisson-gamma)",
}
_CELL_SIZE = 0.12  # noise standard deviations; as pairs are sorted into cells
_WITHIN_CELL = (-0.375, -0.125, 0.125, 0.375)


def noise_model_figure(
    model: NoiseModel,
    pairs: Any = None,
    kind_label: str = "",
    *,
    style: StyleName = "light",
) -> Figure:
    """Show what a noise model says, and the pairs that it was fitted to.

    Left: all observations against their signal, with the model's mean and standard
    deviation, and the variance against the signal. Right: the distribution of the
    observations at four signals.

    Parameters
    ----------
    pairs
        Weighted pairs: a `PairHistogram`, or anything with the arrays `signal`,
        `observation` (ADU) and `weight`. None shows the model alone.
    kind_label
        For the title: a kind in the registry, or words of your own.

    Raises
    ------
    BadSetting  If the style is unknown.
    """
    look = style_named(style)
    measured = _measured(pairs)
    figure = new_figure((11.0, 7.0), look)
    grid = figure.add_gridspec(1, 2, width_ratios=(5, 6))
    left = grid[0].subgridspec(2, 1, height_ratios=(3, 2))
    right = grid[1].subgridspec(2, 2)
    heat_axes, variance_axes = (figure.add_subplot(left[row, 0]) for row in (0, 1))
    signals = np.linspace(*_shown_range(model, measured), 257)
    _draw_heat_map(heat_axes, model, measured, signals, look)
    _draw_variance(variance_axes, model, measured, signals, look)
    slices = [figure.add_subplot(right[place // 2, place % 2]) for place in range(4)]
    for axes, signal in zip(slices, _slice_signals(model, measured), strict=True):
        _draw_slice(axes, model, measured, float(signal), look)
    _finish_slices(slices, look)
    title = (
        _KIND_NAMES.get(kind_label, kind_label)
        or "what the camera makes of each signal"
    )
    add_title(figure, f"Noise model: {title}", look)
    return figure


@dataclass(frozen=True)
class _Measured:
    """Pairs to draw.

    `spread` holds the same pairs as `cells`, each cell laid out over its extent, so
    that no column of a picture stays empty; `step` is 1 for whole grey values.
    """

    cells: PairCells
    spread: PairCells
    transfer: PhotonTransfer | None
    step: float


def _measured(pairs: Any) -> _Measured | None:
    """Read a histogram of pairs, or anything with the arrays of weighted pairs."""
    if pairs is None:
        return None
    source = getattr(pairs, "training", pairs)
    arrays = (source.signal, source.observation, source.weight)
    cells = PairCells(*(np.asarray(array, float).ravel() for array in arrays))
    if not len(cells) or not cells.weight.sum() > 0:
        return None
    transfer = _transfer(pairs, cells)
    limits = getattr(pairs, "limits", (None, None))
    spread = cells if transfer is None else _spread(cells, transfer, limits)
    is_whole = float(np.mean(cells.observation == np.rint(cells.observation))) > 0.25
    return _Measured(cells, spread, transfer, 1.0 if is_whole else 0.0)


def _transfer(pairs: Any, cells: PairCells) -> PhotonTransfer | None:
    """Photon-transfer line of the pairs; None where there is no noise to see."""
    transfer: PhotonTransfer | None = getattr(pairs, "transfer", None)
    if transfer is not None:
        return transfer
    try:
        return photon_transfer(cells)
    except BadData:
        return None


def _spread(cells: PairCells, transfer: PhotonTransfer, limits: Limits) -> PairCells:
    """Lay each cell's pairs out evenly; clipped values stay where they are."""
    shift = np.array([(s, x) for s in _WITHIN_CELL for x in _WITHIN_CELL])
    height = _CELL_SIZE * np.sqrt(transfer.variance(cells.signal))
    width = _CELL_SIZE * np.sqrt(transfer.variance(cells.observation))
    for limit in limits:
        if limit is not None:
            width = np.where(cells.observation == limit, 0.0, width)
    return PairCells(
        (cells.signal[:, None] + height[:, None] * shift[:, 0]).ravel(),
        (cells.observation[:, None] + width[:, None] * shift[:, 1]).ravel(),
        np.repeat(cells.weight / len(shift), len(shift)),
    )


def _shown_range(model: NoiseModel, measured: _Measured | None) -> tuple[float, float]:
    """Signals (ADU) to show: what the fit covers, less a thin tail of bright pixels."""
    low, high = model.signal_range
    if measured is not None:
        ends = _signal_quantiles(measured.cells, [1e-4, 1 - 1e-4])
        low, high = max(low, float(ends[0])), min(high, float(ends[1]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _signal_quantiles(cells: PairCells, shares: list[float]) -> Floats:
    order = np.argsort(cells.signal)
    share = np.cumsum(cells.weight[order]) / cells.weight.sum()
    return np.interp(shares, share, cells.signal[order])


def _moments(model: NoiseModel, signals: Floats) -> tuple[Floats, Floats]:
    """Mean (ADU) and standard deviation (ADU) of the observations at some signals."""
    import torch

    with torch.no_grad():
        mean, variance = model.moments(torch.as_tensor(signals))
    return mean.cpu().numpy(), variance.clamp_min(0).sqrt().cpu().numpy()


def _density(model: NoiseModel, observation: Floats, signal: Floats) -> Floats:
    """p(x|s) per ADU, broadcast."""
    import torch

    with torch.no_grad():
        log_density = model.log_likelihood(
            torch.as_tensor(observation), torch.as_tensor(signal)
        )
    return np.exp(log_density.cpu().numpy())


def _edges(low: float, high: float, most: int, step: float) -> Floats:
    """Edges of even columns (ADU).

    Whole grey values get columns that each hold equally many of them; others would
    be empty or twice as high.
    """
    width = (high - low) / most
    if step > 0:
        width = max(float(np.ceil(width / step)), 1.0) * step
        low = float(np.floor(low)) - 0.5 * step
    count = max(int(np.ceil((high - low) / width)), 1)
    return low + width * np.arange(count + 1.0)


def _draw_heat_map(
    axes: Axes,
    model: NoiseModel,
    measured: _Measured | None,
    signals: Floats,
    look: Style,
) -> None:
    mean, sd = _moments(model, signals)
    low, high = float((mean - 3 * sd).min()), float((mean + 3.5 * sd).max())
    if measured is None:
        observations = np.linspace(low, high, 257)
        density = _density(model, observations[:, None], signals[None, :])
        peak = float(density.max())
        image = axes.pcolormesh(
            signals,
            observations,
            np.maximum(density, 1e-4 * peak),
            norm=LogNorm(1e-4 * peak, peak),
            cmap=look.counts,
            shading="nearest",
            rasterized=True,
        )
        label = "probability density (per grey value)"
    else:
        image = _draw_counts(
            axes, measured, (signals[0], signals[-1]), (low, high), look
        )
        label = "number of pixels"
    axes.plot(signals, mean, color=look.model, lw=1.6, label="mean of the model")
    for sign in (-1, 1):
        axes.plot(
            signals,
            mean + sign * sd,
            color=look.model,
            lw=1.1,
            ls="--",
            label="± 1 standard deviation" if sign > 0 else None,
        )
    axes.set(xlim=(signals[0], signals[-1]), ylim=(low, high))
    axes.set_title("Observed value for each noise-free signal")
    axes.set_xlabel("noise-free signal (grey values)")
    axes.set_ylabel("observed (grey values)")
    plain(axes, look)
    legend(axes, look, "upper left")
    colour_bar(axes, image, label, look)


def _draw_counts(
    axes: Axes,
    measured: _Measured,
    signal_range: tuple[float, float],
    observation_range: tuple[float, float],
    look: Style,
) -> Any:
    """Draw the number of pairs per column and row, on a logarithmic scale."""
    rows = _edges(*observation_range, _MOST_COLUMNS, measured.step)
    columns = _edges(*signal_range, _MOST_COLUMNS // 2, 0.0)
    pairs = measured.spread
    counts, _, _ = np.histogram2d(
        pairs.observation, pairs.signal, bins=(rows, columns), weights=pairs.weight
    )
    return axes.pcolormesh(
        columns,
        rows,
        np.ma.masked_less(counts, 0.25),
        norm=LogNorm(1, max(float(counts.max()), 10.0)),
        cmap=look.counts,
        rasterized=True,
    )


def _draw_variance(
    axes: Axes,
    model: NoiseModel,
    measured: _Measured | None,
    signals: Floats,
    look: Style,
) -> None:
    _, sd = _moments(model, signals)
    top = float((sd**2).max())
    if measured is not None:
        shown = (signals[0], signals[-1])
        centres, variances = _measured_variance(measured.cells, shown)
        axes.plot(
            centres,
            variances,
            ".",
            color=look.measured,
            ms=5,
            label="measured",
            zorder=1,
        )
        top = max(top, float(np.quantile(variances, 0.95)) if len(variances) else top)
        if measured.transfer is not None:
            axes.plot(
                signals,
                measured.transfer.variance(signals),
                color=look.accent,
                lw=1.6,
                ls=":",
                zorder=4,
                label="photon-transfer line",
            )
    axes.plot(signals, sd**2, color=look.model, lw=1.6, label="model")
    axes.set(xlim=(signals[0], signals[-1]), ylim=(0, 1.15 * top))
    axes.set_title("Strength of the noise (photon transfer)")
    axes.set_xlabel("noise-free signal (grey values)")
    axes.set_ylabel("variance (grey values²)")
    plain(axes, look)
    legend(axes, look, "upper left")


def _measured_variance(
    cells: PairCells, signal_range: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Variance of the pairs about their own mean in 40 even rows of signal."""
    edges = np.linspace(*signal_range, 41)
    row = np.digitize(cells.signal, edges) - 1
    inside = (row >= 0) & (row < 40)
    row, weight = row[inside], cells.weight[inside]
    residual = (cells.observation - cells.signal)[inside]

    def total(values: Floats) -> Floats:
        return np.bincount(row, values, 40).astype(float)

    count = total(weight)
    filled = count >= 30
    safe = np.maximum(count, 1)
    mean = total(weight * residual) / safe
    variance = total(weight * (residual - mean[row]) ** 2) / safe
    return (0.5 * (edges[1:] + edges[:-1]))[filled], variance[filled]


def _slice_signals(model: NoiseModel, measured: _Measured | None) -> Floats:
    """Choose four signals from dark to bright, each with enough pairs about it."""
    low, high = _shown_range(model, measured)
    if measured is None:
        return np.linspace(low, high, 6)[1:5]
    # Half way between even in brightness and even in the number of pixels: images
    # are mostly dark, and the bright end should be seen all the same.
    by_count = _signal_quantiles(measured.cells, [0.1, 0.5, 0.9, 0.99])
    by_value = np.linspace(low, high, 6)[1:5]
    wanted = np.sort(0.5 * (by_count + by_value))
    return np.clip(wanted, low, high)


def _draw_slice(
    axes: Axes,
    model: NoiseModel,
    measured: _Measured | None,
    signal: float,
    look: Style,
) -> None:
    mean, sd = (float(values[0]) for values in _moments(model, np.array([signal])))
    low, high = mean - 4 * sd, mean + 5 * sd
    top = 0.0
    if measured is not None:
        top = _draw_measured_slice(axes, measured, signal, sd, (low, high), look)
    lower, upper = model.limits
    start = low if lower is None else max(low, lower + 0.5)
    stop = high if upper is None else min(high, upper - 0.5)
    values = np.linspace(start, max(stop, start + 1e-6), 401)
    density = _density(model, values, np.full_like(values, signal))
    _draw_components(axes, model, values, signal, look)
    axes.plot(values, density, color=look.model, lw=1.6, label="model")
    axes.axvline(signal, color=look.ink, lw=0.8, ls=":", label="noise-free signal")
    axes.set(xlim=(low, high), ylim=(0, 1.2 * max(top, float(density.max()))))
    axes.set_title(f"Noise-free signal {signal:,.4g}")
    plain(axes, look)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _draw_measured_slice(
    axes: Axes,
    measured: _Measured,
    signal: float,
    sd: float,
    shown: tuple[float, float],
    look: Style,
) -> float:
    """Draw the histogram of the pairs near a signal; return its highest density."""
    pairs = measured.spread
    distance = np.abs(pairs.signal - signal)
    near = distance <= 0.5 * sd
    for part in (0.1, 0.2, 0.3):
        if pairs.weight[distance <= part * sd].sum() >= _FEWEST_PAIRS_PER_SLICE:
            near = distance <= part * sd
            break
    total = float(pairs.weight[near].sum())
    if total < 20:
        return 0.0
    edges = _edges(*shown, 36, measured.step)
    counts = np.histogram(pairs.observation[near], edges, weights=pairs.weight[near])[0]
    density = counts / (total * (edges[1] - edges[0]))
    axes.stairs(density, edges, color=look.measured, fill=True, alpha=0.35, lw=0)
    axes.stairs(density, edges, color=look.measured, lw=0.9, label="measured")
    return float(density.max())


def _draw_components(
    axes: Axes, model: Any, values: Floats, signal: float, look: Style
) -> None:
    """Draw each Gaussian of a mixture by itself."""
    if not hasattr(model, "components"):
        return
    import torch

    with torch.no_grad():
        parts = model.components(torch.tensor([signal], dtype=torch.float64))
    log_weights, means, variances = (part.cpu().numpy().ravel() for part in parts)
    if len(means) < 2:
        return
    for weight, mean, variance in zip(
        np.exp(log_weights), means, variances, strict=True
    ):
        height = weight / np.sqrt(2 * np.pi * variance)
        axes.plot(
            values,
            height * np.exp(-0.5 * (values - mean) ** 2 / variance),
            color=look.model,
            lw=0.9,
            ls="--",
            label="Gaussians of the model",
        )


def _finish_slices(slices: Sequence[Axes], look: Style) -> None:
    """Name the axes once, at the rim, and give one legend for the four slices."""
    for axes in slices[2:]:
        axes.set_xlabel("observed (grey values)")
    for axes in slices[::2]:
        axes.set_ylabel("share of pixels per grey value")
    slices[0].set_ylim(0, 1.35 * slices[0].get_ylim()[1])  # room for the legend
    legend(slices[0], look, "upper right")
