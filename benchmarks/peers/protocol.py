"""What a driver of a peer and our harness agree on: options, clock, curve, result.

A driver runs in the peer's own environment, so nothing here needs more than numpy.
It says how its peer trains; the rest of a run is the same for all and happens in
`run_driver`:

- The budget is CPU seconds of this process from the first line of training, all stages
  included, without imports and without what scoring takes; or a number of steps.
- Everything the peer prints goes to stderr. The last line of stdout is a JSON object.
- Estimates are written as `mmse` and `prior_mean`, (T, Y, X) float32, ADU, as far as
  the peer has them. Frames that were not asked for are NaN.
- The truth, where given, is for the curve only and never reaches the peer.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import platform
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CURVE_COLUMNS = ("stage", "step", "cpu_seconds", "psnr")


class BudgetSpent(Exception):
    """Raised out of a peer's own training loop to end it."""


class Budget:
    """CPU seconds since it was made, without pauses, and how many there may be.

    Parameters
    ----------
    seconds
        CPU seconds for everything up to the prediction; None: as long as it takes.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._start = time.process_time()
        self._paused = 0.0

    @property
    def used(self) -> float:
        """CPU seconds so far, all threads together."""
        return time.process_time() - self._start - self._paused

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens inside, which is scoring as a rule."""
        start = time.process_time()
        try:
            yield
        finally:
            self._paused += time.process_time() - start

    def is_spent(self, share: float = 1.0) -> bool:
        """Whether `share` of the seconds is used; never where none were given."""
        return self.seconds is not None and self.used >= share * self.seconds

    def check(self, share: float = 1.0) -> None:
        """Raise `BudgetSpent` once `share` of the seconds is used."""
        if self.is_spent(share):
            raise BudgetSpent


@dataclass(frozen=True)
class Estimates:
    """What a peer makes of (P, Y, X) frames; None where it has no such estimate."""

    mmse: np.ndarray | None = None
    prior_mean: np.ndarray | None = None

    @property
    def best(self) -> np.ndarray:
        """The estimate that is scored: the MMSE where there is one."""
        best = self.mmse if self.mmse is not None else self.prior_mean
        if best is None:
            raise ValueError("The peer returned neither an MMSE nor a prior mean.")
        return best


@dataclass
class Trained:
    """A trained peer.

    Attributes
    ----------
    predict
        From frames (P, Y, X) float32, ADU, to `Estimates` of the same shape.
    steps
        Optimizer steps of the last stage, whose number `--steps` gives.
    notes
        Further entries of the report, for instance the seconds of each stage.
    """

    predict: Callable[[np.ndarray], Estimates]
    steps: int
    notes: dict[str, object] = field(default_factory=dict)


class Curve:
    """PSNR against steps and CPU seconds, one row of a CSV file per score.

    Parameters
    ----------
    path
        Where to write; None: nothing is ever due.
    noisy, truth
        (T, Y, X), ADU. PSNR: peak = max - min of each complete truth, mean over frames.
    frames, region
        Indices of the scored frames; first and last + 1 of rows and of columns. The
        region is cut out before the peer sees it, so its border lacks context.
    """

    def __init__(
        self,
        path: Path | None,
        noisy: np.ndarray,
        truth: np.ndarray | None,
        budget: Budget,
        *,
        every: int,
        frames: Sequence[int],
        region: Sequence[int] | None,
    ) -> None:
        self._path, self._budget, self._every = path, budget, every
        self._is_on = path is not None and truth is not None
        if not self._is_on:
            return
        top, bottom, left, right = region or (0, noisy.shape[1], 0, noisy.shape[2])
        where = (list(frames), slice(top, bottom), slice(left, right))
        complete = truth[list(frames)].astype(np.float64)
        self._peaks = complete.max((1, 2)) - complete.min((1, 2))
        self._noisy, self._truth = noisy[where], truth[where].astype(np.float64)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(CURVE_COLUMNS)

    def after(
        self, step: int, stage: str, predict: Callable[[np.ndarray], Estimates]
    ) -> None:
        """Score where this step is due; the budget stands still meanwhile."""
        if not self._is_on or step % self._every:
            return
        used = self._budget.used
        with self._budget.paused():
            score = self._mean_psnr(predict(self._noisy.copy()).best)
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file).writerow((stage, step, f"{used:.3f}", f"{score:.4f}"))

    def _mean_psnr(self, estimates: np.ndarray) -> float:
        errors = ((estimates - self._truth) ** 2).mean((1, 2))
        scores = 10 * np.log10(self._peaks**2 / errors)
        return statistics.fmean(scores.tolist())


