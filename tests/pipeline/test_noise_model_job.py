"""Noise models as jobs of their own: fit, load, compare, check an image."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import NoiseModelFitted, PairsReady, StageStarted, collect
from napari_ppn2v.files.noise_model_files import Provenance, save_noise_model
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.pipeline.noise_model_job import (
    NoiseModelRequest,
    check_coverage,
    compare_noise_models,
    fit_to_request,
    load_from_file,
)
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.stop import StopToken

QUICK = NoiseModelConfig(kind="gmm", n_components=1)
TINY = TrainingConfig(n_steps=20, batch_size=4, patch_size=32, steps_per_validation=10)


@pytest.fixture(scope="module")
def calibration():
    return simulate_calibration(Camera(), n_repeats=12, size=48, peak_electrons=60)


@pytest.fixture(scope="module")
def report(calibration):
    stack = Stack(data=calibration.observation, axes="TYX", name="diaphragm")
    request = NoiseModelRequest(calibration=(stack,), config=QUICK)
    return collect(fit_to_request(request, StopToken()))


def test_a_recording_gives_model_pairs_and_quality(report):
    events, result = report
    assert any(isinstance(event, PairsReady) for event in events)
    assert any(isinstance(event, NoiseModelFitted) for event in events)
    assert result.fit.model.kind == "gmm"
    assert result.pairs.n_pairs > 10_000
    assert {item.verdict for item in result.quality} == {"good"}
    assert not result.is_stopped


def test_clean_frames_stand_for_all_noisy_ones(calibration):
    request = NoiseModelRequest(
        observation=Stack(data=calibration.observation, axes="TYX"),
        signal=Stack(data=calibration.signal, axes="YX"),
        config=QUICK,
    )
    _, result = collect(fit_to_request(request, StopToken()))
    assert result.pairs.n_pairs > 10_000


def test_noisy_frames_alone_are_denoised_first():
    stack = simulate_stack(Camera(), n_frames=2, size=64, peak_electrons=60)
    request = NoiseModelRequest(
        observation=Stack(data=stack.observation, axes="TYX"),
        config=QUICK,
        run_config=RunConfig(
            network=UNetConfig(n_filters=8), pretraining=TINY, training=TINY
        ),
    )
    events, result = collect(fit_to_request(request, StopToken()))
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == ["n2v", "pseudo ground truth", "noise model"]
    assert result.fit is not None
    stop = StopToken()
    stop.stop()
    _, stopped = collect(fit_to_request(request, stop))
    assert stopped.is_stopped
    assert stopped.fit is None
    assert stopped.quality == ()


def test_layers_of_different_pixels_are_refused_with_their_sizes(calibration):
    request = NoiseModelRequest(
        observation=Stack(data=calibration.observation, axes="TYX", name="noisy"),
        signal=Stack(data=calibration.signal[:40], axes="YX", name="clean"),
    )
    with pytest.raises(BadData, match=r"12 frames of 48 x 48.*1 of 40 x 48"):
        request.check()


def test_one_source_is_needed_and_no_more(calibration):
    stack = Stack(data=calibration.observation, axes="TYX")
    for request in (
        NoiseModelRequest(),
        NoiseModelRequest(calibration=(stack,), observation=stack),
    ):
        with pytest.raises(BadSetting, match="one of the two"):
            request.check()


def test_comparing_is_fair_to_both_sides(report, calibration):
    _, result = report
    one = ("fitted", result.fit.model)
    flat = NoiseModelConfig(kind="gmm", n_components=1, n_coefficients=1)
    stack = Stack(data=calibration.observation, axes="TYX")
    _, other = collect(
        fit_to_request(
            NoiseModelRequest(calibration=(stack,), config=flat), StopToken()
        )
    )
    two = ("flat", other.fit.model)
    _, forth = collect(compare_noise_models(one, two, result.pairs, StopToken()))
    _, back = collect(compare_noise_models(two, one, result.pairs, StopToken()))
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.difference < 0
    assert forth.is_clear
    assert forth.first.nll == pytest.approx(result.fit.held_out_nll)
    _, same = collect(compare_noise_models(one, one, result.pairs, StopToken()))
    assert not same.is_clear


def test_a_file_is_named_by_what_it_says_of_itself(report, tmp_path):
    model = report[1].fit.model
    path = save_noise_model(
        tmp_path / "a.npz", model, Provenance(name="iXon EM 300", camera="iXon 888")
    )
    _, loaded = collect(load_from_file(path, StopToken()))
    assert loaded.name == "iXon EM 300"
    assert loaded.origin == "iXon 888"
    bare = save_noise_model(tmp_path / "b.npz", model)
    _, loaded = collect(load_from_file(bare, StopToken()))
    assert loaded.name == "b"


def test_bright_images_lie_outside_of_the_model(report, calibration):
    model = report[1].fit.model
    for factor, is_outside in ((1, False), (4, True)):
        stack = Stack(data=calibration.observation * np.uint16(factor), axes="TYX")
        _, found = collect(check_coverage(stack, 0, model, StopToken()))
        assert found.coverage.is_worth_a_warning is is_outside


def test_asking_for_a_fit_loads_no_torch():
    code = (
        "import sys, napari_ppn2v.pipeline.noise_model_job;"
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"
