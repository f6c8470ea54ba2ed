"""Events that long jobs yield, and the helpers that drive such jobs.

A long job is a generator: it yields frozen events, returns its result, raises on
failure, and ends normally when stopped. The command line, the tests and the viewer
consume the same generators.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Event:
    """Base of everything a long job yields."""


@dataclass(frozen=True, slots=True)
class DeviceChosen(Event):
    """Where the work is really done, in words: "CPU, 1 thread, bfloat16"."""

    name: str


@dataclass(frozen=True, slots=True)
class PartStarted(Event):
    """Part `index` (from 0) of `total` begins: a channel, a layer or a file.

    Its stages begin anew.
    """

    name: str
    index: int
    total: int


@dataclass(frozen=True, slots=True)
class StageStarted(Event):
    """A stage of the pipeline begins.

    `stage` is a short identifier ("n2v", "pseudo ground truth", "noise model",
    "pn2v", "inference choice", "denoise"); `total` is its number of steps, 0 where
    it is not known.
    """

    stage: str
    total: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class StageFinished(Event):
    """A stage of the pipeline is complete; `seconds` is its wall time."""

    stage: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepDone(Event):
    """One training step, tile or other unit of a stage is done.

    `loss` is that of the step, nan where there is none.
    """

    stage: str
    step: int
    total: int
    loss: float = math.nan


@dataclass(frozen=True, slots=True)
class Validated(Event):
    """Validation was run. Losses are means per pixel since the last validation."""

    stage: str
    step: int
    total: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class PairsReady(Event):
    """The pairs that a noise model is fitted to next, as a `PairHistogram`."""

    pairs: Any


@dataclass(frozen=True, slots=True)
class FitProgress(Event):
    """A noise-model fit improved; `nll` is in nats per pixel and ADU.

    `snapshot` is the noise model as it is now, on the CPU, None where it is not known.
    """

    model: str
    iteration: int
    nll: float
    snapshot: Any = None


@dataclass(frozen=True, slots=True)
class NoiseModelFitted(Event):
    """A noise model is ready. `held_out_nll` is in nats per pixel and ADU."""

    model: Any
    held_out_nll: float
    reason: str


@dataclass(frozen=True, slots=True)
class PreviewReady(Event):
    """A part of one frame, denoised by the network as it is at this moment.

    The images are (Y, X) float32 in ADU and belong to `rows` and `columns` of `frame`;
    `mmse` is None while there is no noise model or no samples to compute it from.
    """

    stage: str
    frame: int
    rows: slice
    columns: slice
    observation: Any
    prior_mean: Any
    mmse: Any = None


@dataclass(frozen=True, slots=True)
class FrameDenoised(Event):
    """One more of `total` frames is denoised and written."""

    index: int
    total: int


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Something the user should know that is no error (a warning, a decision)."""

    message: str
    is_warning: bool = False


def drain(
    job: Generator[Event, None, R], on_event: Callable[[Event], None] | None = None
) -> R:
    """Run a job to its end and return its result, passing each event on."""
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if on_event is not None:
            on_event(event)


def collect(job: Generator[Event, None, R]) -> tuple[list[Event], R]:
    """Run a job to its end and return all its events and its result."""
    events: list[Event] = []
    result = drain(job, events.append)
    return events, result
