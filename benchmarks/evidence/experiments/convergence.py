"""How long must I train: PSNR against time and steps, ours and the peers' own code.

The one-cycle schedule of ours makes a run of n steps differ from the first n steps of a
longer one, so every point of our curves is a run of its own with that budget. A peer's
curve is scored within one run, which its schedule allows; scoring costs it nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from evidence.curves import draw_curves, last_stage
from evidence.data_sets import DATA_SETS, load
from evidence.jobs import Job, RunFailed, run_all, run_one
from evidence.ledger import Ledger, read_rows
from evidence.methods import METHODS, OURS
from evidence.tables import NOT_RUN, Mean, cross_table, write_page

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from evidence.data_sets import DataSet
    from evidence.ledger import Row

NAME = "convergence"
KEYS = ("data set", "system", "comparison", "amount", "repeat")
OURS_BY_TIME = (
    "n2v-published",
    "n2v-ours",
    "gmm-bootstrapped-published",
    "auto-bootstrapped-ours",
    "care",
)
BUDGETS = (10.0, 20.0, 40.0, 80.0, 160.0)
PUBLISHED_BATCH = {"batch_size": 20, "patch_size": 100}
"""Of a step of the published code, for the comparison at equal steps."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add budgets, and where the peers are."""
    parser.add_argument("--data-set", choices=list(DATA_SETS), default="w2s")
    parser.add_argument(
        "--budgets", type=float, nargs="+", default=BUDGETS, help="CPU s of each run"
    )
    parser.add_argument("--methods", nargs="+", default=OURS_BY_TIME, choices=METHODS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--peer",
        nargs="+",
        action="append",
        default=[],
        metavar=("NAME PYTHON", "CODE"),
        help="ppn2v, careamics or noise2vst, the Python of its environment, the folder "
        "of its code where it is not installed there, and the weights of the last; may "
        "be repeated",
    )
    parser.add_argument("--n-filters", type=int, default=16, help="of all networks")
    parser.add_argument(
        "--equal-steps", type=int, default=200, help="of Noise2Void; 0 leaves it out"
    )
    parser.add_argument(
        "--equal-pn2v-steps", type=int, default=30, help="of PN2V; 0 leaves it out"
    )
    parser.add_argument(
        "--equal-samples", type=int, default=50, help="of the prior; 800 as published"
    )


# --- Running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Do the runs that are not done yet, one repeat after another."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    source = load(options.data, options.data_set)
    for repeat in range(options.repeats):
        wanted = [
            *_runs_by_time(source, repeat, options),
            *_peers_by_time(source, repeat, options),
            *_runs_by_steps(source, repeat, options),
        ]
        missing = {str(job): (key, job) for key, job in wanted if not ledger.has(**key)}
        chains = [[job] for _, job in missing.values()]
        for job, result in run_all(chains, options.workers):
            if isinstance(result, RunFailed):
                print(result, file=sys.stderr, flush=True)
                continue
            ledger.add(_rows(missing[str(job)][0], result, scored_images(source)))
            print(f"{job}: {ledger.rows[-1]['psnr']} dB", flush=True)


def _width(options: argparse.Namespace) -> dict[str, int]:
    return {"n_filters": options.n_filters}


Named = tuple[dict[str, Any], Job]


def _key(source: DataSet, *rest: Any) -> dict[str, Any]:
    return dict(zip(KEYS, (source.name, *rest), strict=True))


def _runs_by_time(
    source: DataSet, repeat: int, options: argparse.Namespace
) -> list[Named]:
    found = []
    for name in options.methods:
        steps = _planned(source, name, options)
        for seconds in options.budgets:
            for task in source.tasks(METHODS[name].family)[:1]:
                arguments = {
                    "data": str(options.data),
                    "data_set": source.name,
                    "method": name,
                    "part": task.name,
                    "repeat": repeat,
                    "steps": steps[seconds],
                    "size": _width(options),
                }
                key = _key(source, name, "time", seconds, repeat)
                found.append((key, Job("score", arguments)))
    return found


def _planned(
    source: DataSet, name: str, options: argparse.Namespace
) -> dict[float, int]:
    """Return the steps for each budget, timed where they are not known yet."""
    keys = ("data set", "method", "seconds", "n filters", "steps")
    plans = Ledger(options.out / f"{NAME}-plans.csv", keys)
    what = {"data set": source.name, "method": name, "n filters": options.n_filters}
    missing = [s for s in options.budgets if not plans.has(**what, seconds=s)]
    if missing:
        arguments = {
            "data": str(options.data),
            "data_set": source.name,
            "method": name,
            "budgets": missing,
            "size": _width(options),
        }
        found = run_one(Job("plan", arguments), options.workers)["steps"]
        plans.add(
            [
                {**what, "seconds": seconds, "steps": steps}
                for seconds, steps in zip(missing, found, strict=True)
            ]
        )
    return {s: int(plans.of(**what, seconds=s)[0]["steps"]) for s in options.budgets}


