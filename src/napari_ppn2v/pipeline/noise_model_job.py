"""Fit, load, compare and check noise models as jobs of their own.

Importing this loads no torch: what the docks ask for is made on their own thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import (
    DeviceChosen,
    PairsReady,
    StageFinished,
    StageStarted,
    StepDone,
)
from napari_ppn2v.pipeline.stack_request import Stack, check_recording

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.fitting import FittedNoiseModel
    from napari_ppn2v.core.noise_models.quality import RangeQuality
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.pipeline.coverage import Coverage
    from napari_ppn2v.stop import StopToken

    Floats = Any

_CLEAR = 3.0  # standard errors from which a difference is no chance
_SMALLEST_DIFFERENCE = 2e-4  # nats per pixel that matter to nobody


@dataclass(frozen=True, kw_only=True)
class NoiseModelRequest:
    """What a noise model is fitted to, and how.

    Attributes
    ----------
    config : kind of model and its settings
    calibration : recordings of static scenes, each with repeats of one
    observation, signal
        Noisy frames and their clean or denoised version. Without `signal` it is
        estimated by a Noise2Void training, as in "Bootstrapped PN2V", Prakash et al.
        2020, section 2.
    channel : of all of them, where there are several
    run_config : of that training; the preset "fast" by default
    device, threads : where to compute
    """

    config: NoiseModelConfig = field(default_factory=NoiseModelConfig)
    calibration: tuple[Stack, ...] = ()
    observation: Stack | None = None
    signal: Stack | None = None
    channel: int = 0
    run_config: RunConfig | None = None
    device: str = "auto"
    threads: int | None = None

    @property
    def is_estimated(self) -> bool:
        """Whether the signal has to be estimated first."""
        return not self.calibration and self.signal is None

    def check(self) -> None:
        """Refuse what would fail later, without reading pixels.

        Raises
        ------
        BadAxes, BadData, BadSetting
        """
        if bool(self.calibration) == (self.observation is not None):
            raise BadSetting(
                "A noise model is fitted either to a calibration recording or to noisy "
                "frames. Give one of the two."
            )
        for recording in self.calibration:
            check_recording(recording.recording(self.channel))
        if self.observation is None:
            return
        frames = self.observation.recording(self.channel)
        if self.signal is not None:
            _check_signal(frames, self.signal.recording(self.channel))


def _check_signal(observation: Frames, signal: Frames) -> None:
    if signal.shape != observation.shape or len(signal) not in (1, len(observation)):
        raise BadData(
            f"'{observation.name}' has {len(observation)} frames of "
            f"{observation.shape[0]} x {observation.shape[1]}, but its clean version "
            f"'{signal.name}' has {len(signal)} of {signal.shape[0]} x "
            f"{signal.shape[1]}. Choose two layers of the same pixels."
        )


@dataclass(frozen=True)
class NoiseModelReport:
    """Result of a fit.

    Attributes
    ----------
    fit : None if stopped before there was one
    pairs : what it was fitted to
    quality : per range of signals, on pixels kept apart
    is_stopped : whether the user stopped before the end
    seconds : wall time
    """

    fit: FittedNoiseModel | None
    pairs: PairHistogram | None
    quality: tuple[RangeQuality, ...]
    is_stopped: bool
    seconds: float


def fit_to_request(
    request: NoiseModelRequest, stop: StopToken
) -> Generator[Event, None, NoiseModelReport]:
    """Fit a noise model to what was asked for, and judge it.

    Yields
    ------
    Events of the training, where the signal is estimated, and of the fit.

    Raises
    ------
    BadAxes, BadData, BadSetting, FitFailed, OutOfMemory
    """
    from napari_ppn2v.core.devices import threads
    from napari_ppn2v.core.noise_models.quality import fit_quality

    request.check()
    began = time.perf_counter()
    pairs = None
    with threads(request.threads):
        job = _from_estimate if request.is_estimated else _from_recordings
        fitting = job(request, stop)
        while True:
            try:
                event = next(fitting)
            except StopIteration as end:
                fit: FittedNoiseModel | None = end.value
                break
            if isinstance(event, PairsReady):
                pairs = event.pairs
            yield event
        has_both = fit is not None and pairs is not None
        quality = fit_quality(fit.model, pairs) if has_both else ()  # type: ignore[union-attr,arg-type]
    return NoiseModelReport(
        fit, pairs, quality, stop.is_stopped, time.perf_counter() - began
    )


def _from_recordings(
    request: NoiseModelRequest, stop: StopToken
) -> Generator[Event, None, FittedNoiseModel | None]:
    from napari_ppn2v.core.noise_models.fitting import fit_noise_model
    from napari_ppn2v.core.pairs import SignalObservationPairs
    from napari_ppn2v.pipeline.noise_sources import Stoppable, Stopped

    began, channel, fit = time.perf_counter(), request.channel, None
    yield StageStarted("noise model", 0)
    try:
        if request.calibration:
            scenes = [
                Stoppable(recording.recording(channel), stop)
                for recording in request.calibration
            ]
            pairs = SignalObservationPairs.from_calibration(scenes)
        else:
            assert request.observation is not None
            assert request.signal is not None
            pairs = SignalObservationPairs.from_pseudo_ground_truth(
                request.signal.recording(channel),
                Stoppable(request.observation.recording(channel), stop),
            )
        fit = yield from fit_noise_model(pairs, request.config, stop)
    except Stopped:
        pass
    yield StageFinished("noise model", time.perf_counter() - began)
    return fit


def _from_estimate(
    request: NoiseModelRequest, stop: StopToken
) -> Generator[Event, None, FittedNoiseModel | None]:
    """Estimate the signal by Noise2Void, then fit."""
    from napari_ppn2v.core.devices import choose_devices, describe_devices
    from napari_ppn2v.core.frames import check_trainable
    from napari_ppn2v.pipeline.journeys import SMALLEST_SIDE, no_checkpoints
    from napari_ppn2v.pipeline.noise_sources import Bootstrap
    from napari_ppn2v.pipeline.presets import preset
    from napari_ppn2v.pipeline.stack_reading import read_stack
    from napari_ppn2v.pipeline.stages import Journey, fit_stage, train_n2v

    assert request.observation is not None
    config = replace(request.run_config or preset("fast"), noise_model=request.config)
    frames = request.observation.recording(request.channel)
    device, *others = devices = choose_devices(request.device)
    yield DeviceChosen(describe_devices(devices))
    check_trainable(frames, max(SMALLEST_SIDE, 2 * config.network.stride))
    stack = yield from read_stack([frames], config, stop)
    run = Journey(stack, config, device, stop, no_checkpoints, other_devices=others)
    n2v = yield from train_n2v(run)
    if n2v.is_stopped:
        return None
    fit, _ = yield from fit_stage(run, Bootstrap(), n2v.model)
    return fit


@dataclass(frozen=True)
class LoadedNoiseModel:
    """A noise model read from a file, ready to be drawn."""

    name: str
    model: NoiseModel
    origin: str
    is_stopped: bool = False


def load_from_file(
    path: Path, stop: StopToken
) -> Generator[Event, None, LoadedNoiseModel]:
    """Read a noise model of any dialect.

    Raises
    ------
    BadFile
    """
    from napari_ppn2v.files.noise_model_files import load_noise_model, read_provenance

    yield StageStarted("reading", 1)
    model, origin = load_noise_model(path), read_provenance(path)
    yield StepDone("reading", 1, 1)
    known = (origin.camera, origin.gain, origin.date)
    words = ", ".join(part for part in known if part)
    return LoadedNoiseModel(
        name=origin.name or path.stem, model=model, origin=words or f"file {path.name}"
    )


@dataclass(frozen=True)
class Scored:
    """A noise model by its name, with its nats per pixel on held-out pairs."""

    name: str
    nll: float


@dataclass(frozen=True)
class Comparison:
    """Two noise models on the same held-out pairs.

    Attributes
    ----------
    difference : nll of the first less that of the second; negative: the first is better
    standard_error : of the difference
    """

    first: Scored
    second: Scored
    difference: float
    standard_error: float
    n_pairs: int
    is_stopped: bool = False

    @property
    def is_clear(self) -> bool:
        """Whether the difference is neither chance nor of no importance."""
        least = max(_CLEAR * self.standard_error, _SMALLEST_DIFFERENCE)
        return abs(self.difference) > least


def compare_noise_models(
    first: tuple[str, NoiseModel],
    second: tuple[str, NoiseModel],
    pairs: PairHistogram,
    stop: StopToken,
) -> Generator[Event, None, Comparison]:
    """Compare the likelihoods of two noise models, given with their names.

    Raises
    ------
    BadData  If there are no held-out pairs.
    """
    import numpy as np

    cells = pairs.held_out
    total = float(cells.weight.sum())
    if not len(cells) or total <= 1:
        raise BadData("There are no pairs that were kept apart to compare models on.")
    yield StageStarted("comparison", 2)
    losses = []
    for number, (_, model) in enumerate((first, second), 1):
        losses.append(_losses(model, pairs))
        yield StepDone("comparison", number, 2)
    apart = losses[0] - losses[1]
    difference = cells.mean_of(apart)
    variance = cells.mean_of((apart - difference) ** 2)
    scored = [
        Scored(name, cells.mean_of(loss))
        for (name, _), loss in zip((first, second), losses, strict=True)
    ]
    return Comparison(
        scored[0],
        scored[1],
        difference,
        float(np.sqrt(variance / total)),
        round(total),
    )


def _losses(model: NoiseModel, pairs: PairHistogram) -> Floats:
    """Negative log-likelihood of each held-out cell."""
    import numpy as np
    import torch

    cells = pairs.held_out
    with torch.no_grad():
        values = model.log_likelihood(
            torch.from_numpy(cells.observation.astype(np.float32)),
            torch.from_numpy(cells.signal.astype(np.float32)),
        )
    return -values.double().numpy()


@dataclass(frozen=True)
class CoverageReport:
    """How much of an image a noise model covers."""

    coverage: Coverage
    is_stopped: bool = False


def check_coverage(
    observation: Stack, channel: int, model: NoiseModel, stop: StopToken
) -> Generator[Event, None, CoverageReport]:
    """Compare the signals of an image with those that a model was fitted to.

    Raises
    ------
    BadAxes, BadData
    """
    from napari_ppn2v.pipeline.coverage import KnownSignals, compare_signals

    began, frames = time.perf_counter(), observation.recording(channel)
    yield StageStarted("coverage", 0)
    known = KnownSignals.of_noise_model(model)
    coverage = yield from compare_signals(frames, known, stop)
    yield StageFinished("coverage", time.perf_counter() - began)
    return CoverageReport(coverage, stop.is_stopped)
