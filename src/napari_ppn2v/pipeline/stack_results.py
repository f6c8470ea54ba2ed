"""Denoise stacks in memory with trained models, into arrays in the user's axes."""

from __future__ import annotations

import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from napari_ppn2v.core.conversion import as_dtype
from napari_ppn2v.errors import BadData
from napari_ppn2v.events import FrameDenoised, Notice, StageFinished, StageStarted
from napari_ppn2v.pipeline.denoising import denoise_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.stack_request import StackRequest
    from napari_ppn2v.stop import StopToken

MOST_OF_MEMORY = 0.3  # share of what is free, above which results go to a file


@dataclass(frozen=True)
class StackResult:
    """A denoised stack.

    Attributes
    ----------
    image : in the axes `axes`, ADU
    axes : those of the observation, without C where one channel was denoised
    posterior_std, residual : float32 in the same axes, None where not asked for
    clipped : number of pixels below and above the range of an integer type
    """

    image: NDArray
    axes: str
    posterior_std: NDArray[np.float32] | None = None
    residual: NDArray[np.float32] | None = None
    clipped: tuple[int, int] = (0, 0)


def apply_to_stack(
    denoisers: Sequence[Denoiser],
    request: StackRequest,
    stop: StopToken,
    *,
    device: torch.device,
) -> Generator[Event, None, StackResult | None]:
    """Denoise a stack with trained models, one for each channel of the request.

    Returns
    -------
    StackResult, or None if stopped.

    Raises
    ------
    BadData, BadSetting, OutOfMemory
    """
    with_std = request.config.inference.posterior_std
    sources = [request.observation.frames(c) for c in request.channels]
    n_channels = len(sources) if request.is_put_together else None
    layout = sources[0].layout.of_result(n_channels)
    target = _Target(layout, _result_dtype(request, sources[0]), with_std, request)
    total = sum(len(frames) for frames in sources)
    yield StageStarted("denoise", total)
    began = time.perf_counter()
    for number, (denoiser, frames) in enumerate(zip(denoisers, sources, strict=True)):
        if with_std:
            denoiser.require_posterior_std()
        job = denoise_frames(
            denoiser.to(device),
            frames,
            target.sink(denoiser, frames, number),
            tile_size=request.config.inference.tile_size,
            stop=stop,
        )
        done = yield from _counted(job, number * len(frames), total)
        if done < len(frames):
            return None
    yield StageFinished("denoise", time.perf_counter() - began)
    if any(target.clipped):
        yield Notice(_clipping(target), is_warning=True)
    return StackResult(
        target.arrays["image"],
        layout.axes,
        target.arrays.get("posterior_std"),
        target.arrays.get("residual"),
        target.clipped,
    )


def _counted(
    job: Generator[Event, None, int], before: int, total: int
) -> Generator[Event, None, int]:
    """Count the frames of several channels on."""
    while True:
        try:
            event = next(job)
        except StopIteration as end:
            return end.value
        if isinstance(event, FrameDenoised):
            event = FrameDenoised(before + event.index, total)
        yield event


class _Target:
    """The arrays of a result, filled tile by tile in the user's axes."""

    def __init__(
        self,
        layout: AxisLayout,
        dtype: np.dtype,
        with_std: bool,
        request: StackRequest,
    ) -> None:
        self.layout, self.dtype = layout, dtype
        self.clipped = (0, 0)
        floats = np.dtype(np.float32)
        wanted = {"image": dtype}
        if with_std:
            wanted["posterior_std"] = floats
        if request.with_residual:
            wanted["residual"] = floats
        self.arrays = {name: _new_array(layout.shape, t) for name, t in wanted.items()}

    def sink(
        self, denoiser: Denoiser, frames: Frames, channel: int
    ) -> Callable[[int, slice, slice, RegionEstimate], None]:
        """Return what takes the tiles of one channel."""

        def take(
            index: int, rows: slice, columns: slice, estimate: RegionEstimate
        ) -> None:
            where = self.layout.index(index, rows, columns, channel=channel)
            block = denoiser.result(estimate)
            _check_finite(block, index)
            kept, below, above = as_dtype(block, self.dtype)
            self.clipped = (self.clipped[0] + below, self.clipped[1] + above)
            self._put("image", where, kept)
            if "posterior_std" in self.arrays and estimate.posterior_std is not None:
                self._put("posterior_std", where, estimate.posterior_std)
            if "residual" in self.arrays:
                seen = frames.region(index, rows, columns)
                self._put("residual", where, seen - block)

        return take

    def _put(self, name: str, where: Any, block: NDArray) -> None:
        self.arrays[name][where] = block.T if self.layout.is_transposed else block


def _new_array(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """Return an array; one that memory cannot hold well lies in a temporary file.

    The map outlives the open file, and the file vanishes with the map.
    """
    n_bytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if n_bytes <= MOST_OF_MEMORY * psutil.virtual_memory().available:
        return np.empty(shape, dtype)
    with (
        _words_for_a_full_disk(n_bytes),
        tempfile.TemporaryFile(prefix="napari-ppn2v-") as file,
    ):
        file.truncate(n_bytes)
        return np.memmap(file, dtype=dtype, mode="r+", shape=shape)


@contextmanager
def _words_for_a_full_disk(n_bytes: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadData(
            f"The result needs {n_bytes / 1e9:.1f} GB, more than memory holds, and "
            f"cannot be kept on the disk either ({error.strerror}). Denoise fewer "
            "frames, or use the command line, which writes to a file you choose."
        ) from error


def _check_finite(block: NDArray, index: int) -> None:
    wrong = block.size - int(np.isfinite(block).sum())
    if wrong:
        raise BadData(
            f"The result of frame {index} holds {wrong} values that are not finite. "
            "Please report this with the settings used."
        )


def _result_dtype(request: StackRequest, frames: Frames) -> np.dtype:
    if request.dtype == "same":
        return frames.dtype.newbyteorder("=")
    return np.dtype(np.float32)


def _clipping(target: _Target) -> str:
    below, above = target.clipped
    return (
        f"{below} pixels below and {above} above the range of {target.dtype} were set "
        "to its limits. Choose float32 to keep them."
    )
