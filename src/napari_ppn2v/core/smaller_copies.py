"""Smaller copies of denoised images: finer structures, and less error, for nothing.

Denoised images are too smooth, and a network that is taught on them alone smooths too
much. Shrunk a little, their structures are as fine again as they were in truth, and
what is left of the noise is averaged. What it brings, measured:
docs/explanation/closing-the-gap.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.training_stack import TrainingStack

if TYPE_CHECKING:
    from numpy.typing import NDArray

FACTOR = 1.4  # 2 brings less on dark data, and nothing on bright data
_NOTHING = 0.01


def with_smaller_copies(stack: TrainingStack, smallest_side: int) -> TrainingStack:
    """Return the images, and each of them once more, `FACTOR` times smaller.

    Parameters
    ----------
    stack : denoised images, without targets
    smallest_side : pixels; a copy with a shorter side than that is left out

    Returns
    -------
    TrainingStack
        In which a pixel of a copy is held out if any that it was made of is.
    """
    images, held_out = list(stack.images), list(stack.held_out)
    for image, held in zip(stack.images, stack.held_out, strict=True):
        rows, columns = (round(side / FACTOR) for side in image.shape)
        if min(rows, columns) < smallest_side:
            continue
        copy = _shrunk(image, rows, columns)
        # at sharp edges the interpolation swings beyond the values that it is made of
        images.append(copy.clip(image.min(), image.max()))
        share = _shrunk(held.astype(np.float32), rows, columns)
        held_out.append(np.abs(share) > _NOTHING)
    return TrainingStack(images, held_out)


def _shrunk(image: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    import torch
    from torch.nn.functional import interpolate

    whole = torch.from_numpy(np.ascontiguousarray(image))[None, None]
    smaller = interpolate(whole, size=(rows, columns), mode="bicubic", antialias=True)
    return smaller[0, 0].numpy()
