"""Killed at any moment, a run leaves nothing partial and goes on with the same bits."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile

from napari_ppn2v.core.camera import Camera, simulate_stack

from .kills import (
    KILLED,
    KillServer,
    Tally,
    check_whole,
    contents,
    differences,
    hidden,
)

logger = logging.getLogger(__name__)

TINY = (
    *("--preset", "fast", "--steps", "8", "--noise-model-kind", "histogram"),
    *("--device", "cpu", "--threads", "1"),
)


@dataclass(frozen=True)
class Scenario:
    """A run: options, the name of the output, and which data."""

    command: str
    out: str
    options: tuple[str, ...]
    data: str = "noisy.tif"


SCENARIOS = {
    "a folder with a report": Scenario("denoise", "run", (*TINY, "--report")),
    "two channels to Zarr": Scenario(
        "denoise",
        "result.zarr",
        (*TINY, "--channel", "all", "--method", "pn2v", "--posterior-std"),
        "two.tif",
    ),
    "several files": Scenario("denoise", "run", (*TINY, "--method", "n2v"), "many"),
    "a model alone": Scenario("train", "model.ppn2v", TINY),
}


@pytest.fixture(scope="module")
def server():
    with KillServer() as started:
        yield started


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    first, second = (
        simulate_stack(
            Camera(), n_frames=2, size=48, peak_electrons=brightness, seed=brightness
        ).observation
        for brightness in (20, 60)
    )
    _write(folder / "noisy.tif", first, "TYX")
    _write(folder / "two.tif", np.stack([first, second], axis=1), "TCYX")
    (folder / "many").mkdir()
    for name, frames in (("a", first), ("b", first[::-1]), ("c", first[:, ::-1])):
        _write(folder / "many" / f"{name}.tif", frames, "TYX")
    return folder


def _write(path, stack, axes):
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": axes})


class Killing:
    """One scenario, run undisturbed once and then killed again and again."""

    def __init__(self, server, scenario, data, folder):
        self.server, self.scenario, self.data = server, scenario, data
        self.folder, self.tally = folder, Tally()
        self.whole = self._undisturbed(folder / "undisturbed")
        self.expected = contents(folder / "undisturbed")

    def live(self, moments):
        """Run to the end, being killed at these moments; return the differences."""
        home = self.folder / f"life {self.tally.lives}"
        home.mkdir()
        self.tally.lives += 1
        for moment in (*moments, {}):
            # a kill before the record was begun leaves nothing to resume
            is_begun = any(home.rglob("run.json"))
            self.tally.resumes += is_begun
            ended = self.server.run(
                self._command(home, is_resumed=is_begun), home, **moment
            )
            check_whole(home)
            if ended["code"] == KILLED:
                self.tally.kills += 1
                continue
            assert ended["code"] == 0, (moment, ended["said"])
            break
        assert hidden(home) == []
        return differences(contents(home), self.expected)

    def moments(self, rng, count):
        """Draw moments spread over the whole run, by time and by operation."""
        n_operations, seconds = self.whole["operations"], self.whole["seconds"]
        drawn = []
        for number in range(count):
            # what is left of the run after the kills before this one is shorter
            if rng.random() < 0.5:
                drawn.append({"seconds": float(rng.uniform(0, seconds)) / (1 + number)})
            else:
                drawn.append({"operation": int(rng.integers(n_operations))})
        return drawn

    def _undisturbed(self, home):
        home.mkdir()
        ended = self.server.run(self._command(home, is_resumed=False), home)
        assert ended["code"] == 0, ended["said"]
        return ended

    def _command(self, home, *, is_resumed):
        scenario = self.scenario
        options = ("--report",) if "--report" in scenario.options else ()
        if is_resumed:
            return (scenario.command, "-o", home / scenario.out, "--resume", *options)
        noisy = self.data / scenario.data
        return (scenario.command, noisy, "-o", home / scenario.out, *scenario.options)


def test_a_short_run_killed_three_times_goes_on_with_the_same_bits(
    server, data, tmp_path
):
    short = Scenario("train", "model.ppn2v", (*TINY, "--method", "n2v"))
    killing = Killing(server, short, data, tmp_path)
    last = killing.whole["operations"]
    # in the midst of training, at the model file, and while pictures are drawn
    moments = [{"operation": n} for n in (last // 2, last // 3, 3)]
    assert killing.live(moments) == []
    assert killing.tally.kills == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_killed_at_any_moment_goes_on_with_the_same_bits(
    server, data, tmp_path, name
):
    killing = Killing(server, SCENARIOS[name], data, tmp_path)
    rng = np.random.default_rng(7)
    while killing.tally.kills < 30:
        moments = killing.moments(rng, 3)
        assert killing.live(moments) == [], moments
    logger.info("%s: %s", name, killing.tally)
