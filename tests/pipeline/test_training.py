"""Training learns, stops, resumes and repeats itself exactly."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.batches import Crops, ImagePairs, MaskedObservations
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import estimate_image
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.objectives import squared_error
from napari_ppn2v.core.prior_network import pixels
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.errors import BadFile
from napari_ppn2v.events import StepDone, Validated, collect, drain
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.pipeline.config import TrainingConfig
from napari_ppn2v.pipeline.journeys import training_batches
from napari_ppn2v.pipeline.schedules import OneCycle, Plateau
from napari_ppn2v.pipeline.training import make_schedule
from napari_ppn2v.stop import StopToken
from tests.pipeline.trainings import (
    losses_of,
    resumed_from,
    same_weights,
    stopped_at,
    training,
)


def test_noise2void_comes_closer_to_the_truth_than_the_observation(
    sample, stack, quick
):
    config = replace(quick, pretraining=replace(quick.pretraining, n_steps=150))
    trained = drain(training(stack, config))
    errors = []
    for observation, truth in zip(sample.observation, sample.truth, strict=True):
        image = observation.astype(np.float32)
        denoised = estimate_image(trained.model, None, image, None).prior_mean
        errors.append([np.mean((image - truth) ** 2), np.mean((denoised - truth) ** 2)])
    noisy, denoised = np.mean(errors, axis=0)
    assert 10 * np.log10(noisy / denoised) > 4  # dB; 6 were seen


@pytest.mark.slow
def test_muon_denoises_better_than_adam_after_the_same_steps(sample, stack, quick):
    errors = {"muon": [], "adam": []}
    for optimizer, seed in itertools.product(errors, range(3)):
        steps = replace(quick.pretraining, optimizer=optimizer, n_steps=150)
        config = replace(quick, pretraining=steps)
        model = drain(training(stack, config, seed=seed)).model
        for observation, truth in zip(sample.observation, sample.truth, strict=True):
            image = observation.astype(np.float32)
            denoised = estimate_image(model, None, image, None).prior_mean
            errors[optimizer].append(np.mean((denoised - truth) ** 2))
    assert np.mean(errors["muon"]) < 0.97 * np.mean(errors["adam"])  # 0.93 was seen


def test_equal_seeds_give_equal_weights_and_other_seeds_others(stack, quick):
    one, other = (drain(training(stack, quick)).model for _ in range(2))
    different = drain(training(stack, quick, seed=1)).model
    assert same_weights(one, other)
    assert not same_weights(one, different)


@pytest.fixture(
    scope="module",
    params=[("muon", "one-cycle"), ("adam", "plateau"), ("muon", "plateau")],
    ids="-".join,
)
def uninterrupted(request, stack, quick):
    """Settings with an optimizer and a schedule, and what they train."""
    optimizer, schedule = request.param
    steps = replace(
        quick.pretraining,
        optimizer=optimizer,
        schedule=schedule,
        n_steps=45,
        patience=1,
    )
    config = replace(quick, pretraining=steps)
    return config, drain(training(stack, config))


@pytest.mark.parametrize("step", [7, 20, 33])
def test_interrupted_and_resumed_equals_uninterrupted(
    stack, uninterrupted, tmp_path, step
):
    config, whole = uninterrupted
    path = tmp_path / "n2v.checkpoint"
    stopped_at(step, stack, config, path)
    resumed = resumed_from(path, stack, config)
    assert same_weights(resumed.model, whole.model)
    assert not resumed.is_stopped
    assert losses_of(resumed) == losses_of(whole)


def test_averaged_weights_are_calmer_than_those_of_one_step(stack, quick):
    """At a high rate the steps wander; their mean is nearer to what they look for."""
    steps = replace(quick.pretraining, schedule="plateau", patience=99, n_steps=160)
    curves = {}
    for averages in (True, False):
        config = replace(quick, pretraining=replace(steps, averages_weights=averages))
        curve = drain(training(stack, config)).curve
        curves[averages] = [p.validation_loss for p in curve[-4:]]
    assert np.mean(curves[True]) < np.mean(curves[False])
    assert np.ptp(curves[True]) < np.ptp(curves[False])


def test_what_is_averaged_changes_no_step(stack, quick):
    losses = []
    for averages in (True, False):
        steps = replace(quick.pretraining, averages_weights=averages)
        curve = drain(training(stack, replace(quick, pretraining=steps))).curve
        losses.append([p.train_loss for p in curve])
    assert losses[0] == losses[1]


def test_stop_keeps_the_best_weights_so_far(stack, quick):
    steps = replace(quick.pretraining, learning_rate=1e-3, steps_per_validation=5)
    config = replace(quick, pretraining=steps)
    stop = StopToken()
    best = {}

    def watch(event):
        if isinstance(event, Validated) and event.is_best:
            best["step"], best["loss"] = event.step, event.validation_loss
        if isinstance(event, StepDone) and event.step == 33:
            stop.stop()

    trained = drain(training(stack, config, stop=stop), watch)
    assert trained.is_stopped
    assert trained.best_step == best["step"]
    assert best["step"] < 33
    assert validation_loss(trained.model, stack, config) == pytest.approx(
        best["loss"], rel=1e-4
    )


@torch.no_grad()
def validation_loss(model, stack, config):
    loss = squared_error(model.normalisation.std)
    normal = model.normalisation
    total = count = 0
    for batch in training_batches(stack, config, config.pretraining).validation():
        inputs = torch.from_numpy((batch.inputs - normal.mean) / normal.std).float()
        features = pixels(
            model.features(inputs[:, None]), torch.from_numpy(batch.where)
        )
        targets = torch.from_numpy(batch.targets)
        total += float(loss(*model.samples(features), targets).sum())
        count += len(targets)
    return total / count


def test_a_stop_before_the_first_step_still_gives_a_model(stack, quick):
    stop = StopToken()
    stop.stop()
    events, trained = collect(training(stack, quick, stop=stop))
    assert events == []
    assert trained.is_stopped
    assert trained.n_steps == 0


def test_a_state_of_other_settings_is_refused(stack, quick, tmp_path):
    path = tmp_path / "n2v.checkpoint"
    stop = StopToken()
    checkpoint = FileCheckpoint(path, is_resumed=False)
    job = training(stack, quick, stop=stop, checkpoint=checkpoint)
    drain(job, lambda event: stop.stop())
    other = replace(quick, network=UNetConfig(n_filters=6))
    with pytest.raises(BadFile, match="does not fit"):
        drain(training(stack, other, checkpoint=FileCheckpoint(path, is_resumed=True)))


def test_a_foreign_file_is_no_training_state(tmp_path):
    path = tmp_path / "n2v.checkpoint"
    path.write_bytes(b"not a training state")
    with pytest.raises(BadFile, match="cannot be read"):
        FileCheckpoint(path, is_resumed=True).load()


def test_training_leaves_the_random_numbers_of_the_caller_alone(stack, quick):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    drain(training(stack, quick))
    assert torch.equal(torch.rand(3), expected)


def test_held_out_pixels_are_never_training_targets(stack):
    marked = [np.where(held, np.float32(-1), 1) for held in stack.held_out]
    source = MaskedObservations(
        Crops(replace(stack, images=marked), 32, 8), 4, "mean", 0
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert (source.draw(rng).targets == 1).all()
    for batch in source.validation():
        assert (batch.targets == -1).all()


def test_a_single_small_frame_is_enough_to_train_and_validate_on(quick, sample):
    one = as_frames(sample.observation[0, :40, :33], "YX")
    stack = collect_training_stack(
        [one], patch_size=32, held_out_share=0.05, rng=np.random.default_rng(0)
    )
    assert 0 < stack.held_out[0].mean() < 0.3
    trained = drain(training(stack, quick))
    assert np.isfinite(trained.curve[-1].validation_loss)


def test_frames_larger_than_the_budget_are_read_as_crops(sample):
    stack = collect_training_stack(
        [sample.frames],
        patch_size=32,
        held_out_share=0.05,
        rng=np.random.default_rng(0),
        max_pixels=6 * 48 * 48,
    )
    assert [image.shape for image in stack.images] == [(48, 48)] * 6


def test_the_last_frames_can_be_held_out_as_published(sample):
    stack = collect_training_stack(
        [sample.frames],
        patch_size=32,
        held_out_share=0.05,
        held_out_frames=2,
        rng=np.random.default_rng(0),
    )
    assert [bool(held.all()) for held in stack.held_out] == [False] * 4 + [True] * 2


def test_all_eight_orientations_are_drawn():
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    stack = collect_training_stack(
        [as_frames(image, "YX")],
        patch_size=8,
        held_out_share=0.05,
        rng=np.random.default_rng(0),
    )
    crops = Crops(stack, 8, 64).draw(np.random.default_rng(0))[0]
    assert len({crop.tobytes() for crop in crops}) == 8


def test_pairs_are_cut_and_turned_alike(sample):
    clean = as_frames(sample.truth, "TYX")
    stack = collect_training_stack(
        [as_frames(sample.truth * 2, "TYX")],
        patch_size=32,
        held_out_share=0.05,
        rng=np.random.default_rng(0),
        targets=[clean],
    )
    batch = ImagePairs(Crops(stack, 32, 8), 0).draw(np.random.default_rng(0))
    np.testing.assert_allclose(
        batch.inputs.reshape(-1)[batch.where], 2 * batch.targets, rtol=1e-6
    )


def test_one_cycle_rises_for_a_tenth_and_ends_at_half_a_percent():
    schedule = OneCycle(3e-3, 1000)
    rates = [schedule.rate(step) for step in range(1000)]
    assert np.argmax(rates) in (99, 100)
    assert max(rates) == pytest.approx(3e-3)
    assert rates[-1] == pytest.approx(0.005 * 3e-3, rel=0.01)


@pytest.mark.parametrize(
    ("n_steps", "times"), [(10, 2), (50, 2), (80, 1.25), (100, 1), (1000, 1)]
)
def test_few_steps_are_larger_so_that_they_lead_somewhere(n_steps, times):
    config = TrainingConfig(n_steps=n_steps)
    highest = max(make_schedule(config).rate(step) for step in range(n_steps))
    assert highest == pytest.approx(times * config.learning_rate)
    as_given = make_schedule(replace(config, optimizer="adam"))
    assert as_given.rate(n_steps // 10) <= config.learning_rate


def test_the_plateau_schedule_halves_the_rate_when_out_of_patience():
    schedule = Plateau(1e-3, patience=2)
    for loss in (1.0, 0.9, 0.95, 0.95):
        schedule.validated(loss)
    assert schedule.rate(0) == 1e-3
    schedule.validated(0.95)
    assert schedule.rate(0) == 5e-4


def test_a_training_config_outside_its_range_is_refused_by_name():
    from napari_ppn2v.errors import BadSetting

    with pytest.raises(BadSetting, match=r"Training steps.*at least 1"):
        TrainingConfig(n_steps=0)
