"""Turning minutes into steps, by timing a few steps on this machine."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.objectives import squared_error
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import StageFinished, StageStarted, StepDone
from napari_ppn2v.pipeline.journeys import new_model, training_batches
from napari_ppn2v.pipeline.training import train_prior

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.stop import StopToken

WARM_UP_STEPS = 3
TIMED_STEPS = 8
FEWEST_STEPS = 20
DRY_RUN_PIXELS = 4_000_000


def plan_steps(
    sources: Sequence[Frames],
    config: RunConfig,
    minutes: float,
    *,
    device: torch.device,
    stop: StopToken,
) -> Generator[Event, None, int]:
    """Time a few steps of each training and return how many fit into the budget.

    Parameters
    ----------
    minutes : for the training steps, validation included; reading, the noise-model
        fit and the denoising come on top (seconds)

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
    began = time.perf_counter()
    total = WARM_UP_STEPS + TIMED_STEPS
    yield StageStarted("dry run", total)
    stack = collect_training_stack(
        sources,
        patch_size=config.training.patch_size,
        held_out_share=config.training.held_out_share,
        held_out_frames=config.training.held_out_frames,
        rng=np.random.default_rng(config.seed),
        max_pixels=DRY_RUN_PIXELS,
    )
    model = new_model(stack, config, device, "free", 1, config.seed)
    training = replace(
        config.training, n_steps=total, steps_per_validation=total, schedule="one-cycle"
    )
    clock: list[float] = []
    steps = train_prior(
        model,
        training_batches(stack, config, training),
        squared_error(model.normalisation.std),
        training,
        stage="dry run",
        seed=config.seed,
        stop=stop,
    )
    for _ in steps:
        clock.append(time.perf_counter())
        yield StepDone("dry run", min(len(clock), total), total)
    yield StageFinished("dry run", time.perf_counter() - began)
    if len(clock) <= total:
        return FEWEST_STEPS
    seconds = (clock[total - 1] - clock[WARM_UP_STEPS - 1]) / TIMED_STEPS
    validation = clock[total] - clock[total - 1]
    per_step = seconds + validation / config.training.steps_per_validation
    return max(FEWEST_STEPS, int(60 * minutes / per_step))
