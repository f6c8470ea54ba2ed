"""Data set x family of methods: what serves it, or why it is not possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evidence.data_sets import DATA_SETS, FAMILIES, load
from evidence.ledger import read_rows, write_rows
from evidence.papers_data import PUBLISHED as PAPER
from evidence.tables import cross_table, write_page

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

NAME = "table0"
FAMILY_LABELS = {
    "classical": "filters (mean, median, Gaussian, non-local means, BM3D)",
    "unsupervised": "Noise2Void, bootstrapped PN2V",
    "calibrated": "calibrated PN2V: noise model from",
    "noisy pairs": "Noise2Noise: second noisy image",
    "supervised": "CARE: clean targets",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which data sets."""
    names = [name for name in DATA_SETS if name != "small" and name not in PAPER]
    parser.add_argument(
        "--data-sets", nargs="+", choices=list(DATA_SETS), default=names
    )


def run(options: argparse.Namespace) -> None:
    """Look at the data sets themselves and write what each family gets."""
    rows = []
    for name in options.data_sets:
        data_set = load(options.data, name)
        for family in FAMILIES:
            tasks = data_set.tasks_of.get(family, ())
            rows.append(
                {
                    "data set": name,
                    "label": data_set.label,
                    "family": family,
                    "served by": data_set.describe[family],
                    "trainings": len(tasks),
                    "trained on": "; ".join(_shape(task.training) for task in tasks),
                    "images scored": sum(len(task.scored) for task in tasks),
                    "note": data_set.note,
                }
            )
    write_rows(options.out / f"{NAME}.csv", rows)


def _shape(stack: object) -> str:
    return " x ".join(str(side) for side in stack.shape)  # type: ignore[attr-defined]


def report(out: Path) -> None:
    """Write the table."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    by_place = {(row["data set"], row["family"]): row for row in rows}
    names = list(dict.fromkeys((row["data set"], row["label"]) for row in rows))
    table = cross_table(
        names,
        list(FAMILY_LABELS.items()),
        lambda name, family: by_place[name, family]["served by"],
        "data set",
    )
    notes = {row["label"]: row["note"] for row in rows if row["note"]}
    write_page(
        out / f"{NAME}.md",
        "What each method may use",
        "Ground truth is for scoring. Calibration and supervised training never see "
        "the images that they are scored on, unless the table says otherwise.",
        table,
        "\n".join(f"- {label}: {note}" for label, note in notes.items()),
    )
