"""Scenes on which methods that predict a pixel from its neighbours must fail.

Krull et al. 2019, section 4.4: signals that the surroundings do not tell (Fig. 5), and
noise that they do tell (Fig. 6).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from evidence.data_sets import Task
from evidence.photographs import landscape, read_test, read_training, spread

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Stack = NDArray[np.float32]

HEIGHTS = (2.0, 4.0, 8.0, 16.0)
"""Of the bright pixels, in standard deviations of the noise."""

NOISE_SD = 25.0
AMPLITUDE = 10.0
"""Grey values by which the pattern goes up and down, hidden in noise of 25."""

SQUARE = 2
"""Side (pixels) of the pattern's squares."""


@dataclass(frozen=True)
class Scene:
    """A task and what its scored images are made of.

    Attributes
    ----------
    task : the training and what is scored
    parts : name -> (N, Y, X), what measures need beside truth and estimate
    shown : number of the scored image of which pictures are made
    """

    task: Task
    parts: dict[str, Stack] = field(default_factory=dict)
    shown: int = 0


def puncta(
    *, size: int = 128, n_training: int = 16, n_scored: int = 8, seed: int = 0
) -> Scene:
    """Simulate single bright pixels, at least six pixels apart, on a soft background.

    White Gaussian noise of standard deviation 25; heights are multiples of it, one of
    `HEIGHTS` for each punctum at random. One pixel in 256 is one.
    """
    rng = np.random.default_rng(seed)
    n = n_training + n_scored
    background = np.stack([_soft_background(size, rng) for _ in range(n)])
    heights = np.stack([_single_pixels(size, rng) for _ in range(n)])
    truth = (background + heights).astype(np.float32)
    noisy = (truth + rng.normal(0, NOISE_SD, truth.shape)).astype(np.float32)
    scored = slice(n_training, None)
    task = Task(
        name="all",
        training=noisy[:n_training],
        targets=truth[:n_training],
        scored=noisy[scored],
        truth=truth[scored],
        images=tuple(range(n_training, n)),
    )
    return Scene(task, {"background": background[scored], "heights": heights[scored]})


def _soft_background(size: int, rng: np.random.Generator) -> Stack:
    field = gaussian_filter(rng.normal(size=(size, size)), 8, mode="wrap")
    return (150 + 40 * field / field.std()).astype(np.float32)


def _single_pixels(size: int, rng: np.random.Generator, box: int = 16) -> Stack:
    """One bright pixel in each box, three pixels or more from its border."""
    heights = np.zeros((size, size), np.float32)
    for top in range(0, size - box + 1, box):
        for left in range(0, size - box + 1, box):
            row, column = rng.integers(3, box - 3, size=2)
            heights[top + row, left + column] = NOISE_SD * rng.choice(HEIGHTS)
    return heights


def checkerboard(shape: tuple[int, int], shift: tuple[int, int] = (0, 0)) -> Stack:
    """Squares that go up and down by `AMPLITUDE` grey values, (Y, X), begun shifted."""
    rows, columns = np.indices(shape)
    parity = (rows + shift[0]) // SQUARE + (columns + shift[1]) // SQUARE
    return (AMPLITUDE * (1 - 2 * (parity % 2))).astype(np.float32)


def patterned_photographs(
    folder: Path, *, n_training: int = 100, n_scored: int = 6, seed: int = 0
) -> Scene:
    """Read photographs and add white noise and a checkerboard, shifted in each.

    The scored ones are of the test photographs of BSD68, all turned to landscape.
    """
    rng = np.random.default_rng(seed)
    scenes = read_training(folder)
    clean = scenes[spread(len(scenes), n_training)]
    tests = read_test(folder)
    truth = np.stack([landscape(tests[i]) for i in spread(len(tests), n_scored)])
    training, _, _ = _patterned(clean, rng)
    scored, noise, pattern = _patterned(truth, rng)
    task = Task(
        name="all",
        training=training,
        targets=clean,
        scored=scored,
        truth=truth,
        images=tuple(range(len(truth))),
    )
    return Scene(task, {"pattern": pattern, "noise": noise})


def _patterned(images: Stack, rng: np.random.Generator) -> tuple[Stack, Stack, Stack]:
    noise = rng.normal(0, NOISE_SD, images.shape).astype(np.float32)
    shifts = rng.integers(0, 2 * SQUARE, size=(len(images), 2))
    pattern = np.stack(
        [checkerboard(images.shape[1:], (int(a), int(b))) for a, b in shifts]
    )
    return images + noise + pattern, noise, pattern


def two_photon(folder: Path) -> Scene:
    """Read two-photon frames whose noise is alike in neighbours along a line."""
    from tifffile import imread

    path = folder / "twophoton_structured" / "frames.tif"
    return _without_truth(np.asarray(imread(path), np.float32))


def two_photon_shuffled(folder: Path, seed: int = 0) -> Scene:
    """Deal the grey values of each pixel out among the frames, each pixel by itself.

    The control: mean, distribution and scene stay, but neighbours are independent.
    """
    frames = two_photon(folder).task.scored
    rng = np.random.default_rng(seed)
    return _without_truth(rng.permuted(frames, axis=0))


def _without_truth(frames: Stack) -> Scene:
    task = Task("all", frames, frames, frames, tuple(range(len(frames))))
    return Scene(task)
