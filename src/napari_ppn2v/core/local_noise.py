"""Strength of the noise from noisy frames alone, through local differences.

In blocks of 2 x 2 pixels the difference (a - b - c + d) / 2 has the variance of the
noise; a constant and a gradient cancel (compare Immerkaer 1996, "Fast noise variance
estimation"). The signal is the mean of the 32 pixels around, none of which is in the
block, for the noise of a skewed camera would correlate with a mean that holds it. Of
each range of signals the smoother half counts, judged by the pixels around alone.
Between frames the difference of one pixel does the same where nothing moves. Structure,
motion and a fixed pattern can only add to such differences, so the smaller of both is
taken: what is measured is an upper bound, close where the sample is smooth.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.photon_transfer import SignalRows
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 32
_FEWEST_BLOCKS = 100  # in a row
_MOST_CLIPPED = 2e-3
_SMOOTH = 0.5  # share of the blocks of a row that count
_MOST_BLOCKS = 2_000_000


class LocalNoise:
    """Collects local differences frame by frame."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float32]] = []
        self._before: NDArray[np.float32] | None = None
        self._low, self._high = np.inf, -np.inf
        self._n_blocks = 0

    @property
    def is_enough(self) -> bool:
        """Whether further frames would hardly add anything."""
        return self._n_blocks >= _MOST_BLOCKS

    def add(self, frame: NDArray[np.float32]) -> None:
        """Look at one frame (Y, X), ADU; consecutive ones are also compared."""
        height, width = (size // 2 * 2 for size in frame.shape)
        if min(height, width) < 8:
            raise BadData(
                f"The frames are {frame.shape[0]} x {frame.shape[1]} pixels, too small "
                "to tell noise from structure. At least 8 x 8 are needed."
            )
        kept = frame[:height, :width].astype(np.float64)
        blocks = kept.reshape(height // 2, 2, width // 2, 2)
        a, b, c, d = blocks[:, 0, :, 0], blocks[:, 0, :, 1], *_lower(blocks)
        sums = a + b + c + d
        around = _around(sums)
        smoothness = _around(sums**2) / 8 - (_around(sums) / 8) ** 2
        temporal = np.full(sums.shape, np.nan)
        if self._before is not None and self._before.shape == frame.shape:
            change = (frame - self._before)[:height:2, :width:2]
            temporal = change.astype(np.float64) / np.sqrt(2)
        extremes = [np.minimum.reduce([a, b, c, d]), np.maximum.reduce([a, b, c, d])]
        found = [around / 32, (a - b - c + d) / 2, smoothness, temporal, *extremes]
        inside = (slice(1, -1), slice(1, -1))
        self._parts.append(np.stack([v[inside].ravel() for v in found]).astype("f4"))
        self._before = frame
        self._n_blocks += self._parts[-1].shape[1]
        self._low = min(self._low, float(frame.min()))
        self._high = max(self._high, float(frame.max()))

    def rows(self) -> SignalRows:
        """Variance against signal, in rows of equal numbers of blocks.

        Raises
        ------
        BadData  If nothing was added or all of it is clipped.
        """
        if not self._parts:
            raise BadData("There are no frames to measure the noise in.")
        values = np.concatenate(self._parts, axis=1).astype(np.float64)
        values = values[:, np.argsort(values[0], kind="stable")]
        # even in signal and even in number: dark images have few bright pixels
        signal = values[0]
        edges = np.unique(
            0.5 * np.quantile(signal, np.linspace(0, 1, _ROWS + 1))
            + 0.5 * np.linspace(signal[0], signal[-1], _ROWS + 1)
        )
        ends = np.searchsorted(signal, edges)
        ends[0], ends[-1] = 0, len(signal)
        found, n_clipped = [], 0
        for first, last in pairwise(ends):
            if last - first < _FEWEST_BLOCKS:
                continue
            if self._is_clipped(values[4:, first:last]):
                n_clipped += 1
                continue
            found.append(_row(values[:4, first:last]))
        if len(found) < 3:
            raise BadData(
                f"Only {len(found)} ranges of signal are left to measure the noise in, "
                f"{n_clipped} are clipped. Give more or larger frames."
            )
        signals, variances, errors, counts = np.array(found).T
        return SignalRows(signals, variances, errors, counts, n_clipped)

    def _is_clipped(self, extremes: NDArray) -> bool:
        low, high = extremes
        share = np.mean((low <= self._low) | (high >= self._high))
        return bool(share > 4 * _MOST_CLIPPED)  # of blocks of four pixels


def _lower(blocks: NDArray) -> tuple[NDArray, NDArray]:
    return blocks[:, 1, :, 0], blocks[:, 1, :, 1]


def _around(blocks: NDArray) -> NDArray:
    """Sum over the eight neighbours of each block; the rim is not used."""
    from scipy.ndimage import convolve

    ring = np.ones((3, 3))
    ring[1, 1] = 0
    return convolve(blocks, ring, mode="nearest")


def _row(values: NDArray) -> tuple[float, float, float, float]:
    """Signal, variance, its error and number of the smoother blocks."""
    signal, spatial, smoothness, temporal = values
    smooth = smoothness <= np.quantile(smoothness, _SMOOTH)
    signal, spatial, temporal = signal[smooth], spatial[smooth], temporal[smooth]
    found = [_variance(spatial)]
    temporal = temporal[np.isfinite(temporal)]
    if len(temporal) >= _FEWEST_BLOCKS / 2:
        found.append(_variance(temporal))
    variance, error = min(found)
    return float(signal.mean()), variance, error, float(len(signal))


def _variance(differences: NDArray) -> tuple[float, float]:
    squares = differences**2
    error = float(squares.std()) / np.sqrt(len(squares))
    return max(float(squares.mean()), 1e-12), max(error, 1e-12)
