"""Batches for the trainer: masked observations, image pairs, synthetic observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_ppn2v.core.blindspot import (
    replace_by_mean,
    replace_by_random_neighbour,
    stratified_mask,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.added_scenes import AddedScenes
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.training_stack import TrainingStack

VALIDATION_CROPS = 32

Replace = Callable[
    ["NDArray[np.float32]", "NDArray[np.bool_]", np.random.Generator],
    "NDArray[np.float32]",
]
REPLACEMENTS: dict[str, Replace] = {
    "mean": lambda images, mask, rng: replace_by_mean(images, mask),
    "random": replace_by_random_neighbour,
}


@dataclass(frozen=True, slots=True)
class Batch:
    """What one training step sees.

    Attributes
    ----------
    inputs : (B, Y, X) float32, ADU
    where : (P,) int64
        Flat indices into B·Y·X of the pixels that count.
    targets : (P,) float32, ADU
    """

    inputs: NDArray[np.float32]
    where: NDArray[np.int64]
    targets: NDArray[np.float32]

    def parts(self, count: int) -> list[Batch]:
        """Return the images of the batch in at most `count` batches.

        Those without a pixel that counts are left out, if any has one.
        """
        if count == 1:
            return [self]
        per_image = self.inputs[0].size
        whose = self.where // per_image
        batches = []
        for images in np.array_split(np.arange(len(self.inputs)), count):
            if not len(images):
                continue
            first, last = images[0], images[-1]
            chosen = (whose >= first) & (whose <= last)
            where = self.where[chosen] - first * per_image
            inputs = self.inputs[first : last + 1]
            batches.append(Batch(inputs, where, self.targets[chosen]))
        return [batch for batch in batches if len(batch.where)] or [self]


class BatchSource(Protocol):
    """Anything the trainer can draw batches from."""

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a new random batch."""
        ...

    def validation(self) -> list[Batch]:
        """Return the same batches at every call, made of held-out pixels."""
        ...


@dataclass(frozen=True)
class Crops:
    """Random crops of a training stack in random orientations.

    Returns for each draw the observations, targets (or None) and held-out masks,
    each (B, patch, patch).
    """

    stack: TrainingStack
    patch_size: int
    batch_size: int

    def draw(self, rng: np.random.Generator) -> list[NDArray]:
        """Draw crops with equal probability for every place of every image."""
        usable = [i for i, held in enumerate(self.stack.held_out) if not held.all()]
        sizes = np.array([self.stack.images[i].size for i in usable], dtype=float)
        chosen = rng.choice(len(usable), self.batch_size, p=sizes / sizes.sum())
        return self._stack([self._random_place(usable[c], rng) for c in chosen], rng)

    def held_out(self, rng: np.random.Generator) -> list[list[NDArray]]:
        """Return batches of crops around held-out regions, not turned."""
        places = []
        for i, held in enumerate(self.stack.held_out):
            for y in range(0, held.shape[0], self.patch_size):
                for x in range(0, held.shape[1], self.patch_size):
                    if held[y : y + self.patch_size, x : x + self.patch_size].any():
                        places.append((i, *self._inside(i, y, x), 0))
        some = rng.permutation(len(places))[:VALIDATION_CROPS]
        return [
            self._stack([places[k] for k in some[first : first + self.batch_size]])
            for first in range(0, len(some), self.batch_size)
        ]

    def _inside(self, image: int, y: int, x: int) -> tuple[int, int]:
        height, width = self.stack.images[image].shape
        size = self.patch_size
        return max(0, min(y, height - size)), max(0, min(x, width - size))

    def _random_place(
        self, image: int, rng: np.random.Generator
    ) -> tuple[int, int, int, int]:
        height, width = self.stack.images[image].shape
        y = int(rng.integers(0, height - self.patch_size + 1))
        x = int(rng.integers(0, width - self.patch_size + 1))
        return image, y, x, int(rng.integers(0, 8))

    def _stack(
        self,
        places: list[tuple[int, int, int, int]],
        rng: np.random.Generator | None = None,
    ) -> list[NDArray]:
        fields = [self.stack.images, self.stack.targets, self.stack.held_out]
        return [
            np.stack([self._crop(field, place) for place in places])
            for field in fields
            if field is not None
        ]

    def _crop(self, field: list, place: tuple[int, int, int, int]) -> NDArray:
        image, y, x, orientation = place
        size = self.patch_size
        crop = np.rot90(field[image][y : y + size, x : x + size], orientation % 4)
        return crop[:, ::-1] if orientation >= 4 else crop


