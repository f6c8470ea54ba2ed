"""What all benchmarks share: data sets, scores, clocks, tables, the machine.

The data sets are read from a folder given by the caller; nothing here knows where
that is, and the tests of the package never need it.
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping, Sequence

BENCHMARKS = ("w2s", "bright", "tirf_scmos")

SCORED_REGION = (slice(160, 352), slice(160, 352))
"""Rows and columns of the crops on which short experiments are scored."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Noisy frames and their ground truth, which is for scoring only.

    Attributes
    ----------
    name
        One of `BENCHMARKS`.
    noisy, truth
        (T, Y, X) float32, ADU.
    """

    name: str
    noisy: np.ndarray
    truth: np.ndarray

    @property
    def scored_frames(self) -> range:
        """Every third frame from the second: 1, 4, …, 22 of 24."""
        return range(1, len(self.noisy), 3)

    @property
    def scored_region(self) -> tuple[slice, slice]:
        """The standard crop, or the complete frame where frames are smaller."""
        rows, columns = SCORED_REGION
        if self.noisy.shape[1] >= rows.stop and self.noisy.shape[2] >= columns.stop:
            return SCORED_REGION
        return slice(0, self.noisy.shape[1]), slice(0, self.noisy.shape[2])


def load_benchmark(folder: str | Path, name: str) -> Benchmark:
    """Read one data set from the folder that holds them all.

    Parameters
    ----------
    folder
        Folder with the sub-folders `w2s` and `tirf_scmos`.
    name
        `w2s` (real EMCCD, 24 frames), `bright` (the structures of `w2s` with
        simulated sCMOS noise) or `tirf_scmos` (20 repeats of a static scene).

    Raises
    ------
    ValueError  If the name is none of these.
    FileNotFoundError  If the folder does not hold the files.
    """
    folder = Path(folder)
    if name == "w2s":
        noisy = _read_stack(folder / "w2s" / "noisy_counts.tif")
        return Benchmark(name, noisy, _read_stack(folder / "w2s" / "gt_counts.tif"))
    if name == "bright":
        truth = _read_stack(folder / "w2s" / "gt_counts.tif")
        return Benchmark(name, *simulate_bright(truth))
    if name == "tirf_scmos":
        noisy = _read_stack(folder / "tirf_scmos" / "tirf_200Hz_20frames.tif")
        return Benchmark(name, noisy, mean_of_the_others(noisy))
    raise ValueError(
        f"{name!r} is no benchmark. Choose one of {', '.join(BENCHMARKS)}."
    )


def _read_stack(path: Path) -> np.ndarray:
    import tifffile

    return np.asarray(tifffile.imread(path), dtype=np.float32)


def simulate_bright(
    structures: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the ground truth of `w2s` into a bright sCMOS recording of the same scene.

    The dark level of `w2s` is 99.8 ADU and its EMCCD gives 6.4 ADU per electron; the
    scene is made 12 times brighter and recorded at 2.2 ADU per electron, offset
    100 ADU and 3.3 ADU of read noise. The order and types of the random draws are
    part of the data set's definition: the same seed gives the same file.

    Parameters
    ----------
    structures
        (T, Y, X) float32, ADU of `w2s`.

    Returns
    -------
    noisy, truth
        (T, Y, X) float32, ADU of the simulated camera.
    """
    offset, gain, read_noise = 100, 2.2, 3.3
    rng = np.random.default_rng(seed)
    electrons = np.clip(structures - 99.8, 0, None) / 6.4 * 12.0
    shot = rng.poisson(electrons)
    noisy = offset + gain * shot + rng.normal(0, read_noise, electrons.shape)
    truth = offset + gain * electrons
    return noisy.astype(np.float32), truth.astype(np.float32)


def mean_of_the_others(frames: np.ndarray) -> np.ndarray:
    """For each frame of a static scene the mean of all other frames, (T, Y, X).

    Leaving the frame itself out keeps its noise from counting as truth.
    """
    total = frames.sum(axis=0, dtype=np.float64)
    return ((total - frames) / (len(frames) - 1)).astype(np.float32)


