"""Calibration that covers part of the signals (Table 3 and Fig. 3a)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evidence.noise_models.ablation import (
    MODELS,
    Levels,
    draw,
    findings,
    gains_table,
    tables,
)
from evidence.noise_models.study import Study, add_study_options, cut, rows_of
from evidence.noise_models.words import HOW, data_set_labels, steps_sentence
from evidence.tables import write_page

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

NAME = "table3"
COVERAGES = (1.0, 0.4, 0.25, 0.15, 0.09)
LEVELS = Levels("coverage", "part of the signal range that the calibration covers")
COMMAND = (
    "python benchmarks/evidence table3 FOLDER --n2v-steps 20000 --pn2v-steps 20000 "
    "--refinement-steps 10000 --refined-data-sets w2s bright "
    "--refined-folds 0 1 2 3 --repeats 5"
)

WHY = (
    "**Beyond the calibration.** A mixture keeps the width that it has at the end of "
    "its range, but brighter pixels are noisier. The posterior mean bears that: it is "
    "drawn to the observation too much, and the prior holds it. A refined network does "
    "not: observations drawn from 3 Gaussians, whose lower side is steep, never lie as "
    "far below a bright signal as real ones do, so that the network takes real ones "
    "for a darker signal and bright areas come out too dark. A single Gaussian, being "
    "symmetric, escapes that. The width of a camera model goes on growing as it "
    "should; its likelihood, however, is looked up in a table that reaches half as far "
    "again as the calibration, and keeps its shape from there on."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add data sets, steps and which parts are covered."""
    add_study_options(parser, ("w2s", "bright"), MODELS)
    parser.add_argument(
        "--coverages",
        nargs="+",
        type=float,
        default=list(COVERAGES),
        help="parts of the signal range, from its lower end",
    )


def run(options: argparse.Namespace) -> None:
    """Do what is not done yet."""
    cuts = tuple(cut(coverage=coverage) for coverage in options.coverages)
    Study(NAME, cuts).run(options)


def report(out: Path) -> None:
    """Write page and picture from the CSV file."""
    rows = rows_of(out, NAME)
    if not rows:
        return
    labels = data_set_labels(rows)
    parts = []
    for name, label in labels.items():
        parts += [f"## {label}", findings(rows, name, LEVELS)]
        parts += [gains_table(rows, name, LEVELS), tables(rows, name, LEVELS)]
    write_page(
        out / f"{NAME}.md",
        "Calibration that covers part of the signals",
        "The calibration keeps the pairs whose signal lies in the lower part of the "
        "range of signals of the images to be denoised (their smallest to their "
        "largest true signal). The held-out pairs cover the whole range. Beyond what "
        "was calibrated, a mixture keeps the shape it has at the end of its range; a "
        "published histogram has empty rows.",
        WHY,
        HOW,
        steps_sentence(rows),
        f"At the full setting: `{COMMAND}`",
        f"![Likelihood and PSNR against the part of the range covered]({NAME}.png)",
        *parts,
    )
    draw(rows, labels, LEVELS, out / f"{NAME}.png")
