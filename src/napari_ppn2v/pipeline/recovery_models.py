"""Trained models that are trained longer, kept beside the state of that training."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.atomic import write_json_atomically
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.pipeline.journeys import TrainedRun
from napari_ppn2v.pipeline.run_folder import FORMAT, SCHEMA, read_record
from napari_ppn2v.pipeline.stack_job import StackReport
from napari_ppn2v.pipeline.training import CurvePoint

if TYPE_CHECKING:
    from pathlib import Path

    from napari_ppn2v.pipeline.run_folder import RunFolder
    from napari_ppn2v.pipeline.stack_request import StackRequest


def save_trained(files: RunFolder, report: StackReport) -> None:
    """Write the models of a run, and their curves, which number what follows.

    Raises
    ------
    CannotWrite  If the disk is full or read-only.
    """
    plain = []
    for channel, run in zip(report.request.channels, report.runs, strict=True):
        save_model(_model_file(files, channel), run.denoiser)
        curves = {
            stage: [asdict(point) for point in curve]
            for stage, curve in run.curves.items()
        }
        is_stopped, seconds = run.is_stopped, run.seconds
        plain.append({"curves": curves, "is_stopped": is_stopped, "seconds": seconds})
    head = {"format": FORMAT, "schema": SCHEMA}
    write_json_atomically(_record(files), {**head, "trained": plain})


def load_trained(files: RunFolder, request: StackRequest) -> StackReport:
    """Return the models that `save_trained` wrote, as the report of their run.

    What their noise model was fitted to is not kept; the noise model itself is.

    Raises
    ------
    BadFile  If they cannot be read.
    """
    try:
        plain = read_record(_record(files))["trained"]
        pairs = zip(request.channels, plain, strict=True)
        runs = tuple(_restored(files, channel, kept) for channel, kept in pairs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFile(
            f"The models that were trained longer cannot be read any more ({error}). "
            "Discard this run and begin a new one."
        ) from error
    return StackReport(request, runs, None, False, "")


def _restored(files: RunFolder, channel: int, kept: dict[str, Any]) -> TrainedRun:
    return TrainedRun(
        denoiser=load_model(_model_file(files, channel)),
        curves={
            stage: tuple(CurvePoint(**point) for point in curve)
            for stage, curve in kept["curves"].items()
        },
        noise_fit=None,
        pairs=None,
        is_stopped=kept["is_stopped"],
        seconds=kept["seconds"],
    )


def _model_file(files: RunFolder, channel: int) -> Path:
    return files.model_file(f"_c{channel}")


def _record(files: RunFolder) -> Path:
    return files.file("trained", ".json")
