"""How much detail of an image is right, by its fineness: rings of spatial frequency.

Frequencies are in cycles per pixel: 0.5 is a stripe of one bright and one dark pixel,
0.1 a period of ten pixels. Everything is float64, and images are faded to zero towards
their borders (Hann window), because the jump from one border to the other is the same
in any two images of a scene and would count as fine detail that they share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Values = NDArray[np.float64]

FINEST = 0.5  # cycles per pixel, the finest that pixels can show along an axis
PIXELS_PER_RING = 4  # of the side: rings two steps of frequency wide


@dataclass(frozen=True)
class RingCurve:
    """Correlation of two images by spatial frequency.

    Attributes
    ----------
    frequency : (R,) cycles per pixel, the middle of each ring
    correlation : (R,) from -1 to 1; 0 where an image has nothing at all
    """

    frequency: Values
    correlation: Values

    def falls_to(self, threshold: float = 0.5) -> float:
        """Return the lowest frequency (cycles per pixel) at which it is so low.

        Between rings by a straight line, from 1 at frequency 0. `FINEST` where it
        never falls so far.
        """
        frequency = np.concatenate([[0.0], self.frequency])
        correlation = np.concatenate([[1.0], self.correlation])
        below = np.flatnonzero(correlation <= threshold)
        if len(below) == 0:
            return FINEST
        after = int(below[0])
        high, low = correlation[after - 1], correlation[after]
        part = (high - threshold) / (high - low)
        first, second = frequency[after - 1], frequency[after]
        return float(first + part * (second - first))


def fourier_ring_correlation(
    first: ArrayLike, second: ArrayLike, n_rings: int | None = None
) -> RingCurve:
    """Correlate the Fourier transforms of two images (Y, X) ring by ring.

    Re Σ F G* / √(Σ |F|² Σ |G|²) over the frequencies of a ring (Saxton and Baumeister
    1982; van Heel 1987). No filter that treats all directions alike changes it.

    Parameters
    ----------
    n_rings : of equal width from 0 to 0.5 cycles per pixel; by default a quarter of
        the shorter side, so that a ring is two steps of frequency wide
    """
    left, right = _spectrum(first), _spectrum(second)
    count = n_rings or min(left.shape) // PIXELS_PER_RING
    shared = _ring_sums((left * right.conj()).real, count)
    power = _ring_sums(_power(left), count) * _ring_sums(_power(right), count)
    correlation = np.zeros(count)
    np.divide(shared, np.sqrt(power), out=correlation, where=power > 0)
    return RingCurve((np.arange(count) + 0.5) * FINEST / count, correlation)


def mean_curve(curves: Sequence[RingCurve]) -> RingCurve:
    """Average curves of the same rings."""
    correlation = np.mean([curve.correlation for curve in curves], axis=0)
    return RingCurve(curves[0].frequency, correlation)


def band_errors(estimate: ArrayLike, truth: ArrayLike, n_bands: int = 5) -> Values:
    """Σ |F(estimate - truth)|² / Σ |F(truth)|² in bands of spatial frequency.

    0 where all is right, 1 where as much is wrong as there is, such as in an image
    that lacks this detail altogether. The mean brightness does not count.

    Returns
    -------
    (n_bands,) of equal width from 0 to 0.5 cycles per pixel, coarse to fine; nan where
    the truth has nothing.
    """
    target = _spectrum(truth)
    wrong = _ring_sums(_power(_spectrum(estimate) - target), n_bands)
    there = _ring_sums(_power(target), n_bands)
    errors = np.full(n_bands, np.nan)
    np.divide(wrong, there, out=errors, where=there > 0)
    return errors


def band_edges(n_bands: int = 5) -> Values:
    """Return the (n_bands + 1,) edges of the bands, cycles per pixel."""
    return np.linspace(0, FINEST, n_bands + 1)


def _spectrum(image: ArrayLike) -> NDArray[np.complex128]:
    values = np.asarray(image, np.float64)
    rows, columns = (_fade(length) for length in values.shape)
    weights = np.outer(rows, columns)
    # the mean as the window sees it, so that none of it leaks into the first ring
    mean = float(np.sum(weights * values) / np.sum(weights))
    return np.fft.fft2(weights * (values - mean))


def _fade(length: int) -> Values:
    return 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(length) + 0.5) / length)


def _power(spectrum: NDArray[np.complex128]) -> Values:
    return spectrum.real**2 + spectrum.imag**2


def _ring_sums(values: Values, n_rings: int) -> Values:
    rows, columns = (np.fft.fftfreq(length) for length in values.shape)
    radius = np.hypot(rows[:, None], columns[None, :])
    rings = np.floor(radius * (n_rings / FINEST)).astype(int)
    inside = (rings < n_rings) & (radius > 0)
    return np.bincount(rings[inside], values[inside], minlength=n_rings)
