"""Whole journeys: from noisy frames to a trained denoiser, composed of long jobs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from napari_ppn2v.core.batches import Crops, MaskedObservations
from napari_ppn2v.core.denoiser import Denoiser, require_estimate
from napari_ppn2v.core.frames import Frames, check_trainable
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.noise_models.fitting import FittedNoiseModel, fit_noise_model
from napari_ppn2v.core.objectives import negative_log_likelihood, squared_error
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.prior_network import PriorNetwork
from napari_ppn2v.core.training_stack import TrainingStack, collect_training_stack
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import (
    Notice,
    StageFinished,
    StageStarted,
)
from napari_ppn2v.pipeline.inference_choice import choose_inference
from napari_ppn2v.pipeline.noise_sources import (
    Bootstrap,
    Calibration,
    GivenNoiseModel,
    NoiseSource,
    bootstrapped_pairs,
    warn_of_range,
)
from napari_ppn2v.pipeline.preview import Preview, StagePreview
from napari_ppn2v.pipeline.refinement import refine
from napari_ppn2v.pipeline.training import CheckpointStore, CurvePoint, train_prior

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
    from napari_ppn2v.pipeline.training import TrainedPrior
    from napari_ppn2v.stop import StopToken

SMALLEST_SIDE = 16  # pixels; below, hardly a pixel has surroundings

R = TypeVar("R")

Checkpoints = Callable[[str], CheckpointStore | None]
"""Gives the place where the training of a stage keeps its state."""


@dataclass(frozen=True)
class TrainedRun:
    """Result of a training journey.

    Attributes
    ----------
    denoiser : ready to use; without noise model if stopped before there was one
    curves : validations of each stage
    noise_fit : the fitted noise model with its candidates, None if given or not needed
    pairs : what it was fitted to, for pictures
    is_stopped : whether the user stopped before the end
    seconds : wall time of each stage
    """

    denoiser: Denoiser
    curves: dict[str, tuple[CurvePoint, ...]]
    noise_fit: FittedNoiseModel | None
    pairs: SignalObservationPairs | None
    is_stopped: bool
    seconds: dict[str, float] = field(default_factory=dict)


def no_checkpoints(stage: str) -> None:
    """Keep nothing."""


@dataclass
class _Run:
    """What the stages of one journey share."""

    stack: TrainingStack
    config: RunConfig
    device: torch.device
    stop: StopToken
    checkpoints: Checkpoints
    preview: Preview | None = None
    curves: dict[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def blindness(self) -> Blindness:
        training = self.config.training
        return Blindness(training.mask_box, training.replacement)

    def stage_preview(
        self,
        stage: str,
        noise_model: NoiseModel | None = None,
        start: PriorNetwork | None = None,
    ) -> StagePreview | None:
        if self.preview is None:
            return None
        return StagePreview(self.preview, stage, noise_model, start)


def new_model(
    stack: TrainingStack,
    config: RunConfig,
    device: torch.device,
    prior_kind: str,
    n_samples: int,
    seed: int,
) -> PriorNetwork:
    """Return an untrained network on `device`; equal seeds give equal weights."""
    # the weights of a network come from torch's global generator: forked, so that
    # the caller's is left as it was
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PriorNetwork(
            config.network, prior_kind, n_samples, stack.normalisation()
        )
    return model.to(device)


def training_batches(
    stack: TrainingStack, config: RunConfig, training: TrainingConfig
) -> MaskedObservations:
    """Return blind-spot batches; patches fit into the images and the network."""
    smallest = min(min(image.shape) for image in stack.images)
    stride = config.network.stride
    size = min(training.patch_size, smallest) // stride * stride
    crops = Crops(stack, size, training.batch_size)
    return MaskedObservations(
        crops, training.mask_box, training.replacement, config.seed
    )


def train_denoiser(
    sources: Sequence[Frames],
    config: RunConfig,
    noise_source: NoiseSource,
    *,
    device: torch.device,
    stop: StopToken,
    checkpoints: Checkpoints = no_checkpoints,
    preview: Preview | None = None,
) -> Generator[Event, None, TrainedRun]:
    """Train on noisy frames alone: Noise2Void, noise model, PN2V, choice of estimate.

    Parameters
    ----------
    sources : stacks of noisy frames of one channel, from one camera
    noise_source : where the (signal, observation) pairs come from
    checkpoints : gives, for "n2v" and "pn2v", where the training keeps its state; a
        journey resumed from there ends with the bits of one never interrupted
    preview : what the user looks at, to be shown denoised while training goes on

    Yields
    ------
    Events of all stages.

    Returns
    -------
    TrainedRun

    Raises
    ------
    BadData, BadSetting, FitFailed, OutOfMemory
    """
    for frames in sources:
        check_trainable(frames, max(SMALLEST_SIDE, 2 * config.network.stride))
    training = config.pretraining if config.method == "n2v" else config.training
    if config.method == "n2v":
        require_estimate(config.inference.estimate, None)
    stack = collect_training_stack(
        sources,
        patch_size=training.patch_size,
        held_out_share=training.held_out_share,
        held_out_frames=training.held_out_frames,
        rng=np.random.default_rng(config.seed),
    )
    run = _Run(stack, config, device, stop, checkpoints, preview)
    n2v = None
    if _needs_n2v(config, noise_source):
        n2v = yield from _train_n2v(run)
        if config.method == "n2v" or n2v.is_stopped:
            return _finish_n2v(run, n2v)
    fit, pairs = yield from _noise_model(run, noise_source, n2v)
    noise_model = (
        noise_source.model if isinstance(noise_source, GivenNoiseModel) else fit.model  # type: ignore[union-attr]
    )
    if not isinstance(noise_source, Bootstrap):
        yield from warn_of_range(stack, noise_model)
    refined = None
    if config.method == "pn2v":
        trained = yield from _train_pn2v(run, noise_model, n2v)
        is_stopped = trained.is_stopped
    else:
        assert n2v is not None
        trained = n2v
        refined, is_stopped = yield from _refine(run, n2v, noise_model)
    denoiser = yield from _choose(run, trained.model, refined, noise_model)
    return TrainedRun(denoiser, run.curves, fit, pairs, is_stopped, run.seconds)


def _needs_n2v(config: RunConfig, noise_source: NoiseSource) -> bool:
    return (
        config.method != "pn2v"
        or config.starts_from_n2v
        or isinstance(noise_source, Bootstrap)
    )


def _train_n2v(run: _Run) -> Generator[Event, None, TrainedPrior]:
    config = run.config.pretraining
    began = time.perf_counter()
    yield StageStarted("n2v", config.n_steps)
    seed = run.config.seed
    model = new_model(run.stack, run.config, run.device, "free", 1, seed)
    trained = yield from train_prior(
        model,
        training_batches(run.stack, run.config, config),
        squared_error(model.normalisation.std),
        config,
        stage="n2v",
        seed=seed,
        stop=run.stop,
        checkpoint=run.checkpoints("n2v"),
        preview=run.stage_preview("n2v"),
    )
    run.curves["n2v"] = trained.curve
    yield _finished(run, "n2v", began)
    return trained


def _finish_n2v(run: _Run, n2v: TrainedPrior) -> TrainedRun:
    is_blind = run.config.inference.blind == "yes"
    reason = (
        "training was stopped before there was a noise model"
        if run.config.method != "n2v"
        else "Noise2Void has no noise model"
    )
    denoiser = Denoiser(
        model=n2v.model,
        noise_model=None,
        training_blindness=run.blindness,
        estimate="prior-mean",
        is_blind=is_blind,
        reason=f"prior mean: {reason}",
    )
    return TrainedRun(denoiser, run.curves, None, None, n2v.is_stopped, run.seconds)


def _noise_model(
    run: _Run, source: NoiseSource, n2v: TrainedPrior | None
) -> Generator[
    Event, None, tuple[FittedNoiseModel | None, SignalObservationPairs | None]
]:
    if isinstance(source, GivenNoiseModel):
        return None, None
    began = time.perf_counter()
    if isinstance(source, Calibration):
        yield StageStarted("noise model", 0, "from the calibration recording")
        pairs = SignalObservationPairs.from_calibration(source.scenes)
    else:
        assert n2v is not None
        pairs = yield from _timed(
            run,
            bootstrapped_pairs(
                n2v.model,
                run.stack,
                run.blindness,
                kind=run.config.pseudo_ground_truth,
                seed=run.config.seed,
            ),
        )
        yield StageStarted("noise model", 0, "from the pseudo ground truth")
    fit = yield from fit_noise_model(pairs, run.config.noise_model)
    yield _finished(run, "noise model", began)
    return fit, pairs


def _train_pn2v(
    run: _Run, noise_model: NoiseModel, n2v: TrainedPrior | None
) -> Generator[Event, None, TrainedPrior]:
    config = run.config
    began = time.perf_counter()
    yield StageStarted("pn2v", config.training.n_steps)
    prior, seed = config.prior, config.seed + 1
    model = new_model(run.stack, config, run.device, prior.kind, prior.n_samples, seed)
    if config.starts_from_n2v and n2v is not None:
        start_from(model, n2v.model)
    on_device = noise_model.to(run.device)
    trained = yield from train_prior(
        model,
        training_batches(run.stack, config, config.training),
        negative_log_likelihood(on_device),
        config.training,
        stage="pn2v",
        seed=seed,
        stop=run.stop,
        checkpoint=run.checkpoints("pn2v"),
        preview=run.stage_preview("pn2v", on_device),
    )
    run.curves["pn2v"] = trained.curve
    yield _finished(run, "pn2v", began)
    return trained


def _refine(
    run: _Run, trained: TrainedPrior, noise_model: NoiseModel
) -> Generator[Event, None, tuple[PriorNetwork | None, bool]]:
    """Refine round after round; the last whole round counts.

    A round that was stopped in its middle, at a high learning rate, can be worse than
    what it started from.
    """
    current, refined = trained, None
    for number in range(1, run.config.n_refinements + 1):
        if current.is_stopped:
            break
        began, stage = time.perf_counter(), f"refinement {number}"
        yield StageStarted(stage, run.config.refinement.n_steps)
        current = yield from refine(
            current.model,
            noise_model,
            run.stack,
            run.config.refinement,
            stage=stage,
            seed=run.config.seed + 1 + number,
            stop=run.stop,
            checkpoint=run.checkpoints(stage),
            preview=run.stage_preview(stage, start=trained.model),
        )
        run.curves[stage] = current.curve
        if not current.is_stopped:
            refined = current.model
        yield _finished(run, stage, began)
    return refined, current.is_stopped


def start_from(model: PriorNetwork, trained: PriorNetwork) -> None:
    """Give a PN2V network the weights of a trained Noise2Void, in place."""
    model.network.load_state_dict(trained.network.state_dict())
    start = getattr(model.prior, "start_from", None)
    if start is not None:
        start(trained.prior)


def _choose(
    run: _Run,
    model: PriorNetwork,
    refined: PriorNetwork | None,
    noise_model: NoiseModel,
) -> Generator[Event, None, Denoiser]:
    options = _options(run, model, refined)
    estimate, is_blind = options[0]
    denoiser = Denoiser(
        model,
        noise_model,
        run.blindness,
        estimate,
        is_blind,
        "as asked for",
        refined=refined,
    )
    if len(options) == 1 or run.stop.is_stopped:
        return denoiser
    began = time.perf_counter()
    yield StageStarted("inference choice", 0)
    choice = choose_inference(denoiser, run.stack.images, options, seed=run.config.seed)
    yield Notice(f"Estimate used: {choice.reason}.")
    yield _finished(run, "inference choice", began)
    return replace(
        denoiser,
        estimate=choice.estimate,
        is_blind=choice.is_blind,
        reason=choice.reason,
    )


def _options(
    run: _Run, model: PriorNetwork, refined: PriorNetwork | None
) -> list[tuple[str, bool]]:
    """List what may be chosen, the one to use without comparison first.

    After training with mean replacement the network makes good use of the pixel it
    predicts, so that MMSE in one pass counts the observation twice: measured up to
    0.6 dB below the prior mean of the same pass. It is then offered blind only.
    """
    wanted = run.config.inference
    passes = {"auto": [False, True], "no": [False], "yes": [True]}[wanted.blind]
    options = []
    if refined is not None and wanted.estimate in ("auto", "refined"):
        options.append(("refined", False))
    counts_twice = run.blindness.replacement == "mean" and wanted.blind == "auto"
    if model.n_samples > 1 and wanted.estimate in ("auto", "mmse"):
        options += [("mmse", b) for b in passes if b or not counts_twice]
    has_std = model.n_samples > 1 or not wanted.posterior_std
    if has_std and wanted.estimate in ("auto", "prior-mean"):
        # nor is a blind prior mean worth its passes: measured 0.1 to 0.6 dB below
        few = passes[:1] if counts_twice else passes
        options += [("prior-mean", b) for b in few]
    if not options and run.stop.is_stopped:
        return [("prior-mean", False)]  # what was asked for is not there yet
    if not options:
        raise BadSetting(
            f"The estimate '{wanted.estimate}' cannot be had with method "
            f"'{run.config.method}' and these settings. Choose 'auto'."
        )
    return options


def _timed(run: _Run, job: Generator[Event, None, R]) -> Generator[Event, None, R]:
    """Take note of the seconds of the stages that a job tells of."""
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, StageFinished):
            run.seconds[event.stage] = event.seconds
        yield event


def _finished(run: _Run, stage: str, began: float) -> StageFinished:
    run.seconds[stage] = time.perf_counter() - began
    return StageFinished(stage, run.seconds[stage])