def _peers_by_time(
    source: DataSet, repeat: int, options: argparse.Namespace
) -> list[Named]:
    """Each peer with the longest budget, scored on its way."""
    seconds = max(options.budgets)
    found = []
    for name, python, *code in options.peer:
        for system, more in PEER_SYSTEMS.get(name, {}).items():
            own = {
                "ppn2v": {**PEER_BATCH, "filters": options.n_filters},
                "careamics": {"filters": options.n_filters},
                "noise2vst": {"weights": code[-1] if code else ""},
            }[name]
            arguments = {
                **_peer(name, python, code, source, repeat, options),
                "seconds": seconds,
                "more": {**more, **own},
            }
            key = _key(source, system, "time", seconds, repeat)
            found.append((key, Job("peer", arguments)))
    return found


PEER_SYSTEMS: dict[str, dict[str, dict[str, Any]]] = {
    "ppn2v": {
        "PPN2V code: Noise2Void": {"method": "n2v"},
        "PPN2V code: PN2V, GMM, bootstrapped": {"method": "pn2v", "samples": 64},
    },
    "careamics": {"CAREamics: Noise2Void": {"patch": 64}},
    "noise2vst": {"Noise2VST with FFDNet, pre-trained on clean photographs": {}},
}
"""Peer -> system -> options of its driver; 800 samples would make one step a minute."""
PEER_BATCH = {"patch": 100, "batch": 20}


