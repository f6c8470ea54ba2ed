"""Progress of a long job: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeVar

from napari_ppn2v.cli.output import is_terminal, messages
from napari_ppn2v.events import (
    Event,
    FitProgress,
    FrameDenoised,
    NoiseModelFitted,
    Notice,
    StageFinished,
    StageStarted,
    StepDone,
    Validated,
    drain,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.progress import Progress

R = TypeVar("R")

STAGES = {
    "check": "Checking the data",
    "reading": "Reading and checking",
    "dry run": "Timing some steps",
    "n2v": "Training Noise2Void",
    "care": "Training CARE",
    "n2n": "Training Noise2Noise",
    "pseudo ground truth": "Pseudo ground truth",
    "noise model": "Fitting the noise model",
    "pn2v": "Training PN2V",
    "inference choice": "Choosing the estimate",
    "denoise": "Denoising",
    "coverage": "Comparing signal ranges",
}
SECONDS_BETWEEN_LINES = 10.0


def stage_name(stage: str) -> str:
    """Name of a stage for people."""
    name, _, number = stage.partition(" ")
    if name == "refinement":
        return f"Refining, round {number}"
    return STAGES.get(stage, stage.capitalize())


def run_with_progress(job: Generator[Event, None, R]) -> R:
    """Run a job to its end, showing how far it is."""
    if not is_terminal():
        return drain(job, _Lines())
    with _bars() as progress:
        return drain(job, _Bars(progress))


def _bars() -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=messages(),
    )


class _Watcher:
    """Takes events apart; what is shown is up to the subclasses."""

    def __init__(self) -> None:
        self._frames = 0
        self._reasons: set[str] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._frames = 0
            self.started(event)
        elif isinstance(event, StageFinished):
            self.finished(event)
        elif isinstance(event, FrameDenoised):
            self._frames += 1
            self.moved("denoise", self._frames, "")
        elif isinstance(event, StepDone):
            self._step(event)
        elif isinstance(event, Validated):
            self.noted(event.stage, f"validation loss {event.validation_loss:.4f}")
        elif isinstance(event, FitProgress):
            self.noted("noise model", f"{event.model} {event.nll:.4f} nats")
        else:
            self._message(event)

    def _step(self, event: StepDone) -> None:
        if event.stage == "denoise":  # steps are tiles of one frame
            self.moved("denoise", self._frames + event.step / event.total, "")
            return
        loss = "" if math.isnan(event.loss) else f"loss {event.loss:.4f}"
        self.moved(event.stage, event.step, loss)

    def _message(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.said(("Warning: " if event.is_warning else "") + event.message)
        elif isinstance(event, NoiseModelFitted) and event.reason not in self._reasons:
            self._reasons.add(event.reason)  # fit and journey both announce it
            self.said(event.reason)

    def started(self, event: StageStarted) -> None: ...

    def finished(self, event: StageFinished) -> None: ...

    def moved(self, stage: str, done: float, note: str) -> None: ...

    def noted(self, stage: str, note: str) -> None: ...

    def said(self, message: str) -> None: ...


class _Bars(_Watcher):
    """One bar for each stage."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def started(self, event: StageStarted) -> None:
        name = stage_name(event.stage)
        self._tasks[event.stage] = self._progress.add_task(
            name, total=event.total or None, note=event.detail
        )

    def finished(self, event: StageFinished) -> None:
        task = self._tasks.get(event.stage)
        if task is None:
            return
        total = self._progress.tasks[task].total or 1
        self._progress.update(task, total=total, completed=total)
        self._progress.stop_task(task)

    def moved(self, stage: str, done: float, note: str) -> None:
        if stage in self._tasks:
            task = self._tasks[stage]
            self._progress.update(task, completed=round(done, 2))
            if note:
                self._progress.update(task, note=note)

    def noted(self, stage: str, note: str) -> None:
        if stage == "noise model" and stage in self._tasks:
            self._progress.update(self._tasks[stage], note=note)

    def said(self, message: str) -> None:
        self._progress.console.print(message, markup=False)


class _Lines(_Watcher):
    """One line for each stage, and one now and then within."""

    def __init__(self) -> None:
        super().__init__()
        self._console = messages()
        self._total = 0
        self._began = self._last = time.monotonic()

    def started(self, event: StageStarted) -> None:
        self._total = event.total
        self._began = self._last = time.monotonic()
        detail = f" {event.detail}" if event.detail else ""
        count = f" ({event.total})" if event.total else ""
        self.said(f"{stage_name(event.stage)}{detail}{count}...")

    def finished(self, event: StageFinished) -> None:
        self.said(f"{stage_name(event.stage)}: done in {event.seconds:.1f} s")

    def moved(self, stage: str, done: float, note: str) -> None:
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES or not done:
            return
        self._last = now
        left = (now - self._began) * (self._total - done) / done
        self.said(
            f"{stage_name(stage)}: {done:.0f} of {self._total}, "
            f"about {max(left, 0):.0f} s left {note}".rstrip()
        )

    def said(self, message: str) -> None:
        self._console.print(message, markup=False)
