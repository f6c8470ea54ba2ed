"""Blind-spot masks: which pixels are hidden, and what stands in their place.

The network must predict a masked pixel without any trace of its value. Two rules
make that exact, borders included: the replacement of a masked pixel is made of its
neighbours without the pixel itself, and no masked pixel serves as a neighbour, so
that no masked value reaches the network's input anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# edge neighbours are closer than corner neighbours
_MEAN_WEIGHTS = ((-1, -1, 0.5), (-1, 0, 1.0), (-1, 1, 0.5), (0, -1, 1.0), (0, 1, 1.0),
                 (1, -1, 0.5), (1, 0, 1.0), (1, 1, 0.5))  # fmt: skip
RANDOM_RADIUS = 2  # the published window of 5 x 5


def stratified_mask(
    shape: tuple[int, int, int], box: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Hide one pixel, at a random place, in every box of `box` x `box` pixels.

    Parameters
    ----------
    shape : (B, Y, X)
        Incomplete boxes at the far borders hide a pixel with the share of their
        area that lies inside, so that every pixel is hidden equally often.

    Returns
    -------
    (B, Y, X) bool, True where hidden
    """
    batch, height, width = shape
    rows, columns = -(-height // box), -(-width // box)
    place = rng.integers(0, box * box, (batch, rows, columns))
    y = np.arange(rows)[:, None] * box + place // box
    x = np.arange(columns)[None, :] * box + place % box
    mask = np.zeros((batch, rows * box, columns * box), dtype=bool)
    mask[np.arange(batch)[:, None, None], y, x] = True
    return np.ascontiguousarray(mask[:, :height, :width])


def lattice_mask(
    shape: tuple[int, int], box: int, phase: tuple[int, int]
) -> NDArray[np.bool_]:
    """Hide every `box`-th pixel in y and x, starting at `phase`: (Y, X) bool.

    The box x box phases together hide each pixel exactly once.
    """
    mask = np.zeros(shape, dtype=bool)
    mask[phase[0] :: box, phase[1] :: box] = True
    return mask


def replace_by_mean(
    images: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Replace hidden pixels by the weighted mean of their unmasked neighbours.

    Parameters
    ----------
    images : (B, Y, X)
    mask : (B, Y, X) bool

    Returns
    -------
    (B, Y, X), a copy. A pixel without any unmasked neighbour becomes the mean of
    all unmasked pixels of its image.
    """
    where = np.nonzero(mask)
    padded, known = _pad(images, mask, 1)
    total = np.zeros(len(where[0]), dtype=np.float32)
    weight = np.zeros_like(total)
    for dy, dx, w in _MEAN_WEIGHTS:
        at = (where[0], where[1] + (1 + dy), where[2] + (1 + dx))
        usable = known[at]
        total += np.float32(w) * np.where(usable, padded[at], np.float32(0))
        weight += np.float32(w) * usable
    result = images.copy()
    alone = weight == 0
    weight[alone] = 1
    total[alone] = _mean_of_known(images, mask)[where[0][alone]]
    result[where] = total / weight
    return result


def replace_by_random_neighbour(
    images: NDArray[np.float32],
    mask: NDArray[np.bool_],
    rng: np.random.Generator,
    radius: int = RANDOM_RADIUS,
) -> NDArray[np.float32]:
    """Replace each hidden pixel by a random unmasked pixel of its window.

    The replacement of Krull et al. 2019, section 3.5, in a window of
    (2 radius + 1)², with the pixel itself and other masked pixels excluded.
    Arguments and result as in `replace_by_mean`.
    """
    where = np.nonzero(mask)
    padded, known = _pad(images, mask, radius)
    side = 2 * radius + 1
    shifts = np.array([(i // side, i % side) for i in range(side * side)])
    at = (where[0][:, None], where[1][:, None] + shifts[:, 0],
          where[2][:, None] + shifts[:, 1])  # fmt: skip
    lottery = np.where(known[at], rng.random((len(where[0]), side * side)), -1.0)
    chosen = lottery.argmax(axis=1)
    index = np.arange(len(chosen))
    values = padded[at][index, chosen]
    alone = lottery[index, chosen] < 0
    values[alone] = _mean_of_known(images, mask)[where[0][alone]]
    result = images.copy()
    result[where] = values
    return result


def _pad(
    images: NDArray[np.float32], mask: NDArray[np.bool_], margin: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    around = ((0, 0), (margin, margin), (margin, margin))
    return np.pad(images, around), np.pad(~mask, around)


def _mean_of_known(
    images: NDArray[np.float32], mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    count = np.maximum((~mask).sum(axis=(1, 2)), 1)
    total = np.where(mask, np.float32(0), images).sum(axis=(1, 2))
    return (total / count).astype(np.float32)
