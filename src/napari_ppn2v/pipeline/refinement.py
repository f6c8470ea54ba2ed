"""Refinement: a network taught on synthetic observations of the denoised images.

With a noise model, endless training data can be made: the current estimate of all
frames serves as pseudo clean images, fresh observations of them are drawn in every
batch, and a network that sees every pixel learns to undo the noise, without masks.
Smaller copies of the pseudo clean images make up for the fine structures that these
have lost, and a few patches of uniform light and small spots for what the images may
never have shown. The output of the network is the posterior mean of the signal, learnt
instead of computed; each round starts from better pseudo clean images than the one
before.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.added_scenes import AddedScenes
from napari_ppn2v.core.batches import Crops, SyntheticObservations
from napari_ppn2v.core.fine_structures import FineStructures
from napari_ppn2v.core.frames import evenly_spread
from napari_ppn2v.core.inference import image_passes
from napari_ppn2v.core.noise_models.shared import simulated
from napari_ppn2v.core.noise_weights import noise_deviance
from napari_ppn2v.core.objectives import mean_and_width
from napari_ppn2v.core.prior_network import PriorNetwork
from napari_ppn2v.core.smaller_copies import share_of_copies, with_smaller_copies
from napari_ppn2v.core.tiling import middle_of
from napari_ppn2v.core.training_stack import TrainingStack
from napari_ppn2v.events import StepDone
from napari_ppn2v.pipeline.passes import pass_by_pass
from napari_ppn2v.pipeline.training import (
    TrainedPrior,
    finished_training,
    train_prior,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.objectives import Objective
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import TrainingConfig
    from napari_ppn2v.pipeline.preview import StagePreview
    from napari_ppn2v.pipeline.training import CheckpointStore
    from napari_ppn2v.stop import StopToken

# one width above and one below the mean have both exactly; more would only cost time
N_NODES = 2
PSEUDO_CLEAN_PIXELS = 24_000_000
# What the pseudo clean images have lost is measured on the middle of four of them, and
# of more where they are small: one scene differs from another by a tenth.
LOOKED_AT_IMAGES, LOOKED_AT_SIDE, LOOKED_AT_PIXELS = 4, 512, 1_000_000


def refine(
    model: PriorNetwork,
    noise_model: NoiseModel,
    stack: TrainingStack,
    config: TrainingConfig,
    *,
    stage: str,
    seed: int,
    stop: StopToken,
    checkpoint: CheckpointStore | None,
    preview: StagePreview | None = None,
    keeps_start: bool = False,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, TrainedPrior]:
    """Do one round of refinement; `model` stays as it is.

    Parameters
    ----------
    model : its prior means, in one pass, are the pseudo clean images
    noise_model : observations are drawn from it
    stack : the noisy training images; held-out regions stay held out
    config : of the training; masks and replacement do not matter here
    others : as for `train_prior`

    Yields
    ------
    StepDone of step 0 while the pseudo clean images are made; those of `train_prior`.

    Returns
    -------
    TrainedPrior
        Whose mean is the MMSE estimate and whose width the posterior standard
        deviation, both in one pass and without a noise model.
    """
    started = _start(model)
    done = finished_training(started, config, checkpoint)
    if done is not None:
        return done
    done_so_far = StepDone(stage, 0, config.n_steps)
    some = _some_images(stack, seed)
    clean = yield from _pseudo_clean(model, some, done_so_far, stop)
    held = None
    if clean is not None:
        held = yield from _fine_structures_held(
            model, noise_model, some, clean, seed, done_so_far, stop
        )
    if clean is None or stop.is_stopped:
        return TrainedPrior(started.eval(), (), 0, 0, is_stopped=True)
    share = share_of_copies(held)
    source = refinement_batches(clean, noise_model, model, config, seed, share)
    return (
        yield from train_prior(
            started,
            source,
            refinement_objective(stack, config, model.normalisation.std),
            config,
            stage=stage,
            seed=seed,
            stop=stop,
            checkpoint=checkpoint,
            preview=preview,
            keeps_start=keeps_start,
            other_devices=other_devices,
        )
    )


def refinement_batches(
    clean: TrainingStack,
    noise_model: NoiseModel,
    model: PriorNetwork,
    config: TrainingConfig,
    seed: int,
    share: float = 1.0,
) -> SyntheticObservations:
    """Return batches of synthetic observations of pseudo clean images, in two sizes.

    Some show uniform light or spots instead. `share` is that of the images that have a
    smaller copy.
    """
    smallest = min(min(image.shape) for image in clean.images)
    stride = model.network.stride
    size = min(config.patch_size, smallest) // stride * stride
    both = with_smaller_copies(clean, size, share)
    crops = Crops(both, size, config.batch_size)
    added = AddedScenes.like(clean.images, noise_model)
    return SyntheticObservations(crops, noise_model, seed=seed, added=added)


def refinement_objective(
    stack: TrainingStack, config: TrainingConfig, std: float
) -> Objective:
    """Return the loss of refinement; `std` is that of the data, ADU.

    The pseudo clean images hold no noise, but what can be known of them is the less
    the more noise lies on them: counted alike, the brightest pixels would have nearly
    all the say.
    """
    is_weighted = config.weighting == "noise"
    noise = noise_deviance(stack.images, std) if is_weighted else None
    return mean_and_width(std, noise)


def _start(model: PriorNetwork) -> PriorNetwork:
    """Return a copy with mean and width as outputs."""
    if model.prior_kind == "gaussian":
        started = copy.deepcopy(model)
    else:
        started = PriorNetwork(
            model.config, "gaussian", N_NODES, model.normalisation, model.network_kind
        )
        started.network.load_state_dict(model.network.state_dict())
        started.prior.start_from(model.prior)
    started.prior.width_shapes_features = False
    return started.to(model.device)


def _pseudo_clean(
    model: PriorNetwork, stack: TrainingStack, done: StepDone, stop: StopToken
) -> Generator[Event, None, TrainingStack | None]:
    """Denoise the images, yielding `done` after each pass; None if stopped."""
    images = []
    for image in stack.images:
        denoised = yield from _in_one_pass(model, image, done, stop)
        if denoised is None:
            return None
        images.append(denoised)
    return TrainingStack(images, stack.held_out)


def _in_one_pass(
    model: PriorNetwork, image: NDArray[np.float32], done: StepDone, stop: StopToken
) -> Generator[Event, None, NDArray[np.float32] | None]:
    passes = image_passes(model, None, image, None)
    found = yield from pass_by_pass(passes, done, stop)
    return None if found is None else found.prior_mean


def _some_images(stack: TrainingStack, seed: int) -> TrainingStack:
    """Return enough of the noisy images to be made pseudo clean."""
    order = np.random.default_rng(seed).permutation(len(stack.images))
    sizes = np.cumsum([stack.images[i].size for i in order])
    enough = int(np.searchsorted(sizes, PSEUDO_CLEAN_PIXELS)) + 1
    chosen = sorted(order[:enough])
    return TrainingStack(
        [stack.images[i] for i in chosen], [stack.held_out[i] for i in chosen]
    )


def _fine_structures_held(
    model: PriorNetwork,
    noise_model: NoiseModel,
    noisy: TrainingStack,
    clean: TrainingStack,
    seed: int,
    done: StepDone,
    stop: StopToken,
) -> Generator[Event, None, float | None]:
    """Measure what the pseudo clean images have lost, on the middle of a few."""
    found, generator = FineStructures(), torch.Generator().manual_seed(seed)
    noise_model = noise_model.to("cpu")
    for i in looked_at(clean):
        x, denoised = (
            middle_of(stack.images[i], LOOKED_AT_SIDE) for stack in (noisy, clean)
        )
        observed, variance = simulated(noise_model, denoised, generator)
        again = yield from _in_one_pass(model, observed, done, stop)
        if again is None:
            return None
        found.add(x, denoised, observed, again, variance)
    return found.held()


def looked_at(stack: TrainingStack) -> list[int]:
    """Return the numbers of the images in which what was lost is measured."""
    shown = [middle_of(image, LOOKED_AT_SIDE).size for image in stack.images]
    count = max(LOOKED_AT_IMAGES, math.ceil(LOOKED_AT_PIXELS / np.mean(shown)))
    return evenly_spread(len(stack.images), count)
