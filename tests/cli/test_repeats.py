"""`repeats`: from a recording of a static scene to an error with its error bar."""

from __future__ import annotations

import json

import pytest

from napari_ppn2v.core.camera import Camera, simulate_calibration
from tests.cli.conftest import write

WORDS = "--preset fast --steps 12 --method n2v --device cpu --threads 1"


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    found = simulate_calibration(
        Camera(), n_repeats=6, size=64, peak_electrons=40, seed=1
    )
    return write(tmp_path_factory.mktemp("static") / "static.tif", found.observation)


def test_both_halves_are_scored_and_said_in_a_sentence(run, static):
    result = run("repeats", static, WORDS)
    assert result.exit_code == 0, result.output
    assert "odd frames" in result.stdout
    assert "even frames" in result.stdout
    assert "grey values" in result.stdout


def test_the_figures_can_be_had_as_json(run, static):
    result = run("repeats", static, WORDS, "--json")
    assert result.exit_code == 0, result.output
    plain = json.loads(result.stdout)
    assert plain["rmse_adu"] > 0
    assert len(plain["halves"]) == 2
    assert all(half["is_estimate"] for half in plain["halves"])
    assert not {half["n_frames"] for half in plain["halves"]} - {3}


def test_scenes_that_differ_from_frame_to_frame_are_refused(run, noisy):
    result = run("repeats", noisy, WORDS)
    assert result.exit_code == 2
    assert "at least 4" in result.stderr
