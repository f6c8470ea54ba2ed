"""The Python interface: one call for everything, and each stage by itself.

Every function takes any array-like (numpy, memory-mapped, dask, zarr) with T, Z and C
axes, runs the same long jobs as the command line, and returns when they are done.
`on_event` sees their events; `stop` ends them early with the best result so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.core.conversion import as_dtype
from napari_ppn2v.core.devices import choose_device, choose_devices
from napari_ppn2v.core.devices import threads as with_threads
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models.fitting import FittedNoiseModel
from napari_ppn2v.core.noise_models.fitting import (
    fit_noise_model as _fit_noise_model,
)
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Event, Notice, drain
from napari_ppn2v.pipeline.arrays import noise_source, part_of, scenes_of, target_frames
from napari_ppn2v.pipeline.budget import plan_steps
from napari_ppn2v.pipeline.camera_maps import CAMERA_MAPS, corrected, required_camera
from napari_ppn2v.pipeline.checking import glance
from napari_ppn2v.pipeline.denoising import denoise_frames
from napari_ppn2v.pipeline.journeys import TrainedRun, train_denoiser, train_longer
from napari_ppn2v.pipeline.noise_sources import Bootstrap
from napari_ppn2v.pipeline.presets import preset as _preset
from napari_ppn2v.pipeline.stack_request import DTYPES
from napari_ppn2v.pipeline.targets import check_targets, check_use_of_targets
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.camera_maps import CameraMaps
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.pipeline.config import RunConfig

OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Denoised:
    """Result of `denoise` and `apply`, in the axes of the input.

    Attributes
    ----------
    image : ADU, float32 unless another type was asked for
        The MMSE estimate, or the prior mean where `denoiser.reason` says so.
    posterior_std : float32, ADU, or None
        Standard deviation of the signal given the observation.
    denoiser : to apply to further images, or to save with `save_model`
    run : how it was trained, None after `apply`
    is_stopped : whether the user stopped before the end; frames not yet done are NaN
    """

    image: NDArray
    posterior_std: NDArray[np.float32] | None
    denoiser: Denoiser
    run: TrainedRun | None
    is_stopped: bool


def denoise(
    observation: Any,
    *,
    axes: str | None = None,
    channel: int | None = None,
    calibration: Any | Sequence[Any] | None = None,
    noise_model: NoiseModel | None = None,
    camera_maps: CameraMaps | None = None,
    target: Any = None,
    posterior_std: bool = False,
    average_orientations: bool = False,
    dtype: str = "float32",
    on_event: OnEvent | None = None,
    stop: StopToken | None = None,
    device: str = "auto",
    threads: int | None = None,
    **options: Any,
) -> Denoised:
    """Denoise a noisy stack with nothing but itself, or with targets to learn from.

    Parameters
    ----------
    observation : array-like, any integer or float type
    axes : letters of "TZCYX", one for each axis; guessed if not given
    channel : which channel to denoise, where there is a C axis
    calibration
        Repeats of a static scene (T, Y, X), or several such recordings, to fit the
        noise model to. By default it is bootstrapped from `observation`.
    noise_model : to use as it is, in place of a fit
    camera_maps
        Offset and gain of each pixel of the camera, from `load_camera_maps`;
        observation, calibration and target are corrected with them, and the result
        has their common offset and gain.
    target : for the methods "care" and "n2n", see `train`
    posterior_std : also return the uncertainty
    average_orientations : see `apply`
    dtype : of the image, "float32", or "same" as that of the observation
    on_event : called with each event of the run
    stop : ends the run early, with the best weights so far
    device
        "auto", "cpu", "cuda" or "mps"; "cuda:1" for the second graphics card.
        "cuda:0,cuda:1" or "cuda:all" share each training batch among several cards;
        all else is done on the first.
    threads : of the CPU; one less than there are processors by default
    **options
        As for `train`: `preset`, `method`, `minutes`, `steps`, `seed`, `config`,
        `training_frames`, `region`, `calibration_axes`, `target_axes`,
        `times_longer`.

    Returns
    -------
    Denoised

    Raises
    ------
    PPN2VError  One of its kinds, with a message for the user.

    Examples
    --------
    >>> import napari_ppn2v as ppn2v
    >>> result = ppn2v.denoise(stack, preset="fast")  # doctest: +SKIP
    >>> result.image.shape == stack.shape  # doctest: +SKIP
    True
    """
    stop = stop or StopToken()
    _check_dtype(dtype)
    if posterior_std:
        options["config"] = _with_posterior_std(options)
    run = train(
        observation,
        axes=axes,
        channel=channel,
        calibration=calibration,
        noise_model=noise_model,
        camera_maps=camera_maps,
        target=target,
        on_event=on_event,
        stop=stop,
        device=device,
        threads=threads,
        **options,
    )
    done = apply(
        run.denoiser,
        observation,
        axes=axes,
        channel=channel,
        camera_maps=camera_maps,
        average_orientations=average_orientations,
        posterior_std=posterior_std
        and (run.denoiser.gives_posterior_std or not run.is_stopped),
        tile_size=_tile_size(options),
        dtype=dtype,
        on_event=on_event,
        # a stop ends the training; what it has learnt is still applied
        stop=StopToken() if run.is_stopped else stop,
        device=device,
        threads=threads,
    )
    return replace(done, run=run, is_stopped=run.is_stopped or done.is_stopped)


def train(
    observation: Any,
    *,
    axes: str | None = None,
    channel: int | None = None,
    calibration: Any | Sequence[Any] | None = None,
    noise_model: NoiseModel | None = None,
    camera_maps: CameraMaps | None = None,
    target: Any = None,
    preset: str = "balanced",
    method: str | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    config: RunConfig | None = None,
    training_frames: Sequence[int] | range | None = None,
    region: tuple[slice, slice] | None = None,
    calibration_axes: str | None = None,
    target_axes: str | None = None,
    times_longer: int = 0,
    on_event: OnEvent | None = None,
    stop: StopToken | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> TrainedRun:
    """Train a denoiser on a noisy stack, without denoising it.

    Parameters
    ----------
    target
        Array-like with a target for each frame of `observation`, of the same scene:
        clean ones for method "care", second noisy ones for "n2n".
    preset : "fast", "balanced", "thorough", or a paper's settings
    method
        "refined" (default), "pn2v" or "n2v"; "care" or "n2n" with a `target`. The
        result of these two is on the scale of the target.
    minutes : training budget, turned into steps by timing a few on this machine
    steps : training steps in all, instead of `minutes`
    seed : equal seed, steps, threads and machine give equal results on the CPU
    config : all settings at once, in place of `preset`, `method` and `seed`
    training_frames : numbers of the frames to train on, all by default
    region : rows and columns to train on, all by default
    calibration_axes
        Letters of the axes of the calibration; of several channels, the one denoised
        is taken.
    target_axes
        Letters of the axes of the target, by default `axes`; of several channels, the
        one denoised is taken.
    times_longer
        How often training goes on afterwards, each time by as many steps as its last
        stage had; never to a worse validation loss.
    others : as for `denoise`

    Returns
    -------
    TrainedRun  With the denoiser, the curves and the noise-model fit.
    """
    stop = stop or StopToken()
    frames = corrected(as_frames(observation, axes, channel), camera_maps)
    scenes = tuple(
        corrected(scene, camera_maps)
        for scene in scenes_of(calibration, calibration_axes, frames.channel)
    )
    settings = config or _preset(preset, method=method, seed=seed)
    source = noise_source(scenes, noise_model)
    check_use_of_targets(
        settings,
        has_targets=target is not None,
        has_noise_model=not isinstance(source, Bootstrap),
    )
    targets = None
    if target is not None:
        # compared as a whole: chosen frames of two recordings could fit by chance
        whole = target_frames(target, target_axes or axes, frames)
        whole = corrected(whole, camera_maps)
        check_targets([frames], [whole])
        targets = [part_of(whole, training_frames, region)]
    frames = part_of(frames, training_frames, region)
    if on_event is not None and target is None:
        drain(glance([frames], stop), on_event)
    where, *others = choose_devices(device)
    with with_threads(threads):
        if steps is None and minutes is not None:
            plan = plan_steps(
                [frames],
                settings,
                minutes,
                device=where,
                stop=stop,
                other_devices=others,
            )
            steps = drain(plan, on_event)
        if steps is not None:
            settings = settings.with_steps(steps)
        job = train_denoiser(
            [frames],
            settings,
            source,
            targets=targets,
            device=where,
            stop=stop,
            other_devices=others,
        )
        run = drain(job, on_event)
        for _ in range(times_longer):
            if stop.is_stopped:
                break
            job = train_longer(
                run,
                [frames],
                settings,
                targets=targets,
                device=where,
                stop=stop,
                other_devices=others,
            )
            run = drain(job, on_event)
        return run if camera_maps is None else _remembering(run, camera_maps)


def apply(
    denoiser: Denoiser,
    observation: Any,
    *,
    axes: str | None = None,
    channel: int | None = None,
    camera_maps: CameraMaps | None = None,
    estimate: str | None = None,
    blind: bool | None = None,
    posterior_std: bool = False,
    average_orientations: bool = False,
    tile_size: int = 512,
    dtype: str = "float32",
    on_event: OnEvent | None = None,
    stop: StopToken | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Denoised:
    """Denoise a stack with a trained denoiser.

    Parameters
    ----------
    denoiser : from `train`, `denoise` or `load_model`
    camera_maps
        Of the camera that recorded these frames; needed where the denoiser was
        trained with maps. Its frames are brought to the offset and gain of training.
    estimate : "mmse" or "prior-mean", in place of the denoiser's own choice
    blind : whether the network is kept from seeing the pixel it predicts
    posterior_std : also return the uncertainty; needs a noise model
    average_orientations
        Whether estimates in one pass are averaged over the eight orientations of each
        frame: about 0.1 dB better, eight times as long.
    tile_size : pixels; smaller needs less memory
    dtype
        Of the image: "float32", or "same" as that of the observation, rounded and
        clipped, with a warning to `on_event` that counts the pixels. What was stopped
        stays float32.
    others : as for `denoise`
    """
    _check_dtype(dtype)
    if estimate is not None:
        denoiser.require(estimate)
        denoiser = replace(denoiser, estimate=estimate, reason="as asked for")
    if posterior_std:
        denoiser.require_posterior_std()
    if average_orientations:
        denoiser = replace(denoiser, averages_orientations=True)
    if blind:
        denoiser.require_blind()
    if blind is not None:
        denoiser = replace(denoiser, is_blind=blind, reason="as asked for")
    camera = required_camera(denoiser.provenance, camera_maps)
    frames = corrected(as_frames(observation, axes, channel), camera_maps, camera)
    names = ("result", "posterior_std") if posterior_std else ("result",)
    stacks = {
        name: np.full((len(frames), *frames.shape), np.nan, np.float32)
        for name in names
    }

    def sink(index: int, rows: slice, columns: slice, block: RegionEstimate) -> None:
        stacks["result"][index, rows, columns] = denoiser.result(block)
        if posterior_std and block.posterior_std is not None:
            stacks["posterior_std"][index, rows, columns] = block.posterior_std

    with with_threads(threads):
        done = drain(
            denoise_frames(
                denoiser.to(choose_device(device)),
                frames,
                sink,
                tile_size=tile_size,
                stop=stop or StopToken(),
            ),
            on_event,
        )
    images = [frames.layout.restore(stack) for stack in stacks.values()]
    is_stopped = done < len(frames)
    if dtype == "same" and not is_stopped:
        images[0] = _converted(images[0], frames.dtype.newbyteorder("="), on_event)
    return Denoised(
        image=images[0],
        posterior_std=images[1] if posterior_std else None,
        denoiser=denoiser,
        run=None,
        is_stopped=is_stopped,
    )


def fit_noise_model(
    *,
    calibration: Any | Sequence[Any] | None = None,
    calibration_axes: str | None = None,
    signal: Any = None,
    observation: Any = None,
    camera_maps: CameraMaps | None = None,
    config: NoiseModelConfig | None = None,
    on_event: OnEvent | None = None,
) -> FittedNoiseModel:
    """Fit a noise model to a calibration recording, or to given pairs.

    Parameters
    ----------
    calibration : repeats of a static scene (T, Y, X), or several such recordings
    calibration_axes : letters of its axes, where they are not T, Y, X
    signal, observation : arrays of equal shape, ADU, in place of `calibration`
    camera_maps : of each pixel; calibration and observation are corrected with them
    config : kind of model and its settings; chosen by held-out likelihood by default
    """
    if calibration is not None:
        scenes = scenes_of(calibration, calibration_axes, 0)
        scenes = tuple(corrected(scene, camera_maps) for scene in scenes)
        pairs = SignalObservationPairs.from_calibration(scenes)
    else:
        pairs = SignalObservationPairs.from_pseudo_ground_truth(
            as_frames(signal), corrected(as_frames(observation), camera_maps)
        )
    return drain(_fit_noise_model(pairs, config or NoiseModelConfig()), on_event)


def _remembering(run: TrainedRun, maps: CameraMaps) -> TrainedRun:
    """Keep with the model what its frames were corrected to."""
    known = {**run.denoiser.provenance, CAMERA_MAPS: maps.summary()}
    return replace(run, denoiser=replace(run.denoiser, provenance=known))


def _with_posterior_std(options: dict[str, Any]) -> RunConfig:
    """Return settings whose estimate comes with its uncertainty."""
    config = options.get("config") or _preset(
        options.get("preset", "balanced"),
        method=options.get("method"),
        seed=options.get("seed", 0),
    )
    if config.method == "n2v":
        raise BadSetting(
            "Noise2Void has no noise model, so there is no posterior standard "
            "deviation. Choose the method 'refined' or 'pn2v'."
        )
    return replace(config, inference=replace(config.inference, posterior_std=True))


def _tile_size(options: dict[str, Any]) -> int:
    config = options.get("config") or _preset(options.get("preset", "balanced"))
    return config.inference.tile_size


def _check_dtype(dtype: str) -> None:
    if dtype not in DTYPES:
        raise BadSetting(
            f"The type of the result is {dtype!r}. Choose one of: {', '.join(DTYPES)}."
        )


def _converted(image: NDArray, dtype: np.dtype, on_event: OnEvent | None) -> NDArray:
    """Round and clip to another type, and say how many pixels did not fit."""
    converted, below, above = as_dtype(image, dtype)
    if (below or above) and on_event is not None:
        on_event(
            Notice(
                f"{below} pixels below and {above} above the range of {dtype} were set "
                "to its limits. Choose float32 to keep them.",
                is_warning=True,
            )
        )
    return converted
