"""Train one method on few or many frames of little or much light, and score it."""

from __future__ import annotations

from typing import Any

import numpy as np

from evidence.data_sets import Task
from evidence.methods import METHODS, NOISY, Size
from evidence.photograph_runs import estimate_words
from evidence.scoring import scores_of
from evidence.training import predict, train
from napari_ppn2v.core.camera import Camera, simulate_stack

OFFSET_SHARE = 0.05  # of the range of the file, below the signal
HEADROOM = 0.6  # of the range of the file that the brightest signal takes
READ_NOISE = 1.6  # electrons
LARGEST_GAIN = 2.0  # ADU per electron, where the bit depth allows it


def run(
    method: str,
    electrons: float,
    frames: int,
    side: int,
    bits: int,
    steps: int,
    repeat: int,
    size: dict[str, int] | None = None,
    fills_range: bool = False,
) -> dict[str, Any]:
    """Simulate a recording, train on all of it and score its first frame.

    Parameters
    ----------
    electrons : at the brightest pixel of each frame
    frames, side : of the recording; pixels
    bits : of the file
    steps : in all trainings of the method together
    repeat : seed of scenes, noise and training; the first frame is the same for any
        number of frames
    fills_range : give the brightest signal a fixed share of the range of the file,
        whatever the electrons, instead of at most 2 ADU per electron

    Returns
    -------
    Scores of the first frame, the estimate used and the CPU seconds of the training.
    """
    stack = simulate_stack(
        camera(electrons, bits, fills_range=fills_range),
        n_frames=frames,
        size=side,
        peak_electrons=electrons,
        seed=1000 + repeat,
    )
    task = Task(
        "all",
        training=stack.observation,
        scored=stack.observation[:1],
        truth=stack.signal[:1],
        images=(0,),
    )
    if method == NOISY.name:
        return _scored([stack.observation[0].astype(np.float32)], task)
    trained = train(
        METHODS[method],
        task,
        seed=repeat,
        n_steps=steps,
        size=Size(**(size or {})),
    )
    results, _ = predict(trained.denoiser, task.scored)
    return {
        **_scored(results, task),
        "estimate": estimate_words(trained.denoiser),
        "train CPU s": sum(trained.seconds.values()),
    }


def camera(electrons: float, bits: int, *, fills_range: bool) -> Camera:
    """Return an sCMOS camera whose files of that depth hold the brightest signal."""
    full = 2**bits - 1
    gain = HEADROOM * full / electrons
    return Camera(
        kind="scmos",
        gain=gain if fills_range else min(gain, LARGEST_GAIN),
        offset=OFFSET_SHARE * full if fills_range else min(100.0, OFFSET_SHARE * full),
        read_noise=READ_NOISE * (gain if fills_range else min(gain, LARGEST_GAIN)),
        bit_depth=bits,
    )


def _scored(results: list[Any], task: Task) -> dict[str, Any]:
    return {"estimate": "", "train CPU s": "", **scores_of(results, task, None)[0]}
