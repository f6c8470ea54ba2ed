"""The commands besides the main one, and the help that teaches them."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import tifffile

from napari_ppn2v import __version__
from napari_ppn2v.core.metrics import psnr
from napari_ppn2v.files.noise_model_files import load_noise_model

from .conftest import BRIEF


def test_help_needs_no_torch():
    code = (
        "import sys; sys.argv = ['napari-ppn2v', 'denoise', '--help']\n"
        "from napari_ppn2v.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n"
        "    sys.exit(end.code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "napari-ppn2v denoise noisy.tif" in done.stdout


@pytest.mark.parametrize(
    "command",
    [
        "",
        "denoise",
        "train",
        "apply",
        "simulate",
        "evaluate",
        "info",
        "demo",
        "noise-model",
        "noise-model fit",
        "noise-model show",
        "noise-model convert",
        "noise-model library",
    ],
)
def test_every_command_explains_itself(run, command):
    result = run(command, "--help")
    assert result.exit_code == 0
    assert len(result.stdout) > 100


def test_version(run):
    assert run("--version").stdout.strip() == __version__


def test_simulate_writes_frames_truth_calibration_and_camera(run, tmp_path):
    result = run(
        "simulate -o", tmp_path / "s", "--size 48 --frames 3 --psnr 22",
        "--calibration-frames 5 --camera emccd --seed 2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    names = ["observation.tif", "truth.tif", "calibration.tif", "camera.json"]
    listed = [line.rsplit("/", 1)[-1] for line in result.stdout.split()]
    assert listed == names
    noisy = tifffile.imread(tmp_path / "s" / "observation.tif")
    truth = tifffile.imread(tmp_path / "s" / "truth.tif")
    assert noisy.shape == truth.shape == (3, 48, 48)
    assert psnr(noisy.astype(float), truth.astype(float)).mean == pytest.approx(22, 0.1)
    assert tifffile.imread(tmp_path / "s" / "calibration.tif").shape == (5, 48, 48)
    camera = json.loads((tmp_path / "s" / "camera.json").read_text())
    assert camera["camera"]["kind"] == "emccd"
    again = run("simulate -o", tmp_path / "s", "--size 48")
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_evaluate_scores_each_frame(run, noisy, truth, stack):
    result = run("evaluate", noisy, truth, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["result"]
    expected = psnr(stack.observation.astype(float), stack.signal)
    assert found["psnr"]["mean"] == pytest.approx(expected.mean)
    assert len(found["ssim"]["per_frame"]) == 2
    table = run("evaluate", noisy, truth, "--noisy", noisy).stdout
    assert f"{expected.mean:.3f}" in table
    assert table.splitlines()[-1].startswith("mean")


def test_evaluate_refuses_images_that_do_not_match(run, noisy, calibration):
    result = run("evaluate", noisy, calibration)
    assert result.exit_code == 2
    assert "do not match" in result.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("noisy_denoised.ome.tif", "2 frames of 64 x 64, float32"),
        ("model.ppn2v", "Noise model: histogram"),
        ("noise_model.npz", "Kind: histogram"),
        ("", "finished"),
    ],
    ids=["image", "model", "noise model", "run"],
)
def test_info_says_what_a_file_is(run, finished, name, words):
    result = run("info", finished[0] / name)
    assert result.exit_code == 0, result.output
    assert words in result.stdout


def test_noise_models_are_fitted_shown_and_converted(run, calibration, tmp_path):
    own = tmp_path / "camera.npz"
    fit = ["noise-model fit --calibration", calibration, "-o", own]
    result = run(*fit, "--kind gmm --plot", tmp_path / "camera.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "camera.png").stat().st_size > 1000
    shown = run("noise-model show", own).stdout
    assert "Kind: gmm" in shown
    growth = re.search(r"Growth of the variance: ([\d.]+)", shown)
    assert float(growth[1]) == pytest.approx(2.2, rel=0.25)
    published = tmp_path / "published.npz"
    assert run("noise-model convert", own, published).exit_code == 0
    assert "trained_weight" in np.load(published).files
    back = tmp_path / "back.npz"
    assert run("noise-model convert", published, back).exit_code == 0
    assert "header" in np.load(back).files
    assert load_noise_model(back).kind == "gmm"


def test_a_noise_model_of_the_library_is_used_by_its_name(
    run, noisy, calibration, tmp_path
):
    own = tmp_path / "camera.npz"
    run("noise-model fit --kind gmm --calibration", calibration, "-o", own)
    saved = run("noise-model library save", own, "--name lab --camera Zyla")
    assert saved.exit_code == 0, saved.output
    assert "Zyla" in run("noise-model library list").stdout
    options = BRIEF.replace("--noise-model-kind histogram", "--noise-model lab")
    result = run("denoise", noisy, "-o", tmp_path / "x.tif", options)
    assert result.exit_code == 0, result.output
    assert run("noise-model library delete lab").exit_code == 0
    assert "lab" not in run("noise-model library list").stdout


def test_a_fit_needs_either_calibration_or_pairs(run, noisy, tmp_path):
    result = run("noise-model fit --signal", noisy, "-o", tmp_path / "x.npz")
    assert result.exit_code == 2
    assert "--calibration" in result.stderr


def test_apply_writes_what_was_asked_for(run, finished, noisy, tmp_path):
    model = finished[0] / "model.ppn2v"
    options = "--estimate mmse --blind yes --tile-size 32 --posterior-std"
    result = run("apply", model, noisy, "-o", tmp_path / "out", options)
    assert result.exit_code == 0, result.output
    assert [line.rsplit("/", 1)[-1] for line in result.stdout.split()] == [
        "noisy_denoised.ome.tif",
        "noisy_posterior_std.ome.tif",
    ]
    again = run("apply", model, noisy, "-o", tmp_path / "out", options)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_the_demo_shows_a_gain(run, tmp_path):
    result = run("demo -o", tmp_path / "demo", "--steps 120 --size 64 --threads 1")
    assert result.exit_code == 0, result.output
    line = next(x for x in result.stdout.splitlines() if x.startswith("PSNR"))
    before, after = (float(x) for x in line.split()[-2:])
    assert after > before
    assert (tmp_path / "demo" / "before_after.png").exists()
    assert (tmp_path / "demo" / "sample" / "truth.tif").exists()
