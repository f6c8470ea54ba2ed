"""Odd frames against even ones, from training to score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_ppn2v as ppn2v
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models.camera_models import PoissonGaussianModel
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import PartStarted, collect, drain
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.repeats_check import check_with_repeats, score_denoiser
from napari_ppn2v.stop import StopToken
from tests.pipeline.conftest import smooth_scenes

CPU = torch.device("cpu")
TRUTH = 100 + 2.2 * 40 * smooth_scenes(1, 96, 0)[0]


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(1)
    electrons = rng.poisson((TRUTH - 100) / 2.2, (8, 96, 96))
    stack = 100 + 2.2 * electrons + rng.normal(0, 3.3, electrons.shape)
    return as_frames(np.rint(stack).astype(np.uint16), "TYX")


@pytest.fixture(scope="module")
def config(quick):
    return replace(
        quick,
        method="n2v",
        inference=replace(quick.inference, estimate="prior-mean", blind="no"),
    )


def test_the_score_agrees_with_the_true_error(frames, config):
    job = check_with_repeats(frames, config, device=CPU, stop=StopToken())
    events, check = collect(job)
    parts = [e.name for e in events if isinstance(e, PartStarted)]
    assert parts == ["odd frames", "even frames"]
    assert all(score.is_estimate for score in check.scores)
    assert check.movement == pytest.approx(1, abs=0.15)
    truths = []
    for half in (0, 1):
        mine = frames.select(range(half, 8, 2))
        job = train_denoiser([mine], config, device=CPU, stop=StopToken())
        denoiser = drain(job).denoiser
        results = [
            denoiser.result(denoiser.estimate_image(mine.frame(k).astype(np.float32)))
            for k in range(len(mine))
        ]
        truths.append(np.mean((np.stack(results) - TRUTH) ** 2))
    assert check.rmse == pytest.approx(np.sqrt(np.mean(truths)), rel=0.1)
    assert f"{check.rmse:.3g}" in check.in_words


def test_a_scene_that_moves_is_refused_before_training(config):
    rng = np.random.default_rng(0)
    moving = np.stack([np.roll(TRUTH, 3 * k, 1) for k in range(8)])
    noisy = as_frames((moving + rng.normal(0, 3, moving.shape)).astype("f4"), "TYX")
    with pytest.raises(BadData, match="not static"):
        drain(check_with_repeats(noisy, config, device=CPU, stop=StopToken()))


def test_a_model_trained_on_all_frames_cannot_be_scored_with_them(frames, config):
    job = train_denoiser([frames], config, device=CPU, stop=StopToken())
    denoiser = drain(job).denoiser
    everything = list(range(len(frames)))
    refused = score_denoiser(denoiser, frames, everything, device=CPU, stop=StopToken())
    with pytest.raises(BadData, match="not be an estimate"):
        drain(refused)
    unseen = score_denoiser(denoiser, frames, [0, 2, 4], device=CPU, stop=StopToken())
    score = drain(unseen)
    assert score.n_frames == 3
    assert score.n_reference == 5


def test_too_few_frames_and_methods_with_targets_are_refused(frames, config):
    few = check_with_repeats(
        frames.select([0, 1, 2]), config, device=CPU, stop=StopToken()
    )
    with pytest.raises(BadData, match="at least 4"):
        drain(few)
    care = replace(config, method="care")
    with pytest.raises(BadSetting, match="needs targets"):
        drain(check_with_repeats(frames, care, device=CPU, stop=StopToken()))


def test_a_stopped_check_returns_nothing(frames, config):
    stop = StopToken()
    stop.stop()
    job = check_with_repeats(frames, config, device=CPU, stop=stop)
    assert drain(job) is None


def test_python_calls_do_the_same_with_arrays(frames, config):
    stack = np.stack([frames.frame(n) for n in range(len(frames))])
    found = ppn2v.check_repeats(stack, axes="TYX", config=config, device="cpu")
    job = check_with_repeats(frames, config, device=CPU, stop=StopToken())
    assert found == drain(job)


def test_a_noise_model_that_would_not_be_used_is_refused(frames, config):
    model = PoissonGaussianModel(
        gain=2.2, offset=100, read_noise=3.3, signal_range=(100, 190)
    )
    with pytest.raises(BadSetting, match="uses no noise model"):
        ppn2v.check_repeats(np.ones((4, 32, 32)), noise_model=model, config=config)
