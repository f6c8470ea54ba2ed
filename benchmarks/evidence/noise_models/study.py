"""What the experiments with noise models share: their options, jobs and rows."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evidence.jobs import Job, RunFailed, run_all
from evidence.ledger import Ledger, read_rows
from evidence.noise_models.kinds import KINDS, PUBLISHED_HISTOGRAM
from evidence.noise_models.pairs import DATA_SETS, LANL, WITH_IMAGES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from evidence.ledger import Row

KEYS = ("data set", "source", "coverage", "share", "model", "fold", "way", "repeat",
        "steps")  # fmt: skip
N_FOLDS = 4
CALIBRATED, BOOTSTRAPPED = "calibrated", "bootstrapped"
POSTERIOR, REFINED = "posterior mean", "refined"
"""Ways in which the PSNR of a noise model is found."""
FOLDER = "noise-models"
SHARING = ("table2", "table3", "fig3b")
"""Experiments that have runs in common: the whole calibration is in all of them."""


def add_shared_options(
    parser: argparse.ArgumentParser, data_sets: Sequence[str]
) -> None:
    """Add which data sets, and how long is trained."""
    parser.add_argument(
        "--data-sets", nargs="+", choices=DATA_SETS, default=list(data_sets)
    )
    parser.add_argument("--repeats", type=int, default=1, help="seeds")
    parser.add_argument("--n2v-steps", type=int, default=600)
    parser.add_argument("--pn2v-steps", type=int, default=300)


def add_study_options(
    parser: argparse.ArgumentParser,
    data_sets: Sequence[str],
    models: Sequence[str],
    refined: Sequence[str] = ("w2s",),
) -> None:
    """Add also which models, and where and how long networks are refined with them."""
    add_shared_options(parser, data_sets)
    parser.add_argument("--models", nargs="+", choices=models, default=list(models))
    parser.add_argument(
        "--folds", nargs="+", type=int, default=list(range(N_FOLDS)), help="of 0 to 3"
    )
    parser.add_argument("--refinement-steps", type=int, default=200)
    parser.add_argument(
        "--refined-data-sets", nargs="*", choices=WITH_IMAGES, default=list(refined)
    )
    parser.add_argument(
        "--refined-folds", nargs="*", type=int, default=[0], help="of 0 to 3"
    )


@dataclass(frozen=True)
class Study:
    """Noise models, each fitted to each cut of the pairs.

    Attributes
    ----------
    name : of the experiment and its CSV file
    cuts : fields of `runs.Cut`
    """

    name: str
    cuts: tuple[dict[str, Any], ...]

    def run(self, options: argparse.Namespace) -> None:
        """Do what is not done yet."""
        ledger = Ledger(options.out / f"{self.name}.csv", KEYS)
        known = [
            row for name in SHARING for row in read_rows(options.out / f"{name}.csv")
        ]
        for repeat in range(options.repeats):
            make_priors(options, repeat)
            jobs = []
            for data_set in options.data_sets:
                wanted = self._jobs(data_set, repeat, options)
                adopt(ledger, known, [key for job in wanted for key in _keys(job)])
                jobs += [
                    job
                    for job in wanted
                    if not all(ledger.has(**key) for key in _keys(job))
                ]
            for job, result in run_all([[job] for job in jobs], options.workers):
                if isinstance(result, RunFailed):
                    print(result, file=sys.stderr, flush=True)
                    continue
                self._keep(job, result, ledger)

    def _jobs(
        self, data_set: str, repeat: int, options: argparse.Namespace
    ) -> list[Job]:
        """One job for each cut and way."""
        ways = [(POSTERIOR, options.folds, options.models)]
        if data_set in options.refined_data_sets:
            # plain histograms belong to the published PN2V, which refines nothing
            refined = [name for name in options.models if name != PUBLISHED_HISTOGRAM]
            ways.append((REFINED, options.refined_folds, refined))
        jobs = []
        for cut in self.cuts:
            if data_set == LANL and cut["source"] == BOOTSTRAPPED:
                continue
            for way, folds, models in ways:
                jobs.append(_job(data_set, cut, way, folds, models, repeat, options))
        return jobs

    def _keep(self, job: Job, result: dict[str, Any], ledger: Ledger) -> None:
        found = {(row["fold"], row["model"]): row for row in result["rows"]}
        new = []
        for key in _keys(job):
            if not ledger.has(**key):
                new.append({**key, **found[key["fold"], key["model"]]})
        ledger.add(new)
        told = job.arguments
        print(f"{self.name}: {told['data_set']}, {told['cut']}, {told['way']}: "
              f"{len(new)} rows", flush=True)  # fmt: skip


def adopt(
    ledger: Ledger, known: Sequence[Row], wanted: Sequence[dict[str, Any]]
) -> None:
    """Take over rows of other experiments that are the same run."""
    by_key = {tuple(row[key] for key in KEYS): row for row in known}
    found = [
        by_key[key]
        for named in wanted
        if (key := tuple(named[name] for name in KEYS)) in by_key
        and not ledger.has(**named)
    ]
    if found:
        ledger.add(found)


def _job(
    data_set: str,
    cut: dict[str, Any],
    way: str,
    folds: list[int],
    models: list[str],
    repeat: int,
    options: argparse.Namespace,
) -> Job:
    has_images = data_set in WITH_IMAGES
    arguments = {
        "data": str(options.data),
        "data_set": data_set,
        "cut": cut,
        "models": models,
        "way": way,
        "folds": folds,
        "repeat": repeat,
        "steps": _steps(options),
        "shared": str(options.work / FOLDER / "shared"),
        "prior": str(prior_path(data_set, repeat, options)) if has_images else None,
    }
    return Job("noise models", arguments)


def _keys(job: Job) -> list[dict[str, Any]]:
    """Keys of all rows that a job gives."""
    told = job.arguments
    steps = told["steps"]
    return [
        {
            "data set": told["data_set"],
            "source": told["cut"]["source"],
            "coverage": told["cut"]["coverage"],
            "share": told["cut"]["share"],
            "model": model,
            "fold": fold,
            "way": told["way"],
            "repeat": told["repeat"],
            "steps": "; ".join(f"{name} {count}" for name, count in steps.items()),
        }
        for fold in told["folds"]
        for model in told["models"]
    ]


def cut(
    source: str = CALIBRATED, coverage: float = 1, share: float = 1
) -> dict[str, Any]:
    """Return the fields of `runs.Cut`, whole numbers as a CSV file gives them back."""
    return {
        "source": source,
        "coverage": int(coverage) if coverage == 1 else coverage,
        "share": int(share) if share == 1 else share,
    }


def _steps(options: argparse.Namespace) -> dict[str, int]:
    return {
        "n2v": options.n2v_steps,
        "pn2v": options.pn2v_steps,
        "refinement": getattr(options, "refinement_steps", 1),
    }


def prior_path(data_set: str, repeat: int, options: argparse.Namespace) -> Path:
    """Where the common prior of a data set is kept."""
    name = f"prior-{data_set}-{repeat}-{options.n2v_steps}-{options.pn2v_steps}.npz"
    return Path(options.work) / FOLDER / name


def make_priors(options: argparse.Namespace, repeat: int) -> None:
    """Train the common priors that are not there yet.

    Raises
    ------
    RunFailed  If one cannot be trained.
    """
    chains = []
    for data_set in options.data_sets:
        path = prior_path(data_set, repeat, options)
        if data_set not in WITH_IMAGES or path.exists():
            continue
        arguments = {
            "data": str(options.data),
            "data_set": data_set,
            "repeat": repeat,
            "steps": _steps(options),
            "shared": str(options.work / FOLDER / "shared"),
            "path": str(path),
        }
        chains.append([Job("noise-model prior", arguments)])
    for job, result in run_all(chains, options.workers):
        if isinstance(result, RunFailed):
            raise result
        print(f"prior of {job.arguments['data_set']}: {result['CPU s']:.0f} CPU s",
              flush=True)  # fmt: skip


# --- Reading ---------------------------------------------------------------------


def rows_of(out: Path, name: str) -> list[Row]:
    """Return the rows of an experiment made with the settings of its newest row."""
    rows = read_rows(out / f"{name}.csv")
    return [row for row in rows if row["steps"] == rows[-1]["steps"]]


def by_fold(
    rows: Sequence[Row], column: str, **named: Any
) -> dict[tuple[int, int], float]:
    """Values of a column by (repeat, fold), of the rows with these values."""
    return {
        (row["repeat"], row["fold"]): row[column]
        for row in rows
        if all(row[key] == value for key, value in named.items())
        and row.get(column, "") != ""
    }


def label_of(model: str) -> str:
    """Name of a noise model in tables."""
    return KINDS[model].label
