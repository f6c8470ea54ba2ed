"""Picture of a noise model, and of the pairs that it was fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from napari_ppn2v.core.noise_models.curves import (
    MeasuredPairs,
    Slice,
    density_at,
    heat_map,
    measured_pairs,
    moments_at,
    shown_range,
    slice_at,
    slice_signals,
    variance_curve,
)
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

    Floats = NDArray[np.float64]

_KIND_NAMES = {
    "gmm": "mixture of Gaussians",
    "histogram": "histogram",
    "poisson-gaussian": "sCMOS camera (Poisson-Gaussian)",
    "poisson-gamma": "EMCCD camera (Poisson-gamma)",
}


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
    measured = measured_pairs(pairs)
    figure = new_figure((11.0, 7.0), look)
    grid = figure.add_gridspec(1, 2, width_ratios=(5, 6))
    left = grid[0].subgridspec(2, 1, height_ratios=(3, 2))
    right = grid[1].subgridspec(2, 2)
    heat_axes, variance_axes = (figure.add_subplot(left[row, 0]) for row in (0, 1))
    signals = np.linspace(*shown_range(model, measured), 257)
    _draw_heat_map(heat_axes, model, measured, signals, look)
    _draw_variance(variance_axes, model, measured, signals, look)
    slices = [figure.add_subplot(right[place // 2, place % 2]) for place in range(4)]
    for axes, signal in zip(slices, slice_signals(model, measured), strict=True):
        _draw_slice(axes, slice_at(model, measured, float(signal)), look)
    _finish_slices(slices, look)
    title = (
        _KIND_NAMES.get(kind_label, kind_label)
        or "what the camera makes of each signal"
    )
    add_title(figure, f"Noise model: {title}", look)
    return figure


def _draw_heat_map(
    axes: Axes,
    model: NoiseModel,
    measured: MeasuredPairs | None,
    signals: Floats,
    look: Style,
) -> None:
    mean, sd = moments_at(model, signals)
    low, high = float((mean - 3 * sd).min()), float((mean + 3.5 * sd).max())
    if measured is None:
        observations = np.linspace(low, high, 257)
        density = density_at(model, observations[:, None], signals[None, :])
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
    measured: MeasuredPairs,
    signal_range: tuple[float, float],
    observation_range: tuple[float, float],
    look: Style,
) -> Any:
    """Draw the number of pairs per column and row, on a logarithmic scale."""
    counted = heat_map(measured, signal_range, observation_range)
    return axes.pcolormesh(
        counted.signal_edges,
        counted.observation_edges,
        np.ma.masked_less(counted.counts, 0.25),
        norm=LogNorm(1, max(float(counted.counts.max()), 10.0)),
        cmap=look.counts,
        rasterized=True,
    )


def _draw_variance(
    axes: Axes,
    model: NoiseModel,
    measured: MeasuredPairs | None,
    signals: Floats,
    look: Style,
) -> None:
    _, sd = moments_at(model, signals)
    top = float((sd**2).max())
    if measured is not None:
        shown = (signals[0], signals[-1])
        centres, variances = variance_curve(measured.cells, shown)
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


def _draw_slice(axes: Axes, shown: Slice, look: Style) -> None:
    if shown.measured is not None:
        stairs = (shown.measured, shown.edges)
        axes.stairs(*stairs, color=look.measured, fill=True, alpha=0.35, lw=0)
        axes.stairs(*stairs, color=look.measured, lw=0.9, label="measured")
    for component in shown.components:
        axes.plot(
            shown.observations,
            component,
            color=look.model,
            lw=0.9,
            ls="--",
            label="Gaussians of the model",
        )
    axes.plot(
        shown.observations, shown.density, color=look.model, lw=1.6, label="model"
    )
    axes.axvline(
        shown.signal, color=look.ink, lw=0.8, ls=":", label="noise-free signal"
    )
    axes.set(xlim=shown.shown_range, ylim=(0, 1.2 * shown.highest))
    axes.set_title(f"Noise-free signal {shown.signal:,.4g}")
    plain(axes, look)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _finish_slices(slices: Sequence[Axes], look: Style) -> None:
    """Name the axes once, at the rim, and give one legend for the four slices."""
    for axes in slices[2:]:
        axes.set_xlabel("observed (grey values)")
    for axes in slices[::2]:
        axes.set_ylabel("share of pixels per grey value")
    slices[0].set_ylim(0, 1.35 * slices[0].get_ylim()[1])  # room for the legend
    legend(slices[0], look, "upper right")
