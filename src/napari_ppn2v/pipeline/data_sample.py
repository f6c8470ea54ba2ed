"""Which part of recordings the check of data reads: enough to judge, in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.checks.sample import Sample
from napari_ppn2v.core.frames import evenly_spread
from napari_ppn2v.core.tiling import middle
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.frames import Frames

_RUN = 3  # frames that follow each other
_MOST_FRAMES = 960  # of small frames


@dataclass(frozen=True)
class Budget:
    """How much is read at most.

    Attributes
    ----------
    frames : of frames as large as the window; more of smaller ones
    read_side : pixels, of the window that is read and whose grey values are counted
    fine_side : pixels, of the middle of it, where the noise is measured
    groups : of recordings with different frame sizes, the largest ones
    """

    frames: int = 24
    read_side: int = 1024
    fine_side: int = 512
    groups: int = 4


_LARGEST = 1e15  # ADU

FULL = Budget()
BRIEF = Budget(frames=9, read_side=384, fine_side=384, groups=2)
"""For a glance before training."""


@dataclass(frozen=True)
class Part:
    """What is to be read of recordings with frames of equal size.

    Attributes
    ----------
    places : (recording, frame, time) of each frame to be read; frames of different
        recordings never follow each other in time
    window : rows and columns
    fine_side : see `Budget`
    shape, n_frames : of all of them
    """

    sources: tuple[Frames, ...]
    places: tuple[tuple[int, int, int], ...]
    window: tuple[slice, slice]
    fine_side: int
    shape: tuple[int, int]
    n_frames: int


def samples_of(sources: Sequence[Frames], budget: Budget) -> tuple[Part, ...]:
    """Plan what is read, largest recordings first; nothing is read yet."""
    groups: dict[tuple[int, int], list[Frames]] = {}
    for source in sources:
        groups.setdefault(source.shape, []).append(source)
    largest = sorted(groups.values(), key=_size, reverse=True)[: budget.groups]
    share = max(_RUN, budget.frames // len(largest))
    return tuple(_part(group, share, budget) for group in largest)


def _size(group: list[Frames]) -> int:
    height, width = group[0].shape
    return height * width * sum(len(source) for source in group)


def _part(group: list[Frames], n_frames: int, budget: Budget) -> Part:
    shape = group[0].shape
    rows, columns = (middle(length, budget.read_side) for length in shape)
    area = min(shape[0], budget.fine_side) * min(shape[1], budget.fine_side)
    n_frames = min(_MOST_FRAMES, n_frames * budget.fine_side**2 // area)
    places = [(number, index, time) for time, (number, index) in _in_time(group)]
    chosen = _runs(len(places), n_frames)
    return Part(
        tuple(group),
        tuple(places[index] for index in chosen),
        (rows, columns),
        budget.fine_side,
        shape,
        len(places),
    )


def _in_time(group: list[Frames]) -> Generator[tuple[int, tuple[int, int]], None, None]:
    time = 0
    for number, source in enumerate(group):
        for index in range(len(source)):
            yield time, (number, index)
            time += 1
        time += 1


def _runs(count: int, wanted: int) -> list[int]:
    """Numbers of `wanted` of `count` frames, in runs of three spread evenly."""
    if count <= wanted:
        return list(range(count))
    n_runs = max(1, wanted // _RUN)
    firsts = evenly_spread(count - _RUN + 1, n_runs)
    return sorted({first + step for first in firsts for step in range(_RUN)})


def read_part(part: Part) -> Generator[Sample, None, None]:
    """Read frame by frame; what is yielded holds all those read so far.

    Raises
    ------
    BadData  If the source fails, or a frame holds values that are not finite or no
        grey values.
    """
    rows, columns = part.window
    size = (rows.stop - rows.start, columns.stop - columns.start)
    frames = np.empty((len(part.places), *size), np.float32)
    times = np.array([time for _, _, time in part.places])
    dtype = part.sources[0].dtype
    for number, (source, index, _) in enumerate(part.places):
        pixels = part.sources[source].region(index, rows, columns)
        _check_size(pixels, index, part.sources[source].name)
        frames[number] = pixels
        yield Sample(frames[: number + 1], times[: number + 1], dtype)


def _check_size(pixels: NDArray[np.float32], index: int, name: str) -> None:
    """Refuse values whose squares overflow; raises BadData."""
    largest = float(np.abs(pixels).max())
    if largest > _LARGEST:
        raise BadData(
            f"{name + ': ' if name else ''}Frame {index} holds a value of {largest:.3g}"
            ", which is no grey value of any camera. Check that the pixel type was "
            "read correctly, and mask single pixels of an extreme value."
        )
