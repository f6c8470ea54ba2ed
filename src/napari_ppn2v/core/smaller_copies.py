"""Smaller copies of denoised images: finer structures, and less error, for nothing.

Denoised images are mostly too smooth, and a network that is taught on them alone
smooths too much. Shrunk a little, their structures are as fine again as they were in
truth, and what is left of the noise is averaged. Where nothing was lost, copies would
teach structures that the images do not have: there are as many as structures are
missing. What they bring, measured: docs/explanation/closing-the-gap.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.frames import evenly_spread
from napari_ppn2v.core.training_stack import TrainingStack

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTOR = 1.4  # 2 brings less on dark data, and nothing on bright data
ALL_BELOW, NONE_ABOVE = 0.9, 1.0
_NOTHING = 0.01


def share_of_copies(held: float | None) -> float:
    """Return the share of the images that have a copy.

    Parameters
    ----------
    held : part of the fine structures that they hold, see `fine_structures`; None
        where it cannot be told, because nothing fine is seen: then all have one
    """
    if held is None:
        return 1.0
    return float(np.clip((NONE_ABOVE - held) / (NONE_ABOVE - ALL_BELOW), 0, 1))


def with_smaller_copies(
    stack: TrainingStack, smallest_side: int, share: float = 1.0
) -> TrainingStack:
    """Return the images, and some of them once more, `FACTOR` times smaller.

    Parameters
    ----------
    stack : denoised images, without targets
    smallest_side : pixels; a copy with a shorter side than that is left out
    share : of the images, evenly spread, that have a copy

    Returns
    -------
    TrainingStack
        In which a pixel of a copy is held out if any that it was made of is.
    """
    images, held_out = list(stack.images), list(stack.held_out)
    chosen = evenly_spread(len(images), round(share * len(images)))
    for image, held in [(images[i], held_out[i]) for i in chosen]:
        rows, columns = (round(side / FACTOR) for side in image.shape)
        if min(rows, columns) < smallest_side:
            continue
        copy = _shrunk(image, rows, columns)
        # at sharp edges the interpolation swings beyond the values that it is made of
        images.append(copy.clip(image.min(), image.max()))
        part = _shrunk(held.astype(np.float32), rows, columns)
        held_out.append(np.abs(part) > _NOTHING)
    return TrainingStack(images, held_out)


def _shrunk(image: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    import torch
    from torch.nn.functional import interpolate

    whole = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    smaller = interpolate(whole, size=(rows, columns), mode="bicubic", antialias=True)
    return smaller[0, 0].numpy()
