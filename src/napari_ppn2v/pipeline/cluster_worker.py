"""What runs on the workers of a Dask cluster: one block of a recording after another.

A worker opens the images by their path, and loads the model from the bytes of a model
file with the reader that runs no code from it. Both are kept from block to block.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_ppn2v.core.devices import choose_devices, describe_device, threads
from napari_ppn2v.errors import BadFile
from napari_ppn2v.events import drain
from napari_ppn2v.files.camera_maps import load_camera_maps
from napari_ppn2v.files.model_file import MODEL_SUFFIX, load_model
from napari_ppn2v.pipeline.camera_maps import corrected_images
from napari_ppn2v.pipeline.denoising import Part, denoise_frames
from napari_ppn2v.pipeline.inputs import open_noisy
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.core.camera_maps import CommonCamera
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.files.result_blocks import SharedResult, WrittenBlock
    from napari_ppn2v.pipeline.inputs import OpenedImage

T = TypeVar("T")

KEPT = 4
"""Models, and recordings, that a worker keeps open."""


@dataclass(frozen=True)
class SharedImage:
    """A recording as every worker opens it; see `open_noisy` for the words."""

    path: str
    axes: str | None
    channel: int | str | None
    frames: str
    camera_maps: tuple[str, ...]
    camera: CommonCamera | None
    layout: AxisLayout
    dtype: str


@dataclass(frozen=True)
class SharedJob:
    """What all blocks of one channel have in common.

    Attributes
    ----------
    run : name of the run, by which it is stopped
    number : which of the channels to be denoised
    model : SHA-256 of the model file
    results : Zarr results to write the image (and the uncertainty) into; empty where
        the blocks are sent back
    """

    run: str
    image: SharedImage
    number: int
    model: str
    device: str
    threads: int
    tile_size: int
    with_std: bool
    results: tuple[SharedResult, ...]


@dataclass(frozen=True)
class BlockDone:
    """One block that a worker has done.

    Attributes
    ----------
    blocks : images (frames, rows, columns) sent back; empty if written there
    written : what was written into each result, empty if sent back
    where : device and its number format, in words
    """

    blocks: tuple[np.ndarray, ...]
    written: tuple[tuple[WrittenBlock, ...], ...]
    where: str


def denoise_block(job: SharedJob, part: Part, *model: bytes) -> BlockDone | None:
    """Denoise one block, and write it or send it back; None if the run is stopped.

    Parameters
    ----------
    model : the content of the model file, in pieces

    Raises
    ------
    PPN2VError  One of its kinds.
    """
    stop = _stop_of(job.run)
    device = device_of_worker(job.device, _worker_name())
    with threads(job.threads):
        denoiser = _KEPT_MODELS.get(
            (job.model, str(device)), lambda: _model(job.model, model).to(device)
        )
        image = _KEPT_IMAGES.get((job.run, job.image), lambda: _opened(job.image))
        frames = image.frames
        blocks = _denoised(denoiser, frames[job.number], part, job, stop)
        if blocks is None:
            return None
        where = describe_device(device)
    if not job.results:
        return BlockDone(blocks, (), where)
    written = tuple(
        tuple(
            result.write(index, part.rows, part.columns, image, channel=job.number)
            for index, image in zip(part.frames, block, strict=True)
        )
        for result, block in zip(job.results, blocks, strict=True)
    )
    return BlockDone((), written, where)


def device_of_worker(device: str, worker: object) -> torch.device:
    """Return the device on which a worker computes.

    Parameters
    ----------
    device : as for `choose_devices`; of several, each worker takes the next one in turn
    worker : its name; those that a run starts are called 0, 1, 2..., and others, which
        may be on different computers, all take the first device

    Raises
    ------
    BadSetting  If a device is not there.
    """
    devices = choose_devices(device)
    return devices[worker % len(devices) if isinstance(worker, int) else 0]


def _worker_name() -> object:
    import distributed

    return distributed.get_worker().name


def fill_smaller_levels(results: tuple[SharedResult, ...], frame: int, n: int) -> None:
    """Compute the smaller levels of frame `frame` of channel `n`, now complete."""
    for result in results:
        result.fill_smaller_levels(frame, n)


def as_given(piece: bytes) -> bytes:
    """Return a piece of the model, so that Dask can send it again when it is lost."""
    return piece


def stop_run(run: str) -> None:
    """Have the blocks of a run that this worker computes end early."""
    _stop_of(run).stop()


def forget_run(run: str) -> None:
    """Give free what was kept for a run."""
    with _LOCK:
        _STOPS.pop(run, None)
    _KEPT_IMAGES.clear()
    _KEPT_MODELS.clear()


class _Kept:
    """The newest few of what is slow to make, each made by one thread alone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, make: Callable[[], T]) -> T:
        with self._lock:
            if key not in self._items:
                self._items[key] = make()
            self._items.move_to_end(key)
            while len(self._items) > KEPT:
                self._items.popitem(last=False)
            return self._items[key]

    def clear(self) -> None:
        with self._lock:
            self._items.clear()


_LOCK = threading.Lock()
_STOPS: dict[str, StopToken] = {}
_KEPT_MODELS, _KEPT_IMAGES = _Kept(), _Kept()


def _stop_of(run: str) -> StopToken:
    with _LOCK:
        return _STOPS.setdefault(run, StopToken())


def _model(digest: str, pieces: tuple[bytes, ...]) -> Denoiser:
    content = b"".join(pieces)
    if hashlib.sha256(content).hexdigest() != digest:
        raise BadFile(
            "The model reached a Dask worker incompletely. Check the connection "
            "between the machines, and run it again."
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{MODEL_SUFFIX}"
        path.write_bytes(content)
        return load_model(path)


def _opened(shared: SharedImage) -> OpenedImage:
    try:
        (image,) = open_noisy(
            (Path(shared.path),), shared.axes, shared.channel, shared.frames
        )
    except BadFile as error:
        raise BadFile(
            f"A Dask worker cannot open the image. {error} All computers need the same "
            "shared folder under the same path."
        ) from error
    found = image.frames[0]
    if (found.layout, str(found.dtype)) != (shared.layout, shared.dtype):
        raise BadFile(
            f"A Dask worker finds another image at {shared.path} ({found.describe()}) "
            "than the computer that asks for it. All need the same shared folder under "
            "the same path."
        )
    if not shared.camera_maps:
        return image
    maps = load_camera_maps(tuple(Path(item) for item in shared.camera_maps))
    return corrected_images((image,), maps, shared.camera)[0]


def _denoised(
    denoiser: Denoiser, frames: Frames, part: Part, job: SharedJob, stop: StopToken
) -> tuple[np.ndarray, ...] | None:
    """Return the image (and the uncertainty) of a block, None if stopped."""
    height = part.rows.stop - part.rows.start
    width = part.columns.stop - part.columns.start
    shape = len(part.frames), height, width
    image = np.empty(shape, np.float32)
    std = np.empty(shape, np.float32) if job.with_std else None

    def sink(index: int, rows: slice, columns: slice, found: RegionEstimate) -> None:
        place = (
            part.frames.index(index),
            slice(rows.start - part.rows.start, rows.stop - part.rows.start),
            slice(
                columns.start - part.columns.start, columns.stop - part.columns.start
            ),
        )
        image[place] = denoiser.result(found)
        if std is not None and found.posterior_std is not None:
            std[place] = found.posterior_std

    done = drain(
        denoise_frames(
            denoiser, frames, sink, tile_size=job.tile_size, stop=stop, part=part
        )
    )
    if done < len(part.frames):
        return None
    return (image,) if std is None else (image, std)
