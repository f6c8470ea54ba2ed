"""Images that show what a denoiser makes of nothing, and of small bright things."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evidence.data_sets import BRIGHT_CAMERA, SIMULATED_CAMERA

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evidence.data_sets import DataSet, Task
    from napari_ppn2v.core.camera import Camera

    Stack = NDArray[np.float32]

CAMERAS = {"bright": BRIGHT_CAMERA, "small": SIMULATED_CAMERA}
"""Cameras of simulated data sets, exactly; that of a recording is fitted."""

LEVELS = (10, 50, 95)
"""Signals of the flat fields, per cent of the truth's pixels that are darker."""

HEIGHTS = (3.0, 5.0, 10.0)
"""Of the peaks, in standard deviations of the noise at their place."""

SHAPES = {"pixel": 0.0, "point source": 1.0}
"""Standard deviation (pixels) of a peak's width; 0 for a single pixel."""

BOX, MARGIN = 32, 6
"""One peak in each square of `BOX` pixels, at least `MARGIN` pixels from its border."""


def scored_task(source: DataSet) -> Task:
    """Return the images scored of every method alike: those of CARE's first fold.

    CARE, trained once, may be scored on no others.
    """
    everything = source.tasks("unsupervised")[0]
    chosen = list(source.tasks("supervised")[0].images)
    return replace(
        everything,
        name="scored",
        scored=everything.scored[chosen],
        truth=everything.truth[chosen],
        images=tuple(chosen),
    )


def flat_fields(
    camera: Camera, level: float, *, n: int, size: int, rng: np.random.Generator
) -> Stack:
    """Expose a uniform signal (ADU): (n, size, size) images of noise alone."""
    return camera.expose(np.full((n, size, size), level), rng).astype(np.float32)


@dataclass(frozen=True)
class Peaks:
    """Light that is added to images.

    Attributes
    ----------
    light : (N, Y, X) ADU above the signal
    places : (P, 3) image, row and column of each peak
    heights : (P,) ADU, at its place
    factors : (P,) its height in standard deviations of the noise there, of `HEIGHTS`
    """

    light: NDArray[np.float64]
    places: NDArray[np.int64]
    heights: NDArray[np.float64]
    factors: NDArray[np.float64]


def add_peaks(
    signal: NDArray, camera: Camera, width: float, rng: np.random.Generator
) -> Peaks:
    """Place peaks far from each other, of each of `HEIGHTS` about as many.

    Parameters
    ----------
    signal : (N, Y, X) ADU; its noise in `camera` is the measure of the heights
    width : standard deviation in pixels of a Gaussian, 0 for single pixels

    Raises
    ------
    ValueError  If the images are smaller than the square of one peak.
    """
    n, height, side = signal.shape
    corners = [
        (image, row, column)
        for image in range(n)
        for row in range(0, height - BOX + 1, BOX)
        for column in range(0, side - BOX + 1, BOX)
    ]
    if not corners:
        raise ValueError(f"Images of {height} x {side} are smaller than {BOX} pixels.")
    shift = rng.integers(MARGIN, BOX - MARGIN, size=(len(corners), 2))
    places = np.array(corners) + np.column_stack([np.zeros(len(corners), int), shift])
    factors = rng.permutation(np.resize(HEIGHTS, len(corners)))
    noise = np.sqrt(camera.moments(signal)[1])
    heights = factors * noise[tuple(places.T)]
    light = np.zeros(signal.shape)
    profile = _profile(width)
    reach = len(profile) // 2
    for (image, row, column), peak in zip(places, heights, strict=True):
        rows = slice(row - reach, row + reach + 1)
        columns = slice(column - reach, column + reach + 1)
        light[image, rows, columns] += peak * profile
    return Peaks(light, places, heights, factors)


def _profile(width: float) -> NDArray[np.float64]:
    """Return a square of odd side that is 1 in the middle."""
    if width == 0:
        return np.ones((1, 1))
    reach = min(MARGIN, int(np.ceil(4 * width)))
    line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * width**2))
    return np.outer(line, line)


def expose_with_and_without(
    camera: Camera, signal: NDArray, lights: list[NDArray], rng: np.random.Generator
) -> tuple[Stack, list[Stack]]:
    """Expose a signal, and the same once more for each added light.

    Photons are independent, so that the noise of a sum of lights is that of each light
    added up: the added light brings noise of its own, and everything else stays as it
    is, bit for bit where there is none.

    Parameters
    ----------
    signal, lights : (N, Y, X) each, ADU; the lights are counted from 0

    Returns
    -------
    The exposure without and those with each light, (N, Y, X) each.
    """
    exact = replace(camera, rounded=False)
    # the read noise is in the first exposure; a camera must have some
    photons = replace(exact, offset=0.0, read_noise=1e-3)
    base = exact.expose(signal, rng)
    added = [np.where(light > 0, photons.expose(light, rng), 0) for light in lights]
    return _read_out(camera, base), [_read_out(camera, base + more) for more in added]


def _read_out(camera: Camera, values: NDArray) -> Stack:
    low, high = camera.limits
    if low is None:
        return values.astype(np.float32)
    return np.clip(np.rint(values), low, high).astype(np.float32)


def recovered_heights(with_peaks: NDArray, without: NDArray, peaks: Peaks) -> list:
    """Mean share of the peaks' true height that an output shows, for each height.

    Parameters
    ----------
    with_peaks, without : (N, Y, X) outputs, ADU

    Returns
    -------
    In the order of `HEIGHTS`: 1 where all is kept, 0 where nothing is left.
    """
    at = tuple(peaks.places.T)
    rise = np.asarray(with_peaks, float)[at] - np.asarray(without, float)[at]
    shares = rise / peaks.heights
    return [float(np.mean(shares[peaks.factors == factor])) for factor in HEIGHTS]


def left_of_noise(outputs: NDArray, level: float, noise: float) -> tuple[float, float]:
    """Return the spread of denoised flat fields, and their mean error, over the noise.

    Parameters
    ----------
    outputs : (n, Y, X) ADU
    level, noise : mean and standard deviation, ADU, of what was exposed

    Returns
    -------
    Standard deviation within an image, and mean minus level, both over `noise`.
    """
    values = np.asarray(outputs, float)
    spread = np.sqrt(np.mean(np.var(values, axis=(1, 2))))
    return float(spread / noise), float((values.mean() - level) / noise)
