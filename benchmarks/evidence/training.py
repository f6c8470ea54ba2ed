"""Train one method on one task, counting the CPU seconds of everything it needs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from common import cpu_seconds
from equal_time import StageClock
from evidence.data_sets import Pairs, Repeats
from evidence.methods import CPU_SIZE, settings, with_steps
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models.fitting import fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.events import drain
from napari_ppn2v.files.atomic import write_json_atomically
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.pipeline.journeys import no_checkpoints, train_denoiser
from napari_ppn2v.pipeline.noise_sources import (
    Bootstrap,
    Calibration,
    GivenNoiseModel,
)
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from evidence.data_sets import Task
    from evidence.methods import Method, Size
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.pipeline.journeys import NoiseSource, TrainedRun

CPU = torch.device("cpu")
NEVER = 1e9  # seconds between checkpoints: only finished trainings are kept
SHARED = "n2v"  # the stage that methods of a group have in common


@dataclass(frozen=True)
class Trained:
    """A denoiser, what it cost and how it got there.

    Attributes
    ----------
    run : with the denoiser, the curves and the noise-model fit
    seconds : CPU seconds of each stage; a shared stage counts for every method
    steps : optimizer steps of each training
    clock : of the stages, to plan steps with
    """

    run: TrainedRun
    seconds: dict[str, float]
    steps: dict[str, int]
    clock: StageClock

    @property
    def denoiser(self) -> Denoiser:
        """The trained denoiser."""
        return self.run.denoiser


def train(
    method: Method,
    task: Task,
    *,
    seed: int,
    n_steps: int,
    size: Size = CPU_SIZE,
    config: RunConfig | None = None,
    device: torch.device = CPU,
    shared: Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Trained:
    """Train a method on a task; deterministic on the CPU for equal arguments.

    Parameters
    ----------
    seed : of weights, patches, masks and synthetic noise
    n_steps : in all trainings of the method together
    config : settings and steps in place of those of the method
    shared
        Folder where trained Noise2Void networks are kept, so that methods that begin
        with the same one train it once. Its seconds count for each of them.
    on_event : called with each event, outside of the clock
    """
    if config is None:
        config = settings(method, seed, task.training, size)
        config = with_steps(method, config, n_steps)
    kept = _Kept.of(shared, task, config)
    clock = StageClock(tuple(config.stages))

    def take_time(event: Event) -> None:
        clock(event)
        if on_event is not None:
            on_event(event)
            clock.restart()

    source = noise_source(method, task, config)
    targets = task.targets if method.family in ("supervised", "noisy pairs") else None
    job = train_denoiser(
        [as_frames(task.training, "TYX")],
        config,
        source,
        device=device,
        stop=StopToken(),
        checkpoints=no_checkpoints if kept is None else kept.checkpoint,
        targets=None if targets is None else [as_frames(targets, "TYX")],
    )
    run = drain(job, take_time)
    clock.finish()
    seconds = clock.seconds_by_stage()
    if kept is not None and SHARED in seconds:
        seconds[SHARED] = kept.seconds(seconds[SHARED])
    steps = {stage: points[-1].step for stage, points in run.curves.items()}
    return Trained(run, seconds, steps, clock)


def noise_source(method: Method, task: Task, config: RunConfig) -> NoiseSource:
    """Return what the noise model of a method is made from.

    A fit to (signal, observation) images of other fields of view happens here, inside
    the method's clock.
    """
    if method.family != "calibrated":
        return Bootstrap()
    if isinstance(task.calibration, Repeats):
        return Calibration((as_frames(task.calibration.frames, "TYX"),))
    assert isinstance(task.calibration, Pairs)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        task.calibration.signal, task.calibration.observation
    )
    return GivenNoiseModel(drain(fit_noise_model(pairs, config.noise_model)).model)


@dataclass
class _Kept:
    """A trained Noise2Void on the disk, and the CPU seconds that it took."""

    path: Path

    @classmethod
    def of(cls, folder: Path | None, task: Task, config: RunConfig) -> _Kept | None:
        """Return the place for this training; equal bits in, equal place."""
        if folder is None or config.method in ("care", "n2n"):
            return None
        digest = hashlib.sha256(task.training.tobytes())
        training = config.pretraining if config.method == "n2v" else config.training
        parts: list[Any] = [asdict(config.network), asdict(config.pretraining)]
        parts += [training.patch_size, training.held_out_share]  # held-out regions
        parts += [training.held_out_frames, config.seed, torch.__version__]
        digest.update(json.dumps(parts, sort_keys=True).encode())
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"n2v-{digest.hexdigest()[:24]}.pt")

    def checkpoint(self, stage: str) -> FileCheckpoint | None:
        """Keep Noise2Void alone; what follows it is the method's own."""
        if stage != SHARED:
            return None
        return FileCheckpoint(self.path, is_resumed=True, seconds_between=NEVER)

    def seconds(self, now: float) -> float:
        """Return the seconds of the training that made it, this one or an earlier."""
        note = self.path.with_suffix(".json")
        if note.exists():
            return float(json.loads(note.read_text(encoding="utf-8"))["cpu_seconds"])
        write_json_atomically(note, {"cpu_seconds": now})
        return now


def plan_steps(
    method: Method, task: Task, budgets: Sequence[float], size: Size = CPU_SIZE
) -> list[int]:
    """Return the steps that fill each budget of CPU seconds on this machine.

    A dry run of all stages times their steps, validations and all that is fixed.
    """
    config = settings(method, 0, task.training, size, task.noise_models)
    n_steps = _dry_run_steps(budgets) * len(config.stages)
    trained = train(method, task, seed=0, n_steps=n_steps, size=size)
    return [
        trained.clock.steps_within(
            config, seconds, lambda n: with_steps(method, config, n)
        )
        for seconds in budgets
    ]


DRY_RUN_STEPS = (40, 200)


def _dry_run_steps(budgets: Sequence[float]) -> int:
    """Return the steps of each training of a dry run, more for longer budgets.

    After very few steps the pseudo ground truth is so poor that noise models take far
    longer to fit than they will, and the budget would not be used.
    """
    fewest, most = DRY_RUN_STEPS
    return int(min(most, max(fewest, 2.5 * min(budgets))))


def predict(denoiser: Denoiser, images: Any) -> tuple[list[Any], float]:
    """Denoise images (N, Y, X), ADU; also return the CPU seconds per megapixel."""
    began = cpu_seconds()
    results = [denoiser.result(denoiser.estimate_image(image)) for image in images]
    pixels = sum(image.size for image in images)
    return results, (cpu_seconds() - began) / (pixels / 1e6)
