"""Spread the denoising of a recording over a Dask cluster, block by block.

Blocks are made of the tiles that one computer would use, and their borders lie on
those of the result's chunks: no two workers touch one chunk, and the pixels have the
bits of a result computed alone, if the processors are of the same kind.
"""

from __future__ import annotations

import hashlib
import math
import queue
import tempfile
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import PPN2VError, RunFailed
from napari_ppn2v.events import FrameDenoised, Notice, StepDone
from napari_ppn2v.files.model_file import MODEL_SUFFIX, save_model
from napari_ppn2v.pipeline.camera_maps import trained_camera
from napari_ppn2v.pipeline.cluster import differing_software
from napari_ppn2v.pipeline.cluster_worker import (
    BlockDone,
    SharedImage,
    SharedJob,
    as_given,
    denoise_block,
    fill_smaller_levels,
    forget_run,
    stop_run,
)
from napari_ppn2v.pipeline.denoising import Part, tile_side

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.events import Event
    from napari_ppn2v.files.results import ResultWriter
    from napari_ppn2v.pipeline.inputs import OpenedImage
    from napari_ppn2v.stop import StopToken

BLOCK_PIXELS = 2**20
"""Pixels in one block: about a second of one processor, and 4 MB to send back."""

BLOCKS_PER_THREAD = 2  # one computed, one waiting: a stop has little to call back
ATTEMPTS_AFTER_FAILURE = 2
_PIECE = 4_000_000  # bytes of a model in one message
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_BETWEEN_COUNTS = 2.0
_SECONDS_TO_END = 30.0


@dataclass(frozen=True, slots=True)
class Block:
    """What one worker does at a time, of channel `number`."""

    number: int
    part: Part


@dataclass(frozen=True)
class ClusterSpread:
    """How recordings are denoised on a cluster that a client is connected to.

    Attributes
    ----------
    client : distributed.Client
    axes, channel, frames, as_stack, camera_maps : as the images were opened here
    device : as for one computer; "auto" is chosen by each worker
    n_threads : of each block on the CPU
    """

    client: Any
    axes: str | None = None
    channel: int | str | None = None
    frames: str = ""
    as_stack: bool = False
    camera_maps: tuple[Path, ...] = ()
    device: str = "auto"
    n_threads: int = 1

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
        work = _Work(self.client, run, jobs, models, writers, image)
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
            as_stack=self.as_stack,
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


