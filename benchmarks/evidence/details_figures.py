"""Lines and pictures of what is invented, lost and resolved."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.details_bars import MOST_LEFT, by_repeat
from evidence.details_scenes import HEIGHTS, LEVELS
from evidence.methods import NOISY
from evidence.pictures import (
    COLOURS,
    MARKERS,
    Panel,
    display_limits,
    panels_figure,
    read_crops,
)
from evidence.tables import Mean
from napari_ppn2v.figures.common import (
    add_title,
    new_figure,
    plain,
    save_figure,
    style_named,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from evidence.ledger import Row

TITLE_WIDTH = 26  # characters
SHOWN_NOISE = 0.3  # of the noise above and below, so that a tenth of it can be seen


def draw_lines(
    path: Path, rows: Sequence[Row], names: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Draw a row for each data set: noise left, heights recovered, correlation.

    Parameters
    ----------
    names, labels : data set and method -> words
    """
    look = style_named("light")
    figure = new_figure((13.5, 3.4 * len(names) + 0.9), look)
    grid = figure.subplots(len(names), 4, squeeze=False)
    for line, (data_set, words) in zip(grid, names.items(), strict=True):
        for number, (method, label) in enumerate(labels.items()):
            style = {
                "color": COLOURS[number % len(COLOURS)],
                "marker": MARKERS[number % len(MARKERS)],
                "label": label,
            }
            _add_method(line, rows, (data_set, method), style)
        _finish(line, words)
        for axes in line:
            plain(axes, look)
            axes.grid(color="#eeeeee")
    handles, shown = grid[0][3].get_legend_handles_labels()
    figure.legend(
        handles, shown, loc="outside lower center", ncols=3, fontsize=8.5, frameon=False
    )
    add_title(figure, "What is invented, what is lost, what is resolved", look)
    save_figure(figure, path)


def _add_method(
    line: Sequence[Axes],
    rows: Sequence[Row],
    place: tuple[str, str],
    style: dict[str, Any],
) -> None:
    frequencies = sorted({row["at"] for row in rows if row["measure"] == "frc"})
    measures = [
        ("flat noise left", LEVELS, 100.0),
        ("recovered pixel", HEIGHTS, 100.0),
        ("recovered point source", HEIGHTS, 100.0),
        ("frc", frequencies, 1.0),
    ]
    for axes, (measure, places, scale) in zip(line, measures, strict=True):
        if place[1] == NOISY.name and measure != "frc":
            continue  # 100 % each, which would leave no room for the others
        found = [list(by_repeat(rows, *place, measure, at).values()) for at in places]
        if not all(found):
            continue
        means = [scale * Mean.of(values).mean for values in found]
        spread = [scale * Mean.of(values).error for values in found]
        size = 3 if measure == "frc" else 5
        x = range(len(LEVELS)) if measure == "flat noise left" else places
        axes.errorbar(x, means, spread, ms=size, lw=1.3, elinewidth=0.8, **style)


def _finish(line: Sequence[Axes], words: str) -> None:
    flat, pixel, source, detail = line
    flat.axhline(100 * MOST_LEFT, color="#64748b", lw=0.9, ls="--")
    flat.set(title=f"{words}\nuniform light", ylabel="noise left (%)")
    flat.set_xticks(range(len(LEVELS)), [f"{level} %" for level in LEVELS])
    flat.set_xlabel("brighter than this share of pixels")
    flat.set_ylim(bottom=0)
    for axes, title in ((pixel, "single bright pixels"), (source, "point sources")):
        axes.axhline(100, color="#64748b", lw=0.9, ls="--")
        axes.set(title=title, ylabel="height kept (%)")
        axes.set_xlabel("height (standard deviations of the noise)")
        axes.set_xticks(HEIGHTS)
    detail.axhline(0.5, color="#64748b", lw=0.9, ls="--")
    detail.set(title="agreement with the truth", ylabel="ring correlation")
    detail.set_xlabel("spatial frequency (cycles per pixel)")
    detail.set_ylim(-0.1, 1.02)


def draw_pictures(
    out: Path, name: str, words: str, labels: Mapping[str, str]
) -> str | None:
    """Draw uniform light and peaks by each method; return the name of the file."""
    crops = read_crops(out / f"{name}.npz")
    if not {"flat/noisy", "peaks/noisy", "peaks/truth"} <= set(crops):
        return None
    methods = [m for m in labels if f"flat/{m}" in crops and f"peaks/{m}" in crops]
    noise = float(np.std(crops["flat/noisy"]))
    flats = [_flat_panel(np.zeros_like(crops["flat/noisy"]), "truth", noise)]
    flats += [_flat_panel(crops[f"flat/{m}"], labels[m], noise) for m in methods]
    limits = display_limits(crops["peaks/truth"])
    peaks = [Panel(crops[f"peaks/{m}"], "", limits=limits) for m in ("truth", *methods)]
    figure = panels_figure(
        [flats, peaks],
        words,
        row_labels=("uniform light", "with point sources"),
        side=2.1,
    )
    save_figure(figure, out / f"{name}.png")
    return f"{name}.png"


def _flat_panel(image: NDArray, label: str, noise: float) -> Panel:
    mean, reach = float(np.mean(image)), SHOWN_NOISE * noise
    left = f"left: {np.std(image) / noise:.1%} of the noise"
    title = "\n".join(textwrap.wrap(label, TITLE_WIDTH))
    return Panel(image, title, left, (mean - reach, mean + reach))
