"""Whole journeys: from noisy frames to a trained denoiser, composed of long jobs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_ppn2v.core.denoiser import TARGET_WORDS, Denoiser, require_estimate
from napari_ppn2v.core.frames import Frames, check_trainable
from napari_ppn2v.core.memory import named_memory_errors
from napari_ppn2v.pipeline.estimate_stage import choose_estimate
from napari_ppn2v.pipeline.noise_sources import (
    Bootstrap,
    GivenNoiseModel,
    NoiseSource,
    warn_of_range,
)
from napari_ppn2v.pipeline.schedules import gain_of_few_steps
from napari_ppn2v.pipeline.stack_reading import read_stack
from napari_ppn2v.pipeline.stages import (
    Checkpoints,
    Journey,
    Rounds,
    Start,
    fit_stage,
    new_model,
    refine_in_rounds,
    train_n2v,
    train_on_targets,
    train_pn2v,
    training_batches,
)
from napari_ppn2v.pipeline.targets import (
    check_targets,
    check_use_of_targets,
    warn_of_scale,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.fitting import FittedNoiseModel
    from napari_ppn2v.core.pairs import SignalObservationPairs
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
    from napari_ppn2v.pipeline.preview import Preview
    from napari_ppn2v.pipeline.training import CurvePoint
    from napari_ppn2v.stop import StopToken

__all__ = [
    "SMALLEST_SIDE",
    "Checkpoints",
    "TrainedRun",
    "new_model",
    "no_checkpoints",
    "train_denoiser",
    "train_longer",
    "training_batches",
]

SMALLEST_SIDE = 16  # pixels; below, hardly a pixel has surroundings
# Of the highest learning rate of the first training. Measured on eight simulated
# frames of 128²: after 80 steps of Noise2Void, as many again at 1, 0.3 and 0.1 of it
# gain 0.5, 0.3 and 0.2 dB; after 300 steps they change -0.1, 0.0 and -0.1 dB, and after
# 1500 none finds better weights. 0.3 still helps where training was short and does
# no harm where it was not. A third round of refinement costs 0.09 dB at 1, 0.03 at 0.3.
LONGER_RATE = 0.3


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


def train_denoiser(
    sources: Sequence[Frames],
    config: RunConfig,
    noise_source: NoiseSource | None = None,
    *,
    device: torch.device,
    stop: StopToken,
    targets: Sequence[Frames] | None = None,
    checkpoints: Checkpoints = no_checkpoints,
    preview: Preview | None = None,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, TrainedRun]:
    """Train on noisy frames alone: Noise2Void, noise model, PN2V, choice of estimate.

    The methods "care" and "n2n" train one network on pairs of a noisy frame and its
    target instead, and need no noise model.

    Parameters
    ----------
    sources : stacks of noisy frames of one channel, from one camera
    noise_source : where the (signal, observation) pairs come from; bootstrapped by
        default
    targets : for "care" and "n2n" alone: for each stack of `sources` one of clean
        frames, or of second noisy frames, of the same scenes
    checkpoints : gives, for each training, where it keeps its state; a journey
        resumed from there ends with the bits of one never interrupted
    preview : what the user looks at, to be shown denoised while training goes on
    other_devices : that share each training batch with `device`; see `replicas`

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
    noise_source = noise_source or Bootstrap()
    check_use_of_targets(
        config,
        has_targets=targets is not None,
        has_noise_model=not isinstance(noise_source, Bootstrap),
    )
    for frames in sources:
        check_trainable(frames, max(SMALLEST_SIDE, 2 * config.network.stride))
    if targets is not None:
        check_targets(sources, targets)
    if not config.uses_noise_model:
        require_estimate(config.inference.estimate, None)
    with named_memory_errors("in training"):
        stack = yield from read_stack(sources, config, stop, targets)
        run = Journey(stack, config, device, stop, checkpoints, preview, other_devices)
        done = yield from _journey(run, noise_source)
    if not config.inference.average_orientations:
        return done
    return replace(done, denoiser=replace(done.denoiser, averages_orientations=True))


