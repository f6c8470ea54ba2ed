"""The stages of a journey: Noise2Void or pairs, noise model, PN2V, refinement."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from napari_ppn2v.core.batches import (
    Crops,
    ImagePairs,
    MaskedObservations,
    NoisyPairs,
)
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import kind_of
from napari_ppn2v.core.noise_models.fitting import FittedNoiseModel, fit_noise_model
from napari_ppn2v.core.noise_weights import noise_deviance
from napari_ppn2v.core.objectives import (
    deviance,
    negative_log_likelihood,
    squared_error,
)
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.prior_network import PriorNetwork
from napari_ppn2v.events import StageFinished, StageStarted
from napari_ppn2v.pipeline.coverage import SIGNAL_RANGE, rough_range
from napari_ppn2v.pipeline.noise_sources import (
    Calibration,
    GivenNoiseModel,
    NoiseSource,
    Stoppable,
    Stopped,
    bootstrapped_pairs,
    unstoppable,
)
from napari_ppn2v.pipeline.preview import Preview, StagePreview
from napari_ppn2v.pipeline.refinement import refine
from napari_ppn2v.pipeline.training import CheckpointStore, CurvePoint, train_prior

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_ppn2v.core.batches import BatchSource
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.objectives import Objective
    from napari_ppn2v.core.training_stack import TrainingStack
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
    from napari_ppn2v.pipeline.training import TrainedPrior
    from napari_ppn2v.stop import StopToken

R = TypeVar("R")

Checkpoints = Callable[[str], CheckpointStore | None]
"""Gives the place where the training of a stage keeps its state."""


@dataclass
class Journey:
    """What the stages of one journey share; curves and seconds grow with them.

    Trainings share their batches among `device` and `other_devices`; all else is done
    on `device`.
    """

    stack: TrainingStack
    config: RunConfig
    device: torch.device
    stop: StopToken
    checkpoints: Checkpoints
    preview: Preview | None = None
    other_devices: Sequence[torch.device] = ()
    curves: dict[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def blindness(self) -> Blindness:
        """How pixels are hidden in training."""
        training = self.config.training
        return Blindness(training.mask_box, training.replacement)

    def provenance(self) -> dict[str, Any]:
        """Return what a denoiser shall know of the data it was trained on."""
        return {SIGNAL_RANGE: list(rough_range(self.stack.images))}

    def stage_preview(
        self,
        stage: str,
        noise_model: NoiseModel | None = None,
        start: PriorNetwork | None = None,
    ) -> StagePreview | None:
        """Return the previews of one stage, None where nobody looks."""
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
            config.network,
            prior_kind,
            n_samples,
            stack.normalisation(),
            kind_of(config.network),
        )
    return model.to(device)


def training_batches(
    stack: TrainingStack, config: RunConfig, training: TrainingConfig
) -> BatchSource:
    """Return the batches of a method; patches fit into the images and the network."""
    smallest = min(min(image.shape) for image in stack.images)
    stride = config.network.stride
    size = min(training.patch_size, smallest) // stride * stride
    crops = Crops(stack, size, training.batch_size)
    if config.needs_targets:
        pairs = {"care": ImagePairs, "n2n": NoisyPairs}[config.method]
        return pairs(crops, config.seed)
    return MaskedObservations(
        crops, training.mask_box, training.replacement, config.seed
    )


def train_n2v(
    run: Journey, start: Start | None = None
) -> Generator[Event, None, TrainedPrior]:
    """Train Noise2Void, from untrained weights or longer."""
    return (yield from _train_mean(run, "n2v", start))


def train_on_targets(
    run: Journey, start: Start | None = None
) -> Generator[Event, None, TrainedPrior]:
    """Train CARE or Noise2Noise, from untrained weights or longer.

    Network, normalisation (that of the noisy images, for the targets too) and
    objective are those of Noise2Void; only what the network sees and what it is
    compared with differ (Krull et al. 2019, Eqs. 7, 8 and 10).
    """
    return (yield from _train_mean(run, run.config.method, start))


def _train_mean(
    run: Journey, stage: str, start: Start | None
) -> Generator[Event, None, TrainedPrior]:
    """Train a network of one value per pixel by its squared error."""
    config, seed = run.config.pretraining, run.config.seed
    start = start or Start(
        stage,
        new_model(run.stack, run.config, run.device, "free", 1, seed),
        config,
        seed,
        is_trained=False,
    )
    objective = mean_objective(run.stack, run.config, start.model.normalisation.std)
    return (yield from _train(run, start, objective))


def mean_objective(stack: TrainingStack, config: RunConfig, std: float) -> Objective:
    """Return the loss that networks of one value per pixel are trained with.

    Noisy targets count by their noise. Clean ones hold none. `std` is that of the data.
    """
    noise = None
    if config.pretraining.weighting == "noise" and config.method != "care":
        noise = noise_deviance(stack.images, std)
    return squared_error(std) if noise is None else deviance(std, noise)


def train_pn2v(
    run: Journey,
    noise_model: NoiseModel,
    n2v: PriorNetwork | None,
    start: Start | None = None,
) -> Generator[Event, None, TrainedPrior]:
    """Train Probabilistic Noise2Void, from Noise2Void, untrained weights or longer."""
    if start is None:
        config, prior, seed = run.config, run.config.prior, run.config.seed + 1
        model = new_model(
            run.stack, config, run.device, prior.kind, prior.n_samples, seed
        )
        if config.starts_from_n2v and n2v is not None:
            start_from(model, n2v)
        start = Start("pn2v", model, config.training, seed, is_trained=False)
    on_device = noise_model.to(run.device)
    objective = negative_log_likelihood(on_device)
    return (yield from _train(run, start, objective, on_device))


@dataclass(frozen=True)
class Start:
    """What a training starts from, and how it goes on.

    `model` is trained in place; where it `is_trained` already, its weights count
    among those of which the best are kept.
    """

    stage: str
    model: PriorNetwork
    config: TrainingConfig
    seed: int
    is_trained: bool


def _train(
    run: Journey,
    start: Start,
    objective: Objective,
    noise_model: NoiseModel | None = None,
) -> Generator[Event, None, TrainedPrior]:
    """Train on the batches of the method."""
    began, stage = time.perf_counter(), start.stage
    yield StageStarted(stage, start.config.n_steps)
    trained = yield from train_prior(
        start.model,
        training_batches(run.stack, run.config, start.config),
        objective,
        start.config,
        stage=stage,
        seed=start.seed,
        stop=run.stop,
        checkpoint=run.checkpoints(stage),
        preview=run.stage_preview(stage, noise_model),
        keeps_start=start.is_trained,
        other_devices=run.other_devices,
    )
    run.curves[stage] = trained.curve
    yield finished(run, stage, began)
    return trained


def fit_stage(
    run: Journey, source: NoiseSource, n2v: PriorNetwork | None
) -> Generator[
    Event, None, tuple[FittedNoiseModel | None, SignalObservationPairs | None]
]:
    """Fit the noise model that the source asks for; None twice if it is given.

    A stop before any fit is done gives no noise model either.
    """
    if isinstance(source, GivenNoiseModel):
        return None, None
    began, fit, pairs = time.perf_counter(), None, None
    try:
        if isinstance(source, Calibration):
            yield StageStarted("noise model", 0, "from the calibration recording")
            scenes = [Stoppable(scene, run.stop) for scene in source.scenes]
            pairs = SignalObservationPairs.from_calibration(scenes)
        else:
            assert n2v is not None
            pairs = yield from _pseudo_ground_truth(run, n2v)
            if pairs is None:
                return None, None
            yield StageStarted("noise model", 0, "from the pseudo ground truth")
        fit = yield from fit_noise_model(pairs, run.config.noise_model, run.stop)
    except Stopped:
        pass
    yield finished(run, "noise model", began)
    return fit, None if pairs is None else unstoppable(pairs)


def _pseudo_ground_truth(
    run: Journey, n2v: PriorNetwork
) -> Generator[Event, None, SignalObservationPairs | None]:
    return (
        yield from _timed(
            run,
            bootstrapped_pairs(
                n2v,
                run.stack,
                run.blindness,
                kind=run.config.pseudo_ground_truth,
                seed=run.config.seed,
                stop=run.stop,
            ),
        )
    )


@dataclass(frozen=True)
class Rounds:
    """Which rounds of refinement are done, and from where.

    Attributes
    ----------
    model : its prior means are the pseudo clean images of the first round
    compared : network whose estimate the previews show as prior mean
    first : number of the first round
    count : number of rounds
    config : of each round
    keeps_start : whether the weights that a round starts from may be its best
    """

    model: PriorNetwork
    compared: PriorNetwork
    first: int
    count: int
    config: TrainingConfig
    keeps_start: bool = False


def refine_in_rounds(
    run: Journey, rounds: Rounds, noise_model: NoiseModel
) -> Generator[Event, None, tuple[PriorNetwork | None, bool]]:
    """Refine round after round; the last whole round counts.

    A round that was stopped in its middle, at a high learning rate, can be worse than
    what it started from.

    Returns
    -------
    The refined network, None if no round was done, and whether the user stopped.
    """
    current, refined = rounds.model, None
    for number in range(rounds.first, rounds.first + rounds.count):
        began, stage = time.perf_counter(), f"refinement {number}"
        yield StageStarted(stage, rounds.config.n_steps)
        trained = yield from refine(
            current,
            noise_model,
            run.stack,
            rounds.config,
            stage=stage,
            seed=run.config.seed + 1 + number,
            stop=run.stop,
            checkpoint=run.checkpoints(stage),
            preview=run.stage_preview(stage, start=rounds.compared),
            # a Noise2Void has no width yet that a validation could judge
            keeps_start=rounds.keeps_start and current.prior_kind == "gaussian",
            other_devices=run.other_devices,
        )
        if trained.curve:
            run.curves[stage] = trained.curve
        yield finished(run, stage, began)
        if trained.is_stopped:
            return refined, True
        current = refined = trained.model
    return refined, False


def start_from(model: PriorNetwork, trained: PriorNetwork) -> None:
    """Give a PN2V network the weights of a trained Noise2Void, in place."""
    model.network.load_state_dict(trained.network.state_dict())
    start = getattr(model.prior, "start_from", None)
    if start is not None:
        start(trained.prior)


def _timed(run: Journey, job: Generator[Event, None, R]) -> Generator[Event, None, R]:
    """Take note of the seconds of the stages that a job tells of."""
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, StageFinished):
            run.seconds[event.stage] = event.seconds
        yield event


def finished(run: Journey, stage: str, began: float) -> StageFinished:
    """Take note of the seconds of a stage and return the event of its end."""
    run.seconds[stage] = time.perf_counter() - began
    return StageFinished(stage, run.seconds[stage])
