"""Which pairs a noise model is fitted to, which it is judged by, and how to cut them.

A pair is a noise-free signal and an observation of it, both in ADU. Every fold is
judged by pairs of images that no pair of its fit comes from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from common import SCORED_REGION
from evidence.data_sets import N_FOLDS, Pairs, Repeats, folds, load
from napari_ppn2v.core.pairs import SignalObservationPairs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from evidence.data_sets import DataSet, Task

    Values = NDArray[np.float32]

LANL = "lanl_emccd"
WITH_IMAGES = ("w2s", "bright", "simulated", "small")
"""Data sets whose images are denoised; calibrated by others than those scored."""
DATA_SETS = (*WITH_IMAGES, LANL)


@dataclass(frozen=True)
class PixelPairs:
    """Signal and observation of P pixels, each (P,) float32, ADU."""

    signal: Values
    observation: Values

    def __len__(self) -> int:
        return len(self.signal)

    def chosen(self, which: NDArray) -> PixelPairs:
        """Return some of the pairs, by mask or index."""
        return PixelPairs(self.signal[which], self.observation[which])

    def for_fit(self, trim_percent: float = 0.0) -> SignalObservationPairs:
        """Return what the package fits to, without some of the extreme signals.

        Prakash et al. 2020, section 3, leave out 0.5 % at either end of bootstrapped
        signals, and nothing of a calibration.
        """
        # frames of one row each: a fit knows no neighbours
        signal, observation = (v[None, None] for v in (self.signal, self.observation))
        pairs = SignalObservationPairs.from_pseudo_ground_truth(signal, observation)
        return pairs.within_percentiles(trim_percent, 100 - trim_percent)


@dataclass(frozen=True)
class Fold:
    """A calibration, and images or pairs of the same camera to judge it by.

    Attributes
    ----------
    calibration, held_out : of other images each
    task : with the images to score; None where there are no images
    """

    number: int
    calibration: PixelPairs
    held_out: PixelPairs
    task: Task | None = None


@dataclass(frozen=True)
class NoiseData:
    """A data set as noise models see it.

    Attributes
    ----------
    folds : each judged on its own
    signal_range, observation_range : ADU, of all data to be denoised
    images : task with all noisy images, for training; None where there are none
    """

    name: str
    label: str
    folds: tuple[Fold, ...]
    signal_range: tuple[float, float]
    observation_range: tuple[float, float]
    images: Task | None = None


def load_noise_data(folder: Path, name: str) -> NoiseData:
    """Read a data set and deal its calibration and images into folds.

    Raises
    ------
    ValueError  If it has no calibration by other images.
    """
    if name == LANL:
        return _lanl(folder / LANL / "emccd_calibration.npz")
    if name not in WITH_IMAGES:
        raise ValueError(f"{name!r} has no calibration. Choose one of {DATA_SETS}.")
    source = load(folder, name)
    images = source.tasks("unsupervised")[0]
    return NoiseData(
        name=name,
        label=source.label,
        folds=tuple(_folds(source)),
        signal_range=_range(images.truth),
        observation_range=_range(images.training),
        images=replace(images, region=region_of(images.training.shape[1:])),
    )


def region_of(shape: Sequence[int]) -> tuple[slice, slice]:
    """Return the standard crop, or the complete frame where frames are smaller."""
    rows, columns = SCORED_REGION
    if shape[0] >= rows.stop and shape[1] >= columns.stop:
        return SCORED_REGION
    return slice(0, shape[0]), slice(0, shape[1])


def _folds(source: DataSet) -> list[Fold]:
    tasks = source.tasks("calibrated")
    if len(tasks) == 1:  # a recording apart: one calibration for all images
        pairs = pairs_of(tasks[0])
        groups = folds(len(tasks[0].scored), N_FOLDS)
        return [
            _fold(number, pairs, part_of(tasks[0], group))
            for number, group in enumerate(groups)
        ]
    return [_fold(number, pairs_of(task), task) for number, task in enumerate(tasks)]


def _fold(number: int, calibration: PixelPairs, task: Task) -> Fold:
    region = region_of(task.scored.shape[1:])
    held_out = PixelPairs(task.truth.ravel(), task.scored.ravel())
    return Fold(number, calibration, held_out, replace(task, region=region))


def part_of(task: Task, images: Sequence[int]) -> Task:
    """Return a task that is scored on some of its images."""
    chosen = list(images)
    return replace(
        task,
        scored=task.scored[chosen],
        truth=task.truth[chosen],
        images=tuple(task.images[i] for i in chosen),
    )


def pairs_of(task: Task) -> PixelPairs:
    """Return the calibration pairs of a task.

    The signal of a repeat is the mean of the other repeats: observations stay whole
    grey values, and no pair is chosen by its own noise where a range is cut. With m
    repeats the variance comes out m / (m - 1) times too large, for all models alike;
    1 % of it changes a likelihood by 0.00003 nats.
    """
    calibration = task.calibration
    if isinstance(calibration, Pairs):
        return PixelPairs(calibration.signal.ravel(), calibration.observation.ravel())
    assert isinstance(calibration, Repeats)
    frames = calibration.frames
    others = frames.sum(axis=0, dtype=np.float64) - frames
    signal = (others / (len(frames) - 1)).astype(np.float32)
    return PixelPairs(signal.ravel(), frames.ravel().astype(np.float32))


def _range(values: NDArray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _lanl(path: Path) -> NoiseData:
    """Uniform light of six levels at EM gain 100: pixels have a signal, but no image.

    Folds are quarters of the time. The signal of a pixel is its mean over the frames
    of the other quarters, 1875 of them.
    """
    with np.load(path, allow_pickle=False) as file:
        frames = file["em100_samples"].astype(np.float32)  # (levels, frames, 3, 3)
    found = []
    for number, part in enumerate(np.array_split(np.arange(frames.shape[1]), N_FOLDS)):
        others = np.delete(frames, part, axis=1)
        signal = others.mean(axis=1, keepdims=True, dtype=np.float64)
        fitted, apart = (
            PixelPairs(
                np.broadcast_to(signal, x.shape).astype(np.float32).ravel(), x.ravel()
            )
            for x in (others, frames[:, part])
        )
        found.append(Fold(number, fitted, apart))
    return NoiseData(
        name=LANL,
        label="uniform light (EMCCD, real)",
        folds=tuple(found),
        signal_range=_range(frames.mean(axis=1)),
        observation_range=_range(frames),
    )


def covering(
    pairs: PixelPairs, share: float, signal_range: tuple[float, float]
) -> PixelPairs:
    """Keep the pairs whose signal lies in the lower part of a range.

    Parameters
    ----------
    share : of the range that is covered, from its lower end, up to 1
    signal_range : ADU, of the data to be denoised
    """
    return pairs.chosen(pairs.signal <= covered_up_to(share, signal_range))


def covered_up_to(share: float, signal_range: tuple[float, float]) -> float:
    """Return the highest signal (ADU) of a calibration that covers a lower part."""
    low, high = signal_range
    return low + share * (high - low)


def thinned(pairs: PixelPairs, share: float, seed: int) -> PixelPairs:
    """Keep a random share of the pairs, up to 1, in their order."""
    if share >= 1:
        return pairs
    count = max(1, round(share * len(pairs)))
    chosen = np.random.default_rng(seed).choice(len(pairs), count, replace=False)
    return pairs.chosen(np.sort(chosen))
