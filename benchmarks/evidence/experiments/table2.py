"""Gaussians and coefficients of the mixture, and the other noise models (Table 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.ticker import MaxNLocator

from evidence.noise_models.averages import (
    FEWEST_SHOWN,
    has_psnr,
    likelihood_cell,
    mean_of,
    paired,
    percent,
    psnr_cell,
    shown,
)
from evidence.noise_models.figures import figure_of, finish, save, style_of
from evidence.noise_models.kinds import KINDS
from evidence.noise_models.study import (
    BOOTSTRAPPED,
    CALIBRATED,
    POSTERIOR,
    REFINED,
    Study,
    add_study_options,
    cut,
    label_of,
    rows_of,
)
from evidence.noise_models.words import HOW, data_set_labels, steps_sentence
from evidence.tables import cross_table, write_page

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from evidence.ledger import Row

NAME = "table2"
STUDY = Study(NAME, (cut(CALIBRATED), cut(BOOTSTRAPPED)))
REFERENCE = {"model": "gmm-3x2"}
COMMAND = (
    "python benchmarks/evidence table2 FOLDER --n2v-steps 20000 --pn2v-steps 20000 "
    "--refinement-steps 10000 --refined-data-sets w2s bright "
    "--refined-folds 0 1 2 3 --repeats 5"
)

WHY = (
    "**What hangs on the shape.** The posterior mean needs the noise model only near "
    "what was observed, and hardly tells models apart whose variance is right. A "
    "refined network learns from observations that the noise model draws: a single "
    "Gaussian draws none of the bright outliers of an EMCCD, and the network takes the "
    "real ones for signal."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add data sets and steps."""
    add_study_options(parser, ("w2s", "bright", "lanl_emccd"), tuple(KINDS))


def run(options: argparse.Namespace) -> None:
    """Do what is not done yet."""
    STUDY.run(options)


def report(out: Path) -> None:
    """Write page and picture from the CSV file."""
    rows = rows_of(out, NAME)
    if not rows:
        return
    labels = data_set_labels(rows)
    parts = []
    for name, label in labels.items():
        parts.append(f"## {label}")
        for source in (CALIBRATED, BOOTSTRAPPED):
            mine = [r for r in rows if (r["data set"], r["source"]) == (name, source)]
            if mine:
                parts += [f"### Noise model {source}", _table(mine), _findings(mine)]
    write_page(
        out / f"{NAME}.md",
        "Which noise model: Gaussians, coefficients, histograms, cameras",
        HOW,
        steps_sentence(rows),
        f"At the full setting: `{COMMAND}`",
        WHY,
        f"![Held-out likelihood of each noise model]({NAME}.png)",
        *parts,
    )
    _draw(rows, labels, out / f"{NAME}.png")


def _table(rows: Sequence[Row]) -> str:
    columns = {"nll": "held-out NLL", "difference": "NLL, difference to 3 x 2"}
    for way, words in (
        (POSTERIOR, "PSNR, posterior mean (dB)"),
        (REFINED, "PSNR, refined (dB)"),
    ):
        if has_psnr(rows, way):
            columns[way] = words

    def cell(model: str, column: str) -> str:
        if column == "nll":
            return likelihood_cell(rows, model=model)
        if column == "difference":
            return _difference(rows, model)
        return psnr_cell(rows, column, REFERENCE, model=model)

    names = [name for name in KINDS if any(r["model"] == name for r in rows)]
    return cross_table(
        [(name, label_of(name)) for name in names],
        list(columns.items()),
        cell,
        "noise model",
    )


def _difference(rows: Sequence[Row], model: str) -> str:
    if model == REFERENCE["model"]:
        return "0"
    at = {"way": POSTERIOR}
    return shown(
        paired(rows, "nll", {**at, "model": model}, {**at, **REFERENCE}), 4, signed=True
    )


