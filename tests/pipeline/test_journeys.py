"""From noisy frames to a denoiser that comes closer to the truth than they are."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import (
    NoiseModelFitted,
    Notice,
    StageFinished,
    StageStarted,
    StepDone,
    collect,
    drain,
)
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.pipeline.journeys import no_checkpoints, train_denoiser
from napari_ppn2v.pipeline.noise_sources import (
    Bootstrap,
    Calibration,
    GivenNoiseModel,
)
from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset
from napari_ppn2v.pipeline.stack_reading import read_stack
from napari_ppn2v.pipeline.stages import Journey, fit_stage, train_n2v
from napari_ppn2v.stop import StopToken

CPU = torch.device("cpu")


def journey(sample, config, source=None, **options):
    return train_denoiser(
        [sample.frames],
        config,
        source or Bootstrap(),
        device=CPU,
        stop=options.pop("stop", StopToken()),
        **options,
    )


def gain(denoiser, sample):
    """PSNR gained over the observation, dB."""
    images = [im.astype(np.float32) for im in sample.observation]
    results = [denoiser.result(denoiser.estimate_image(image)) for image in images]
    before = np.mean((np.stack(images) - sample.truth) ** 2)
    return 10 * np.log10(before / np.mean((np.stack(results) - sample.truth) ** 2))


@pytest.fixture(scope="module")
def gmm(quick):
    """The quick settings with a quickly fitted noise model."""
    return replace(quick, noise_model=NoiseModelConfig(kind="gmm", n_components=1))


@pytest.fixture(scope="module")
def whole(sample, gmm):
    """Events and result of one journey with each method, gone through when asked for.

    Nobody changes them.
    """
    return cache(lambda method: collect(journey(sample, replace(gmm, method=method))))


def test_the_bootstrapped_journey_denoises_and_tells_its_stages(sample, whole):
    events, run = whole("pn2v")
    begun = [e.stage for e in events if isinstance(e, StageStarted)]
    ended = [e.stage for e in events if isinstance(e, StageFinished)]
    assert begun == ended
    assert begun == ["n2v", "pseudo ground truth", "noise model", "pn2v",
                     "inference choice"]  # fmt: skip
    assert set(run.seconds) == set(begun)
    assert list(run.curves) == ["n2v", "pn2v"]
    assert any(isinstance(e, NoiseModelFitted) for e in events)
    assert run.noise_fit.model is run.denoiser.noise_model
    assert gain(run.denoiser, sample) > 4  # dB


def test_refinement_denoises_too_and_gives_an_uncertainty(sample, whole):
    _, run = whole("refined")
    assert list(run.curves) == ["n2v", "refinement 1", "refinement 2"]
    refined = replace(run.denoiser, estimate="refined", is_blind=False)
    assert gain(refined, sample) > 4
    estimate = refined.estimate_image(sample.observation[0].astype(np.float32))
    error = np.abs(refined.result(estimate) - sample.truth[0])
    # a width that means something: larger where the error is larger, of its size
    assert 0.3 < error.mean() / estimate.posterior_std.mean() < 3


def test_the_calibrated_journey_can_do_without_noise2void(sample, gmm):
    rng = np.random.default_rng(2)
    ramp = np.broadcast_to(np.linspace(100, 190, 96), (48, 96))
    electrons = rng.poisson((ramp - 100) / 2.2, (20, 48, 96))
    recording = np.rint(100 + 2.2 * electrons + rng.normal(0, 3.3, electrons.shape))
    source = Calibration((as_frames(recording, "TYX"),))
    config = replace(gmm, starts_from_n2v=False)
    events, run = collect(journey(sample, config, source))
    assert list(run.curves) == ["pn2v"]
    assert not [e for e in events if isinstance(e, Notice) and e.is_warning]
    _, variance = run.denoiser.noise_model.moments(torch.tensor([150.0]))
    assert variance.item() == pytest.approx(2.2 * 50 + 3.3**2, rel=0.1)


def test_a_calibration_that_covers_only_a_part_is_a_warning_with_the_share(sample, gmm):
    rng = np.random.default_rng(2)
    ramp = np.broadcast_to(np.linspace(100, 118, 96), (48, 96))
    recording = ramp + rng.normal(0, 5, (20, 48, 96))
    source = Calibration((as_frames(recording, "TYX"),))
    events, _ = collect(journey(sample, replace(gmm, starts_from_n2v=False), source))
    warnings = [e.message for e in events if isinstance(e, Notice) and e.is_warning]
    assert len(warnings) == 1
    assert "% of the pixels lie outside" in warnings[0]
    assert "extrapolated" in warnings[0]


def test_a_given_noise_model_is_used_as_it_is(sample, gmm, whole):
    fitted = whole("pn2v")[1].denoiser.noise_model
    run = drain(journey(sample, gmm, GivenNoiseModel(fitted)))
    assert run.denoiser.noise_model is fitted
    assert run.noise_fit is None


def test_noise2void_alone_gives_a_prior_mean_without_noise_model(sample, quick):
    run = drain(journey(sample, replace(quick, method="n2v")))
    assert run.denoiser.noise_model is None
    assert run.denoiser.estimate == "prior-mean"
    with pytest.raises(BadSetting, match="needs a noise model"):
        run.denoiser.require("mmse")


def stop_at(stage, step):
    stop = StopToken()

    def watch(event):
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, step):
            stop.stop()

    return stop, watch


def test_a_stop_during_noise2void_still_gives_a_denoiser(sample, gmm):
    stop, watch = stop_at("n2v", 45)
    run = drain(journey(sample, gmm, stop=stop), watch)
    assert run.is_stopped
    assert run.denoiser.noise_model is None
    assert "stopped" in run.denoiser.reason
    assert gain(run.denoiser, sample) > 0


def test_a_stop_during_pn2v_keeps_noise_model_and_weights(sample, gmm):
    stop, watch = stop_at("pn2v", 30)
    run = drain(journey(sample, gmm, stop=stop), watch)
    assert run.is_stopped
    assert run.denoiser.noise_model is not None
    assert gain(run.denoiser, sample) > 2


@pytest.mark.parametrize(
    ("method", "stage"),
    [("pn2v", "n2v"), ("pn2v", "pn2v"), ("refined", "refinement 2")],
)
def test_a_journey_resumed_ends_with_the_same_bits(
    sample, gmm, whole, tmp_path, method, stage
):
    config = replace(gmm, method=method)

    def checkpoints(*, is_resumed):
        return lambda name: FileCheckpoint(tmp_path / name, is_resumed=is_resumed)

    stop, watch = stop_at(stage, 33)
    first = checkpoints(is_resumed=False)
    part = drain(journey(sample, config, stop=stop, checkpoints=first), watch)
    assert part.is_stopped
    resumed = drain(journey(sample, config, checkpoints=checkpoints(is_resumed=True)))
    image = sample.observation[0].astype(np.float32)
    never_stopped = whole(method)[1].denoiser
    one, other = (d.result(d.estimate_image(image))
                  for d in (never_stopped, resumed.denoiser))  # fmt: skip
    np.testing.assert_array_equal(one, other)
    assert never_stopped.reason == resumed.denoiser.reason


def test_one_frame_is_enough(sample, gmm):
    one = replace(sample, observation=sample.observation[:1], truth=sample.truth[:1])
    assert gain(drain(journey(one, gmm)).denoiser, one) > 2


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        pytest.param(np.full((3, 64, 64), 7.0), "same value", id="constant"),
        pytest.param(np.eye(9)[None] * 100, "9", id="too small"),
    ],
)
def test_frames_that_cannot_be_trained_on_are_refused(quick, frames, words):
    job = train_denoiser(
        [as_frames(frames, "TYX")], quick, Bootstrap(), device=CPU, stop=StopToken()
    )
    with pytest.raises(BadData, match=words):
        drain(job)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_preset_is_valid_and_keeps_its_name(name):
    assert preset(name).preset == name


@pytest.mark.parametrize("method", ["n2v", "pn2v", "refined"])
def test_a_step_count_is_shared_out_among_the_stages(method):
    config = preset("balanced", method=method).with_steps(1000)
    assert config.n_steps == pytest.approx(1000, abs=3)
    assert all(c.n_steps > 100 for c in config.stages.values())


@pytest.mark.parametrize(
    ("n_steps", "shares"),
    [(4, (2, 2)), (700, (350, 350)), (1000, (400, 600)), (3000, (750, 2250))],
)
def test_a_quarter_of_many_steps_and_half_of_few_go_before_refinement(n_steps, shares):
    config = preset("balanced").with_steps(n_steps)
    assert tuple(c.n_steps for c in config.stages.values()) == shares


def test_of_few_steps_each_round_of_refinement_has_as_many():
    config = replace(preset("balanced"), n_refinements=3).with_steps(800)
    assert [c.n_steps for c in config.stages.values()] == [401, 133, 133, 133]


def test_the_paper_preset_has_the_published_settings():
    config = preset("paper-ppn2v")
    assert (config.network.n_levels, config.network.n_filters) == (3, 64)
    assert (config.prior.kind, config.prior.n_samples) == ("free", 800)
    training = config.training
    assert (training.batch_size, training.patch_size) == (20, 100)
    assert (training.n_steps, training.steps_per_validation) == (1000, 5)
    assert (training.schedule, training.learning_rate) == ("plateau", 1e-3)
    assert training.replacement == "random"
    fit = config.noise_model
    assert (fit.kind, fit.n_components, fit.n_coefficients) == ("gmm", 3, 2)
    assert fit.trim_percent == 0.5


def test_blindness_of_the_denoiser_is_that_of_its_training(sample, gmm):
    training = replace(gmm.training, mask_box=5, replacement="random")
    config = replace(gmm, training=training, pretraining=training)
    run = drain(journey(sample, config))
    assert run.denoiser.training_blindness == Blindness(5, "random")


def test_midway_between_blind_and_one_pass_the_noise_has_its_true_size(sample, gmm):
    """The bias of either alone is several per cent here."""
    stop = StopToken()
    config = replace(gmm, pretraining=replace(gmm.pretraining, n_steps=300))
    stack = drain(read_stack([sample.frames], config, stop))
    run = Journey(stack, config, CPU, stop, no_checkpoints)
    n2v = drain(train_n2v(run)).model
    errors = {}
    for kind in ("one-pass", "blind", "midway"):
        run = replace(run, config=replace(config, pseudo_ground_truth=kind))
        fit, _ = drain(fit_stage(run, Bootstrap(), n2v))
        signal = torch.tensor([125.0, 140.0, 155.0])
        exact = 2.2 * (signal - 100) + 3.3**2 + 1 / 12
        errors[kind] = float((fit.model.moments(signal)[1] / exact - 1).mean())
    assert errors["one-pass"] < errors["midway"] < errors["blind"]
    assert abs(errors["midway"]) < 0.05


def test_a_stop_during_refinement_keeps_what_there_is(sample, gmm):
    inference = replace(gmm.inference, posterior_std=True)
    config = replace(gmm, method="refined", inference=inference)
    stop, watch = stop_at("refinement 1", 20)
    run = drain(journey(sample, config, stop=stop), watch)
    assert run.is_stopped
    assert run.denoiser.noise_model is not None
    assert gain(run.denoiser, sample) > 2


@pytest.mark.parametrize(
    ("method", "estimate"),
    [("n2v", "mmse"), ("refined", "mmse"), ("pn2v", "refined")],
)
def test_an_estimate_that_the_method_cannot_give_is_refused_at_once(
    quick, method, estimate
):
    inference = replace(quick.inference, estimate=estimate)
    with pytest.raises(BadSetting, match=f"'{method}' has no estimate '{estimate}'"):
        replace(quick, method=method, inference=inference)
