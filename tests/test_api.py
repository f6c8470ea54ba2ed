"""The Python interface: one call, or each stage by itself, on any kind of array."""

import dask.array
import numpy as np
import pytest
import torch
import zarr

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadAxes, BadData, BadSetting
from napari_ppn2v.events import StageStarted, StepDone, collect
from napari_ppn2v.pipeline.budget import plan_steps

CAMERA = Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3)


@pytest.fixture(scope="module")
def stack():
    return simulate_stack(CAMERA, n_frames=3, size=64, peak_electrons=80, seed=0)


@pytest.fixture(scope="module")
def result(stack):
    return ppn2v.denoise(stack.observation, axes="TYX", steps=250, posterior_std=True)


def psnr(image, truth):
    return 10 * np.log10(np.ptp(truth) ** 2 / np.mean((image - truth) ** 2))


def test_one_call_denoises_and_gives_the_uncertainty(stack, result):
    assert result.image.shape == stack.observation.shape
    assert result.image.dtype == np.float32
    noisy = stack.observation.astype(np.float32)
    assert psnr(result.image, stack.signal) > psnr(noisy, stack.signal) + 3
    assert (result.posterior_std > 0).all()
    assert not result.is_stopped


@pytest.mark.parametrize("kind", ["dask", "zarr", "list of slices"])
def test_every_kind_of_array_gives_the_same(stack, result, kind):
    data = stack.observation
    source = {
        "dask": lambda: dask.array.from_array(data, chunks=(1, 32, 32)),
        "zarr": lambda: zarr.array(data, chunks=(1, 32, 32)),
        "list of slices": lambda: np.asfortranarray(data),
    }[kind]()
    again = ppn2v.apply(result.denoiser, source, axes="TYX")
    np.testing.assert_array_equal(again.image, result.image)


def test_the_input_is_left_as_it_was(stack, result):
    assert stack.observation.dtype == np.uint16
    fresh = simulate_stack(CAMERA, n_frames=3, size=64, peak_electrons=80, seed=0)
    np.testing.assert_array_equal(stack.observation, fresh.observation)


def test_stages_by_themselves(stack, tmp_path):
    recording = simulate_calibration(
        CAMERA, n_repeats=20, size=64, peak_electrons=90, seed=1
    )
    fit = ppn2v.fit_noise_model(calibration=recording.observation)
    _, variance = fit.model.moments(torch.tensor([200.0]))
    assert variance.item() == pytest.approx(2.2 * 100 + 3.3**2, rel=0.08)
    run = ppn2v.train(stack.observation, axes="TYX", noise_model=fit.model, steps=40)
    assert run.denoiser.noise_model is fit.model
    path = ppn2v.save_model(tmp_path / "a.ppn2v", run.denoiser)
    once = ppn2v.apply(run.denoiser, stack.observation, axes="TYX").image
    loaded = ppn2v.apply(ppn2v.load_model(path), stack.observation, axes="TYX").image
    np.testing.assert_array_equal(once, loaded)


def test_results_come_back_in_the_axes_of_the_input(stack, result):
    turned = np.moveaxis(stack.observation, 0, 2)  # Y, X, T
    again = ppn2v.apply(result.denoiser, turned, axes="YXT")
    np.testing.assert_array_equal(np.moveaxis(again.image, 2, 0), result.image)


def test_a_stop_gives_what_there_is(stack):
    stop = ppn2v.StopToken()

    def watch(event):
        if isinstance(event, StepDone) and event.step == 25:
            stop.stop()

    done = ppn2v.denoise(
        stack.observation, axes="TYX", steps=100, stop=stop, on_event=watch,
        posterior_std=True,
    )  # fmt: skip
    assert done.is_stopped
    assert np.isfinite(done.image).all()
    assert done.posterior_std is None


def test_uncertainty_of_noise2void_is_refused_before_training(stack):
    with pytest.raises(BadSetting, match="no posterior standard deviation"):
        ppn2v.denoise(stack.observation, method="n2v", posterior_std=True)


def test_channels_must_be_chosen():
    with pytest.raises(BadAxes):
        ppn2v.denoise(np.zeros((2, 32, 32, 3)) + np.eye(32)[..., None], axes="TYXC")


def test_minutes_become_steps_by_timing_some(stack):
    frames = as_frames(stack.observation, "TYX")
    config = ppn2v.preset("balanced")
    job = plan_steps(
        [frames], config, 1.0, device=torch.device("cpu"), stop=ppn2v.StopToken()
    )
    events, one = collect(job)
    assert isinstance(events[0], StageStarted)
    assert 20 < one < 60_000


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="nothing"):
        _ = ppn2v.nothing
    assert "denoise" in dir(ppn2v)


def test_frames_and_region_of_the_training_can_be_chosen(stack):
    tiny = ppn2v.preset("fast", method="n2v").with_steps(4)
    part = stack.observation[1:, :, 8:56]
    run = ppn2v.train(
        stack.observation,
        axes="TYX",
        config=tiny,
        training_frames=range(1, 3),
        region=(slice(None), slice(8, 56)),
    )
    expected = ppn2v.train(part, axes="TYX", config=tiny)
    state, same = (r.denoiser.model.state_dict() for r in (run, expected))
    assert all(torch.equal(state[name], same[name]) for name in state)


