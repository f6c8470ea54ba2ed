"""Runs with camera maps: corrected, remembered in the model, and asked for again."""

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import napari_ppn2v as ppn2v
from napari_ppn2v.cli.app import app
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.camera_maps import CAMERA_MAPS

SIZE = (64, 64)


@pytest.fixture(scope="module")
def maps():
    rng = np.random.default_rng(0)
    return ppn2v.CameraMaps.from_arrays(
        rng.normal(130, 12, SIZE), rng.normal(1.1, 0.05, SIZE), name="maps.npz"
    )


@pytest.fixture(scope="module")
def stack(maps):
    """Frames of a camera with that offset and gain in each pixel."""
    made = simulate_stack(
        Camera(gain=1, offset=0, read_noise=1, rounded=False),
        n_frames=2,
        size=64,
        peak_electrons=60,
    )
    frames = np.rint(maps.offset + maps.gain * made.observation)
    return frames.clip(0, 65535).astype(np.uint16), made.signal


@pytest.fixture(scope="module")
def result(stack, maps):
    return ppn2v.denoise(
        stack[0], axes="TYX", camera_maps=maps, method="n2v", steps=20, threads=1
    )


def test_the_result_has_the_common_offset_and_gain(result, stack, maps):
    expected = maps.common.offset + maps.common.gain * stack[1]
    assert result.image.mean() == pytest.approx(expected.mean(), rel=0.03)


def test_the_model_remembers_and_the_file_keeps_it(result, maps, tmp_path):
    ppn2v.save_model(tmp_path / "m.ppn2v", result.denoiser)
    known = ppn2v.load_model(tmp_path / "m.ppn2v").provenance[CAMERA_MAPS]
    assert known["sha256"] == maps.fingerprint
    assert known["common_offset"] == pytest.approx(maps.common.offset)


def test_the_maps_are_asked_for_again(result, stack, maps):
    with pytest.raises(BadSetting, match=r"maps.npz.*--camera-maps"):
        ppn2v.apply(result.denoiser, stack[0], axes="TYX")
    again = ppn2v.apply(result.denoiser, stack[0], axes="TYX", camera_maps=maps)
    np.testing.assert_allclose(again.image, result.image, atol=1e-3)


def test_maps_of_another_camera_bring_its_frames_to_that_of_the_model(result, stack):
    other = ppn2v.CameraMaps.from_arrays(np.full(SIZE, 40.0), np.full(SIZE, 3.0))
    frames = 40 + 3 * stack[1]
    moved = ppn2v.apply(result.denoiser, frames, axes="TYX", camera_maps=other)
    assert moved.image.mean() == pytest.approx(result.image.mean(), rel=0.05)


def test_a_model_without_maps_refuses_them(result, stack, maps):
    from dataclasses import replace

    plain = replace(result.denoiser, provenance={})
    with pytest.raises(BadSetting, match="without camera maps"):
        ppn2v.apply(plain, stack[0], axes="TYX", camera_maps=maps)


def test_a_noise_model_is_fitted_to_corrected_repeats(maps):
    rng = np.random.default_rng(1)
    electrons = rng.poisson(np.linspace(0, 60, 64 * 64).reshape(SIZE), (40, *SIZE))
    noise = rng.normal(0, 1.5, electrons.shape)
    repeats = np.rint(maps.offset + maps.gain * electrons + noise)
    config = ppn2v.fit_noise_model(
        calibration=repeats,
        camera_maps=maps,
        config=_poisson_gaussian(maps.common.offset),
    )
    assert config.model.gain == pytest.approx(maps.common.gain, rel=0.04)


def _poisson_gaussian(offset):
    from napari_ppn2v.core.noise_model_config import NoiseModelConfig

    return NoiseModelConfig(kind="poisson-gaussian", offset=offset)


def test_the_command_line_corrects_and_asks(stack, maps, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("noisy.tif", stack[0], metadata={"axes": "TYX"})
    np.savez("maps.npz", offset=maps.offset, gain=maps.gain)

    def run(*words):
        return CliRunner().invoke(app, [*words, "--threads", "1"])

    trained = run(
        *("train", "noisy.tif", "-o", "m.ppn2v", "--camera-maps", "maps.npz"),
        *("--method", "n2v", "--steps", "8"),
    )
    assert trained.exit_code == 0, trained.output
    refused = run("apply", "m.ppn2v", "noisy.tif", "-o", "a.tif")
    assert refused.exit_code == 2
    assert "--camera-maps" in refused.output
    done = run(
        *("apply", "m.ppn2v", "noisy.tif", "-o", "a.tif", "--camera-maps", "maps.npz")
    )
    assert done.exit_code == 0, done.output
    mean = tifffile.imread("a.tif").mean()
    expected = maps.common.offset + maps.common.gain * stack[1].mean()
    assert mean == pytest.approx(expected, rel=0.05)
