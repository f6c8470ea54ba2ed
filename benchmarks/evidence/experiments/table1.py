"""All methods on all data sets: PSNR, SSIM, time and memory (PPN2V, Table 1)."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from evidence.curves import draw_dots
from evidence.data_sets import DATA_SETS, NotPossible, load
from evidence.jobs import Job, RunFailed, run_all, run_one
from evidence.ledger import Ledger, read_rows
from evidence.methods import (
    CPU_SIZE,
    FULL_SIZE,
    METHODS,
    OURS,
    PUBLISHED,
    full_steps,
)
from evidence.papers_data import PUBLISHED as PAPER
from evidence.tables import (
    NOT_RUN,
    Mean,
    cross_table,
    paired,
    repeat_means,
    write_page,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from evidence.data_sets import DataSet
    from evidence.ledger import Row
    from evidence.methods import Method

NAME = "table1"
KEYS = ("data set", "method", "part", "repeat", "seconds")
FULL = "full settings"
IN_PAPER = ", in the paper"
DEFAULT = ("w2s", "bright", "tirf_scmos", "bpae_scmos")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which cells are to be filled, and how long each run may take."""
    parser.add_argument(
        "--data-sets", nargs="+", choices=list(DATA_SETS), default=DEFAULT
    )
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS)
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=60.0,
        help="CPU s of everything that a method needs, in one thread",
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help="network, batches and steps of the PPN2V paper instead of --seconds; on a "
        "processor this takes days",
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--fold-repeats",
        type=int,
        default=1,
        help="repeats of methods that are trained once for each fold",
    )


# --- Running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Fill the cells that are not filled yet, repeat after repeat."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    sources = {name: load(options.data, name) for name in options.data_sets}
    for repeat in range(options.repeats):
        chains = []
        for source in sources.values():
            chains += _chains(source, repeat, options, ledger)
        for job, result in run_all(chains, options.workers):
            if isinstance(result, RunFailed):
                print(result, file=sys.stderr, flush=True)
                continue
            if job.kind == "score":
                _keep(job, result, options, ledger)


def _chains(
    source: DataSet, repeat: int, options: argparse.Namespace, ledger: Ledger
) -> list[list[Job]]:
    """Jobs of one repeat; methods that share a Noise2Void come one after another."""
    by_group: dict[str, list[Job]] = {}
    for name in options.methods:
        method = METHODS[name]
        try:
            tasks = source.tasks(method.family)
        except NotPossible:
            continue
        wanted = _repeats(method, len(tasks), options)
        if repeat >= wanted:
            continue
        for task in tasks:
            key = _key(source.name, name, task.name, repeat, options)
            if not ledger.has(**key):
                by_group.setdefault(method.group or name, []).append(
                    _job(source, method, task.name, repeat, options)
                )
    return list(by_group.values())


def _repeats(method: Method, n_tasks: int, options: argparse.Namespace) -> int:
    if method.family == "classical":
        return 1  # no chance in it
    return options.repeats if n_tasks == 1 else options.fold_repeats


def _key(
    data_set: str, method: str, part: str, repeat: int, options: argparse.Namespace
) -> dict[str, Any]:
    budget = FULL if options.full else options.seconds
    budget = 0 if METHODS[method].family == "classical" else budget
    return dict(zip(KEYS, (data_set, method, part, repeat, budget), strict=True))


def _job(
    source: DataSet, method: Method, part: str, repeat: int, options: argparse.Namespace
) -> Job:
    folder = options.work / NAME
    arguments = {
        "data": str(options.data),
        "data_set": source.name,
        "method": method.name,
        "part": part,
        "repeat": repeat,
    }
    if repeat == 0:
        file = f"{source.name}-{method.name}-{part.replace(' ', '-')}.npz"
        arguments["estimates"] = str(folder / "estimates" / file)
    if method.family != "classical":
        arguments["steps"] = steps_of(source, method, options)
        arguments["size"] = _size(options)
        arguments["shared"] = str(folder / "shared")
    return Job("score", arguments)


