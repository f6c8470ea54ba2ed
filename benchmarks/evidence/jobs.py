"""Runs as processes of their own: one thread each, side by side, resumable.

A process for each run keeps the peak of memory that of the run, and an interruption
from costing more than the runs under way.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = Path(__file__).parent
RUNS = {
    "plan": "evidence.runs:plan",
    "score": "evidence.runs:score",
    "peer": "evidence.peer_runs:run",
    "photographs": "evidence.photograph_runs:score",
    "plan photographs": "evidence.photograph_runs:plan",
    "failure": "evidence.failure_runs:run",
    "details": "evidence.details_runs:run",
    "camera of details": "evidence.details_runs:fit_camera",
    "limits": "evidence.limit_runs:run",
    "recording": "evidence.recordings:run",
    "noise-model prior": "evidence.noise_models.runs:make_prior",
    "noise models": "evidence.noise_models.runs:study",
    "noise-model pictures": "evidence.noise_models.runs:pictures",
}
"""Kind of job -> module and function that does it, imported in its own process."""

TAIL = 2000  # characters of a failed run's last words


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes
    ----------
    kind : name in `RUNS`
    arguments : its arguments, as JSON can hold them
    """

    kind: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        named = [f"{k}={v}" for k, v in self.arguments.items() if k != "folders"]
        return f"{self.kind}({', '.join(named)})"


class RunFailed(Exception):
    """A run ended without a result; the message holds its last words."""


def run_all(chains: Sequence[Sequence[Job]], n_workers: int) -> Iterator[tuple]:
    """Run chains of jobs, each chain in order, `n_workers` chains at a time.

    Parameters
    ----------
    n_workers : 0 runs everything in this process, which is quicker for tiny runs

    Yields
    ------
    (job, result) as they are finished; the result is a RunFailed where a run failed,
    and the chain goes on after it.
    """
    if n_workers == 0:
        for job in itertools.chain.from_iterable(chains):
            yield job, run_one(job, 0)
        return
    with ThreadPoolExecutor(n_workers) as pool:
        waiting = [list(chain) for chain in chains if chain]
        running: dict[Any, tuple[Job, list[Job]]] = {}

        def begin() -> None:
            chain = waiting.pop(0)
            job = chain.pop(0)
            running[pool.submit(_attempt, job)] = (job, chain)

        while waiting or running:
            while waiting and len(running) < n_workers:
                begin()
            done = next(as_completed(running))
            job, rest = running.pop(done)
            if rest:
                waiting.insert(0, rest)
            yield job, done.result()


def _attempt(job: Job) -> Any:
    try:
        return run_one(job, 1)
    except RunFailed as error:
        return error


def run_one(job: Job, n_workers: int) -> Any:
    """Run one job and return its result.

    In this process for no workers; otherwise in one of its own, with one thread.

    Raises
    ------
    RunFailed  By a process of its own; in this process the error itself.
    """
    if n_workers == 0:
        return _do(job.kind, job.arguments)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "result.json"
        command = [sys.executable, str(PROGRAM), "run-job"]
        command += [json.dumps(asdict(job)), str(answer)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0 or not answer.exists():
            raise RunFailed(f"{job} failed:\n{done.stderr[-TAIL:]}")
        return json.loads(answer.read_text(encoding="utf-8"))


def answer_job(text: str, answer: Path) -> None:
    """Do one job in this process and write its result; the other end of the above."""
    import torch

    torch.set_num_threads(1)
    job = json.loads(text)
    result = _do(job["kind"], job["arguments"])
    answer.write_text(json.dumps(result), encoding="utf-8")


def _do(kind: str, arguments: dict[str, Any]) -> Any:
    module, name = RUNS[kind].split(":")
    return getattr(importlib.import_module(module), name)(**arguments)
