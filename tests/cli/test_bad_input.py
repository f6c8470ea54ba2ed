"""Whatever is wrong is said in a sentence, before training, with exit status 2."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import tifffile

from napari_ppn2v.files.tiff_writing import TiffTarget
from napari_ppn2v.pipeline import run_folder

from .conftest import BRIEF, write


def frames(dtype="uint16", shape=(2, 64, 64)):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def with_value(value):
    image = frames("float32")
    image[1, 3, 4] = value
    return image


def plain(path, image):
    tifffile.imwrite(path, image, photometric="minisblack")
    return path


def rgb(path):
    tifffile.imwrite(path, frames("uint8", (64, 64, 3)), photometric="rgb")
    return path


def truncated(path):
    write(path, frames())
    path.write_bytes(path.read_bytes()[:5000])
    return path


def content(path, data):
    path.write_bytes(data)
    return path


IMAGES = {
    "NaN": (lambda p: write(p, with_value(np.nan)), "1 values that are not a number"),
    "infinite": (lambda p: write(p, with_value(np.inf)), "1 that are infinite"),
    "constant": (lambda p: write(p, frames() * 0 + 7), "the same value (7"),
    "too small": (lambda p: write(p, frames(shape=(2, 12, 64))), "12 x 64 pixels"),
    "RGB": (rgb, "--channel 0"),
    "boolean": (lambda p: plain(p, frames("bool")), "holds no grey values"),
    "complex": (lambda p: plain(p, frames("complex64")), "magnitude"),
    "empty": (lambda p: content(p, b""), "is empty (0 bytes)"),
    "truncated": (truncated, "incomplete"),
    "missing": (lambda p: p, "There is no file"),
    "foreign": (lambda p: content(p, b"a text, no image"), "Readable are TIFF"),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("command", ["denoise", "train"])
def test_images_that_cannot_be_used_are_refused(run, tmp_path, command, name):
    make, words = IMAGES[name]
    image = make(tmp_path / "noisy.tif")
    out = tmp_path / "out" / ("model.ppn2v" if command == "train" else "result.tif")
    result = run(command, image, "-o", out, "--preset fast --steps 6")
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "noisy.tif" in result.stderr
    assert "Traceback" not in result.output
    assert "Training" not in result.stderr
    assert not out.exists()


SETTINGS = {
    "axes": ("--axes TCYX", "they name 4 axes, the image has 3"),
    "axes letter": ("--axes TQX", "'Q'"),
    "channel": ("--channel 3", "no channel 3"),
    "channel word": ("--channel red", "'red'"),
    "frames": ("--frames 0-9", "2 frames, numbered 0 to 1"),
    "frame range": ("--frames first", "not understood"),
    "preset": ("--preset quick", "Choose one of: fast"),
    "method": ("--method n3v", "Choose one of: n2v, pn2v"),
    "kind": ("--noise-model-kind best", "auto"),
    "steps": ("--steps 0", "at least"),
    "minutes": ("--minutes 0", "more than 0"),
    "endless": ("--minutes inf", "finite"),
    "offset": ("--offset nan", "finite"),
    "both budgets": ("--minutes 1 --steps 10", "give one of the two"),
    "device": ("--device tpu", "Available:"),
    "threads": ("--threads 0", "at least 1"),
    "dtype": ("--dtype int8", "float32"),
    "seed": ("--seed -1", "at least 0"),
    "tile": ("--tile-size 4", "at least 16"),
    "noise model": ("--noise-model none.npz", "library"),
    "n2v with offset": ("--method n2v --dark d.tif", "Noise2Void uses no noise model"),
    "n2v with std": ("--method n2v --posterior-std", "standard deviation"),
    "offset unused": ("--noise-model-kind gmm --offset 100", "camera"),
    "nothing to resume": ("--resume", "nothing to resume"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_make_no_sense_are_refused(run, noisy, tmp_path, name):
    options, words = SETTINGS[name]
    result = run("denoise", noisy, "-o", tmp_path / "out.tif", options)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Training" not in result.stderr
    assert not list(tmp_path.glob("*.tif"))


def test_output_and_images_are_required(run, noisy, tmp_path):
    assert "-o" in run("denoise", noisy).stderr
    assert "No noisy image" in run("denoise", "-o", tmp_path / "x.tif").stderr


@pytest.mark.parametrize("command", ["denoise", "apply"])
def test_results_of_a_kind_that_is_not_written_are_refused(
    run, noisy, finished, tmp_path, command
):
    model = [finished[0] / "model.ppn2v"] if command == "apply" else []
    result = run(command, *model, noisy, "-o", tmp_path / "x.png")
    assert result.exit_code == 2
    assert "not written as .png" in result.stderr
    assert not list(tmp_path.iterdir())


def test_several_images_do_not_fit_into_one_file(run, noisy, truth, tmp_path):
    result = run("denoise", noisy, truth, "-o", tmp_path / "x.tif")
    assert result.exit_code == 2
    assert "2 images" in result.stderr


def test_the_input_is_never_written_to(run, noisy):
    before = noisy.read_bytes()
    result = run("denoise", noisy, "-o", noisy, "--overwrite")
    assert result.exit_code == 2
    assert "would replace an input" in result.stderr
    assert noisy.read_bytes() == before


def test_a_calibration_of_one_frame_is_refused(run, noisy, stack, tmp_path):
    single = write(tmp_path / "single.tif", stack.observation[0], "YX")
    result = run("denoise", noisy, "-o", tmp_path / "x.tif", "--calibration", single)
    assert result.exit_code == 2
    assert "at least 2 exposures" in result.stderr


@pytest.mark.parametrize("data", [b"", b"no model", b"PK\x03\x04 damaged"])
def test_a_foreign_model_file_is_refused(run, noisy, tmp_path, data):
    model = content(tmp_path / "model.ppn2v", data)
    result = run("apply", model, noisy, "-o", tmp_path / "x.tif")
    assert result.exit_code == 2
    assert "not a model file" in result.stderr


def test_a_full_disk_shows_before_training(run, noisy, tmp_path, monkeypatch):
    usage = run_folder.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        run_folder.shutil, "disk_usage", lambda path: usage._replace(free=1000)
    )
    result = run("denoise", noisy, "-o", tmp_path / "x.tif", BRIEF)
    assert result.exit_code == 2
    assert "1.0 kB are free" in result.stderr
    assert list(tmp_path.iterdir()) == []  # not even an empty folder


def test_a_disk_that_fills_up_leaves_nothing_half_written(
    run, noisy, tmp_path, monkeypatch
):
    def write_to_full_disk(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(TiffTarget, "write", write_to_full_disk)
        result = run("denoise", noisy, "-o", tmp_path / "x.tif", BRIEF)
    assert result.exit_code == 2
    assert "disk is full" in result.stderr
    assert f"denoise -o {tmp_path / 'x.tif'} --resume" in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["x.ppn2v-run"]
    resumed = run("denoise", "-o", tmp_path / "x.tif", "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "complete already" in resumed.stderr


def test_nothing_is_said_of_resuming_where_the_settings_are_to_blame(
    run, noisy, tmp_path
):
    out = tmp_path / "x.tif"
    assert run("denoise", noisy, "-o", out, BRIEF).exit_code == 0
    again = run("denoise", noisy, "-o", out, BRIEF)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert "--resume" not in again.stderr


def test_a_folder_that_cannot_be_made_is_named(run, noisy, tmp_path):
    content(tmp_path / "file", b"in the way")
    result = run("denoise", noisy, "-o", tmp_path / "file" / "x.tif", BRIEF)
    assert result.exit_code == 2
    assert "could not be written" in result.stderr


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_folder_is_refused(run, noisy, tmp_path):
    tmp_path.chmod(0o500)
    result = run("denoise", noisy, "-o", tmp_path / "x.tif", BRIEF)
    tmp_path.chmod(0o700)
    assert result.exit_code == 2
    assert "read-only" in result.stderr