def _size(options: argparse.Namespace) -> dict[str, int]:
    return asdict(FULL_SIZE if options.full else CPU_SIZE)


def steps_of(source: DataSet, method: Method, options: argparse.Namespace) -> int:
    """Return the steps that fill the budget, timed once for each group and kept."""
    if options.full:
        return full_steps(method)
    plans = Ledger(
        options.out / f"{NAME}-plans.csv", ("data set", "group", "seconds", "steps")
    )
    key = {"data set": source.name, "group": method.group, "seconds": options.seconds}
    if not plans.has(**key):
        # timed with the bootstrapped mixture where a group has one: it takes longest
        arguments = {
            "data": str(options.data),
            "data_set": source.name,
            "method": _timed(method),
            "budgets": [options.seconds],
            "size": _size(options),
        }
        found = run_one(Job("plan", arguments), options.workers)
        plans.add([{**key, "steps": found["steps"][0]}])
    return int(plans.of(**key)[0]["steps"])


def _timed(method: Method) -> str:
    group = [name for name, other in METHODS.items() if other.group == method.group]
    return next((n for n in group if n.startswith("gmm-bootstrapped")), method.name)


def _keep(
    job: Job, result: dict[str, Any], options: argparse.Namespace, ledger: Ledger
) -> None:
    told = job.arguments
    key = _key(told["data_set"], told["method"], told["part"], told["repeat"], options)
    ledger.add([{**key, **image, **result["costs"]} for image in result["images"]])
    mean = Mean.of([image["psnr"] for image in result["images"]]).mean
    print(f"{job}: {mean:.3f} dB, {result['costs']}", flush=True)


# --- Reporting -------------------------------------------------------------------


def report(out: Path) -> None:
    """Write the tables; a cell that was not run says so."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    names = [name for name in DATA_SETS if any(r["data set"] == name for r in rows)]
    described = {
        (row["data set"], row["family"]): row["served by"]
        for row in read_rows(out / "table0.csv")
    }
    labels = {row["data set"]: row["label"] for row in read_rows(out / "table0.csv")}
    columns = [(name, labels.get(name, name)) for name in names]
    found = _Found(rows, described)
    picture = f"{NAME}.png"
    draw_dots(out / picture, _panels(found, columns))
    write_page(
        out / f"{NAME}.md",
        "All methods on all data sets",
        _introduction(rows),
        f"![PSNR of all methods on each data set]({picture})",
        "## PSNR (dB)",
        _table(found, _with_papers(columns), "psnr", 2),
        "## SSIM",
        _table(found, columns, "ssim", 3),
        "## Difference to Noise2Void, ours (dB)",
        "Paired by repeat, over the same images.",
        _differences(found, columns, "n2v-ours"),
        "## Cost",
        _costs(found, names),
    )


def _introduction(rows: Sequence[Row]) -> str:
    budgets: dict[str, set] = {}
    for row in rows:
        if row["seconds"]:
            budgets.setdefault(row["data set"], set()).add(row["seconds"])
    shown = "; ".join(
        f"{name} {', '.join(str(seconds) for seconds in sorted(found, key=str))}"
        for name, found in budgets.items()
    )
    return (
        "Every trained method of a data set had about the same CPU seconds in one "
        f"thread ({shown}) for all that it needs, the Noise2Void it starts from and "
        "the fit of its noise model included. The network is the same for all: a U-Net "
        "with 16 filters instead of 64; batches are of 8 patches of 64² instead of 20 "
        "of 100², and PN2V as published has 64 prior samples instead of 800, which "
        "would leave it a tenth of the steps. Mean over images, then over repeats with "
        "other seeds; ± is the standard error over repeats, n = 1 stands where there "
        "was one. Peak: range of each image's truth. The parameters of the filters "
        "were found with the truth, which no user has."
    )


class _Found:
    """The rows by method and data set."""

    def __init__(
        self, rows: Sequence[Row], described: dict[tuple[str, str], str]
    ) -> None:
        self.described = described
        self.by_place: dict[tuple[str, str], list[Row]] = {}
        for row in rows:
            self.by_place.setdefault((row["method"], row["data set"]), []).append(row)

    def n_images(self, data_set: str) -> int:
        """Images of a complete repeat, as the noisy input has them."""
        places = {row["image"] for row in self.by_place.get(("noisy", data_set), [])}
        return len(places)

    def means(self, method: str, data_set: str, column: str) -> dict[int, float]:
        """Mean of each complete repeat."""
        rows = self.by_place.get((method, data_set), [])
        n_images = self.n_images(data_set)
        if METHODS[method].family == "supervised" and data_set == "tirf_scmos":
            n_images *= 2  # each frame in two halves
        return repeat_means(rows, column, n_images)

    def missing(self, method: str, data_set: str) -> str:
        """Say why a cell is empty."""
        served = self.described.get((data_set, METHODS[method].family), "")
        return "not possible" if served.startswith("not possible") else NOT_RUN


def _method_rows() -> list[tuple[str, str]]:
    shown = []
    for name, method in METHODS.items():
        way = {PUBLISHED: ", as published", OURS: ", **ours**"}.get(method.way, "")
        shown.append((name, f"{method.label}{way}"))
    return shown


def _panels(
    found: _Found, columns: Sequence[tuple[str, str]]
) -> list[tuple[str, dict[str, tuple[float, float]]]]:
    """Collect what was run, without the noisy input, which lies far below."""
    panels = []
    for data_set, label in columns:
        dots = {}
        for method, shown in _method_rows():
            means = found.means(method, data_set, "psnr")
            if means and method != "noisy":
                mean = Mean.of(list(means.values()))
                dots[shown.replace("**", "")] = (mean.mean, mean.error)
        panels.append((label, dots))
    return [panel for panel in panels if panel[1]]


def _with_papers(columns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Put the paper's own figures beside ours, for its own recordings."""
    more = []
    for name, label in columns:
        more.append((name, label))
        if name in PAPER:
            more.append((f"{name}{IN_PAPER}", f"{label}, in the paper"))
    return more


