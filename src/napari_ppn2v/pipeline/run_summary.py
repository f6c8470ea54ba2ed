"""All that is known of a finished run, gathered from its folder for a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.devices import choose_device, threads
from napari_ppn2v.errors import BadFile, BadSetting, PPN2VError
from napari_ppn2v.events import Notice
from napari_ppn2v.files.model_file import MODEL_SUFFIX, load_model
from napari_ppn2v.pipeline.camera_maps import corrected_images
from napari_ppn2v.pipeline.data_check import check_stack
from napari_ppn2v.pipeline.file_request import DenoiseRequest, maps_of
from napari_ppn2v.pipeline.inputs import find_images, open_noisy
from napari_ppn2v.pipeline.provenance import from_plain
from napari_ppn2v.pipeline.result_check import check_result
from napari_ppn2v.pipeline.run_folder import (
    FINISHED,
    RECORD,
    RESULT_SUFFIXES,
    RUN_SUFFIX,
    read_record,
    without_suffix,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_ppn2v.core.checks.findings import Finding
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.inputs import OpenedImage
    from napari_ppn2v.pipeline.result_check import ResultCheck
    from napari_ppn2v.stop import StopToken

Curves = dict[str, list[tuple[int, float, float]]]


@dataclass(frozen=True)
class ChannelSummary:
    """One channel of a run.

    Attributes
    ----------
    number : of the channel in the images
    denoiser : what was trained
    training : what the record keeps of it
    curves : stage -> (step, training loss, validation loss)
    data : findings on the noisy images, empty where they are not there any more
    check : of the result, None where it cannot be made
    why_not : the reason for that
    """

    number: int
    denoiser: Denoiser
    training: dict[str, Any]
    curves: Curves
    data: tuple[Finding, ...]
    check: ResultCheck | None
    why_not: str


@dataclass(frozen=True)
class RunSummary:
    """A finished run.

    Attributes
    ----------
    folder : that holds it
    record : as it was written
    channels : one for each channel that was trained
    """

    folder: Path
    record: dict[str, Any]
    channels: tuple[ChannelSummary, ...]


def run_folder_of(path: Path) -> Path:
    """Find the folder of a run by itself, by its result, or by its model.

    Raises
    ------
    BadFile  If there is no record of a run.
    """
    beside = [path.with_name(path.stem + RUN_SUFFIX)]
    if path.suffix.lower() in RESULT_SUFFIXES:
        beside.append(path.with_name(without_suffix(path.name) + RUN_SUFFIX))
    candidates = [path, *beside, path.parent]
    for folder in candidates:
        if (folder / RECORD).is_file():
            return folder
    raise BadFile(
        f"There is no record of a run ({RECORD}) in {path}. Name the folder that "
        "'denoise' or 'train' wrote, or the result itself."
    )


def summarise_run(
    path: Path, stop: StopToken, *, device: str = "auto", n_threads: int | None = None
) -> Generator[Event, None, RunSummary | None]:
    """Read a run's record, check its data and its result.

    Parameters
    ----------
    path : folder of the run, or its result or model
    device, n_threads : where to compute

    Returns
    -------
    RunSummary, or None if stopped.

    Raises
    ------
    BadFile  If there is no run, or its model cannot be read.
    BadSetting  If the run did not finish.
    """
    folder = run_folder_of(path)
    record = read_record(folder / RECORD)
    if record.get("status") != FINISHED:
        raise BadSetting(
            f"The run in {folder} is not finished ({record.get('status')}), so there "
            "is no result to report on. Go on with it with --resume first."
        )
    images, why_not = _images_of(record)
    if why_not:
        yield Notice(why_not, is_warning=True)
    channels = []
    with threads(n_threads):
        for place, (name, training) in enumerate(record["channels"].items()):
            denoiser = load_model(_model_of(folder, record, name))
            summary = ChannelSummary(
                int(name), denoiser, training, _curves(training), (), None, why_not
            )
            if images:
                sources = [image.frames[place] for image in images]
                summary = yield from checked_channel(
                    summary, sources, record, stop, device
                )
            if stop.is_stopped:
                return None
            channels.append(summary)
    return RunSummary(folder, record, tuple(channels))


def checked_channel(
    summary: ChannelSummary,
    sources: Sequence[Frames],
    record: dict[str, Any],
    stop: StopToken,
    device: str,
) -> Generator[Event, None, ChannelSummary]:
    """Check data and result of one channel.

    Parameters
    ----------
    record
        Of the run; what counts is whether its "request" has a "calibration" or a
        "noise_model".

    Returns
    -------
    ChannelSummary
        With findings and check; where the result cannot be checked, with the reason.
    """
    data = yield from check_stack(sources, stop=stop)
    summary = replace(summary, data=data.findings)
    request = record["request"]
    denoiser = summary.denoiser.to(choose_device(device))
    try:
        check = yield from check_result(
            denoiser,
            sources,
            stop=stop,
            noise_correlation=_noise_correlation(data.findings),
            is_bootstrapped=not (request["calibration"] or request["noise_model"]),
        )
    except BadSetting as error:
        return replace(summary, why_not=str(error))
    return replace(summary, check=check)


def _noise_correlation(findings: Sequence[Finding]) -> float:
    """Correlation between neighbours, 0 where the data check found it harmless."""
    for finding in findings:
        if finding.name == "noise correlation" and finding.is_important:
            return max(abs(finding.figures[key]) for key in ("along x", "along y"))
    return 0.0


def _images_of(record: dict[str, Any]) -> tuple[list[OpenedImage], str]:
    """Open the noisy images again, or say why that cannot be done."""
    request = from_plain(DenoiseRequest, record["request"])
    try:
        found = find_images(request.noisy, as_stack=request.as_stack)
        opened = open_noisy(found, request.axes, request.channel, request.frames)
        opened = corrected_images(opened, maps_of(request))
    except PPN2VError as error:
        return [], f"The noisy images cannot be opened, so nothing is checked: {error}"
    shapes = [list(image.frames[0].layout.shape) for image in opened]
    known = [list(item["shape"]) for item in record["data"]]
    if shapes != known:
        return [], (
            "The noisy images are no longer those of the run (their sizes differ), so "
            "nothing is checked."
        )
    return list(opened), ""


def _model_of(folder: Path, record: dict[str, Any], channel: str) -> Path:
    tag = f"_c{channel}" if len(record["channels"]) > 1 else ""
    inside = folder / f"model{tag}{MODEL_SUFFIX}"
    stem = folder.name.removesuffix(RUN_SUFFIX)
    beside = folder.with_name(f"{stem}{tag}{MODEL_SUFFIX}")
    return inside if inside.exists() or not beside.exists() else beside


def _curves(training: dict[str, Any]) -> Curves:
    return {
        stage: [(p["step"], p["train_loss"], p["validation_loss"]) for p in points]
        for stage, points in training["curves"].items()
        if points
    }
