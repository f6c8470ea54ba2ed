"""Apply a trained model to arrays in memory, one after the other, or to files.

What the viewer runs; results are handed over as soon as each is finished.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.devices import choose_device, describe_device, threads
from napari_ppn2v.errors import BadAxes, BadData, BadFile, BadSetting, PPN2VError
from napari_ppn2v.events import (
    DeviceChosen,
    FrameDenoised,
    Notice,
    PartStarted,
    StageFinished,
    StageStarted,
)
from napari_ppn2v.files.model_file import MODEL_SUFFIX, save_model
from napari_ppn2v.pipeline.apply_job import (
    ApplyReport,
    ApplyRequest,
    apply_files,
    warn_of_foreign_signals,
)
from napari_ppn2v.pipeline.apply_stacks_request import StackDenoised
from napari_ppn2v.pipeline.config import RunConfig
from napari_ppn2v.pipeline.provenance import software
from napari_ppn2v.pipeline.stack_request import StackRequest
from napari_ppn2v.pipeline.stack_results import apply_to_stack

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.apply_stacks_request import (
        ApplyFilesRequest,
        ApplyStacksRequest,
        ChosenStack,
        TrainedModel,
    )
    from napari_ppn2v.stop import StopToken


MOST_WARNINGS = 3  # of files whose signals a model does not know, one by one
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
    yield from _compare_ranges(request.model, chosen, denoisers, stop)
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


def _compare_ranges(
    model: TrainedModel,
    chosen: ChosenStack,
    denoisers: Sequence[Denoiser],
    stop: StopToken,
) -> Generator[Event, None, None]:
    """Warn of a stack that the model does not fit, before it is denoised."""
    began = time.perf_counter()
    yield StageStarted("coverage", 0)
    for channel, denoiser in zip(chosen.channels, denoisers, strict=True):
        tag = f", channel {channel}," if len(denoisers) > 1 else ""
        yield from warn_of_foreign_signals(
            f"“{model.name}”",
            denoiser,
            f"“{chosen.stack.name}”{tag}",
            chosen.stack.frames(channel),
            stop,
        )
    yield StageFinished("coverage", time.perf_counter() - began)


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
    done = total = n_warnings = 0
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, StageStarted) and event.stage == "denoise":
            total = event.total
        if isinstance(event, FrameDenoised):
            event = FrameDenoised(done, max(total, event.total))
            done += 1
        if isinstance(event, Notice) and event.message.startswith(_DEVICE_WORDS):
            event = DeviceChosen(event.message.removeprefix(_DEVICE_WORDS).rstrip("."))
        if isinstance(event, Notice) and event.is_warning and total == 0:
            n_warnings += 1
            if n_warnings > MOST_WARNINGS:
                continue  # of hundreds of files, all alike
        yield event
        is_compared = isinstance(event, StageFinished) and event.stage == "coverage"
        if is_compared and n_warnings > MOST_WARNINGS:
            more = n_warnings - MOST_WARNINGS
            yield Notice(
                f"The signals of {more} more file{'s' * (more > 1)} lie outside, too.",
                is_warning=True,
            )
