"""Uniform light and small spots, added to the patches that refinement learns from.

A network learns what images look like from the images alone. Where these never show
bright uniform light it has learnt that bright places hold structure, and makes some of
the noise; where they show no small spots it takes one for noise and removes it. A few
patches of both teach it that either may occur. What they bring and cost, measured:
docs/explanation/closing-the-gap.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel

UNIFORM_SHARE = 0.1
"""Of the patches that show uniform light; each takes the place of one of an image."""
SPOTS_SHARE = 0.25
"""Of the patches that have spots; with some in all, noise would be taken for spots."""
PIXELS_PER_SPOT = 64**2  # of a patch that has spots; at least one
SPOT_WIDTH = (0.7, 2.0)  # standard deviation, pixels: of a point in a sharp image
SPOT_HEIGHT = (2.0, 20.0)  # standard deviations of the noise at its place
# of the images' signals, per cent: single brightest pixels would stretch the range
_LEVELS = (0.1, 99.5)
_ENOUGH_PIXELS = 1_000_000
_FAINT = 0.01  # of a spot's height: where its light no longer counts


@dataclass(frozen=True)
class AddedScenes:
    """Puts uniform light and spots into patches.

    Attributes
    ----------
    levels : lowest and highest signal of uniform light, ADU
    noise_model : on the CPU; a spot is as high as its noise demands, and never higher
        than the signals that it covers
    """

    levels: tuple[float, float]
    noise_model: NoiseModel

    @classmethod
    def like(
        cls, images: Sequence[NDArray[np.float32]], noise_model: NoiseModel
    ) -> Self:
        """Return scenes as bright as some images (Y, X), ADU."""
        every = max(1, sum(image.size for image in images) // _ENOUGH_PIXELS)
        signals = np.concatenate([image.ravel()[::every] for image in images])
        low, high = np.percentile(signals, _LEVELS)
        return cls((float(low), float(high)), noise_model.to("cpu"))

    def into(
        self,
        patches: NDArray[np.float32],
        held_out: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return patches (B, Y, X), ADU, some with these scenes, and what is held out.

        Nothing is held out of uniform light, which no image has shown.
        """
        signal, held_out = np.array(patches, np.float32), held_out.copy()
        is_uniform = rng.uniform(size=len(signal)) < UNIFORM_SHARE
        levels = rng.uniform(*self.levels, size=len(signal))
        signal[is_uniform] = levels[is_uniform, None, None]
        held_out[is_uniform] = False
        for patch in np.flatnonzero(rng.uniform(size=len(signal)) < SPOTS_SHARE):
            for _ in range(max(1, rng.poisson(signal[patch].size / PIXELS_PER_SPOT))):
                self._add_spot(signal[patch], rng)
        return signal, held_out

    def _add_spot(self, patch: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Add the light of a small round thing somewhere, in place."""
        import torch

        place = rng.uniform(0, patch.shape)
        width, height = (
            float(np.exp(rng.uniform(*np.log(ends))))
            for ends in (SPOT_WIDTH, SPOT_HEIGHT)
        )
        rows, columns = (
            np.exp(-((np.arange(side) - middle) ** 2) / (2 * width**2))
            for side, middle in zip(patch.shape, place, strict=True)
        )
        shape = np.outer(rows, columns)
        below = patch[int(place[0]), int(place[1])]
        _, variance = self.noise_model.moments(torch.tensor([below]))
        # beyond what it covers, the noise model would draw noise of another mean
        lit = shape > _FAINT
        room = (self.noise_model.signal_range[1] - patch[lit]) / shape[lit]
        wanted = height * max(0.0, float(variance)) ** 0.5
        light = max(0.0, min(wanted, float(room.min(initial=np.inf))))
        patch += (light * shape).astype(np.float32)
