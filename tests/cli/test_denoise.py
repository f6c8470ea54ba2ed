"""The main command: what it leaves, what it repeats, what it refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tifffile

from napari_ppn2v.cli.requests import denoise_request
from napari_ppn2v.events import FrameDenoised, StepDone
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.model_file import load_model
from napari_ppn2v.pipeline.file_jobs import denoise_files
from napari_ppn2v.stop import StopToken

from .conftest import BRIEF, FAST, write


def stopped_run(arguments, after, stage="n2v"):
    """Run a request until `after` steps of a stage are done; return the report."""
    stop = StopToken()
    job = denoise_files(denoise_request(arguments), stop)
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, after):
            stop.stop()


def given(noisy, out):
    """The same options as FAST."""
    return {
        "noisy": [noisy],
        "out": out,
        "preset": "fast",
        "steps": 30,
        "noise_model_kind": "histogram",
        "estimate": "mmse",
        "blind": "no",
        "device": "cpu",
        "threads": 1,
    }


def test_one_command_leaves_everything_in_the_folder(finished, stack):
    out, result = finished
    names = {path.name for path in out.iterdir()}
    assert names == {
        "noisy_denoised.ome.tif",
        "noise_model.npz",
        "noise_model.png",
        "before_after.png",
        "curves.png",
        "curves.csv",
        "model.ppn2v",
        "run.json",
    }
    assert result.stdout.strip() == str(out / "noisy_denoised.ome.tif")
    image = tifffile.imread(out / "noisy_denoised.ome.tif")
    assert image.shape == stack.observation.shape
    assert image.dtype == np.float32


def test_the_record_says_how_the_result_was_made(finished):
    record = json.loads((finished[0] / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["steps"] == 30
    assert record["software"]["device"].startswith("CPU, 1 thread")
    assert record["software"]["torch"]
    assert len(record["data"][0]["sha256"]) == 64
    assert {"n2v", "noise model", "pn2v", "denoise"} <= set(record["seconds"])
    channel = record["channels"]["0"]
    assert channel["noise_model"]["kind"] == "histogram"
    assert channel["noise_model"]["reason"]
    assert channel["estimate"]
    assert channel["reason"]


def test_result_and_model_keep_their_provenance(finished):
    source = open_image(finished[0] / "noisy_denoised.ome.tif")
    assert source.metadata["provenance"]["data"][0]["file"] == "noisy.ome.tif"
    model = load_model(finished[0] / "model.ppn2v")
    assert model.provenance["steps"] == 30


def test_equal_seed_and_steps_give_equal_bits(run, finished, noisy, tmp_path):
    again = tmp_path / "again.tif"
    assert run("denoise", noisy, "-o", again, FAST).exit_code == 0
    first = tifffile.imread(finished[0] / "noisy_denoised.ome.tif")
    assert np.array_equal(tifffile.imread(again), first)
    beside = {path.name for path in (tmp_path / "again.ppn2v-run").iterdir()}
    assert {"run.json", "model.ppn2v", "curves.csv"} <= beside


@pytest.mark.parametrize("stage", ["n2v", "pn2v", "denoise"])
def test_a_resumed_run_ends_with_the_bits_of_one_never_stopped(
    run, finished, noisy, tmp_path, stage
):
    out = tmp_path / "resumed"
    report = stopped_run(given(noisy, out), 1 if stage == "denoise" else 7, stage)
    assert report.is_stopped
    assert (out / "model.ppn2v").exists()
    assert not (out / "noisy_denoised.ome.tif").exists()
    result = run("denoise", "-o", out, "--resume")
    assert result.exit_code == 0, result.output
    first = tifffile.imread(finished[0] / "noisy_denoised.ome.tif")
    assert np.array_equal(tifffile.imread(out / "noisy_denoised.ome.tif"), first)
    assert not list(out.glob("checkpoint*"))


def test_resuming_with_other_settings_names_them(run, noisy, tmp_path):
    out = tmp_path / "run"
    stopped_run(given(noisy, out), 3)
    result = run("denoise", noisy, "-o", out, "--resume --seed 5 --steps 30")
    assert result.exit_code == 2
    assert "--seed" in result.stderr
    assert "--steps" not in result.stderr


def test_resuming_with_changed_pixels_is_refused(run, stack, tmp_path):
    data = write(tmp_path / "noisy.tif", stack.observation)
    out = tmp_path / "run"
    stopped_run(given(data, out), 3)
    write(data, stack.observation + 1)
    result = run("denoise", "-o", out, "--resume")
    assert result.exit_code == 2
    assert "have changed" in result.stderr


def test_an_interrupted_run_is_not_lost_by_repeating_the_command(run, noisy, tmp_path):
    out = tmp_path / "run"
    stopped_run(given(noisy, out), 3)
    result = run("denoise", noisy, "-o", out, FAST)
    assert result.exit_code == 2
    assert "--resume" in result.stderr


def test_a_finished_result_is_not_replaced_unasked(run, finished, noisy):
    result = run("denoise", noisy, "-o", finished[0], FAST)
    assert result.exit_code == 2
    assert "--overwrite" in result.stderr


def test_a_stopped_model_can_be_applied_as_it_is(run, noisy, tmp_path):
    report = stopped_run(given(noisy, tmp_path / "run"), 5)
    out = tmp_path / "as_it_is.tif"
    result = run("apply", report.channels[0].model, noisy, "-o", out)
    assert result.exit_code == 0, result.output
    assert np.isfinite(tifffile.imread(out)).all()


def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(noisy, tmp_path):
    out = tmp_path / "run"
    command = "from napari_ppn2v.cli import main; main()"
    arguments = ["denoise", str(noisy), "-o", str(out), "--steps", "100000"]
    with subprocess.Popen(
        [sys.executable, "-c", command, *arguments, "--threads", "1"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line.startswith("Training Noise2Void"):
                break
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "--resume" in said
    assert "apply" in said
    assert load_model(out / "model.ppn2v").noise_model is None
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"


def test_channels_are_denoised_by_themselves_and_put_together(
    run, two_channels, tmp_path
):
    out = tmp_path / "out.zarr"
    options = BRIEF.replace("--steps 6", "--steps 40")
    result = run("denoise", two_channels, "-o", out, "--channel all", options)
    assert result.exit_code == 0, result.output
    source = open_image(out)
    assert source.axes == "TCYX"
    assert source.shape == (2, 2, 64, 64)
    folder = tmp_path / "out.ppn2v-run"
    assert {p.name for p in folder.glob("*.ppn2v")} == {
        "model_c0.ppn2v",
        "model_c1.ppn2v",
    }
    image = np.asarray(source.data[...])
    means = tifffile.imread(two_channels).mean(axis=(0, 2, 3))
    assert image.mean(axis=(0, 2, 3)) == pytest.approx(means, rel=0.1)


def test_several_files_are_trained_together_with_a_result_each(run, stack, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, frame in zip("ab", stack.observation, strict=True):
        write(folder / f"{name}.tif", frame, "YX")
    options = f"--posterior-std --dtype same {BRIEF}"
    result = run("denoise", folder, "-o", tmp_path / "out", options)
    assert result.exit_code == 0, result.output
    for name in "ab":
        image = tifffile.imread(tmp_path / "out" / f"{name}_denoised.ome.tif")
        std = tifffile.imread(tmp_path / "out" / f"{name}_posterior_std.ome.tif")
        assert image.dtype == np.uint16
        assert image.shape == std.shape == (64, 64)
        assert (std >= 0).all()


def test_one_frame_is_enough(run, noisy, tmp_path):
    out = tmp_path / "one.tif"
    result = run("denoise", noisy, "-o", out, "--frames 1", BRIEF)
    assert result.exit_code == 0, result.output
    assert tifffile.imread(out).size == 64 * 64


def test_noise2void_needs_no_noise_model(run, noisy, tmp_path):
    fast = "--preset fast --steps 6 --threads 1"
    result = run("denoise", noisy, "-o", tmp_path / "n.tif", "--method n2v", fast)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "n.ppn2v-run" / "noise_model.npz").exists()


def test_minutes_become_steps_that_can_be_repeated(run, noisy, tmp_path):
    fast = "--preset fast --noise-model-kind histogram --threads 1"
    out = tmp_path / "m.tif"
    result = run("denoise", noisy, "-o", out, "--minutes 0.01", fast)
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "m.ppn2v-run" / "run.json").read_text())
    assert f"--steps {record['steps']}" in result.stderr


def test_a_dark_calibration_warns_with_the_share_outside(
    run, noisy, calibration, tmp_path
):
    dark = tifffile.imread(calibration)[:, :, :8]
    part = write(tmp_path / "dim.tif", np.tile(dark, (1, 1, 4)))
    options = f"--calibration {part} {BRIEF}"
    result = run("denoise", noisy, "-o", tmp_path / "r.tif", options)
    assert result.exit_code == 0, result.output
    assert "Warning" in result.stderr
    assert re.search(r"[0-9.]+% of the pixels lie outside", result.stderr)


def test_a_calibration_replaces_the_bootstrap(run, noisy, calibration, tmp_path):
    options = ["--calibration", calibration, BRIEF]
    result = run("denoise", noisy, "-o", tmp_path / "r.tif", *options)
    assert result.exit_code == 0, result.output
    assert "Pseudo ground truth" not in result.stderr


def test_train_then_apply_gives_what_denoise_gives(run, finished, noisy, tmp_path):
    model = tmp_path / "cells.ppn2v"
    result = run("train", noisy, "-o", model, FAST)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(model)
    out = tmp_path / "applied.ome.tif"
    assert run("apply", model, noisy, "-o", out, "--threads 1").exit_code == 0
    first = tifffile.imread(finished[0] / "noisy_denoised.ome.tif")
    assert np.array_equal(tifffile.imread(out), first)


def test_images_written_before_an_interruption_are_not_denoised_again(
    run, stack, tmp_path
):
    folder, out = tmp_path / "data", tmp_path / "out"
    folder.mkdir()
    for name, frame in zip("ab", stack.observation, strict=True):
        write(folder / f"{name}.tif", frame, "YX")
    stop = StopToken()
    request = {**given(folder, out), "steps": 6, "method": "n2v", "estimate": "auto"}
    for name in ("noisy", "noise_model_kind"):
        request.pop(name)
    job = denoise_files(denoise_request({**request, "noisy": [folder]}), stop)
    for event in job:
        if isinstance(event, FrameDenoised):
            stop.stop()
    first = out / "a_denoised.ome.tif"
    assert not (out / "b_denoised.ome.tif").exists()
    written = first.stat().st_mtime_ns
    result = run("denoise", "-o", out, "--resume")
    assert result.exit_code == 0, result.output
    assert "a_denoised.ome.tif was written already" in result.stderr
    assert first.stat().st_mtime_ns == written
    assert (out / "b_denoised.ome.tif").exists()


def test_resuming_a_finished_run_completes_what_is_missing_and_no_more(
    run, noisy, tmp_path
):
    out = tmp_path / "run"
    brief = "--preset fast --steps 6 --method n2v --device cpu --threads 1"
    assert run("denoise", noisy, "-o", out, brief).exit_code == 0
    before = (out / "noisy_denoised.ome.tif").stat().st_mtime_ns
    (out / "curves.png").unlink()  # as if killed while pictures were drawn
    result = run("denoise", "-o", out, "--resume")
    assert result.exit_code == 0, result.output
    assert (out / "curves.png").exists()
    assert (out / "noisy_denoised.ome.tif").stat().st_mtime_ns == before
    assert json.loads((out / "run.json").read_text())["status"] == "finished"
