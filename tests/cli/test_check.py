"""`check` says in words, in JSON and by its exit status what data are fit for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A good recording, one with correlated noise, one that is cut, a calibration."""
    folder = tmp_path_factory.mktemp("check")
    good = simulate_stack(Camera(), n_frames=6, size=96, peak_electrons=60).observation
    smeared = np.rint((good + np.roll(good, 1, 2).astype(float)) / 2).astype(np.uint16)
    repeats = simulate_calibration(
        Camera(), n_repeats=40, size=64, peak_electrons=80, seed=1
    ).observation
    limit = np.uint16(np.quantile(good, 0.1))
    stacks = {"good": good, "smeared": smeared, "cut": np.maximum(good, limit)}
    for name, stack in (stacks | {"repeats": repeats}).items():
        tifffile.imwrite(folder / f"{name}.tif", stack, metadata={"axes": "TYX"})
    return folder


def test_good_data_end_with_0(run, folder):
    answer = run("check", folder / "good.tif", "--calibration", folder / "repeats.tif")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("Verdict: fine")
    assert "read 6 of 6 frames of 96 x 96 pixels" in answer.stdout
    assert "signal range" in answer.stdout


def test_what_needs_care_ends_with_0_and_says_what_to_do(run, folder):
    answer = run("check", folder / "cut.tif")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("Verdict: careful")
    assert "clipping: careful" in answer.stdout
    assert "raise the offset" in " ".join(answer.stdout.split())


def test_what_will_not_work_ends_with_1(run, folder):
    answer = run("check", folder / "smeared.tif")
    assert answer.exit_code == 1
    assert "noise along x" in " ".join(answer.stdout.split())


def test_a_calibration_can_be_checked_alone(run, folder):
    answer = run("check", "--calibration", folder / "repeats.tif")
    assert answer.exit_code == 0
    assert "steadiness" in answer.stdout
    assert "Images" not in answer.stdout


def test_json_is_all_that_is_printed(run, folder):
    answer = run("check", folder / "smeared.tif", "--json")
    assert answer.exit_code == 1
    plain = json.loads(answer.stdout)
    assert plain["verdict"] == "will not work"


def test_nothing_to_check_is_an_error(run):
    answer = run("check")
    assert answer.exit_code == 2
    assert "nothing to check" in answer.stderr


def test_denoising_tells_what_matters_and_goes_on(run, folder, tmp_path):
    brief = "--method n2v --steps 2 --threads 1"
    answer = run("denoise", folder / "cut.tif", "-o", tmp_path / "out.tif", brief)
    assert answer.exit_code == 0
    assert "Data check, clipping: careful" in answer.stderr
