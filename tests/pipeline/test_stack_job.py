"""From arrays to arrays: axes, channels, regions, types, Stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.errors import BadAxes, BadData, BadSetting
from napari_ppn2v.events import (
    DeviceChosen,
    FrameDenoised,
    Notice,
    PartStarted,
    StageStarted,
    StepDone,
    collect,
    drain,
)
from napari_ppn2v.pipeline import stack_results
from napari_ppn2v.pipeline.memory_checkpoints import MemoryCheckpoints
from napari_ppn2v.pipeline.stack_job import (
    denoise_stack,
    denoise_trained,
    train_stack_longer,
)
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
from napari_ppn2v.stop import StopToken


@pytest.fixture(scope="module")
def config(quick):
    training = replace(quick.pretraining, n_steps=12, steps_per_validation=6)
    return replace(
        quick,
        method="refined",
        n_refinements=1,
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


def request(data, axes, config, **options) -> StackRequest:
    return StackRequest(
        observation=Stack(data=data, axes=axes, name="cells"), config=config, **options
    )


def run(wanted: StackRequest, **options):
    return drain(denoise_stack(wanted, StopToken(), **options))


def test_a_stack_comes_back_closer_to_the_truth_in_its_own_axes(sample, quick):
    config = replace(quick, noise_model=NoiseModelConfig(kind="gmm", n_components=1))
    data = sample.observation.transpose(1, 2, 0)  # Y, X, T
    events, report = collect(
        denoise_stack(request(data, "YXT", config, with_residual=True), StopToken())
    )
    result = report.result
    assert result.axes == "YXT"
    assert result.image.shape == data.shape
    truth = sample.truth.transpose(1, 2, 0)
    before = np.mean((data - truth) ** 2.0)
    assert np.mean((result.image - truth) ** 2) < before / 2
    np.testing.assert_allclose(result.residual, data - result.image, atol=1e-3)
    stages = [e.stage for e in events if isinstance(e, StageStarted)]
    assert stages[:2] == ["reading", "n2v"]
    assert stages[-1] == "denoise"
    assert sum(isinstance(e, DeviceChosen) for e in events) == 1
    assert report.provenance["settings"]["seed"] == 0
    assert not report.is_stopped


def test_channels_are_trained_by_themselves_and_put_together(sample, config):
    data = np.stack([sample.observation[:2], sample.observation[2:4] + 500], axis=1)
    enough = replace(config.pretraining, n_steps=30)  # for the level of each channel
    config = replace(config, pretraining=enough, refinement=enough)
    wanted = request(data, "TCYX", config, channels=(0, 1), is_put_together=True)
    events, report = collect(denoise_stack(wanted, StopToken()))
    parts = [(e.name, e.index, e.total) for e in events if isinstance(e, PartStarted)]
    assert parts == [("channel 0", 0, 2), ("channel 1", 1, 2)]
    assert report.result.axes == "TCYX"
    assert report.result.image.shape == data.shape
    means = report.result.image.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(means, data.mean(axis=(0, 2, 3)), rtol=0.02)
    frames = [e.index for e in events if isinstance(e, FrameDenoised)]
    assert frames == [0, 1, 2, 3]


def test_one_channel_of_several_loses_the_channel_axis(sample, config):
    data = np.stack([sample.observation[:2], sample.observation[2:4]], axis=1)
    report = run(request(data, "TCYX", config, channels=(1,)))
    assert report.result.axes == "TYX"
    assert report.result.image.shape == (2, 96, 96)


def test_training_sees_only_the_frames_and_the_region_chosen(sample, config):
    class Watched:
        def __init__(self, array):
            self.array, self.shape, self.dtype = array, array.shape, array.dtype
            self.read = []

        def __getitem__(self, where):
            self.read.append(where)
            return self.array[where]

    data = Watched(sample.observation)
    wanted = request(
        data, "TYX", config, training_frames=(1, 4), region=(slice(8, 72), slice(0, 64))
    )
    source = wanted.training_source(0)
    assert (len(source), source.shape) == (2, (64, 64))
    for index in range(len(source)):
        source.frame(index)
    assert {where[0] for where in data.read} == {1, 4}
    assert {(w[1].start, w[1].stop) for w in data.read} == {(8, 72)}
    assert run(wanted).result.image.shape == data.shape


def test_the_type_of_the_observation_is_kept_when_asked_for(sample, config):
    report = run(request(sample.observation, "TYX", config, dtype="same"))
    assert report.result.image.dtype == np.uint16
    bright = (sample.observation.astype(np.int64) - 60).clip(0, 255).astype(np.uint8)
    events, report = collect(
        denoise_stack(request(bright, "TYX", config, dtype="same"), StopToken())
    )
    assert report.result.image.dtype == np.uint8
    below, above = report.result.clipped
    told = [e.message for e in events if isinstance(e, Notice) and "limits" in str(e)]
    assert bool(told) == bool(below + above)


def test_the_uncertainty_comes_with_the_result(sample, config):
    inference = replace(config.inference, posterior_std=True)
    report = run(
        request(sample.observation, "TYX", replace(config, inference=inference))
    )
    assert report.result.posterior_std.shape == sample.observation.shape
    assert (report.result.posterior_std > 0).mean() > 0.99


def stop_at(event_type, stage):
    """Run until an event of this kind and stage, then stop; gives events and result."""

    def drive(wanted, **options):
        stop = StopToken()
        job = denoise_stack(wanted, stop, **options)
        while True:
            try:
                event = next(job)
            except StopIteration as end:
                return end.value
            if isinstance(event, event_type) and getattr(event, "stage", "") == stage:
                stop.stop()

    return drive


def test_a_stop_in_training_keeps_a_model_to_denoise_with(sample, config):
    wanted = request(sample.observation, "TYX", config)
    report = stop_at(StepDone, "n2v")(wanted)
    assert report.is_stopped
    assert report.result is None
    assert len(report.denoisers) == 1
    done = drain(denoise_trained(report, StopToken()))
    assert done.result.image.shape == sample.observation.shape
    assert not done.is_stopped


def test_what_was_stopped_early_is_denoised_without_the_uncertainty(sample, config):
    inference = replace(config.inference, posterior_std=True)
    wanted = request(sample.observation, "TYX", replace(config, inference=inference))
    report = stop_at(StepDone, "n2v")(wanted)
    events, done = collect(denoise_trained(report, StopToken()))
    assert done.result.image.shape == sample.observation.shape
    assert done.result.posterior_std is None
    told = [e.message for e in events if isinstance(e, Notice) and e.is_warning]
    assert any("no posterior standard deviation" in words for words in told)


def test_channels_stopped_before_all_were_trained_can_be_trained_longer(sample, config):
    data = np.stack([sample.observation[:2], sample.observation[2:4]], axis=1)
    wanted = request(data, "TCYX", config, channels=(0, 1), is_put_together=True)
    report = stop_at(StepDone, "n2v")(wanted)
    done = drain(denoise_trained(report, StopToken()))
    assert done.request.channels == (0,)
    assert done.result.image.shape == (2, 1, 96, 96)
    longer = drain(train_stack_longer(done, StopToken(), n_steps=5))
    assert longer.result.image.shape == (2, 1, 96, 96)


def test_training_longer_uses_the_noise_source_that_was_chosen(sample, config):
    still = simulate_calibration(Camera(), n_repeats=20, size=64, peak_electrons=90)
    calibration = Stack(data=still.observation, axes="TYX", name="still")
    wanted = request(sample.observation, "TYX", config, calibration=(calibration,))
    report = stop_at(StepDone, "n2v")(wanted)
    events, _ = collect(train_stack_longer(report, StopToken(), n_steps=5))
    stages = [e.stage for e in events if isinstance(e, StageStarted)]
    assert "pseudo ground truth" not in stages


def test_training_longer_that_was_stopped_goes_on_where_it_was(sample, config):
    first = run(request(sample.observation, "TYX", config))
    whole = drain(train_stack_longer(first, StopToken())).result.image
    kept, stop = MemoryCheckpoints(), StopToken()
    job = train_stack_longer(first, stop, checkpoints=lambda _: kept)
    for event in job:
        if isinstance(event, StepDone) and event.stage == "refinement 2" and event.step:
            stop.stop()
    events, done = collect(
        train_stack_longer(first, StopToken(), checkpoints=lambda _: kept)
    )
    steps = [
        e.step for e in events if isinstance(e, StepDone) and e.stage == "refinement 2"
    ]
    assert min(step for step in steps if step) > 1  # 0 while targets are made
    np.testing.assert_array_equal(done.result.image, whole)


def test_a_stop_while_denoising_keeps_the_model(sample, config):
    report = stop_at(StepDone, "denoise")(request(sample.observation, "TYX", config))
    assert report.is_stopped
    assert report.result is None
    again = drain(denoise_trained(report, StopToken()))
    assert again.result.image.shape == sample.observation.shape


def test_a_result_beyond_memory_lies_in_a_file_and_holds_the_same(
    sample, config, monkeypatch
):
    wanted = request(sample.observation, "TYX", config)
    in_memory = run(wanted).result.image
    monkeypatch.setattr(stack_results, "MOST_OF_MEMORY", 0.0)
    in_file = run(wanted).result.image
    assert isinstance(in_file, np.memmap)
    np.testing.assert_array_equal(in_file, in_memory)


def test_a_broken_frame_shows_before_the_training(sample, config):
    data = sample.observation.astype(np.float32)
    data[4, 10, 10] = np.nan
    job = denoise_stack(request(data, "TYX", config), StopToken())
    events = []
    with pytest.raises(BadData, match=r"Frame 4 holds 1 values that are not a number"):
        drain(job, events.append)
    assert not any(isinstance(e, StepDone) and e.stage == "n2v" for e in events)


def test_what_cannot_work_is_refused_at_once(sample, config):
    stack = Stack(data=sample.observation, axes="TYX", name="cells")
    still = Stack(data=sample.observation[0], axes="YX", name="still")
    cases = [
        ({"channels": ()}, BadSetting, "No channel"),
        ({"channels": (2,)}, BadAxes, "no channel 2"),
        ({"dtype": "complex"}, BadSetting, "float32, same"),
        ({"calibration": (still,)}, BadData, "'still' has 1 frame"),
        ({"training_frames": (9,)}, BadData, "Frame 9"),
        ({"region": (slice(200, 300), slice(0, 5))}, BadData, "outside"),
    ]
    for options, kind, words in cases:
        with pytest.raises(kind, match=words):
            StackRequest(observation=stack, config=config, **options).check()
