"""Denoising time against BM3D and non-local means (Krull et al. 2019, 4.3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import describe_machine, markdown_table
from evidence import runtime
from evidence.ledger import read_rows, write_rows
from evidence.tables import write_page

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from evidence.ledger import Row

NAME = "runtime"
MACHINE = "machine"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the size of the image and where the networks run; no data is read."""
    parser.add_argument("--side", type=int, default=512, help="of the image, pixels")
    parser.add_argument("--timings", type=int, default=3, help="of each pair, in turn")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")


def run(options: argparse.Namespace) -> None:
    """Time all pairs, unless this size on this device was timed before."""
    path = options.out / f"{NAME}.csv"
    asked = {"side": options.side, "on": options.device}
    rows = read_rows(path)
    if any(asked.items() <= row.items() for row in rows):
        return
    machine = "; ".join(f"{key}: {value}" for key, value in describe_machine().items())
    timed = runtime.run(
        None, side=options.side, repeats=options.timings, device=options.device
    )
    new = [{**asked, **row, MACHINE: machine} for row in timed]
    write_rows(path, rows + new)


def report(out: Path) -> None:
    """Write a table for each size and device."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    parts = []
    for side, device in dict.fromkeys((row["side"], row["on"]) for row in rows):
        mine = [r for r in rows if r["side"] == side and r["on"] == device]
        table = markdown_table([_shown(row) for row in mine])
        heading = f"## Image of {side}², networks on {device}"
        parts.append(f"{heading}\n\n{table}\n{mine[0][MACHINE]}")
    write_page(out / f"{NAME}.md", "Denoising time", INTRODUCTION, *parts)


def _shown(row: Row) -> Row:
    """Leave out what the heading says, and columns of other devices."""
    hidden = ("side", "on", MACHINE)
    return {k: v for k, v in row.items() if k not in hidden and v != ""}


INTRODUCTION = (
    "Network and filter in turn on one image, one thread unless on a graphics card; "
    "training is not counted. Krull et al. 2019 report 33.2 s for BM3D and 1.3 s for "
    "their network of 32 filters on a cryo-TEM image (about 25 times), without naming "
    "the machines."
)