def _journey(
    run: Journey, noise_source: NoiseSource
) -> Generator[Event, None, TrainedRun]:
    """Go through the stages of a method."""
    config = run.config
    if config.needs_targets:
        yield from warn_of_scale(run.stack, config.method)
        return (yield from _with_targets(run))
    n2v = None
    if _needs_n2v(config, noise_source):
        trained = yield from train_n2v(run)
        n2v = trained.model
        if config.method == "n2v" or trained.is_stopped:
            return _without_noise_model(run, n2v, is_stopped=trained.is_stopped)
    return (yield from _with_noise_model(run, noise_source, n2v))


def train_longer(
    trained: TrainedRun,
    sources: Sequence[Frames],
    config: RunConfig,
    *,
    n_steps: int | None = None,
    noise_source: NoiseSource | None = None,
    device: torch.device,
    stop: StopToken,
    targets: Sequence[Frames] | None = None,
    preview: Preview | None = None,
    checkpoints: Checkpoints = no_checkpoints,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, TrainedRun]:
    """Go on training from the weights of an earlier run, which stays as it is.

    All methods but one add a training ("n2v, longer", "pn2v, longer 2"...), method
    refined adds rounds ("refinement 3"...). A run that was stopped before it had a
    noise model trains its Noise2Void longer and then goes through the stages it
    lacks. The estimate is chosen again.

    Parameters
    ----------
    trained : of the same data and settings, finished or stopped
    n_steps : to add; by default as many as the last training had
    noise_source : for a run without noise model; the bootstrap by default
    others : as for `train_denoiser`

    Returns
    -------
    TrainedRun
        With the curves of both, and the best weights by validation loss, those of the
        earlier run included: training longer never makes the validation loss worse.
    """
    check_use_of_targets(config, has_targets=targets is not None, has_noise_model=False)
    if targets is not None:
        check_targets(sources, targets)
    stack = yield from read_stack(sources, config, stop, targets)
    run = Journey(stack, config, device, stop, checkpoints, preview, other_devices)
    run.curves.update(trained.curves)
    denoiser = trained.denoiser
    if config.needs_targets:
        start = _longer(run, config.method, denoiser.model, config.pretraining, n_steps)
        return _joined(trained, (yield from _with_targets(run, start)))
    noise_model = denoiser.noise_model
    if noise_model is None:
        start = _longer(run, "n2v", denoiser.model, config.pretraining, n_steps)
        n2v = yield from train_n2v(run, start)
        if config.method == "n2v" or n2v.is_stopped:
            done = _without_noise_model(run, n2v.model, is_stopped=n2v.is_stopped)
        else:
            source = noise_source or Bootstrap()
            done = yield from _with_noise_model(run, source, n2v.model)
        return _joined(trained, done)
    refined, model = denoiser.refined, denoiser.model
    if config.method == "pn2v":
        start = _longer(run, "pn2v", model, config.training, n_steps)
        longer = yield from train_pn2v(run, noise_model, None, start)
        model, is_stopped = longer.model, longer.is_stopped
    else:
        rounds = _more_rounds(run, denoiser, n_steps)
        newer, is_stopped = yield from refine_in_rounds(run, rounds, noise_model)
        refined = newer or refined
    done = yield from _chosen(run, model, refined, noise_model, is_stopped=is_stopped)
    return _joined(trained, done)


def _longer(
    run: Journey,
    stage: str,
    model: PriorNetwork,
    config: TrainingConfig,
    n_steps: int | None,
) -> Start:
    """Another training from trained weights, at a lower rate than the first one."""
    number = 1 + sum(name.startswith(f"{stage}, longer") for name in run.curves)
    name = f"{stage}, longer" + (f" {number}" if number > 1 else "")
    config = _at_lower_rate(config, n_steps or config.n_steps)
    seed = run.config.seed + 100 * number  # other patches than before
    copied = copy.deepcopy(model).to(run.device)
    return Start(name, copied, config, seed, is_trained=True)


def _at_lower_rate(config: TrainingConfig, n_steps: int) -> TrainingConfig:
    """Return settings for weights that are trained already and need not go far."""
    longer = replace(config, n_steps=n_steps)
    rate = LONGER_RATE * config.learning_rate / gain_of_few_steps(longer)
    return replace(longer, learning_rate=rate)