@dataclass
class _Work:
    """The blocks of one recording on their way through the cluster."""

    client: Any
    run: str
    jobs: Sequence[SharedJob]
    models: Sequence[Sequence[Any]]
    writers: tuple[ResultWriter, ResultWriter | None]
    image: OpenedImage
    waiting: dict[str, tuple[Any, Block | None]] = field(default_factory=dict)
    done: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)
    left: dict[tuple[int, int], int] = field(default_factory=dict)
    pixels: int = 0
    frames_done: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    counted: float = -math.inf

    def go(
        self, blocks: Sequence[Block], stop: StopToken
    ) -> Generator[Event, None, bool]:
        """Submit blocks as others end; return False if stopped."""
        todo = iter(blocks)
        while True:
            if stop.is_stopped:
                return False
            yield from self._count_workers()
            self._fill(todo)
            if not self.waiting:
                return True
            try:
                future = self.done.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                self._check_connection()
                continue
            yield from self._finish(future)

    def end(self) -> None:
        """Have the workers leave what is not done, and wait until they have."""
        with suppress(Exception):  # the cluster may be gone
            if self.waiting:
                self.client.run(stop_run, self.run, on_error="ignore")
                self._wait_for_the_rest()
            for futures in self.models:
                for future in futures:
                    future.release()
            self.client.run(forget_run, self.run, on_error="ignore")

    def _wait_for_the_rest(self) -> None:
        """Wait for blocks that are being computed: they may still write."""
        ends = time.monotonic() + _SECONDS_TO_END
        while self.waiting and time.monotonic() < ends:
            try:
                future = self.done.get(timeout=_SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                continue
            self.waiting.pop(future.key, None)
        self.client.cancel([future for future, _ in self.waiting.values()], force=True)

    def _fill(self, todo: Iterator[Block]) -> None:
        window = BLOCKS_PER_THREAD * max(1, sum(self.workers.values()))
        while len(self.waiting) < window:
            block = next(todo, None)
            if block is None:
                return
            job, model = self.jobs[block.number], self.models[block.number]
            self._submit(block, denoise_block, job, block.part, *model)

    def _submit(self, block: Block | None, *call: Any) -> None:
        future = self.client.submit(
            *call,
            key=f"ppn2v-{uuid.uuid4().hex}",
            pure=False,
            retries=ATTEMPTS_AFTER_FAILURE,
        )
        self.waiting[future.key] = future, block
        future.add_done_callback(self.done.put)

    def _finish(self, future: Any) -> Generator[Event, None, None]:
        """Take in what a worker has done."""
        _, block = self.waiting.pop(future.key)
        if future.status != "finished":
            raise _failure(future)
        if block is None:  # smaller levels of a frame
            return
        found = future.result()
        if found is None:
            raise RunFailed("The Dask cluster gave up a block though none was stopped.")
        future.release()
        yield from self._take(block, found)

    def _take(self, block: Block, found: BlockDone) -> Generator[Event, None, None]:
        if found.where not in self.devices:
            self.devices.add(found.where)
            yield Notice(f"A worker computes on: {found.where}.")
        writers = [writer for writer in self.writers if writer is not None]
        part = block.part
        for writer, images in zip(writers, found.blocks, strict=False):
            for index, image in zip(part.frames, images, strict=True):
                writer.write(
                    index, part.rows, part.columns, image, channel=block.number
                )
        complete = set()
        for writer, written in zip(writers, found.written, strict=False):
            complete |= {one.frame for one in written if writer.count(one)}
        for frame in sorted(complete):
            shared = self.jobs[block.number].results
            self._submit(None, fill_smaller_levels, shared, frame, block.number)
        yield from self._progress(block)

    def _progress(self, block: Block) -> Generator[Event, None, None]:
        frames = self.image.frames[block.number]
        part, whole = block.part, frames.shape[0] * frames.shape[1]
        total = sum(len(each) for each in self.image.frames)
        rows, columns = part.rows, part.columns
        size = (rows.stop - rows.start) * (columns.stop - columns.start)
        for index in part.frames:
            place = block.number, index
            self.left[place] = self.left.get(place, whole) - size
            self.pixels += size
            if not self.left[place]:
                del self.left[place]
                yield FrameDenoised(self.frames_done, total)
                self.frames_done += 1
        beyond = self.pixels - self.frames_done * whole
        if beyond:
            yield StepDone("denoise", min(beyond, whole), whole)

    def _count_workers(self) -> Generator[Event, None, None]:
        """Tell of workers that were lost since the last look."""
        if time.monotonic() - self.counted < _SECONDS_BETWEEN_COUNTS:
            return
        self.counted = time.monotonic()
        now = dict(self.client.nthreads())
        lost, self.workers = sorted(set(self.workers) - set(now)), now
        if lost:
            yield Notice(
                f"The Dask cluster lost {len(lost)} worker{'s' * (len(lost) > 1)} "
                f"({', '.join(lost)}). What they had not finished is computed again; "
                f"{len(now)} {'are' if len(now) != 1 else 'is'} left.",
                is_warning=True,
            )

    def _check_connection(self) -> None:
        if self.client.status != "running":
            raise RunFailed(
                "The connection to the Dask scheduler was lost. Nothing was left under "
                "the name of the result. Check that the scheduler still runs, and "
                "start again."
            )


def _failure(future: Any) -> PPN2VError:
    """Say why a block failed for good."""
    error = future.exception() if future.status == "error" else None
    if isinstance(error, PPN2VError):
        return error
    if type(error).__name__ == "KilledWorker":
        return RunFailed(
            f"Several Dask workers were lost one after the other at the same work "
            f"({error}). They may have run out of memory: give them more of it, fewer "
            "threads each, or choose a smaller --tile-size."
        )
    what = f"{type(error).__name__}: {error}" if error else f"it was {future.status}"
    return RunFailed(
        f"A block failed on the Dask cluster {ATTEMPTS_AFTER_FAILURE + 1} times "
        f"({what}). Check that every worker can read the images and write to the "
        "folder of the result, under the same path as here."
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
