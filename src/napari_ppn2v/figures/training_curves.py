"""Picture of the losses during training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from napari_ppn2v.errors import BadData
from napari_ppn2v.figures.common import (
    Style,
    StyleName,
    add_title,
    legend,
    new_figure,
    plain,
    style_named,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Curve = Sequence[tuple[int, float, float]]

_SQUARED_ERROR = "squared error / variance of the data"
_STAGE_TITLES = {
    "n2v": (
        "Without a noise model (Noise2Void)",
        _SQUARED_ERROR,
    ),
    "care": ("With clean targets (CARE)", _SQUARED_ERROR),
    "n2n": ("With second noisy images (Noise2Noise)", _SQUARED_ERROR),
    "pn2v": (
        "With the noise model (Probabilistic Noise2Void)",
        "negative log-likelihood (nats per pixel)",
    ),
    "refinement": (
        "Refinement on synthetic observations",
        "squared error / variance of the data, and width",
    ),
}


def training_curves_figure(
    curves: Mapping[str, Curve], *, style: StyleName = "light"
) -> Figure:
    """Show training and validation losses, a panel per stage, the best step marked.

    Parameters
    ----------
    curves
        Stage -> list of (step, training loss, validation loss). The losses of "n2v",
        "care" and "n2n" are squared errors in units of the data's variance, those of
        "pn2v" negative
        log-likelihoods in nats per pixel, those of "refinement 1"...
        squared errors with a hundredth of the log-likelihood of the width added.

    Raises
    ------
    BadData     If there is no stage at all.
    BadSetting  If the style is unknown.
    """
    look = style_named(style)
    if not curves:
        raise BadData("There are no training curves to draw: nothing was trained.")
    figure = new_figure((5.2 * len(curves) + 0.4, 4.2), look)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (stage, curve) in zip(panels, curves.items(), strict=True):
        _draw_curve(axes, stage, np.asarray(curve, float).reshape(-1, 3), look)
    add_title(figure, "Training: lower is better", look)
    return figure


def _draw_curve(axes: Axes, stage: str, curve: Floats, look: Style) -> None:
    name, longer, number = stage.partition(", longer")
    if not longer:
        name, _, number = stage.partition(" ")
    title, unit = _STAGE_TITLES.get(name, (stage, "loss"))
    if longer:
        title = f"{title}{longer}{number}"
    elif number:
        title = f"{title}, round {number}"
    steps, training, validation = curve.T
    marker = "." if len(steps) < 40 else None
    axes.plot(
        steps, training, color=look.measured, lw=1.2, marker=marker, label="training"
    )
    axes.plot(
        steps,
        validation,
        color=look.model,
        lw=1.6,
        marker=marker,
        label="validation (held-out pixels)",
    )
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation))
        axes.axvline(steps[best], color=look.ink, lw=0.8, ls=":")
        axes.plot(
            steps[best],
            validation[best],
            "o",
            ms=8,
            mfc="none",
            mec=look.ink,
            label=f"best: step {int(steps[best]):,}, kept",
        )
        axes.set_ylim(*_readable_limits(training, validation))
    axes.set(title=title, xlabel="training step", ylabel=unit)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    plain(axes, look)
    axes.grid(visible=True, color=look.faint, lw=0.5, alpha=0.6)
    legend(axes, look, "upper right")


def _readable_limits(training: Floats, validation: Floats) -> tuple[float, float]:
    """Loss range without the steep first steps, which would flatten all the rest."""
    late = slice(len(training) // 5, None)
    values = np.concatenate([training[late], validation[late], [np.nanmin(validation)]])
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 0.1
    return low - margin, high + 3 * margin
