"""Pairs of a signal and its noisy observations, from which noise models are made.

A noise model sees pairs only through `PairHistogram`: weighted cells of signal and
observation carry the information of any number of pixels in a few megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_ppn2v.core.pair_histogram import (
    PairCells,
    PairHistogram,
    PairStatistics,
    PhotonTransfer,
    accumulate,
    photon_transfer,
)
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = [
    "FrameSequence",
    "PairCells",
    "PairHistogram",
    "PhotonTransfer",
    "SignalObservationPairs",
    "photon_transfer",
]

_SUBSAMPLE = 400_000  # pairs that settle the range, the percentiles and the bins


class FrameSequence(Protocol):
    """What pairs are read from; `core.frames.Frames` is one."""

    def __len__(self) -> int: ...

    def frame(self, index: int) -> NDArray[np.float32]:
        """Return one frame, (Y, X) float32, ADU."""
        ...


@dataclass(frozen=True)
class _ArrayFrames:
    """A numpy array (N, Y, X) or (Y, X) as a `FrameSequence`."""

    array: NDArray

    def __len__(self) -> int:
        return len(self.array)

    def frame(self, index: int) -> NDArray[np.float32]:
        return np.asarray(self.array[index], np.float32)


@dataclass(frozen=True)
class _Scene:
    """Observations with their signal: one for all of them, or one each."""

    signal: FrameSequence
    observation: FrameSequence
    stretch: float  # factor on the residuals that undoes the finite average

    def frames(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield (signal, observation), uncorrected, each (Y, X) float32."""
        common = self.signal.frame(0) if len(self.signal) == 1 else None
        for index in range(len(self.observation)):
            signal = self.signal.frame(index) if common is None else common
            yield signal, self.observation.frame(index)


