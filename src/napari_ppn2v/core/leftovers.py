"""Structure that was left in a residual: where, how much, and what noise allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

WIDTHS = (1.0, 2.0, 4.0)
"""Standard deviations (pixels) of the Gaussians that residuals are smoothed with."""

_N_PLACES = 5
_APART = 12  # pixels between places that are named


@dataclass(frozen=True)
class Place:
    """One place of leftover structure.

    `excess` is the smoothed residual in units of the most that noise reaches;
    `amplitude`, ADU, how much brighter (+) or darker (-) the data are than the result,
    averaged over about 7 x 7 pixels.
    """

    image: int
    row: int
    column: int
    excess: float
    amplitude: float


@dataclass(frozen=True)
class LeftoverMap:
    """Leftover structure of one image.

    Attributes
    ----------
    excess : (Y, X), smoothed residual over the most that noise reaches, signed; beyond
        -1 and 1 it is structure
    standardised : (Y, X), the residual in standard deviations of the noise
    share : of the pixels beyond -1 and 1
    places : the strongest, of this image
    """

    excess: NDArray[np.float32]
    standardised: NDArray[np.float32]
    share: float
    places: tuple[Place, ...]


@dataclass(frozen=True)
class Leftover:
    """Leftover structure of all images.

    Attributes
    ----------
    share : of the pixels where the smoothed residual exceeds what noise reaches
    worst_share : the same, of the image where it is largest
    worst_image : number of that image, in the order they were looked at
    places : the strongest of all
    """

    share: float
    worst_share: float
    worst_image: int
    places: tuple[Place, ...]

    @classmethod
    def joined(cls, maps: Sequence[LeftoverMap]) -> Leftover:
        """Join the images; their number is their place in `maps`."""
        shares = [each.share for each in maps]
        worst = int(np.argmax(shares))
        places = [
            Place(number, p.row, p.column, p.excess, p.amplitude)
            for number, each in enumerate(maps)
            for p in each.places
        ]
        places.sort(key=lambda place: -abs(place.excess))
        total = float(np.average(shares, weights=[m.excess.size for m in maps]))
        return cls(total, shares[worst], worst, tuple(places[:_N_PLACES]))


def leftover_map(z: Floats, noise: Sequence[Floats], residual: Floats) -> LeftoverMap:
    """Compare smoothed residuals with smoothed noise.

    Parameters
    ----------
    z : (Y, X), standardised residual
    noise : simulated standardised residuals of the same image without any structure
    residual : (Y, X), ADU

    Notes
    -----
    For each width the threshold is the largest value, above and below, that any of
    the simulated residuals reaches; so skewed noise is not taken for bright structure.
    About one image in `len(noise)` holds a spot beyond it by chance, for each width
    and sign.
    """
    excess = np.zeros_like(z)
    for width in WIDTHS:
        found = gaussian_filter(z, width)
        alone = [gaussian_filter(each, width) for each in noise]
        high = max(float(each.max()) for each in alone)
        low = min(float(each.min()) for each in alone)
        limit = np.where(found > 0, max(high, 1e-12), max(-low, 1e-12))
        relative = found / limit
        excess = np.where(np.abs(relative) > np.abs(excess), relative, excess)
    return LeftoverMap(
        excess.astype(np.float32),
        z.astype(np.float32),
        float(np.mean(np.abs(excess) > 1)),
        _places(excess, gaussian_filter(residual, 2.0)),
    )


def _places(excess: Floats, amplitude: Floats) -> tuple[Place, ...]:
    left = np.where(np.abs(excess) > 1, np.abs(excess), 0.0)
    places: list[Place] = []
    while len(places) < _N_PLACES and left.max() > 0:
        row, column = (int(v) for v in np.unravel_index(left.argmax(), left.shape))
        value, size = float(excess[row, column]), float(amplitude[row, column])
        places.append(Place(0, row, column, value, size))
        rows = slice(max(0, row - _APART), row + _APART + 1)
        left[rows, max(0, column - _APART) : column + _APART + 1] = 0
    return tuple(places)