def _findings(rows: Sequence[Row]) -> str:
    """Say what more Gaussians do, and name the best."""
    at = {"way": POSTERIOR}
    gain = paired(rows, "nll", {**at, "model": "gmm-1x2"}, {**at, **REFERENCE})
    means = _means(rows, "nll")
    if gain is None or not means:
        return ""
    best = min(means, key=lambda name: means[name])
    word = "better" if gain.mean > 0 else "worse"
    likely = (
        f"With two coefficients, 3 Gaussians predict new pixels "
        f"{abs(gain.mean):.4f} ± {gain.error:.4f} nats per pixel {word} than 1. "
        f"Best of all: {label_of(best)}."
    )
    parts = [likely]
    for way, words in ((POSTERIOR, "posterior mean"), (REFINED, "refined network")):
        at = {"way": way}
        loss = paired(rows, "psnr", {**at, **REFERENCE}, {**at, "model": "gmm-1x2"})
        if loss is not None:
            parts.append(
                f"PSNR of the {words} with 3 Gaussians minus that with 1: "
                f"{loss.shown(2, signed=True)} dB."
            )
    return " ".join([*parts, _chance(rows)])


def _chance(rows: Sequence[Row]) -> str:
    """Say how far trainings with nearly equal noise models end from each other."""
    at = {"way": REFINED}
    found = [
        paired(
            rows,
            "psnr",
            {**at, "model": f"gmm-{k}x2"},
            {**at, "model": f"gmm-{k}x3"},
        )
        for k in (1, 2, 3)
    ]
    apart = [abs(mean.mean) for mean in found if mean is not None]
    if not apart:
        return ""
    return (
        "Refined networks whose mixtures differ in the coefficients alone, and hardly "
        f"in likelihood, are up to {max(apart):.2f} dB apart: that much is chance."
    )


def _draw(rows: Sequence[Row], labels: dict[str, str], path: Path) -> None:
    """Draw how far each noise model is from the best, a panel for each source."""
    places = [
        (name, source)
        for name in labels
        for source in (CALIBRATED, BOOTSTRAPPED)
        if any((r["data set"], r["source"]) == (name, source) for r in rows)
    ]
    figure = figure_of(12.0, 3.4 * -(-len(places) // 2))
    panels = figure.subplots(-(-len(places) // 2), 2, squeeze=False).ravel()
    for axes, (name, source) in zip(panels, places, strict=False):
        mine = [r for r in rows if (r["data set"], r["source"]) == (name, source)]
        _draw_panel(axes, mine, f"{labels[name]}, {source}")
    for axes in panels[len(places) :]:
        axes.set_axis_off()
    save(figure, path)


def _draw_panel(axes: Axes, rows: Sequence[Row], title: str) -> None:
    means = _means(rows, "nll")
    impossible = _means(rows, "impossible")
    best = min(means.values())
    # one model that calls pixels impossible would squeeze all others into a line
    possible = [nll - best for name, nll in means.items() if impossible[name] == 0]
    top = 1.25 * max([*possible, 1e-3])
    for place, (name, nll) in enumerate(means.items()):
        excess = nll - best
        axes.barh(place, min(excess, top), color=style_of(name)["color"], height=0.65)
        words = f"{excess:.4f}"
        if impossible[name] > FEWEST_SHOWN:
            words += f" ({percent(impossible[name])} of the pixels impossible)"
        if excess > top:
            words += ", bar cut off"
        _name_bar(axes, place, words, min(excess, top), is_inside=excess > 0.55 * top)
    axes.set_yticks(range(len(means)), [label_of(name) for name in means])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1 * top)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_title(title)
    axes.set_xlabel("nats per pixel worse than the best (left is better)")
    finish(axes)
    axes.grid(visible=False)


def _means(rows: Sequence[Row], column: str) -> dict[str, float]:
    """Mean over folds for each noise model that was run."""
    found = {name: mean_of(rows, column, model=name, way=POSTERIOR) for name in KINDS}
    return {name: mean.mean for name, mean in found.items() if mean is not None}


def _name_bar(
    axes: Axes, place: int, words: str, end: float, *, is_inside: bool
) -> None:
    """Write beside the end of a bar, or inside where there is no room."""
    axes.annotate(
        words,
        (end, place),
        xytext=(-4 if is_inside else 4, 0),
        textcoords="offset points",
        ha="right" if is_inside else "left",
        va="center",
        fontsize=8,
        color="#ffffff" if is_inside else "#1a1a1a",
    )
