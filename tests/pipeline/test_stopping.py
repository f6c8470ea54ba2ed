"""A stop is soon seen in every stage, and is a normal end with the best so far."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness, estimate_image, image_passes
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.core.training_stack import read_training_stack
from napari_ppn2v.events import FitProgress, StageStarted, StepDone, collect, drain
from napari_ppn2v.pipeline import stack_reading
from napari_ppn2v.pipeline.denoising import denoise_frames
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.noise_sources import Bootstrap, Calibration
from napari_ppn2v.stop import StopToken


@pytest.fixture
def refined(quick):
    steps = replace(quick.training, n_steps=20)
    return replace(
        quick,
        method="refined",
        pretraining=steps,
        training=steps,
        refinement=steps,
        noise_model=NoiseModelConfig(kind="gmm"),
    )


def stopped(sample, config, is_time, source=None):
    """Stop a journey at the first event for which `is_time`; return what follows."""
    stop, late = StopToken(), []

    def watch(event):
        if stop.is_stopped:
            late.append(event)
        elif is_time(event):
            stop.stop()

    job = train_denoiser(
        [sample.frames],
        config,
        source or Bootstrap(),
        device=torch.device("cpu"),
        stop=stop,
    )
    run = drain(job, watch)
    assert stop.is_stopped
    assert run.is_stopped
    image = sample.observation[0].astype(np.float32)
    assert np.isfinite(run.denoiser.result(run.denoiser.estimate_image(image))).all()
    return run, late


def in_stage(stage, step=1):
    def is_time(event):
        return (
            isinstance(event, StepDone) and event.stage == stage and event.step >= step
        )

    return is_time


def test_in_the_pseudo_ground_truth(sample, refined):
    run, late = stopped(sample, refined, in_stage("pseudo ground truth"))
    assert late == []
    assert run.denoiser.noise_model is None
    assert run.denoiser.estimate == "prior-mean"


def test_in_the_fit_of_the_only_noise_model(sample, refined):
    run, late = stopped(sample, refined, lambda e: isinstance(e, FitProgress))
    assert [type(e).__name__ for e in late] == ["StageFinished"]
    assert run.denoiser.noise_model is None


def test_in_the_fit_with_a_candidate_done(sample, refined):
    config = replace(refined, noise_model=NoiseModelConfig(kind="auto"))

    def is_time(event):
        return isinstance(event, FitProgress) and event.model.startswith("mixture")

    run, _ = stopped(sample, config, is_time)
    assert run.denoiser.noise_model.kind.startswith("poisson")


def test_before_the_calibration_is_read_without_any_network(sample, refined):
    recording = np.random.default_rng(0).normal(150, 5, (20, 32, 32))
    config = replace(refined, method="pn2v", starts_from_n2v=False)
    run, late = stopped(
        sample,
        config,
        lambda e: isinstance(e, StageStarted) and e.stage == "noise model",
        Calibration((as_frames(recording, "TYX"),)),
    )
    assert len(late) == 1
    assert run.denoiser.noise_model is None


def test_while_the_pseudo_clean_images_are_made(sample, refined):
    run, _ = stopped(sample, refined, in_stage("refinement 1", step=0))
    assert run.denoiser.noise_model is not None
    assert run.denoiser.refined is None


def test_what_a_noise_model_was_fitted_to_can_be_read_after_a_stop(sample, refined):
    run, _ = stopped(sample, refined, in_stage("refinement 1", step=0))
    counted = run.pairs.histogram().n_pairs
    assert counted == pytest.approx(sample.observation.size, rel=0.02)
    recording = np.random.default_rng(0).poisson(np.linspace(50, 200, 32), (20, 32, 32))
    config = replace(refined, method="pn2v")
    run, _ = stopped(
        sample,
        config,
        in_stage("pn2v"),
        Calibration((as_frames(recording, "TYX"),)),
    )
    assert run.pairs.histogram().n_pairs == recording.size


def test_while_estimates_are_compared(sample, refined):
    run, late = stopped(sample, refined, in_stage("inference choice", step=0))
    assert [type(e).__name__ for e in late] == ["StageFinished"]
    assert "stopped" in run.denoiser.reason
    run, _ = stopped(sample, refined, in_stage("inference choice"))
    assert "lowest error" in run.denoiser.reason


def test_between_the_passes_of_a_blind_tile(sample, refined):
    config = replace(refined, method="n2v")
    run = drain(
        train_denoiser(
            [sample.frames], config, Bootstrap(), device=torch.device("cpu"),
            stop=StopToken(),
        )
    )  # fmt: skip
    blind = replace(run.denoiser, is_blind=True)
    stop, tiles = StopToken(), []

    def watch(event):
        stop.stop()

    large = np.random.default_rng(0).normal(150, 5, (1, 300, 300)).astype(np.float32)
    job = denoise_frames(
        blind,
        as_frames(large, "TYX"),
        lambda *tile: tiles.append(tile),
        tile_size=512,
        stop=stop,
    )
    assert drain(job, watch) == 0
    assert tiles == []


def test_no_mode_of_torch_is_left_behind_between_passes(sample, refined):
    config = replace(refined, method="n2v")
    run = drain(
        train_denoiser(
            [sample.frames], config, Bootstrap(), device=torch.device("cpu"),
            stop=StopToken(),
        )
    )  # fmt: skip
    image = np.random.default_rng(0).normal(150, 5, (300, 300)).astype(np.float32)
    passes = image_passes(run.denoiser.model, None, image, Blindness(4, "mean"))
    parts = []
    while True:
        try:
            parts.append(next(passes))
        except StopIteration as end:
            found = end.value
            break
        assert not torch.is_inference_mode_enabled()
    assert len(parts) > 8
    assert parts == sorted(parts)
    assert parts[-1] == pytest.approx(1)
    whole = estimate_image(run.denoiser.model, None, image, Blindness(4, "mean"))
    np.testing.assert_array_equal(found.prior_mean, whole.prior_mean)


def test_while_many_frames_are_read(sample):
    stop = StopToken()
    reading = read_training_stack(
        [sample.frames],
        patch_size=32,
        held_out_share=0.1,
        rng=np.random.default_rng(0),
        stop=stop,
    )
    assert next(reading) == 1
    assert next(reading) == 2
    stop.stop()
    with pytest.raises(StopIteration) as end:
        next(reading)
    assert len(end.value.value.images) == 2


def test_reading_much_is_a_stage_of_its_own(sample, refined, monkeypatch):
    monkeypatch.setattr(stack_reading, "LONG_READING", 1000)
    events, _ = collect(stack_reading.read_stack([sample.frames], refined, StopToken()))
    assert [e.step for e in events if isinstance(e, StepDone)] == [1, 2, 3, 4, 5, 6]
