"""Estimates of the time that a run takes on this machine."""

import math
import time
from dataclasses import replace

import pytest
import torch

from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.events import StageFinished, StageStarted, StepDone, collect, drain
from napari_ppn2v.pipeline.budget import StepTime, Timing, plan_steps, time_steps
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.noise_sources import Bootstrap
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.stop import StopToken

CPU = torch.device("cpu")


def timing_of(sample, config, stop=None):
    # of processor time, for other programs may hold this one up
    return time_steps(
        [sample.frames],
        config,
        device=CPU,
        stop=stop or StopToken(),
        clock=time.process_time,
    )


def test_the_dry_run_tells_its_progress_and_serves_all_presets(sample):
    events, timing = collect(timing_of(sample, preset("fast")))
    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageFinished)
    steps = [e.step for e in events if isinstance(e, StepDone)]
    assert steps == sorted(steps)
    assert steps[-1] == events[0].total
    for method in ("n2v", "pn2v", "refined"):
        fast, balanced, thorough = (
            timing.seconds_for(preset(name, method=method), 10**6)
            for name in ("fast", "balanced", "thorough")
        )
        assert 0 < fast < balanced < thorough < math.inf


def test_the_estimate_is_close_to_the_time_it_takes(sample, quick):
    training = replace(quick.training, n_steps=100)
    config = replace(
        quick,
        method="refined",
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )
    timing = drain(timing_of(sample, config))
    stages = timing.stages_for(config, 0)
    trainings = ("n2v", "refinement 1", "refinement 2")
    began = time.process_time()
    run = drain(
        train_denoiser([sample.frames], config, Bootstrap(), device=CPU,
                       stop=StopToken())
    )  # fmt: skip
    real = sum(run.seconds[stage] for stage in trainings)
    real *= (time.process_time() - began) / sum(run.seconds.values())
    assert 0.3 < sum(stages[stage] for stage in trainings) / real < 3
    assert set(stages) == {*run.seconds, "denoise"}


def test_what_is_not_needed_takes_no_time(sample, quick):
    timing = drain(timing_of(sample, quick))
    whole = timing.stages_for(quick, 10**6)
    calibrated = timing.stages_for(quick, 10**6, False, noise_source="calibration")
    assert set(whole) - set(calibrated) == {"n2v", "pseudo ground truth"}
    given = timing.stages_for(quick, 10**6, False, noise_source="given")
    assert set(calibrated) - set(given) == {"noise model"}
    alone = timing.stages_for(replace(quick, method="n2v"), 10**6)
    assert set(alone) == {"n2v", "denoise"}


def test_refinement_takes_the_time_to_denoise_what_it_learns_from_and_measures():
    config, timed = preset("fast"), {"refinement": StepTime(0.0, 0.0)}
    small, frame = 512**2, 2 * 10**6
    for n_pixels, n_frame_pixels, passes in (
        (small, small, 2 * small),
        (20 * small, small, 24 * small),
        (8 * frame, frame, 8 * frame + 4 * small),
    ):
        timing = Timing(timed, 1e-6, 0.0, n_pixels, n_frame_pixels)
        seconds = timing.stages_for(config, 0)["refinement 1"]
        assert seconds == pytest.approx(passes * 1e-6)


def test_a_stopped_dry_run_knows_that_it_does_not_know(sample, quick):
    stop = StopToken()

    def watch(event):
        if isinstance(event, StepDone):
            stop.stop()

    timing = drain(timing_of(sample, quick, stop), watch)
    assert timing.is_stopped
    assert math.isnan(timing.seconds_for(quick, 10**6))


def test_twice_the_time_is_about_twice_the_steps(sample, quick):
    # of one timing: two would differ by what else the machine does
    timing = drain(timing_of(sample, quick))
    one, two = (timing.steps_within(quick, seconds) for seconds in (60.0, 120.0))
    assert two / one == pytest.approx(2, rel=0.1)
    assert timing.training_seconds(quick.with_steps(one)) == pytest.approx(60, rel=0.1)


def test_a_budget_in_minutes_becomes_steps(sample, quick):
    job = plan_steps([sample.frames], quick, 0.5, device=CPU, stop=StopToken())
    assert drain(job) > quick.n_steps
