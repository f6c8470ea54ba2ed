"""The part of a recording that the checks look at, and the residuals they share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

GAIN = 924.0
"""Sum of the squares of 1, -6, 15, -20, 15, -6, 1: the factor on white noise."""

BLOCK = 16  # pixels; side of the regions that figures are averaged over
_FEWEST_BLOCK = 8
_QUIET = 0.5  # share of the blocks, those with least structure, that are looked at
_STATIC = 2.5  # times the white noise that differences may hold in coarse pixels
_COARSE = 8  # pixels


@dataclass(frozen=True)
class Sample:
    """The same window of some frames of one recording.

    Attributes
    ----------
    frames : (N, Y, X) float32, ADU
    times : (N,) int, the place of each frame in its recording
    dtype : of the recording
    """

    frames: Floats
    times: NDArray[np.int_]
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def neighbours(self) -> NDArray[np.int_]:
        """Number of each frame whose successor is part of the sample too, (M,)."""
        return np.flatnonzero(np.diff(self.times) == 1)

    @cached_property
    def differences(self) -> Floats:
        """Successive frames subtracted, over sqrt(2) to keep the noise, (M, Y, X)."""
        at = self.neighbours
        found = (self.frames[at + 1] - self.frames[at]) / np.float32(2**0.5)
        return found - found.mean(axis=(1, 2), keepdims=True)

    @cached_property
    def is_static(self) -> bool:
        """Whether successive frames differ by hardly more than noise.

        Compared are coarse pixels of 8 x 8 of their difference: noise has 1/64 of its
        variance in them, and whatever moves or changes has far more.
        """
        if len(self.neighbours) == 0 or min(self.frames.shape[1:]) < 2 * _COARSE:
            return False
        change = self.differences
        coarse = block_means(change, _COARSE).var() * _COARSE**2
        # along the axis in which the noise is not correlated, if it is
        noise = (
            max(np.square(sixth_difference(change, a)).mean() for a in (1, 2)) / GAIN
        )
        return bool(coarse < _STATIC * noise)

    @cached_property
    def noise(self) -> Floats:
        """Images whose fine detail is noise: differences of frames where static."""
        return self.differences if self.is_static else self.frames

    def cropped(self, side: int) -> Sample:
        """Return the middle of the window, at most `side` pixels in each direction."""
        height, width = self.frames.shape[1:]
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        cut = self.frames[:, top : top + side, left : left + side]
        return self.with_frames(cut)

    def with_frames(self, frames: Floats) -> Sample:
        """Return the same sample with other values."""
        return replace(self, frames=frames)


def sixth_difference(images: Floats, axis: int) -> Floats:
    """Differences 1, -6, 15, -20, 15, -6, 1 along one axis, 6 pixels less, (N, Y, X).

    Of anything that the optics draw, at least two pixels wide, next to nothing is
    left: the transfer is (2 sin(pi f))⁶, against the finest detail a thousandth in
    amplitude at a tenth of a cycle per pixel, and 0.04 at a fifth. White noise stays
    white along the other axis.
    """
    return np.diff(images, n=6, axis=axis)


def block_side(shape: tuple[int, ...]) -> int:
    """Side of blocks of which at least two fit into each direction, 0 for none."""
    side = min(BLOCK, min(shape[-2:]) // 2)
    side -= side % 4
    return side if side >= _FEWEST_BLOCK else 0


def in_blocks(images: Floats, side: int) -> Floats:
    """View (N, Y, X) as (N, rows, side, columns, side), what does not fit left out."""
    n, height, width = images.shape
    rows, columns = height // side, width // side
    cut = images[:, : rows * side, : columns * side]
    return cut.reshape(n, rows, side, columns, side)


def block_means(images: Floats, side: int) -> Floats:
    """Mean of each block, (N, rows, columns)."""
    return in_blocks(images, side).mean(axis=(2, 4))


def quiet_blocks(images: Floats, residual: Floats, side: int) -> NDArray[np.bool_]:
    """Mark the half of the blocks with least structure, (N, rows, columns).

    Structure is the variance of means of 4 x 4 pixels over that of the residual in
    the same block: equal everywhere for white noise alone, so that a choice by it
    prefers no value of the residual. Blocks without noise are left out.

    Parameters
    ----------
    images, residual : (N, Y, X), the second with the finest detail alone
    """
    blocks = in_blocks(images, side)
    n, rows, _, columns, _ = blocks.shape
    part = side // 4
    coarse = blocks.reshape(n, rows, part, 4, columns, part, 4).mean(axis=(3, 6))
    noise = np.square(in_blocks(residual, side)).mean(axis=(2, 4))
    rows, columns = min(rows, noise.shape[1]), min(columns, noise.shape[2])
    noise = noise[:, :rows, :columns]
    structure = coarse.var(axis=(2, 4))[:, :rows, :columns]
    is_noisy = noise > 0
    if not is_noisy.any():
        return is_noisy
    ratio = np.where(is_noisy, structure / np.where(is_noisy, noise, 1), np.inf)
    return is_noisy & (ratio <= np.quantile(ratio[is_noisy], _QUIET))


def median_with_error(values: NDArray) -> tuple[float, float]:
    """Median and its standard error, 1.25 times that of the mean (normal values)."""
    if values.size == 0:
        return 0.0, np.inf
    middle = float(np.median(values))
    low, high = np.quantile(values, [0.16, 0.84])
    return middle, 1.25 * 0.5 * float(high - low) / max(values.size, 1) ** 0.5
