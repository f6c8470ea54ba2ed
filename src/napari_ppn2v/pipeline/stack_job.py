"""From arrays in memory to arrays in memory, as one job: what the viewer runs.

The counterpart of `file_jobs` and `apply_job`, which do the same for files.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_ppn2v.core.conversion import as_dtype
from napari_ppn2v.core.devices import choose_device, describe_device, threads
from napari_ppn2v.core.frames import check_trainable
from napari_ppn2v.errors import BadData
from napari_ppn2v.events import (
    DeviceChosen,
    FrameDenoised,
    Notice,
    PartStarted,
    StageFinished,
    StageStarted,
    StepDone,
)
from napari_ppn2v.pipeline.denoising import denoise_frames
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

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.journeys import Checkpoints
    from napari_ppn2v.pipeline.preview import Preview
    from napari_ppn2v.pipeline.stack_request import StackRequest
    from napari_ppn2v.stop import StopToken

    ChannelCheckpoints = Callable[[int], Checkpoints]

MOST_OF_MEMORY = 0.3  # share of what is free, above which results go to a file


@dataclass(frozen=True)
class StackResult:
    """A denoised stack.

    Attributes
    ----------
    image : in the axes `axes`, ADU
    axes : those of the observation, without C where one channel was denoised
    posterior_std, residual : float32 in the same axes, None where not asked for
    clipped : number of pixels below and above the range of an integer type
    """

    image: NDArray
    axes: str
    posterior_std: NDArray[np.float32] | None = None
    residual: NDArray[np.float32] | None = None
    clipped: tuple[int, int] = (0, 0)


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
) -> Generator[Event, None, StackReport]:
    """Train on a stack and denoise it.

    Parameters
    ----------
    preview : what the user looks at, of the first channel
    checkpoints : gives, for a channel, where its trainings keep their state; a run
        that was stopped goes on from there

    Returns
    -------
    StackReport
        Stopped in training, it holds the models trained so far and no result.

    Raises
    ------
    PPN2VError  One of its kinds.
    """

    def train(channel: int, device: torch.device) -> Generator[Event, None, TrainedRun]:
        kept = no_checkpoints if checkpoints is None else checkpoints(channel)
        return train_denoiser(
            [request.training_source(channel)],
            request.config,
            noise_source(request, channel),
            device=device,
            stop=stop,
            preview=preview if channel == request.channels[0] else None,
            checkpoints=kept,
        )

    return (yield from _run(request, train, stop, is_reading=True))


def train_stack_longer(
    report: StackReport,
    stop: StopToken,
    *,
    n_steps: int | None = None,
    preview: Preview | None = None,
) -> Generator[Event, None, StackReport]:
    """Train the models of an earlier run longer, and denoise its stack again.

    Parameters
    ----------
    n_steps : of the training added; as many as its last stage had by default
    others : as for `denoise_stack`
    """
    from napari_ppn2v.pipeline.journeys import train_longer

    request = report.request

    def train(channel: int, device: torch.device) -> Generator[Event, None, TrainedRun]:
        return train_longer(
            report.runs[request.channels.index(channel)],
            [request.training_source(channel)],
            request.config,
            n_steps=n_steps,
            device=device,
            stop=stop,
            preview=preview if channel == request.channels[0] else None,
        )

    return (yield from _run(request, train, stop, is_reading=False))


def denoise_trained(
    report: StackReport, stop: StopToken
) -> Generator[Event, None, StackReport]:
    """Denoise with what a stopped run has learnt so far."""
    request = report.request
    if len(report.runs) < len(request.channels):
        done = request.channels[: len(report.runs)]
        request = replace(request, channels=done)
    with threads(request.threads):
        device = choose_device(request.device)
        yield DeviceChosen(describe_device(device))
        began = time.perf_counter()
        result = yield from apply_to_stack(
            report.denoisers, request, stop, device=device
        )
    seconds = {**report.seconds, "denoise": time.perf_counter() - began}
    return replace(report, result=result, is_stopped=result is None, seconds=seconds)


def _run(
    request: StackRequest,
    train: Callable[[int, torch.device], Generator[Event, None, TrainedRun]],
    stop: StopToken,
    *,
    is_reading: bool,
) -> Generator[Event, None, StackReport]:
    """Train channel after channel, then denoise them all."""
    request.check()
    with threads(request.threads):
        device = choose_device(request.device)
        yield DeviceChosen(describe_device(device))
        smallest = max(SMALLEST_SIDE, 2 * request.config.network.stride)
        for channel in request.channels:
            check_trainable(request.training_source(channel), smallest)
        if is_reading:
            yield from _read_through(request, stop)
        runs: list[TrainedRun] = []
        seconds: dict[str, float] = {}
        for number, channel in enumerate(request.channels):
            if stop.is_stopped:
                break
            if len(request.channels) > 1:
                name, total = f"channel {channel}", len(request.channels)
                yield PartStarted(name, number, total)
            run = yield from train(channel, device)
            runs.append(run)
            for stage, value in run.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
        is_stopped = stop.is_stopped or any(run.is_stopped for run in runs)
        report = StackReport(
            request,
            tuple(runs),
            None,
            is_stopped,
            describe_device(device),
            seconds,
            _provenance(request, runs, device),
        )
        if is_stopped:
            return report
        began = time.perf_counter()
        result = yield from apply_to_stack(
            report.denoisers, request, stop, device=device
        )
    seconds["denoise"] = time.perf_counter() - began
    return replace(report, result=result, is_stopped=result is None)


def apply_to_stack(
    denoisers: Sequence[Denoiser],
    request: StackRequest,
    stop: StopToken,
    *,
    device: torch.device,
) -> Generator[Event, None, StackResult | None]:
    """Denoise a stack with trained models, one for each channel of the request.

    Returns
    -------
    StackResult, or None if stopped.

    Raises
    ------
    BadData, BadSetting, OutOfMemory
    """
    with_std = request.config.inference.posterior_std
    sources = [request.observation.frames(c) for c in request.channels]
    n_channels = len(sources) if request.is_put_together else None
    layout = sources[0].layout.of_result(n_channels)
    target = _Target(layout, _result_dtype(request, sources[0]), with_std, request)
    total = sum(len(frames) for frames in sources)
    yield StageStarted("denoise", total)
    began = time.perf_counter()
    for number, (denoiser, frames) in enumerate(zip(denoisers, sources, strict=True)):
        if with_std:
            denoiser.require_posterior_std()
        job = denoise_frames(
            denoiser.to(device),
            frames,
            target.sink(denoiser, frames, number),
            tile_size=request.config.inference.tile_size,
            stop=stop,
        )
        done = yield from _counted(job, number * len(frames), total)
        if done < len(frames):
            return None
    yield StageFinished("denoise", time.perf_counter() - began)
    if any(target.clipped):
        yield Notice(_clipping(target), is_warning=True)
    return StackResult(
        target.arrays["image"],
        layout.axes,
        target.arrays.get("posterior_std"),
        target.arrays.get("residual"),
        target.clipped,
    )


def noise_source(request: StackRequest, channel: int) -> NoiseSource:
    """Return where the noise model of a channel comes from."""
    if request.noise_model is not None:
        return GivenNoiseModel(request.noise_model)
    if request.calibration:
        scenes = (stack.recording(channel) for stack in request.calibration)
        return Calibration(tuple(scenes))
    return Bootstrap()


def _read_through(
    request: StackRequest, stop: StopToken
) -> Generator[Event, None, None]:
    """Read every frame once: one that is broken shows now, not after the training."""
    sources = [request.observation.frames(c) for c in request.channels]
    total, done = sum(len(frames) for frames in sources), 0
    yield StageStarted("reading", total)
    began = time.perf_counter()
    for frames in sources:
        for index in range(len(frames)):
            if stop.is_stopped:
                return
            frames.frame(index)
            done += 1
            yield StepDone("reading", done, total)
    yield StageFinished("reading", time.perf_counter() - began)


def _counted(
    job: Generator[Event, None, int], before: int, total: int
) -> Generator[Event, None, int]:
    """Count the frames of several channels on."""
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, FrameDenoised):
            event = FrameDenoised(before + event.index, total)
        yield event


class _Target:
    """The arrays of a result, filled tile by tile in the user's axes."""

    def __init__(
        self,
        layout: AxisLayout,
        dtype: np.dtype,
        with_std: bool,
        request: StackRequest,
    ) -> None:
        self.layout, self.dtype = layout, dtype
        self.clipped = (0, 0)
        floats = np.dtype(np.float32)
        wanted = {"image": dtype}
        if with_std:
            wanted["posterior_std"] = floats
        if request.with_residual:
            wanted["residual"] = floats
        self.arrays = {name: _new_array(layout.shape, t) for name, t in wanted.items()}

    def sink(
        self, denoiser: Denoiser, frames: Frames, channel: int
    ) -> Callable[[int, slice, slice, RegionEstimate], None]:
        """Return what takes the tiles of one channel."""

        def take(
            index: int, rows: slice, columns: slice, estimate: RegionEstimate
        ) -> None:
            where = self.layout.index(index, rows, columns, channel=channel)
            block = denoiser.result(estimate)
            _check_finite(block, index)
            kept, below, above = as_dtype(block, self.dtype)
            self.clipped = (self.clipped[0] + below, self.clipped[1] + above)
            self._put("image", where, kept)
            if "posterior_std" in self.arrays and estimate.posterior_std is not None:
                self._put("posterior_std", where, estimate.posterior_std)
            if "residual" in self.arrays:
                seen = frames.region(index, rows, columns)
                self._put("residual", where, seen - block)

        return take

    def _put(self, name: str, where: Any, block: NDArray) -> None:
        self.arrays[name][where] = block.T if self.layout.is_transposed else block


