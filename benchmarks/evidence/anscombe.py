"""The generalised Anscombe transform, and the line of variance that it needs.

A method for white Gaussian noise of one strength is applied to an image of photons
as: transform, denoise with standard deviation 1, transform back.

For x = offset + gain·Poisson(lam) + N(0, read_noise²) the variance is a straight
line in the signal: gain·(signal - dark), with dark = offset - read_noise²/gain.
Transform and closed-form inverse depend on these two numbers alone, and two numbers
are also all that noisy images tell about such a line. In a camera that multiplies
electrons (EMCCD) `gain` includes the excess noise factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import convolve
from scipy.stats import theilslopes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_BLOCK = 8
"""Side (pixels) of the blocks in which mean and variance are compared."""

_LEVELS = 24
"""Groups of blocks of similar brightness, of which each gives one variance."""

_SECOND_DIFFERENCES = np.outer([1, -2, 1], [1, -2, 1]) / 6
"""Keeps the variance of white noise and removes planes (Immerkær 1996)."""

_SMALLEST = 2 * np.sqrt(3 / 8)
"""The transform of an image of no photons; smaller values mean none either."""


@dataclass(frozen=True, slots=True)
class VarianceLine:
    """Variance = gain·(signal - dark).

    Attributes
    ----------
    gain
        ADU² of variance per ADU of signal.
    dark
        Signal (ADU) at which the line reaches zero: offset - read_noise²/gain.
    """

    gain: float
    dark: float


def line_of_camera(gain: float, offset: float, read_noise: float = 0.0) -> VarianceLine:
    """Line of a camera with `gain` ADU per electron, offset and read noise in ADU."""
    return VarianceLine(gain, offset - read_noise**2 / gain)


def stabilise(image: ArrayLike, line: VarianceLine) -> Floats:
    """Generalised Anscombe transform (Starck et al. 1998): standard deviation about 1.

    Parameters
    ----------
    image
        ADU, any shape. Values of less than -3/8 photons count as -3/8.

    Returns
    -------
    float64, without unit.
    """
    photons = (np.asarray(image, float) - line.dark) / line.gain
    return 2 * np.sqrt(np.maximum(photons + 3 / 8, 0))


def unstabilise(stabilised: ArrayLike, line: VarianceLine) -> Floats:
    """Signal (ADU) whose transformed observations have this mean.

    Closed form of the exact unbiased inverse (Mäkitalo and Foi 2011, with read noise
    2013), within 0.05 photons. The algebraic inverse is a quarter of a photon too low
    in bright regions.
    """
    mean = np.maximum(np.asarray(stabilised, float), _SMALLEST)
    root = np.sqrt(3 / 2)
    photons = (
        mean**2 / 4
        + root / 4 / mean
        - 11 / 8 / mean**2
        + 5 / 8 * root / mean**3
        - 1 / 8
    )
    return line.dark + line.gain * photons


def estimate_noise_sd(image: NDArray) -> float:
    """Root mean square of the noise over an image, ADU; structures add a little."""
    return float(np.sqrt(np.mean(_noise(image) ** 2)))


def estimate_variance_line(images: Sequence[NDArray]) -> VarianceLine | None:
    """Line through the variances that noisy images of one camera show.

    Second differences leave the noise and little of the structures. Blocks are sorted
    by their mean; the median variance of blocks alike forgives those with edges, and
    the median slope between groups (Theil and Sen) the groups that are all structure.
    The median of these variances lies 4 % below their mean, and what is left of
    structures adds as much: the gain is right within about 10 %.

    Parameters
    ----------
    images
        (Y, X) each, ADU, noise white and independent of neighbours.

    Returns
    -------
    VarianceLine, or None where the variance does not rise with the signal.
    """
    per_image = [_block_statistics(image) for image in images]
    means, variances = np.concatenate(per_image, axis=1)
    groups = np.array_split(np.argsort(means, kind="stable"), _LEVELS)
    groups = [group for group in groups if len(group)]
    level = np.array([means[group].mean() for group in groups])
    variance = np.array([np.median(variances[group]) for group in groups])
    if np.ptp(level) == 0:
        return None
    slope, intercept, *_ = theilslopes(variance, level)
    if slope <= 0:
        return None
    return VarianceLine(float(slope), float(-intercept / slope))


def _block_statistics(image: NDArray) -> Floats:
    """Mean and noise variance of each block, (2, blocks)."""
    image = np.asarray(image, float)
    return np.stack([_block_means(image), _block_means(_noise(image) ** 2)])


def _noise(image: NDArray) -> Floats:
    """White noise of the same strength as that of the image, without the signal."""
    return convolve(np.asarray(image, float), _SECOND_DIFFERENCES, mode="reflect")


def _block_means(values: Floats) -> Floats:
    rows, columns = (length // _BLOCK for length in values.shape)
    cut = values[: rows * _BLOCK, : columns * _BLOCK]
    return cut.reshape(rows, _BLOCK, columns, _BLOCK).mean(axis=(1, 3)).ravel()
