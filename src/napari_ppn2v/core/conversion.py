"""Images in the number type that was asked for, with a count of what did not fit."""

from __future__ import annotations

import numpy as np


def as_dtype(block: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int, int]:
    """Round and clip an image into another type.

    Parameters
    ----------
    block : finite values, ADU
    dtype : integers are rounded to, floats kept as they are

    Returns
    -------
    image, below, above
        The image in `dtype`, and the number of pixels below and above its range that
        were set to its limits.
    """
    # Python numbers compare exactly, also with the largest 64-bit integers
    smallest, largest = _limits(dtype)
    values = np.rint(block) if dtype.kind in "iu" else block
    if not block.size:
        return values.astype(dtype), 0, 0
    if smallest <= values.min().item() and values.max().item() <= largest:
        return values.astype(dtype), 0, 0
    values = values.astype(np.float64)
    below = values < float(smallest)
    # float64 rounds the largest 64-bit integers up to a value that is beyond them
    edge = float(largest)
    above = values >= edge if int(edge) > largest else values > edge
    converted = np.where(below | above, 0, values).astype(dtype)
    converted[below], converted[above] = smallest, largest
    return converted, int(below.sum()), int(above.sum())


def _limits(dtype: np.dtype) -> tuple[float, float]:
    """Smallest and largest value of a type, as Python numbers."""
    if dtype.kind == "f":
        return float(np.finfo(dtype).min), float(np.finfo(dtype).max)
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
