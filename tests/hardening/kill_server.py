"""A small process that runs the command line in forked children and kills them.

It imports everything once; a run then starts within milliseconds, so hundreds can be
killed in minutes. Orders come as lines of JSON on stdin, answers go to stdout:

    {"arguments": [...], "folder": "...", "seconds": 1.5, "operation": null}
    {"code": -9, "seconds": 1.5, "operations": null, "said": "..."}

A run is killed `seconds` after its start, or right before its n-th operation on files
of `folder` (an open for writing, a move, a removal, a new folder), whichever is given.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - loaded once, for the children
import torch
import zarr  # noqa: F401

import napari_ppn2v.cli.app
import napari_ppn2v.cli.pictures
import napari_ppn2v.cli.report
import napari_ppn2v.figures
import napari_ppn2v.pipeline.apply_job
import napari_ppn2v.pipeline.file_jobs
import napari_ppn2v.reports.make
from napari_ppn2v.files import checkpoints
from napari_ppn2v.pipeline import file_jobs

SECONDS_BETWEEN_CHECKPOINTS = 0.05
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


class Operations:
    """Counts operations on files below a folder; ends this process at one of them."""

    def __init__(self, folder: str, last: int | None) -> None:
        self.folder, self.last, self.count = folder, last, 0

    def __call__(self, event: str, details: tuple) -> None:
        if not (event in WRITES or (event == "open" and self._is_writing(details))):
            return
        if not str(details[0]).startswith(self.folder):
            return
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1

    @staticmethod
    def _is_writing(details: tuple) -> bool:
        return bool(details[2] & (os.O_WRONLY | os.O_RDWR))


def child(order: dict, output: int, counts: int) -> None:
    """Run one command line and leave; never returns."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    checkpoints.SECONDS_BETWEEN = SECONDS_BETWEEN_CHECKPOINTS
    file_jobs.SECONDS_BETWEEN_RECORDS = 0.0
    operations = Operations(order["folder"], order["operation"])
    sys.addaudithook(operations)
    code = 1
    try:
        napari_ppn2v.cli.app.app(order["arguments"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(counts, str(operations.count).encode())
        os._exit(code)


def run(order: dict) -> dict:
    """Start a run, kill it when it is time, and say how it ended."""
    readable, counts = os.pipe()
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        pid = os.fork()
        if not pid:
            child(order, output.fileno(), counts)
        os.close(counts)
        status = None
        while status is None:
            ended, found = os.waitpid(pid, os.WNOHANG)
            if ended:
                status = found
            elif order["seconds"] is not None and (
                time.monotonic() - began >= order["seconds"]
            ):
                os.kill(pid, signal.SIGKILL)
                _, status = os.waitpid(pid, 0)
            else:
                time.sleep(0.001)
        seconds = time.monotonic() - began
        output.seek(0)
        said = output.read().decode(errors="replace")
    counted = os.read(readable, 100)
    os.close(readable)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "operations": int(counted) if counted else None,
        "said": said,
    }


def main() -> None:
    """Answer orders until there are no more."""
    # what is chatty goes to stderr; answers have stdout for themselves
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        order = json.loads(line)
        order["folder"] = str(Path(order["folder"]).resolve())
        answers.write(json.dumps(run(order)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
