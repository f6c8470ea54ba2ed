"""All that can be said about a noise model and its camera, as one job."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.camera_readout import (
    CameraKind,
    CameraReadout,
    KnownCamera,
    readout_of_model,
    readout_of_pairs,
)
from napari_ppn2v.core.frames import Frames, as_frames
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Event, StageFinished, StageStarted, drain
from napari_ppn2v.pipeline.camera_maps import corrected

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from napari_ppn2v.core.camera_maps import CameraMaps, FixedPattern
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.quality import RangeQuality
    from napari_ppn2v.core.noise_models.recommendation import Recommendation
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.pipeline.noise_drift import DriftReport
    from napari_ppn2v.stop import StopToken

STAGE = "inspection"
_KINDS = {"camera": "camera", "mixture": "gmm", "histogram": "histogram"}


@dataclass(frozen=True, kw_only=True)
class InspectionRequest:
    """What is inspected, and by what.

    Attributes
    ----------
    model : noise model; None reads the camera from the pairs alone
    name : of the model, for messages
    pairs : held-out pairs judge the fit, all pairs tell the camera
    frames : noisy frames to compare the model with, where there are no pairs
    known : of the camera
    others : further noise models by name, to recommend one of all
    is_refitting : also fit a camera, a mixture and a histogram to the pairs
    """

    model: NoiseModel | None = None
    name: str = "this noise model"
    pairs: PairHistogram | None = None
    frames: Frames | None = None
    known: KnownCamera = field(default_factory=KnownCamera)
    others: Mapping[str, NoiseModel] = field(default_factory=dict)
    is_refitting: bool = False

    def check(self) -> None:
        """Refuse what cannot be answered.

        Raises
        ------
        BadSetting
        """
        if self.model is None and self.pairs is None:
            raise BadSetting(
                "There is nothing to inspect. Give a noise model, a calibration "
                "recording, or both."
            )
        if (self.others or self.is_refitting) and self.pairs is None:
            raise BadSetting(
                "Noise models are compared on pairs of signal and observation. Give a "
                "calibration, or noisy frames with their clean version."
            )


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes
    ----------
    name, kind : of the noise model; empty where there was none
    camera : the camera readout
    quality : per range of signals, on held-out pairs; empty without pairs
    drift : whether the model is right for the recording; None without one
    recommendation : None unless there are several models
    fixed_pattern : what camera maps did to a recording; None without maps
    """

    name: str
    kind: str
    camera: CameraReadout
    quality: tuple[RangeQuality, ...] = ()
    drift: DriftReport | None = None
    recommendation: Recommendation | None = None
    fixed_pattern: FixedPattern | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it; None for what is not known."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain

    def as_json(self) -> str:
        """Return everything as text."""
        return json.dumps(self.as_dict(), indent=2, ensure_ascii=False)


def inspect_job(
    request: InspectionRequest, stop: StopToken | None = None
) -> Generator[Event, None, Inspection]:
    """Read the camera, judge the fit, check for drift and recommend a model.

    Raises
    ------
    BadData, BadSetting, FitFailed
    """
    from napari_ppn2v.core.noise_models.quality import fit_quality
    from napari_ppn2v.core.noise_models.recommendation import recommend
    from napari_ppn2v.pipeline.noise_drift import check_drift

    request.check()
    yield StageStarted(STAGE, 0)
    model, pairs = request.model, request.pairs
    if pairs is not None:
        camera = yield from readout_of_pairs(pairs, request.known)
    else:
        assert model is not None
        camera = readout_of_model(model, request.known)
    models = {} if model is None else {request.name: model}
    models |= dict(request.others)
    if request.is_refitting:
        models |= yield from _refitted(request)
    recording = request.frames if pairs is None else pairs
    drift = None
    if model is not None and recording is not None:
        drift = yield from check_drift(model, recording, stop)
    has_choice = pairs is not None and len(models) > 1
    yield StageFinished(STAGE, math.nan)
    return Inspection(
        name=request.name if model is not None else "",
        kind="" if model is None else model.kind,
        camera=camera,
        quality=() if model is None or pairs is None else fit_quality(model, pairs),
        drift=drift,
        recommendation=recommend(models, pairs) if has_choice and pairs else None,
    )


def _refitted(
    request: InspectionRequest,
) -> Generator[Event, None, dict[str, NoiseModel]]:
    from napari_ppn2v.core.noise_model_config import NoiseModelConfig
    from napari_ppn2v.core.noise_models.fitting import fit_noise_model
    from napari_ppn2v.errors import FitFailed

    assert request.pairs is not None
    known, found = request.known, {}
    for name, kind in _KINDS.items():
        config = NoiseModelConfig(
            kind=kind, offset=known.offset, read_noise=known.read_noise
        )
        try:
            fit = yield from fit_noise_model(request.pairs, config)
        except FitFailed:
            continue
        found[f"new fit: {name}"] = fit.model
    return found


