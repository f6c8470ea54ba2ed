"""The data check on real recordings, and how often it is right on simulated ones.

    python benchmarks/data_check.py FOLDER [--stacks 240] [--repeats 10] [--out ...]

`FOLDER` holds the data sets of the other benchmarks. Everything is drawn from one seed,
which is not the one that the thresholds were chosen with; the check itself draws
nothing.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_check_faults import FAULTS, Fault, covering
from data_check_page import NAME, write_results
from data_check_real import real_checks
from data_check_stacks import calibration, clean_recording
from evidence.ledger import read_rows
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.checking import glance
from napari_ppn2v.pipeline.data_check import DataCheck, check_calibration, check_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from evidence.ledger import Row

SEED = 407

QUESTIONS = (
    "clipping",
    "grey levels",
    "normalised values",
    "hot pixels",
    "rounding",
    "compression",
    "noise correlation",
    "fixed pattern",
    "correlation in time",
    "stripes",
    "noise by pixel",
    "steadiness",
    "signal range",
)
FIGURES = {
    "clipping": ("share at the low limit", "share at the high limit"),
    "grey levels": ("largest share of empty grey levels",),
    "hot pixels": ("share",),
    "rounding": ("noise in steps",),
    "compression": ("steps between squares", "frequencies rounded to zero"),
    "noise correlation": ("along x", "along y"),
    "fixed pattern": ("pattern over noise",),
    "correlation in time": ("frame to frame",),
    "stripes": ("rows over noise", "columns over noise"),
    "noise by pixel": ("spread of the variance",),
    "steadiness": ("added variance",),
    "signal range": ("share outside",),
}
"""The figures that a question is judged by."""


def row_of(check: DataCheck, **named: Any) -> Row:
    """Return verdicts and figures of a check as a row of the CSV file."""
    row: Row = {**named, "seconds": check.seconds, "overall": check.verdict}
    for question in QUESTIONS:
        finding = check.finding(question)
        row[question] = finding.verdict if finding else ""
        for figure in FIGURES.get(question, ()):
            value = finding.figures.get(figure, 0.0) if finding else ""
            row[f"{question}: {figure}"] = value
    return row


def stack_check(frames: NDArray) -> DataCheck:
    """Check one array of frames."""
    return drain(check_stack(as_frames(frames, "TYX")))


def calibration_check(frames: NDArray, images: NDArray | None = None) -> DataCheck:
    """Check one calibration recording, by itself or for images."""
    data = None if images is None else as_frames(images, "TYX")
    return drain(check_calibration(as_frames(frames, "TYX"), data))


def clean_rows(count: int) -> Iterator[Row]:
    """Check clean stacks, and half as many clean calibration recordings."""
    for index in range(count):
        rng = np.random.default_rng((SEED, 1, index))
        recording = clean_recording(rng)
        frames = recording.expose(rng)
        yield row_of(
            stack_check(frames),
            part="clean stack",
            name=recording.kind,
            index=index,
            motion=recording.motion,
            structure=recording.structure,
            shape=" x ".join(str(n) for n in frames.shape),
        )
    for index in range(count // 2):
        rng = np.random.default_rng((SEED, 2, index))
        recording = calibration(rng)
        frames = recording.expose(rng)
        yield row_of(
            calibration_check(frames),
            part="clean calibration",
            name=recording.kind,
            index=index,
            motion=recording.motion,
            structure=recording.structure,
            shape=" x ".join(str(n) for n in frames.shape),
        )
    yield from covered_rows(count // 2)


def covered_rows(count: int) -> Iterator[Row]:
    """Check calibrations a little brighter than the images that they are for."""
    for index in range(count):
        rng = np.random.default_rng((SEED, 4, index))
        recording = clean_recording(rng)
        frames = covering(recording, rng)
        yield row_of(
            calibration_check(frames, recording.expose(rng)),
            part="calibration with images",
            name=recording.kind,
            index=index,
            motion=recording.motion,
            structure=recording.structure,
            shape=" x ".join(str(n) for n in frames.shape),
        )


def fault_rows(fault: Fault, number: int, repeats: int) -> Iterator[Row]:
    """Check stacks with one fault, at each of its strengths."""
    for strength in fault.strengths:
        for index in range(repeats):
            rng = np.random.default_rng((SEED, 3, number, index))
            recording = (
                calibration(rng)
                if fault.subject == "calibration"
                else clean_recording(rng, motion=fault.motion)
            )
            frames = fault.make(recording, strength, rng)
            if fault.subject == "images":
                found = stack_check(frames)
            elif fault.subject == "calibration":
                found = calibration_check(frames)
            else:
                found = calibration_check(frames, recording.expose(rng))
            yield row_of(
                found,
                part="fault",
                name=fault.name,
                strength=strength,
                index=index,
                motion=recording.motion,
                structure=recording.structure,
                shape=" x ".join(str(n) for n in frames.shape),
            )


def real_rows(folder: Path) -> Iterator[Row]:
    """Check the recordings of the data folder, each with what is known of it."""
    for case in real_checks(folder):
        found = case.check()
        important = found.important
        yield row_of(
            found,
            part="real",
            name=case.name,
            told="; ".join(f"{each.name}: {each.verdict}" for each in important),
            known=case.known,
            as_known="yes" if case.is_right(found) else "no",
        )


def time_rows(repeats: int = 3) -> Iterator[Row]:
    """Time the check of 100 frames of 1024 x 1024 pixels, and the glance at them."""
    rng = np.random.default_rng(SEED)
    stack = rng.poisson(50, (100, 1024, 1024)).astype(np.uint16)
    for index in range(repeats):
        cpu = time.process_time()
        found = stack_check(stack)
        spent = time.process_time() - cpu
        yield row_of(found, part="time", name="check", index=index, cpu_seconds=spent)
        began, cpu = time.perf_counter(), time.process_time()
        drain(glance([as_frames(stack, "TYX")]))
        yield {
            "part": "time",
            "name": "before training",
            "index": index,
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - cpu,
        }


def main() -> None:
    """Run everything, and write CSV and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("docs") / "results")
    parser.add_argument("--stacks", type=int, default=240, help="clean stacks")
    parser.add_argument("--repeats", type=int, default=10, help="stacks per strength")
    parser.add_argument("--report", action="store_true", help="the page alone")
    options = parser.parse_args()
    if options.report:
        known = read_rows(options.out / f"{NAME}.csv")
        write_results(options.out, known, FAULTS, QUESTIONS)
        return
    rows: list[Row] = [*real_rows(options.data), *time_rows()]
    print(f"{len(rows)} real recordings and times", flush=True)
    rows += clean_rows(options.stacks)
    print(f"{len(rows)} rows with clean stacks", flush=True)
    for number, fault in enumerate(FAULTS):
        rows += fault_rows(fault, number, options.repeats)
    write_results(options.out, rows, FAULTS, QUESTIONS)
    print(f"{len(rows)} rows in {options.out}")


if __name__ == "__main__":
    main()
