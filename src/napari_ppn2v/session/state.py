"""The state of a run as one frozen value, and the pure steps from state to state.

Views draw a `RunState`; nothing else about a run is kept anywhere in the docks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from napari_ppn2v.events import (
    DeviceChosen,
    FitProgress,
    FrameDenoised,
    NoiseModelFitted,
    Notice,
    PairsReady,
    PartStarted,
    PreviewReady,
    StageFinished,
    StageStarted,
    StepDone,
    Validated,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_ppn2v.events import Event

MOST_NOTICES = 100
DENOISE = "denoise"  # the stage that counts frames, each of several tiles


class Status(Enum):
    """What a run is doing, as a word for the user."""

    IDLE = "idle"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def is_busy(self) -> bool:
        """Whether a run is going on."""
        return self in (Status.RUNNING, Status.PAUSED, Status.STOPPING)


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a run.

    Attributes
    ----------
    name : as in the events
    total : number of steps, frames or images; 0 where it is not known
    step : how many of them are done
    within : share of the next one that is done, 0 … 1
    began : time when it began, None while it waits
    seconds : how long it took, None while it is not finished
    detail : more words about it
    expected : seconds that it was estimated to take, 0 where it was not
    """

    name: str
    total: int = 0
    step: int = 0
    within: float = 0.0
    began: float | None = None
    seconds: float | None = None
    detail: str = ""
    expected: float = 0.0

    @property
    def is_finished(self) -> bool:
        """Whether it came to its end."""
        return self.seconds is not None

    @property
    def is_running(self) -> bool:
        """Whether it has begun and not ended."""
        return self.began is not None and self.seconds is None

    @property
    def share(self) -> float:
        """Share that is done, 0 … 1."""
        if self.is_finished:
            return 1.0
        if self.total <= 0:
            return 0.0
        return min(1.0, (self.step + self.within) / self.total)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One validation of a training; losses are means per pixel."""

    step: int
    train_loss: float
    validation_loss: float
    is_best: bool


@dataclass(frozen=True, slots=True)
class Fit:
    """How far the fit of a noise model is.

    Attributes
    ----------
    pairs : what it is fitted to, a `PairHistogram`
    snapshot : the model as it is now
    traces : for each model tried, its (iteration, negative log-likelihood) so far
    model, held_out_nll, reason : the result; None, nan and empty until it is there
    """

    pairs: Any = None
    snapshot: Any = None
    traces: tuple[tuple[str, tuple[tuple[int, float], ...]], ...] = ()
    model: Any = None
    held_out_nll: float = math.nan
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RunState:
    """Everything that the docks show of a run.

    Attributes
    ----------
    title : what is done, and to what
    part : name of the channel, layer or file worked on; empty where there is but one
    part_index, n_parts : its place among all
    stages : of the current part, planned ones included
    curves : validations of each training, in order
    fit : of the noise model
    preview : the newest one
    device : where the work is really done
    notices : what the run had to say
    message : how it ended, in words
    began, ended : seconds of a clock
    paused_at, paused_seconds : when the pause began, and how long earlier ones took
    """

    status: Status = Status.IDLE
    title: str = ""
    part: str = ""
    part_index: int = 0
    n_parts: int = 1
    stages: tuple[Stage, ...] = ()
    planned: tuple[Stage, ...] = ()
    curves: tuple[tuple[str, tuple[CurvePoint, ...]], ...] = ()
    fit: Fit = Fit()
    preview: PreviewReady | None = None
    device: str = ""
    notices: tuple[Notice, ...] = ()
    message: str = ""
    began: float = 0.0
    ended: float | None = None
    paused_at: float | None = None
    paused_seconds: float = 0.0

    @property
    def running_stage(self) -> Stage | None:
        """The stage that is going on."""
        return next((s for s in reversed(self.stages) if s.is_running), None)

    def elapsed(self, now: float) -> float:
        """Seconds that the run has worked, without pauses."""
        end = now if self.ended is None else self.ended
        if self.paused_at is not None and self.ended is None:
            end = self.paused_at
        return max(0.0, end - self.began - self.paused_seconds)

    @property
    def share(self) -> float:
        """Share of the run that is done, 0 … 1.

        By the expected seconds of its stages, else by their steps; 0 where nothing is
        known.
        """
        weights = [_weight(stage) for stage in self.stages]
        if any(stage.expected > 0 for stage in self.stages):
            weights = [stage.expected for stage in self.stages]
        total = sum(weights)
        if total <= 0:
            done = 1.0 if self.stages and all(s.is_finished for s in self.stages) else 0
        else:
            pairs = zip(self.stages, weights, strict=True)
            done = sum(stage.share * weight for stage, weight in pairs) / total
        return min(1.0, (self.part_index + done) / max(1, self.n_parts))

    def remaining(self, now: float) -> float | None:
        """Seconds left, by the pace so far; None where that cannot be said yet."""
        share = self.share
        if self.status is not Status.RUNNING or share <= 0.02:
            return None
        return self.elapsed(now) * (1 - share) / share


def _weight(stage: Stage) -> float:
    """Weigh the steps of a stage against training steps, roughly."""
    is_training = stage.name.startswith(("n2v", "pn2v", "refinement"))
    return stage.total * (1.0 if is_training else 0.5)


def begun(
    title: str,
    planned: Sequence[tuple[str, int]],
    now: float,
    expected: Mapping[str, float] | None = None,
) -> RunState:
    """Return the state of a run that begins.

    Parameters
    ----------
    planned : names and numbers of steps of the stages to come
    expected : seconds that they are estimated to take
    """
    seconds = expected or {}
    stages = tuple(
        Stage(name, total, expected=seconds.get(name, 0.0)) for name, total in planned
    )
    return RunState(
        Status.RUNNING, title=title, stages=stages, planned=stages, began=now
    )


def paused(state: RunState, now: float) -> RunState:
    """Return the state with the clock standing still."""
    if state.status is not Status.RUNNING:
        return state
    return replace(state, status=Status.PAUSED, paused_at=now)


def resumed(state: RunState, now: float) -> RunState:
    """Return the state with the clock going on."""
    return replace(_clock_going(state, now), status=Status.RUNNING)


def stopping(state: RunState, now: float) -> RunState:
    """Return the state of a run that was asked to stop."""
    return replace(_clock_going(state, now), status=Status.STOPPING)


def finished(
    state: RunState, now: float, message: str, *, is_stopped: bool
) -> RunState:
    """Return the state of a run that came to its end, by itself or stopped."""
    status = Status.STOPPED if is_stopped else Status.FINISHED
    return replace(_clock_going(state, now), status=status, ended=now, message=message)


def failed(state: RunState, now: float, message: str) -> RunState:
    """Return the state of a run that an error has ended."""
    return replace(
        _clock_going(state, now), status=Status.FAILED, ended=now, message=message
    )


def _clock_going(state: RunState, now: float) -> RunState:
    if state.paused_at is None:
        return state
    pause = now - state.paused_at
    return replace(state, paused_at=None, paused_seconds=state.paused_seconds + pause)


def advance(state: RunState, event: Event, now: float) -> RunState:
    """Return the state after an event; unknown events change nothing.

    Parameters
    ----------
    now : seconds of the same clock as `begun`
    """
    step = _STEPS.get(type(event))
    return state if step is None else step(state, event, now)


def _stage_started(state: RunState, event: StageStarted, now: float) -> RunState:
    stages = list(_ended(state.stages, now))
    new = Stage(event.stage, event.total, began=now, detail=event.detail)
    waiting = (i for i, s in enumerate(stages) if s.name == event.stage)
    place = next((i for i in waiting if stages[i].began is None), None)
    if place is None:
        # what was not planned stands before what still waits
        place = next((i for i, s in enumerate(stages) if s.began is None), len(stages))
        stages.insert(place, new)
    else:
        kept = stages[place]
        total = event.total or kept.total
        stages[place] = replace(new, total=total, expected=kept.expected)
    return replace(state, stages=tuple(stages))


def _ended(stages: tuple[Stage, ...], now: float) -> tuple[Stage, ...]:
    """End what runs: one stage begins when the one before it is over."""
    return tuple(
        replace(s, seconds=now - s.began) if s.is_running and s.began is not None else s
        for s in stages
    )


def _change(state: RunState, name: str, change: Callable[[Stage], Stage]) -> RunState:
    """Change the last begun stage of that name."""
    for place in range(len(state.stages) - 1, -1, -1):
        stage = state.stages[place]
        if stage.name == name and stage.began is not None:
            stages = (*state.stages[:place], change(stage), *state.stages[place + 1 :])
            return replace(state, stages=stages)
    return state


def _stage_finished(state: RunState, event: StageFinished, now: float) -> RunState:
    return _change(state, event.stage, lambda s: replace(s, seconds=event.seconds))


def _step_done(state: RunState, event: StepDone, now: float) -> RunState:
    if event.stage == DENOISE:
        within = event.step / max(1, event.total)
        return _change(state, DENOISE, lambda s: replace(s, within=min(1.0, within)))

    def change(stage: Stage) -> Stage:
        return replace(
            stage,
            step=max(stage.step, event.step),
            total=max(event.total, stage.total),
        )

    return _change(state, event.stage, change)


def _frame_denoised(state: RunState, event: FrameDenoised, now: float) -> RunState:
    def change(stage: Stage) -> Stage:
        done = max(stage.step, event.index + 1)
        return replace(
            stage, step=done, within=0.0, total=max(stage.total, event.total)
        )

    return _change(state, DENOISE, change)


def _validated(state: RunState, event: Validated, now: float) -> RunState:
    point = CurvePoint(
        event.step, event.train_loss, event.validation_loss, event.is_best
    )
    return replace(state, curves=_appended(state.curves, event.stage, point))


def _appended(pairs: tuple, name: str, item: Any) -> tuple:
    """Append an item to the tuple kept under a name, or begin one."""
    if not any(known == name for known, _ in pairs):
        return (*pairs, (name, (item,)))
    return tuple((k, (*v, item)) if k == name else (k, v) for k, v in pairs)


def _pairs_ready(state: RunState, event: PairsReady, now: float) -> RunState:
    return replace(state, fit=Fit(pairs=event.pairs))


def _fit_progress(state: RunState, event: FitProgress, now: float) -> RunState:
    traces = _appended(state.fit.traces, event.model, (event.iteration, event.nll))
    snapshot = state.fit.snapshot if event.snapshot is None else event.snapshot
    return replace(state, fit=replace(state.fit, traces=traces, snapshot=snapshot))


def _fitted(state: RunState, event: NoiseModelFitted, now: float) -> RunState:
    fit = replace(
        state.fit,
        model=event.model,
        snapshot=event.model,
        held_out_nll=event.held_out_nll,
        reason=event.reason,
    )
    return replace(state, fit=fit)


def _preview(state: RunState, event: PreviewReady, now: float) -> RunState:
    return replace(state, preview=event)


def _notice(state: RunState, event: Notice, now: float) -> RunState:
    return replace(state, notices=(*state.notices, event)[-MOST_NOTICES:])


def _device(state: RunState, event: DeviceChosen, now: float) -> RunState:
    return replace(state, device=event.name)


def _part(state: RunState, event: PartStarted, now: float) -> RunState:
    return replace(
        state,
        part=event.name,
        part_index=event.index,
        n_parts=max(1, event.total),
        stages=state.planned,
        curves=(),
        fit=Fit(),
    )


_STEPS: Mapping[type[Event], Callable[[RunState, Any, float], RunState]] = {
    StageStarted: _stage_started,
    StageFinished: _stage_finished,
    StepDone: _step_done,
    FrameDenoised: _frame_denoised,
    Validated: _validated,
    PairsReady: _pairs_ready,
    FitProgress: _fit_progress,
    NoiseModelFitted: _fitted,
    PreviewReady: _preview,
    Notice: _notice,
    DeviceChosen: _device,
    PartStarted: _part,
}
