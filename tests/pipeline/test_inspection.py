"""`inspect_noise_model` and `inspect`: camera, fit, drift and recommendation."""

import json

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

import napari_ppn2v as ppn2v
from napari_ppn2v.cli.app import app
from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models import PoissonGaussianModel
from napari_ppn2v.errors import BadSetting

CAMERA = Camera("scmos", gain=2.2, offset=100, read_noise=3.3)


@pytest.fixture(scope="module")
def calibration():
    return simulate_calibration(
        CAMERA, n_repeats=30, size=64, peak_electrons=40
    ).observation


@pytest.fixture(scope="module")
def dark():
    rng = np.random.default_rng(5)
    return CAMERA.expose(np.full((30, 64, 64), 100.0), rng)


@pytest.fixture(scope="module")
def model():
    return PoissonGaussianModel(
        gain=2.2, offset=100, read_noise=3.3, signal_range=(98, 200)
    )


def test_everything_is_said_at_once(model, calibration, dark):
    found = ppn2v.inspect_noise_model(
        model, calibration=calibration, dark=dark, camera="scmos"
    )
    assert found.camera.gain.value == pytest.approx(2.2, rel=0.02)
    assert found.camera.offset.value == pytest.approx(100, abs=0.1)
    assert found.camera.read_noise.value == pytest.approx(3.3, rel=0.03)
    assert found.drift.verdict == "still right"
    assert found.quality
    assert found.recommendation is None


def test_models_are_compared_with_each_other_and_with_new_fits(model, calibration):
    state = {**model.state(), "gain": 3.0}
    found = ppn2v.inspect_noise_model(
        model,
        calibration=calibration,
        camera="scmos",
        others={"too loud": PoissonGaussianModel.from_state(state)},
        refit=True,
    )
    names = [item.name for item in found.recommendation.ranking]
    assert names[-1] == "too loud"
    assert set(names) >= {"new fit: camera", "new fit: mixture", "new fit: histogram"}
    assert found.recommendation.name in ("this noise model", "new fit: camera")


def test_the_result_is_plain_json(model):
    content = json.loads(ppn2v.inspect_noise_model(model).as_json())
    assert content["camera"]["gain"] == {"value": 2.2, "error": None}
    assert content["drift"] is None


def test_maps_are_judged_by_the_fixed_pattern_that_they_leave(calibration):
    rng = np.random.default_rng(0)
    pattern = rng.normal(0, 6, (64, 64))
    maps = ppn2v.CameraMaps.from_arrays(100 + pattern, np.full((64, 64), 2.2))
    found = ppn2v.inspect_noise_model(
        calibration=np.rint(calibration + pattern), camera_maps=maps, camera="scmos"
    )
    assert found.fixed_pattern.after < 0.3 * found.fixed_pattern.before
    assert found.camera.gain.value == pytest.approx(2.2, rel=0.04)


def test_nothing_to_inspect_and_too_little_to_compare_are_refused(model):
    with pytest.raises(BadSetting, match="nothing to inspect"):
        ppn2v.inspect_noise_model()
    with pytest.raises(BadSetting, match="compared on pairs"):
        ppn2v.inspect_noise_model(model, refit=True)
    with pytest.raises(BadSetting, match="one of the two"):
        ppn2v.inspect_noise_model(model, dark=np.ones((2, 8, 8)), offset=100)


@pytest.fixture
def folder(calibration, dark, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("today.tif", calibration, metadata={"axes": "TYX"})
    tifffile.imwrite("dark.tif", dark, metadata={"axes": "TYX"})
    ppn2v.save_noise_model("camera.npz", model)
    return tmp_path


def run(*words):
    return CliRunner().invoke(app, ["inspect", *words])


def test_the_command_says_it_in_words(folder):
    done = run("camera.npz", "--calibration", "today.tif", "--dark", "dark.tif")
    assert done.exit_code == 0, done.output
    for words in ("Gain:", "Fit on pixels kept apart", "still right", "Convention:"):
        assert words in done.output


def test_the_command_says_it_as_json(folder):
    done = run("camera.npz", "--observation", "today.tif", "--json")
    content = json.loads(done.stdout)
    assert content["drift"]["source"] == "frames"
    assert content["camera"]["offset"]["value"] == 100


def test_the_command_compares_files(folder, calibration):
    config = NoiseModelConfig(kind="gmm", n_components=1)
    fit = ppn2v.fit_noise_model(calibration=calibration, config=config)
    ppn2v.save_noise_model("one.npz", fit.model)
    done = run("camera.npz", "--calibration", "today.tif", "--against", "one.npz")
    assert "Recommended: 'camera.npz'" in done.stdout
    again = run("camera.npz", "--calibration", "today.tif", "--against", "camera.npz")
    assert again.exit_code == 2


def test_a_calibration_alone_tells_the_camera(folder):
    done = run("--calibration", "today.tif", "--offset", "100", "--camera", "scmos")
    assert done.exit_code == 0, done.output
    assert "100 (given)" in done.stdout
    assert "electrons" in done.stdout
