"""A run stopped in the viewer goes on as if it had never been stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.events import StepDone, collect, drain
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.memory_checkpoints import MemoryCheckpoints
from napari_ppn2v.pipeline.noise_sources import Bootstrap
from napari_ppn2v.stop import StopToken


def journey(sample, config, checkpoints, stop=None):
    return train_denoiser(
        [sample.frames],
        config,
        Bootstrap(),
        device=torch.device("cpu"),
        stop=stop or StopToken(),
        checkpoints=checkpoints,
    )


@pytest.fixture
def refined(quick):
    steps = replace(quick.training, n_steps=30)
    return replace(
        quick,
        method="refined",
        pretraining=steps,
        refinement=steps,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


@pytest.mark.parametrize("stage", ["n2v", "refinement 1", "refinement 2"])
def test_stopped_and_run_again_equals_never_stopped(sample, refined, stage):
    whole = drain(journey(sample, refined, lambda stage: None))
    checkpoints, stop = MemoryCheckpoints(), StopToken()

    def watch(event):
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, 13):
            stop.stop()

    part = drain(journey(sample, refined, checkpoints, stop), watch)
    assert part.is_stopped
    # going on is the user's choice more than once: the state is not used up
    for _ in range(2):
        stop = StopToken()
        stop.stop()
        drain(journey(sample, refined, checkpoints, stop))
    events, resumed = collect(journey(sample, refined, checkpoints))
    own = [e for e in events if isinstance(e, StepDone) and e.stage == stage]
    # before its first step, a refinement makes its pseudo clean images
    assert next(e.step for e in own if e.step > 0) == 14
    assert whole.denoiser.reason == resumed.denoiser.reason
    image = sample.observation[0].astype(np.float32)
    one, other = (
        run.denoiser.result(run.denoiser.estimate_image(image))
        for run in (whole, resumed)
    )
    np.testing.assert_array_equal(one, other)


def test_what_is_forgotten_begins_anew(sample, refined):
    checkpoints = MemoryCheckpoints()
    drain(journey(sample, refined, checkpoints))
    checkpoints.clear()
    events, _ = collect(journey(sample, replace(refined, method="n2v"), checkpoints))
    assert sum(isinstance(e, StepDone) for e in events) == 30
