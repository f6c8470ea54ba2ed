"""Picture of the expected error of each denoised image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from napari_ppn2v.figures.common import (
    StyleName,
    add_title,
    legend,
    new_figure,
    plain,
    style_named,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from napari_ppn2v.core.expected_error import ExpectedErrors


def expected_error_figure(
    errors: ExpectedErrors,
    truth: Sequence[float] | None = None,
    *,
    style: StyleName = "light",
) -> Figure:
    """Show the expected error of each image with its range.

    Parameters
    ----------
    truth : root mean squared error of each, ADU, where a truth is known
    """
    look = style_named(style)
    figure = new_figure((9.0, 3.4), look)
    axes = figure.subplots()
    told = [(n, e) for n, e in enumerate(errors.per_image) if e is not None]
    numbers = np.array([n for n, _ in told])
    middle = np.array([e.rmse for _, e in told])
    below = middle - np.array([e.low for _, e in told])
    above = np.array([e.high for _, e in told]) - middle
    axes.errorbar(
        numbers,
        middle,
        [below, above],
        fmt="o",
        color=look.measured,
        capsize=3,
        label="expected, without ground truth",
    )
    if truth is not None:
        axes.plot(
            range(len(truth)), truth, "x", color=look.model, ms=8, label="true error"
        )
    axes.set(xlabel="image", ylabel="error per pixel (grey values)")
    axes.set_ylim(0, 1.25 * float(max(middle + above)))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    plain(axes, look)
    legend(axes, look, "upper right")
    add_title(
        figure, "How far the denoised images are from the truth, as expected", look
    )
    return figure
