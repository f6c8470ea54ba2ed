"""Trained models on several stacks in memory, and on files: results, warnings, Stop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.errors import BadAxes, BadData, BadSetting
from napari_ppn2v.events import (
    DeviceChosen,
    FrameDenoised,
    Notice,
    PartStarted,
    StepDone,
    collect,
    drain,
)
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.pipeline.apply_stacks_job import (
    apply_model_to_files,
    apply_to_stacks,
)
from napari_ppn2v.pipeline.apply_stacks_request import (
    ApplyFilesRequest,
    ApplyStacksRequest,
    ChosenStack,
    StackDenoised,
    usual_channels,
)
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.pipeline.stack_job import denoise_stack
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
from napari_ppn2v.session.session import NamedDenoiser
from napari_ppn2v.stop import StopToken


@pytest.fixture(scope="session")
def trained(sample, quick):
    """A model of one channel with refinement, as small as they get."""
    training = replace(quick.pretraining, n_steps=24, steps_per_validation=12)
    config = replace(
        quick,
        method="refined",
        n_refinements=1,
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )
    stack = Stack(data=sample.observation, axes="TYX", name="cells")
    report = drain(
        denoise_stack(StackRequest(observation=stack, config=config), StopToken())
    )
    return replace(report.denoisers[0], provenance=report.provenance)


@pytest.fixture
def model(trained):
    return NamedDenoiser("cells", (trained,))


def chosen(data, axes="TYX", name="day 2", **options) -> ChosenStack:
    return ChosenStack(stack=Stack(data=data, axes=axes, name=name), **options)


def run(model, *stacks, **options):
    request = ApplyStacksRequest(model=model, stacks=stacks, **options)
    return collect(apply_to_stacks(request, StopToken()))


def warnings_of(events) -> list[str]:
    return [e.message for e in events if isinstance(e, Notice) and e.is_warning]


def test_each_stack_is_handed_over_as_soon_as_it_is_done(sample, model):
    data = sample.observation
    first, second = chosen(data[:2], name="a"), chosen(data[2:3, ::-1], name="b")
    events, report = run(model, first, second, with_residual=True)
    kinds = (DeviceChosen, PartStarted, StackDenoised)
    order = [type(e) for e in events if isinstance(e, kinds)]
    assert order == [
        DeviceChosen, PartStarted, StackDenoised, PartStarted, StackDenoised,
    ]  # fmt: skip
    parts = [(e.name, e.index, e.total) for e in events if isinstance(e, PartStarted)]
    assert parts == [("a", 0, 2), ("b", 1, 2)]
    assert [done.index for done in report.results] == [0, 1]
    image = report.results[0].result.image
    error = np.mean((image - sample.truth[:2]) ** 2)
    assert error < np.mean((data[:2] - sample.truth[:2]) ** 2.0) / 2
    residual = report.results[0].result.residual
    np.testing.assert_allclose(residual, data[:2] - image, atol=1e-3)
    made = report.results[1].provenance
    assert (made["model"], made["data"]["name"]) == ("cells", "b")
    assert made["training"][0]["settings"]["method"] == "refined"
    assert not report.is_stopped


def test_a_saved_model_gives_the_same_pixels(sample, model, trained, tmp_path):
    path = save_model(tmp_path / "cells.ppn2v", trained)
    reloaded = NamedDenoiser("cells", (load_model(path),))
    stack = chosen(sample.observation[:1])
    results = [
        run(kind, stack)[1].results[0].result.image for kind in (model, reloaded)
    ]
    np.testing.assert_array_equal(*results)


def test_signals_beyond_the_training_are_told_of_with_figures(sample, model):
    data = sample.observation
    bright = np.clip(data.astype(np.int64) * 4, 0, 65535).astype(np.uint16)
    alike = np.random.default_rng(0).normal(140, 5, (1, 96, 96)).astype(np.float32)
    events, _ = run(model, chosen(alike, name="alike"), chosen(bright[:1]))
    (told,) = warnings_of(events)
    assert told.startswith("“day 2” reaches from")
    low, high = model.denoisers[0].noise_model.signal_range
    assert f"signals from {low:.4g} to {high:.4g}" in told
    assert "% of the pixels lie outside" in told


def test_a_broken_stack_does_not_keep_the_others_from_being_denoised(sample, model):
    broken = sample.observation[:1].astype(np.float32)
    broken[0, 5, 5] = np.nan
    events, report = run(
        model, chosen(broken, name="broken"), chosen(sample.observation[:1])
    )
    assert [done.index for done in report.results] == [1]
    assert report.failures[0][0] == "broken"
    assert any("“broken” was not denoised" in text for text in warnings_of(events))
    assert not report.is_stopped
    with pytest.raises(BadData, match="not a number"):
        run(model, chosen(broken, name="broken"))


def test_a_stop_keeps_the_stacks_that_are_done(sample, model):
    stacks = tuple(chosen(sample.observation[:2], name=name) for name in "abc")
    stop = StopToken()
    job = apply_to_stacks(ApplyStacksRequest(model=model, stacks=stacks), stop)
    finished = []

    def on_event(event):
        if isinstance(event, StackDenoised):
            finished.append(event.index)
        if isinstance(event, StepDone) and event.stage == "denoise" and finished:
            stop.stop()

    report = drain(job, on_event)
    assert report.is_stopped
    assert [done.index for done in report.results] == finished == [0]


def test_type_estimate_and_uncertainty_are_as_asked_for(sample, model):
    no_noise_model = replace(
        model.denoisers[0], noise_model=None, refined=None, estimate="prior-mean"
    )
    n2v, one = NamedDenoiser("n2v", (no_noise_model,)), chosen(sample.observation[:1])
    with pytest.raises(BadSetting, match="posterior standard deviation"):
        run(n2v, one, inference=InferenceConfig(posterior_std=True))
    with pytest.raises(BadSetting, match="MMSE"):
        run(model, one, inference=InferenceConfig(estimate="mmse"))
    _, report = run(
        model,
        one,
        inference=InferenceConfig(estimate="refined", posterior_std=True),
        dtype="same",
    )
    result = report.results[0].result
    assert result.image.dtype == np.uint16
    assert (result.posterior_std > 0).all()
    _, plain = run(
        model,
        one,
        inference=InferenceConfig(estimate="prior-mean"),
    )
    assert plain.results[0].denoisers[0].reason == "prior-mean, as asked for"
    assert np.abs(plain.results[0].result.image - result.image).max() > 0.5


def test_channels_go_to_the_models_that_were_trained_on_them(sample, trained):
    two = NamedDenoiser("two", (trained, trained), (0, 1))
    data = np.stack([sample.observation[:1], sample.observation[1:2]], axis=1)
    channels, together = usual_channels(two, 2, "day 2")
    assert (channels, together) == ((0, 1), True)
    stack = chosen(data, "TCYX", channels=channels, is_put_together=together)
    _, report = run(two, stack)
    assert report.results[0].result.axes == "TCYX"
    one = NamedDenoiser("one", (trained,), (3,))
    _, report = run(one, chosen(data, "TCYX", channels=(1,)))
    assert report.results[0].result.axes == "TYX"


def test_a_wrong_number_of_channels_is_said_in_words(sample, model, trained):
    with pytest.raises(BadAxes, match="for 1 channel, but “rgb” has 3 channels"):
        usual_channels(model, 3, "rgb")
    two = NamedDenoiser("two", (trained, trained), (0, 1))
    with pytest.raises(BadAxes, match=r"2 channels \(0, 1\), but “a” has 1 channel\."):
        usual_channels(two, 1, "a")
    data = np.stack([sample.observation[0]] * 3)
    wrong = chosen(data, "CYX", name="rgb", channels=(0, 1, 2), is_put_together=True)
    with pytest.raises(BadAxes, match="3 channels of “rgb” are chosen"):
        run(model, wrong)
    with pytest.raises(BadAxes, match="channel 2 of “rgb” is chosen"):
        run(two, chosen(data, "CYX", name="rgb", channels=(2,)))
    with pytest.raises(BadAxes, match="Choose a model of one channel"):
        run(two, chosen(data, "TYX", name="single"))
    with pytest.raises(BadSetting, match="No image is chosen"):
        run(model)


def test_images_of_any_size_are_denoised(sample, model):
    for shape in ((5, 7), (1, 40), (33, 96)):
        data = sample.observation[0, : shape[0], : shape[1]]
        _, report = run(model, chosen(data, "YX"))
        assert report.results[0].result.image.shape == shape


@pytest.fixture
def folder(sample, tmp_path):
    place = tmp_path / "raw"
    place.mkdir()
    for number in range(2):
        pixels = sample.observation[2 * number : 2 * number + 2]
        tifffile.imwrite(place / f"field{number}.tif", pixels, metadata={"axes": "TYX"})
    return place


def test_a_folder_goes_to_another_and_nothing_is_replaced_unasked(
    folder, model, tmp_path
):
    request = ApplyFilesRequest(
        model=model, images=(folder,), out=tmp_path / "denoised"
    )
    events, report = collect(apply_model_to_files(request, StopToken()))
    names = [written.target.result.name for written in report.results]
    assert names == ["field0_denoised.ome.tif", "field1_denoised.ome.tif"]
    frames = [(e.index, e.total) for e in events if isinstance(e, FrameDenoised)]
    assert frames == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert sum(isinstance(e, DeviceChosen) for e in events) == 1
    again = replace(request, inference=InferenceConfig(posterior_std=True))
    with pytest.raises(
        BadSetting, match=r"field0_denoised.ome.tif and 1 more are in “den"
    ):
        drain(apply_model_to_files(again, StopToken()))
    drain(apply_model_to_files(replace(again, is_replacing=True), StopToken()))
    assert (tmp_path / "denoised" / "field1_posterior_std.ome.tif").exists()


def test_a_model_of_two_channels_denoises_files_of_two(sample, trained, tmp_path):
    data = np.stack([sample.observation[0], sample.observation[1]])
    tifffile.imwrite(tmp_path / "two.tif", data, metadata={"axes": "CYX"})
    model = NamedDenoiser("a/b: c", (trained, trained), (0, 1))
    request = ApplyFilesRequest(
        model=model,
        images=(tmp_path / "two.tif",),
        out=tmp_path / "out",
        channel="all",
    )
    report = drain(apply_model_to_files(request, StopToken()))
    assert tifffile.imread(report.results[0].target.result).shape == (2, 96, 96)


def test_a_stop_leaves_whole_files_only(folder, model, tmp_path):
    stop = StopToken()
    request = ApplyFilesRequest(model=model, images=(folder,), out=tmp_path / "out")

    def on_event(event):
        if isinstance(event, FrameDenoised) and event.index == 1:
            stop.stop()

    report = drain(apply_model_to_files(request, stop), on_event)
    assert report.is_stopped
    assert [path.name for path in (tmp_path / "out").iterdir()] == [
        "field0_denoised.ome.tif"
    ]


def test_warnings_of_many_files_are_summed_up(sample, model, tmp_path):
    bright = sample.observation[:1, :32, :32] * 9
    for number in range(5):
        tifffile.imwrite(tmp_path / f"{number}.tif", bright, metadata={"axes": "TYX"})
    request = ApplyFilesRequest(
        model=model, images=(tmp_path / "*.tif",), out=tmp_path / "out"
    )
    events, report = collect(apply_model_to_files(request, StopToken()))
    told = warnings_of(events)
    assert len(report.results) == 5
    assert [text.partition(" ")[0] for text in told[:3]] == ["0.tif", "1.tif", "2.tif"]
    assert told[3:] == ["The signals of 2 more files lie outside, too."]
