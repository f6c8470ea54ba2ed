"""CARE and Noise2Noise: networks trained on pairs, and what cannot be a pair."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.batches import Crops, ImagePairs, NoisyPairs
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import (
    Notice,
    StageFinished,
    StageStarted,
    StepDone,
    collect,
    drain,
)
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.pipeline.budget import plan_steps, time_steps
from napari_ppn2v.pipeline.config import (
    ESTIMATES,
    METHODS,
    UNSUPERVISED,
    WITH_TARGETS,
    RunConfig,
    TrainingConfig,
)
from napari_ppn2v.pipeline.journeys import train_denoiser, train_longer
from napari_ppn2v.pipeline.noise_sources import Calibration
from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset
from napari_ppn2v.stop import StopToken

CPU = torch.device("cpu")
KEPT_APART = 2  # frames at the end, never trained on


@dataclass(frozen=True)
class Pairs:
    """Two independent exposures of each scene, and the scenes."""

    first: np.ndarray
    second: np.ndarray
    truth: np.ndarray

    def part(self, frames: slice) -> "Pairs":
        return Pairs(self.first[frames], self.second[frames], self.truth[frames])

    def targets(self, method):
        return as_frames(self.truth if method == "care" else self.second, "TYX")

    @property
    def frames(self):
        return as_frames(self.first, "TYX")


@pytest.fixture(scope="module")
def pairs(sample):
    """The sample with a second exposure of each frame."""
    rng = np.random.default_rng(7)
    electrons = rng.poisson((sample.truth - 100) / 2.2)
    second = 100 + 2.2 * electrons + rng.normal(0, 3.3, sample.truth.shape)
    return Pairs(sample.observation, np.rint(second).astype(np.uint16), sample.truth)


@pytest.fixture(scope="module")
def seen(pairs):
    return pairs.part(slice(0, -KEPT_APART))


@pytest.fixture(scope="module")
def unseen(pairs):
    return pairs.part(slice(-KEPT_APART, None))


def settings(method, n_steps=60, **options):
    training = TrainingConfig(
        n_steps=n_steps, batch_size=4, patch_size=32, steps_per_validation=20
    )
    return RunConfig(
        method=method,
        network=UNetConfig(n_filters=8),
        pretraining=training,
        training=training,
        **options,
    )


def journey(data, config, **options):
    options.setdefault("stop", StopToken())
    options.setdefault("targets", [data.targets(config.method)])
    return train_denoiser([data.frames], config, device=CPU, **options)


def denoised(denoiser, data):
    images = [image.astype(np.float32) for image in data.first]
    results = [denoiser.estimate_image(image) for image in images]
    return np.stack([denoiser.result(result) for result in results])


def gain(denoiser, data):
    """PSNR gained over the observation, dB."""
    before = np.mean((data.first.astype(np.float32) - data.truth) ** 2)
    return 10 * np.log10(before / np.mean((denoised(denoiser, data) - data.truth) ** 2))


@pytest.fixture(scope="module")
def trained(seen):
    """One run of each method with targets."""
    return {
        method: drain(journey(seen, settings(method, 150))) for method in WITH_TARGETS
    }


def test_care_gains_many_decibels_on_frames_that_it_has_never_seen(trained, unseen):
    assert gain(trained["care"].denoiser, unseen) > 6


def test_noise2noise_comes_close_to_care(trained, unseen):
    care, n2n = (gain(trained[name].denoiser, unseen) for name in WITH_TARGETS)
    assert n2n > care - 1.0


@pytest.mark.parametrize(("method", "word"), [("care", "clean"), ("n2n", "second")])
def test_the_result_is_the_output_of_one_pass_and_says_so(trained, method, word):
    denoiser = trained[method].denoiser
    assert denoiser.noise_model is None
    assert (denoiser.estimate, denoiser.is_blind) == ("prior-mean", False)
    assert f"trained with {word}" in denoiser.reason
    assert denoiser.method == method


def test_the_stages_and_curves_bear_the_name_of_the_method(seen):
    events, run = collect(journey(seen, settings("care")))
    begun = [e.stage for e in events if isinstance(e, StageStarted)]
    ended = [e.stage for e in events if isinstance(e, StageFinished)]
    assert begun == ended == list(run.curves) == list(run.seconds) == ["care"]
    assert not [e for e in events if isinstance(e, Notice)]
    assert run.noise_fit is None


def test_targets_are_read_with_the_normalisation_of_the_noisy_images(seen):
    """So the result is on the scale of the targets, in grey values."""
    dim = replace(seen, truth=seen.truth - 60)
    events, run = collect(journey(dim, settings("care", 150)))
    model = run.denoiser.model
    assert model.normalisation.mean == pytest.approx(seen.first.mean(), rel=1e-4)
    mean = denoised(run.denoiser, dim).mean()
    assert mean == pytest.approx(dim.truth.mean(), abs=2)
    (warning,) = [e.message for e in events if isinstance(e, Notice)]
    assert "scale of the targets" in warning


# --- batches ---------------------------------------------------------------------


def batches_of(kind, targets, held_out_share=0.05):
    """Batches of a noisy stack of zeros and targets of ones."""
    zeros = as_frames(np.zeros((2, 64, 64), np.float32), "TYX")
    stack = collect_training_stack(
        [zeros],
        patch_size=16,
        held_out_share=held_out_share,
        rng=np.random.default_rng(0),
        targets=[as_frames(targets, "TYX")],
    )
    return kind(Crops(stack, 16, 50), seed=0)


def test_clean_targets_are_never_an_input():
    source = batches_of(ImagePairs, np.ones((2, 64, 64), np.float32))
    for batch in (source.draw(np.random.default_rng(0)), *source.validation()):
        assert (batch.inputs == 0).all()
        assert (batch.targets == 1).all()


def test_noisy_images_change_places_in_half_of_the_crops():
    source = batches_of(NoisyPairs, np.ones((2, 64, 64), np.float32))
    batch = source.draw(np.random.default_rng(0))
    inputs = batch.inputs.reshape(len(batch.inputs), -1)
    is_swapped = inputs.all(axis=1)
    assert (inputs == is_swapped[:, None]).all()  # a crop as a whole, or not at all
    assert 10 < is_swapped.sum() < 40
    at_input = batch.inputs.reshape(-1)[batch.where]
    assert (at_input + batch.targets == 1).all()
    for validation in source.validation():
        assert (validation.inputs == 0).all()


# --- stopping and going on -------------------------------------------------------


def stop_at(stage, step):
    stop = StopToken()

    def watch(event):
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, step):
            stop.stop()

    return stop, watch


@pytest.mark.parametrize("method", WITH_TARGETS)
def test_a_training_resumed_ends_with_the_same_bits(seen, tmp_path, method):
    config = settings(method)

    def checkpoints(name):
        return FileCheckpoint(tmp_path / name, is_resumed=True)

    whole = drain(journey(seen, config))
    stop, watch = stop_at(method, 33)
    part = drain(journey(seen, config, stop=stop, checkpoints=checkpoints), watch)
    assert part.is_stopped
    resumed = drain(journey(seen, config, checkpoints=checkpoints))
    one, other = (denoised(run.denoiser, seen) for run in (whole, resumed))
    np.testing.assert_array_equal(one, other)
    assert whole.denoiser.reason == resumed.denoiser.reason == part.denoiser.reason


def test_longer_and_longer_never_gets_worse_on_the_pixels_kept_apart(seen):
    config = settings("care", 40)
    run = drain(journey(seen, config))
    for _ in range(2):
        job = train_longer(
            run,
            [seen.frames],
            config,
            targets=[seen.targets("care")],
            device=CPU,
            stop=StopToken(),
        )
        before, run = run, drain(job)
        assert gain(run.denoiser, seen) > gain(before.denoiser, seen)
    assert list(run.curves) == ["care", "care, longer", "care, longer 2"]
    assert run.denoiser.method == "care"
    with pytest.raises(BadSetting, match="needs targets"):
        drain(train_longer(run, [seen.frames], config, device=CPU, stop=StopToken()))


# --- models ----------------------------------------------------------------------


@pytest.mark.parametrize("method", WITH_TARGETS)
def test_a_saved_model_is_what_it_was(trained, unseen, tmp_path, method):
    denoiser = trained[method].denoiser
    again = load_model(save_model(tmp_path / "m.ppn2v", denoiser))
    assert again.method == method
    assert again.training_blindness is None
    np.testing.assert_array_equal(denoised(again, unseen), denoised(denoiser, unseen))


def test_a_model_refuses_what_its_training_did_not_give(trained):
    denoiser = trained["n2n"].denoiser
    denoiser.require("prior-mean")
    for refused in (
        lambda: denoiser.require("mmse"),
        lambda: denoiser.require("refined"),
        denoiser.require_blind,
        denoiser.require_posterior_std,
    ):
        with pytest.raises(BadSetting, match="Noise2Noise"):
            refused()
    hidden = replace(denoiser, target="", training_blindness=Blindness(4, "mean"))
    hidden.require_blind()
    assert hidden.method == "n2v"


# --- settings --------------------------------------------------------------------


def test_every_method_has_its_place():
    assert (*UNSUPERVISED, *WITH_TARGETS) == METHODS
    assert UNSUPERVISED == ("n2v", "pn2v", "refined")
    assert set(ESTIMATES) == set(METHODS)


@pytest.mark.parametrize("method", WITH_TARGETS)
@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_preset_can_be_used_with_targets(name, method):
    own, config = preset(name), preset(name, method=method)
    assert list(config.stages) == [method]
    assert config.network == own.network
    if name.startswith("paper-"):
        assert config.pretraining == own.pretraining
    else:
        assert config.n_steps == own.n_steps


@pytest.mark.parametrize("method", WITH_TARGETS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blind": "yes"}, "sees every pixel"),
        ({"posterior_std": True}, "no posterior standard deviation"),
        ({"estimate": "mmse"}, "has no estimate 'mmse'"),
        ({"estimate": "refined"}, "has no estimate 'refined'"),
    ],
)
def test_what_needs_a_noise_model_or_hidden_pixels_is_refused(method, change, words):
    config = settings(method)
    with pytest.raises(BadSetting, match=words):
        replace(config, inference=replace(config.inference, **change))


@pytest.mark.parametrize("method", WITH_TARGETS)
def test_the_time_is_estimated_from_steps_on_pairs(seen, method):
    config = settings(method, 100)
    timing = drain(time_steps([seen.frames], config, device=CPU, stop=StopToken()))
    stages = timing.stages_for(config, 10**6)
    assert list(stages) == [method, "denoise"]
    assert 0 < timing.seconds_for(config, 0) < timing.seconds_for(config, 10**9)
    job = plan_steps([seen.frames], config, 1.0, device=CPU, stop=StopToken())
    assert drain(job) > 100


# --- what cannot be a pair -------------------------------------------------------


def refusals(seen):
    second = seen.second
    return {
        "fewer frames": (second[:2], "TYX", "4 frames in the noisy image, but 2 in"),
        "smaller": (second[:, :90], "TYX", "96 x 96 pixels, .* 90 x 96"),
        "the same": (seen.first, "TYX", "equal in every pixel"),
    }


@pytest.mark.parametrize("name", ["fewer frames", "smaller", "the same"])
def test_targets_of_other_scenes_are_refused_with_the_numbers(seen, name):
    data, axes, words = refusals(seen)[name]
    job = journey(seen, settings("n2n"), targets=[as_frames(data, axes)])
    with pytest.raises(BadData, match=words):
        drain(job)


def test_frames_in_another_order_are_refused(seen):
    def layout(axes, image):
        shape = (2, 2, *image.shape[1:])
        return as_frames(image.reshape(shape), axes)

    job = train_denoiser(
        [layout("TZYX", seen.first)],
        settings("n2n"),
        targets=[layout("ZTYX", seen.second)],
        device=CPU,
        stop=StopToken(),
    )
    with pytest.raises(BadData, match="not in the same order"):
        drain(job)


def test_one_target_for_several_images_is_refused(seen):
    job = train_denoiser(
        [seen.frames, seen.frames],
        settings("n2n"),
        targets=[seen.targets("n2n")],
        device=CPU,
        stop=StopToken(),
    )
    with pytest.raises(BadData, match="2 noisy images, but 1 target"):
        drain(job)


@pytest.mark.parametrize("method", UNSUPERVISED)
def test_targets_for_methods_that_use_none_are_refused(seen, method):
    with pytest.raises(BadSetting, match="noisy images alone"):
        drain(journey(seen, settings(method), targets=[seen.targets("care")]))


@pytest.mark.parametrize("method", WITH_TARGETS)
def test_missing_targets_are_asked_for(seen, method):
    with pytest.raises(BadSetting, match=f"'{method}' needs targets"):
        drain(journey(seen, settings(method), targets=None))


def test_a_calibration_beside_targets_is_refused(seen):
    source = Calibration((seen.frames,))
    with pytest.raises(BadSetting, match="uses no noise model"):
        drain(journey(seen, settings("care"), noise_source=source))


def test_a_stop_before_the_end_still_gives_a_denoiser(seen):
    stop, watch = stop_at("n2n", 45)
    run = drain(journey(seen, settings("n2n"), stop=stop), watch)
    assert run.is_stopped
    assert gain(run.denoiser, seen) > 0
