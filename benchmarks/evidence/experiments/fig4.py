"""Noise models in pictures: whole, bootstrapped and reduced calibration (Fig. 4)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm

from evidence.jobs import Job, RunFailed, run_all
from evidence.ledger import read_rows, write_rows
from evidence.noise_models.figures import LOOK, figure_of, save, style_of
from evidence.noise_models.pairs import WITH_IMAGES
from evidence.noise_models.study import (
    BOOTSTRAPPED,
    add_shared_options,
    cut,
    label_of,
    make_priors,
    prior_path,
)
from evidence.noise_models.words import data_set_labels
from evidence.tables import cross_table, write_page
from napari_ppn2v.figures.common import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from evidence.ledger import Row

NAME = "fig4"
MODELS = ("histogram-published", "gmm-3x2")
FOLD = 0
PARTS = (0.05, 0.15, 0.45)  # of the signal range
SECTION_COLOURS = ("#0072B2", "#D55E00", "#009E73")
PREFIX = "x="
LOWEST_SHOWN = 1e-6  # 1/ADU


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data set and how far the calibration is reduced."""
    add_shared_options(parser, ("w2s",))
    parser.add_argument("--share", type=float, default=0.001)
    parser.add_argument("--coverage", type=float, default=0.09)


def run(options: argparse.Namespace) -> None:
    """Fit the noise models of all panels, unless the file is there already."""
    if len(options.data_sets) != 1 or options.data_sets[0] not in WITH_IMAGES:
        raise SystemExit("fig4 shows one data set that has images. Name one.")
    path = options.out / f"{NAME}.csv"
    data_set = options.data_sets[0]
    done = read_rows(path)
    panels = _panels(options)
    if done and {row["panel"] for row in done} >= {name for name, _ in panels}:
        return
    make_priors(options, 0)
    arguments = {
        "data": str(options.data),
        "data_set": data_set,
        "fold": FOLD,
        "panels": panels,
        "models": list(MODELS),
        "parts": list(PARTS),
        "repeat": 0,
        "prior": str(prior_path(data_set, 0, options)),
    }
    for _, result in run_all(
        [[Job("noise-model pictures", arguments)]], options.workers
    ):
        if isinstance(result, RunFailed):
            print(result, file=sys.stderr, flush=True)
            continue
        write_rows(path, [{"data set": data_set, **row} for row in result["rows"]])


def _panels(options: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("whole calibration", cut()),
        ("bootstrapped, no calibration", cut(BOOTSTRAPPED)),
        (f"{100 * options.share:g} % of the calibration pixels",
         cut(share=options.share)),
        (f"darkest {100 * options.coverage:g} % of the signal range",
         cut(coverage=options.coverage)),
    ]  # fmt: skip


