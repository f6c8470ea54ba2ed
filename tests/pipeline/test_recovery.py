"""A run in the viewer goes on after a crash as if there had been none."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np
import pytest

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.errors import BadFile
from napari_ppn2v.events import Notice, StageStarted, StepDone, collect, drain
from napari_ppn2v.files.locks import FileLock
from napari_ppn2v.pipeline import recovery, recovery_folders
from napari_ppn2v.pipeline.memory_checkpoints import KeptTrainings
from napari_ppn2v.pipeline.recovery import Recovery, unfinished_runs
from napari_ppn2v.pipeline.recovery_folders import clean_up
from napari_ppn2v.pipeline.recovery_record import Given, same_stack
from napari_ppn2v.pipeline.stack_job import denoise_stack, train_stack_longer
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
from napari_ppn2v.stop import StopToken


@pytest.fixture
def config(quick):
    training = replace(quick.pretraining, n_steps=10, steps_per_validation=5)
    return replace(
        quick,
        method="refined",
        n_refinements=1,
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


@pytest.fixture(autouse=True)
def every_step_is_kept(monkeypatch):
    monkeypatch.setattr(recovery, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(recovery, "MOST_TIME", 1e9)


def request(data, config, axes="TYX", **options) -> StackRequest:
    stack = Stack(data=data, axes=axes, name="cells")
    return StackRequest(observation=stack, config=config, threads=1, **options)


def job(wanted, kept, **options):
    return kept.watch(
        denoise_stack(
            wanted,
            StopToken(),
            checkpoints=KeptTrainings(kept),
            recovery=kept,
            **options,
        )
    )


def crash_in(job, stage, step):
    """Run up to a step, and forget the job as a process forgets it that is killed."""
    for event in job:
        if isinstance(event, StepDone) and (event.stage, event.step) == (stage, step):
            break
    return job


def resumed(found: Recovery, data, **options):
    assert found.claim()
    wanted = found.record.request(Stack(data=data, axes="TYX", name="cells"))
    return collect(job(wanted, found, is_read=True, **options))


def pixels(report):
    return report.result.image


def test_a_run_that_was_killed_gives_the_bits_of_one_that_was_not(
    sample, config, tmp_path
):
    whole = drain(denoise_stack(request(sample.observation[:2], config), StopToken()))
    kept = Recovery(tmp_path, Given(("cells.tif",)))
    killed = crash_in(
        job(request(sample.observation[:2], config), kept), "refinement 1", 7
    )
    assert unfinished_runs(tmp_path) == []  # it goes on
    kept._lock.release()  # as at the end of a process
    (found,) = unfinished_runs(tmp_path)
    progress = found.record.progress
    assert (progress.stage, progress.step, progress.total) == ("refinement 1", 6, 10)
    assert found.record.status == "running"  # nobody was left to change it
    assert found.record.observation.path == "cells.tif"
    events, done = resumed(found, sample.observation[:2])
    steps = [e.step for e in events if isinstance(e, StepDone) and e.stage == "n2v"]
    assert steps == []
    np.testing.assert_array_equal(pixels(done), pixels(whole))
    found.remove()
    assert list(tmp_path.iterdir()) == []
    del killed


def test_all_that_was_asked_for_is_written_down(sample, config, tmp_path):
    still = simulate_calibration(Camera(), n_repeats=4, size=64, peak_electrons=90)
    recording = Stack(data=still.observation, axes="TYX", name="still")
    wanted = request(
        np.stack([sample.observation, sample.observation[::-1]], axis=1),
        replace(config, seed=3),
        "TCYX",
        channels=(1, 0),
        is_put_together=True,
        training_frames=(0, 2),
        region=(slice(8, 72), slice(0, 64)),
        calibration=(recording,),
        device="cpu",
        dtype="same",
        with_residual=True,
    )
    kept = Recovery(tmp_path)
    crash_in(job(wanted, kept), "n2v", 3)
    kept._lock.release()
    (found,) = unfinished_runs(tmp_path)
    again = found.record.request(wanted.observation, [recording])
    assert again == wanted
    assert found.record.progress.part == "channel 1"
    assert found.record.calibration[0].name == "still"
    assert found.record.calibration[0].shape == still.observation.shape


@pytest.mark.slow
def test_a_noise_model_that_was_given_is_kept_with_the_run(sample, config, tmp_path):
    first = drain(denoise_stack(request(sample.observation[:2], config), StopToken()))
    model = first.runs[0].noise_fit.model
    wanted = request(sample.observation[:2], config, noise_model=model)
    whole = drain(denoise_stack(wanted, StopToken()))
    kept = Recovery(tmp_path, Given(("",), "mine", "mine.npz"))
    crash_in(job(wanted, kept), "refinement 1", 4)
    kept._lock.release()
    (found,) = unfinished_runs(tmp_path)
    assert found.record.noise_model == "mine"
    assert found.record.noise_model_path == "mine.npz"
    assert found.claim()
    again = replace(
        found.record.request(wanted.observation), noise_model=found.load_noise_model()
    )
    done = drain(job(again, found, is_read=True))
    np.testing.assert_array_equal(pixels(done), pixels(whole))


@pytest.mark.slow
def test_a_training_that_went_on_longer_can_be_taken_up_too(sample, config, tmp_path):
    first = drain(denoise_stack(request(sample.observation[:2], config), StopToken()))
    whole = drain(train_stack_longer(first, StopToken()))
    before = Recovery(tmp_path)
    drain(job(request(sample.observation[:2], config), before))
    before.remove()
    kept = Recovery(tmp_path)
    kept.begin_longer(before, first, 2)
    trainings = KeptTrainings(kept)
    longer = train_stack_longer(first, StopToken(), checkpoints=trainings)
    crash_in(kept.watch(longer), "refinement 2", 7)
    kept._lock.release()
    (found,) = unfinished_runs(tmp_path)
    assert (found.record.is_longer, found.record.times_longer) == (True, 2)
    assert found.record.progress.step == 6
    assert found.claim()
    stack = Stack(data=sample.observation[:2], axes="TYX", name="cells")
    trained = found.load_trained(found.record.request(stack))
    events, done = collect(
        found.watch(
            train_stack_longer(trained, StopToken(), checkpoints=KeptTrainings(found))
        )
    )
    trained_steps = [e.step for e in events if isinstance(e, StepDone) and e.loss > 0]
    assert trained_steps[0] == 7
    np.testing.assert_array_equal(pixels(done), pixels(whole))


def test_how_a_run_ended_is_written_down(sample, config, tmp_path):
    kept, stop = Recovery(tmp_path), StopToken()
    running = kept.watch(
        denoise_stack(
            request(sample.observation[:2], config),
            stop,
            checkpoints=KeptTrainings(kept),
            recovery=kept,
        )
    )
    for event in running:
        if isinstance(event, StepDone) and (event.stage, event.step) == ("n2v", 5):
            stop.stop()
    assert Recovery.of_folder(kept.folder).record.status == "stopped"
    kept.release()
    (found,) = unfinished_runs(tmp_path)
    broken = resumed_with_error(found, sample)
    assert Recovery.of_folder(broken.folder).record.status == "failed"
    # what was kept before stays, and it can be taken up once more
    _, done = resumed(broken, sample.observation[:2])
    assert done.result is not None
    assert Recovery.of_folder(broken.folder).record.status == "finished"


def resumed_with_error(found, sample):
    assert found.claim()

    def explode():
        yield StageStarted("n2v", 10)
        raise RuntimeError("CUDA error")

    with pytest.raises(RuntimeError, match="CUDA"):
        drain(found.watch(explode()))
    return found


def test_a_run_goes_on_where_its_state_cannot_be_kept_and_says_so_once(
    sample, config, tmp_path
):
    whole = drain(denoise_stack(request(sample.observation[:2], config), StopToken()))
    in_the_way = tmp_path / "state"
    in_the_way.write_text("a file where a folder should be")
    kept = Recovery(in_the_way / "recovery")
    events, done = collect(job(request(sample.observation[:2], config), kept))
    (told,) = [e for e in events if isinstance(e, Notice) and e.is_warning]
    assert told.message.startswith("The run goes on, but it could not be resumed")
    assert "Not a directory" in told.message or "exists" in told.message
    np.testing.assert_array_equal(pixels(done), pixels(whole))
    kept.remove()
    kept.release()


def test_a_drive_that_is_nearly_full_is_left_alone(
    sample, config, tmp_path, monkeypatch
):
    monkeypatch.setattr(recovery_folders, "LEFT_FREE", 10**18)
    kept = Recovery(tmp_path)
    events, done = collect(job(request(sample.observation[:2], config), kept))
    told = [e.message for e in events if isinstance(e, Notice) and e.is_warning]
    assert len(told) == 1
    assert "are free on the drive" in told[0]
    assert done.result is not None
    assert not list(kept.folder.glob("*.pt"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of files")
def test_a_disk_that_fills_up_in_the_middle_leaves_the_last_state(
    sample, config, tmp_path
):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = drain(denoise_stack(request(sample.observation[:2], config), StopToken()))
    kept = Recovery(tmp_path)
    running = crash_in(job(request(sample.observation[:2], config), kept), "n2v", 6)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        events, done = collect(running)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    told = [e.message for e in events if isinstance(e, Notice) and e.is_warning]
    assert len(told) == 1
    assert told[0].startswith("The run goes on")
    np.testing.assert_array_equal(pixels(done), pixels(whole))
    kept.release()
    assert not [path for path in kept.folder.iterdir() if path.name.startswith(".")]
    (found,) = unfinished_runs(tmp_path)
    assert found.record.progress.steps == {"checkpoint_n2v_c0.pt": 5}
    _, again = resumed(found, sample.observation[:2])
    np.testing.assert_array_equal(pixels(again), pixels(whole))


def begun(root, sample, config) -> Recovery:
    kept = Recovery(root)
    crash_in(job(request(sample.observation[:1], config), kept), "n2v", 2)
    return kept


def test_only_the_newest_are_kept_and_never_one_in_use(sample, config, tmp_path):
    runs = [begun(tmp_path, sample, config) for _ in range(7)]
    assert all(kept.folder.exists() for kept in runs)  # all of them go on
    now = time.time()
    for age, kept in enumerate(reversed(runs)):
        for path in (kept.folder, *kept.folder.glob("*")):
            os.utime(path, (now - 60 * age, now - 60 * age))
        if kept is not runs[0]:
            kept.release()
            kept._lock.release()
    clean_up(tmp_path)
    there = [kept for kept in runs if kept.folder.exists()]
    assert there == [runs[0], *runs[-recovery_folders.MOST_RUNS :]]
    newest = unfinished_runs(tmp_path)
    assert {found.folder for found in newest} == {kept.folder for kept in there[1:]}


@pytest.mark.parametrize(("limit", "value"), [("MOST_BYTES", 10), ("MOST_DAYS", -1.0)])
def test_what_is_too_large_or_too_old_is_deleted(
    sample, config, tmp_path, monkeypatch, limit, value
):
    kept = begun(tmp_path, sample, config)
    monkeypatch.setattr(recovery_folders, limit, value)
    clean_up(tmp_path)
    assert kept.folder.exists()
    kept._lock.release()
    clean_up(tmp_path)
    assert not kept.folder.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"format": "napari-ppn2v run", "schema": 1}',
        '{"format": "napari-ppn2v run", "schema": 99, "viewer": {}}',
        '{"format": "napari-ppn2v run", "schema": 1, "viewer": {"observation": 3}}',
        '{"format": "napari-ppn2v run", "schema": 1, "viewer": []}',
    ],
)
def test_a_damaged_record_is_passed_over(sample, config, tmp_path, text):
    kept = begun(tmp_path, sample, config)
    kept._lock.release()
    assert len(unfinished_runs(tmp_path)) == 1
    kept.files.record.write_text(text)
    assert unfinished_runs(tmp_path) == []
    with pytest.raises(BadFile):
        Recovery.of_folder(kept.folder)


def test_a_run_without_a_state_is_not_offered(sample, config, tmp_path, monkeypatch):
    monkeypatch.setattr(recovery, "SECONDS_BETWEEN", 1000.0)
    kept = begun(tmp_path, sample, config)
    kept._lock.release()
    assert unfinished_runs(tmp_path) == []
    assert unfinished_runs(tmp_path / "nowhere") == []


def test_equal_pixels_are_found_among_several_stacks(sample, config, tmp_path):
    kept = begun(tmp_path, sample, config)
    known = kept.record.observation
    image = sample.observation[:1]
    other = image.copy()
    other[0, 3, 3] += 1
    stacks = [Stack(data=data, axes="TYX") for data in (other, image.copy())]
    assert drain(same_stack(known, stacks, StopToken())) == 1
    assert drain(same_stack(known, stacks[:1], StopToken())) is None
    stop = StopToken()
    stop.stop()
    assert drain(same_stack(known, stacks, stop)) is None


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    one, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.acquire()
    assert one.acquire()
    assert not other.acquire()
    one.release()
    assert other.acquire()
    other.release()
    other.release()
