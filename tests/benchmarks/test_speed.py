"""The comparisons of speed compare the same arithmetic, at sizes of a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import common
import memory
import published
import speed


@pytest.fixture(autouse=True)
def _keep_thread_count():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def waves_with_truth() -> common.Benchmark:
    """Seven frames of a smooth scene with Gaussian noise of 9 ADU."""
    truth = np.repeat(published.synthetic_frames(1, 64), 7, axis=0)
    noisy = np.random.default_rng(0).normal(truth, 9.0).astype(np.float32)
    return common.Benchmark("waves", noisy, truth)


def test_published_weights_give_the_same_density_in_our_class():
    model = published.photon_transfer_gmm(100.0, 400.0, -210.0, 2.2)
    signal = torch.linspace(90, 410, 50)[:, None]
    observation = torch.linspace(50, 450, 60)
    ours = speed.as_our_model(model).log_likelihood(observation, signal)
    theirs = model.likelihood(observation, signal).log()
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_our_fit_is_faster_and_not_less_likely_than_a_short_published_one():
    rows = speed.compare_gmm_fits(waves_with_truth(), 20, batch_size=4000, repeats=1)
    published_row, ours = rows
    assert published_row["fit"] == "published (20 steps, time scaled to 2000)"
    name = "NLL, all pairs held out"
    assert float(ours[name]) <= float(published_row[name])


def test_our_loss_is_that_of_the_float64_loop_on_the_same_samples():
    rows = speed.compare_pn2v_steps(
        n_filters=4,
        n_samples=16,
        patch=32,
        published_patches=1,
        repeats=1,
        loop_pixels=40,
    )
    assert float(rows[1]["loss against float64 loop"]) < 1e-5
    assert rows[0]["step"].startswith("published (1 patches, time scaled to 20)")


def test_inference_is_timed_for_each_kind_of_noise_model():
    rows = speed.time_inference(size=32, wide_size=16, published_size=16)
    kinds = {row["noise model"] for row in rows if row["network"] == "default"}
    assert kinds == {"gmm", "histogram", "poisson-gaussian", "poisson-gamma", "none"}
    assert all(row["CPU s per megapixel"] > 0 for row in rows)


# --- memory ----------------------------------------------------------------------


def test_peak_memory_is_that_of_the_process_measured():
    # from a small process: the peak of a child also counts what its parent held
    script = """
import sys
import memory
for n in (1, 300_000_000):
    command = [sys.executable, "-c", f"x = b'1' * {n}; print(len(x))"]
    print(memory.measure(command).peak_mb)
"""
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(memory.__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = (float(line) for line in found.stdout.split())
    assert 250 < large - small < 350


def test_failure_of_a_measured_command_shows_its_output():
    with pytest.raises(RuntimeError, match="no such thing"):
        memory.measure([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_cases_are_read_as_frames_by_side():
    case = memory.parse_case("10x1024")
    assert (case.n_frames, case.side, case.name) == (10, 1024, "10 frames of 1024²")
