"""The measurement of the window's responsiveness measures what it says; not timed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gui_responsiveness as gui

PROGRAM = Path(gui.__file__)


def test_late_beats_are_counted_by_what_was_going_on():
    phases = iter(["at rest", "at rest", "n2v"])
    beats = gui.Beats(lambda: next(phases))
    beats.last -= 0.6
    for _ in range(3):
        beats.beat()
    first, second = beats.rows(threads="default")
    assert (first["phase"], first["beats"], first["threads"]) == (
        "at rest",
        2,
        "default",
    )
    assert first["max"] >= 600
    assert first["over 100 ms"] == first["over 500 ms"] == 1
    assert (second["phase"], second["over 100 ms"]) == ("n2v", 0)


def test_quantiles_are_those_of_the_intervals():
    row = gui.summary([10.0] * 98 + [50.0, 200.0])
    assert (row["p50"], row["max"], row["beats"], row["s"]) == (10.0, 200.0, 100, 1.2)
    assert 50.0 < row["p99"] < 200.0


def test_without_a_screen_it_says_so_and_measures_nothing():
    if not sys.platform.startswith("linux"):
        pytest.skip("windows can always be shown here")
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "There is no screen" in done.stdout
    assert "xvfb-run" in done.stdout


def test_an_unknown_measurement_is_refused(capsys):
    with pytest.raises(SystemExit):
        gui.parse(["everything"])
    assert "choose from docks, training, ends" in capsys.readouterr().err