@dataclass(frozen=True)
class Job:
    """What a driver's training function is given.

    Attributes
    ----------
    noisy
        (T, Y, X) float32, ADU.
    """

    noisy: np.ndarray
    options: argparse.Namespace
    budget: Budget
    curve: Curve


def protocol_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the options that every driver understands."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--input", type=Path, required=True, help="noisy frames, (T, Y, X) .npy, ADU")
    add("--output", type=Path, required=True, help="estimates, .npz")
    add("--code", type=Path, help="folder with the peer's published code")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--seconds", type=float, help="CPU seconds of everything")
    length.add_argument("--steps", type=int, help="optimizer steps, exactly")
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--predicted-frames", type=int, nargs="+", help="default: all")
    add("--curve", type=Path, help="CSV of PSNR during training; needs --truth")
    add("--truth", type=Path, help="(T, Y, X) .npy, for the curve only")
    add("--score-every", type=int, default=10, help="steps between two scores")
    add("--scored-frames", type=int, nargs="+", help="default: all")
    add(
        "--scored-region",
        type=int,
        nargs=4,
        metavar=("TOP", "BOTTOM", "LEFT", "RIGHT"),
        help="score this region only; the peak stays that of the complete truth",
    )
    return parser


def run_driver(
    parser: argparse.ArgumentParser,
    train: Callable[[Job], Trained],
    versions: Callable[[], dict[str, str]],
) -> None:
    """Train, predict, write and report, as the options say.

    Parameters
    ----------
    train
        Runs the peer's training within the job's budget.
    versions
        Of the peer and what it stands on; called at the end.
    """
    options = parser.parse_args()
    if options.curve and not options.truth:
        parser.error("--curve needs --truth")
    with contextlib.redirect_stdout(sys.stderr):
        report = _run(options, train)
        report["versions"] = _shared_versions() | versions()
    print(json.dumps(report), flush=True)


def _run(
    options: argparse.Namespace, train: Callable[[Job], Trained]
) -> dict[str, object]:
    random.seed(options.seed)
    np.random.seed(options.seed)  # noqa: NPY002 - the peers draw from the global state
    noisy = np.load(options.input).astype(np.float32)
    truth = np.load(options.truth) if options.truth else None
    budget = Budget(options.seconds)
    curve = Curve(
        options.curve,
        noisy,
        truth,
        budget,
        every=options.score_every,
        frames=options.scored_frames or range(len(noisy)),
        region=options.scored_region,
    )
    trained = train(Job(noisy, options, budget, curve))
    seconds_training = budget.used
    start = time.process_time()
    _predict_to_file(trained, noisy, options)
    return {
        "cpu_seconds_training": round(seconds_training, 3),
        "cpu_seconds_prediction": round(time.process_time() - start, 3),
        "steps": trained.steps,
        "peak_mb": round(peak_memory_mb(), 1),
        **trained.notes,
    }


def _predict_to_file(
    trained: Trained, noisy: np.ndarray, options: argparse.Namespace
) -> None:
    frames = options.predicted_frames or list(range(len(noisy)))
    estimates = trained.predict(noisy[frames])
    arrays = {}
    for name in ("mmse", "prior_mean"):
        values = getattr(estimates, name)
        if values is not None:
            arrays[name] = np.full(noisy.shape, np.nan, np.float32)
            arrays[name][frames] = values
    np.savez(options.output, **arrays)


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far, in MB (10⁶ bytes)."""
    status = Path("/proc/self/status")
    if (
        status.exists()
    ):  # Linux; getrusage would count what the parent held at the start
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _shared_versions() -> dict[str, str]:
    return {"python": platform.python_version(), "numpy": np.__version__}


def code_version(folder: Path) -> str:
    """Commit of the peer's code as its `.git` says, or `unknown`."""
    head = folder / ".git" / "HEAD"
    if not head.exists():
        return "unknown"
    text = head.read_text(encoding="utf-8").strip()
    if not text.startswith("ref: "):
        return text
    branch = folder / ".git" / text.removeprefix("ref: ")
    return branch.read_text(encoding="utf-8").strip() if branch.exists() else "unknown"
