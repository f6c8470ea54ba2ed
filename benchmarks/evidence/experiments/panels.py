"""Results side by side (Krull et al. 2019, Fig. 4; Prakash et al. 2020, Fig. 2).

From the estimates that table1 keeps in its work folder, and from recordings without
truth in a folder that the user has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.data_sets import DATA_SETS, DataSet, NotPossible, Task, load
from evidence.filling import fill
from evidence.jobs import Job
from evidence.ledger import Ledger, Row, read_rows, write_rows
from evidence.methods import METHODS
from evidence.pictures import (
    Panel,
    busiest_window,
    detail,
    display_limits,
    keep_crops,
    panels_figure,
    read_crops,
)
from evidence.recordings import RECORDINGS, SHOWN, NoRecording, find_frames
from evidence.tables import NOT_RUN, write_page
from napari_ppn2v.core.metrics import psnr
from napari_ppn2v.figures.common import save_figure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

NAME = "panels"
TRUTH = "truth"
LABELS = {
    "noisy": "noisy",
    "bm3d": "BM3D",
    "n2v-published": "Noise2Void, published",
    "n2v-ours": "Noise2Void, ours",
    "n2n": "Noise2Noise",
    "care": "CARE",
    TRUTH: "truth",
    "gmm-bootstrapped-published": "PN2V, bootstrapped,\nas published",
    "gmm-calibrated-published": "PN2V, calibrated,\nas published",
    "gmm-bootstrapped-ours": "PN2V, bootstrapped,\nours",
    "gmm-calibrated-ours": "PN2V, calibrated,\nours",
    "auto-bootstrapped-ours": "PN2V, model chosen,\nours",
}
"""In the order of the picture, half of them in each of its two rows."""

CROP = 128
KEYS = ("recording", "method", "steps")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which data sets, and where recordings without truth are."""
    names = [name for name in DATA_SETS if name != "small"]
    parser.add_argument(
        "--data-sets", nargs="*", choices=list(DATA_SETS), default=names
    )
    parser.add_argument(
        "--recordings",
        type=_path,
        help=f"folder with any of the folders {', '.join(RECORDINGS)}",
    )
    parser.add_argument(
        "--steps", type=int, default=3000, help="of a training on a recording"
    )
    parser.add_argument("--frames", type=int, default=10, help="of each recording")
    parser.add_argument("--side", type=int, default=512, help="of their middle, pixels")
    parser.add_argument("--filters", type=int, default=16, help="of the U-Net")


def _path(text: str) -> Path:
    from pathlib import Path

    return Path(text).expanduser()


# --- Running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> None:
    """Cut parts out of the estimates that are there; denoise the recordings."""
    for name in options.data_sets:
        cut_out(name, options.data, options.work / "table1" / "estimates", options.out)
    if options.recordings is not None:
        _run_recordings(options)


def cut_out(name: str, data: Path, estimates: Path, out: Path) -> None:
    """Keep the same part of one image from all estimates of a data set.

    The image is the one of median noisy PSNR, the part the one of most detail.
    """
    if not list(estimates.glob(f"{name}-*.npz")):
        print(f"{name}: no pictures, as table1 has kept no estimates in {estimates}.")
        return
    source = load(data, name)
    task, index, place = _shown_part(source)
    number, truth = task.images[index], task.truth[index]
    peak = float(np.ptp(truth)) if source.data_range is None else source.data_range
    shared = {"data set": name, "label": source.label, "image": number}
    shared |= {"top": place[0].start, "left": place[1].start}
    crops, rows = {TRUTH: truth[place]}, [{**shared, "method": TRUTH, "psnr": ""}]
    for method in LABELS:
        if method == TRUTH:
            continue
        found = _estimate(source, method, number, place, estimates)
        row = {**shared, "method": method, "psnr": "", "missing": ""}
        if isinstance(found, str):
            row["missing"] = found
        else:
            crops[method] = found[place]
            row["psnr"] = psnr(found[place], truth[place], peak).mean
        rows.append(row)
    path = out / f"{NAME}-{name}.npz"
    path.unlink(missing_ok=True)  # an older part may lie elsewhere
    keep_crops(path, crops)
    others = [r for r in read_rows(out / f"{NAME}.csv") if r["data set"] != name]
    write_rows(out / f"{NAME}.csv", others + rows)


