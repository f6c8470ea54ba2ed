"""Full, read-only and stalling drives, and files that change under the reader."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import numpy as np
import pytest
import tifffile

from napari_ppn2v.cli.requests import denoise_request
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadFile, CannotWrite
from napari_ppn2v.events import StepDone, drain
from napari_ppn2v.files import checkpoints
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.lazy import LazyArray
from napari_ppn2v.pipeline.file_jobs import denoise_files
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.pipeline.stack_reading import read_stack
from napari_ppn2v.stop import StopToken

from .kills import check_whole, contents, differences, hidden

resource = pytest.importorskip("resource", reason="limits of processes are of Unix")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    stack = simulate_stack(Camera(), n_frames=2, size=48, peak_electrons=20, seed=3)
    path = tmp_path_factory.mktemp("data") / "noisy.tif"
    tifffile.imwrite(path, stack.observation, ome=True, metadata={"axes": "TYX"})
    return path


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Save a training state after every step."""
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0.0)


@pytest.fixture(scope="module")
def expected(noisy, tmp_path_factory):
    """What a run leaves that nothing disturbs."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    drain(job(noisy, out))
    return contents(out)


def job(noisy, out, *, is_resumed=False):
    given = {"out": out, "device": "cpu", "threads": 1}
    if is_resumed:
        return denoise_files(denoise_request({"out": out, "resume": True}), StopToken())
    given |= {"noisy": [noisy], "preset": "fast", "steps": 6, "method": "n2v"}
    return denoise_files(denoise_request(given), StopToken())


def run_until(events, stage, happens):
    """Drive a job; when the first step of a stage is done, let something happen."""
    for event in events:
        if isinstance(event, StepDone) and event.stage == stage:
            happens()
            break
    drain(events)


def goes_on(noisy, out, expected):
    """Check that nothing partial is left, and that the run ends with equal bits."""
    check_whole(out)
    assert hidden(out) == []
    drain(job(noisy, out, is_resumed=True))
    assert differences(contents(out), expected) == []


@pytest.fixture
def drive(tmp_path):
    """A drive of 110 MB that can be filled and made read-only."""
    folder = tmp_path / "drive"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=110m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small drive")
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this computer does not allow to mount a small drive")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(drive):
    with (drive / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("stage", ["n2v", "denoise"])
def test_a_disk_that_runs_full_is_named_and_the_run_goes_on_later(
    noisy, expected, drive, stage
):
    out = drive / "run"
    with pytest.raises(CannotWrite, match="The disk is full"):
        run_until(job(noisy, out), stage, lambda: fill(drive))
    (drive / "filler").unlink()
    goes_on(noisy, out, expected)


def test_a_disk_that_is_too_small_is_refused_before_the_work(noisy, drive):
    (drive / "other").write_bytes(bytes(20_000_000))
    with pytest.raises(CannotWrite, match=r"need 100.* only .* are free"):
        drain(job(noisy, drive / "run"))


def test_a_drive_that_becomes_read_only_is_named_and_the_run_goes_on_later(
    noisy, expected, drive
):
    def remount(how):
        command = ["mount", "-o", f"remount,{how}", str(drive)]
        subprocess.run(command, check=True)

    out = drive / "run"
    with pytest.raises(CannotWrite, match="read-only"):
        run_until(job(noisy, out), "n2v", lambda: remount("ro"))
    with pytest.raises(CannotWrite, match="read-only"):
        drain(job(noisy, out, is_resumed=True))
    remount("rw")
    goes_on(noisy, out, expected)


@contextmanager
def no_file_larger_than(n_bytes):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_drive_that_takes_no_large_files_is_named_and_the_run_goes_on_later(
    noisy, expected, tmp_path
):
    out = tmp_path / "run"
    with (
        no_file_larger_than(20_000),
        pytest.raises(CannotWrite, match="no file of this size"),
    ):
        drain(job(noisy, out))
    goes_on(noisy, out, expected)


@pytest.mark.parametrize("what", ["vanishes", "is cut off"])
def test_an_image_that_goes_away_in_a_run_is_named_and_the_run_goes_on_later(
    noisy, expected, tmp_path, what
):
    copy, out = tmp_path / "noisy.tif", tmp_path / "run"
    content = noisy.read_bytes()
    copy.write_bytes(content)

    def spoil():
        if what == "vanishes":
            copy.unlink()
        else:
            copy.write_bytes(content[: len(content) // 2])

    words = "is no longer there" if what == "vanishes" else "is incomplete"
    with pytest.raises(BadFile, match=words):
        run_until(job(copy, out), "denoise", spoil)
    copy.write_bytes(content)
    goes_on(copy, out, expected)


class Stalling(LazyArray):
    """A drive that answers when it is let, or else not at all."""

    def __init__(self, pixels):
        self.pixels, self.shape, self.dtype = pixels, pixels.shape, pixels.dtype
        self.reads = 0
        self.is_asked, self.answers = threading.Event(), threading.Event()

    def __getitem__(self, index):
        self.reads += 1
        self.is_asked.set()
        self.answers.wait(60)
        return self.pixels[index]


def test_a_stalled_read_holds_nobody_else_and_a_stop_ends_it(noisy, tmp_path):
    pixels = np.asarray(open_image(noisy).data[...])
    stalling = Stalling(np.repeat(pixels, 20, axis=0))
    stop, config = StopToken(), preset("fast", method="n2v")
    frames = as_frames(stalling, "TYX")
    reader = threading.Thread(target=drain, args=(read_stack([frames], config, stop),))
    reader.start()
    assert stalling.is_asked.wait(60)
    # while it waits, another run goes through
    drain(job(noisy, tmp_path / "run"))
    assert reader.is_alive()
    stop.stop()
    stalling.answers.set()
    reader.join(60)
    assert not reader.is_alive()
    assert stalling.reads == 1
