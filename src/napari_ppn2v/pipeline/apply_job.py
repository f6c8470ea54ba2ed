"""Apply a trained model to image files, as one job."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.denoiser import Denoiser  # noqa: TC001 - documented field
from napari_ppn2v.core.devices import choose_devices, describe_device, threads
from napari_ppn2v.core.memory import named_memory_errors
from napari_ppn2v.errors import BadFile, BadSetting
from napari_ppn2v.events import Notice, StageFinished, StageStarted
from napari_ppn2v.files.camera_maps import load_camera_maps
from napari_ppn2v.files.model_file import MODEL_SUFFIX, load_model
from napari_ppn2v.files.ome_zarr import VERSIONS
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.camera_maps import (
    CAMERA_MAPS,
    corrected_images,
    required_camera,
)
from napari_ppn2v.pipeline.cluster import ClusterChoice  # noqa: TC001 - as above
from napari_ppn2v.pipeline.cluster_job import cluster_of, of_the_first_device
from napari_ppn2v.pipeline.coverage import KnownSignals, compare_signals
from napari_ppn2v.pipeline.inputs import (
    OpenedImage,
    check_threads,
    find_images,
    open_noisy,
)
from napari_ppn2v.pipeline.provenance import software
from napari_ppn2v.pipeline.result_files import (
    ResultTarget,
    WrittenResult,
    check_ome_zarr_version,
    denoise_to_file,
    result_bytes,
)
from napari_ppn2v.pipeline.run_folder import RunFolder, prepare_outputs

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_ppn2v.core.pairs import FrameSequence
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import InferenceConfig
    from napari_ppn2v.stop import StopToken


@dataclass(frozen=True, kw_only=True)
class ApplyRequest:
    """What a model is applied to, and how.

    Attributes
    ----------
    model : model file, or the folder of a run, which may hold one for each channel
    inference : "auto" for estimate and blind means what was chosen in training
    cluster : Dask cluster to denoise on, with the same result; None for here
    others : see `DenoiseRequest`
    """

    model: Path
    images: tuple[Path, ...]
    out: Path
    inference: InferenceConfig
    camera_maps: tuple[Path, ...] = ()
    axes: str | None = None
    channel: int | str | None = None
    frames: str = ""
    device: str = "auto"
    threads: int | None = None
    dtype: str = "float32"
    ome_zarr_version: str = VERSIONS[0]
    as_stack: bool = False
    cluster: ClusterChoice | None = None
    is_overwriting: bool = False


@dataclass(frozen=True)
class ApplyReport:
    """What was written; images not begun when the user stopped are left out."""

    results: tuple[WrittenResult, ...]
    denoisers: tuple[Denoiser, ...]
    is_stopped: bool
    seconds: float


def apply_files(
    request: ApplyRequest, stop: StopToken
) -> Generator[Event, None, ApplyReport]:
    """Denoise image files with a trained model, tile by tile.

    Returns
    -------
    ApplyReport

    Raises
    ------
    PPN2VError  One of its kinds; results are then absent or as they were before.
    """
    check_threads(request.threads)
    with (
        threads(request.threads),
        named_memory_errors("in this run"),
        cluster_of(request) as spread,
    ):
        device, *others = choose_devices(request.device)
        paths = find_images(request.images, as_stack=request.as_stack)
        images = open_noisy(paths, request.axes, request.channel, request.frames)
        denoisers = tuple(
            _denoiser(request, channel).to(device) for channel in images[0].channels
        )
        maps = load_camera_maps(request.camera_maps) if request.camera_maps else None
        cameras = [required_camera(d.provenance, maps) for d in denoisers]
        images = corrected_images(images, maps, cameras[0])
        files = _outputs(request, images)
        where = spread.describe() if spread else describe_device(device)
        yield Notice(f"Computing on: {where}.")
        yield from of_the_first_device(1 + len(others), spread)
        for image in images:
            yield Notice(f"{image.path.name}: {image.describe()}.")
        yield Notice(f"Estimate used: {denoisers[0].reason}.")
        yield from _compare_ranges(request.model.name, denoisers, images, stop)
        began = time.perf_counter()
        total = sum(len(f) for image in images for f in image.frames)
        yield StageStarted("denoise", total)
        results: list[WrittenResult] = []
        provenance: dict[str, Any] = {
            "software": software(device),
            "model": request.model.name,
            "training": [denoiser.provenance for denoiser in denoisers],
            "estimates": [
                {"estimate": d.estimate, "blind": d.is_blind, "reason": d.reason}
                for d in denoisers
            ],
        }
        if spread is not None:
            provenance["cluster"] = spread.describe()
        if maps is not None:
            provenance[CAMERA_MAPS] = maps.summary(cameras[0])
        for image, result in zip(images, files.results, strict=True):
            with_std = request.inference.posterior_std
            std = files.posterior_std(result) if with_std else None
            written = yield from denoise_to_file(
                denoisers,
                image,
                ResultTarget(result, std),
                dtype=request.dtype,
                tile_size=request.inference.tile_size,
                provenance=provenance,
                stop=stop,
                spread=spread,
                ome_zarr_version=request.ome_zarr_version,
            )
            if written is None:
                break
            results.append(written)
        seconds = time.perf_counter() - began
        yield StageFinished("denoise", seconds)
        is_stopped = len(results) < len(images)
        return ApplyReport(tuple(results), denoisers, is_stopped, seconds)


def warn_of_foreign_signals(
    model: str,
    denoiser: Denoiser,
    image: str,
    frames: FrameSequence,
    stop: StopToken,
) -> Generator[Event, None, None]:
    """Say how much of an image lies outside the signals that a denoiser knows.

    Parameters
    ----------
    model, image : their names
    frames : `Frames` of the image, or anything read like them

    Yields
    ------
    StepDone for each frame compared (stage "coverage"); a Notice where it is a warning.
    """
    known = KnownSignals.of_denoiser(denoiser)
    if known is None or stop.is_stopped:
        return
    found = yield from compare_signals(frames, known, stop)
    if not found.is_worth_a_warning:
        return
    (low, high), reach = found.model_range, found.data_range
    yield Notice(
        f"{image} reaches from {reach[0]:.4g} to {reach[1]:.4g} grey values, but the "
        f"model {model} knows signals from {low:.4g} to {high:.4g}: "
        f"{found.share_outside:.1%} of the pixels lie outside. There the result is a "
        "guess. Use a model of the same camera settings and brightness, or train one "
        "on this image.",
        is_warning=True,
    )


def _compare_ranges(
    model: str,
    denoisers: tuple[Denoiser, ...],
    images: tuple[OpenedImage, ...],
    stop: StopToken,
) -> Generator[Event, None, None]:
    """Warn of images that the model does not fit, before they are denoised."""
    began = time.perf_counter()
    yield StageStarted("coverage", 0)
    for image in images:
        parts = zip(image.channels, image.frames, denoisers, strict=True)
        for channel, frames, denoiser in parts:
            tag = f", channel {channel}," if len(denoisers) > 1 else ""
            name = f"{image.path.name}{tag}"
            yield from warn_of_foreign_signals(model, denoiser, name, frames, stop)
    yield StageFinished("coverage", time.perf_counter() - began)


def model_files(path: Path, channels: tuple[int, ...]) -> dict[int, Path]:
    """Return the model of each channel: the file given, or those of a run's folder.

    Raises
    ------
    BadFile  If a folder holds no model for one of the channels.
    """
    if not path.is_dir():
        return dict.fromkeys(channels, path)
    found = {}
    for channel in channels:
        candidates = [
            path / f"model_c{channel}{MODEL_SUFFIX}",
            path / f"model{MODEL_SUFFIX}",
        ]
        there = [candidate for candidate in candidates if candidate.is_file()]
        if not there:
            raise BadFile(
                f"The folder {path} holds no model for channel {channel}. Name the "
                f"model file ({MODEL_SUFFIX}) itself."
            )
        found[channel] = there[0]
    return found


def _denoiser(request: ApplyRequest, channel: int) -> Denoiser:
    """Load the model of a channel and settle what it shall estimate."""
    denoiser = load_model(model_files(request.model, (channel,))[channel])
    return settled(denoiser, request.inference)


def _outputs(request: ApplyRequest, images: tuple[OpenedImage, ...]) -> RunFolder:
    """Name the results, and refuse what would fail later."""
    if request.out.suffix.lower() == MODEL_SUFFIX:
        raise BadSetting(
            f"The output {request.out.name} is named like a model. Name an image file "
            "(.tif, .ome.tif or .zarr) or a folder."
        )
    files = RunFolder.for_output(request.out, [image.source.name for image in images])
    check_ome_zarr_version(request.ome_zarr_version, files.results)
    files.remove_leftovers()
    products = [*files.results]
    if request.inference.posterior_std:
        products += [files.posterior_std(result) for result in files.results]
    for path in products:
        if path.exists() and not request.is_overwriting:
            raise BadSetting(
                f"{path} is there already. Replace it with --overwrite, or choose "
                "another output."
            )
    n_bytes = result_bytes(
        images, request.dtype, with_std=request.inference.posterior_std
    )
    inputs = [image.path for image in images]
    prepare_outputs(products, inputs, n_bytes)
    return files
