"""Denoise opened images into result files, tile by tile."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import FrameDenoised, Notice
from napari_ppn2v.files.ome_zarr import VERSIONS, check_version
from napari_ppn2v.files.results import ResultWriter
from napari_ppn2v.files.zarr_writing import chunk_side_for
from napari_ppn2v.pipeline.denoising import denoise_frames, tile_side

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.cluster_job import ClusterSpread
    from napari_ppn2v.pipeline.inputs import OpenedImage
    from napari_ppn2v.stop import StopToken

DTYPES = ("float32", "same")


@dataclass(frozen=True)
class ResultTarget:
    """Names of what is written for one image; `posterior_std` is None if unwanted."""

    result: Path
    posterior_std: Path | None = None


@dataclass(frozen=True)
class WrittenResult:
    """What was written for one image.

    `clipped` counts pixels below and above the range of an integer type.
    """

    target: ResultTarget
    axes: str
    clipped: tuple[int, int]

    def as_plain(self) -> dict[str, Any]:
        """Return what the record of a run keeps of it."""
        std = self.target.posterior_std
        return {
            "file": self.target.result.name,
            "posterior_std": None if std is None else std.name,
            "axes": self.axes,
            "clipped_below_and_above": self.clipped,
        }


def written_before(
    item: dict[str, Any] | None, target: ResultTarget
) -> WrittenResult | None:
    """Return a result that a record holds as written, None if it is not there."""
    paths = (target.result, target.posterior_std)
    if item is None or not all(path is None or path.exists() for path in paths):
        return None
    below, above = item["clipped_below_and_above"]
    return WrittenResult(target, item["axes"], (below, above))


class _StoppedEarly(Exception):
    """The user stopped before all pixels of a result were there."""


def result_bytes(images: Sequence[OpenedImage], dtype: str, *, with_std: bool) -> int:
    """Size of all results on the disk."""
    total = 0
    for image in images:
        pixels = sum(len(f) * f.shape[0] * f.shape[1] for f in image.frames)
        total += pixels * _result_dtype(image, dtype).itemsize
        total += pixels * 4 * with_std
    return total


def check_ome_zarr_version(version: str, results: Sequence[Path]) -> None:
    """Refuse versions that cannot be written, or that no result would have.

    Raises
    ------
    BadSetting
    """
    check_version(version)
    others = [path.name for path in results if path.suffix.lower() != ".zarr"]
    if version != VERSIONS[0] and others:
        raise BadSetting(
            f"OME-Zarr {version} is asked for, but the result is {others[0]}. Name an "
            "output in .zarr, or leave out the version."
        )


def denoise_to_file(
    denoisers: Sequence[Denoiser],
    image: OpenedImage,
    target: ResultTarget,
    *,
    dtype: str,
    tile_size: int,
    provenance: Mapping[str, Any],
    stop: StopToken,
    spread: ClusterSpread | None = None,
    ome_zarr_version: str = VERSIONS[0],
) -> Generator[Event, None, WrittenResult | None]:
    """Denoise one image into its result file; memory does not grow with its frames.

    Parameters
    ----------
    denoisers : one for each channel of `image`, on the device to compute on
    dtype : "float32", or "same" for the type of the input (rounded and clipped)
    provenance : kept in the file
    spread : denoise on this Dask cluster, with the same result; None for here
    ome_zarr_version : of results in .zarr

    Yields
    ------
    StepDone for each tile, FrameDenoised for each frame, counted over channels.

    Returns
    -------
    WrittenResult, or None if stopped; then nothing is left under the final names.

    Raises
    ------
    BadData, BadSetting, CannotWrite, OutOfMemory
    """
    if target.posterior_std is not None:
        for denoiser in denoisers:
            denoiser.require_posterior_std()
    side = chunk_side_for(tile_side(denoisers[0], tile_size))
    of_zarr = {"chunk_side": side, "ome_zarr_version": ome_zarr_version}
    try:
        with ExitStack() as stack:
            kind = _result_dtype(image, dtype)
            writer = stack.enter_context(
                _writer(target.result, image, kind, provenance, of_zarr)
            )
            uncertainty = None
            if target.posterior_std is not None:
                kind = np.dtype("float32")
                uncertainty = stack.enter_context(
                    _writer(target.posterior_std, image, kind, provenance, of_zarr)
                )
            yield from _denoise_channels(
                denoisers, image, (writer, uncertainty), tile_size, stop, spread
            )
    except _StoppedEarly:
        return None
    if any(writer.clipped):
        yield Notice(_clipping(target.result, writer), is_warning=True)
    return WrittenResult(target, writer.axes, writer.clipped)


def _denoise_channels(
    denoisers: Sequence[Denoiser],
    image: OpenedImage,
    writers: tuple[ResultWriter, ResultWriter | None],
    tile_size: int,
    stop: StopToken,
    spread: ClusterSpread | None,
) -> Generator[Event, None, None]:
    if spread is None:
        for number, denoiser in enumerate(denoisers):
            yield from _denoise_channel(
                denoiser, image, number, writers, tile_size, stop
            )
        return
    is_done = yield from spread.denoise(denoisers, image, writers, tile_size, stop)
    if not is_done:
        raise _StoppedEarly


def _denoise_channel(
    denoiser: Denoiser,
    image: OpenedImage,
    number: int,
    writers: tuple[ResultWriter, ResultWriter | None],
    tile_size: int,
    stop: StopToken,
) -> Generator[Event, None, None]:
    frames = image.frames[number]
    writer, uncertainty = writers

    def sink(index: int, rows: slice, columns: slice, estimate: RegionEstimate) -> None:
        block = denoiser.result(estimate)
        writer.write(index, rows, columns, block, channel=number)
        if uncertainty is not None and estimate.posterior_std is not None:
            spread = estimate.posterior_std
            uncertainty.write(index, rows, columns, spread, channel=number)

    job = denoise_frames(denoiser, frames, sink, tile_size=tile_size, stop=stop)
    total = len(frames) * len(image.frames)
    for event in _to_the_end(job, len(frames)):
        if isinstance(event, FrameDenoised):
            event = FrameDenoised(number * len(frames) + event.index, total)
        yield event


def _to_the_end(
    job: Generator[Event, None, int], n_frames: int
) -> Generator[Event, None, None]:
    """Pass the events on, and leave the writers if the job was stopped."""
    done = yield from job
    if done < n_frames:
        raise _StoppedEarly


def _writer(
    path: Path,
    image: OpenedImage,
    dtype: np.dtype,
    provenance: Mapping[str, Any],
    of_zarr: Mapping[str, Any],
) -> ResultWriter:
    return ResultWriter(
        path,
        image.frames[0].layout,
        n_channels=image.n_result_channels,
        dtype=dtype,
        pixel_size=image.source.pixel_size,
        channel_names=image.channel_names,
        provenance=dict(provenance),
        **of_zarr,
    )


def _result_dtype(image: OpenedImage, dtype: str) -> np.dtype:
    if dtype not in DTYPES:
        raise BadSetting(
            f"The type of the result is '{dtype}'. Choose float32, or 'same' for that "
            "of the image."
        )
    return image.frames[0].dtype if dtype == "same" else np.dtype("float32")


def _clipping(path: Path, writer: ResultWriter) -> str:
    below, above = writer.clipped
    return (
        f"In {path.name}, {below} pixels below and {above} above the range of "
        f"{writer.dtype} were set to its limits. Write float32 to keep them."
    )