def _new_array(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """Return an array; one that memory cannot hold well lies in a temporary file.

    The map outlives the open file, and the file vanishes with the map.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if n_bytes <= MOST_OF_MEMORY * psutil.virtual_memory().available:
        return np.empty(shape, dtype)
    with (
        _words_for_a_full_disk(n_bytes),
        tempfile.TemporaryFile(prefix="napari-ppn2v-") as file,
    ):
        file.truncate(n_bytes)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


@contextmanager
def _words_for_a_full_disk(n_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadData(
            f"The result needs {n_bytes / 1e9:.1f} GB, more than memory holds, and "
            f"cannot be kept on the disk either ({error.strerror}). Denoise fewer "
            "frames, or use the command line, which writes to a file you choose."
        ) from error


def _check_finite(block: NDArray, index: int) -> None:
    wrong = block.size - int(np.isfinite(block).sum())
    if wrong:
        raise BadData(
            f"The result of frame {index} holds {wrong} values that are not finite. "
            "Please report this with the settings used."
        )


def _result_dtype(request: StackRequest, frames: Frames) -> np.dtype:
    if request.dtype == "same":
        return frames.dtype.newbyteorder("=")
    return np.dtype(np.float32)


def _clipping(target: _Target) -> str:
    below, above = target.clipped
    return (
        f"{below} pixels below and {above} above the range of {target.dtype} were set "
        "to its limits. Choose float32 to keep them."
    )


def _provenance(
    request: StackRequest, runs: Sequence[TrainedRun], device: torch.device
) -> dict[str, Any]:
    """Say how a result was made, as plain values."""
    observation = request.observation
    return {
        "software": software(device),
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
