"""Synthetic fluorescence scenes in 0..1: filaments, nuclei, puncta, a diaphragm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_ppn2v.core.photon_statistics import Floats

Shape = tuple[int, int]

_BACKGROUND = 0.03  # out-of-focus light, as a share of the peak


def filaments(shape: Shape, rng: np.random.Generator) -> Floats:
    """Curved, crossing filaments of different brightness on a soft haze."""
    image = np.zeros(shape)
    length = 4 * max(shape)
    for _ in range(max(4, shape[0] * shape[1] // 5000)):
        turning = gaussian_filter1d(rng.normal(size=length), 40, mode="wrap") * 0.2
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(turning)
        rows = rng.uniform(0, shape[0]) + np.cumsum(0.4 * np.sin(angle))
        columns = rng.uniform(0, shape[1]) + np.cumsum(0.4 * np.cos(angle))
        at = (rows.astype(int) % shape[0], columns.astype(int) % shape[1])
        np.add.at(image, at, rng.uniform(0.4, 1.0))
    haze = _stretched(gaussian_filter(image, 10, mode="wrap"))
    return _with_background(_stretched(gaussian_filter(image, 1.2)) + 0.15 * haze)


def nuclei(shape: Shape, rng: np.random.Generator) -> Floats:
    """Textured ellipses with soft rims."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(float)
    image = np.zeros(shape)
    for _ in range(max(3, shape[0] * shape[1] // 3000)):
        centre = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        long, short, angle = rng.uniform(9, 16), rng.uniform(7, 12), rng.uniform(0, 3.2)
        dy, dx = rows - centre[0], columns - centre[1]
        along = (dx * np.cos(angle) + dy * np.sin(angle)) / long
        across = (dy * np.cos(angle) - dx * np.sin(angle)) / short
        rim = 6 * (np.hypot(along, across) - 1)
        body = rng.uniform(0.4, 1.0) / (1 + np.exp(np.clip(rim, -40, 40)))
        image = np.maximum(image, body)
    texture = _stretched(gaussian_filter(rng.normal(size=shape), 2.5, mode="wrap"))
    return _with_background(gaussian_filter(image * (0.5 + 0.5 * texture), 1.0))


def puncta(shape: Shape, rng: np.random.Generator) -> Floats:
    """Diffraction-limited spots of log-normal brightness on an uneven background."""
    image = np.zeros(shape)
    count = max(4, shape[0] * shape[1] // 400)
    at = (rng.integers(0, shape[0], count), rng.integers(0, shape[1], count))
    np.add.at(image, at, rng.lognormal(0, 0.5, count))
    haze = _stretched(gaussian_filter(rng.normal(size=shape), 16, mode="wrap"))
    return _with_background(_stretched(gaussian_filter(image, 1.4)) + 0.1 * haze)


def diaphragm(shape: Shape) -> Floats:
    """Defocused, half-opened field diaphragm: every level between dark and peak."""
    rows = np.linspace(-0.5, 0.5, shape[0])[:, None]
    columns = np.linspace(-0.5, 0.5, shape[1])[None, :]
    opening = 1 / (1 + np.exp((np.hypot(rows - 0.04, columns + 0.03) - 0.32) * 14))
    return _stretched(0.7 * opening + 0.3 * (columns + 0.5) ** 2)


SCENES: dict[str, Callable[[Shape, np.random.Generator], Floats]] = {
    "filaments": filaments,
    "nuclei": nuclei,
    "puncta": puncta,
}


def _stretched(image: Floats) -> Floats:
    """Map the range to 0..1."""
    return (image - image.min()) / max(float(np.ptp(image)), 1e-12)


def _with_background(image: Floats) -> Floats:
    return _BACKGROUND + (1 - _BACKGROUND) * _stretched(image)
