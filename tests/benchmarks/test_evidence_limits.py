"""How little data and light is enough: what is simulated, and a run at tiny size."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import cli, limit_runs
from evidence.ledger import read_rows
from napari_ppn2v.core.camera import simulate_stack


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    ("electrons", "fills_range"), [(3.0, False), (3000.0, False), (100.0, True)]
)
def test_the_file_holds_the_brightest_signal_and_hardly_clips(
    bits, electrons, fills_range
):
    camera = limit_runs.camera(electrons, bits, fills_range=fills_range)
    stack = simulate_stack(
        camera, n_frames=3, size=64, peak_electrons=electrons, seed=0
    )
    _, high = camera.limits
    assert stack.signal.max() == pytest.approx(
        camera.offset + electrons * camera.gain, rel=1e-3
    )
    assert np.mean(stack.observation == high) < 0.002
    if fills_range:
        assert stack.signal.max() > 0.6 * high


def test_the_first_frame_is_the_same_in_a_longer_recording():
    camera = limit_runs.camera(30.0, 16, fills_range=False)
    one, three = (
        simulate_stack(camera, n_frames=n, size=64, peak_electrons=30.0, seed=4)
        for n in (1, 3)
    )
    assert np.array_equal(one.observation[0], three.observation[0])
    assert np.array_equal(one.signal[0], three.signal[0])


def test_a_small_run_is_kept_and_reported(tmp_path):
    command = ["data-limits", ".", "--out", str(tmp_path), "--workers", "0"]
    command += ["--side", "32", "--steps", "6", "--filters", "4", "--bits", "8"]
    assert cli.main([*command, "--electrons", "30", "300", "--frames", "1", "2"]) == 0
    rows = read_rows(tmp_path / "data-limits.csv")
    assert len(rows) == 3 * (2 * 2 + 1)
    assert all(np.isfinite(row["psnr"]) for row in rows)
    noisy = {r["electrons"]: r["psnr"] for r in rows if r["method"] == "noisy"}
    assert noisy[300] > noisy[30] + 5  # ten times the light
    page = (tmp_path / "data-limits.md").read_text(encoding="utf-8")
    assert "| 300 | 2 |" in page
    assert (tmp_path / "data-limits.png").stat().st_size > 10_000
