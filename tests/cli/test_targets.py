"""Training with targets on the command line: what it leaves, repeats and refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_ppn2v.cli.requests import denoise_request
from napari_ppn2v.core.metrics import psnr
from napari_ppn2v.events import StepDone
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.model_file import load_model
from napari_ppn2v.pipeline.file_jobs import denoise_files
from napari_ppn2v.stop import StopToken

from .conftest import write

CARE = "--preset fast --method care --steps 40 --device cpu --threads 1"
BRIEF = CARE.replace("--steps 40", "--steps 4")


@pytest.fixture(scope="module")
def done(run, noisy, truth, tmp_path_factory):
    """A whole run into a folder."""
    out = tmp_path_factory.mktemp("care") / "run"
    result = run("denoise", noisy, "-o", out, CARE, "--target", truth)
    assert result.exit_code == 0, result.output
    return out, result


@pytest.fixture(scope="module")
def second(noisy, stack):
    """Other noise on the same scenes."""
    noise = np.random.default_rng(8).normal(0, 30, stack.signal.shape)
    return write(noisy.with_name("second.ome.tif"), stack.signal + noise)


def stopped_run(noisy, truth, out, after=7):
    """Stop the run of `done` after some steps."""
    stop = StopToken()
    request = denoise_request(
        {
            "noisy": [noisy], "target": [truth], "out": out, "preset": "fast",
            "method": "care", "steps": 40, "device": "cpu", "threads": 1,
        }
    )  # fmt: skip
    job = denoise_files(request, stop)
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, StepDone) and (event.stage, event.step) == ("care", after):
            stop.stop()


def test_a_run_leaves_result_curves_and_model_without_noise_model(done, stack):
    out, result = done
    assert {path.name for path in out.iterdir()} == {
        "noisy_denoised.ome.tif",
        "before_after.png",
        "curves.png",
        "curves.csv",
        "model.ppn2v",
        "run.json",
    }
    assert "Training CARE" in result.stderr
    image = tifffile.imread(out / "noisy_denoised.ome.tif")
    before = psnr(stack.observation.astype(np.float32), stack.signal).mean
    assert psnr(image, stack.signal).mean > before + 3
    assert (out / "curves.csv").read_text().splitlines()[1].startswith("care,")


def test_record_result_and_model_name_the_target(done):
    out, _ = done
    record = json.loads((out / "run.json").read_text())
    (target,) = record["targets"]
    assert target["file"] == "truth.ome.tif"
    assert target["sha256"] != record["data"][0]["sha256"]
    assert record["request"]["target"][0].endswith("truth.ome.tif")
    assert record["steps"] == 40
    assert "clean targets" in record["channels"]["0"]["reason"]
    provenance = open_image(out / "noisy_denoised.ome.tif").metadata["provenance"]
    model = load_model(out / "model.ppn2v")
    for kept in (provenance, model.provenance):
        assert kept["targets"][0]["sha256"] == target["sha256"]
    assert model.method == "care"


def test_info_says_what_a_model_was_trained_with(run, done):
    out, _ = done
    of_model = run("info", out / "model.ppn2v").stdout
    assert "Trained with: clean targets (CARE)" in of_model
    assert "targets: truth.ome.tif" in of_model
    of_run = run("info", out).stdout
    assert "Method: care" in of_run
    assert "Target: truth.ome.tif" in of_run


def test_a_model_trained_with_targets_is_applied_like_any_other(
    run, done, noisy, truth, tmp_path
):
    model, out = tmp_path / "cells.ppn2v", tmp_path / "applied.ome.tif"
    result = run("train", noisy, "-o", model, CARE, "--target", truth)
    assert result.exit_code == 0, result.output
    assert run("apply", model, noisy, "-o", out, "--threads 1").exit_code == 0
    first = tifffile.imread(done[0] / "noisy_denoised.ome.tif")
    assert np.array_equal(tifffile.imread(out), first)
    blind = run("apply", model, noisy, "-o", tmp_path / "b.tif", "--blind yes")
    assert blind.exit_code == 2
    assert "cannot denoise blind" in blind.stderr


def test_a_resumed_run_ends_with_the_bits_of_one_never_stopped(
    run, done, noisy, truth, tmp_path
):
    out = tmp_path / "resumed"
    assert stopped_run(noisy, truth, out).is_stopped
    result = run("denoise", noisy, "-o", out, "--resume", "--target", truth)
    assert result.exit_code == 0, result.output
    first = tifffile.imread(done[0] / "noisy_denoised.ome.tif")
    assert np.array_equal(tifffile.imread(out / "noisy_denoised.ome.tif"), first)


def test_a_changed_target_is_not_resumed(run, noisy, stack, tmp_path):
    target = write(tmp_path / "truth.ome.tif", stack.signal)
    out = tmp_path / "run"
    stopped_run(noisy, target, out)
    write(target, stack.signal + 1)
    result = run("denoise", "-o", out, "--resume")
    assert result.exit_code == 2
    assert "truth.ome.tif have changed" in result.stderr


def test_another_target_is_not_resumed(run, noisy, truth, second, tmp_path):
    out = tmp_path / "run"
    stopped_run(noisy, truth, out)
    result = run("denoise", "-o", out, "--resume", "--target", second)
    assert result.exit_code == 2
    assert "the targets" in result.stderr


def test_noise2noise_learns_from_a_second_recording(run, noisy, second, tmp_path):
    options = BRIEF.replace("care", "n2n")
    result = run("denoise", noisy, "-o", tmp_path / "n", options, "--target", second)
    assert result.exit_code == 0, result.output
    assert "Training Noise2Noise" in result.stderr
    assert load_model(tmp_path / "n" / "model.ppn2v").method == "n2n"


def test_folders_are_paired_in_the_order_of_their_names(run, stack, tmp_path):
    for folder, images in (("noisy", stack.observation), ("clean", stack.signal)):
        (tmp_path / folder).mkdir()
        for number, frame in zip((9, 10), images, strict=True):
            write(tmp_path / folder / f"a{number}.tif", frame, "YX")
    folders = [tmp_path / "noisy", "--target", tmp_path / "clean"]
    result = run("denoise", *folders, "-o", tmp_path / "out", BRIEF)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    pairs = zip(record["data"], record["targets"], strict=True)
    names = [(image["file"], target["file"]) for image, target in pairs]
    assert names == [("a9.tif", "a9.tif"), ("a10.tif", "a10.tif")]


def test_each_channel_has_a_target_of_its_own(run, two_channels, stack, tmp_path):
    clean = np.stack([stack.signal, stack.signal * 3], axis=1)
    target = write(tmp_path / "clean.ome.tif", clean, "TCYX")
    out = tmp_path / "out"
    options = ["--channel all", BRIEF, "--target", target]
    result = run("denoise", two_channels, "-o", out, *options)
    assert result.exit_code == 0, result.output
    assert len(list(out.glob("model_c*.ppn2v"))) == 2
    single = write(tmp_path / "single.ome.tif", stack.signal)
    options[-1] = single
    result = run("denoise", two_channels, "-o", tmp_path / "x", *options)
    assert result.exit_code == 2
    assert "has 1 channel, the noisy image two.ome.tif has 2" in result.stderr
    options[0] = "--channel 0"
    axes = "--target-axes TYX"
    result = run("denoise", two_channels, "-o", tmp_path / "y", *options, axes)
    assert result.exit_code == 0, result.output


def test_frames_are_chosen_from_image_and_target_alike(run, noisy, truth, tmp_path):
    options = ["-o", tmp_path / "m.ppn2v", BRIEF, "--target", truth, "--frames 1"]
    result = run("train", noisy, *options)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "m.ppn2v-run" / "run.json").read_text())
    shapes = [record[name][0]["shape"][-2:] for name in ("data", "targets")]
    assert shapes == [[64, 64], [64, 64]]


SETTINGS = {
    "no target": ("--method care", "Name them with --target", "care"),
    "not used": ("--method n2v --target TRUTH", "noisy images alone", "n2v"),
    "default method": ("--target TRUTH", "Choose method care", "refined"),
    "calibration": (
        "--method n2n --target TRUTH --calibration c.tif",
        "uses no noise model",
        "n2n",
    ),
    "offset": (
        "--method care --target TRUTH --offset 100",
        "uses no noise model",
        "care",
    ),
    "kind": (
        "--method care --target TRUTH --noise-model-kind gmm",
        "--noise-model-kind is given",
        "care",
    ),
    "uncertainty": (
        "--method care --target TRUTH --posterior-std",
        "no posterior standard deviation",
        "care",
    ),
    "estimate": ("--method n2n --target TRUTH --estimate mmse", "no estimate", "n2n"),
    "blind": ("--method care --target TRUTH --blind yes", "sees every pixel", "care"),
    "two targets": (
        "--method care --target TRUTH --target NOISY",
        "1 noisy image, but 2 targets",
        "1",
    ),
    "the same": (
        "--method n2n --target NOISY",
        "equal in every pixel",
        "noisy.ome.tif",
    ),
    "missing file": ("--method care --target none.tif", "There is no file", "none.tif"),
    "frames": (
        "--method care --target SHORT",
        "2 frames in the noisy image noisy.ome.tif, but 1 in the target short",
        "choose",
    ),
    "fewer chosen": (
        "--method care --target SHORT --frames 1",
        "short.ome.tif: The frames '1' are not there",
        "1 frame",
    ),
    "size": ("--method care --target SMALL", "64 x 64 pixels", "32 x 64"),
    "NaN": ("--method care --target NAN", "1 values that are not a number", "nan"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_targets_that_make_no_sense_are_refused(run, noisy, truth, tmp_path, name):
    clean = tifffile.imread(truth)
    broken = clean.copy()
    broken[1, 3, 4] = np.nan
    files = {
        "TRUTH": truth,
        "NOISY": noisy,
        "SHORT": write(tmp_path / "short.ome.tif", clean[:1]),
        "SMALL": write(tmp_path / "small.ome.tif", clean[:, :32]),
        "NAN": write(tmp_path / "nan.ome.tif", broken),
    }
    options, *words = SETTINGS[name]
    parts = [files.get(part, part) for part in options.split()]
    out = tmp_path / "out" / "r.tif"
    result = run("denoise", noisy, "-o", out, "--preset fast --steps 4", *parts)
    assert result.exit_code == 2, result.output
    for word in words:
        assert word in result.stderr
    assert "Training" not in result.stderr
    assert not out.exists()
