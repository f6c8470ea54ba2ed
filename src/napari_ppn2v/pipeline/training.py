"""Training as a generator: steps, validation, checkpoints, the best weights kept."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import torch

from napari_ppn2v.core.memory import named_memory_errors
from napari_ppn2v.core.optimizers import make_optimizer
from napari_ppn2v.core.prior_network import PriorNetwork, pixels
from napari_ppn2v.core.weight_average import WeightAverage
from napari_ppn2v.errors import BadData, BadFile
from napari_ppn2v.events import StepDone, Validated
from napari_ppn2v.files.lazy import DAMAGED
from napari_ppn2v.pipeline.batch_parts import BatchParts
from napari_ppn2v.pipeline.replicas import Replica, Replicas
from napari_ppn2v.pipeline.schedules import (
    OneCycle,
    Plateau,
    Schedule,
    gain_of_few_steps,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_ppn2v.core.batches import Batch, BatchSource
    from napari_ppn2v.core.objectives import Objective
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import TrainingConfig
    from napari_ppn2v.pipeline.preview import StagePreview
    from napari_ppn2v.stop import StopToken

GRADIENT_NORM = 1.0

R = TypeVar("R")


class CheckpointStore(Protocol):
    """Where a training keeps its state; saving replaces the last one atomically."""

    def save(self, state: dict[str, Any]) -> None:
        """Keep this state in place of the last one."""
        ...

    def load(self) -> dict[str, Any] | None:
        """Return the kept state, or None."""
        ...

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed since the last save."""
        ...


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One validation: losses are means per pixel."""

    step: int
    train_loss: float
    validation_loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainedPrior:
    """Result of a training.

    Attributes
    ----------
    model : in evaluation mode, with the best weights by validation loss
    curve : one point for each validation
    n_steps : steps really done
    best_step : step of the kept weights
    is_stopped : whether the user stopped before the last step
    """

    model: PriorNetwork
    curve: tuple[CurvePoint, ...]
    n_steps: int
    best_step: int
    is_stopped: bool


@dataclass
class _Progress:
    """What changes during training besides the model."""

    step: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    curve: list[CurvePoint] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0


class Trainer:
    """One training: its steps, validations and state; `train_prior` drives it.

    The gradients of the `parts` of a batch add up to that of the batch.
    """

    def __init__(
        self,
        model: PriorNetwork,
        source: BatchSource,
        objective: Objective,
        config: TrainingConfig,
        seed: int,
        other_devices: Sequence[torch.device] = (),
    ) -> None:
        self.model, self.source, self.objective = model, source, objective
        self.replicas = Replicas(model, objective, other_devices)
        self.config = config
        self.rng = np.random.default_rng(seed)
        self.optimizer = make_optimizer(config.optimizer, model)
        self.average = WeightAverage(model)
        self.schedule = make_schedule(config)
        self.progress = _Progress()
        self.validation = source.validation()
        self.parts = BatchParts(
            config.batch_size, config.patch_size, len(self.replicas)
        )

    def loss(self, batch: Batch, replica: Replica) -> torch.Tensor:
        """Mean loss per pixel of a batch, on the device of a replica."""
        model = replica.model
        normal = model.normalisation
        inputs = torch.from_numpy(
            (batch.inputs - np.float32(normal.mean)) / np.float32(normal.std)
        )
        features = model.features(inputs[:, None])
        where = torch.from_numpy(batch.where).to(model.device)
        targets = torch.from_numpy(batch.targets).to(model.device)
        samples, log_weights = model.samples(pixels(features, where))
        return replica.objective(samples, log_weights, targets).mean()

    def step(self) -> float:
        """Do one optimizer step and return its loss.

        Raises
        ------
        BadData  If the loss is not finite.
        OutOfMemory  If not even single patches fit into memory.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.progress.step)
        batch = self.source.draw(self.rng)
        loss = self._within_memory(lambda: self._gradient(batch))
        with named_memory_errors("while the weights were changed"):
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
            self.optimizer.step()
        self.progress.step += 1
        if self.config.averages_weights:
            self.average.add(self.progress.step)
        value = float(loss)
        if not math.isfinite(value):
            raise BadData(
                f"The training loss became {value} at step {self.progress.step}. "
                "Lower the learning rate, or check the image for extreme values."
            )
        self.progress.losses.append(value)
        return value

    def _gradient(self, batch: Batch) -> torch.Tensor:
        """Make the gradient of the mean loss of a batch; return that loss."""
        self.optimizer.zero_grad(set_to_none=True)
        return self._mean_loss(batch)

    def _mean_loss(self, batch: Batch) -> torch.Tensor:
        """Return the mean loss of a batch, and make its gradient where that is on."""

        def work(replica: Replica, parts: list[Batch]) -> torch.Tensor:
            total = torch.zeros((), device=replica.model.device)
            for part in parts:
                loss = self.loss(part, replica)
                if len(part.where) < len(batch.where):
                    loss = len(part.where) / len(batch.where) * loss
                if torch.is_grad_enabled():
                    loss.backward()  # type: ignore[no-untyped-call]
                total = total + loss.detach()
            return total

        return self.replicas.total(batch.parts(self.parts.count), work)

    def _within_memory(self, work: Callable[[], R]) -> R:
        def clear() -> None:
            self.optimizer.zero_grad(set_to_none=True)
            self.replicas.clear()

        return self.parts.within_memory(work, clear)

    def validation_loss(self) -> float:
        """Mean loss per held-out pixel."""
        self.model.eval()
        with torch.no_grad():
            weights = [len(batch.where) for batch in self.validation]
            losses = [
                self._within_memory(
                    lambda batch=batch: float(self._mean_loss(batch))  # type: ignore[misc]
                )
                for batch in self.validation
            ]
        self.model.train()
        return float(np.average(losses, weights=weights))

    def keep_start(self) -> None:
        """Let the weights as they are be the best so far."""
        self.progress.best_loss = self.validation_loss()
        self.progress.best_weights = _on_cpu(self.model.state_dict())

    def validate(self) -> bool:
        """Measure the validation loss; keep the weights if they are the best.

        Where weights are averaged, it is the mean that is measured and kept.
        """
        with self.average.in_use():
            return self._judge(self.validation_loss())

    def _judge(self, loss: float) -> bool:
        rate = self.schedule.rate(self.progress.step - 1)
        self.schedule.validated(loss)
        now = self.progress
        now.curve.append(
            CurvePoint(now.step, float(np.mean(now.losses)), loss, rate, now.seconds)
        )
        now.losses.clear()
        if loss < now.best_loss:
            now.best_loss, now.best_step = loss, now.step
            now.best_weights = _on_cpu(self.model.state_dict())
            return True
        return False

    def state(self) -> dict[str, Any]:
        """Everything that decides how training goes on."""
        now = self.progress
        return {
            "step": now.step,
            "best_loss": now.best_loss,
            "best_step": now.best_step,
            "best_weights": now.best_weights,
            "curve": [
                [p.step, p.train_loss, p.validation_loss, p.learning_rate, p.seconds]
                for p in now.curve
            ],
            "losses": list(now.losses),
            "seconds": now.seconds,
            "weights": _on_cpu(self.model.state_dict()),
            "average": self.average.state(),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "schedule": self.schedule.state(),
            "rng": json.dumps(self.rng.bit_generator.state),
            "n_parts": self.parts.count,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state` as if training had never been interrupted."""
        try:
            self.model.load_state_dict(state["weights"])
            # not in older states: the mean then starts with these weights
            average = state.get("average", state["weights"])
            if self.config.averages_weights:
                self.average.restore(average)
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.restore(state["schedule"])
            self.rng.bit_generator.state = json.loads(state["rng"])
            # not in older states; with fewer devices than before, parts stay parts
            self.parts.count = max(state.get("n_parts", 1), self.parts.count)
            self.progress = _Progress(
                step=state["step"],
                best_loss=state["best_loss"],
                best_step=state["best_step"],
                best_weights=state["best_weights"],
                curve=[CurvePoint(*point) for point in state["curve"]],
                losses=list(state["losses"]),
                seconds=state["seconds"],
            )
        except DAMAGED as error:
            raise _foreign(error) from error

    def finish(self, *, is_stopped: bool) -> TrainedPrior:
        """Put the best weights back and return the result."""
        now = self.progress
        if now.best_weights:
            self.model.load_state_dict(now.best_weights)
        return TrainedPrior(
            model=self.model.eval(),
            curve=tuple(now.curve),
            n_steps=now.step,
            best_step=now.best_step if now.best_weights else now.step,
            is_stopped=is_stopped,
        )


def train_prior(
    model: PriorNetwork,
    source: BatchSource,
    objective: Objective,
    config: TrainingConfig,
    *,
    stage: str,
    seed: int,
    stop: StopToken,
    checkpoint: CheckpointStore | None = None,
    preview: StagePreview | None = None,
    keeps_start: bool = False,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, TrainedPrior]:
    """Train `model` in place on batches of `source`.

    Parameters
    ----------
    model : on the device to train on
    source : gives random batches, and fixed validation batches of held-out pixels
    objective : loss per pixel
    config : steps, rates, validation
    stage : name in the events, e.g. "n2v" or "pn2v"
    seed : of the data order and the masks; with equal seed, steps, threads and
        machine a CPU gives equal bits
    stop : ends training at the next step; the best weights so far are the result
    checkpoint : keeps the state when due and at a stop, and gives it back at the
        start; a training resumed from it gives the bits of one never interrupted
    preview : denoises what the user looks at now and then; changes no bit either
    keeps_start : count the weights that training starts from among those of which
        the best are kept
    other_devices : that share each batch with that of `model`, in equal parts; with
        equal devices, too, a CPU gives equal bits

    Yields
    ------
    StepDone after every step, Validated after every validation, PreviewReady.

    Raises
    ------
    BadData  If the loss stops being finite.
    OutOfMemory  If not even single patches fit into memory.
    BadFile  If the kept state belongs to other settings.
    """
    trainer = Trainer(model, source, objective, config, seed, other_devices)
    yield from trainer.replicas.news(config.batch_size)
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is not None:
        trainer.restore(saved)
    elif keeps_start:
        trainer.keep_start()
    model.train()
    now = trainer.progress
    while now.step < config.n_steps and not stop.is_stopped:
        began = time.perf_counter()
        loss = trainer.step()
        now.seconds += time.perf_counter() - began
        yield from trainer.parts.news()
        yield StepDone(stage, now.step, config.n_steps, loss)
        if now.step % config.steps_per_validation == 0 or now.step == config.n_steps:
            began = time.perf_counter()
            is_best = trainer.validate()
            now.seconds += time.perf_counter() - began
            yield from trainer.parts.news()
            yield _validated(stage, config.n_steps, now.curve[-1], is_best=is_best)
        if preview is not None:
            with trainer.average.in_use():
                yield from preview.events(model, now.step, stop)
        if checkpoint is not None and checkpoint.is_due:
            checkpoint.save(trainer.state())
    is_stopped = now.step < config.n_steps
    # a finished stage too, so that a resumed run does not repeat it
    is_new = saved is None or saved["step"] < now.step
    if is_new and checkpoint is not None:
        checkpoint.save(trainer.state())
    return trainer.finish(is_stopped=is_stopped)


def finished_training(
    model: PriorNetwork, config: TrainingConfig, checkpoint: CheckpointStore | None
) -> TrainedPrior | None:
    """Return the training that a checkpoint holds if all its steps are done.

    It needs no training data. The best weights are put into `model`.

    Raises
    ------
    BadFile  If the kept state belongs to other settings.
    """
    saved = checkpoint.load() if checkpoint is not None else None
    try:
        if saved is None or saved["step"] < config.n_steps or not saved["best_weights"]:
            return None
        model.load_state_dict(saved["best_weights"])
        return TrainedPrior(
            model=model.eval(),
            curve=tuple(CurvePoint(*point) for point in saved["curve"]),
            n_steps=saved["step"],
            best_step=saved["best_step"],
            is_stopped=False,
        )
    except DAMAGED as error:
        raise _foreign(error) from error


def _foreign(error: Exception) -> BadFile:
    return BadFile(
        f"The saved training state does not fit these settings ({error}). Start again "
        "without resuming, or use the settings of the interrupted run."
    )


def make_schedule(config: TrainingConfig) -> Schedule:
    """Return the learning-rate schedule that the settings ask for."""
    if config.schedule == "plateau":
        return Plateau(config.learning_rate, config.patience)
    gain = gain_of_few_steps(config)
    return OneCycle(gain * config.learning_rate, config.n_steps)


def _validated(
    stage: str, n_steps: int, point: CurvePoint, *, is_best: bool
) -> Validated:
    return Validated(
        stage=stage,
        step=point.step,
        total=n_steps,
        train_loss=point.train_loss,
        validation_loss=point.validation_loss,
        learning_rate=point.learning_rate,
        seconds=point.seconds,
        is_best=is_best,
    )


def _on_cpu(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}
