"""Estimates averaged over the eight orientations of an image.

A network is trained on patches in all orientations, but does not treat them alike; the
errors that differ between them average out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.inference import Passes, RegionEstimate
from napari_ppn2v.core.tiling import Span

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Image = NDArray[np.float32]

N_ORIENTATIONS = 8

Whole = Callable[["Image", Span, Span], Passes]
"""Estimates all of an image; both spans keep everything."""


def turned(image: Image, number: int) -> Image:
    """Return orientation `number` (0 to 7) of an image: quarter turns, then flipped."""
    quarter = np.rot90(image, number % 4)
    return np.ascontiguousarray(quarter[:, ::-1] if number >= 4 else quarter)


def turned_back(image: Image, number: int) -> Image:
    """Undo `turned`."""
    quarter = image[:, ::-1] if number >= 4 else image
    return np.rot90(quarter, -(number % 4))


def averaged_passes(
    estimate: Whole, observation: Image, rows: Span, columns: Span, stride: int
) -> Passes:
    """Estimate a tile in every orientation and average.

    Parameters
    ----------
    estimate : of a network that sees every pixel
    observation : (Y, X), ADU
        The pixels that `rows` and `columns` read, halo included.
    stride : of the network
        The tile is padded to its multiples before it is turned, so that the cells of
        the poolings stay those of the whole image: tiled equals whole.

    Returns
    -------
    RegionEstimate
        Means of the estimates; of the standard deviation the root mean square.
    """
    height, width = observation.shape
    padded = np.pad(
        observation, ((0, -height % stride), (0, -width % stride)), mode="edge"
    )
    total: list[Image | None] = [None, None, None]
    for number in range(N_ORIENTATIONS):
        image = turned(padded, number)
        spans = [Span(0, size, 0, size) for size in image.shape]
        passes = estimate(image, *spans)
        while True:
            try:
                done = next(passes)
            except StopIteration as end:
                found: RegionEstimate = end.value
                break
            yield (number + done) / N_ORIENTATIONS
        std = found.posterior_std
        parts = (found.prior_mean, found.mmse, None if std is None else std**2)
        for index, part in enumerate(parts):
            if part is not None:
                whole = turned_back(part, number)[:height, :width]
                kept = whole[rows.inner, columns.inner] / np.float32(N_ORIENTATIONS)
                before = total[index]
                total[index] = kept if before is None else before + kept
    mean, mmse, variance = total
    assert mean is not None
    return RegionEstimate(mean, mmse, None if variance is None else np.sqrt(variance))
