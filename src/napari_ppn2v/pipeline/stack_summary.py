"""Can the result of a run on arrays be believed: its checks, and its report's content.

The counterpart of `run_summary`, which does the same for a run on the disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.devices import threads
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import PartStarted, StageStarted, StepDone
from napari_ppn2v.pipeline.run_summary import (
    ChannelSummary,
    RunSummary,
    checked_channel,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.journeys import TrainedRun
    from napari_ppn2v.pipeline.result_check import ResultCheck
    from napari_ppn2v.pipeline.run_summary import Curves
    from napari_ppn2v.pipeline.stack_job import StackReport
    from napari_ppn2v.stop import StopToken


@dataclass(frozen=True)
class StackCheck:
    """What can be said of the result of a run.

    Attributes
    ----------
    channels : one for each channel that was looked at
    is_stopped : whether the user stopped before the end
    """

    channels: tuple[ChannelSummary, ...]
    is_stopped: bool = False

    @property
    def checks(self) -> tuple[tuple[int, ResultCheck], ...]:
        """Channel and check of those that could be checked."""
        return tuple((c.number, c.check) for c in self.channels if c.check is not None)


def check_stack_result(
    report: StackReport, stop: StopToken
) -> Generator[Event, None, StackCheck]:
    """Check the data again and the result, channel by channel.

    Raises
    ------
    PPN2VError  One of its kinds.
    """
    request, done = report.request, list[ChannelSummary]()
    record = {"request": _request_of(report)}
    with threads(request.threads):
        for number, channel in enumerate(request.channels[: len(report.runs)]):
            if len(request.channels) > 1:
                yield PartStarted(f"channel {channel}", number, len(request.channels))
            summary = _summary_of(report.runs[number], channel, report)
            summary = yield from checked_channel(
                summary,
                [request.observation.frames(channel)],
                record,
                stop,
                request.device,
            )
            if stop.is_stopped and summary.check is None:
                break
            done.append(summary)
            if stop.is_stopped:
                break
    return StackCheck(tuple(done), stop.is_stopped)


def summarise_stack(
    report: StackReport, checked: StackCheck, folder: Path, stop: StopToken
) -> Generator[Event, None, RunSummary | None]:
    """Gather what the report of a run says; reads all frames once for their hash.

    Parameters
    ----------
    checked : of the same run
    folder : that the report goes into

    Returns
    -------
    RunSummary, or None if stopped.
    """
    digest = yield from _hash_of(report, stop)
    if not digest:
        return None
    data = report.provenance["data"]
    record: dict[str, Any] = {
        "software": report.provenance["software"],
        "data": [
            {
                "file": data["name"],
                "sha256": digest,
                "axes": data["axes"],
                "shape": data["shape"],
                "type": data["type"],
                "channels": data["channels"],
            }
        ],
        "request": _request_of(report),
        "settings": report.provenance["settings"],
        "steps": _steps_of(report.runs[0], report),
        "seconds": dict(report.seconds),
    }
    return RunSummary(folder, record, checked.channels)


def check_is_possible(report: StackReport) -> None:
    """Refuse what cannot be checked; raises BadSetting."""
    if report.result is None:
        raise BadSetting("There is no result to check. Denoise first.")
    if any(each.noise_model is None for each in report.denoisers):
        raise BadSetting(
            "Without a noise model (method Noise2Void) it cannot be said how strong "
            "the noise is that should be gone. Train with another method to have the "
            "result checked."
        )


def _request_of(report: StackReport) -> dict[str, Any]:
    """Say where the noise model came from, as the record of a run on the disk does."""
    request = report.request
    return {
        "noise_model": "given" if request.noise_model is not None else None,
        "calibration": [stack.name for stack in request.calibration],
    }


def _summary_of(run: TrainedRun, channel: int, report: StackReport) -> ChannelSummary:
    training = report.provenance["training"][report.request.channels.index(channel)]
    curves: Curves = {
        stage: [(p.step, p.train_loss, p.validation_loss) for p in points]
        for stage, points in run.curves.items()
        if points
    }
    return ChannelSummary(channel, run.denoiser, training, curves, (), None, "")


def _steps_of(run: TrainedRun, report: StackReport) -> int:
    """Count the training steps that were made, longer trainings included."""
    planned = {name: c.n_steps for name, c in report.request.config.stages.items()}
    made = {name: points[-1].step for name, points in run.curves.items() if points}
    # the last validation of a planned training may come before its last step
    return sum(max(step, planned.get(name, 0)) for name, step in made.items())


def _hash_of(report: StackReport, stop: StopToken) -> Generator[Event, None, str]:
    """SHA-256 of the frames, as a run on files has it; empty if stopped."""
    request, digest = report.request, hashlib.sha256()
    sources = [request.observation.frames(channel) for channel in request.channels]
    done, total = 0, sum(len(frames) for frames in sources)
    yield StageStarted("reading", total)
    for frames in sources:
        digest.update(f"{frames.shape} {frames.dtype}".encode())
        for index in range(len(frames)):
            digest.update(frames.frame(index).tobytes())
            done += 1
            yield StepDone("reading", done, total)
            if stop.is_stopped:
                return ""
    return digest.hexdigest()
