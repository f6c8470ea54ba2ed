"""Plots of PSNR: against seconds and steps, and of all methods on a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_ppn2v.files.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from evidence.ledger import Row

# Okabe and Ito's colours, which people with colour-blindness can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
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
    figure = Figure(figsize=(6.2 * len(kinds), 4.6), dpi=DOTS_PER_INCH)
    labels = list(dict.fromkeys(row["label"] for row in rows))
    colours = dict(zip(labels, COLOURS * 3, strict=False))
    best = max(row["psnr"] for row in rows)
    for number, kind in enumerate(kinds, 1):
        axes = figure.add_subplot(1, len(kinds), number)
        shown = [r for r in rows if r["comparison"] == kind]
        x = "CPU s" if kind == "time" else "steps"
        for label in labels:
            _line(axes, [r for r in shown if r["label"] == label], x, colours[label])
        _finish(axes, kind, title, best)
    figure.tight_layout()
    save(figure, path)


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


def _line(axes: Axes, rows: Sequence[Row], x: str, colour: str) -> None:
    if not rows:
        return
    points = sorted((row[x], row["psnr"]) for row in last_stage(rows))
    axes.plot(
        [p[0] for p in points],
        [p[1] for p in points],
        color=colour,
        marker="o" if len(points) < 12 else None,
        markersize=4,
        label=rows[0]["label"],
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
    axes.legend(fontsize=7, loc="lower right")