class SignalObservationPairs:
    """Pairs of signal and observation in ADU, read frame by frame when needed.

    Made by `from_calibration` or `from_pseudo_ground_truth`; neither keeps more than
    a frame and a mean image in memory.

    Attributes
    ----------
    n_pairs
        Number of pairs before trimming.
    percentiles
        Lower and upper percentile of the signal between which pairs are used.
    """

    def __init__(
        self,
        scenes: Sequence[_Scene],
        percentiles: tuple[float, float] = (0.0, 100.0),
    ) -> None:
        self._scenes = tuple(scenes)
        self.percentiles = percentiles
        self.n_pairs = sum(
            scene.signal.frame(0).size * len(scene.observation) for scene in scenes
        )
        self._statistics: PairStatistics | None = None

    @classmethod
    def from_calibration(cls, scenes: Any) -> SignalObservationPairs:
        """Pair each repeat of a static scene with the mean of all its repeats.

        The mean of m repeats contains the observation itself, so that the variance of
        x - mean is (m - 1)/m of the noise's. Residuals are therefore stretched by
        sqrt(m / (m - 1)); observations at a clipping limit stay exactly there.

        Parameters
        ----------
        scenes
            One recording or a list of several: each a `Frames` or an array (m, Y, X)
            of at least 2 repeats.

        Raises
        ------
        BadData  For fewer than 2 repeats, repeats that are not finite, all equal, or
            of differing sizes.
        """
        if isinstance(scenes, (list, tuple)):
            return cls([_calibration_scene(scene) for scene in scenes])
        return cls([_calibration_scene(scenes)])

    @classmethod
    def from_pseudo_ground_truth(
        cls, signal: Any, observation: Any
    ) -> SignalObservationPairs:
        """Pair noisy frames with (pseudo) ground truth (Prakash et al. 2020, §2).

        Parameters
        ----------
        signal, observation
            `Frames` or arrays (N, Y, X) or (Y, X) of equal shape, ADU. One single
            signal frame may stand for all observations.

        Raises
        ------
        BadData  Where the shapes differ or nothing is there.
        """
        signal, observation = _as_sequence(signal), _as_sequence(observation)
        if len(observation) == 0 or len(signal) == 0:
            raise BadData(
                "There are no frames to estimate the noise from. Give at least one "
                "noisy frame and its denoised or clean version."
            )
        if len(signal) not in (1, len(observation)):
            raise BadData(
                f"There are {len(observation)} noisy frames but {len(signal)} frames "
                "of signal. Give one signal frame for each noisy frame."
            )
        _check_same_shape(signal.frame(0), observation.frame(0))
        return cls([_Scene(signal, observation, 1.0)])

    def within_percentiles(self, low: float, high: float) -> SignalObservationPairs:
        """Use only pairs whose signal lies between two percentiles (0 … 100).

        Bootstrapped signals are unreliable at the ends of their range; Prakash et
        al. 2020, §3, leave out 0.5 % at each.
        """
        pairs = SignalObservationPairs(self._scenes, (low, high))
        if self._statistics is not None:
            pairs._statistics = self._statistics
        return pairs

    def read_through(
        self, way: Callable[[FrameSequence], FrameSequence]
    ) -> SignalObservationPairs:
        """Return the same pairs, with `way` of all frames of signal and observation."""
        scenes = [
            replace(s, signal=way(s.signal), observation=way(s.observation))
            for s in self._scenes
        ]
        pairs = SignalObservationPairs(scenes, self.percentiles)
        pairs._statistics = self._statistics
        return pairs

    def frames(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Yield (signal, observation) of each frame, corrected, before trimming."""
        limits = self.statistics().limits
        for scene in self._scenes:
            for signal, observation in scene.frames():
                yield signal, _stretched(signal, observation, scene.stretch, limits)

    def statistics(self) -> PairStatistics:
        """Range, clipping limits and grey-value step, found in one pass and kept."""
        if self._statistics is None:
            self._statistics = self._read_statistics()
        return self._statistics

    def histogram(self, held_out: float = 0.2) -> PairHistogram:
        """Sort all pairs into weighted cells, in one pass over the frames.

        Parameters
        ----------
        held_out
            Share of the pixels kept apart to compare noise models with. They are
            chosen by their place in the image, so that no pixel is on both sides.

        Raises
        ------
        BadData  If nothing is left after trimming or the signal does not vary.
        """
        statistics = self.statistics()
        trimmed = statistics.trimmed(*self.percentiles)
        return accumulate(self.frames(), trimmed, held_out)

    def _read_statistics(self) -> PairStatistics:
        stride = max(1, self.n_pairs // _SUBSAMPLE)
        reader = _StatisticsReader(stride)
        for scene in self._scenes:
            for signal, observation in scene.frames():
                _check_same_shape(signal, observation)
                reader.add(signal, observation, scene.stretch)
        return reader.result()


class _StatisticsReader:
    """Collects a regular subsample, the range, and what lies at its ends."""

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._phase = 0
        self._parts: list[tuple[NDArray, NDArray, float]] = []
        self._low, self._high = np.inf, -np.inf
        self._is_integer = True

    def add(self, signal: NDArray, observation: NDArray, stretch: float) -> None:
        """Look at one frame."""
        if not (np.isfinite(observation).all() and np.isfinite(signal).all()):
            raise BadData(
                "The frames hold values that are not finite (NaN or infinite). "
                "Replace or crop them before the noise is estimated."
            )
        part = slice(self._phase, None, self._stride)
        x, s = observation.ravel()[part], signal.ravel()[part]
        # A drifting phase keeps the subsample from falling on the same columns.
        self._phase = (self._phase + 7) % self._stride
        self._parts.append((s.astype(float), x.astype(float), stretch))
        self._low = min(self._low, float(observation.min()))
        self._high = max(self._high, float(observation.max()))
        self._is_integer &= bool((x == np.rint(x)).all())

    def result(self) -> PairStatistics:
        """Summarise, once all frames are seen."""
        signal = np.concatenate([s for s, _, _ in self._parts])
        observation = np.concatenate([x for _, x, _ in self._parts])
        if self._low == self._high:
            raise BadData(
                f"All observations have the same value, {self._low:g}. There is no "
                "noise to learn from; check that the right file was chosen."
            )
        limits = _clipping_limits(observation, self._low, self._high)
        corrected = np.concatenate(
            [_stretched(s, x, stretch, limits) for s, x, stretch in self._parts]
        )
        return PairStatistics(
            signal=signal,
            observation=corrected,
            observation_range=(self._low, self._high),
            limits=limits,
            cell=1.0 if self._is_integer and self._high - self._low >= 2 else 0.0,
        )


def _clipping_limits(
    observation: NDArray, low: float, high: float
) -> tuple[float | None, float | None]:
    """Find the ends of the range where observations pile up: atoms left by clipping.

    A pile is at least 30 pairs and 1.3 times what the neighbouring values hold each.
    Real distributions thin out toward their ends instead.
    """
    span = high - low
    # One grey value for integers; for floats, exact repetition is already telling.
    step = max(1.0, span / 256) if (observation == np.rint(observation)).all() else 0.0
    found: list[float | None] = []
    for limit, inward in ((low, 1), (high, -1)):
        pile = int((observation == limit).sum())
        inner = (observation - limit) * inward
        reach = 4 * step if step else span / 64
        nearby = int(((inner > 0) & (inner <= reach)).sum())
        usual = nearby / 4 / max(step, 1.0) if step else min(nearby, 1)
        found.append(limit if pile >= 30 and pile > 1.3 * usual else None)
    return found[0], found[1]


def _stretched(
    signal: NDArray,
    observation: NDArray,
    stretch: float,
    limits: tuple[float | None, float | None],
) -> NDArray:
    """Undo the shrinking of residuals by a finite average; atoms stay atoms."""
    if stretch == 1.0:
        return observation
    corrected = signal + (observation - signal) * observation.dtype.type(stretch)
    for limit, inside in zip(limits, (np.maximum, np.minimum), strict=True):
        if limit is not None:
            corrected = inside(corrected, limit)
            corrected[observation == limit] = limit
    return corrected


def _calibration_scene(repeats: Any) -> _Scene:
    """Average the repeats in one pass and pair them with the mean."""
    sequence = _as_sequence(repeats)
    count = len(sequence)
    if count < 2:
        raise BadData(
            f"The calibration recording has {count} frame{'s' * (count != 1)}. At "
            "least 2 exposures of the same static scene are needed (better 50 or "
            "more), because their average serves as the noise-free signal."
        )
    total = np.zeros(sequence.frame(0).shape)
    for index in range(count):
        frame = sequence.frame(index)
        if frame.shape != total.shape:
            _check_same_shape(total, frame)
        total += frame
    mean = _ArrayFrames((total / count).astype(np.float32)[None])
    return _Scene(mean, sequence, (count / (count - 1)) ** 0.5)


def _as_sequence(data: Any) -> FrameSequence:
    """Accept a `FrameSequence` or an array (N, Y, X) or (Y, X)."""
    if hasattr(data, "frame") and hasattr(data, "__len__"):
        return data
    array = np.asarray(data)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3:
        raise BadData(
            f"Pairs are made from frames (N, Y, X), but the array has {array.ndim} "
            f"axes, {array.shape}. Choose one channel and pass its frames."
        )
    return _ArrayFrames(array)


def _check_same_shape(signal: NDArray, observation: NDArray) -> None:
    if signal.shape != observation.shape:
        raise BadData(
            f"A signal frame has shape {signal.shape} but its noisy frame "
            f"{observation.shape}. Both must show the same pixels."
        )