def _table(
    found: _Found, columns: Sequence[tuple[str, str]], score: str, digits: int
) -> str:
    def cell(method: str, data_set: str) -> str:
        if data_set.endswith(IN_PAPER):
            figures = PAPER[data_set.removesuffix(IN_PAPER)].figures
            return f"{figures[method]:.2f}" if method in figures else ""
        means = found.means(method, data_set, score)
        if not means:
            return found.missing(method, data_set)
        mean = Mean.of(list(means.values()))
        if METHODS[method].family == "classical":
            return f"{mean.mean:.{digits}f}"
        return mean.shown(digits)

    return cross_table(_method_rows(), columns, cell, "method")


def _differences(
    found: _Found, columns: Sequence[tuple[str, str]], reference: str
) -> str:
    def cell(method: str, data_set: str) -> str:
        first = found.means(method, data_set, "psnr")
        second = found.means(reference, data_set, "psnr")
        difference = paired(first, second)
        return "" if difference is None else difference.shown(2, signed=True)

    rows = [row for row in _method_rows() if row[0] not in ("noisy", reference)]
    return cross_table(rows, columns, cell, "method")


COSTS = {
    "train CPU s": "training, CPU s",
    "predict CPU s per megapixel": "prediction, CPU s per megapixel",
    "peak MB": "peak memory, MB",
    "steps": "steps",
    "estimate": "estimate",
}


def _costs(found: _Found, names: Sequence[str]) -> str:
    parts = []
    for data_set in names:

        def cell(method: str, column: str, data_set: str = data_set) -> str:
            rows = found.by_place.get((method, data_set), [])
            values = [row[column] for row in rows if row.get(column, "") != ""]
            if not values:
                return ""
            if isinstance(values[0], str):
                return "; ".join(dict.fromkeys(values))
            return f"{Mean.of(values).mean:.3g}"

        table = cross_table(_method_rows(), list(COSTS.items()), cell, "method")
        parts.append(f"### {data_set}\n\n{table}")
    return "\n".join(parts)
