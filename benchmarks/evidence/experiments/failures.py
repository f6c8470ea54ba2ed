"""Where Noise2Void must fail, and what is left of it in PN2V (Krull et al. 2019, 4.4).

Single bright pixels cannot be predicted from their neighbours, so they vanish; noise
that neighbours share can, so it stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evidence.failure_report import KEYS, NAME, write_report
from evidence.failure_runs import RECORDED, SCENES, WITH_TARGETS
from evidence.filling import fill
from evidence.jobs import Job
from evidence.ledger import Ledger, Row
from evidence.worst_parts import CARE, N2V, OURS, keep_worst_parts

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

METHODS = (RECORDED, CARE, N2V[1], OURS)
ON_REQUEST = (N2V[0], "gmm-bootstrapped-published")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which cases, and how long each training is."""
    parser.add_argument(
        "--cases", nargs="+", choices=list(SCENES), default=list(SCENES)
    )
    parser.add_argument(
        "--methods", nargs="+", choices=[*METHODS, *ON_REQUEST], default=list(METHODS)
    )
    parser.add_argument("--steps", type=int, default=800, help="of each training")
    parser.add_argument("--filters", type=int, default=16, help="of the U-Net")
    parser.add_argument("--repeats", type=int, default=1)


# --- Running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Train on the scenes, and look for the worst parts of what bsd68 has kept."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    wanted = [
        _run(case, method, repeat, options)
        for repeat in range(options.repeats)
        for case in options.cases
        for method in options.methods
        if case in WITH_TARGETS or method != CARE
        if repeat == 0 or method != RECORDED
    ]
    fill(ledger, wanted, options.workers, _rows)
    estimates = options.work / "bsd68" / "estimates"
    keep_worst_parts(options.data, estimates, options.out)


def _run(
    case: str, method: str, repeat: int, options: argparse.Namespace
) -> tuple[dict[str, Any], Job]:
    steps = 0 if method == RECORDED else options.steps
    key = dict(zip(KEYS, (case, method, steps, repeat), strict=True))
    crops = str(options.out / f"{NAME}-{case}.npz")
    arguments = {"data": str(options.data), "crops": crops, "filters": options.filters}
    return key, Job("failure", {**key, **arguments})


def _rows(job: Job, result: dict[str, Any]) -> list[Row]:
    shared = {**result["costs"], "notices": " | ".join(result["notices"])}
    return [
        {"shown as": name, "measure": measure, "value": value, **shared}
        for name, values in result["measures"].items()
        for measure, value in values.items()
    ]


def report(out: Path) -> None:
    """Write tables and pictures."""
    write_report(out)