def test_the_result_can_have_the_type_of_the_observation(stack, result):
    told = []
    same = ppn2v.apply(
        result.denoiser,
        np.clip(stack.observation, 0, 255).astype(np.uint8),
        axes="TYX",
        dtype="same",
        on_event=told.append,
    )
    assert same.image.dtype == np.uint8
    with pytest.raises(BadSetting, match="Choose one of: float32, same"):
        ppn2v.apply(result.denoiser, stack.observation, axes="TYX", dtype="uint8")


def test_a_calibration_of_several_channels_gives_the_one_denoised(stack):
    one = np.asarray(
        simulate_calibration(
            CAMERA, n_repeats=20, size=64, peak_electrons=80, seed=3
        ).observation
    )
    dark = np.full_like(one, 100)
    several = np.stack([dark, one])
    config = ppn2v.preset("fast", method="pn2v").with_steps(4)
    image = np.stack([stack.observation] * 2)
    run = ppn2v.train(
        image,
        axes="CTYX",
        channel=1,
        calibration=several,
        calibration_axes="CTYX",
        config=config,
    )
    low, high = run.denoiser.noise_model.signal_range
    assert 90 < low < high
    assert high > 150


def test_training_longer_goes_on_where_the_first_training_ended(stack):
    run = ppn2v.train(
        stack.observation, axes="TYX", method="n2v", steps=40, times_longer=2
    )
    assert list(run.curves) == ["n2v", "n2v, longer", "n2v, longer 2"]


@pytest.fixture(scope="module")
def again(stack):
    """A second exposure of the same scenes."""
    rng = np.random.default_rng(5)
    electrons = rng.poisson((stack.signal - 100) / 2.2)
    return 100 + 2.2 * electrons + rng.normal(0, 3.3, electrons.shape)


@pytest.mark.parametrize("method", ["care", "n2n"])
def test_targets_teach_what_the_noisy_stack_alone_does_not_show(stack, again, method):
    target = stack.signal if method == "care" else again
    done = ppn2v.denoise(
        stack.observation, axes="TYX", method=method, target=target, steps=60
    )
    noisy = stack.observation.astype(np.float32)
    assert psnr(done.image, stack.signal) > psnr(noisy, stack.signal) + 5
    assert list(done.run.curves) == [method]
    assert done.denoiser.method == method


def test_the_target_is_chosen_frame_by_frame_like_the_observation(stack):
    config = ppn2v.preset("fast", method="care").with_steps(4)
    part = {"training_frames": range(1, 3), "region": (slice(None), slice(8, 56))}
    both = np.stack([stack.observation * 0 + 1, stack.observation], axis=1)
    run = ppn2v.train(
        both, axes="TCYX", channel=1, target=stack.signal, target_axes="TYX",
        config=config, **part,
    )  # fmt: skip
    expected = ppn2v.train(
        stack.observation[1:, :, 8:56],
        axes="TYX",
        target=stack.signal[1:, :, 8:56],
        config=config,
    )
    state, same = (r.denoiser.model.state_dict() for r in (run, expected))
    assert all(torch.equal(state[name], same[name]) for name in state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "care"}, "target= in Python"),
        ({"target": "signal"}, "method 'refined' learns from the noisy images alone"),
        ({"method": "n2n", "target": "observation"}, "equal in every pixel"),
        ({"method": "care", "target": "short"}, "3 frames .* but 2"),
        ({"method": "care", "target": "signal", "calibration": "signal"}, "no noise"),
        ({"method": "care", "target": "signal", "posterior_std": True}, "posterior"),
    ],
)
def test_targets_that_do_not_fit_are_refused_before_training(stack, options, words):
    arrays = {
        "signal": stack.signal,
        "observation": stack.observation,
        "short": stack.signal[:2],
    }
    chosen = {
        key: arrays.get(value, value) if isinstance(value, str) else value
        for key, value in options.items()
    }
    with pytest.raises((BadSetting, BadData), match=words):
        ppn2v.denoise(stack.observation, axes="TYX", steps=4, **chosen)


def test_a_target_of_other_channels_is_refused(stack):
    three = np.stack([stack.signal] * 3, axis=1)
    two = np.stack([stack.observation] * 2, axis=1)
    with pytest.raises(BadAxes, match="3 channels, the observation 2"):
        ppn2v.train(two, axes="TCYX", channel=0, target=three, method="care")


def test_a_model_trained_with_targets_does_not_denoise_blind(stack):
    config = ppn2v.preset("fast", method="care").with_steps(4)
    run = ppn2v.train(stack.observation, axes="TYX", target=stack.signal, config=config)
    with pytest.raises(BadSetting, match="cannot denoise blind"):
        ppn2v.apply(run.denoiser, stack.observation, axes="TYX", blind=True)
