"""A copied script runs, and gives the very pixels that the viewer got."""

from __future__ import annotations

import runpy
from dataclasses import replace

import numpy as np
import pytest
import tifffile

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import drain
from napari_ppn2v.files.images import open_image
from napari_ppn2v.pipeline.stack_job import denoise_stack
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
from napari_ppn2v.pipeline.stack_results import apply_to_stack
from napari_ppn2v.session.script import ArraySource, apply_script, python_script
from napari_ppn2v.stop import StopToken

CAMERA = Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3)


@pytest.fixture(scope="module")
def pixels():
    return simulate_stack(
        CAMERA, n_frames=4, size=48, peak_electrons=60, seed=0
    ).observation


@pytest.fixture(scope="module")
def tiny():
    """Settings that differ from their preset at many places, and train in a second."""
    config = ppn2v.preset("fast", method="pn2v", seed=3)
    training = replace(
        config.training, n_steps=6, batch_size=2, patch_size=16, steps_per_validation=3
    )
    return replace(
        config,
        pretraining=replace(training, n_steps=8),
        training=training,
        network=UNetConfig(n_levels=2, n_filters=4),
        noise_model=NoiseModelConfig(kind="gmm", n_components=1, trim_percent=1.0),
        inference=replace(config.inference, estimate="mmse", blind="no", tile_size=32),
    )


