"""Recordings without truth, from a folder that the user has (Krull et al. 2019, 4.3).

The Noise2Void paper shows the cell-tracking recordings Fluo-C2DL-MSC and
Fluo-N2DH-GOWT1 and a cryo-TEM image. There is nothing to score: pictures and the time
that each method takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import cpu_seconds
from evidence.classical import FILTERS
from evidence.data_sets import Task
from evidence.methods import METHODS, NOISY, Size
from evidence.photograph_runs import estimate_words
from evidence.pictures import busiest_window, keep_crops
from evidence.training import predict, train
from napari_ppn2v.events import Event, Notice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Stack = NDArray[np.float32]

RECORDINGS = {
    "cryo-TEM": "cryo-TEM",
    "Fluo-C2DL-MSC": "stem cells (Fluo-C2DL-MSC)",
    "Fluo-N2DH-GOWT1": "GOWT1 nuclei (Fluo-N2DH-GOWT1)",
}
"""Folder -> words; cell-tracking folders hold 01, 02 and annotations of theirs."""

SHOWN = (NOISY.name, "bm3d", "n2v-published", "n2v-ours", "auto-bootstrapped-ours")
CROP = 128


class NoRecording(Exception):
    """A recording is not where it was looked for; the message says what to do."""


def find_frames(folder: Path, name: str) -> list[Path]:
    """Return the TIFF files of a recording, in order of their names.

    Of a cell-tracking set those of its first sequence, without annotations.

    Raises
    ------
    NoRecording  If there is none.
    """
    home = folder / name
    for place in (home / "01", home, home / name / "01"):
        found = sorted(p for p in place.glob("*") if p.suffix in (".tif", ".tiff"))
        if found:
            return found
    raise NoRecording(
        f"{RECORDINGS.get(name, name)} is left out: there are no TIFF files in {home} "
        f"nor in {home / '01'}. Download the recording, unpack it there, and run the "
        "command again."
    )


def read_frames(folder: Path, name: str, n_frames: int, side: int) -> Stack:
    """Read the middle of the first frames of a recording, (T, Y, X) float32.

    Raises
    ------
    NoRecording  If there is none, or its files hold no 2-D images.
    """
    from tifffile import imread

    frames: list[NDArray] = []
    for path in find_frames(folder, name):
        pixels = np.asarray(imread(path), np.float32)
        if pixels.ndim not in (2, 3):
            raise NoRecording(
                f"{name} is left out: {path.name} has axes of {pixels.shape}, but "
                "single images or stacks of images are needed."
            )
        frames += list(pixels.reshape(-1, *pixels.shape[-2:]))
        if len(frames) >= n_frames:
            break
    return np.stack([_middle(frame, side) for frame in frames[:n_frames]])


def _middle(frame: NDArray, side: int) -> NDArray:
    places = []
    for length in frame.shape:
        first = max(0, (length - side) // 2)
        places.append(slice(first, first + side))
    return frame[tuple(places)]


def run(
    folder: str,
    recording: str,
    method: str,
    steps: int,
    crops: str,
    filters: int,
    n_frames: int,
    side: int,
) -> dict[str, Any]:
    """Denoise a recording with one method and keep a part of its first frame.

    Parameters
    ----------
    n_frames, side : how many frames, and how much of the middle of each, pixels
    crops : file to which the part is added

    Returns
    -------
    Seconds, estimate, where the part lies, and what the program said.
    """
    frames = read_frames(Path(folder), recording, n_frames, side)
    notices: list[str] = []
    result: dict[str, Any] = {"frames": len(frames), "train CPU s": ""}
    if method == NOISY.name:
        estimate, told = frames[0], {"estimate": "as recorded"}
    elif method == "bm3d":
        estimate, told = _bm3d(frames)
    else:
        task = Task("all", frames, frames[:1], frames[:1], (0,))
        trained = train(
            METHODS[method],
            task,
            seed=0,
            n_steps=steps,
            size=Size(n_filters=filters),
            on_event=lambda event: _note(event, notices),
        )
        found, seconds = predict(trained.denoiser, task.scored)
        estimate = found[0]
        told = {
            "train CPU s": sum(trained.seconds.values()),
            "predict CPU s per megapixel": seconds,
            "estimate": estimate_words(trained.denoiser),
        }
    place = busiest_window(_smooth(frames[0]), CROP)
    keep_crops(Path(crops), {method: estimate[place]})
    result |= {"top": place[0].start, "left": place[1].start}
    return {**result, **told, "notices": " | ".join(notices)}


def _note(event: Event, notices: list[str]) -> None:
    if isinstance(event, Notice):
        notices.append(event.message)


def _smooth(frame: NDArray) -> NDArray:
    """Show where structures are, by an image in which noise does not count."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(frame, 3)


def _bm3d(frames: Stack) -> tuple[NDArray, dict[str, Any]]:
    """BM3D without a truth to choose parameters by: the strength is 1.

    After an Anscombe transform where the variance rises with the signal.
    """
    method = FILTERS["bm3d"].adapted_to(list(frames))
    has_line = any("gain" in dict(point) for point in method.grid)
    points = [
        point
        for point in method.grid
        if dict(point)["strength"] == 1.0 and ("gain" in dict(point)) == has_line
    ]
    began = cpu_seconds()
    estimate = method.apply(frames[0], points[0])
    seconds = (cpu_seconds() - began) / (frames[0].size / 1e6)
    how = "after an Anscombe transform" if has_line else "noise estimated"
    return estimate, {"predict CPU s per megapixel": seconds, "estimate": how}
