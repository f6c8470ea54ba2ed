"""Reading the pixels that a training draws from, as many as memory holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.memory import is_out_of_memory, release_memory
from napari_ppn2v.core.training_stack import (
    DEFAULT_PIXELS,
    TrainingStack,
    read_training_stack,
)
from napari_ppn2v.events import Notice, StageFinished, StageStarted, StepDone

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.stop import StopToken

LONG_READING = 16_000_000  # pixels; reading more is a stage of its own
ROOM_FOR_TRAINING = 128_000_000  # bytes that the images read have to leave
FEWEST_PIXELS = 1_000_000  # with fewer, a training has too little to learn from


def read_stack(
    sources: Sequence[Frames],
    config: RunConfig,
    stop: StopToken,
    targets: Sequence[Frames] | None = None,
) -> Generator[Event, None, TrainingStack]:
    """Read the training images; equal settings hold out equal pixels.

    Of more pixels than are held at once, crops of all frames are read; of fewer, if
    memory runs out. Reading much is a stage of its own. A stop leaves the frames read
    by then.

    Raises
    ------
    MemoryError  If there is no memory for `FEWEST_PIXELS` either.
    """
    n_pixels = sum(len(f) * f.shape[0] * f.shape[1] for f in sources)
    most = DEFAULT_PIXELS if targets is None else DEFAULT_PIXELS // 2
    while True:
        try:
            return (yield from _read(sources, config, stop, targets, most))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or most // 2 < FEWEST_PIXELS:
                raise
        # here the error is gone, and with it what was read before it
        release_memory()
        most = min(most, n_pixels) // 2
        yield Notice(
            f"Memory ran out. Training goes on with crops of all frames, "
            f"{most / n_pixels:.0%} of their pixels.",
            is_warning=True,
        )


def _read(
    sources: Sequence[Frames],
    config: RunConfig,
    stop: StopToken,
    targets: Sequence[Frames] | None,
    most: int,
) -> Generator[Event, None, TrainingStack]:
    began, n_frames = time.perf_counter(), sum(len(frames) for frames in sources)
    n_pixels = sum(len(f) * f.shape[0] * f.shape[1] for f in sources)
    is_long = min(n_pixels, most) > LONG_READING
    if is_long:
        yield StageStarted("reading", n_frames, "for training")
    training = config.training if config.uses_noise_model else config.pretraining
    reading = read_training_stack(
        sources,
        patch_size=training.patch_size,
        held_out_share=training.held_out_share,
        held_out_frames=training.held_out_frames,
        rng=np.random.default_rng(config.seed),
        targets=targets,
        max_pixels=most,
        stop=stop,
    )
    while True:
        try:
            done = next(reading)
        except StopIteration as end:
            stack: TrainingStack = end.value
            break
        if is_long:
            yield StepDone("reading", done, n_frames)
    np.empty(ROOM_FOR_TRAINING, np.uint8)  # fails where there is none
    if is_long:
        yield StageFinished("reading", time.perf_counter() - began)
    return stack
