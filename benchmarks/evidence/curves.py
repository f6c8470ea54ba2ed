"""Plots of PSNR: against seconds and steps, and of all methods on a data set."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter

from napari_ppn2v.files.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from evidence.ledger import Row

# Okabe and Ito's colours, which people with colour-blindness can tell apart
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8C6D31",
    "#7A5195",
    "#9E9E9E",
    "#B30000",
)
DOTS_PER_INCH = 130
LEAST = 12.0  # dB below the best that is still shown: the first steps say nothing


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, replacing the last one as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary), metadata={"Software": None})


def draw_curves(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw PSNR against CPU seconds, and against steps where those were compared.

    Parameters
    ----------
    rows : with label, comparison ("time" or "steps"), CPU s, steps, psnr, amount
    """
    kinds = [
        kind
        for kind in ("time", "steps")
        if any(row["comparison"] == kind for row in rows)
    ]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    size = (6.2 * max(1.4, len(kinds)), 4.4 + 0.11 * len(labels))
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    colours = dict(zip(labels, COLOURS * 3, strict=False))
    best = max(row["psnr"] for row in rows)
    for number, kind in enumerate(kinds, 1):
        axes = figure.add_subplot(1, len(kinds), number)
        shown = [r for r in rows if r["comparison"] == kind]
        x = "CPU s" if kind == "time" else "steps"
        for label in labels:
            _line(axes, [r for r in shown if r["label"] == label], x, colours[label])
        _finish(axes, kind, title, best)
    _legend(figure, labels, colours)
    save(figure, path)


def _legend(figure: Figure, labels: Sequence[str], colours: dict[str, str]) -> None:
    """Name all systems below the plots; programs of others are dashed."""
    lines = [
        Line2D([], [], color=colours[label], ls=_style(label), marker="o", ms=4)
        for label in labels
    ]
    room = 0.04 + 0.045 * -(-len(labels) // 2)
    figure.tight_layout(rect=(0, room, 1, 1))
    figure.legend(lines, labels, fontsize=8, ncols=2, loc="lower center")


def _style(label: str) -> str:
    is_of_others = ":" in label or "Noise2VST" in label
    return "--" if is_of_others else "-"


def draw_dots(
    path: Path, panels: Sequence[tuple[str, dict[str, tuple[float, float]]]]
) -> None:
    """Draw the PSNR of all methods, a panel for each data set, best at the top.

    Parameters
    ----------
    panels : title, and label -> (PSNR, its standard error or nan) in dB
    """
    tallest = max((len(found) for _, found in panels), default=0)
    if not tallest:
        return
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    size = (7.2 * columns, (0.26 * tallest + 0.9) * rows)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    for number, (title, found) in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        ordered = sorted(found.items(), key=lambda item: item[1][0])
        for place, (label, (mean, error)) in enumerate(ordered):
            colour = COLOURS[1] if "ours" in label else COLOURS[0]
            axes.errorbar(mean, place, xerr=error, fmt="o", ms=5, color=colour)
        axes.set_yticks(range(len(ordered)), [label for label, _ in ordered])
        axes.tick_params(axis="y", labelsize=8)
        axes.set_xlabel("PSNR (dB)")
        axes.set_title(title, fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    save(figure, path)


def last_stage(rows: Sequence[Row]) -> list[Row]:
    """Leave out the Noise2Void that a PN2V begins with: it is not what it gives.

    Parameters
    ----------
    rows : with system and stage ("n2v", "pn2v" or "end")
    """
    return [
        row
        for row in rows
        if row["stage"] != "n2v" or row["system"].endswith("Noise2Void")
    ]


def _means(rows: Sequence[Row]) -> list[Row]:
    """Replace repeats with the same amount by their mean; a curve stays as it is."""
    if any(row["stage"] != "end" for row in rows):
        return list(rows)
    return [
        {
            name: statistics.fmean(row[name] for row in rows if row["amount"] == amount)
            for name in ("CPU s", "steps", "psnr")
        }
        for amount in sorted({row["amount"] for row in rows})
    ]


def _line(axes: Axes, rows: Sequence[Row], x: str, colour: str) -> None:
    if not rows:
        return
    points = sorted((row[x], row["psnr"]) for row in _means(last_stage(rows)))
    axes.plot(
        [p[0] for p in points],
        [p[1] for p in points],
        color=colour,
        ls=_style(rows[0]["label"]),
        marker="o",
        markersize=4 if len(points) < 12 else 2,
    )


def _finish(axes: Axes, kind: str, title: str, best: float) -> None:
    axes.set_xscale("log")
    axes.set_ylim(best - LEAST, best + 0.5)
    axes.set_ylabel("PSNR (dB)")
    if kind == "time":
        axes.set_xlabel("CPU seconds before denoising, one thread")
        axes.set_title(f"{title}: by time", fontsize=10)
    else:
        axes.set_xlabel("training steps of 20 patches of 100 x 100")
        axes.set_title(f"{title}: by steps, same network", fontsize=10)
    axes.grid(alpha=0.3)
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(LogFormatter(minor_thresholds=(2, 0.5), labelOnlyBase=False))
