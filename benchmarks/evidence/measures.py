"""What the failure cases are measured by: exact on images made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def recovered_fraction(
    estimate: NDArray, background: NDArray, heights: NDArray
) -> float:
    """Share of the light of isolated bright pixels that the estimate still shows.

    Parameters
    ----------
    estimate : (Y, X) or (N, Y, X), ADU
    background : the signal without the bright pixels, ADU
    heights : of the bright pixels above the background, ADU; 0 elsewhere

    Returns
    -------
    1 where all is kept, 0 where they vanish into the background, nan without any.
    """
    is_bright = heights > 0
    if not is_bright.any():
        return float("nan")
    above = (np.asarray(estimate, float) - background)[is_bright]
    return float(above.sum() / heights[is_bright].sum())


def surviving_share(
    estimates: Sequence[NDArray], truths: Sequence[NDArray], patterns: Sequence[NDArray]
) -> float:
    """Share of a pattern's variance that is left in denoised images.

    The factor with which the pattern stands in the error is found by least squares,
    so that errors of other kinds do not count; its square is the share of variance.

    Parameters
    ----------
    estimates, truths : (Y, X) each
    patterns : what was added to each truth, of mean 0: the structured or the
        independent part of its noise
    """
    shared = power = 0.0
    for estimate, truth, pattern in zip(estimates, truths, patterns, strict=True):
        error = np.asarray(estimate, float) - truth
        shared += float(np.sum((error - error.mean()) * pattern))
        power += float(np.sum(np.square(pattern, dtype=float)))
    return (shared / power) ** 2


def neighbour_correlation(images: NDArray, axis: int) -> float:
    """Correlation of neighbours along an axis of (N, Y, X), the mean taken off."""
    values = np.asarray(images, float)
    values = values - values.mean()
    length = values.shape[axis]
    first = values.take(range(length - 1), axis)
    second = values.take(range(1, length), axis)
    return float(np.mean(first * second) / np.mean(values**2))


def frame_differences(frames: NDArray) -> NDArray:
    """Differences of frames of one scene, (N - 1, Y, X): twice the noise variance."""
    return np.diff(np.asarray(frames, float), axis=0)


def surviving_fluctuation(before: NDArray, after: NDArray) -> float:
    """Share of the variance between frames of one scene that denoising leaves."""
    left, first = frame_differences(after), frame_differences(before)
    return float(np.var(left) / np.var(first))


def largest_error(
    estimates: Sequence[NDArray], truths: Sequence[NDArray]
) -> tuple[int, int, int]:
    """Return image, row and column of the largest squared error of a pixel."""
    errors = [np.square(e - t) for e, t in zip(estimates, truths, strict=True)]
    number = int(np.argmax([error.max() for error in errors]))
    row, column = np.unravel_index(np.argmax(errors[number]), errors[number].shape)
    return number, int(row), int(column)


def worst_part(
    estimates: Sequence[NDArray], truths: Sequence[NDArray], size: int
) -> tuple[int, int, int]:
    """Return image and centre of the worst part of the image of largest total error.

    The part is the square of `size` with the largest sum of squared errors.
    """
    errors = [
        np.square(np.asarray(e, float) - t)
        for e, t in zip(estimates, truths, strict=True)
    ]
    number = int(np.argmax([error.sum() for error in errors]))
    total = np.pad(errors[number].cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    n = min(size, *errors[number].shape)
    sums = total[n:, n:] - total[:-n, n:] - total[n:, :-n] + total[:-n, :-n]
    row, column = np.unravel_index(np.argmax(sums), sums.shape)
    return number, int(row) + n // 2, int(column) + n // 2
