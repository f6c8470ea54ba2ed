"""The pixels that training draws from: whole frames, or crops where memory is short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.frames import check_grey_values
from napari_ppn2v.core.prior_network import Normalisation
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.frames import Frames

DEFAULT_PIXELS = 128_000_000  # 512 MB as float32


@dataclass(frozen=True)
class TrainingStack:
    """Observations to train on, in memory.

    Attributes
    ----------
    images : list of (Y, X) float32, ADU; sizes may differ
    held_out : list of (Y, X) bool
        Pixels never used as training targets; validation is measured on them.
        Where an image is held out as a whole, no crop is taken from it either.
    targets : list of (Y, X) float32, ADU, or None
        Clean or second noisy images for supervised or noisy-pair training.
    """

    images: list[NDArray[np.float32]]
    held_out: list[NDArray[np.bool_]]
    targets: list[NDArray[np.float32]] | None = None

    @property
    def n_pixels(self) -> int:
        """Number of pixels in all images."""
        return sum(image.size for image in self.images)

    def normalisation(self) -> Normalisation:
        """Mean and standard deviation over all pixels, ADU.

        Raises
        ------
        BadData  If these are no grey values, see `frames.check_grey_values`.
        """
        total = sum(float(image.sum(dtype=np.float64)) for image in self.images)
        mean = total / self.n_pixels
        squares = sum(
            float(np.square(image - np.float32(mean), dtype=np.float64).sum())
            for image in self.images
        )
        std = float(np.sqrt(squares / self.n_pixels))
        check_grey_values(mean, std)
        return Normalisation(mean, std)


def collect_training_stack(
    sources: Sequence[Frames],
    *,
    patch_size: int,
    held_out_share: float,
    rng: np.random.Generator,
    held_out_frames: int = 0,
    targets: Sequence[Frames] | None = None,
    max_pixels: int = DEFAULT_PIXELS,
) -> TrainingStack:
    """Read frames, or evenly spread random crops of them, and hold out regions.

    Parameters
    ----------
    sources : stacks to train on
    patch_size : side of a training patch, pixels; held-out regions are no larger
    held_out_share : share of the pixels, spread as square regions over all images
    held_out_frames
        Hold out this many whole frames at the end instead (as PPN2V does), if there
        are more frames than that.
    targets : stacks of the same shape as `sources`, if there are any
    max_pixels : above this, crops are read instead of whole frames
    """
    reading = read_training_stack(
        sources,
        patch_size=patch_size,
        held_out_share=held_out_share,
        rng=rng,
        held_out_frames=held_out_frames,
        targets=targets,
        max_pixels=max_pixels,
        stop=StopToken(),
    )
    while True:
        try:
            next(reading)
        except StopIteration as end:
            return end.value


def read_training_stack(
    sources: Sequence[Frames],
    *,
    patch_size: int,
    held_out_share: float,
    rng: np.random.Generator,
    stop: StopToken,
    held_out_frames: int = 0,
    targets: Sequence[Frames] | None = None,
    max_pixels: int = DEFAULT_PIXELS,
) -> Generator[int, None, TrainingStack]:
    """Do as `collect_training_stack`, pausing after every frame.

    A stop ends the reading; the frames read by then, at least one, are the stack.

    Yields
    ------
    int  Number of frames read.
    """
    places = [(s, i) for s, frames in enumerate(sources) for i in range(len(frames))]
    windows = [_window(sources[s], len(places), max_pixels, rng) for s, _ in places]
    images: list[NDArray[np.float32]] = []
    partners: list[NDArray[np.float32]] = []
    for (s, i), window in zip(places, windows, strict=True):
        if images and stop.is_stopped:
            break
        images.append(sources[s].region(i, *window))
        if targets is not None:
            partners.append(targets[s].region(i, *window))
        yield len(images)
    if 0 < held_out_frames < len(images):
        kept = len(images) - held_out_frames
        masks = [np.full(im.shape, i >= kept) for i, im in enumerate(images)]
    else:
        masks = _held_out_regions(images, patch_size, held_out_share, rng)
    return TrainingStack(images, masks, partners if targets is not None else None)


def _window(
    frames: Frames, n_frames: int, max_pixels: int, rng: np.random.Generator
) -> tuple[slice, slice]:
    height, width = frames.shape
    share = max_pixels / n_frames / (height * width)
    if share >= 1:
        return slice(0, height), slice(0, width)
    side = np.sqrt(share)
    size = [max(16, int(length * side)) for length in (height, width)]
    start = [
        int(rng.integers(0, max(1, length - part + 1)))
        for length, part in zip((height, width), size, strict=True)
    ]
    rows, columns = (
        slice(first, min(first + part, length))
        for first, part, length in zip(start, size, (height, width), strict=True)
    )
    return rows, columns


def _held_out_regions(
    images: list[NDArray[np.float32]],
    patch_size: int,
    share: float,
    rng: np.random.Generator,
) -> list[NDArray[np.bool_]]:
    """Mark square regions of about `share` of all pixels, at least one region."""
    masks = [np.zeros(image.shape, dtype=bool) for image in images]
    smallest = min(min(image.shape) for image in images)
    # small enough that a single small frame keeps most of its pixels for training
    side = max(2, min(patch_size, smallest // 4))
    blocks = [
        (i, y, x)
        for i, image in enumerate(images)
        for y in range(0, image.shape[0] - side + 1, side)
        for x in range(0, image.shape[1] - side + 1, side)
    ]
    count = min(len(blocks), max(1, round(share * len(blocks))))
    for number in rng.permutation(len(blocks))[:count]:
        i, y, x = blocks[number]
        masks[i][y : y + side, x : x + side] = True
    return masks