def _more_rounds(run: Journey, denoiser: Denoiser, n_steps: int | None) -> Rounds:
    config = run.config.refinement
    n_steps = n_steps or config.n_steps
    count = max(1, round(n_steps / config.n_steps))
    done = [name for name in run.curves if name.startswith("refinement")]
    model = copy.deepcopy(denoiser.model).to(run.device)
    refined = copy.deepcopy(denoiser.refined)
    return Rounds(
        model=model if refined is None else refined.to(run.device),
        compared=model,
        first=1 + max((int(name.split()[1]) for name in done), default=0),
        count=count,
        config=_at_lower_rate(config, max(1, n_steps // count)),
        keeps_start=True,
    )


def _joined(before: TrainedRun, now: TrainedRun) -> TrainedRun:
    """Return the later run with the noise model's fit and the times of both."""
    seconds = dict(before.seconds)
    for stage, value in now.seconds.items():
        seconds[stage] = seconds.get(stage, 0.0) + value
    return replace(
        now,
        noise_fit=now.noise_fit or before.noise_fit,
        pairs=now.pairs or before.pairs,
        seconds=seconds,
    )


def _with_targets(
    run: Journey, start: Start | None = None
) -> Generator[Event, None, TrainedRun]:
    """Train on pairs; what the network gives in one pass is the result."""
    trained = yield from train_on_targets(run, start)
    target = {"care": "clean", "n2n": "noisy"}[run.config.method]
    denoiser = Denoiser(
        model=trained.model,
        noise_model=None,
        training_blindness=None,
        estimate="prior-mean",
        is_blind=False,
        reason=f"output of the network trained with {TARGET_WORDS[target]}",
        provenance=run.provenance(),
        target=target,
    )
    return TrainedRun(denoiser, run.curves, None, None, trained.is_stopped, run.seconds)


def _needs_n2v(config: RunConfig, noise_source: NoiseSource) -> bool:
    return (
        config.method != "pn2v"
        or config.starts_from_n2v
        or isinstance(noise_source, Bootstrap)
    )


def _without_noise_model(
    run: Journey, n2v: PriorNetwork, *, is_stopped: bool
) -> TrainedRun:
    is_blind = run.config.inference.blind == "yes"
    reason = (
        "training was stopped before there was a noise model"
        if run.config.method != "n2v"
        else "Noise2Void has no noise model"
    )
    denoiser = Denoiser(
        model=n2v,
        noise_model=None,
        training_blindness=run.blindness,
        estimate="prior-mean",
        is_blind=is_blind,
        reason=f"prior mean: {reason}",
        provenance=run.provenance(),
    )
    return TrainedRun(denoiser, run.curves, None, None, is_stopped, run.seconds)


def _with_noise_model(
    run: Journey, noise_source: NoiseSource, n2v: PriorNetwork | None
) -> Generator[Event, None, TrainedRun]:
    """Go through the stages after Noise2Void."""
    fit, pairs = yield from fit_stage(run, noise_source, n2v)
    if isinstance(noise_source, GivenNoiseModel):
        noise_model = noise_source.model
    elif fit is not None:
        noise_model = fit.model
    else:  # stopped
        if n2v is None:
            seed = run.config.seed
            n2v = new_model(run.stack, run.config, run.device, "free", 1, seed)
        return _without_noise_model(run, n2v.eval(), is_stopped=True)
    if not isinstance(noise_source, Bootstrap):
        yield from warn_of_range(run.stack, noise_model)
    refined = None
    if run.config.method == "pn2v":
        trained = yield from train_pn2v(run, noise_model, n2v)
        model, is_stopped = trained.model, trained.is_stopped
    else:
        assert n2v is not None
        config = run.config
        rounds = Rounds(n2v, n2v, 1, config.n_refinements, config.refinement)
        model = n2v
        refined, is_stopped = yield from refine_in_rounds(run, rounds, noise_model)
    done = yield from _chosen(run, model, refined, noise_model, is_stopped=is_stopped)
    return replace(done, noise_fit=fit, pairs=pairs)


def _chosen(
    run: Journey,
    model: PriorNetwork,
    refined: PriorNetwork | None,
    noise_model: NoiseModel,
    *,
    is_stopped: bool,
) -> Generator[Event, None, TrainedRun]:
    """Choose the estimate; stopped in the midst of it is stopped too."""
    denoiser = yield from choose_estimate(run, model, refined, noise_model)
    is_stopped = is_stopped or run.stop.is_stopped
    return TrainedRun(denoiser, run.curves, None, None, is_stopped, run.seconds)