class MaskedObservations:
    """Blind-spot batches: hidden pixels of single noisy images are the targets.

    Parameters
    ----------
    crops : where patches come from
    mask_box : one pixel is hidden in each box of this side
    replacement : "mean" or "random", what stands in place of a hidden pixel
    seed : of the fixed validation masks
    """

    def __init__(
        self, crops: Crops, mask_box: int, replacement: str, seed: int
    ) -> None:
        self.crops, self.mask_box = crops, mask_box
        self.replace = REPLACEMENTS[replacement]
        self.seed = seed

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a new batch whose targets are pixels that are not held out."""
        observations, held_out = self.crops.draw(rng)
        return self._masked(observations, ~held_out, rng)

    def validation(self) -> list[Batch]:
        """Return batches whose targets are held-out pixels alone."""
        rng = np.random.default_rng(self.seed)
        return [
            self._masked(observations, held_out, rng)
            for observations, held_out in self.crops.held_out(rng)
        ]

    def _masked(
        self,
        observations: NDArray[np.float32],
        allowed: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> Batch:
        mask = stratified_mask(observations.shape, self.mask_box, rng)
        inputs = self.replace(observations, mask, rng)
        where = np.flatnonzero(mask & allowed)
        return Batch(inputs, where, observations.reshape(-1)[where])


class ImagePairs:
    """Pairs of a noisy image and its target, a clean one (CARE).

    The network sees every pixel and every pixel that is not held out counts. The two
    never change places: a clean image is no observation.
    """

    def __init__(self, crops: Crops, seed: int) -> None:
        self.crops, self.seed = crops, seed

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a new batch of crops."""
        observations, targets, held_out = self.crops.draw(rng)
        return _all_pixels(observations, targets, ~held_out)

    def validation(self) -> list[Batch]:
        """Return batches whose targets are held-out pixels alone."""
        rng = np.random.default_rng(self.seed)
        return [_all_pixels(*fields) for fields in self.crops.held_out(rng)]


class NoisyPairs(ImagePairs):
    """Pairs of two noisy images of the same scene (Noise2Noise).

    Both are observations, each as good a target as the other: in every crop they
    change places by chance, which doubles the noise that the network sees. Validation
    takes them as given.
    """

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a new batch of crops, in half of them input and target exchanged."""
        first, second, held_out = self.crops.draw(rng)
        swapped = rng.integers(0, 2, len(first)).astype(bool)[:, None, None]
        inputs = np.where(swapped, second, first)
        targets = np.where(swapped, first, second)
        return _all_pixels(inputs, targets, ~held_out)


class SyntheticObservations:
    """Fresh observations of pseudo clean images, drawn from a noise model.

    Every pixel is a target and no target is noisy: a step teaches far more than a
    masked one, as far as the pseudo clean images are right.

    Parameters
    ----------
    crops : of a training stack whose images are the pseudo clean images
    noise_model : the observations are drawn from its p(x|s), which was fitted to
        rounded observations: rounding once more would add its noise twice
    seed : of the fixed validation batches
    added : scenes that some of the crops show; validation is on the images alone
    """

    def __init__(
        self,
        crops: Crops,
        noise_model: NoiseModel,
        *,
        seed: int,
        added: AddedScenes | None = None,
    ) -> None:
        self.crops, self.seed, self.added = crops, seed, added
        self.noise_model = noise_model.to("cpu")

    def draw(self, rng: np.random.Generator) -> Batch:
        """Return a new batch, with new noise."""
        clean, held_out = self.crops.draw(rng)
        if self.added is not None:
            clean, held_out = self.added.into(clean, held_out, rng)
        return _all_pixels(self._observe(clean, rng), clean, ~held_out)

    def validation(self) -> list[Batch]:
        """Return batches whose targets are held-out pixels alone."""
        rng = np.random.default_rng(self.seed)
        return [
            _all_pixels(self._observe(clean, rng), clean, held_out)
            for clean, held_out in self.crops.held_out(rng)
        ]

    def _observe(
        self, clean: NDArray[np.float32], rng: np.random.Generator
    ) -> NDArray[np.float32]:
        import torch

        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        signal = torch.from_numpy(np.ascontiguousarray(clean))
        return self.noise_model.sample(signal, generator).float().numpy()


def _all_pixels(
    inputs: NDArray[np.float32],
    targets: NDArray[np.float32],
    allowed: NDArray[np.bool_],
) -> Batch:
    where = np.flatnonzero(allowed)
    return Batch(inputs, where, targets.reshape(-1)[where])
