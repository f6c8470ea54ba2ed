"""The judgement of a soak finds a leak that is planted, and no other."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import soak


def rounds(n=40, seed=0, **growth):
    """Counts that rise while the viewer warms up, and scatter; some grow further."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, n + 1):
        row = {"round": number}
        for name in soak.ALLOWED:
            warm_up = 50.0 * (1 - np.exp(-number / 3))
            row[name] = 800 + warm_up + growth.get(name, 0.0) * number
        row["memory [MB]"] += rng.normal(0, 3)
        rows.append(row)
    return rows


def leaks(rows):
    return [slope.name for slope in soak.judged(rows) if slope.is_leak]


@pytest.mark.parametrize("seed", range(5))
def test_a_warm_up_and_scatter_are_no_leak(seed):
    assert leaks(rounds(seed=seed)) == []


@pytest.mark.parametrize(
    ("name", "growth"),
    [("memory [MB]", 1.0), ("threads", 1.0), ("open files", 0.5)],
)
def test_what_grows_is_found(name, growth):
    assert leaks(rounds(**{name: growth})) == [name]


def test_too_few_rounds_are_not_judged():
    with pytest.raises(ValueError, match="too few"):
        soak.judged(rounds(5))


def test_the_picture_shows_every_count(tmp_path):
    rows = rounds(**{"threads": 1.0})
    soak.draw(rows, soak.judged(rows), tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 10_000