def known_camera(
    *,
    dark: Frames | None = None,
    offset: float | None = None,
    read_noise: float | None = None,
    camera: CameraKind | None = None,
) -> KnownCamera:
    """Put together what is known of a camera, reading a dark recording if given.

    Raises
    ------
    BadSetting  If a dark recording and its numbers are both given.
    """
    if dark is None:
        return KnownCamera(offset, read_noise, camera)
    if offset is not None or read_noise is not None:
        raise BadSetting(
            "A dark recording is given, and its offset or read noise too. Give one of "
            "the two."
        )
    from napari_ppn2v.pipeline.inputs import dark_level

    level, noise = dark_level(dark)
    # rounding adds 1/12 to the variance of whole grey values; the rest is the camera
    rounding = 1 / 12 if dark.dtype.kind in "iu" else 0.0
    square = noise**2 - rounding
    return KnownCamera(level, math.sqrt(square) if square > 0 else None, camera)


def inspect_noise_model(
    model: NoiseModel | Denoiser | None = None,
    *,
    calibration: Any | Sequence[Any] | None = None,
    calibration_axes: str | None = None,
    signal: Any = None,
    observation: Any = None,
    axes: str | None = None,
    dark: Any = None,
    offset: float | None = None,
    read_noise: float | None = None,
    camera: CameraKind | None = None,
    camera_maps: CameraMaps | None = None,
    others: Mapping[str, NoiseModel] | None = None,
    refit: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Inspection:
    """Say what a noise model and a recording tell about the camera, and each other.

    Parameters
    ----------
    model : noise model, or a denoiser that has one; None for a recording alone
    calibration : repeats of a static scene (T, Y, X), or several such recordings
    signal, observation
        Clean or denoised frames and the noisy ones. `observation` alone checks the
        model against noisy frames by their local differences.
    axes, calibration_axes : letters of "TZCYX"
    dark : recording without light, which separates offset and read noise
    offset, read_noise : ADU, in place of `dark`
    camera : "scmos" or "emccd", if known
    camera_maps : calibration, observation and dark are corrected with them
    others : noise models to compare with, by name
    refit : also fit new models to the pairs and compare with them

    Returns
    -------
    Inspection

    Raises
    ------
    BadAxes, BadData, BadSetting, FitFailed
    """
    from napari_ppn2v.core.camera_maps import fixed_pattern
    from napari_ppn2v.core.pairs import SignalObservationPairs
    from napari_ppn2v.pipeline.arrays import scenes_of

    scenes = scenes_of(calibration, calibration_axes, 0)
    noisy = None if observation is None else as_frames(observation, axes)
    pairs = None
    if scenes:
        pairs = SignalObservationPairs.from_calibration(
            [corrected(scene, camera_maps) for scene in scenes]
        )
    elif signal is not None and noisy is not None:
        pairs = SignalObservationPairs.from_pseudo_ground_truth(
            as_frames(signal, axes), corrected(noisy, camera_maps)
        )
    lights_off = None if dark is None else as_frames(dark, calibration_axes)
    request = InspectionRequest(
        model=noise_model_of(model),
        pairs=None if pairs is None else pairs.histogram(),
        frames=None if noisy is None else corrected(noisy, camera_maps),
        known=known_camera(
            dark=None if lights_off is None else corrected(lights_off, camera_maps),
            offset=offset,
            read_noise=read_noise,
            camera=camera,
        ),
        others=others or {},
        is_refitting=refit,
    )
    found = drain(inspect_job(request), on_event)
    recording = scenes[0] if scenes else noisy
    if camera_maps is None or recording is None:
        return found
    from dataclasses import replace

    return replace(found, fixed_pattern=fixed_pattern(recording, camera_maps))


def noise_model_of(model: NoiseModel | Denoiser | None) -> NoiseModel | None:
    """Return a noise model, or the one that a denoiser holds.

    Raises
    ------
    BadSetting  If the denoiser has none.
    """
    from napari_ppn2v.core.denoiser import Denoiser

    if not isinstance(model, Denoiser):
        return model
    if model.noise_model is None:
        raise BadSetting(
            f"This model was trained with method '{model.method}', which has no noise "
            "model to inspect. Give a noise model, or a model trained with refined or "
            "pn2v."
        )
    return model.noise_model


def _plain(value: Any) -> Any:
    """Replace what JSON cannot hold: tuples by lists, nan and infinity by None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
