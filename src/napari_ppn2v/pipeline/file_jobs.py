"""From image files to result files: the whole journey as one job.

The command line and the viewer run the same generator; see `denoise_files`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.devices import choose_devices, describe_devices, threads
from napari_ppn2v.core.frames import check_trainable
from napari_ppn2v.core.memory import named_memory_errors
from napari_ppn2v.errors import BadFile, BadSetting, CannotWrite, OutOfMemory
from napari_ppn2v.events import Notice, StageFinished, StageStarted
from napari_ppn2v.pipeline.budget import plan_steps
from napari_ppn2v.pipeline.camera_maps import (
    CAMERA_MAPS,
    corrected,
    corrected_images,
)
from napari_ppn2v.pipeline.channel_runs import ChannelReport, ChannelRun
from napari_ppn2v.pipeline.checking import glance_at_files
from napari_ppn2v.pipeline.cluster import check_cluster
from napari_ppn2v.pipeline.cluster_job import cluster_of, of_the_first_device
from napari_ppn2v.pipeline.file_request import (
    DenoiseRequest,
    check_request,
    maps_of,
    open_noise_source,
    opened_targets,
    settled_paths,
)
from napari_ppn2v.pipeline.inputs import (
    OpenedImage,
    dark_level,
    find_images,
    open_frames,
    open_noisy,
    read_through,
)
from napari_ppn2v.pipeline.journeys import SMALLEST_SIDE
from napari_ppn2v.pipeline.provenance import software
from napari_ppn2v.pipeline.result_files import (
    ResultTarget,
    WrittenResult,
    check_ome_zarr_version,
    denoise_to_file,
    result_bytes,
    written_before,
)
from napari_ppn2v.pipeline.run_folder import (
    FINISHED,
    RUNNING,
    STOPPED,
    RunFolder,
    prepare_outputs,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    import torch

    from napari_ppn2v.core.camera_maps import CameraMaps
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.stop import StopToken

SECONDS_BETWEEN_RECORDS = 5.0
_MENDABLE = (BadFile, CannotWrite, OutOfMemory)  # without other settings


@dataclass(frozen=True)
class FileReport:
    """What a run has left on the disk, and what pictures are made from.

    Attributes
    ----------
    files : names of everything
    images : the noisy inputs
    channels : one for each channel trained
    results : of the images denoised
    is_stopped : whether the user stopped before the end
    seconds : wall time of each stage, training stages included
    """

    request: DenoiseRequest
    files: RunFolder
    images: tuple[OpenedImage, ...]
    channels: tuple[ChannelReport, ...]
    results: tuple[WrittenResult, ...]
    is_stopped: bool
    seconds: dict[str, float]


@dataclass
class _Job:
    """What the parts of one run share."""

    request: DenoiseRequest
    images: tuple[OpenedImage, ...]
    files: RunFolder
    devices: tuple[torch.device, ...]
    stop: StopToken
    targets: tuple[OpenedImage, ...] = ()
    maps: CameraMaps | None = None
    record: dict[str, Any] = field(default_factory=dict)
    channels: list[ChannelReport] = field(default_factory=list)
    results: list[WrittenResult] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def save(self, status: str) -> None:
        """Write the record as it is now."""
        self.record["status"] = status
        self.record["seconds"] = self.seconds
        self.files.write_record(self.record)

    def report(self, *, is_stopped: bool) -> FileReport:
        """Return what there is, and record how the run ended."""
        if "request" in self.record:
            self.save(STOPPED if is_stopped else FINISHED)
        return FileReport(
            self.request,
            self.files,
            self.images,
            tuple(self.channels),
            tuple(self.results),
            is_stopped,
            dict(self.seconds),
        )


def denoise_files(
    request: DenoiseRequest, stop: StopToken
) -> Generator[Event, None, FileReport]:
    """Train on noisy image files and denoise them into result files.

    Whatever can be checked is checked before training begins. Frames are read and
    results written piece by piece, so memory does not grow with their number. A run
    that was stopped goes on where it was with `is_resumed`, and on the CPU ends with
    the bits of one never interrupted.

    Yields
    ------
    Events of all stages.

    Returns
    -------
    FileReport

    Raises
    ------
    PPN2VError  One of its kinds; results are then absent or as they were before.
    """
    check_request(request)
    with threads(request.threads), named_memory_errors("in this run"):
        job = _prepared(request, stop)
        yield Notice(f"Computing on: {describe_devices(job.devices)}.")
        for image in job.images:
            yield Notice(f"{image.path.name}: {image.describe()}.")
        for target in job.targets:
            yield Notice(f"{target.path.name} (target): {target.describe()}.")
        hashes = yield from read_through([*job.images, *job.targets], stop)
        if stop.is_stopped:
            return job.report(is_stopped=True)
        _begin_record(job, hashes)
        try:
            with named_memory_errors("in this run"):
                return (yield from _done(job))
        except _MENDABLE as error:
            error.is_resumable = True
            raise


def _done(job: _Job) -> Generator[Event, None, FileReport]:
    """Train and denoise, once all inputs are checked and the run is recorded."""
    request, stop = job.request, job.stop
    if not (request.target or request.is_resumed):
        yield from glance_at_files(job.images, stop)
    config = yield from _settled_config(job)
    if stop.is_stopped:
        return job.report(is_stopped=True)
    yield from _train_channels(job, config)
    if stop.is_stopped or any(channel.is_stopped for channel in job.channels):
        return job.report(is_stopped=True)
    yield from _denoise_images(job, config)
    is_stopped = len(job.results) < len(job.files.results)
    if not is_stopped:
        job.files.remove_checkpoints()
    return job.report(is_stopped=is_stopped)


def _prepared(request: DenoiseRequest, stop: StopToken) -> _Job:
    """Check all that can be checked without reading pixels."""
    devices = choose_devices(request.device)
    paths = find_images(request.noisy, as_stack=request.as_stack)
    images = open_noisy(paths, request.axes, request.channel, request.frames)
    maps = maps_of(request)
    images = corrected_images(images, maps)
    files = RunFolder.for_output(request.out, [image.source.name for image in images])
    smallest = max(SMALLEST_SIDE, 2 * request.config.network.stride)
    for image in images:
        for frames in image.frames:
            check_trainable(frames, smallest)
    targets = corrected_images(opened_targets(request, images), maps)
    job = _Job(request, images, files, devices, stop, targets, maps)
    inputs = [image.path for image in (*images, *job.targets)]
    inputs += request.calibration
    for channel in images[0].channels:  # what is wrong with it shall show now
        open_noise_source(request, channel)
    files.remove_leftovers()
    check_ome_zarr_version(request.ome_zarr_version, files.results)
    check_cluster(request.cluster)  # before hours of training
    _check_earlier_run(job)
    with_std = request.config.inference.posterior_std
    n_bytes = result_bytes(images, request.dtype, with_std=with_std)
    products = [files.record, files.model_file(), *files.results]
    prepare_outputs(products, inputs, n_bytes if files.results else 0)
    return job


def _check_earlier_run(job: _Job) -> None:
    """Neither repeat nor lose the work of an earlier run without being told to."""
    request, files = job.request, job.files
    earlier = files.read_record()
    if request.is_resumed:
        if earlier is None:
            raise BadSetting(f"There is nothing to resume in {files.folder}.")
        job.record, job.seconds = earlier, dict(earlier.get("seconds", {}))
        return
    if request.is_overwriting:
        files.remove_checkpoints()
        return
    if earlier is not None and earlier["status"] == FINISHED:
        raise BadSetting(
            f"{files.folder} holds the finished result of an earlier run. Replace it "
            "with --overwrite, or choose another output."
        )
    if earlier is not None and files.has_progress():
        raise BadSetting(
            f"{files.folder} holds a run that was interrupted. Go on with it with "
            "--resume, or begin again with --overwrite."
        )
    for path in (*files.results, files.model):
        if path.exists():
            raise BadSetting(
                f"{path} is there already. Replace it with --overwrite, or choose "
                "another output."
            )
    files.remove_checkpoints()  # of a run whose record is gone


def _begin_record(job: _Job, hashes: list[str]) -> None:
    inputs = (*job.images, *job.targets)
    data = [
        {
            "file": image.path.name,
            "sha256": digest,
            "axes": image.frames[0].layout.axes,
            "shape": image.frames[0].layout.shape,
            "type": str(image.frames[0].dtype),
            "channels": image.channels,
        }
        for image, digest in zip(inputs, hashes, strict=True)
    ]
    if job.request.is_resumed:
        known_data = [*job.record["data"], *job.record.get("targets", [])]
        before = [item["sha256"] for item in known_data]
        changed = [
            image.path.name
            for image, digest, known in zip(inputs, hashes, before, strict=True)
            if digest != known
        ]
        if changed:
            raise BadFile(
                f"The pixels of {', '.join(changed)} have changed since this run was "
                "begun, so it cannot be resumed. Begin again with --overwrite."
            )
    else:
        request = settled_paths(job.request, [image.path for image in job.images])
        count = len(job.images)
        job.record = {"request": asdict(request), "data": data[:count], "channels": {}}
        if job.targets:
            job.record["targets"] = data[count:]
    job.record["software"] = software(*job.devices)
    job.save(RUNNING)


def _settled_config(job: _Job) -> Generator[Event, None, RunConfig]:
    """Settle what needs a look at data or machine: steps and dark level. Recorded."""
    config, minutes = job.request.config, job.request.minutes
    if job.request.dark is not None:
        dark = open_frames(job.request.dark, job.request.calibration_axes, 0)
        offset, noise = dark_level(corrected(dark, job.maps))
        yield Notice(
            f"Dark recording: offset {offset:.5g}, read noise {noise:.4g} grey values."
        )
        model = replace(config.noise_model, offset=offset, read_noise=noise or None)
        config = replace(config, noise_model=model)
    if minutes is not None:
        steps = job.record.get("steps")
        if steps is None:
            sources = [image.frames[0] for image in job.images]
            share = minutes / len(job.images[0].channels)
            steps = yield from plan_steps(
                sources,
                config,
                share,
                device=job.devices[0],
                stop=job.stop,
                other_devices=job.devices[1:],
            )
            if job.stop.is_stopped:
                return config
        config = config.with_steps(steps)
        yield Notice(
            f"{minutes:g} minutes are {steps} training steps here"
            f"{' for each channel' if len(job.images[0].channels) > 1 else ''}. Repeat "
            f"exactly this with --steps {steps}."
        )
    job.record["steps"] = config.n_steps
    job.record["settings"] = asdict(config)
    job.save(RUNNING)
    return config


def _train_channels(job: _Job, config: RunConfig) -> Generator[Event, None, None]:
    numbers = range(len(job.images[0].channels))
    for number in numbers:
        channel = job.images[0].channels[number]
        tag = f"_c{channel}" if len(numbers) > 1 else ""
        run = ChannelRun(
            files=job.files,
            tag=tag,
            config=config,
            provenance=_provenance(job, channel),
            earlier=job.record["channels"].get(str(channel)),
        )
        if tag:
            yield Notice(f"Channel {channel}:")
        report = yield from run.train(
            [image.frames[number] for image in job.images],
            open_noise_source(job.request, channel),
            targets=[target.frames[number] for target in job.targets] or None,
            device=job.devices[0],
            stop=job.stop,
            other_devices=job.devices[1:],
        )
        job.channels.append(report)
        job.record["channels"][str(channel)] = report.plain
        for stage, seconds in report.seconds.items():
            job.seconds[stage] = job.seconds.get(stage, 0.0) + seconds
        job.save(RUNNING)
        if report.is_stopped:
            return


def _provenance(job: _Job, channel: int | None = None) -> dict[str, Any]:
    """Say how a result was made; file names only, as results are given away."""
    content = {
        key: job.record[key] for key in ("software", "data", "settings", "steps")
    }
    content["seed"] = job.request.config.seed
    if job.maps is not None:
        content[CAMERA_MAPS] = job.maps.summary()
    if job.targets:
        content["targets"] = job.record["targets"]
    return content if channel is None else {**content, "channel": channel}


def _denoise_images(job: _Job, config: RunConfig) -> Generator[Event, None, None]:
    """Denoise image after image; those that the record says are written are kept."""
    denoisers = [channel.denoiser.to(job.devices[0]) for channel in job.channels]
    estimates = {
        str(channel): {"estimate": d.estimate, "blind": d.is_blind, "reason": d.reason}
        for channel, d in zip(job.images[0].channels, denoisers, strict=True)
    }
    total = sum(len(f) for image in job.images for f in image.frames)
    before, began = job.seconds.get("denoise", 0.0), time.perf_counter()
    if not job.files.results:
        return
    yield StageStarted("denoise", total)
    earlier = {item["file"]: item for item in job.record.get("results", [])}
    recorded = time.monotonic()
    provenance = {**_provenance(job), "estimates": estimates}
    with cluster_of(job.request) as spread:
        yield from of_the_first_device(len(job.devices), spread)
        if spread is not None:
            provenance["cluster"] = spread.describe()
        for image, result in zip(job.images, job.files.results, strict=True):
            with_std = config.inference.posterior_std
            std = job.files.posterior_std(result) if with_std else None
            target = ResultTarget(result, std)
            written = written_before(earlier.get(result.name), target)
            if written is not None:
                yield Notice(f"{result.name} was written already.")
            else:
                written = yield from denoise_to_file(
                    denoisers,
                    image,
                    target,
                    dtype=job.request.dtype,
                    tile_size=config.inference.tile_size,
                    provenance=provenance,
                    stop=job.stop,
                    spread=spread,
                    ome_zarr_version=job.request.ome_zarr_version,
                )
            job.seconds["denoise"] = before + time.perf_counter() - began
            if written is None:
                return
            job.results.append(written)
            job.record["results"] = [w.as_plain() for w in job.results]
            # not after each of thousands of small images: the record holds them all
            if time.monotonic() - recorded >= SECONDS_BETWEEN_RECORDS:
                job.save(RUNNING)
                recorded = time.monotonic()
    yield StageFinished("denoise", time.perf_counter() - began)