def psnr(estimate: np.ndarray, truth: np.ndarray, peak: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB; the peak is the range of `truth` by default.

    Parameters
    ----------
    estimate, truth
        (Y, X), ADU.
    peak
        Given where only a crop is scored and the peak is that of the whole frame.
    """
    reference = truth.astype(np.float64)
    if peak is None:
        peak = float(reference.max() - reference.min())
    error = np.mean((estimate.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(peak**2 / error))


def mean_psnr(estimates: Iterable[np.ndarray], truths: Iterable[np.ndarray]) -> float:
    """Mean over images of the PSNR (dB), each with its own peak."""
    pairs = zip(estimates, truths, strict=True)
    return statistics.fmean(psnr(estimate, truth) for estimate, truth in pairs)


def crop_psnr(
    benchmark: Benchmark, estimate_crop: Callable[[np.ndarray, int], np.ndarray]
) -> float:
    """Mean PSNR (dB) on the scored crops; the peak is that of each complete truth.

    Parameters
    ----------
    estimate_crop
        Called with a complete noisy frame (Y, X) and its index; returns the estimate
        of `benchmark.scored_region` only.
    """
    scores = []
    for index in benchmark.scored_frames:
        truth = benchmark.truth[index]
        estimate = estimate_crop(benchmark.noisy[index], index)
        peak = float(truth.max() - truth.min())
        scores.append(psnr(estimate, truth[benchmark.scored_region], peak))
    return statistics.fmean(scores)


def cpu_seconds() -> float:
    """CPU seconds of this process, all threads together: the clock of equal budgets."""
    return time.process_time()


@dataclass(frozen=True, slots=True)
class PairTiming:
    """Seconds of two procedures that were run in turn.

    `ratio` says how many times faster `second` is, by the medians; `ratio_range` is
    the smallest and largest ratio of neighbouring runs.
    """

    first_seconds: float
    second_seconds: float
    ratio: float
    ratio_range: tuple[float, float]
    repeats: int


def measure_pair(
    first: Callable[[], object],
    second: Callable[[], object],
    *,
    repeats: int = 5,
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> PairTiming:
    """Time two procedures side by side, alternating so that load drift hits both.

    Parameters
    ----------
    first, second
        The slower (published) and the faster one, as a rule.
    repeats
        Timed runs of each; medians are reported.
    warm_up
        Runs of each that are not timed.
    clock
        `time.perf_counter` (wall) or `cpu_seconds`.
    """
    for _ in range(warm_up):
        first()
        second()
    runs = [
        (_seconds_of(first, clock), _seconds_of(second, clock)) for _ in range(repeats)
    ]
    first_seconds = statistics.median(run[0] for run in runs)
    second_seconds = statistics.median(run[1] for run in runs)
    ratios = [run[0] / run[1] for run in runs]
    return PairTiming(
        first_seconds=first_seconds,
        second_seconds=second_seconds,
        ratio=first_seconds / second_seconds,
        ratio_range=(min(ratios), max(ratios)),
        repeats=repeats,
    )


def _seconds_of(procedure: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    procedure()
    return clock() - start


def describe_machine() -> dict[str, Any]:
    """CPU model, cores, threads that torch uses and the versions that matter."""
    import torch

    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "torch threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    models = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()


def peak_memory_mb() -> float:
    """Highest resident memory of this process so far, in MB (10⁶ bytes)."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay rows out as a Markdown table; the first row names the columns."""
    columns = list(rows[0])
    lines = [_markdown_row(columns), _markdown_row(["---"] * len(columns))]
    lines += [_markdown_row([_shown(row[name]) for name in columns]) for row in rows]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write_csv(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV with full precision, columns as in the first row."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_markdown(
    path: str | Path, title: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Write a titled Markdown table with the machine it was measured on."""
    machine = "; ".join(f"{key}: {value}" for key, value in describe_machine().items())
    text = f"# {title}\n\n{markdown_table(rows)}\n{machine}\n"
    Path(path).write_text(text, encoding="utf-8")


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Give a program the options that all of them have: `--threads` and `--out`."""
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="threads of torch; with 1 (default) CPU seconds can be trusted on a "
        "machine that others use",
    )
    parser.add_argument("--out", type=Path, help="folder for CSV and Markdown tables")


def report(
    title: str, name: str, rows: Sequence[Mapping[str, Any]], out: Path | None
) -> None:
    """Print a table and, where `out` is a folder, write it there as CSV and Markdown.

    Parameters
    ----------
    name
        Of the files, without suffix.
    """
    print(f"\n{title}\n\n{markdown_table(rows)}", flush=True)
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / f"{name}.csv", rows)
    write_markdown(out / f"{name}.md", title, rows)


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall and CPU seconds of one procedure."""

    wall: float
    cpu: float


def seconds_of(procedure: Callable[[], object]) -> Seconds:
    """Run a procedure once and take both clocks."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    procedure()
    return Seconds(time.perf_counter() - wall, cpu_seconds() - cpu)
