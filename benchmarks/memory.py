"""Peak memory of `napari-ppn2v apply`, from TIFF to OME-TIFF, each in a new process.

Run `python benchmarks/memory.py`: one frame of 8192² and stacks of 2, 10 and 50 frames
of 1024². The model is untrained, which changes neither time nor memory.

This process must stay small: on Linux the peak of a child also counts what its parent
held when it was started, so whatever needs torch is done in children.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import add_shared_options, peak_memory_mb, report

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND_LINE = "from napari_ppn2v.cli import main; main()"
BAR_MB = 1500


@dataclass(frozen=True, slots=True)
class Case:
    """A stack of `n_frames` square frames of `side` pixels."""

    n_frames: int
    side: int

    @property
    def name(self) -> str:
        """Say it in words."""
        frames = "frame" if self.n_frames == 1 else "frames"
        return f"{self.n_frames} {frames} of {self.side}²"


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process used."""

    peak_mb: float
    wall: float
    cpu: float


def make_inputs(folder: Path, cases: Sequence[Case]) -> None:
    """Write the model and an image for each case; run in a process of its own."""
    import numpy as np
    import tifffile
    import torch

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import Blindness
    from napari_ppn2v.core.networks import UNetConfig
    from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
    from napari_ppn2v.files.model_file import save_model
    from speed import timing_noise_models

    torch.manual_seed(0)
    normalisation = Normalisation(260.0, 90.0)
    networks = [
        PriorNetwork(UNetConfig(), "gaussian", 8, normalisation).eval()
        for _ in range(2)
    ]
    denoiser = Denoiser(
        model=networks[0],
        refined=networks[1],
        noise_model=timing_noise_models()["gmm"],
        training_blindness=Blindness(4, "mean"),
        estimate="mmse",
        is_blind=False,
        reason="untrained, for measurements",
    )
    save_model(folder / "model.ppn2v", denoiser)
    rng = np.random.default_rng(0)
    for case in cases:
        with tifffile.TiffWriter(input_path(folder, case)) as writer:
            for _ in range(case.n_frames):
                frame = rng.poisson(60, (case.side, case.side)) * 2.2 + 100
                writer.write(frame.astype(np.uint16), contiguous=True)


def input_path(folder: Path, case: Case) -> Path:
    """Return where the image of a case lies."""
    return folder / f"{case.n_frames}x{case.side}.tif"


def measure(command: Sequence[str]) -> Measured:
    """Run a command to its end and read its peak resident memory.

    Raises
    ------
    RuntimeError  If it fails, with its output.
    """
    began = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            text = output.read().decode(errors="replace")
            raise RuntimeError(f"{command} failed:\n{text}")
    unit = 1e6 if sys.platform == "darwin" else 1e6 / 1024  # macOS counts in bytes
    return Measured(
        peak_mb=usage.ru_maxrss / unit,
        wall=time.perf_counter() - began,
        cpu=usage.ru_utime + usage.ru_stime,
    )


def apply_command(
    folder: Path, case: Case, *, estimate: str, blind: str, tile: int, threads: int
) -> list[str]:
    """Return the command line that denoises the image of a case."""
    options = {
        "--out": folder / f"{input_path(folder, case).stem}_denoised.ome.tif",
        "--axes": "YX" if case.n_frames == 1 else "TYX",
        "--estimate": estimate,
        "--blind": blind,
        "--tile-size": tile,
        "--threads": threads,
        "--device": "cpu",
    }
    given = [str(word) for pair in options.items() for word in pair]
    inputs = [str(folder / "model.ppn2v"), str(input_path(folder, case))]
    return [sys.executable, "-c", COMMAND_LINE, "apply", *inputs, *given]


def measure_cases(
    folder: Path, cases: Sequence[Case], settings: dict[str, Any]
) -> list[dict[str, Any]]:
    """Measure an empty run of the command line, then all cases; one row each."""
    listed = " ".join(f"{case.n_frames}x{case.side}" for case in cases)
    maker = [sys.executable, __file__, "--make-inputs", str(folder), "--cases"]
    subprocess.run([*maker, *listed.split()], check=True)
    imports = "import napari_ppn2v.pipeline.apply_job"
    rows = [_row("imports alone", measure([sys.executable, "-c", imports]), 0)]
    for case in cases:
        taken = measure(apply_command(folder, case, **settings))
        rows.append(_row(case.name, taken, case.n_frames * case.side**2))
        print(rows[-1], flush=True)
    return rows


def _row(name: str, taken: Measured, n_pixels: int) -> dict[str, Any]:
    per_megapixel = taken.wall / n_pixels * 1e6 if n_pixels else 0.0
    return {
        "what": name,
        "peak MB": round(taken.peak_mb),
        "under 1.5 GB": taken.peak_mb < BAR_MB,
        "wall s": taken.wall,
        "CPU s": taken.cpu,
        "wall s per megapixel, start included": per_megapixel,
    }


def parse_case(text: str) -> Case:
    """Read a case like 10x1024."""
    n_frames, side = (int(part) for part in text.split("x"))
    return Case(n_frames, side)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--side", type=int, default=8192, help="of the single frame")
    parser.add_argument("--stack-side", type=int, default=1024)
    parser.add_argument("--frames", type=int, nargs="*", default=[2, 10, 50])
    parser.add_argument("--estimate", default="mmse")
    parser.add_argument("--blind", choices=("yes", "no"), default="no")
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--make-inputs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--cases", nargs="*", default=[], help=argparse.SUPPRESS)
    add_shared_options(parser)
    options = parser.parse_args(arguments)
    if options.make_inputs:
        make_inputs(options.make_inputs, [parse_case(text) for text in options.cases])
        return
    cases = [Case(1, options.side)] if options.side else []
    cases += [Case(count, options.stack_side) for count in options.frames]
    settings = {
        "estimate": options.estimate,
        "blind": options.blind,
        "tile": options.tile,
        "threads": options.threads,
    }
    print(f"This process holds {peak_memory_mb():.0f} MB.", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_cases(Path(folder), cases, settings)
    how = "blind " if options.blind == "yes" else ""
    title = f"Peak resident memory of `apply`, {how}{options.estimate}"
    report(title, "memory", rows, options.out)


if __name__ == "__main__":
    main()
