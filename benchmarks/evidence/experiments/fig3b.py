"""Calibration with fewer pixels (Fig. 3b)."""

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

NAME = "fig3b"
SHARES = (1.0, 0.1, 0.01, 0.001)
LEVELS = Levels("share", "share of the calibration pixels")
COMMAND = (
    "python benchmarks/evidence fig3b FOLDER --n2v-steps 20000 --pn2v-steps 20000 "
    "--refinement-steps 10000 --refined-data-sets w2s bright "
    "--refined-folds 0 1 2 3 --repeats 5"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add data sets, steps and which shares are kept."""
    add_study_options(parser, ("w2s", "bright"), MODELS, refined=())
    parser.add_argument(
        "--shares",
        nargs="+",
        type=float,
        default=list(SHARES),
        help="of the calibration pixels, chosen at random",
    )


def run(options: argparse.Namespace) -> None:
    """Do what is not done yet."""
    cuts = tuple(cut(share=share) for share in options.shares)
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
        "Calibration with fewer pixels",
        "The calibration is thinned out at random, down to a thousandth of its pairs. "
        "Every fold has a random subsample of its own, so that the standard error over "
        "folds also holds the chance of the choice.",
        HOW,
        steps_sentence(rows),
        f"At the full setting: `{COMMAND}`",
        f"![Likelihood and PSNR against the share of the pixels]({NAME}.png)",
        *parts,
    )
    draw(rows, labels, LEVELS, out / f"{NAME}.png")
