"""Photographs with added noise (Krull et al. 2019, section 4.1 and Fig. 4, first row).

The paper's own figures stand beside ours. They come from another noise draw and, unless
`--full` was given, from a larger network that was trained far longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import markdown_table
from evidence.filling import fill
from evidence.jobs import Job, run_one
from evidence.ledger import Ledger, Row, read_rows
from evidence.methods import METHODS, OURS, PUBLISHED
from evidence.photograph_runs import (
    PAPER_BATCH,
    PAPER_FILTERS,
    PAPER_STEPS,
    SLOW,
    WINDOWS,
)
from evidence.photographs import TRAIN_ON
from evidence.tables import NOT_RUN, Mean, paired, write_page

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

NAME = "bsd68"
KEYS = ("method", "train on", "setting", "filters", "seconds", "repeat", "scored")
ROWS = (
    "noisy",
    *WINDOWS,
    "gaussian",
    "nlm",
    "bm3d",
    "n2v-published",
    "n2v-ours",
    "gmm-bootstrapped-published",
    "gmm-bootstrapped-ours",
    "auto-bootstrapped-ours",
    "n2n",
    "care",
)
REFERENCE = "auto-bootstrapped-ours"
PAPER = {"bm3d": 28.59, "n2v-published": 27.71, "n2n": 28.86, "care": 29.06}
"""Mean PSNR (dB) of Krull et al. 2019, Fig. 4."""

REDUCED, FULL = "reduced", "paper's size"
COMMAND = "python benchmarks/evidence bsd68 FOLDER"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is trained, how long, and on which images."""
    parser.add_argument("--methods", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--filters", type=int, default=16, help="of the U-Net")
    parser.add_argument(
        "--seconds", type=float, default=240.0, help="CPU s of everything, one thread"
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--train-on",
        choices=TRAIN_ON,
        default="train",
        help="the 400 photographs, or the noisy test images themselves",
    )
    parser.add_argument(
        "--images", type=int, help="score this many of the 68, evenly spread"
    )
    parser.add_argument(
        "--slow-images",
        type=int,
        help=f"score this many only with {' and '.join(SLOW)}",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"the paper's settings: {PAPER_FILTERS} filters, batch {PAPER_BATCH}, "
        f"{PAPER_STEPS} steps; days on a CPU",
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")


# --- Running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Do the runs that are not done yet."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    for repeat in range(options.repeats):
        wanted = []
        for method in _possible(options):
            if _is_filter(method) and repeat > 0:
                continue  # no chance in it
            key = _key(method, repeat, options)
            if not ledger.has(**key):
                wanted.append((key, _job(method, repeat, options)))
        fill(ledger, wanted, options.workers, _rows)


def _possible(options: argparse.Namespace) -> list[str]:
    return [
        method
        for method in options.methods
        if not (method == "care" and options.train_on == "test")
    ]


def _is_filter(method: str) -> bool:
    return method not in METHODS or METHODS[method].family == "classical"


def _key(method: str, repeat: int, options: argparse.Namespace) -> dict[str, Any]:
    if _is_filter(method):
        values = (method, "", "", 0, 0, 0, _scored(method, options))
        return dict(zip(KEYS, values, strict=True))
    setting, filters, seconds = REDUCED, options.filters, options.seconds
    if options.full:
        setting, filters, seconds = FULL, PAPER_FILTERS, 0
    trained = (method, options.train_on, setting, filters, seconds, repeat)
    return dict(zip(KEYS, (*trained, _scored(method, options)), strict=True))


def _scored(method: str, options: argparse.Namespace) -> int:
    """How many test images a method scores; 0 for all of them."""
    if method in SLOW and options.slow_images is not None:
        return options.slow_images
    return options.images or 0


def _job(method: str, repeat: int, options: argparse.Namespace) -> Job:
    scene: dict[str, Any] = {"repeat": repeat, "train_on": options.train_on}
    scene["n_images"] = _scored(method, options) or None
    arguments = {"data": str(options.data), "method": method, "scene": scene}
    if repeat == 0:
        folder = options.work / NAME / "estimates"
        arguments["estimates"] = str(folder / f"{method}-{options.train_on}.npz")
    if not _is_filter(method):
        arguments |= {"device": options.device, "is_full": options.full}
        arguments["shared"] = str(options.work / NAME / "shared")
        if not options.full:
            arguments["size"] = {"n_filters": options.filters}
            arguments["steps"] = _planned(method, options)
    return Job("photographs", arguments)


def _planned(method: str, options: argparse.Namespace) -> int:
    """Return the steps that fill the budget, timed once for each group and kept."""
    columns = ("group", "filters", "seconds", "train on")
    plans = Ledger(options.out / f"{NAME}-plans.csv", (*columns, "steps"))
    values = (METHODS[method].group, options.filters, options.seconds, options.train_on)
    key = dict(zip(columns, values, strict=True))
    if not plans.has(**key):
        arguments = {
            "data": str(options.data),
            "method": method,
            "seconds": options.seconds,
            "size": {"n_filters": options.filters},
            "scene": {"train_on": options.train_on, "n_images": 1},
        }
        found = run_one(Job("plan photographs", arguments), options.workers)
        plans.add([{**key, "steps": found["steps"]}])
    return int(plans.of(**key)[0]["steps"])


def _rows(job: Job, result: dict[str, Any]) -> list[Row]:
    return [{**image, **result["costs"]} for image in result["images"]]


# --- Reporting -------------------------------------------------------------------


def report(out: Path) -> None:
    """Write a table for each setting, with the paper's figures in a column."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    columns = ("train on", "setting", "filters", "seconds")
    trained = [row for row in rows if row["setting"] != ""]
    groups = dict.fromkeys(tuple(row[c] for c in columns) for row in trained)
    parts = []
    for group in groups or {("", "", 0, 0): None}:
        chosen = dict(zip(columns, group, strict=True))
        mine = [r for r in trained if all(r[c] == v for c, v in chosen.items())]
        filters = [row for row in rows if row["setting"] == ""]
        parts += [_heading(chosen), _table(filters + mine)]
    write_page(out / f"{NAME}.md", TITLE, INTRODUCTION, *parts, COMMANDS)


TITLE = "Photographs with added noise (BSD68, standard deviation 25)"
INTRODUCTION = (
    "Noise of standard deviation 25 was added to 8-bit photographs, in float and "
    "without clipping. Peak 255; mean over images, then over repeats with other noise "
    "and seeds. The column *paper* holds the figures of Krull et al. 2019, Fig. 4: "
    "another noise draw, 96 filters, 80000 steps of 128 patches. The last column "
    "compares with *PN2V, noise model chosen, ours* on the images that both scored. "
    "The training images hold whole grey values from 0 to 255 before the noise, so "
    "that the noisy ones reach below 0; no value was clipped."
)
COMMANDS = (
    "## Commands\n\n"
    f"```\n{COMMAND}                       # reduced, as above\n"
    f"{COMMAND} --train-on test       # trained on the 68 noisy images themselves\n"
    f"{COMMAND} --full --device auto  # the paper's size; needs a graphics card\n```"
)


def _heading(chosen: dict[str, Any]) -> str:
    if not chosen["setting"]:
        return "## Filters"
    seen = {
        "train": "the 400 noisy training photographs",
        "test": "the 68 noisy test images themselves",
    }[chosen["train on"]]
    if chosen["setting"] == FULL:
        how = f"{PAPER_FILTERS} filters, the paper's batches and steps"
    else:
        how = (
            f"{chosen['filters']} filters, {chosen['seconds']:g} CPU s in one thread "
            "for all that a method needs"
        )
    return f"## Trained on {seen}: {how}"


def _table(rows: Sequence[Row]) -> str:
    by_method = {name: _most(rows, name) for name in ROWS}
    reference = by_method[REFERENCE]
    return markdown_table([_line(name, by_method[name], reference) for name in ROWS])


def _most(rows: Sequence[Row], name: str) -> list[Row]:
    """Rows of a method's runs that scored the most images."""
    mine = [row for row in rows if row["method"] == name]
    most = max((row["scored"] or 10**9 for row in mine), default=0)
    return [row for row in mine if (row["scored"] or 10**9) == most]


def _line(name: str, rows: Sequence[Row], reference: Sequence[Row]) -> dict[str, str]:
    line = {"method": label(name), "PSNR (dB)": NOT_RUN, "SSIM": ""}
    line |= {"images": "", "paper (dB)": f"{PAPER[name]}" if name in PAPER else ""}
    line |= {"training, CPU s": "", "steps": "", "s per megapixel": "", "how": ""}
    line["to ours (dB)"] = ""
    if not rows:
        return line
    line["PSNR (dB)"] = _mean(by_repeat(rows, "psnr"), name, 2)
    line["SSIM"] = _mean(by_repeat(rows, "ssim"), name, 3)
    line["images"] = str(len({row["image"] for row in rows}))
    for column, title in (
        ("train CPU s", "training, CPU s"),
        ("steps", "steps"),
        ("predict CPU s per megapixel", "s per megapixel"),
    ):
        values = [row[column] for row in rows if row.get(column, "") != ""]
        line[title] = f"{Mean.of(values).mean:.4g}" if values else ""
    line["how"] = "; ".join(dict.fromkeys(str(row["estimate"]) for row in rows))
    if name != REFERENCE:
        line["to ours (dB)"] = _difference(rows, reference)
    return line


def _mean(means: dict[int, float], name: str, digits: int) -> str:
    mean = Mean.of(list(means.values()))
    return f"{mean.mean:.{digits}f}" if _is_filter(name) else mean.shown(digits)


def by_repeat(
    rows: Sequence[Row], column: str, images: set[int] | None = None
) -> dict[int, float]:
    """Mean of each repeat, over all its images or over some."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if images is None or row["image"] in images:
            found.setdefault(row["repeat"], []).append(row[column])
    return {repeat: sum(values) / len(values) for repeat, values in found.items()}


def _difference(rows: Sequence[Row], reference: Sequence[Row]) -> str:
    common = {row["image"] for row in rows} & {row["image"] for row in reference}
    if not common:
        return ""
    first = by_repeat(rows, "psnr", common)
    second = by_repeat(reference, "psnr", common)
    if len(first) == 1 and len(second) > 1:  # a filter, without chance
        first = dict.fromkeys(second, next(iter(first.values())))
    difference = paired(first, second)
    return "" if difference is None else difference.shown(2, signed=True)


def label(name: str) -> str:
    """Return the words for a method in tables and pictures."""
    if name in WINDOWS:
        kind, side = WINDOWS[name]
        return f"{kind} filter, {side} pixels"
    method = METHODS[name]
    way = {PUBLISHED: ", as published", OURS: ", **ours**"}.get(method.way, "")
    return f"{method.label}{way}"
