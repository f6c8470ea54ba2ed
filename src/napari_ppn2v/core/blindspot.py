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
    images: NDArray[np.float32], mask: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Replace each hidden pixel by a random unmasked pixel of its 5 x 5 window.

    The replacement of Krull et al. 2019, section 3.5, with the pixel itself and
    other masked pixels excluded. Arguments and result as in `replace_by_mean`.
    """
    side = 2 * RANDOM_RADIUS + 1
    lottery = rng.random((int(mask.sum()), side * side), dtype=np.float32)
    return replace_by_lottery(images, mask, lottery, RANDOM_RADIUS)


def replace_by_lottery(
    images: NDArray[np.float32],
    mask: NDArray[np.bool_],
    lottery: NDArray[np.float32],
    radius: int,
) -> NDArray[np.float32]:
    """Replace each hidden pixel by the unmasked pixel that drew the highest number.

    Parameters
    ----------
    lottery : (P, (2 radius + 1)²), numbers in [0, 1)
        One row for each hidden pixel, one column for each place of its window.
    """
    where = np.nonzero(mask)
    padded, known = _pad(images, mask, radius)
    side = 2 * radius + 1
    shifts = np.array([(i // side, i % side) for i in range(side * side)])
    rows = where[1][:, None] + shifts[:, 0]
    columns = where[2][:, None] + shifts[:, 1]
    at = (where[0][:, None], rows, columns)
    usable = np.where(known[at], lottery, np.float32(-1))
    winner = usable.argmax(axis=1)
    index = np.arange(len(winner))
    values = padded[at][index, winner]
    alone = usable[index, winner] < 0
    values[alone] = _mean_of_known(images, mask)[where[0][alone]]
    result = images.copy()
    result[where] = values
    return result


def position_lottery(
    y: NDArray[np.integer], x: NDArray[np.integer], n_numbers: int
) -> NDArray[np.float32]:
    """Return numbers in [0, 1) that depend on the place of a pixel alone: (P, n).

    With them a blind pass does the same to a pixel whichever tile it lies in. The
    bits are mixed by multiplication and shifts, as hash functions do.
    """
    seed = (y.astype(np.uint64) << np.uint64(32)) ^ x.astype(np.uint64)
    places = np.arange(n_numbers, dtype=np.uint64)
    mixed: NDArray[np.uint64] = seed[:, None] * np.uint64(n_numbers) + places
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return ((mixed >> np.uint64(40)) / np.float32(2**24)).astype(np.float32)


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
