"""How long a run takes on this machine, by timing a few steps of each training.

The steps are done on made-up images of the size of the real ones: they take as long,
nothing has to be read, and no peculiarity of the data can spoil the measurement.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.batches import VALIDATION_CROPS
from napari_ppn2v.core.inference import estimate_image
from napari_ppn2v.core.noise_models.gmm import GaussianMixtureModel
from napari_ppn2v.core.objectives import negative_log_likelihood
from napari_ppn2v.core.orientations import N_ORIENTATIONS
from napari_ppn2v.core.training_stack import DEFAULT_PIXELS, TrainingStack
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import StageFinished, StageStarted, StepDone
from napari_ppn2v.pipeline.inference_choice import CROP, MAX_CROPS
from napari_ppn2v.pipeline.journeys import new_model, training_batches
from napari_ppn2v.pipeline.noise_sources import PSEUDO_GROUND_TRUTH_PIXELS
from napari_ppn2v.pipeline.refinement import (
    LOOKED_AT_IMAGES,
    LOOKED_AT_PIXELS,
    LOOKED_AT_SIDE,
    N_NODES,
    PSEUDO_CLEAN_PIXELS,
    refinement_batches,
    refinement_objective,
)
from napari_ppn2v.pipeline.stages import mean_objective
from napari_ppn2v.pipeline.training import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_ppn2v.core.batches import BatchSource
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
    from napari_ppn2v.stop import StopToken

    Clock = Callable[[], float]

WARM_UP_STEPS = 2
TIMED_STEPS = 8
SECONDS_PER_TRAINING = 0.7  # timed steps end here, one at least is done
FEWEST_STEPS = 20
DRY_RUN_SIDE = 256  # pixels of the made-up images, at most
MMSE_SIDE = 64  # hundreds of samples per pixel take long
N_IMAGES = 8  # enough for a full batch of a validation

# seconds that the fit of a noise model takes, seen on one thread
FIT_SECONDS = {"auto": 5.0, "gmm": 1.5, "histogram": 1.5, "camera": 1.5}
FIT_SECONDS_ELSE = 1.0


@dataclass(frozen=True)
class StepTime:
    """Seconds of one training step, and of one batch of a validation."""

    step: float
    validation_batch: float


@dataclass(frozen=True)
class Timing:
    """What the parts of a run take on this machine, with one network and threads.

    It serves all settings that share the network and the sizes of batches and
    patches: the presets fast, balanced and thorough, with each method that needs no
    targets, or with the one that needs them.

    Attributes
    ----------
    steps : of the trainings "n2v", "pn2v" and "refinement", or of "care" or "n2n"
        alone; what a stop kept from being timed is missing
    pass_per_pixel : seconds of one pass of the network
    mmse_per_pixel : seconds that the MMSE estimate takes on top of the passes
    n_training_pixels : in all frames to train on
    n_frame_pixels : in the largest frame
    is_stopped : whether the user stopped before all was timed
    """

    steps: dict[str, StepTime] = field(default_factory=dict)
    pass_per_pixel: float = math.nan
    mmse_per_pixel: float = math.nan
    n_training_pixels: int = 0
    n_frame_pixels: int = 0
    is_stopped: bool = False

    def seconds_for(
        self,
        config: RunConfig,
        n_pixels: int,
        needs_n2v: bool = True,
        *,
        noise_source: str = "bootstrap",
    ) -> float:
        """Estimate the wall time of a whole run.

        Parameters
        ----------
        n_pixels : to denoise, in all frames
        needs_n2v : whether Noise2Void is trained; method pn2v with a calibration or
            a given noise model can do without
        noise_source : "bootstrap", "calibration" or "given"

        Returns
        -------
        float
            Seconds; nan where the timing was stopped before it knew.
        """
        stages = self.stages_for(config, n_pixels, needs_n2v, noise_source=noise_source)
        return sum(stages.values())

    def stages_for(
        self,
        config: RunConfig,
        n_pixels: int,
        needs_n2v: bool = True,
        *,
        noise_source: str = "bootstrap",
    ) -> dict[str, float]:
        """Estimate the wall time of each stage; see `seconds_for`."""
        trainings = dict(config.stages)
        name = next(iter(trainings))
        first = trainings.pop(name)
        is_trained = needs_n2v or config.needs_targets
        seconds = {name: self._training(name, first)} if is_trained else {}
        if config.uses_noise_model:
            seconds |= self._noise_model(config, noise_source)
        for stage, training in trainings.items():
            seconds[stage] = self._training(stage, training)
        if config.uses_noise_model:
            crops = min(MAX_CROPS * CROP**2, self.n_training_pixels)
            # real and simulated observations, in one pass and as it will be denoised
            both = 2 * (self.pass_per_pixel + self._per_pixel(config))
            seconds["inference choice"] = crops * both
        seconds["denoise"] = n_pixels * self._per_pixel(config)
        return seconds

    def training_seconds(self, config: RunConfig) -> float:
        """Estimate the wall time of the training steps alone, validation included."""
        return sum(
            self._steps(stage, training) for stage, training in config.stages.items()
        )

    def steps_within(self, config: RunConfig, seconds: float) -> int:
        """Return how many steps, in all stages together, take about `seconds`.

        At least a few, even if they take longer or were not timed.
        """
        n_steps = config.n_steps
        # validations do not grow with the steps: the first answer is not yet the last
        for _ in range(3):
            needed = self.training_seconds(config.with_steps(n_steps))
            if not math.isfinite(needed):
                return FEWEST_STEPS
            n_steps = max(FEWEST_STEPS, int(n_steps * seconds / needed))
        return n_steps

    def _steps(self, stage: str, training: TrainingConfig) -> float:
        nothing = StepTime(math.nan, math.nan)
        times = self.steps.get(stage.split()[0], nothing)
        regions = training.held_out_share * self.n_training_pixels
        crops = min(VALIDATION_CROPS, max(1.0, regions / training.patch_size**2))
        batches = math.ceil(crops / training.batch_size)
        validations = math.ceil(training.n_steps / training.steps_per_validation)
        per_validation = batches * times.validation_batch
        return training.n_steps * times.step + validations * per_validation

    def _training(self, stage: str, training: TrainingConfig) -> float:
        seconds = self._steps(stage, training)
        if stage.startswith("refinement"):
            pixels = min(PSEUDO_CLEAN_PIXELS, self.n_training_pixels)
            # simulated observations of some show what has been lost
            shown = LOOKED_AT_IMAGES * min(self.n_frame_pixels, LOOKED_AT_SIDE**2)
            again = min(pixels, max(shown, LOOKED_AT_PIXELS))
            seconds += (pixels + again) * self.pass_per_pixel
        return seconds

    def _noise_model(self, config: RunConfig, source: str) -> dict[str, float]:
        if source == "given":
            return {}
        fit = {
            "noise model": FIT_SECONDS.get(config.noise_model.kind, FIT_SECONDS_ELSE)
        }
        if source == "calibration":
            return fit
        blind = config.pretraining.mask_box**2
        passes = {"one-pass": 1, "blind": blind, "midway": 1 + blind}
        frames = math.ceil(PSEUDO_GROUND_TRUTH_PIXELS / max(1, self.n_frame_pixels))
        pixels = min(frames * self.n_frame_pixels, self.n_training_pixels)
        per_pixel = passes[config.pseudo_ground_truth] * self.pass_per_pixel
        return {"pseudo ground truth": pixels * per_pixel, **fit}

    def _per_pixel(self, config: RunConfig) -> float:
        """Seconds per pixel of the estimate that is used, or most likely chosen."""
        wanted = config.inference
        is_mmse = config.method == "pn2v" and wanted.estimate != "prior-mean"
        is_blind = wanted.blind == "yes" or (wanted.blind == "auto" and is_mmse)
        training = config.training if config.method == "pn2v" else config.pretraining
        if wanted.estimate == "refined" or config.method == "refined":
            is_blind = False
        in_sight = N_ORIENTATIONS if wanted.average_orientations else 1
        passes = training.mask_box**2 if is_blind else in_sight
        return passes * self.pass_per_pixel + is_mmse * self.mmse_per_pixel


def time_steps(
    sources: Sequence[Frames],
    config: RunConfig,
    *,
    device: torch.device,
    stop: StopToken,
    clock: Clock = time.perf_counter,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, Timing]:
    """Time a few steps of each training, a validation, and a tile; some seconds.

    Parameters
    ----------
    sources : stacks to train on; nothing is read, only their sizes count
    config : its network, prior, patches and batches are timed, for all methods that
        need no targets, or for the one of these settings that does
    clock : wall clock by default; one of processor time where others share the machine
    other_devices : that share each training batch with `device`

    Returns
    -------
    Timing  Whose `seconds_for` estimates the time of any run that shares these.
    """
    began = clock()
    kinds: tuple[str, ...] = ("n2v", "pn2v", "refinement")
    if config.needs_targets:
        kinds = (config.method,)
    total = len(kinds) * (WARM_UP_STEPS + TIMED_STEPS) + 1
    yield StageStarted("dry run", total)
    dry = _DryRun(sources, config, (device, *other_devices), stop, clock)
    steps: dict[str, StepTime] = {}
    for number, kind in enumerate(kinds):
        done = number * (WARM_UP_STEPS + TIMED_STEPS)
        found = yield from dry.train(kind, done, total)
        if found is None:
            break
        steps[kind] = found
    once, mmse = math.nan, math.nan
    if not stop.is_stopped:
        once, mmse = dry.tile()
        yield StepDone("dry run", total, total)
    pixels = sum(len(f) * f.shape[0] * f.shape[1] for f in sources)
    yield StageFinished("dry run", clock() - began)
    return Timing(
        steps=steps,
        pass_per_pixel=once,
        mmse_per_pixel=mmse,
        n_training_pixels=min(pixels, DEFAULT_PIXELS),
        n_frame_pixels=max(math.prod(frames.shape) for frames in sources),
        is_stopped=stop.is_stopped,
    )


class _DryRun:
    """Trainings of a few steps on made-up images."""

    def __init__(
        self,
        sources: Sequence[Frames],
        config: RunConfig,
        devices: Sequence[torch.device],
        stop: StopToken,
        clock: Clock,
    ) -> None:
        self.config, self.stop = config, stop
        self.device, *self.other_devices = devices
        self.clock = clock
        shape = [
            min(DRY_RUN_SIDE, *(frames.shape[axis] for frames in sources))
            for axis in (0, 1)
        ]
        rng = np.random.default_rng(config.seed)
        images = [rng.normal(100, 5, shape).astype(np.float32) for _ in range(N_IMAGES)]
        held_out = [np.zeros(shape, bool) for _ in images]
        for mask in held_out:
            mask[: shape[0] // 4, : shape[1] // 4] = True
        targets = images[::-1] if config.needs_targets else None
        self.stack = TrainingStack(images, held_out, targets)
        self.noise_model = _typical_noise_model()

    def train(
        self, kind: str, done: int, total: int
    ) -> Generator[Event, None, StepTime | None]:
        """Time some steps and a validation of one training; None if stopped."""
        trainer = self._trainer(kind)
        trainer.model.train()
        began = self.clock()
        for number in range(WARM_UP_STEPS + TIMED_STEPS):
            if number <= WARM_UP_STEPS:
                began = self.clock()
            trainer.step()
            seconds = self.clock() - began
            yield StepDone("dry run", done + number + 1, total)
            if self.stop.is_stopped:
                return None
            timed = number + 1 - WARM_UP_STEPS
            if timed >= 1 and seconds > SECONDS_PER_TRAINING:
                break
        before = self.clock()
        trainer.validate()
        validation = self.clock() - before
        return StepTime(seconds / timed, validation / len(trainer.validation))

    def _trainer(self, kind: str) -> Trainer:
        config, seed = self.config, self.config.seed
        prior, training = ("free", 1), config.pretraining
        if kind == "pn2v":
            prior = (config.prior.kind, config.prior.n_samples)
            training = config.training
        elif kind == "refinement":
            prior, training = ("gaussian", N_NODES), config.refinement
        model = new_model(self.stack, config, self.device, *prior, seed)
        std = model.normalisation.std
        source: BatchSource = training_batches(self.stack, config, training)
        objective = mean_objective(self.stack, config, std)
        if kind == "pn2v":
            objective = negative_log_likelihood(self.noise_model.to(self.device))
        elif kind == "refinement":
            source = refinement_batches(
                self.stack, self.noise_model, model, training, seed
            )
            objective = refinement_objective(self.stack, training, std)
        others = self.other_devices
        return Trainer(model, source, objective, training, seed, others)

    def tile(self) -> tuple[float, float]:
        """Seconds per pixel of a pass, and what the MMSE estimate adds to it."""
        config, image = self.config, self.stack.images[0]
        model = new_model(self.stack, config, self.device, "free", 1, config.seed)
        once = _seconds(lambda: estimate_image(model, None, image, None), self.clock)
        prior = config.prior
        many = new_model(
            self.stack, config, self.device, prior.kind, prior.n_samples, config.seed
        )
        noise_model = self.noise_model.to(self.device)
        small = image[:MMSE_SIDE, :MMSE_SIDE]
        both = _seconds(
            lambda: estimate_image(many, noise_model, small, None), self.clock
        )
        once, both = once / image.size, both / small.size
        return once, max(0.0, both - once)


def _seconds(work: Callable[[], object], clock: Clock) -> float:
    """Time the second of two calls; the first one may have to set something up."""
    work()
    began = clock()
    work()
    return clock() - began


def _typical_noise_model() -> GaussianMixtureModel:
    """Return three Gaussians of noise as wide as that of the made-up images."""
    coefficients = torch.zeros(9, 2)
    coefficients[3:6, 0] = math.log(25.0)
    return GaussianMixtureModel(
        coefficients, min_signal=80.0, max_signal=120.0, variance_floor=1.0
    )


def plan_steps(
    sources: Sequence[Frames],
    config: RunConfig,
    minutes: float,
    *,
    device: torch.device,
    stop: StopToken,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, int]:
    """Time a few steps of each training and return how many fit into the budget.

    Parameters
    ----------
    minutes : for the training steps, validation included; reading, the noise-model
        fit and the denoising come on top (seconds)
    other_devices : that share each training batch with `device`

    Returns
    -------
    int
        Steps in all stages together, for `RunConfig.with_steps`. Training with that
        number is repeatable, which training by the clock is not.

    Raises
    ------
    BadSetting  If the budget is not a positive number of minutes.
    """
    if not 0 < minutes < math.inf:
        raise BadSetting(
            f"The training budget is {minutes:g} minutes. It must be more than 0, and "
            "finite."
        )
    timing = yield from time_steps(
        sources, config, device=device, stop=stop, other_devices=other_devices
    )
    return timing.steps_within(config, 60 * minutes)
