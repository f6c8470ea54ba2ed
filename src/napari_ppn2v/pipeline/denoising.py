"""The job that runs a denoiser over frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from napari_ppn2v.core.inference import Passes, RegionEstimate
from napari_ppn2v.core.tiling import Span, tiles
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


def denoise_frames(
    denoiser: Denoiser,
    frames: Frames,
    sink: Sink,
    *,
    tile_size: int,
    stop: StopToken,
) -> Generator[Event, None, int]:
    """Denoise frame after frame, tile after tile; memory does not grow with either.

    Parameters
    ----------
    sink : receives each tile as soon as it is done
    tile_size : pixels; halved whenever memory runs out

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
    network = denoiser.network
    tile_size = _not_too_many_samples(denoiser, tile_size)
    for index in range(len(frames)):
        todo = list(tiles(frames.shape, tile_size, network.halo, network.stride))
        done = 0
        while done < len(todo):
            if stop.is_stopped:
                return index
            rows, columns = todo[done]
            observation = frames.region(index, rows.read, columns.read)
            try:
                estimate = yield from _tile(
                    denoiser.tile_passes(observation, rows, columns),
                    done,
                    len(todo),
                    stop,
                )
            except (RuntimeError, MemoryError) as error:
                tile_size = _smaller(tile_size, error)
                yield Notice(
                    f"Memory ran out. Going on with tiles of {tile_size} pixels.",
                    is_warning=True,
                )
                todo = list(_left(todo[done:], tile_size, frames.shape, denoiser))
                done = 0
                continue
            if estimate is None:
                return index
            sink(index, rows.keep, columns.keep, estimate)
            done += 1
        yield FrameDenoised(index, len(frames))
    return len(frames)


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


def _left(
    todo: list[tuple[Span, Span]],
    tile_size: int,
    shape: tuple[int, int],
    denoiser: Denoiser,
) -> Iterator[tuple[Span, Span]]:
    """Smaller tiles for what the larger ones have not yet covered."""
    network = denoiser.network
    missing = [(rows.keep, columns.keep) for rows, columns in todo]
    for rows, columns in tiles(shape, tile_size, network.halo, network.stride):
        if any(_overlap(rows, r) and _overlap(columns, c) for r, c in missing):
            yield rows, columns


def _overlap(span: Span, kept: slice) -> bool:
    return span.keep_start < kept.stop and kept.start < span.keep_stop
