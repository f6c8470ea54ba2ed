"""The judgement of a soak finds a leak of ours that is planted, and no other."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import soak
from soak import Slope

OBJECTS, QT = "objects of Python", "Qt objects of Python"
WORKERS = "workers kept by napari"


def rounds(n=40, seed=0, scatter=3.0, **growth):
    """Counts that rise while the viewer warms up, and scatter; some grow further."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(1, n + 1):
        row = {"round": number}
        for name in soak.ALLOWED:
            warm_up = 50.0 * (1 - np.exp(-number / 3))
            row[name] = 800 + warm_up + growth.get(name, 0.0) * number
        row["memory [MB]"] += rng.normal(0, scatter)
        rows.append(row)
    return rows


def judged(control, rows):
    return {growth.name: growth for growth in soak.judged(control, rows)}


def leaks(control, rows):
    return [name for name, growth in judged(control, rows).items() if growth.is_leak]


@pytest.mark.parametrize("seed", range(5))
def test_a_warm_up_and_scatter_are_no_leak(seed):
    assert leaks(rounds(seed=seed), rounds(seed=seed + 100)) == []


@pytest.mark.parametrize(
    ("name", "growth"),
    [("memory [MB]", 1.0), ("threads", 1.0), ("open files", 0.5)],
)
def test_what_grows_in_our_rounds_alone_is_found(name, growth):
    assert leaks(rounds(seed=1), rounds(**{name: growth})) == [name]


def test_what_grows_as_much_without_us_is_no_leak_of_ours():
    growing = {"memory [MB]": 1.0, "objects of Python": 400.0, "threads": 1.0}
    found = judged(rounds(seed=1, **growing), rounds(**growing))
    assert leaks(rounds(seed=1, **growing), rounds(**growing)) == []
    assert found["memory [MB]"].ours.value == pytest.approx(1.0, abs=0.2)
    assert found["memory [MB]"].control.value == pytest.approx(1.0, abs=0.2)


def test_what_grows_more_with_us_is_found_beyond_what_grows_without():
    without = rounds(seed=1, **{"memory [MB]": 1.0})
    with_us = rounds(**{"memory [MB]": 2.0})
    assert leaks(without, with_us) == ["memory [MB]"]
    beyond = judged(without, with_us)["memory [MB]"].beyond
    assert beyond.low < 1.0 < beyond.high


def test_the_interval_of_a_difference_is_wider_than_that_of_either():
    ours, control = Slope(0.5, 0.4, 0.7), Slope(0.2, 0.1, 0.5)
    beyond = ours.beyond(control)
    assert beyond.value == pytest.approx(0.3)
    assert beyond.low == pytest.approx(0.3 - np.hypot(0.1, 0.3))
    assert beyond.high == pytest.approx(0.3 + np.hypot(0.2, 0.1))


def test_the_interval_of_the_difference_holds_the_truth_in_most_of_many_soaks():
    name, held = "memory [MB]", 0
    for seed in range(200):
        control = rounds(seed=2 * seed, n=30, **{name: 0.4})
        rows = rounds(seed=2 * seed + 1, n=50, **{name: 0.6})
        beyond = soak.slope(rows, name).beyond(soak.slope(control, name))
        held += beyond.low <= 0.2 <= beyond.high
    assert 180 <= held <= 198  # 95 % of 200 are 190


def test_where_the_interval_is_too_wide_nothing_is_said_to_be_steady():
    found = judged(rounds(scatter=60.0), rounds(seed=1, scatter=60.0))
    assert found["memory [MB]"].verdict == "not sure"
    assert found["threads"].verdict == "steady"


def test_too_few_rounds_are_not_judged():
    with pytest.raises(ValueError, match="too few"):
        soak.judged(rounds(), rounds(5))
    with pytest.raises(ValueError, match="too few"):
        soak.judged(rounds(5), rounds())


def test_what_a_system_does_not_tell_is_not_judged():
    rows = [dict(row) for row in rounds()]
    for row in rows:
        del row["memory in use [MB]"]
    names = list(judged(rows, rows))
    assert names == [name for name in soak.ALLOWED if name != "memory in use [MB]"]


@pytest.mark.skipif(not soak.in_use(), reason="the C library tells nothing")
def test_memory_in_use_is_what_was_asked_for_and_not_given_back():
    size = 1_000_003  # no library uses just this one
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    library.malloc.argtypes = [ctypes.c_size_t]
    library.free.argtypes = [ctypes.c_void_p]
    gc.collect()
    before = soak.in_use()["memory in use [MB]"]
    blocks = [library.malloc(size) for _ in range(50)]
    between = soak.in_use()["memory in use [MB]"]
    for block in blocks:
        library.free(block)
    after = soak.in_use()["memory in use [MB]"]
    assert between - before == pytest.approx(50 * size / 1e6, abs=1)
    assert after == pytest.approx(before, abs=1)


@pytest.mark.parametrize(("planted", "found"), [(0.0, []), (40.0, [OBJECTS])])
def test_more_workers_are_counted_as_workers_and_hide_no_leak(planted, found):
    def with_workers(n, each, objects=0.0):
        rows = rounds(**{OBJECTS: n * each + objects, QT: n * 1.0, WORKERS: n})
        for row in rows:
            row[WORKERS] = n * row["round"]
        return [soak.without_workers(row, {OBJECTS: 27.0, QT: 1.0}) for row in rows]

    control, ours = with_workers(9, 27), with_workers(10.5, 27, planted)
    assert leaks(control, ours) == found
    assert judged(control, ours)[WORKERS].beyond.value == pytest.approx(1.5)
    assert judged(control, ours)[OBJECTS].beyond.value == pytest.approx(planted)


def test_what_is_kept_of_each_worker_is_counted():
    before = {WORKERS: 10, QT: 40, OBJECTS: 1000}
    after = {WORKERS: 30, QT: 60, OBJECTS: 1540}
    assert soak.of_each_worker(before, after) == {QT: 1.0, OBJECTS: 27.0}
    nothing = soak.of_each_worker(before, before)
    assert soak.without_workers(before, nothing) == before


def test_the_types_that_grow_beyond_the_control_are_named():
    def counted(**each):
        return [
            {"round": r, "kinds": soak.Counter({k: n * r for k, n in each.items()})}
            for r in (4, 9, 14, 19)
        ]

    more = soak.more_of(counted(tuple=7, cell=2), counted(tuple=9, cell=2, list=1))
    assert more == {"tuple": 2.0, "list": 1.0}


def test_the_picture_shows_every_count(tmp_path):
    control, rows = rounds(20), rounds(**{"threads": 1.0})
    soak.draw(control, rows, soak.judged(control, rows), tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 10_000
