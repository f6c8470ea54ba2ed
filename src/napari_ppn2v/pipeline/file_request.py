"""What a run from files to files is told, checked, and stored to be resumed."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - restored by type
from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - restored by type
from typing import TYPE_CHECKING

from napari_ppn2v.errors import BadFile, BadSetting
from napari_ppn2v.files.camera_maps import load_camera_maps
from napari_ppn2v.files.noise_model_files import load_noise_model
from napari_ppn2v.files.ome_zarr import VERSIONS
from napari_ppn2v.pipeline.camera_maps import corrected
from napari_ppn2v.pipeline.cluster import (
    ClusterChoice,  # noqa: TC001 - restored by type
)
from napari_ppn2v.pipeline.config import RunConfig  # noqa: TC001 - restored by type
from napari_ppn2v.pipeline.inputs import (
    check_threads,
    find_images,
    open_frames,
    open_targets,
)
from napari_ppn2v.pipeline.noise_sources import (
    Bootstrap,
    Calibration,
    GivenNoiseModel,
    NoiseSource,
)
from napari_ppn2v.pipeline.provenance import from_plain
from napari_ppn2v.pipeline.run_folder import RunFolder, read_record
from napari_ppn2v.pipeline.targets import check_targets, check_use_of_targets

if TYPE_CHECKING:
    from napari_ppn2v.core.camera_maps import CameraMaps
    from napari_ppn2v.pipeline.inputs import OpenedImage


@dataclass(frozen=True, kw_only=True)
class DenoiseRequest:
    """Everything that a run from files to files is told.

    Attributes
    ----------
    noisy : image files, folders of images or patterns; one result for each image
    out : see `RunFolder.for_output`; a name in .ppn2v trains without denoising
    config : settings of the run
    calibration : recordings of static scenes, each with repeats of one
    noise_model : file of a noise model to use as it is
    target : for methods care and n2n, a target for each noisy image, in their order
    target_axes : letters of their axes; by default those of the noisy images
    camera_maps : per-pixel offset and gain of the camera, see `load_camera_maps`;
        noisy images, targets, calibration and dark recording are corrected with them
    dark : recording without light, which fixes offset and read noise of camera models
    axes, calibration_axes : letters of "TZCYX"; by default those of the files
    channel : a number, "all", or None where there is only one
    frames : of each file, e.g. "0-9,12"; empty for all
    minutes : training budget, turned into steps once; None for those of `config`
    device, threads : where to compute
    dtype : of the results, "float32" or "same"
    ome_zarr_version : of results in .zarr, "0.5" or "0.4"
    as_stack : take the files of each folder as one stack
    cluster : Dask cluster to denoise on after the training; None for here
    is_resumed : go on with an interrupted run
    is_overwriting : replace an earlier run and its results
    """

    noisy: tuple[Path, ...]
    out: Path
    config: RunConfig
    calibration: tuple[Path, ...] = ()
    noise_model: Path | None = None
    dark: Path | None = None
    camera_maps: tuple[Path, ...] = ()
    target: tuple[Path, ...] = ()
    target_axes: str | None = None
    axes: str | None = None
    calibration_axes: str | None = None
    channel: int | str | None = None
    frames: str = ""
    minutes: float | None = None
    device: str = "auto"
    threads: int | None = None
    dtype: str = "float32"
    ome_zarr_version: str = VERSIONS[0]
    as_stack: bool = False
    cluster: ClusterChoice | None = None
    is_resumed: bool = False
    is_overwriting: bool = False


def check_request(request: DenoiseRequest) -> None:
    """Refuse settings that contradict each other; raises BadSetting."""
    check_threads(request.threads)
    config = request.config
    kind = config.noise_model.kind
    is_n2v = config.method == "n2v"
    sources = [request.calibration, request.noise_model, request.dark]
    known_dark = request.dark is not None or config.noise_model.offset is not None
    check_use_of_targets(
        config,
        has_targets=bool(request.target),
        has_noise_model=any(sources) or known_dark,
    )
    rules = {
        "Noise2Void uses no noise model, but a calibration, a noise model or a dark "
        "recording is given. Leave it out, or choose the method refined or pn2v.": (
            is_n2v and any(sources)
        ),
        "Noise2Void has no noise model, so there is no posterior standard deviation. "
        "Choose the method refined or pn2v.": is_n2v and config.inference.posterior_std,
        "A calibration and a noise model are both given. The calibration is used to "
        "fit a noise model; give one of the two.": bool(request.calibration)
        and request.noise_model is not None,
        "A noise model is given, so an offset or a dark recording changes nothing. "
        "Leave one of them out.": request.noise_model is not None and known_dark,
        f"The offset (or the dark recording) is used by camera noise models, not by "
        f"'{kind}'. Choose the kind 'camera' or 'auto', or leave it out.": known_dark
        and kind in ("gmm", "histogram"),
        "A dark recording and an offset are both given. Give one of the two.": (
            request.dark is not None and config.noise_model.offset is not None
        ),
        f"The training budget is {request.minutes} minutes. It must be more than 0.": (
            request.minutes is not None and not request.minutes > 0
        ),
    }
    for message, is_broken in rules.items():
        if is_broken:
            raise BadSetting(message)


def stored_request(out: Path) -> DenoiseRequest:
    """Return the request of the run that was begun for this output.

    Raises
    ------
    BadSetting  If no run was begun there.
    BadFile  If its record cannot be read.
    """
    files = RunFolder.for_output(out, ("",))
    if not files.record.exists():
        raise BadSetting(
            f"There is nothing to resume: {files.folder} holds no record of a run. "
            "Check the output, or start without --resume."
        )
    stored = from_plain(DenoiseRequest, read_record(files.record).get("request"))
    return replace(stored, out=out, is_resumed=True, is_overwriting=False)


def settled_paths(request: DenoiseRequest, noisy: Sequence[Path]) -> DenoiseRequest:
    """Return the request as it is stored: whole paths, one for each image."""
    given = request.noise_model, request.dark
    noise_model, dark = (None if path is None else path.resolve() for path in given)
    return replace(
        request,
        noisy=tuple(noisy),
        out=request.out.resolve(),
        calibration=tuple(path.resolve() for path in request.calibration),
        target=find_images(request.target, as_stack=request.as_stack)
        if request.target
        else (),
        noise_model=noise_model,
        dark=dark,
        camera_maps=tuple(path.resolve() for path in request.camera_maps),
        is_resumed=False,
        is_overwriting=False,
    )


def maps_of(request: DenoiseRequest) -> CameraMaps | None:
    """Read the camera maps of a request, if there are any.

    Raises
    ------
    BadFile, BadData
    """
    return load_camera_maps(request.camera_maps) if request.camera_maps else None


def opened_targets(
    request: DenoiseRequest, images: tuple[OpenedImage, ...]
) -> tuple[OpenedImage, ...]:
    """Open the targets, if there are any, and compare them with the images.

    Raises
    ------
    BadFile, BadAxes, BadData, BadSetting
    """
    if not request.target:
        return ()
    targets = open_targets(
        find_images(request.target, as_stack=request.as_stack),
        images,
        request.target_axes or request.axes,
        request.channel,
        request.frames,
    )
    for number in range(len(images[0].channels)):
        check_targets(
            [image.frames[number] for image in images],
            [target.frames[number] for target in targets],
        )
    return targets


def open_noise_source(request: DenoiseRequest, channel: int) -> NoiseSource:
    """Open what the noise model of one channel is made from.

    Raises
    ------
    BadFile, BadAxes, BadData
    """
    if request.noise_model is not None:
        return GivenNoiseModel(load_noise_model(request.noise_model))
    if not request.calibration:
        return Bootstrap()
    maps = maps_of(request)
    scenes = tuple(
        corrected(open_frames(path, request.calibration_axes, channel), maps)
        for path in request.calibration
    )
    for frames, path in zip(scenes, request.calibration, strict=True):
        if len(frames) < 2:
            raise BadFile(
                f"The calibration {path.name} holds {len(frames)} frame, but at least "
                "2 exposures of the same static scene are needed (better 50 or more). "
                "If it holds them along another axis, name the axes."
            )
    return Calibration(scenes)
