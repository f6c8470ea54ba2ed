"""Spread the denoising of a recording over a Dask cluster, block by block.

Blocks are made of the tiles that one computer would use, and their borders lie on
those of the result's chunks: no two workers touch one chunk, and the pixels have the
bits of a result computed alone, if the processors are of the same kind.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.events import Notice
from napari_ppn2v.files.model_file import MODEL_SUFFIX, save_model
from napari_ppn2v.pipeline.camera_maps import trained_camera
from napari_ppn2v.pipeline.cluster import connected, differing_software
from napari_ppn2v.pipeline.cluster_work import BLOCKS_PER_THREAD, Block, ClusterWork
from napari_ppn2v.pipeline.cluster_worker import SharedImage, SharedJob, as_given
from napari_ppn2v.pipeline.denoising import Part, tile_side

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.events import Event
    from napari_ppn2v.files.results import ResultWriter
    from napari_ppn2v.pipeline.apply_job import ApplyRequest
    from napari_ppn2v.pipeline.file_request import DenoiseRequest
    from napari_ppn2v.pipeline.inputs import OpenedImage
    from napari_ppn2v.stop import StopToken

BLOCK_PIXELS = 2**20
"""Pixels in one block: about a second of one processor, and 4 MB to send back."""

_PIECE = 4_000_000  # bytes of a model in one message


@contextmanager
def cluster_of(
    request: ApplyRequest | DenoiseRequest,
) -> Iterator[ClusterSpread | None]:
    """Connect to the cluster that a request asks for; None where it asks for none.

    Raises
    ------
    BadSetting  See `connected`.
    """
    if request.cluster is None:
        yield None
        return
    with connected(request.cluster) as client:
        yield ClusterSpread(
            client,
            name=request.cluster.describe(),
            axes=request.axes,
            channel=request.channel,
            frames=request.frames,
            camera_maps=request.camera_maps,
            device=request.device,
            n_threads=request.threads or 1,
        )


@dataclass(frozen=True)
class ClusterSpread:
    """How recordings are denoised on a cluster that a client is connected to.

    Attributes
    ----------
    client : distributed.Client
    name : of the cluster, in words
    axes, channel, frames, camera_maps : as the images were opened here
    device : as for one computer, chosen by each worker; see `device_of_worker`
    n_threads : of each block on the CPU
    """

    client: Any
    name: str = "a Dask cluster"
    axes: str | None = None
    channel: int | str | None = None
    frames: str = ""
    camera_maps: tuple[Path, ...] = ()
    device: str = "auto"
    n_threads: int = 1

    def describe(self) -> str:
        """Name the cluster and count its workers."""
        count = len(self.client.nthreads())
        return f"{self.name} ({count} worker{'s' * (count != 1)})"

    def denoise(
        self,
        denoisers: Sequence[Denoiser],
        image: OpenedImage,
        writers: tuple[ResultWriter, ResultWriter | None],
        tile_size: int,
        stop: StopToken,
    ) -> Generator[Event, None, bool]:
        """Denoise all channels of an image into its writers.

        Yields
        ------
        FrameDenoised for each frame, counted over channels; StepDone for blocks of
        frames that are not complete; Notice when workers are lost or differ.

        Returns
        -------
        bool  Whether all is done; False if stopped.

        Raises
        ------
        PPN2VError  As on one computer, or RunFailed if the cluster itself fails.
        """
        run = uuid.uuid4().hex
        jobs, models = self._jobs(run, denoisers, image, writers, tile_size)
        n_threads = sum(self.client.nthreads().values())
        blocks = [
            Block(number, part)
            for number, denoiser in enumerate(denoisers)
            for part in parts_of(
                len(image.frames[number]),
                image.frames[number].shape,
                block_side(tile_side(denoiser, tile_size), chunk_side_of(writers[0])),
                n_threads,
            )
        ]
        work = ClusterWork(self.client, run, jobs, models, writers, image)
        try:
            yield from _notices(differing_software(self.client))
            is_done = yield from work.go(blocks, stop)
        finally:
            work.end()
        return is_done

    def _jobs(
        self,
        run: str,
        denoisers: Sequence[Denoiser],
        image: OpenedImage,
        writers: tuple[ResultWriter, ResultWriter | None],
        tile_size: int,
    ) -> tuple[list[SharedJob], list[list[Any]]]:
        """Return the job of each channel, and its model as futures of the cluster."""
        frames = image.frames[0]
        shared = SharedImage(
            path=str(image.path),
            axes=self.axes,
            channel=self.channel,
            frames=self.frames,
            camera_maps=tuple(str(path.resolve()) for path in self.camera_maps),
            camera=trained_camera(denoisers[0].provenance),
            layout=frames.layout,
            dtype=str(frames.dtype),
        )
        results = tuple(w.shared for w in writers if w is not None)
        jobs, models = [], []
        for number, denoiser in enumerate(denoisers):
            content = _model_bytes(denoiser)
            models.append(_sent(self.client, content))
            jobs.append(
                SharedJob(
                    run=run,
                    image=shared,
                    number=number,
                    model=hashlib.sha256(content).hexdigest(),
                    device=self.device,
                    threads=self.n_threads,
                    tile_size=tile_size,
                    with_std=writers[1] is not None,
                    results=tuple(found for found in results if found is not None),
                )
            )
        return jobs, models


def parts_of(
    n_frames: int, shape: tuple[int, int], side: int, n_threads: int
) -> Iterator[Part]:
    """Cut a recording into blocks of about `BLOCK_PIXELS`.

    Parameters
    ----------
    shape : (Y, X) of a frame
    side : multiple of both tiles and chunks that large frames are cut at
    n_threads : of the cluster; small recordings are shared out among all of them
    """
    height, width = shape
    pixels = min(side, height) * min(side, width)
    fair = math.ceil(n_frames / (2 * BLOCKS_PER_THREAD * max(n_threads, 1)))
    count = max(1, min(BLOCK_PIXELS // pixels, fair))
    for first in range(0, n_frames, count):
        frames = range(first, min(first + count, n_frames))
        for top in range(0, height, side):
            for left in range(0, width, side):
                rows = slice(top, min(top + side, height))
                yield Part(frames, rows, slice(left, min(left + side, width)))


def block_side(tile: int, chunk: int) -> int:
    """Side of blocks whose borders are those of tiles and of chunks."""
    unit = math.lcm(tile, chunk)
    return unit * max(1, math.isqrt(BLOCK_PIXELS) // unit)


def chunk_side_of(writer: ResultWriter) -> int:
    """Side of the chunks of a result; 1 for files that only this process writes."""
    return writer.chunk_side if writer.shared is not None else 1


def of_the_first_device(
    n_devices: int, spread: ClusterSpread | None
) -> Iterator[Notice]:
    """Say that of several devices only the first denoises, where it is so."""
    if n_devices > 1 and spread is None:
        yield Notice(
            f"Denoising takes place on the first of the {n_devices} devices. With "
            f"--dask-workers {n_devices}, each device denoises a part."
        )


def _notices(others: str) -> Iterator[Notice]:
    if others:
        yield Notice(
            f"Some Dask workers compute with other versions ({others}). Their results "
            "may differ in the last digits.",
            is_warning=True,
        )


def _model_bytes(denoiser: Denoiser) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = save_model(Path(folder) / f"model{MODEL_SUFFIX}", denoiser)
        return path.read_bytes()


def _sent(client: Any, content: bytes) -> list[Any]:
    """Put a model on the cluster, in pieces that Dask can send again when lost."""
    starts = range(0, len(content), _PIECE)
    return [
        client.submit(as_given, content[start : start + _PIECE], pure=False)
        for start in starts
    ]
