"""The job that runs a denoiser over frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.inference import Passes, RegionEstimate
from napari_ppn2v.core.memory import release_memory
from napari_ppn2v.core.tile_size import SMALLEST_TILE, TileSize, cut_tiles
from napari_ppn2v.core.tiling import tile_step, tiles
from napari_ppn2v.errors import BadData
from napari_ppn2v.events import FrameDenoised, Notice, StepDone
from napari_ppn2v.pipeline.camera_maps import check_corrected

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

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
    BadData  If a frame cannot be read, or is so far from what the denoiser was trained
        on that its estimate is not finite.
    """
    check_corrected(denoiser.provenance, frames)
    size = TileSize(_not_too_many_samples(denoiser, tile_size))
    chosen = range(len(frames)) if part is None else part.frames
    window = None if part is None else (part.rows, part.columns)
    for done, index in enumerate(chosen):
        fitting = yield from _frame(denoiser, frames, index, sink, size, stop, window)
        if fitting is None:
            return done
        size = fitting
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
    size: TileSize,
    stop: StopToken,
    window: tuple[slice, slice] | None,
) -> Generator[Event, None, TileSize | None]:
    """Denoise one frame; return the tile size that fitted, None if stopped."""
    network = denoiser.network
    todo = list(tiles(frames.shape, size.side, network.halo, network.stride, window))
    done = 0
    while done < len(todo):
        if stop.is_stopped:
            return None
        rows, columns = todo[done]
        try:
            observation = frames.region(index, rows.read, columns.read)
            passes = denoiser.tile_passes(observation, rows, columns, share=size.share)
            estimate = yield from _tile(passes, done, len(todo), stop)
        except (RuntimeError, MemoryError) as error:
            size = size.smaller(error)
            todo = list(cut_tiles(todo[done:], size.side, frames.shape, network))
            done = 0
        else:
            if estimate is None:
                return None
            _check_finite(denoiser, estimate, observation, index, frames.name)
            sink(index, rows.keep, columns.keep, estimate)
            done += 1
            continue
        # here the error is gone, and with it what it held in memory
        release_memory()
        yield Notice(str(size), is_warning=True)
    return size


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


def _check_finite(
    denoiser: Denoiser,
    estimate: RegionEstimate,
    observation: NDArray[np.float32],
    index: int,
    name: str,
) -> None:
    """Keep values that are not finite out of results; raises BadData."""
    parts = (denoiser.result(estimate), estimate.posterior_std)
    if all(part is None or np.isfinite(part).all() for part in parts):
        return
    normal = denoiser.model.normalisation
    raise BadData(
        f"{name + ': ' if name else ''}The estimate of frame {index} is not finite. "
        f"Its grey values lie from {observation.min():.3g} to {observation.max():.3g}, "
        f"but the model was trained on {normal.mean:.3g} ± {normal.std:.3g}. Apply it "
        "to images of the same camera and settings, or train a model for these."
    )


def _not_too_many_samples(denoiser: Denoiser, tile_size: int) -> int:
    """Choose smaller tiles for hundreds of samples, so that a stop is soon seen."""
    if denoiser.estimate == "refined" or denoiser.noise_model is None:
        return tile_size
    side = int((SAMPLES_PER_TILE / denoiser.model.n_samples) ** 0.5)
    return min(tile_size, max(SMALLEST_TILE, side))
