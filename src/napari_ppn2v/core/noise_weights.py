"""How far a prediction is from a noisy observation, by the strength of the noise.

A masked pixel teaches the less the noisier it is. Least squares whose residuals differ
in variance are estimated best with the inverse of the variance as weight (Aitken 1935).
Where the variance v depends on the mean itself, the loss with that gradient is the
quasi-likelihood of Wedderburn 1974 (Biometrika 61, Eq. 1), as a deviance

    D(x, m)  =  2 c ∫ from m to x of (x - t) / v(t) dt

Its minimum is the mean of the observations whatever their distribution, also where v is
only roughly right, so that it can judge a validation as well; a squared error over v(m)
could be made small by predicting too much. Before there is a noise model, the
photon-transfer line of the noisy images gives v.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ppn2v.core.local_noise import LocalNoise
from napari_ppn2v.core.photon_transfer import transfer_line
from napari_ppn2v.core.tiling import middle_of
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

ENOUGH_PIXELS = 2_000_000  # more would not change a weight
LARGEST_SIDE = 1024  # pixels, of the middle of a frame that is looked at
LEAST_VARIANCE = 0.05
"""Of the variance of the data, added to that of the noise: what a dark pixel may weigh
is bounded, because the network's own error is part of every residual."""


@dataclass(frozen=True)
class NoiseDeviance:
    """Deviance of predictions from observations, where v(t) = slope·(t - dark) + floor.

    Attributes
    ----------
    slope : ADU
    dark : signal (ADU) below which v stays at `floor`
    floor : ADU²
    scale : c, ADU², by which a typical pixel counts its squared error
    """

    slope: float
    dark: float
    floor: float
    scale: float

    def __call__(self, mean: Tensor, observation: Tensor) -> Tensor:
        """Return D(x, m) in ADU², the shape of its arguments (ADU)."""
        x, m = observation - self.dark, mean - self.dark
        whole = self._integral(x, x) - self._integral(x, m)
        # rounding can leave a little less than nothing where both are equal
        return 2 * self.scale * whole.clamp_min(0)

    def _integral(self, x: Tensor, t: Tensor) -> Tensor:
        """Integrate (x - s) / v(s) over s from 0 to t; all above the dark signal."""
        lit, unlit = t.clamp_min(0), t.clamp_max(0)
        far = (self.slope / self.floor * lit).log1p() / self.slope
        bright = (x + self.floor / self.slope) * far - lit / self.slope
        return bright + (x * unlit - 0.5 * unlit.square()) / self.floor


def noise_deviance(
    images: Sequence[NDArray[np.float32]], std: float
) -> NoiseDeviance | None:
    """Return the deviance that fits the noise of some images, or None.

    Parameters
    ----------
    images : (Y, X) each, ADU, the noisy training images
    std : of all their pixels, ADU

    Returns
    -------
    NoiseDeviance
        None where the noise does not grow with the signal, or cannot be measured.
    """
    noise, n_pixels = LocalNoise(), 0
    try:
        for image in images:
            middle = middle_of(image, LARGEST_SIDE)
            noise.add(middle)
            n_pixels += middle.size
            if n_pixels >= ENOUGH_PIXELS:
                break
        rows = noise.rows()
        line = transfer_line(rows)
    except BadData:  # too small, flat or clipped for it: then all pixels count alike
        return None
    floor = LEAST_VARIANCE * std**2
    # a nearly level line would divide by nothing and change nothing
    if not line.slope * (rows.signal.max() - line.zero) > 0.1 * floor:
        return None
    variance = line.slope * (rows.signal - line.zero).clip(0) + floor
    scale = rows.count.sum() / (rows.count / variance).sum()
    return NoiseDeviance(line.slope, line.zero, floor, float(scale))