def _peer(
    name: str,
    python: str,
    code: Sequence[str],
    source: DataSet,
    repeat: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    return {
        "data": str(options.data),
        "data_set": source.name,
        "peer": name,
        "python": python,
        "code": code[0] if code else None,
        "repeat": repeat,
        "frames": list(scored_images(source)),
    }


def _runs_by_steps(
    source: DataSet, repeat: int, options: argparse.Namespace
) -> list[Named]:
    """List runs of the published code and ours at the same number of steps."""
    places = [(python, code) for name, python, *code in options.peer if name == "ppn2v"]
    if not places:
        return []
    python, code = places[0]
    size = {
        "n_filters": options.n_filters,
        "n_samples": options.equal_samples,
        **PUBLISHED_BATCH,
    }
    plans = [
        ("n2v", "Noise2Void", options.equal_steps, ("n2v-published", "n2v-ours")),
        (
            "pn2v",
            "PN2V",
            options.equal_pn2v_steps,
            ("gmm-bootstrapped-published", "gmm-bootstrapped-ours"),
        ),
    ]
    found: list[Named] = []
    for method, label, steps, ours in plans:
        if not steps:
            continue
        more = {"method": method, "filters": options.n_filters, **PEER_BATCH}
        if method == "pn2v":
            more |= {"samples": options.equal_samples, "n2v-steps": steps}
        peer = _peer(name="ppn2v", python=python, code=code, source=source,
                     repeat=repeat, options=options)  # fmt: skip
        key = _key(source, f"PPN2V code: {label}", "steps", steps, repeat)
        peer |= {"steps": steps, "more": more, "every": max(10, steps // 8)}
        found.append((key, Job("peer", peer)))
        total = steps if method == "n2v" else 2 * steps
        for name in ours:
            arguments = {
                "data": str(options.data),
                "data_set": source.name,
                "method": name,
                "part": source.tasks("unsupervised")[0].name,
                "repeat": repeat,
                "steps": total,
                "size": size,
            }
            key = _key(source, name, "steps", steps, repeat)
            found.append((key, Job("score", arguments)))
    return found


def scored_images(source: DataSet) -> tuple[int, ...]:
    """Return the images that all systems are scored on: those CARE has not seen."""
    family = "supervised" if "supervised" in source.tasks_of else "unsupervised"
    return source.tasks(family)[0].images


def _rows(
    key: dict[str, Any], result: dict[str, Any], images: Sequence[int]
) -> list[Row]:
    """Make a row for each point: a run of ours is one, a peer's curve several."""
    scores = [image["psnr"] for image in result["images"] if image["image"] in images]
    mean = Mean.of(scores).mean
    costs = result["costs"]
    last = {
        "stage": "end",
        "CPU s": costs["train CPU s"],
        "steps": costs["steps"],
        "psnr": mean,
        "predict CPU s per megapixel": costs["predict CPU s per megapixel"],
        "estimate": costs["estimate"],
    }
    points = [
        {
            "stage": point["stage"],
            "CPU s": point["cpu_seconds"],
            "steps": point["step"],
            "psnr": point["psnr"],
        }
        for point in result.get("curve", [])
    ]
    return [{**key, **point} for point in [*points, last]]


# --- Reporting -------------------------------------------------------------------


def report(out: Path) -> None:
    """Write the tables and draw both comparisons."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    parts = []
    for data_set in dict.fromkeys(row["data set"] for row in rows):
        here = [row for row in rows if row["data set"] == data_set]
        picture = f"{NAME}-{data_set}.png"
        draw_curves(out / picture, _labelled(here), data_set)
        parts += [
            f"## {data_set}",
            f"![PSNR against CPU seconds and steps on {data_set}]({picture})",
            _by_time(here),
            _by_steps(here),
        ]
    write_page(out / f"{NAME}.md", "How long must I train", INTRODUCTION, *parts)


INTRODUCTION = """\
PSNR with the range of each truth as its peak, on the images that CARE was not trained
with: a quarter or half of the data set. The others train on all noisy images. Seconds
are CPU seconds of one thread for everything before denoising: for bootstrapped methods
also the Noise2Void and the noise model. All networks have the same width, but for that
of Noise2VST. Each point of ours is a run with that budget; a peer's curve is scored
within one run, at no cost to it."""


def label_of(system: str) -> str:
    """Return a system's name for people."""
    if system not in METHODS:
        return system
    method = METHODS[system]
    way = {"": "", OURS: ", ours"}.get(method.way, ", settings as published")
    return f"{method.label}{way}"


def _labelled(rows: Sequence[Row]) -> list[Row]:
    return [{**row, "label": label_of(row["system"])} for row in rows]


def _by_time(rows: Sequence[Row]) -> str:
    """PSNR of each system at each budget; of a curve the last point within it."""
    by_time = [row for row in rows if row["comparison"] == "time"]
    systems = list(dict.fromkeys(row["system"] for row in by_time))
    budgets = sorted({row["amount"] for row in by_time})

    def cell(system: str, amount: str) -> str:
        own = [row for row in by_time if row["system"] == system]
        return _within(own, float(amount))

    return cross_table(
        [(system, label_of(system)) for system in systems],
        [(str(budget), f"{budget:g} CPU s") for budget in budgets],
        cell,
        "PSNR (dB) after",
    )


MOST_OVER = 1.25  # of a budget; a dry run is not exact


def _within(rows: Sequence[Row], budget: float) -> str:
    """Say what a system reached within a budget, as the mean over its repeats."""
    runs = _runs_for(rows, budget)
    if not runs:
        return NOT_RUN
    found = [_at(run, budget) for run in runs]
    reached = [row["psnr"] for row in found if row is not None]
    return Mean.of(reached).shown(2) if reached else "takes longer"


def _runs_for(rows: Sequence[Row], budget: float) -> list[list[Row]]:
    """Return the runs made for this budget; a peer's longer run holds shorter ones."""
    amounts = {row["amount"] for row in rows if row["amount"] >= budget}
    if not amounts or (rows[0]["system"] in METHODS and budget not in amounts):
        return []
    chosen = [row for row in rows if row["amount"] == min(amounts)]
    repeats = sorted({row["repeat"] for row in chosen})
    return [[row for row in chosen if row["repeat"] == n] for n in repeats]


def _at(run: Sequence[Row], budget: float) -> Row | None:
    """Return the point of a run at a budget, None where it does not fit."""
    exact = [row for row in run if row["amount"] == budget and row["stage"] == "end"]
    if exact:
        return exact[0] if exact[0]["CPU s"] <= MOST_OVER * budget else None
    within = [row for row in last_stage(run) if row["CPU s"] <= budget]
    return max(within, key=lambda row: row["CPU s"], default=None)


def _by_steps(rows: Sequence[Row]) -> str:
    """PSNR at the same number of steps of the same network on the same batches."""
    ends = [r for r in rows if r["comparison"] == "steps" and r["stage"] == "end"]
    if not ends:
        return ""
    kinds = list(dict.fromkeys((row["system"], row["amount"]) for row in ends))
    table = cross_table(
        [(f"{system}|{amount}", label_of(system)) for system, amount in kinds],
        [("steps", "steps"), ("psnr", "PSNR (dB)"), ("CPU s", "CPU s")],
        lambda key, column: _step_cell(ends, key, column),
        "same network, batches of 20 patches of 100²",
    )
    return f"### At the same number of steps\n\n{table}"


def _step_cell(ends: Sequence[Row], key: str, column: str) -> str:
    system, amount = key.split("|")
    own = [r for r in ends if r["system"] == system and str(r["amount"]) == amount]
    if column == "steps":
        return amount
    return Mean.of([float(row[column]) for row in own]).shown(2)