def saved(path, pixels, axes="TYX"):
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": axes})
    return ArraySource(
        axes=axes,
        layer=path.stem,
        path=str(path),
        shape=pixels.shape,
        dtype=str(pixels.dtype),
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a script as a file in a folder of its own; returns its variables."""

    def run_script(text):
        script = tmp_path / "script.py"
        script.write_text(text, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        return runpy.run_path(str(script))

    return run_script


def request_for(pixels, config, axes="TYX", **options):
    return StackRequest(
        observation=Stack(data=pixels, axes=axes),
        config=config,
        device="cpu",
        threads=1,
        **options,
    )


def test_the_script_of_a_run_gives_the_same_pixels(pixels, tiny, tmp_path, run):
    request = request_for(
        pixels,
        replace(tiny, inference=replace(tiny.inference, posterior_std=True)),
        training_frames=(1, 2, 3),
        region=(slice(0, 40), slice(8, 48)),
        with_residual=True,
    )
    source = saved(tmp_path / "my cells (1).tif", pixels)
    found = run(python_script(request, source))
    result = drain(denoise_stack(request, StopToken())).result
    np.testing.assert_array_equal(found["image"], result.image)
    np.testing.assert_array_equal(found["residual"], result.residual)
    np.testing.assert_array_equal(found["result"].posterior_std, result.posterior_std)
    written = open_image(tmp_path / "my_cells__1_denoised.tif")
    np.testing.assert_array_equal(np.asarray(written.data), result.image)
    assert written.axes == "TYX"
    assert ppn2v.load_model(tmp_path / "my_cells__1.ppn2v").gives_posterior_std


def test_channels_put_together_give_the_same_pixels(pixels, tiny, tmp_path, run):
    image = np.stack([pixels, pixels[::-1]], axis=1)
    calibration = simulate_calibration(
        CAMERA, n_repeats=20, size=48, peak_electrons=80, seed=2
    ).observation
    request = request_for(
        image,
        tiny,
        "TCYX",
        channels=(0, 1),
        is_put_together=True,
        calibration=(Stack(data=calibration, axes="ZYX"),),
        dtype="same",
    )
    text = python_script(
        request,
        saved(tmp_path / "two.tif", image, "TCYX"),
        calibration=[saved(tmp_path / "static.tif", calibration, "ZYX")],
    )
    found = run(text)
    result = drain(denoise_stack(request, StopToken())).result
    assert found["image"].dtype == np.uint16
    np.testing.assert_array_equal(found["image"], result.image)
    assert (tmp_path / "two_c1.ppn2v").exists()


def test_one_channel_with_a_saved_noise_model(pixels, tiny, tmp_path, run):
    image = np.stack([pixels, pixels[::-1]], axis=1)
    calibration = simulate_calibration(
        CAMERA, n_repeats=20, size=48, peak_electrons=80, seed=2
    ).observation
    model = ppn2v.fit_noise_model(
        calibration=calibration, config=NoiseModelConfig(kind="poisson-gaussian")
    ).model
    ppn2v.save_noise_model(tmp_path / "camera.npz", model)
    request = request_for(
        image,
        tiny,
        "TCYX",
        channels=(1,),
        noise_model=ppn2v.load_noise_model(tmp_path / "camera.npz"),
        dtype="same",
        with_residual=True,
    )
    source = saved(tmp_path / "two.tif", image, "TCYX")
    path = tmp_path / "camera.npz"
    found = run(python_script(request, source, noise_model=path))
    result = drain(denoise_stack(request, StopToken())).result
    np.testing.assert_array_equal(found["image"], result.image)
    np.testing.assert_array_equal(found["residual"], result.residual)


def test_applying_models_gives_the_same_pixels(pixels, tiny, tmp_path, run):
    import torch

    image = np.stack([pixels, pixels[::-1]])
    request = request_for(image, tiny, "CTYX", channels=(0, 1), is_put_together=True)
    report = drain(denoise_stack(request, StopToken()))
    models = [tmp_path / f"model_c{channel}.ppn2v" for channel in (0, 1)]
    for path, denoiser in zip(models, report.denoisers, strict=True):
        ppn2v.save_model(path, denoiser)
    source = saved(tmp_path / "two.tif", image, "CTYX")
    found = run(apply_script(request, source, models=models))
    job = apply_to_stack(
        report.denoisers, request, StopToken(), device=torch.device("cpu")
    )
    np.testing.assert_array_equal(found["image"], drain(job).image)


def test_a_plain_preset_needs_no_settings(pixels, tmp_path):
    source = saved(tmp_path / "a.tif", pixels)
    text = python_script(request_for(pixels, ppn2v.preset("fast")), source)
    assert "preset='fast',\n)" in text
    assert "config" not in text
    longer = ppn2v.preset("fast", method="n2v", seed=5).with_steps(70)
    text = python_script(request_for(pixels, longer), source)
    assert "method='n2v',\n    seed=5,\n    steps=70,\n)" in text


@pytest.mark.parametrize("name", ["balanced", "paper-ppn2v", "paper-n2v-bsd68"])
def test_settings_are_told_by_what_differs_from_their_preset(name, pixels, tmp_path):
    base = ppn2v.preset(name, seed=1)
    config = replace(
        base,
        network=replace(base.network, n_filters=12),
        noise_model=replace(base.noise_model, data_range=(0.5, 900.0), n_bins=64),
    )
    source = saved(tmp_path / "a.tif", pixels)
    text = python_script(request_for(pixels, config), source)
    began = text.index("config = ppn2v.preset")
    variables = {"ppn2v": ppn2v, "replace": replace}
    exec(text[began : text.index("\nresult =")], variables)
    assert variables["config"] == config
    assert "n_levels" not in text


def test_a_layer_without_a_file_is_taken_from_the_viewer(pixels, tmp_path):
    source = ArraySource(axes="TYX", layer='my "cells"', is_multiscale=True)
    text = python_script(request_for(pixels, ppn2v.preset("fast")), source)
    assert "napari.current_viewer().layers['my \"cells\"'].data[0]" in text
    compile(text, "script.py", "exec")


def test_a_file_that_reads_otherwise_than_the_layer_is_not_used(pixels, tmp_path):
    source = saved(tmp_path / "a.tif", pixels)
    text = python_script(
        request_for(pixels, ppn2v.preset("fast")), replace(source, shape=(48, 48))
    )
    assert "open_image" not in text
    assert "current_viewer" in text


def test_our_sample_is_opened_as_a_sample(pixels):
    source = ArraySource(
        axes="TYX", layer="TIRF, sCMOS", sample=("napari-ppn2v", "tirf_scmos")
    )
    text = python_script(request_for(pixels, ppn2v.preset("fast")), source)
    variables = {}
    exec(text[: text.index("result =")], variables)
    assert variables["observation"].shape[1:] == (256, 256)


def test_notes_stand_at_the_beginning(pixels, tmp_path):
    source = saved(tmp_path / "a.tif", pixels)
    text = python_script(
        request_for(pixels, ppn2v.preset("fast")),
        source,
        notes=["It was trained longer in the viewer."],
    )
    assert text.splitlines()[2] == "# It was trained longer in the viewer."
    compile(text, "script.py", "exec")


def test_an_unsaved_noise_model_is_asked_for(pixels, tmp_path):
    request = request_for(pixels, ppn2v.preset("fast"), noise_model=object())
    text = python_script(request, saved(tmp_path / "a.tif", pixels))
    assert "# save the noise model of the viewer first" in text


def test_recordings_of_different_axes_are_refused(pixels, tmp_path):
    source = saved(tmp_path / "a.tif", pixels)
    with pytest.raises(BadSetting, match="have different axes"):
        python_script(
            request_for(pixels, ppn2v.preset("fast")),
            source,
            calibration=[source, replace(source, axes="ZYX")],
        )
