"""The blocks of one recording on their way through a Dask cluster."""

from __future__ import annotations

import math
import queue
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import PPN2VError, RunFailed
from napari_ppn2v.events import FrameDenoised, Notice, StepDone
from napari_ppn2v.pipeline.cluster_worker import (
    BlockDone,
    SharedJob,
    denoise_block,
    fill_smaller_levels,
    forget_run,
    stop_run,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from napari_ppn2v.events import Event
    from napari_ppn2v.files.results import ResultWriter
    from napari_ppn2v.pipeline.denoising import Part
    from napari_ppn2v.pipeline.inputs import OpenedImage
    from napari_ppn2v.stop import StopToken

BLOCKS_PER_THREAD = 2  # one computed, one waiting: a stop has little to call back
ATTEMPTS_AFTER_FAILURE = 2
_SECONDS_BETWEEN_LOOKS = 0.25
_SECONDS_BETWEEN_COUNTS = 2.0
_SECONDS_TO_END = 30.0


@dataclass(frozen=True, slots=True)
class Block:
    """What one worker does at a time, of channel `number`."""

    number: int
    part: Part


@dataclass
class ClusterWork:
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
            left = f"{len(now)} {'is' if len(now) == 1 else 'are'} left"
            yield Notice(
                f"The Dask cluster lost {len(lost)} worker{'s' * (len(lost) > 1)} "
                f"({', '.join(lost)}). What they had not finished is computed again; "
                f"{left if now else 'none is left, so it waits for new ones'}.",
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
