"""Apply a trained model to arrays in memory, one after the other, or to files.

What the viewer runs; results are handed over as soon as each is finished.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import uniform_filter

from napari_ppn2v.core.devices import choose_device, describe_device, threads
from napari_ppn2v.errors import BadAxes, BadData, BadFile, BadSetting, PPN2VError
from napari_ppn2v.events import (
    DeviceChosen,
    FrameDenoised,
    Notice,
    PartStarted,
    StageFinished,
    StageStarted,
    StepDone,
)
from napari_ppn2v.files.model_file import MODEL_SUFFIX, save_model
from napari_ppn2v.pipeline.apply_job import ApplyReport, ApplyRequest, apply_files
from napari_ppn2v.pipeline.apply_stacks_request import StackDenoised
from napari_ppn2v.pipeline.config import RunConfig
from napari_ppn2v.pipeline.noise_sources import (
    RANGE_MARGIN,
    ROUGH_SIGNAL_SIDE,
    WORTH_A_WARNING,
)
from napari_ppn2v.pipeline.provenance import software
from napari_ppn2v.pipeline.stack_job import apply_to_stack
from napari_ppn2v.pipeline.stack_request import StackRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.apply_stacks_request import (
        ApplyFilesRequest,
        ApplyStacksRequest,
        ChosenStack,
        TrainedModel,
    )
    from napari_ppn2v.stop import StopToken

MOST_FRAMES_COMPARED = 16  # of each stack, spread evenly; they are read once more

_OF_THIS_STACK = (BadAxes, BadData, BadFile, BadSetting)
_DEVICE_WORDS = "Computing on: "


@dataclass(frozen=True)
class AppliedReport:
    """What came of a run on several stacks.

    Attributes
    ----------
    results : of the stacks that were finished
    failures : name and message of each stack that could not be denoised
    """

    results: tuple[StackDenoised, ...]
    failures: tuple[tuple[str, str], ...]
    is_stopped: bool
    device: str
    seconds: float


def apply_to_stacks(
    request: ApplyStacksRequest, stop: StopToken
) -> Generator[Event, None, AppliedReport]:
    """Denoise stacks with a trained model, one after the other.

    Yields
    ------
    StackDenoised as soon as each stack is finished; a warning where its signals lie
    outside of those that the model was trained on.

    Returns
    -------
    AppliedReport
        A stack that cannot be denoised is told of, and the others are done.

    Raises
    ------
    PPN2VError  One of its kinds: memory runs out, or no stack at all can be denoised.
    """
    request.check()
    began = time.perf_counter()
    results: list[StackDenoised] = []
    failures: list[tuple[str, PPN2VError]] = []
    with threads(request.threads):
        device = choose_device(request.device)
        yield DeviceChosen(describe_device(device))
        for index, chosen in enumerate(request.stacks):
            if stop.is_stopped:
                break
            if len(request.stacks) > 1:
                yield PartStarted(chosen.stack.name, index, len(request.stacks))
            try:
                done = yield from _denoise_one(request, index, device, stop)
            except _OF_THIS_STACK as error:
                failures.append((chosen.stack.name, error))
                if len(request.stacks) > 1:
                    yield Notice(_failed(chosen, error), is_warning=True)
                continue
            if done is None:
                break
            results.append(done)
            yield done
        if failures and not results and not stop.is_stopped:
            raise failures[0][1]
        return AppliedReport(
            tuple(results),
            tuple((name, str(error)) for name, error in failures),
            len(results) + len(failures) < len(request.stacks),
            describe_device(device),
            time.perf_counter() - began,
        )


def apply_model_to_files(
    request: ApplyFilesRequest, stop: StopToken
) -> Generator[Event, None, ApplyReport]:
    """Denoise image files with a trained model that need not be on the disk.

    See `apply_job.apply_files`; progress is counted over all files.

    Raises
    ------
    PPN2VError  One of its kinds; the files written before are complete.
    """
    request.check()
    with tempfile.TemporaryDirectory(prefix="napari-ppn2v-") as folder:
        model = _saved(request.model, Path(folder))
        job = apply_files(
            ApplyRequest(
                model=model,
                images=request.images,
                out=request.out,
                inference=request.inference,
                axes=request.axes,
                channel=request.channel,
                device=request.device,
                threads=request.threads,
                dtype=request.dtype,
                is_overwriting=request.is_replacing,
            ),
            stop,
        )
        return (yield from _counted_over_files(job))


def _denoise_one(
    request: ApplyStacksRequest, index: int, device: torch.device, stop: StopToken
) -> Generator[Event, None, StackDenoised | None]:
    """Compare signal ranges, then denoise; None if stopped."""
    chosen, began = request.stacks[index], time.perf_counter()
    denoisers = request.denoisers(chosen)
    yield from _warn_of_range(request.model, chosen, denoisers, stop)
    if stop.is_stopped:
        return None
    inference = replace(request.inference, estimate="auto")  # the denoisers know
    wanted = StackRequest(
        observation=chosen.stack,
        config=RunConfig(inference=inference),
        channels=chosen.channels,
        is_put_together=chosen.is_put_together,
        dtype=request.dtype,
        with_residual=request.with_residual,
    )
    result = yield from apply_to_stack(denoisers, wanted, stop, device=device)
    if result is None:
        return None
    provenance = _provenance(request.model, chosen, denoisers, device)
    provenance["seconds"] = {"denoise": time.perf_counter() - began}
    return StackDenoised(index, result, denoisers, provenance)


def _warn_of_range(
    model: TrainedModel,
    chosen: ChosenStack,
    denoisers: Sequence[Denoiser],
    stop: StopToken,
) -> Generator[Event, None, None]:
    """Say how much of a stack lies outside of the signals that a model knows."""
    known = [
        (channel, denoiser.noise_model)
        for channel, denoiser in zip(chosen.channels, denoisers, strict=True)
        if denoiser.noise_model is not None
    ]
    if not known:
        return
    began = time.perf_counter()
    yield StageStarted("coverage", 0)
    for number, (channel, noise_model) in enumerate(known):
        frames = _some_of(chosen.stack.frames(channel))
        lows, highs, outside = [], [], 0
        first, last = noise_model.signal_range
        lowest, highest = _bounds(noise_model)
        for index in range(len(frames)):
            if stop.is_stopped:
                return
            # a local mean is signal enough: single observations spread far beyond
            # the signals that they come from
            rough = uniform_filter(frames.frame(index), ROUGH_SIGNAL_SIDE)
            lows.append(float(rough.min()))
            highs.append(float(rough.max()))
            wrong = (rough < lowest) | (rough > highest)
            outside += int(wrong.sum())
            done = number * len(frames) + index + 1
            yield StepDone("coverage", done, len(known) * len(frames))
        share = outside / (len(frames) * frames.shape[0] * frames.shape[1])
        if share < WORTH_A_WARNING:
            continue
        tag = f", channel {channel}," if len(chosen.channels) > 1 else ""
        yield Notice(
            f"“{chosen.stack.name}”{tag} reaches from {min(lows):.4g} to "
            f"{max(highs):.4g} grey values, but the model “{model.name}” knows "
            f"signals from {first:.4g} to {last:.4g}: {share:.1%} of the pixels lie "
            "outside. There the result is a guess. Use a model of the same camera "
            "settings and brightness, or train one on this image.",
            is_warning=True,
        )
    yield StageFinished("coverage", time.perf_counter() - began)


def _bounds(noise_model: NoiseModel) -> tuple[float, float]:
    """Return between which values local means tell of no signal beyond the range."""
    import torch

    low, high = noise_model.signal_range
    margin = RANGE_MARGIN * (high - low)
    ends = torch.tensor([low, high], dtype=torch.float32)
    _, variances = noise_model.to("cpu").moments(ends)
    # the mean of n² pixels keeps 1 / n of the noise of one
    noise = (3 * variances.clamp(min=0).sqrt() / ROUGH_SIGNAL_SIDE).tolist()
    return low - margin - noise[0], high + margin + noise[1]


def _some_of(frames: Frames) -> Frames:
    count = min(len(frames), MOST_FRAMES_COMPARED)
    spread = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return frames.select([int(index) for index in spread])


def _failed(chosen: ChosenStack, error: PPN2VError) -> str:
    text = str(error)
    name = chosen.stack.name
    return f"“{name}” was not denoised. {text}"


def _provenance(
    model: TrainedModel,
    chosen: ChosenStack,
    denoisers: Sequence[Denoiser],
    device: torch.device,
) -> dict[str, Any]:
    """Say how a result was made, as plain values."""
    stack = chosen.stack
    return {
        "software": software(device),
        "data": {
            "name": stack.name,
            "axes": stack.axes,
            "shape": [int(size) for size in stack.data.shape],
            "type": str(stack.data.dtype),
            "channels": list(chosen.channels),
        },
        "model": model.name,
        "training": [denoiser.provenance for denoiser in denoisers],
        "estimates": [
            {"estimate": d.estimate, "blind": d.is_blind, "reason": d.reason}
            for d in denoisers
        ],
    }


def _saved(model: TrainedModel, folder: Path) -> Path:
    """Save a model where `apply_files` finds that of each channel."""
    # the name of what is given to `apply_files` is kept in the results
    safe = "".join(c if c.isalnum() or c in " ._-" else "_" for c in model.name)
    place = folder / (safe.strip(" .")[:100] or "model")
    place.mkdir()
    if len(model.denoisers) == 1:
        save_model(place / f"model{MODEL_SUFFIX}", model.denoisers[0])
        return place
    for channel, denoiser in zip(model.channels, model.denoisers, strict=False):
        save_model(place / f"model_c{channel}{MODEL_SUFFIX}", denoiser)
    return place


def _counted_over_files(
    job: Generator[Event, None, ApplyReport],
) -> Generator[Event, None, ApplyReport]:
    """Count frames on from file to file, and name the device as other jobs do."""
    done = total = 0
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, PartStarted):  # its stages begin anew
            done = 0
        if isinstance(event, StageStarted) and event.stage == "denoise":
            total = event.total
        if isinstance(event, FrameDenoised):
            event = FrameDenoised(done, max(total, event.total))
            done += 1
        if isinstance(event, Notice) and event.message.startswith(_DEVICE_WORDS):
            event = DeviceChosen(event.message.removeprefix(_DEVICE_WORDS).rstrip("."))
        yield event
