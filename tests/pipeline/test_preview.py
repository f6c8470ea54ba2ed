"""A look at the frame on screen while training goes on, which changes nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import estimate_image
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.events import Notice, PreviewReady, StepDone, collect, drain
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.noise_sources import Bootstrap
from napari_ppn2v.pipeline.preview import MOST_PIXELS, Preview, StagePreview
from napari_ppn2v.stop import StopToken


@pytest.fixture
def gmm(quick):
    steps = replace(quick.training, n_steps=20)
    return replace(
        quick,
        pretraining=steps,
        training=steps,
        refinement=steps,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


def journey(sample, config, preview, stop=None):
    return train_denoiser(
        [sample.frames],
        config,
        Bootstrap(),
        device=torch.device("cpu"),
        stop=stop or StopToken(),
        preview=preview,
    )


def previews(events):
    return [event for event in events if isinstance(event, PreviewReady)]


@pytest.mark.parametrize("method", ["pn2v", "refined"])
def test_a_training_with_preview_ends_with_the_same_bits(sample, gmm, method):
    config = replace(gmm, method=method)
    preview = Preview(sample.frames, seconds_between=0)
    events, watched = collect(journey(sample, config, preview))
    alone = drain(journey(sample, config, None))
    assert previews(events)
    image = sample.observation[0].astype(np.float32)
    one, other = (
        run.denoiser.result(run.denoiser.estimate_image(image))
        for run in (watched, alone)
    )
    np.testing.assert_array_equal(one, other)


def test_every_stage_shows_soon_what_it_can(sample, gmm):
    preview = Preview(sample.frames)
    seen = {}
    for method in ("pn2v", "refined"):
        events, _ = collect(journey(sample, replace(gmm, method=method), preview))
        for stage in ("n2v", "pn2v", "refinement 1", "refinement 2"):
            steps = [e for e in events if getattr(e, "stage", "") == stage]
            shown = previews(steps)
            if shown:
                before = steps[: steps.index(shown[0])]
                assert max(e.step for e in before if isinstance(e, StepDone)) <= 5
                seen[stage] = shown[0]
    assert set(seen) == {"n2v", "pn2v", "refinement 1", "refinement 2"}
    assert seen["n2v"].mmse is None
    for stage in ("pn2v", "refinement 1", "refinement 2"):
        assert seen[stage].mmse.shape == sample.frames.shape
        assert not np.array_equal(seen[stage].mmse, seen[stage].prior_mean)
    # both refinements are compared with the Noise2Void they started from
    one, two = seen["refinement 1"], seen["refinement 2"]
    np.testing.assert_array_equal(one.prior_mean, two.prior_mean)


def trained_preview(sample, gmm, preview):
    run = drain(journey(sample, replace(gmm, method="n2v"), None))
    return run.denoiser.model, StagePreview(preview, "n2v")


def one_preview(stage, model):
    return list(stage.events(model, 10, StopToken()))


def test_a_part_is_denoised_as_in_the_whole_frame(sample, gmm):
    preview = Preview(sample.frames, seconds_between=0)
    model, stage = trained_preview(sample, gmm, preview)
    whole = estimate_image(model, None, sample.frames.frame(2), None).prior_mean
    preview.look_at(2, slice(37, 61), slice(50, 200))
    (shown,) = one_preview(stage, model)
    assert (shown.frame, shown.rows, shown.columns) == (2, slice(37, 61), slice(50, 96))
    np.testing.assert_array_equal(
        shown.observation, sample.frames.frame(2)[37:61, 50:96]
    )
    # mixed precision of some processors rounds differently in other tiles
    np.testing.assert_allclose(shown.prior_mean, whole[37:61, 50:96], atol=0.5)
    assert model.training


def test_another_target_is_shown_at_once_and_the_same_one_only_now_and_then(
    sample, gmm
):
    preview = Preview(sample.frames, seconds_between=1e6)
    model, stage = trained_preview(sample, gmm, preview)
    assert len(one_preview(stage, model)) == 1
    preview.look_at(0)
    assert one_preview(stage, model) == []
    stage._cost = 0  # as if as much time had gone by as the last preview took
    preview.look_at(1)
    assert [event.frame for event in one_preview(stage, model)] == [1]


def test_previews_take_a_small_part_of_the_time(sample, gmm):
    preview = Preview(sample.frames, seconds_between=0)
    model, stage = trained_preview(sample, gmm, preview)
    assert one_preview(stage, model)
    stage._cost = 50.0
    assert one_preview(stage, model) == []


def test_large_regions_are_cut_to_their_centre(gmm, sample):
    large = np.random.default_rng(0).normal(100, 5, (1, 1200, 2400)).astype(np.float32)
    preview = Preview(as_frames(large, "TYX"))
    model, stage = trained_preview(sample, gmm, preview)
    (shown,) = one_preview(stage, model)
    assert shown.prior_mean.size <= MOST_PIXELS
    assert shown.prior_mean.size > 0.9 * MOST_PIXELS
    assert shown.rows.start + shown.rows.stop == 1200
    assert shown.columns.start + shown.columns.stop == 2400


def test_a_frame_that_cannot_be_read_is_told_once_and_training_goes_on(sample, gmm):
    spoilt = sample.observation.astype(np.float32)
    spoilt[3, 5, 5] = np.nan
    preview = Preview(as_frames(spoilt, "TYX"), seconds_between=0)
    preview.look_at(3)
    events, run = collect(journey(sample, replace(gmm, method="n2v"), preview))
    warnings = [e for e in events if isinstance(e, Notice) and e.is_warning]
    assert len(warnings) == 1
    assert "no preview of frame 3" in warnings[0].message
    assert not run.is_stopped
    assert not previews(events)
