"""The job that runs a denoiser over frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_ppn2v.core.inference import Passes, RegionEstimate
from napari_ppn2v.core.tiling import Span, tile_step, tiles
from napari_ppn2v.errors import OutOfMemory
from napari_ppn2v.events import FrameDenoised, Notice, StepDone
from napari_ppn2v.pipeline.camera_maps import check_corrected

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

SMALLEST_TILE = 32
SAMPLES_PER_TILE = 2**24  # prior samples; more take longer than a second

Sink = Callable[[int, slice, slice, RegionEstimate], None]
"""Takes (frame, rows, columns, estimate) of each tile, in any order."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a recording that is denoised by itself, with the pixels of the whole.

    `rows` and `columns` begin at multiples of `tile_side`.
    """

    frames: range
    rows: slice
    columns: slice


def denoise_frames(
    denoiser: Denoiser,
    frames: Frames,
    sink: Sink,
    *,
    tile_size: int,
    stop: StopToken,
    part: Part | None = None,
) -> Generator[Event, None, int]:
    """Denoise frame after frame, tile after tile; memory does not grow with either.

    Parameters
    ----------
    sink : receives each tile as soon as it is done
    tile_size : pixels; halved whenever memory runs out
    part : what is denoised, None for all

    Returns
    -------
    int
        Number of whole frames done, less than all if stopped.

    Raises
    ------
    OutOfMemory  If even the smallest tiles do not fit.
    BadSetting  If the denoiser was trained with camera maps, and the frames are as
        the camera wrote them.
    """
    check_corrected(denoiser.provenance, frames)
    tile_size = _not_too_many_samples(denoiser, tile_size)
    chosen = range(len(frames)) if part is None else part.frames
    window = None if part is None else (part.rows, part.columns)
    for done, index in enumerate(chosen):
        remaining = yield from _frame(
            denoiser, frames, index, sink, tile_size, stop, window
        )
        if remaining is None:
            return done
        tile_size = remaining
        yield FrameDenoised(index, len(frames))
    return len(chosen)


def tile_side(denoiser: Denoiser, tile_size: int) -> int:
    """Pixels from one tile to the next, as long as memory suffices."""
    size = _not_too_many_samples(denoiser, tile_size)
    return tile_step(size, denoiser.network.stride)


def _frame(
    denoiser: Denoiser,
    frames: Frames,
    index: int,
    sink: Sink,
    tile_size: int,
    stop: StopToken,
    window: tuple[slice, slice] | None,
) -> Generator[Event, None, int | None]:
    """Denoise one frame; return the tile size that fitted, None if stopped."""
    network = denoiser.network
    todo = list(tiles(frames.shape, tile_size, network.halo, network.stride, window))
    done = 0
    while done < len(todo):
        if stop.is_stopped:
            return None
        rows, columns = todo[done]
        observation = frames.region(index, rows.read, columns.read)
        try:
            estimate = yield from _tile(
                denoiser.tile_passes(observation, rows, columns), done, len(todo), stop
            )
        except (RuntimeError, MemoryError) as error:
            tile_size = _smaller(tile_size, error)
            yield Notice(
                f"Memory ran out. Going on with tiles of {tile_size} pixels.",
                is_warning=True,
            )
            todo = list(_cut(todo[done:], tile_size, frames.shape, denoiser))
            done = 0
            continue
        if estimate is None:
            return None
        sink(index, rows.keep, columns.keep, estimate)
        done += 1
    return tile_size


def _tile(
    passes: Passes, number: int, total: int, stop: StopToken
) -> Generator[Event, None, RegionEstimate | None]:
    """Denoise one tile pass after pass; None if stopped before the last one."""
    count, done = 0, 0.0
    while True:
        try:
            done = next(passes)
        except StopIteration as end:
            return end.value
        count += 1
        per_tile = max(1, round(count / done))
        yield StepDone("denoise", number * per_tile + count, total * per_tile)
        if stop.is_stopped and done < 1:
            passes.close()
            return None


def _not_too_many_samples(denoiser: Denoiser, tile_size: int) -> int:
    """Choose smaller tiles for hundreds of samples, so that a stop is soon seen."""
    if denoiser.estimate == "refined" or denoiser.noise_model is None:
        return tile_size
    side = int((SAMPLES_PER_TILE / denoiser.model.n_samples) ** 0.5)
    return min(tile_size, max(SMALLEST_TILE, side))


def _smaller(tile_size: int, error: BaseException) -> int:
    """Half the tile size, if the error was a lack of memory and that can help."""
    words = str(error).lower()
    is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "out of memory" in words or "can't allocate memory" in words
    )
    if not is_memory:
        raise error
    if tile_size // 2 < SMALLEST_TILE:
        raise OutOfMemory(
            f"Memory ran out even with tiles of {tile_size} pixels. Close other "
            "programs, or denoise on the CPU (device 'cpu')."
        ) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return tile_size // 2


def _cut(
    todo: list[tuple[Span, Span]],
    tile_size: int,
    shape: tuple[int, int],
    denoiser: Denoiser,
) -> Iterator[tuple[Span, Span]]:
    """Smaller tiles for exactly what the larger ones have not yet covered."""
    network = denoiser.network
    for rows, columns in todo:
        part = rows.keep, columns.keep
        yield from tiles(shape, tile_size, network.halo, network.stride, part)
