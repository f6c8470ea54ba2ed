"""How likely a noise model makes observations that it was not fitted to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from evidence.noise_models.pairs import PixelPairs
    from napari_ppn2v.core.noise_models.base import NoiseModel

LOWEST = math.log(1e-28)
"""Log density below which a model calls an observation impossible. An empty bin of a
histogram counts as 1e-30 per ADU, in the published program and in ours."""

PIXELS_AT_ONCE = 2**19


@dataclass(frozen=True)
class HeldOut:
    """What a model makes of pairs; means over pixels in nats, densities per ADU.

    Attributes
    ----------
    nll : negative log-likelihood of all pixels, with the floors that the model uses
    impossible : share of the pixels with a density below 1e-28 per ADU
    nll_possible : negative log-likelihood of the other pixels
    """

    nll: float
    impossible: float
    nll_possible: float


def held_out(model: NoiseModel, pairs: PixelPairs) -> HeldOut:
    """Judge a model by pairs, pixel by pixel."""
    values = log_likelihoods(model, pairs)
    possible = values > LOWEST
    return HeldOut(
        nll=-float(values.mean()),
        impossible=1 - float(possible.mean()),
        nll_possible=-float(values[possible].mean()) if possible.any() else math.nan,
    )


def log_likelihoods(model: NoiseModel, pairs: PixelPairs) -> np.ndarray:
    """Return log p(x|s) of each pair in nats, density per ADU: (P,) float64."""
    found = []
    with torch.inference_mode():
        for first in range(0, len(pairs), PIXELS_AT_ONCE):
            part = slice(first, first + PIXELS_AT_ONCE)
            x, s = (
                torch.from_numpy(np.ascontiguousarray(values[part], np.float32))
                for values in (pairs.observation, pairs.signal)
            )
            found.append(model.log_likelihood(x, s).double().numpy())
    return np.concatenate(found)