def report(out: Path) -> None:
    """Write page and picture from the CSV file."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    label = next(iter(data_set_labels(rows).values()))
    panels = [name for name in dict.fromkeys(r["panel"] for r in rows) if name]
    write_page(
        out / f"{NAME}.md",
        "Noise models in pictures",
        f"![Noise models of {label}]({NAME}.png)",
        f"{label}. Each row of pictures shows noise models that were fitted to the "
        "pairs named at its left: on the left the histogram as published (256 x 256 "
        "bins), in the middle the mixture of 3 Gaussians with 2 coefficients. The "
        "darker, the more often is a value observed at a noise-free signal. "
        "White is below a millionth per ADU: never seen, as far as the model knows. "
        "Dotted lines: between them lie the signals that were fitted to. On the right, "
        "cross-sections at the signals marked by coloured lines, against the histogram "
        "of the whole calibration near each signal (grey).",
        "How far each cross-section is from the whole calibration's histogram, as the "
        "share of the observations that would have to move (total variation; 0 is "
        "perfect; 0.5 where a model gives nothing, 1 where it gives only what was not "
        "measured):",
        _distances(rows, panels),
    )
    _draw(rows, panels, label, out / f"{NAME}.png")


def _grid(rows: Sequence[Row]) -> tuple[list[str], np.ndarray]:
    names = [name for name in rows[0] if name.startswith(PREFIX)]
    return names, np.array([float(name.removeprefix(PREFIX)) for name in names])


def _of(rows: Sequence[Row], **named: Any) -> list[Row]:
    return [r for r in rows if all(r[key] == value for key, value in named.items())]


def _values(rows: Sequence[Row], names: Sequence[str]) -> np.ndarray:
    """Densities of rows, (rows, observations), 1/ADU."""
    return np.array([[float(row[name]) for name in names] for row in rows])


def _distances(rows: Sequence[Row], panels: Sequence[str]) -> str:
    names, x = _grid(rows)
    step = float(x[1] - x[0])
    measured = _of(rows, part="measured")
    truth = _values(measured, names)
    columns = [
        (f"{model}|{k}", f"{label_of(model)}: {row['signal']:.0f} ADU")
        for model in MODELS
        for k, row in enumerate(measured)
    ]

    def cell(panel: str, column: str) -> str:
        model, k = column.split("|")
        found = _of(rows, part="section", panel=panel, model=model)
        if not found:
            return "fit failed"
        density = _values(found, names)[int(k)]
        return f"{0.5 * step * np.abs(density - truth[int(k)]).sum():.3f}"

    return cross_table([(p, p) for p in panels], columns, cell, "fitted to")


# --- Drawing ---------------------------------------------------------------------


def _draw(rows: Sequence[Row], panels: Sequence[str], label: str, path: Path) -> None:
    figure = figure_of(13.0, 3.1 * len(panels))
    places = figure.subplots(len(panels), 3, squeeze=False, width_ratios=(1, 1, 1.25))
    figure.suptitle(f"Noise models of {label}", color=LOOK.ink, fontsize=13)
    top = _highest(rows)
    images = []
    for letter, panel, (*maps, sections) in zip("abcdef", panels, places, strict=False):
        for axes, model in zip(maps, MODELS, strict=True):
            images += _draw_map(axes, rows, panel, model, top)
        maps[0].set_ylabel(f"({letter}) {_wrapped(panel)}\n\nobserved (ADU)")
        _draw_sections(sections, rows, panel)
    for axes, model in zip(places[0], MODELS, strict=False):
        axes.set_title(label_of(model))
    places[0][2].set_title("Cross-sections")
    for axes in places[-1][:2]:
        axes.set_xlabel("noise-free signal (ADU)")
    places[-1][2].set_xlabel("observed (ADU)")
    _legend(places[0][2])
    for axes in places.ravel():
        plain(axes, LOOK)
    for row in places:
        row[1].tick_params(labelleft=False)
    for axes in places[:-1].ravel():
        axes.tick_params(labelbottom=False)
    if images:
        bar = figure.colorbar(
            images[0],
            ax=places[:, :2],
            location="bottom",
            pad=0.01,
            fraction=0.03,
            aspect=60,
        )
        bar.set_label("density that the noise model gives (1/ADU)", fontsize=9.5)
    save(figure, path)


def _wrapped(text: str) -> str:
    """Break a name in two near its middle."""
    words = text.split()
    half = -(-len(words) // 2)
    return " ".join(words[:half]) + "\n" + " ".join(words[half:])


def _highest(rows: Sequence[Row]) -> float:
    names, _ = _grid(rows)
    return float(_values(_of(rows, part="measured"), names).max())


def _draw_map(
    axes: Axes, rows: Sequence[Row], panel: str, model: str, top: float
) -> list[Any]:
    found = _of(rows, part="map", panel=panel, model=model)
    if not found:
        axes.text(0.5, 0.5, "fit failed", ha="center", transform=axes.transAxes)
        return []
    names, x = _grid(rows)
    signals = np.array([row["signal"] for row in found])
    density = _values(found, names)
    image = axes.pcolormesh(
        signals,
        x,
        np.ma.masked_less(density.T, LOWEST_SHOWN),
        norm=LogNorm(LOWEST_SHOWN, top),
        cmap=LOOK.counts,
        shading="nearest",
        rasterized=True,
    )
    for end in (found[0]["from"], found[0]["to"]):
        axes.axvline(end, color=LOOK.ink, lw=0.9, ls=":")
    for row, colour in zip(_of(rows, part="measured"), SECTION_COLOURS, strict=True):
        axes.axvline(row["signal"], color=colour, lw=1.2)
    axes.set_xlim(signals[0], signals[-1])
    return [image]


def _draw_sections(axes: Axes, rows: Sequence[Row], panel: str) -> None:
    names, x = _grid(rows)
    measured = _of(rows, part="measured")
    step = float(x[1] - x[0])
    edges = np.append(x - 0.5 * step, x[-1] + 0.5 * step)
    highest = 0.0
    for k, (row, colour) in enumerate(zip(measured, SECTION_COLOURS, strict=True)):
        truth = _values([row], names)[0]
        # where one cross-section towers above the others, all are shown to its scale
        axes.stairs(truth, edges, color="#999999", fill=True, alpha=0.35, lw=0)
        highest = max(highest, float(truth.max()))
        for model in MODELS:
            found = _of(rows, part="section", panel=panel, model=model)
            if not found:
                continue
            density = _values(found, names)[k]
            axes.plot(x, density, color=colour, **_line(model))
    axes.set_ylim(0, 1.25 * highest)
    axes.set_ylabel("density (1/ADU)")
    _limit(axes, measured, names, x)


def _line(model: str) -> dict[str, Any]:
    is_histogram = style_of(model)["marker"] == "s"
    return {"lw": 1.0, "ls": ":"} if is_histogram else {"lw": 1.6, "ls": "-"}


def _limit(
    axes: Axes, measured: Sequence[Row], names: Sequence[str], x: np.ndarray
) -> None:
    """Show the observations that the cross-sections hold."""
    seen = _values(measured, names).max(axis=0) > 2e-5
    axes.set_xlim(float(x[seen].min()), float(x[seen].max()))


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color="#999999", alpha=0.35, label="whole calibration, measured"),
        *(
            Line2D([], [], color=LOOK.ink, label=label_of(m), **_line(m))
            for m in MODELS
        ),
    ]
    axes.legend(handles=handles, loc="upper right", fontsize=8, frameon=False)
