"""Clean recordings hold no fault, faults are what they say, and a page comes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import data_check
from data_check_faults import FAULTS, covering
from data_check_page import write_results
from data_check_stacks import calibration, clean_recording


@pytest.mark.parametrize("seed", range(8))
def test_clean_recordings_are_not_cut(seed):
    rng = np.random.default_rng(seed)
    recording = clean_recording(rng)
    frames = recording.expose(rng)
    low, high = recording.camera.limits
    if low is not None:
        assert (frames > low).all()
        assert (frames < high).all()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_changes_the_frames_by_its_strength(fault):
    made = []
    for strength in (fault.strengths[0], fault.strengths[-1]):
        rng = np.random.default_rng(3)
        recording = calibration(rng) if fault.subject == "calibration" else None
        recording = recording or clean_recording(rng, motion=fault.motion)
        frames = fault.make(recording, strength, rng)
        assert frames.ndim == 3
        assert np.isfinite(frames).all()
        made.append(frames)
    assert made[0].shape == made[1].shape
    assert not np.array_equal(*made)


def test_a_covering_calibration_is_brighter_than_its_images():
    rng = np.random.default_rng(4)
    recording = clean_recording(rng, motion="static")
    frames = covering(recording, rng)
    assert frames.mean(axis=0).max() > recording.expose(rng).mean(axis=0).max()


def test_rows_become_a_csv_file_and_a_page(tmp_path):
    rows = list(data_check.clean_rows(1))
    fault = next(each for each in FAULTS if each.name == "correlated along x")
    rows += data_check.fault_rows(fault, 0, 1)
    write_results(tmp_path, rows, [fault], data_check.QUESTIONS)
    page = (tmp_path / "data-check.md").read_text(encoding="utf-8")
    assert (
        "| correlated along x | 0.45 (coefficient) | noise correlation | 1 of 1 |"
        in page
    )
    assert len((tmp_path / "data-check.csv").read_text().splitlines()) == len(rows) + 1
