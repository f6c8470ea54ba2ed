"""Images whose signals a model does not know are found, noise is not mistaken."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models import PoissonGaussianModel
from napari_ppn2v.events import Notice, StepDone, collect, drain
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.pipeline.apply_job import warn_of_foreign_signals
from napari_ppn2v.pipeline.coverage import (
    MOST_FRAMES,
    KnownSignals,
    compare_signals,
    signal_coverage,
)
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.noise_sources import Bootstrap
from napari_ppn2v.stop import StopToken


@pytest.fixture(scope="module")
def camera():
    return PoissonGaussianModel(
        gain=2.2, offset=100, read_noise=3.3, signal_range=(100, 190), cell=1.0
    )


def observed(camera, signal):
    generator = torch.Generator().manual_seed(0)
    signal = torch.from_numpy(np.array(signal, np.float32))
    return camera.sample(signal, generator).numpy()


def test_noise_alone_does_not_lie_outside(camera):
    ramp = np.broadcast_to(np.linspace(100, 190, 200), (3, 200, 200))
    found = signal_coverage(observed(camera, ramp), camera)
    assert found.share_outside < 1e-3
    assert not found.is_worth_a_warning
    assert found.model_range == (100, 190)


def test_the_share_outside_is_that_of_the_pixels(camera):
    ramp = np.broadcast_to(np.linspace(100, 280, 200), (3, 200, 200))
    stack = observed(camera, ramp)
    found = signal_coverage(as_frames(stack, "TYX"), camera)
    assert found.share_outside == pytest.approx(0.45, abs=0.06)
    assert found.data_range[1] == pytest.approx(280, abs=30)
    assert found == signal_coverage(list(stack), camera)


def test_of_many_frames_some_are_compared_and_a_stop_is_seen(camera):
    stack = np.full((500, 16, 16), 150.0)
    known = KnownSignals.of_noise_model(camera)
    events, _ = collect(compare_signals(stack, known))
    assert len(events) == MOST_FRAMES
    stop = StopToken()
    stop.stop()
    events, found = collect(compare_signals(stack, known, stop))
    assert len(events) == 1
    assert found.share_outside == 0


@pytest.fixture
def n2v(sample, quick):
    steps = replace(quick.pretraining, n_steps=5)
    config = replace(quick, method="n2v", pretraining=steps)
    return drain(
        train_denoiser(
            [sample.frames], config, Bootstrap(), device=torch.device("cpu"),
            stop=StopToken(),
        )
    ).denoiser  # fmt: skip


def warnings_of(denoiser, stack):
    frames = as_frames(stack, "TYX")
    events, _ = collect(
        warn_of_foreign_signals("cells", denoiser, "new.tif", frames, StopToken())
    )
    assert any(isinstance(event, StepDone) for event in events)
    return [event.message for event in events if isinstance(event, Notice)]


def test_noise2void_knows_the_range_it_was_trained_on(sample, n2v, tmp_path):
    save_model(tmp_path / "model.ppn2v", n2v)
    loaded = load_model(tmp_path / "model.ppn2v")
    assert warnings_of(loaded, sample.observation) == []
    (message,) = warnings_of(loaded, 3 * sample.observation)
    assert "new.tif reaches from" in message
    assert "the model cells knows signals from" in message
    assert "Use a model of the same camera settings" in message


def test_a_model_that_knows_no_range_says_nothing(sample, n2v):
    unknowing = replace(n2v, provenance={})
    job = warn_of_foreign_signals(
        "cells", unknowing, "new.tif", sample.frames, StopToken()
    )
    assert collect(job)[0] == []


def test_what_a_model_was_trained_on_is_not_foreign_to_it(sample, n2v, camera):
    # the fit of a noise model leaves out the ends of the training data
    narrow = PoissonGaussianModel(
        gain=2.2, offset=100, read_noise=3.3, signal_range=(130, 150), cell=1.0
    )
    trained = replace(n2v, noise_model=narrow)
    assert warnings_of(trained, sample.observation) == []
    assert warnings_of(replace(trained, provenance={}), sample.observation) != []
    reach = KnownSignals.of_denoiser(replace(n2v, noise_model=camera)).signal_range
    assert reach[0] == 100
    assert reach[1] == 190
