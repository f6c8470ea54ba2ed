"""Cost as the work grows: more frames, larger frames, from file to file.

Reading, writing and denoising 10 to 10 000 frames, and sides of 256 to 8192 pixels, in
CPU seconds and peak memory, each case in a process of its own:

    python benchmarks/scale.py --out docs/results     # about 6 minutes of one core
    python benchmarks/scale.py --draw docs/results    # page and figure again

The model is untrained, which changes neither time nor memory. CPU seconds are those of
the work, without starting Python and loading packages; the peak is that of the process.
This process must stay small: on Linux the peak of a child also counts what its parent
held when it was started.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import add_shared_options, markdown_table, write_csv
from memory import measure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FRAMES = (10, 100, 1000, 10_000)
SIDES = (256, 512, 1024, 2048, 4096, 8192)
FORMATS = {"TIFF": ".ome.tif", "Zarr": ".zarr"}
TASKS = ("write", "read", "denoise")
NAME, TITLE = "scale", "Cost as the work grows"
TILE = 512


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: what is done with `frames` frames of `side`² pixels."""

    task: str
    format: str
    frames: int
    side: int

    @property
    def megapixels(self) -> float:
        """Size of the work."""
        return self.frames * self.side**2 / 1e6

    def path(self, folder: Path, stem: str = "noisy") -> Path:
        """Where its recording lies."""
        return folder / f"{stem}_{self.frames}x{self.side}{FORMATS[self.format]}"


def write(case: Case, folder: Path, settings: dict[str, Any]) -> Callable[[], object]:
    """Prepare writing a recording of uint16, frame by frame."""
    import numpy as np

    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.files.results import ResultWriter

    rng = np.random.default_rng(0)
    frame = (100 + 2.2 * rng.poisson(60, (case.side, case.side))).astype(np.float32)
    layout = AxisLayout("TYX", (case.frames, case.side, case.side))

    def work() -> None:
        with ResultWriter(case.path(folder), layout, dtype=np.uint16) as writer:
            for index in range(case.frames):
                # a shift makes frames differ at next to no cost
                writer.write_frame(index, np.roll(frame, index, axis=1))

    return work


def read(case: Case, folder: Path, settings: dict[str, Any]) -> Callable[[], object]:
    """Prepare reading a recording, frame by frame."""
    from napari_ppn2v.core.frames import as_frames
    from napari_ppn2v.files.images import open_image

    def work() -> float:
        source = open_image(case.path(folder))
        return sum(float(frame[0, 0]) for frame in as_frames(source.data, source.axes))

    return work


def denoise(case: Case, folder: Path, settings: dict[str, Any]) -> Callable[[], object]:
    """Prepare denoising a recording into a file of the same format."""
    from napari_ppn2v.events import drain
    from napari_ppn2v.pipeline.apply_job import ApplyRequest, apply_files
    from napari_ppn2v.pipeline.config import InferenceConfig
    from napari_ppn2v.stop import StopToken

    request = ApplyRequest(
        model=folder / "model.ppn2v",
        images=(case.path(folder),),
        out=case.path(folder, "denoised"),
        inference=InferenceConfig(
            estimate=settings["estimate"], blind=settings["blind"], tile_size=TILE
        ),
        device="cpu",
        threads=settings["threads"],
    )
    return lambda: drain(apply_files(request, StopToken()))


def make_model(folder: Path) -> None:
    """Write an untrained model of the default size; run in a process of its own."""
    from memory import make_inputs

    make_inputs(folder, ())


def child(case: Case, folder: Path, settings: dict[str, Any]) -> None:
    """Do one case and leave its seconds in a file."""
    prepared = {"write": write, "read": read, "denoise": denoise}[case.task]
    work = prepared(case, folder, settings)
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    taken = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
    }
    (folder / "taken.json").write_text(json.dumps(taken), encoding="utf-8")


