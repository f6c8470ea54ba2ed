"""From arrays in memory to arrays in memory, as one job: what the viewer runs.

The counterpart of `file_jobs` and `apply_job`, which do the same for files.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.devices import (
    choose_device,
    choose_devices,
    describe_device,
    describe_devices,
    threads,
)
from napari_ppn2v.core.frames import check_trainable
from napari_ppn2v.events import DeviceChosen, Notice, PartStarted
from napari_ppn2v.pipeline.checking import glance
from napari_ppn2v.pipeline.journeys import (
    SMALLEST_SIDE,
    TrainedRun,
    no_checkpoints,
    train_denoiser,
)
from napari_ppn2v.pipeline.noise_sources import (
    Bootstrap,
    Calibration,
    GivenNoiseModel,
    NoiseSource,
)
from napari_ppn2v.pipeline.provenance import software
from napari_ppn2v.pipeline.recovery_record import read_stacks
from napari_ppn2v.pipeline.stack_results import StackResult, apply_to_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    import torch

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.journeys import Checkpoints
    from napari_ppn2v.pipeline.preview import Preview
    from napari_ppn2v.pipeline.recovery import Recovery
    from napari_ppn2v.pipeline.stack_request import StackRequest
    from napari_ppn2v.stop import StopToken

    ChannelCheckpoints = Callable[[int], Checkpoints]
    Devices = tuple[torch.device, ...]


@dataclass(frozen=True)
class StackReport:
    """What a run has made.

    Attributes
    ----------
    runs : one for each channel that was trained, as far as it came
    result : None if the run was stopped before it was whole
    provenance : how it was made, as JSON can hold it
    """

    request: StackRequest
    runs: tuple[TrainedRun, ...]
    result: StackResult | None
    is_stopped: bool
    device: str
    seconds: dict[str, float] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def denoisers(self) -> tuple[Denoiser, ...]:
        """The trained models, one for each channel."""
        return tuple(run.denoiser for run in self.runs)


def denoise_stack(
    request: StackRequest,
    stop: StopToken,
    *,
    preview: Preview | None = None,
    checkpoints: ChannelCheckpoints | None = None,
    recovery: Recovery | None = None,
    is_checked: bool = False,
    is_read: bool = False,
) -> Generator[Event, None, StackReport]:
    """Train on a stack and denoise it.

    Parameters
    ----------
    preview : what the user looks at, of the first channel
    checkpoints : gives, for a channel, where its trainings keep their state; a run
        that was stopped goes on from there
    recovery : is begun once the data are read, where `checkpoints` keep states in it
    is_checked : whether the user has had the data checked, and need not be told again
    is_read : whether all frames were read before, and hold numbers only

    Returns
    -------
    StackReport
        Stopped in training, it holds the models trained so far and no result.

    Raises
    ------
    PPN2VError  One of its kinds.
    """

    def train(channel: int, devices: Devices) -> Generator[Event, None, TrainedRun]:
        kept = no_checkpoints if checkpoints is None else checkpoints(channel)
        return train_denoiser(
            [request.training_source(channel)],
            request.config,
            noise_source(request, channel),
            device=devices[0],
            stop=stop,
            preview=preview if channel == request.channels[0] else None,
            checkpoints=kept,
            other_devices=devices[1:],
        )

    def reading() -> Generator[Event, None, None]:
        if not is_read:
            stacks = yield from read_stacks(request, stop)
            if recovery is not None and not stop.is_stopped:
                recovery.begin(request, stacks)

    return (
        yield from _run(request, train, stop, reading(), is_glancing=not is_checked)
    )


def train_stack_longer(
    report: StackReport,
    stop: StopToken,
    *,
    n_steps: int | None = None,
    preview: Preview | None = None,
    checkpoints: ChannelCheckpoints | None = None,
) -> Generator[Event, None, StackReport]:
    """Train the models of an earlier run longer, and denoise its stack again.

    Parameters
    ----------
    n_steps : of the training added; as many as its last stage had by default
    others : as for `denoise_stack`
    """
    from napari_ppn2v.pipeline.journeys import train_longer

    request = report.request

    def train(channel: int, devices: Devices) -> Generator[Event, None, TrainedRun]:
        return train_longer(
            report.runs[request.channels.index(channel)],
            [request.training_source(channel)],
            request.config,
            n_steps=n_steps,
            noise_source=noise_source(request, channel),
            device=devices[0],
            stop=stop,
            preview=preview if channel == request.channels[0] else None,
            checkpoints=no_checkpoints if checkpoints is None else checkpoints(channel),
            other_devices=devices[1:],
        )

    return (yield from _run(request, train, stop))


def denoise_trained(
    report: StackReport, stop: StopToken
) -> Generator[Event, None, StackReport]:
    """Denoise with what a stopped run has learnt so far.

    Returns
    -------
    StackReport
        With the request cut to the channels that were trained, if not all were.
    """
    request = report.request
    if len(report.runs) < len(request.channels):
        request = replace(request, channels=request.channels[: len(report.runs)])
    with threads(request.threads):
        device = choose_device(request.device)
        yield DeviceChosen(describe_device(device))
        began = time.perf_counter()
        result = yield from _apply(report.denoisers, request, stop, device)
    return replace(
        report,
        request=request,
        result=result,
        is_stopped=result is None,
        seconds={**report.seconds, "denoise": time.perf_counter() - began},
    )


def _run(
    request: StackRequest,
    train: Callable[[int, Devices], Generator[Event, None, TrainedRun]],
    stop: StopToken,
    reading: Iterable[Event] = (),
    *,
    is_glancing: bool = False,
) -> Generator[Event, None, StackReport]:
    """Train channel after channel, then denoise them all."""
    request.check()
    with threads(request.threads):
        devices = choose_devices(request.device)
        yield DeviceChosen(describe_devices(devices))
        smallest = max(SMALLEST_SIDE, 2 * request.config.network.stride)
        for channel in request.channels:
            check_trainable(request.training_source(channel), smallest)
        yield from reading
        if is_glancing:
            for channel in request.channels:
                yield from glance([request.observation.frames(channel)], stop)
        runs: list[TrainedRun] = []
        seconds: dict[str, float] = {}
        for number, channel in enumerate(request.channels):
            if stop.is_stopped:
                break
            if len(request.channels) > 1:
                name, total = f"channel {channel}", len(request.channels)
                yield PartStarted(name, number, total)
            run = yield from train(channel, devices)
            runs.append(run)
            for stage, value in run.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
        is_stopped = stop.is_stopped or any(run.is_stopped for run in runs)
        report = StackReport(
            request,
            tuple(runs),
            None,
            is_stopped,
            describe_devices(devices),
            seconds,
            _provenance(request, runs, devices),
        )
        if is_stopped:
            return report
        began = time.perf_counter()
        result = yield from _apply(report.denoisers, request, stop, devices[0])
    seconds["denoise"] = time.perf_counter() - began
    return replace(report, result=result, is_stopped=result is None)


def _apply(
    denoisers: Sequence[Denoiser],
    request: StackRequest,
    stop: StopToken,
    device: torch.device,
) -> Generator[Event, None, StackResult | None]:
    """Denoise, without the uncertainty where what was trained gives none."""
    inference = request.config.inference
    if inference.posterior_std and not all(d.gives_posterior_std for d in denoisers):
        yield Notice(
            "There is no posterior standard deviation: the estimate in use, the prior "
            "mean, comes without one.",
            is_warning=True,
        )
        inference = replace(inference, posterior_std=False)
        request = replace(request, config=replace(request.config, inference=inference))
    return (yield from apply_to_stack(denoisers, request, stop, device=device))


def noise_source(request: StackRequest, channel: int) -> NoiseSource:
    """Return where the noise model of a channel comes from."""
    if request.noise_model is not None:
        return GivenNoiseModel(request.noise_model)
    if request.calibration:
        scenes = (stack.recording(channel) for stack in request.calibration)
        return Calibration(tuple(scenes))
    return Bootstrap()


def _provenance(
    request: StackRequest, runs: Sequence[TrainedRun], devices: Devices
) -> dict[str, Any]:
    """Say how a result was made, as plain values."""
    observation = request.observation
    return {
        "software": software(*devices),
        "data": {
            "name": observation.name,
            "axes": observation.axes,
            "shape": [int(n) for n in observation.data.shape],
            "type": str(observation.data.dtype),
            "channels": list(request.channels),
            "training_frames": request.training_frames,
            "training_region": _plain_region(request.region),
        },
        "noise_model_from": _origin(request),
        "settings": asdict(request.config),
        "seed": request.config.seed,
        "training": [_plain_run(run) for run in runs],
    }


def _plain_region(region: tuple[slice, slice] | None) -> list[list[int]] | None:
    return None if region is None else [[part.start, part.stop] for part in region]


def _origin(request: StackRequest) -> str:
    if request.config.method == "n2v":
        return "none"
    if request.noise_model is not None:
        return "given"
    if request.calibration:
        return "calibration: " + ", ".join(s.name for s in request.calibration)
    return "bootstrap"


def _plain_run(run: TrainedRun) -> dict[str, Any]:
    denoiser, fit = run.denoiser, run.noise_fit
    return {
        "estimate": denoiser.estimate,
        "blind": denoiser.is_blind,
        "reason": denoiser.reason,
        "noise_model": None if fit is None else fit.name,
        "held_out_nll": None if fit is None else fit.held_out_nll,
        "seconds": dict(run.seconds),
        "is_stopped": run.is_stopped,
    }
