"""Budgets become steps, and tables compare methods seed by seed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import common
import equal_time
import published
from napari_ppn2v.core.noise_models import NoiseModelConfig
from napari_ppn2v.events import StageFinished, StageStarted, StepDone, Validated


def tiny_benchmark() -> common.Benchmark:
    truth = np.repeat(published.synthetic_frames(1, 64), 4, axis=0)
    noisy = np.random.default_rng(0).normal(truth, 9.0).astype(np.float32)
    return common.Benchmark("waves", noisy, truth)


def validated(stage: str, step: int) -> Validated:
    return Validated(stage, step, 2, 1.0, 1.0, 1e-3, 0.0, is_best=True)


def stage_clock(times: list[float]) -> equal_time.StageClock:
    now = iter(times)
    return equal_time.StageClock(("n2v",), clock=lambda: next(now))


def test_seconds_are_sorted_into_steps_validations_and_the_rest():
    clock = stage_clock([0, 1, 11, 13, 15, 20, 23, 24])
    for event in (
        StageStarted("n2v", 3),  # 1 s before it
        StepDone("n2v", 1, 3),  # 10 s, warm-up: counts as fixed
        StepDone("n2v", 2, 3),  # 2 s
        StepDone("n2v", 3, 3),  # 2 s
        validated("n2v", 3),  # 5 s
        StageFinished("noise model", 3.0),  # 3 s
    ):
        clock(event)
    clock.finish()  # 1 s
    assert clock.steps == {"n2v": [2, 2]}
    assert clock.validations == {"n2v": [5]}
    assert clock.fixed == {"n2v": 11, "noise model": 3, "between": 1}
    assert clock.total == 24


def test_a_budget_is_used_up_and_not_exceeded():
    clock = stage_clock([0, 0])
    clock.steps, clock.validations = {"n2v": [0.5]}, {"n2v": [1.0]}
    clock.fixed = {"n2v": 4.0}
    config = equal_time.config_of("n2v", 0)
    n_steps = clock.steps_within(config, 100.0)
    planned = clock.predicted(config.with_steps(n_steps))
    # 4 s fixed, about 20 validations of 1 s, the rest in steps of 0.5 s
    assert 98 < planned <= 100
    assert clock.predicted(config.with_steps(n_steps + 5)) > 100


def test_only_the_baseline_replaces_by_random_neighbours():
    methods = {
        method: equal_time.config_of(method, 0).pretraining.replacement
        for method in equal_time.METHODS
    }
    assert methods.pop(equal_time.BASELINE) == "random"
    assert set(methods.values()) == {"mean"}


@pytest.mark.parametrize("method", ["pn2v", "refined", equal_time.SUPERVISED])
def test_methods_are_timed_and_scored_in_all_their_ways(method):
    benchmark = tiny_benchmark()
    config = replace(
        equal_time.config_of(method, 0).with_steps(20),
        noise_model=NoiseModelConfig(kind="poisson-gaussian"),
    )
    denoiser, times = equal_time.timed_run(method, benchmark, config)
    assert set(times.steps) == set(config.stages)
    scores = equal_time.score_ways(denoiser, benchmark, [1])
    rows = equal_time.score_rows(method, 0, 20, times.total, denoiser, scores)
    assert [row["scored on"] for row in rows] == ["frames", "crops"]
    expected = {"pn2v": 4, "refined": 3, "supervised": 1}.get(method, 2)
    assert len(scores) == expected
    assert rows[0]["chosen PSNR"] == rows[0][rows[0]["chosen"]]


def row(method: str, seed: int, chosen: float, mmse: str = "") -> dict[str, object]:
    return {
        "method": method,
        "seed": seed,
        "scored on": "crops",
        "chosen": "prior mean",
        "chosen PSNR": f"{chosen}",
        "prior mean": f"{chosen}",
        "MMSE": mmse,
        "blind prior mean": "",
        "blind MMSE": "",
    }


def test_differences_are_paired_by_seed():
    rows = [
        row(equal_time.BASELINE, 0, 30.0),
        row(equal_time.BASELINE, 1, 32.0),
        row("pn2v", 0, 30.5, "31.0"),
        row("pn2v", 1, 32.5, "32.8"),
    ]
    _, pn2v = equal_time.summarise(rows)
    assert pn2v["PSNR"] == "31.500 ± 1.000"
    assert pn2v["to published replacement"] == "+0.500 ± 0.000"
    assert pn2v["to supervised"] == ""
    assert pn2v["MMSE - prior mean"] == "+0.400 ± 0.100"


def test_a_single_seed_has_no_error():
    assert equal_time.mean_and_error([0.25], signed=True) == "+0.250 (n = 1)"


def test_the_noisy_input_is_scored_on_frames_and_crops():
    truth = np.zeros((2, 400, 400), np.float32)
    truth[:, 0, 0] = 100.0
    benchmark = common.Benchmark("flat", truth + 1.0, truth)
    rows = equal_time.noisy_rows(benchmark, [0, 1])
    assert [row["noisy PSNR"] for row in rows] == ["40.000", "40.000"]
