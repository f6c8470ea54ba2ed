"""Picture of a residual: what it looks like, where structure was left, what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb

from napari_ppn2v.figures.common import (
    Style,
    StyleName,
    add_title,
    colour_bar,
    new_figure,
    plain,
    style_named,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from napari_ppn2v.core.leftovers import LeftoverMap
    from napari_ppn2v.core.residuals import ResidualCheck

    Image = NDArray[np.float32]

_LAG_NAMES = {
    (0, 1): "→ 1",
    (1, 0): "↓ 1",
    (1, 1): "↘ 1",
    (1, -1): "↙ 1",
    (0, 2): "→ 2",
    (2, 0): "↓ 2",
}
_MOST_SHOWN = 2.5  # of the noise's reach
_MOST_SIGMAS = 3.0
_SMALLEST_CORRELATION = 0.12


def residual_figure(
    denoised: Image,
    leftover: LeftoverMap,
    *,
    style: StyleName = "light",
) -> Figure:
    """Show result, what was taken away, and where that holds structure.

    Parameters
    ----------
    denoised : (Y, X), ADU
    leftover : of the same image
    """
    look = style_named(style)
    height, width = denoised.shape
    figure = new_figure((13.6, 4.0 * height / width + 0.85), look)
    panels = figure.subplots(1, 3)
    low, high = np.quantile(denoised, [0.002, 0.998])
    image = panels[0].imshow(denoised, cmap="gray", vmin=low, vmax=max(high, low + 1))
    colour_bar(panels[0], image, "grey value", look)
    panels[0].set_title("Denoised")
    image = panels[1].imshow(
        leftover.standardised,
        cmap=_two_sided(look),
        vmin=-_MOST_SIGMAS,
        vmax=_MOST_SIGMAS,
        interpolation="nearest",
    )
    colour_bar(panels[1], image, "(noisy - denoised) / expected noise", look)
    panels[1].set_title("What was taken away: should look like noise")
    image = panels[2].imshow(
        leftover.excess, cmap=_beyond_noise(look), vmin=-_MOST_SHOWN, vmax=_MOST_SHOWN
    )
    colour_bar(panels[2], image, "smoothed residual / most that noise reaches", look)
    panels[2].set_title("Structure in it: coloured where it is no noise")
    for axes in panels:
        plain(axes, look)
        axes.set_xticks([])
        axes.set_yticks([])
    for place in leftover.places[:3]:
        _mark(panels[2], place.row, place.column, look)
    add_title(figure, "Was image taken away together with the noise?", look)
    return figure


def residual_statistics_figure(
    check: ResidualCheck, *, style: StyleName = "light"
) -> Figure:
    """Show spread and bias by grey value, and correlation by distance."""
    look = style_named(style)
    figure = new_figure((13.6, 3.7), look)
    spread, bias, white = figure.subplots(1, 3)
    middles = [0.5 * (each.low + each.high) for each in check.ranges]
    _target(spread, 1.0, look)
    spread.plot(middles, [r.spread for r in check.ranges], "o-", color=look.measured)
    spread.set(
        title="Strength of what was taken away",
        xlabel="denoised grey value",
        ylabel="times the noise of the noise model",
        ylim=_around([r.spread for r in check.ranges], 1.0, 0.3),
    )
    _target(bias, 0.0, look)
    bias.errorbar(
        middles,
        [r.bias for r in check.ranges],
        [r.bias_error for r in check.ranges],
        fmt="o-",
        color=look.measured,
        capsize=3,
    )
    bias.set(
        title="Its mean: above 0, the result is too dark",
        xlabel="denoised grey value",
        ylabel="noisy - denoised (grey values)",
    )
    _target(white, 0.0, look)
    values = [each.value for each in check.whiteness]
    white.bar(
        [_LAG_NAMES[each.lag] for each in check.whiteness],
        values,
        0.6,
        color=look.measured,
    )
    white.set(
        title="Likeness of neighbouring pixels in it",
        xlabel="direction and distance (pixels)",
        ylabel="correlation",
        ylim=_around(values, 0.0, _SMALLEST_CORRELATION),
    )
    for axes in (spread, bias, white):
        plain(axes, look)
    add_title(figure, "The residual in figures (dashed: noise and nothing else)", look)
    return figure


def _around(values: list[float], centre: float, least: float) -> tuple[float, float]:
    reach = max([least, *(1.15 * abs(v - centre) for v in values)])
    return centre - reach, centre + reach


def _target(axes: Axes, value: float, look: Style) -> None:
    axes.axhline(value, color=look.model, ls="--", lw=1.2)


def _two_sided(look: Style) -> LinearSegmentedColormap:
    middle = look.background
    return LinearSegmentedColormap.from_list(
        "two sided", [look.measured, middle, look.model]
    )


def _beyond_noise(look: Style) -> LinearSegmentedColormap:
    """Colours that begin where noise ends, at -1 and 1."""
    end = 1 / _MOST_SHOWN
    stops = [0, (1 - end) / 2, (1 - end) / 2, (1 + end) / 2, (1 + end) / 2, 1]
    blue, red, grey = look.measured, look.model, look.faint
    colours = [blue, _mix(blue, grey), grey, grey, _mix(red, grey), red]
    pairs = list(zip(stops, colours, strict=True))
    return LinearSegmentedColormap.from_list("beyond noise", pairs, N=512)


def _mix(first: str, second: str) -> str:
    mixed = 0.6 * np.array(to_rgb(first)) + 0.4 * np.array(to_rgb(second))
    return to_hex(tuple(mixed))


def _mark(axes: Axes, row: int, column: int, look: Style) -> None:
    axes.plot(column, row, "o", ms=15, mfc="none", mec=look.ink, mew=1.2)
