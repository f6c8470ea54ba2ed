"""The data check reads little, tells good data from bad, and never is in the way."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import numpy as np
import pytest

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.checks.findings import VERDICTS
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import Notice, StageFinished, StepDone, collect, drain
from napari_ppn2v.pipeline.checking import glance
from napari_ppn2v.pipeline.data_check import check_calibration, check_stack
from napari_ppn2v.stop import StopToken


def noisy(n_frames=10, size=96, peak=60, camera=None, seed=0):
    made = simulate_stack(
        camera or Camera(), n_frames=n_frames, size=size, peak_electrons=peak, seed=seed
    )
    return made.observation


def diaphragm(n_repeats=40, size=64, peak=80, seed=1):
    made = simulate_calibration(
        Camera(), n_repeats=n_repeats, size=size, peak_electrons=peak, seed=seed
    )
    return made.observation


def check(stack, axes="TYX"):
    return drain(check_stack(as_frames(stack, axes)))


class Recording:
    """A large recording made up as it is read, that counts what is read."""

    shape, dtype = (100, 2048, 2048), np.dtype(np.uint16)

    def __init__(self):
        self.read = []
        rng = np.random.default_rng(0)
        self.noise = rng.integers(90, 110, (1100, 1100), dtype=np.uint16)

    def __getitem__(self, index):
        frame, rows, columns = index
        height, width = rows.stop - rows.start, columns.stop - columns.start
        self.read.append((frame, height, width))
        first, second = 31 * frame % 71, 17 * frame % 73  # other noise in each frame
        return self.noise[first : first + height, second : second + width]


# --- verdicts ---


def test_good_data_are_fine():
    found = check(noisy())
    assert found.verdict == "fine"
    assert not found.important
    assert {"size", "clipping", "noise correlation", "stripes"} <= {
        each.name for each in found.findings
    }


def test_a_calibration_that_covers_the_data_is_fine():
    found = ppn2v.check_data(noisy(), calibration=diaphragm(), axes="TYX")
    assert found.verdict == "fine"
    assert found.calibration.finding("signal range").figures["share outside"] < 0.001


def test_a_calibration_darker_than_the_data_is_told():
    found = ppn2v.check_data(noisy(), calibration=diaphragm(peak=20), axes="TYX")
    finding = found.calibration.finding("signal range")
    assert finding.verdict == "careful"
    frames = noisy().astype(float)
    assert 0.01 < finding.figures["share outside"] < 0.6
    assert finding.figures["highest signal of the calibration"] < frames.max()
    assert finding in found.important


def test_several_calibration_scenes_cover_the_range_together():
    dark, bright = diaphragm(peak=20), diaphragm(peak=80, seed=2)
    found = ppn2v.check_data(noisy(), calibration=[dark, bright], axes="TYX")
    assert found.calibration.finding("signal range").verdict == "fine"


def test_frames_too_small_to_train_on_are_still_a_calibration():
    rng = np.random.default_rng(0)
    tiny = rng.normal(500, 9, (2500, 3, 3)).astype(np.float32)
    assert check(tiny).verdict == "will not work"
    assert drain(check_calibration(as_frames(tiny, "TYX"))).verdict != "will not work"


def test_the_worst_of_several_images_decides():
    bad = noisy(seed=1, size=128).astype(np.float32)
    bad = (bad + np.roll(bad, 1, 2)) / 2
    sources = [as_frames(noisy(), "TYX"), as_frames(bad, "TYX")]
    found = drain(check_stack(sources))
    assert found.finding("noise correlation").verdict == "will not work"
    assert [part.shape for part in found.read] == [(128, 128), (96, 96)]
    assert found.important[0].verdict == "will not work"


def test_frames_of_different_files_do_not_follow_each_other():
    still = [noisy(1, seed=0)] * 4  # a running average would look like this
    found = drain(check_stack([as_frames(each, "TYX") for each in still]))
    assert found.finding("correlation in time") is None


@pytest.mark.parametrize("n_frames", [1, 2, 3, 7])
@pytest.mark.parametrize("shape", [(16, 16), (17, 40), (20, 200), (64, 33)])
@pytest.mark.parametrize("kind", ["noise", "zeros", "ramp", "one bright pixel"])
def test_odd_images_get_answers_not_errors(n_frames, shape, kind):
    rng = np.random.default_rng(0)
    stack = np.zeros((n_frames, *shape), np.uint16)
    if kind == "noise":
        stack += rng.integers(0, 9, stack.shape, dtype=np.uint16)
    if kind == "ramp":
        stack += np.arange(shape[1], dtype=np.uint16)
    if kind == "one bright pixel":
        stack[:, 8, 8] = 60000
    for found in (check(stack), drain(check_calibration(as_frames(stack, "TYX")))):
        assert found.verdict in VERDICTS
        assert all(each.sentence for each in found.findings)
        assert all(bool(each.advice) == each.is_important for each in found.findings)
        json.loads(found.as_json())


def test_pixels_that_are_not_finite_are_refused_as_everywhere():
    frames = noisy().astype(np.float32)
    frames[0, 40, 40] = np.nan
    with pytest.raises(BadData, match="not a number"):
        check(frames)


def test_nothing_to_check_is_said():
    with pytest.raises(BadSetting, match="nothing to check"):
        ppn2v.check_data()


# --- what is read ---


def test_a_large_recording_is_read_in_part_and_in_time():
    recording = Recording()
    began = time.process_time()
    found = drain(check_stack(as_frames(recording, "TYX")))
    assert time.process_time() - began < 10
    assert len(recording.read) == 24
    assert {size for _, *size in recording.read for size in size} == {1024}
    frames = [frame for frame, *_ in recording.read]
    assert frames[0] == 0
    assert frames[-1] == 99
    assert sum(b - a == 1 for a, b in pairwise(frames)) == 16
    assert found.read[0].n_frames_read == 24
    assert found.read[0].window == (1024, 1024)


def test_the_input_is_left_as_it_was():
    frames = noisy().astype(np.float32)
    frames[:, 20, 20] = 5000  # a hot pixel, which is taken out for the other questions
    before = frames.copy()
    assert check(frames).finding("hot pixels").figures["hot pixels"] == 1
    assert np.array_equal(frames, before)


def test_a_stop_ends_it_with_the_findings_so_far():
    stop = StopToken()
    job = check_stack(as_frames(noisy(), "TYX"), stop=stop)
    for event in job:
        if isinstance(event, StepDone) and event.step == 12:  # ten frames, two answers
            stop.stop()
            break
    events, found = collect(job)
    assert found.is_stopped
    assert 1 <= len(found.findings) < 5
    assert isinstance(events[-1], StageFinished)


def test_steps_count_up_to_the_total():
    events, _ = collect(check_stack(as_frames(noisy(), "TYX")))
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.step for event in steps] == list(range(1, steps[0].total + 1))


def test_everything_is_in_the_json():
    found = ppn2v.check_data(noisy(), calibration=diaphragm(), axes="TYX")
    plain = json.loads(found.as_json())
    assert plain["verdict"] == "fine"
    assert plain["read"][0]["n_frames_read"] == 10
    names = [each["name"] for each in plain["calibration"]["findings"]]
    assert "signal range" in names
    for each in plain["findings"]:
        assert set(each) == {"name", "verdict", "figures", "sentence", "advice"}


def test_files_and_arrays_give_the_same(tmp_path):
    np.save(tmp_path / "noisy.npy", noisy())
    np.save(tmp_path / "dark.npy", diaphragm())
    from_files = ppn2v.check_data(
        tmp_path / "noisy.npy", calibration=str(tmp_path / "dark.npy"), axes="TYX"
    )
    from_arrays = ppn2v.check_data(noisy(), calibration=diaphragm(), axes="TYX")
    assert from_files.findings == from_arrays.findings
    assert from_files.calibration.findings == from_arrays.calibration.findings
    assert from_files.read[0].name == "noisy.npy"


# --- before training ---


def cut(stack):
    return np.maximum(stack, np.rint(np.quantile(stack, 0.2))).astype(stack.dtype)


def test_before_training_only_what_matters_is_told():
    assert collect(glance([as_frames(noisy(), "TYX")]))[0] == []
    (notice,) = collect(glance([as_frames(cut(noisy()), "TYX")]))[0]
    assert isinstance(notice, Notice)
    assert notice.is_warning
    assert "clipping: careful" in notice.message


def test_training_goes_on_whatever_the_check_says():
    events = []
    run = ppn2v.train(
        cut(noisy(2, 64)), axes="TYX", method="n2v", steps=2, on_event=events.append
    )
    told = [
        e.message for e in events if isinstance(e, Notice) and "clipping" in e.message
    ]
    assert len(told) == 1
    assert run.denoiser is not None
