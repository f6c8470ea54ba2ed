"""Pixels far above the denoised image, which are noise or bright pixels that were lost.

A noise model that was fitted to the data themselves may hold lost bright pixels as a
long tail, so it is no witness. A camera is: the variance of the noise at each signal
fixes how long its tail can be. Of all cameras of the same variance, an EMCCD without
read noise (Poisson, then gamma distributed) has the longest one; the residual is
compared with that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RARE = 1e-4
"""Share of the pixels of a simulated camera that are counted as far above."""

OFTEN = 1e-2
"""Share of the pixels of one frame that stick out by chance, for repeated places."""

_FEWEST_FRAMES = 4
_CHANCE = 0.05  # places by chance in a whole recording
_N_PLACES = 5


@dataclass(frozen=True)
class Outliers:
    """Pixels that the noise does not explain.

    Attributes
    ----------
    found, expected : number of pixels far above the denoised image, and how many of
        those a camera of this variance has
    n_repeated : places (y, x) that stick out in more frames than chance allows; None
        where fewer than four frames of one size were looked at
    repeated : the first of them
    n_frames, fewest : frames looked at, and in how many a place must stick out
    """

    found: int
    expected: float
    n_repeated: int | None
    repeated: tuple[tuple[int, int], ...]
    n_frames: int
    fewest: int

    @property
    def excess(self) -> float:
        """How many times as many as expected."""
        return self.found / max(self.expected, 1.0)


class OutlierTally:
    """Counts outliers in image after image.

    Parameters
    ----------
    seed : of the simulated camera
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._found = 0
        self._expected = 0.0
        self._sticking: NDArray[np.int32] | None = None
        self._n_frames = 0

    def add(self, z: Floats, noise: Floats, signal: Floats, sd: Floats) -> None:
        """Take one image in.

        Parameters
        ----------
        z, noise : (Y, X), standardised residual, and a simulated one of the noise model
        signal, sd : (Y, X), denoised image and standard deviation of its noise, ADU
        """
        camera = self._camera(signal, sd)
        threshold = float(np.quantile(camera, 1 - RARE))
        self._found += int((z > threshold).sum())
        self._expected += float((camera > threshold).sum())
        sticking = z > float(np.quantile(np.maximum(noise, camera), 1 - OFTEN))
        if self._sticking is None:
            self._sticking = np.zeros(z.shape, np.int32)
        if self._sticking.shape == z.shape:
            self._sticking += sticking
            self._n_frames += 1

    def result(self) -> Outliers:
        """Sum up."""
        repeated: tuple[tuple[int, int], ...] = ()
        count, fewest = None, 0
        if self._sticking is not None and self._n_frames >= _FEWEST_FRAMES:
            fewest = self._fewest(self._sticking.size)
            rows, columns = np.nonzero(self._sticking >= fewest)
            order = np.argsort(-self._sticking[rows, columns], kind="stable")
            count = len(rows)
            repeated = tuple((int(rows[i]), int(columns[i])) for i in order[:_N_PLACES])
        return Outliers(
            self._found, self._expected, count, repeated, self._n_frames, fewest
        )

    def _fewest(self, n_pixels: int) -> int:
        """Frames in which a place must stick out to be more than chance."""
        counts = np.arange(1, self._n_frames + 1)
        by_chance = n_pixels * binom.sf(counts - 1, self._n_frames, OFTEN)
        enough = counts[by_chance < _CHANCE]
        return int(enough[0]) if len(enough) else self._n_frames + 1

    def _camera(self, signal: Floats, sd: Floats) -> Floats:
        """Standardised noise of an EMCCD of this variance; Gaussian what is left."""
        slope, dark = _photon_line(signal, sd)
        gain = slope / 2  # excess noise factor 2
        photons = np.maximum(signal - dark, 0) / gain
        charge = self._rng.standard_gamma(self._rng.poisson(photons).astype(float))
        variance = 2 * gain**2 * photons
        rest = np.sqrt(np.maximum(sd**2 - variance, 0))
        noise = gain * (charge - photons) + rest * self._rng.standard_normal(sd.shape)
        return noise / np.sqrt(np.maximum(sd**2, variance))


def _photon_line(signal: Floats, sd: Floats) -> tuple[float, float]:
    """Slope of the variance over the signal, and where its line meets zero, ADU.

    All noise is taken for photon noise: of all cameras of this variance that one has
    the longest tail.
    """
    low, high = (float(v) for v in np.quantile(signal, [0.02, 0.98]))
    variance = sd**2
    flat = float(variance.mean())
    if high <= low:
        return max(flat, 1e-9) ** 0.5, low - max(flat, 1e-9) ** 0.5
    centred = signal - signal.mean()
    slope = float((centred * variance).sum() / (centred**2).sum())
    if slope <= 1e-3 * flat / (high - low):  # Gaussian noise: thousands of photons
        slope = 1e-3 * flat / (high - low)
    return slope, float(signal.mean()) - flat / slope
