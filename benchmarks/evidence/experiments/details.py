"""Whether denoising invents structure, loses small bright things, or blurs.

Three questions that PSNR does not answer: what is made of noise without structure,
what is left of isolated peaks (Krull et al. 2019, Fig. 5), and which fineness is still
right.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.details_report import DEFAULT, KEYS, LABELS, NAME, write_report
from evidence.filling import fill
from evidence.jobs import Job, run_one
from evidence.ledger import Ledger, Row
from evidence.methods import CPU_SIZE, METHODS, NOISY
from evidence.pictures import keep_crops

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

TRAINED = tuple(name for name in LABELS if name != NOISY.name)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is measured, and how long each run may take."""
    parser.add_argument(
        "--data-sets", nargs="+", choices=[*DEFAULT, "small"], default=list(DEFAULT)
    )
    parser.add_argument("--methods", nargs="+", choices=TRAINED, default=list(TRAINED))
    parser.add_argument(
        "--seconds",
        type=float,
        default=45.0,
        help="CPU s of everything that a method needs, in one thread",
    )
    parser.add_argument("--repeats", type=int, default=3)


# --- Running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Train each method once for each repeat and measure it, where it is not done."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    cameras = {name: _camera(name, options) for name in options.data_sets}
    for repeat in range(options.repeats):
        wanted = [
            _run(data_set, method, repeat, camera, options)
            for data_set, camera in cameras.items()
            for method in (NOISY.name, *options.methods)
            if not ledger.has(**_key(data_set, method, repeat, options))
        ]
        fill(ledger, wanted, options.workers, lambda j, r: _rows(j, r, options.out))


def _key(
    data_set: str, method: str, repeat: int, options: argparse.Namespace
) -> dict[str, Any]:
    seconds = 0 if method == NOISY.name else options.seconds
    return dict(zip(KEYS, (data_set, method, repeat, seconds), strict=True))


def _run(
    data_set: str,
    method: str,
    repeat: int,
    camera: dict[str, Any],
    options: argparse.Namespace,
) -> tuple[dict[str, Any], Job]:
    arguments = {
        "data": str(options.data),
        "data_set": data_set,
        "method": method,
        "repeat": repeat,
        "camera": camera,
        "size": asdict(CPU_SIZE),
    }
    if method != NOISY.name:
        arguments["steps"] = _steps(data_set, method, options)
    return _key(data_set, method, repeat, options), Job("details", arguments)


def _camera(data_set: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the camera that exposes what is measured; fitted once and kept."""
    kept = Ledger(options.out / f"{NAME}-cameras.csv", ("data set",))
    if not kept.has(**{"data set": data_set}):
        arguments = {"data": str(options.data), "data_set": data_set}
        found = run_one(Job("camera of details", arguments), options.workers)
        kept.add([{"data set": data_set, **found}])
    row = {**kept.of(**{"data set": data_set})[0]}
    del row["data set"]
    return {**row, "rounded": row["rounded"] == "True"}


def _steps(data_set: str, method: str, options: argparse.Namespace) -> int:
    """Return the steps that fill the budget, timed once for each method and kept."""
    plans = Ledger(
        options.out / f"{NAME}-plans.csv", ("data set", "method", "seconds", "steps")
    )
    key = {"data set": data_set, "method": method, "seconds": options.seconds}
    if not plans.has(**key):
        arguments = {
            "data": str(options.data),
            "data_set": data_set,
            "method": METHODS[method].name,
            "budgets": [options.seconds],
            "size": asdict(CPU_SIZE),
        }
        found = run_one(Job("plan", arguments), options.workers)
        plans.add([{**key, "steps": found["steps"][0]}])
    return int(plans.of(**key)[0]["steps"])


def _rows(job: Job, result: dict[str, Any], out: Path) -> list[Row]:
    """Keep the crops of pictures, and return the rows of the ledger."""
    data_set, method = job.arguments["data_set"], job.arguments["method"]
    crops = {}
    for name, values in result["crops"].items():
        if "/" not in name:
            crops[f"{name}/{method}"] = np.array(values)
        elif method == NOISY.name:  # the same of all methods
            crops[name] = np.array(values)
    if crops:
        keep_crops(out / f"{NAME}-{data_set}.npz", crops)
    shared = {**result["costs"], "steps": job.arguments.get("steps", 0)}
    return [{**row, **shared} for row in result["measures"]]


def report(out: Path) -> None:
    """Write tables and pictures."""
    write_report(out)
