"""The check of a result: what it looks at, and what it says of good and bad ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import napari_ppn2v as ppn2v
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models.camera_models import PoissonGaussianModel
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import StepDone, collect, drain
from napari_ppn2v.pipeline.inference_choice import choose_inference
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.noise_sources import GivenNoiseModel
from napari_ppn2v.pipeline.result_check import check_result, chosen_images
from napari_ppn2v.stop import StopToken


@pytest.fixture(scope="module")
def camera(sample):
    """The noise of the sample, exactly."""
    return PoissonGaussianModel(
        gain=2.2, offset=100, read_noise=3.3, signal_range=(100, 190)
    )


@pytest.fixture(scope="module")
def denoiser(sample, quick, camera):
    config = replace(quick, method="refined", n_refinements=1).with_steps(300)
    config = replace(config, inference=replace(quick.inference, estimate="refined"))
    job = train_denoiser(
        [sample.frames],
        config,
        GivenNoiseModel(camera),
        device=torch.device("cpu"),
        stop=StopToken(),
    )
    return drain(job).denoiser


@pytest.fixture(scope="module")
def checked(denoiser, sample):
    job = check_result(
        denoiser, [sample.frames], stop=StopToken(), is_bootstrapped=False
    )
    return collect(job)


def finding(check, name):
    return next(each for each in check.findings if each.name == name)


def test_the_expected_error_is_that_of_the_delivered_image(checked, denoiser, sample):
    _, check = checked
    results = [
        denoiser.result(denoiser.estimate_image(x.astype(np.float32)))
        for x in sample.observation
    ]
    truth = np.sqrt(np.mean((np.stack(results) - sample.truth) ** 2))
    assert check.errors.rmse == pytest.approx(truth, rel=0.2)
    assert f"{check.errors.rmse:.3g}" in finding(check, "expected error").sentence


def test_the_uncertainty_is_brought_to_the_expected_error(checked, denoiser, sample):
    _, check = checked
    estimates = [
        denoiser.estimate_image(x.astype(np.float32)) for x in sample.observation
    ]
    std = np.stack([each.posterior_std for each in estimates])
    results = np.stack([denoiser.result(each) for each in estimates])
    scaled = (sample.truth - results) / (std * check.std_factor)
    assert scaled.std() == pytest.approx(1, abs=0.2)


def test_every_image_is_counted_in_the_progress(checked, sample):
    events, check = checked
    steps = [e for e in events if isinstance(e, StepDone) and e.total]
    assert [step.step for step in steps] == list(range(1, len(sample.frames) + 1))
    assert check.images == tuple((0, n) for n in range(len(sample.frames)))


def test_the_shown_image_is_the_one_with_most_structure_left(checked):
    _, check = checked
    assert check.shown.leftover.share == check.residual.leftover.worst_share
    assert check.shown.frame == check.residual.leftover.worst_image
    assert check.shown.posterior_std is not None


def test_a_denoiser_that_erases_everything_is_not_believed(denoiser, sample):
    """Without its last layer the network gives the same value everywhere."""
    blank = replace(denoiser, refined=drained_of_weights(denoiser.refined))
    check = drain(check_result(blank, [sample.frames], stop=StopToken()))
    assert finding(check, "leftover structure").verdict == "will not work"
    truth = sample.truth.std()
    assert check.errors.rmse is None or check.errors.rmse > 0.5 * truth


def drained_of_weights(model):
    import copy

    blank = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in blank.prior.parameters():
            parameter.zero_()
    return blank


def test_a_model_without_noise_model_cannot_be_checked(denoiser, sample):
    plain = replace(denoiser, noise_model=None)
    with pytest.raises(BadSetting, match="no noise model"):
        drain(check_result(plain, [sample.frames], stop=StopToken()))


def test_a_stopped_check_judges_what_it_has_seen(denoiser, sample):
    stop = StopToken()
    job = check_result(denoiser, [sample.frames], stop=stop)
    for event in job:
        if isinstance(event, StepDone) and event.total and event.step == 2:
            break
    stop.stop()
    check = drain(job)
    assert len(check.images) == 2
    stopped = check_result(denoiser, [sample.frames], stop=stop)
    assert drain(stopped) is None


def test_images_are_spread_over_all_recordings():
    long = as_frames(np.zeros((100, 16, 16), np.uint16), "TYX")
    short = as_frames(np.zeros((3, 16, 16), np.uint16), "TYX")
    images = chosen_images([long, short])
    assert len(images) == 24
    assert images[0] == (0, 0)
    assert images[-1] == (1, 2)
    assert len(set(images)) == 24


def test_the_python_call_does_the_same_with_an_array(checked, denoiser, sample):
    _, check = checked
    found = ppn2v.check_result(
        denoiser, sample.observation, axes="TYX", is_bootstrapped=False, device="cpu"
    )
    assert found.errors == check.errors
    assert found.findings == check.findings


@pytest.fixture(scope="module")
def with_std(denoiser, sample, quick):
    """The same model, with its uncertainty calibrated on the frames themselves."""
    images = [x.astype(np.float32) for x in sample.observation]
    options = [("refined", False), ("prior-mean", False)]
    job = choose_inference(denoiser, images, options, seed=0, stop=StopToken())
    calibration = drain(job).std_calibration
    return replace(denoiser, std_calibration=calibration)


def test_an_expected_error_that_comes_out_below_nothing_is_not_called_zero(
    denoiser, sample
):
    noisier = PoissonGaussianModel(
        gain=2.2, offset=100, read_noise=60, signal_range=(100, 190)
    )
    images = [x.astype(np.float32) for x in sample.observation]
    job = choose_inference(
        replace(denoiser, noise_model=noisier),
        images,
        [("refined", False), ("prior-mean", False)],
        seed=0,
        stop=StopToken(),
    )
    choice = drain(job)
    assert all(risk.mean_squared_error < 0 for risk in choice.risks.values())
    assert "refined MMSE less than can be told" in choice.reason


def test_the_uncertainty_that_is_delivered_is_calibrated(denoiser, with_std, sample):
    image = sample.observation[0].astype(np.float32)
    before = denoiser.estimate_image(image).posterior_std
    after = with_std.estimate_image(image).posterior_std
    assert not np.allclose(before, after)
    np.testing.assert_allclose(after, with_std.std_calibration(before), rtol=1e-5)
    errors = [
        (sample.truth[k] - with_std.result(found)) / found.posterior_std
        for k, x in enumerate(sample.observation)
        for found in [with_std.estimate_image(x.astype(np.float32))]
    ]
    assert np.std(errors) == pytest.approx(1, abs=0.2)


def test_a_calibration_is_not_used_for_another_estimate(denoiser, with_std, sample):
    image = sample.observation[0].astype(np.float32)
    found = [
        replace(each, estimate="prior-mean").estimate_image(image).posterior_std
        for each in (denoiser, with_std)
    ]
    assert np.array_equal(*found) if found[0] is not None else found[1] is None


def test_a_model_file_keeps_the_calibration(with_std, tmp_path):
    path = ppn2v.save_model(tmp_path / "model.ppn2v", with_std)
    assert ppn2v.load_model(path).std_calibration == with_std.std_calibration