def measured(case: Case, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Run one case in a process and return its row."""
    words = json.dumps([asdict(case), str(folder), settings])
    used = measure([sys.executable, __file__, "--child", words])
    taken = json.loads((folder / "taken.json").read_text(encoding="utf-8"))
    row = {
        **asdict(case),
        "megapixels": case.megapixels,
        "CPU s": taken["cpu"],
        "CPU s per megapixel": taken["cpu"] / case.megapixels,
        "wall s": taken["wall"],
        "peak MB": round(used.peak_mb),
    }
    print(row, flush=True)
    return row


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all cases; recordings are removed as soon as they are done with."""
    sizes = [(frames, options.side) for frames in options.frames]
    sizes += [(1, side) for side in options.sides]
    cases = [(f, s, form) for f, s in sizes for form in FORMATS]
    cases = [case for case in cases if not _is_left_out(*case, options)]
    settings = {
        "estimate": options.estimate,
        "blind": options.blind,
        "threads": options.threads,
    }
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(
            [sys.executable, __file__, "--make-model", str(folder)], check=True
        )
        for frames, side, form in cases:
            for task in TASKS:
                case = Case(task, form, frames, side)
                rows.append(measured(case, folder, settings))
                if options.out:
                    write_csv(options.out / f"{NAME}.csv", rows)
            for stem in ("noisy", "denoised"):
                _remove(case.path(folder, stem))
    return rows


def _is_left_out(
    frames: int, side: int, form: str, options: argparse.Namespace
) -> bool:
    return form == "Zarr" and frames > options.zarr_frames


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw CPU seconds and peak memory against frames and sides, log-log."""
    from matplotlib.figure import Figure

    side = next(int(row["side"]) for row in rows if int(row["frames"]) > 1)
    columns = (
        ("frames", f"number of frames of {side} x {side} pixels", "frames"),
        ("sides", "side of one frame, pixels", "side"),
    )
    colours = {"write": "#0072b2", "read": "#009e73", "denoise": "#d55e00"}
    figure = Figure(figsize=(9, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for column, (kind, label, key) in enumerate(columns):
        swept = [row for row in rows if (int(row["frames"]) > 1) == (kind == "frames")]
        for form, style in (("TIFF", "-o"), ("Zarr", "--s")):
            for task in TASKS:
                chosen = [r for r in swept if (r["task"], r["format"]) == (task, form)]
                for line, value in enumerate(("CPU s", "peak MB")):
                    axes[line, column].loglog(
                        [int(row[key]) for row in chosen],
                        [float(row[value]) for row in chosen],
                        style,
                        color=colours[task],
                        markersize=4,
                        label=f"{task} {form}",
                    )
        x = sorted({int(row[key]) for row in swept})
        axes[1, column].set_xlabel(label)
        axes[1, column].set_xticks(x, [str(value) for value in x])
        axes[1, column].minorticks_off()
        longest = max(swept, key=lambda row: float(row["CPU s"]))
        power = 1 if kind == "frames" else 2
        y = [float(longest["CPU s"]) * (v / int(longest[key])) ** power for v in x]
        name = "in proportion to the pixels"
        axes[0, column].plot(x, y, ":", color="0.5", label=name, zorder=0)
    axes[0, 0].set_ylabel("CPU time of the work, s")
    axes[0, 0].set_ylim(0.005, 100)
    axes[1, 0].set_ylabel("peak memory of the process, MB")
    axes[1, 0].set_ylim(20, 2000)
    for one in axes.flat:
        one.grid(visible=True, alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=120)


def page(rows: Sequence[dict[str, Any]], command: str, machine: str) -> str:
    """Return the Markdown page."""
    whole = "--side 256 --zarr-frames 10000 --estimate mmse --blind yes"
    return (
        f"# {TITLE}\n\n<!-- Made from the CSV file beside it. -->\n\n"
        f"![CPU time and peak memory against frames and sides]({NAME}.png)\n\n"
        "Reading, writing (uint16) and denoising with an untrained model of the "
        f"default size, in tiles of {TILE} pixels and one thread, each case in a "
        "process of its own. CPU time is that of the work, without starting Python "
        "and loading packages, which takes some seconds; the peak is that of the "
        "whole process, of which loading the packages is the flat part. Reading and "
        "writing hand over whole frames; denoising works tile by tile, but looks at "
        "whole frames once, to compare their range with that of the model. Dotted: in "
        "proportion to the pixels. Zarr results of frames larger than 1024 pixels "
        "include their smaller levels.\n\n"
        f"Made by `{command}`. Reduced to fit one core: small frames in the sweep of "
        "their number, Zarr up to 1000 of them, one estimate (the refined network), "
        f"one run of each. At full size: `{command} {whole}`.\n\n"
        f"{markdown_table(rows)}\n{machine}\n"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write the tables and draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--frames", type=int, nargs="*", default=list(FRAMES))
    parser.add_argument("--side", type=int, default=64, help="of those frames")
    parser.add_argument(
        "--zarr-frames", type=int, default=1000, help="most frames in Zarr"
    )
    parser.add_argument("--sides", type=int, nargs="*", default=list(SIDES))
    parser.add_argument("--estimate", default="refined")
    parser.add_argument("--blind", choices=("yes", "no"), default="no")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="the figure again")
    parser.add_argument("--make-model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    add_shared_options(parser)
    options = parser.parse_args(arguments)
    if options.child:
        case, folder, settings = json.loads(options.child)
        child(Case(**case), Path(folder), settings)
    elif options.make_model:
        make_model(options.make_model)
    elif options.draw:
        finish(read_rows(options.draw), options.draw)
    else:
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
        rows = run(options)
        print(markdown_table(rows))
        if options.out:
            finish(rows, options.out)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Read the table again, figures as numbers."""
    with (folder / f"{NAME}.csv").open(encoding="utf-8", newline="") as file:
        return [
            {k: v if k in ("task", "format") else _number(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


def _number(text: str) -> float | int:
    return int(text) if text.isdecimal() else float(text)


def finish(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Draw the figure and write the page; loads torch to describe the machine."""
    from common import describe_machine

    machine = "; ".join(f"{key}: {value}" for key, value in describe_machine().items())
    command = f"python benchmarks/scale.py --out {folder.as_posix()}"
    text = page(rows, command, machine)
    (folder / f"{NAME}.md").write_text(text, encoding="utf-8")
    draw(rows, folder / f"{NAME}.png")


if __name__ == "__main__":
    main()