def _shown_part(source: DataSet) -> tuple[Task, int, tuple]:
    """Return a task, the index of the image of median noisy PSNR, and its part.

    The part lies in a region that supervised methods are scored on, if there are
    several.
    """
    task = source.tasks("classical")[0]
    scores = [
        psnr(noisy, truth, source.data_range or float(np.ptp(truth))).mean
        for noisy, truth in zip(task.scored, task.truth, strict=True)
    ]
    index = int(np.argsort(scores)[len(scores) // 2])
    truth = task.truth[index]
    places = []
    for other in source.tasks_of.get("supervised", (task,)):
        rows, columns = (
            region.indices(length)
            for region, length in zip(other.region, truth.shape, strict=True)
        )
        inner = busiest_window(truth[other.region], CROP)
        place = tuple(
            slice(first + part.start, first + part.stop)
            for first, part in zip((rows[0], columns[0]), inner, strict=True)
        )
        places.append(place)
    return task, index, max(places, key=lambda place: detail(truth[place]))


def _estimate(
    source: DataSet, method: str, number: int, place: tuple, folder: Path
) -> NDArray | str:
    """Return the estimate of an image, or why there is none."""
    try:
        tasks = source.tasks(METHODS[method].family)
    except NotPossible:
        return "not possible"
    for task in tasks:
        part = task.name.replace(" ", "-")
        path = folder / f"{source.name}-{method}-{part}.npz"
        if number in task.images and _covers(task, place) and path.exists():
            with np.load(path) as file:
                return file["estimates"][list(file["images"]).index(number)]
    return NOT_RUN


def _covers(task: Task, place: tuple) -> bool:
    """Whether the part lies in what the task is scored on."""
    shape = task.truth[0].shape
    for region, part, length in zip(task.region, place, shape, strict=True):
        first, last, _ = region.indices(length)
        if part.start < first or part.stop > last:
            return False
    return True


def _run_recordings(options: argparse.Namespace) -> None:
    ledger = Ledger(options.out / f"{NAME}-recordings.csv", KEYS)
    wanted = []
    for name in RECORDINGS:
        try:
            find_frames(options.recordings, name)
        except NoRecording as error:
            print(error)
            continue
        wanted += [_recording(name, method, options) for method in SHOWN]
    fill(ledger, wanted, options.workers, lambda job, result: [result])


def _recording(
    name: str, method: str, options: argparse.Namespace
) -> tuple[dict[str, Any], Job]:
    is_trained = METHODS[method].family != "classical"
    steps = options.steps if is_trained else 0
    key = dict(zip(KEYS, (name, method, steps), strict=True))
    arguments = {
        **key,
        "folder": str(options.recordings),
        "crops": str(options.out / f"{NAME}-{name}.npz"),
        "filters": options.filters,
        "n_frames": options.frames,
        "side": options.side,
    }
    return key, Job("recording", arguments)


# --- Reporting -------------------------------------------------------------------


def report(out: Path) -> None:
    """Draw a picture for each data set and recording."""
    rows = read_rows(out / f"{NAME}.csv")
    recordings = read_rows(out / f"{NAME}-recordings.csv")
    if not rows and not recordings:
        return
    names = list(dict.fromkeys(row["data set"] for row in rows))
    parts = [
        _draw(name, [r for r in rows if r["data set"] == name], out) for name in names
    ]
    for name, words in RECORDINGS.items():
        mine = [row for row in recordings if row["recording"] == name]
        heading = f"## {words[0].upper()}{words[1:]}\n\n"
        parts.append(heading + (_draw_recording(name, mine, out) if mine else NOT_RUN))
    write_page(out / f"{NAME}.md", "Results side by side", INTRODUCTION, *parts)


INTRODUCTION = (
    "The same part of one image in the same grey values: of each data set the image of "
    "median noise, and its part of most detail. Below each the PSNR of the part "
    "shown, with the range of the whole truth as its peak. The networks are those of "
    "the first repeat of [table1](table1.md)."
)


def _draw(name: str, rows: Sequence[Row], out: Path) -> str:
    crops = read_crops(out / f"{NAME}-{name}.npz")
    limits = display_limits(crops[TRUTH])
    by_method = {row["method"]: row for row in rows}
    panels = []
    for method, words in LABELS.items():
        row = by_method[method]
        caption = row["missing"] if row["psnr"] == "" else f"{row['psnr']:.2f} dB"
        panels.append(Panel(crops.get(method), words, caption, limits))
    half = len(panels) // 2
    title = f"{rows[0]['label']}, image {rows[0]['image']}"
    figure = panels_figure([panels[:half], panels[half:]], title, side=2.1)
    save_figure(figure, out / f"{NAME}-{name}.png")
    return f"## {rows[0]['label']}\n\n![]({NAME}-{name}.png)"


def _draw_recording(name: str, rows: Sequence[Row], out: Path) -> str:
    crops = read_crops(out / f"{NAME}-{name}.npz")
    by_method = {row["method"]: row for row in rows if row["method"] in crops}
    shown = [method for method in SHOWN if method in by_method]
    # the result of least noise shows the range of the signal
    limits = display_limits(crops[shown[-1]])
    panels = []
    for method in shown:
        seconds = by_method[method].get("predict CPU s per megapixel", "")
        caption = "" if seconds == "" else f"{seconds:.2g} CPU s per megapixel"
        panels.append(Panel(crops[method], LABELS[method], caption, limits))
    figure = panels_figure([panels], RECORDINGS[name], side=2.4)
    save_figure(figure, out / f"{NAME}-{name}.png")
    steps = {row["steps"] for row in rows if row["steps"]}
    trained = ", ".join(str(n) for n in sorted(steps)) or NOT_RUN
    return (
        f"No truth exists. Networks: {trained} steps on the middle of "
        f"{max(row['frames'] for row in rows)} frames.\n\n![]({NAME}-{name}.png)"
    )
