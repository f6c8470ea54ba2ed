"""What noise models are tried on: one Noise2Void and one PN2V prior for all of them.

A prior for each noise model would hide what the noise model does behind the chance of
many trainings. One prior, trained once with the noise model that is bootstrapped from
the noisy images alone, serves them all: the posterior mean with each noise model then
differs by the noise model only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from common import cpu_seconds
from evidence.data_sets import Pairs
from evidence.methods import Method
from evidence.scoring import scores_of
from evidence.training import train
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness, estimate_tile
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.posterior import posterior_estimate
from napari_ppn2v.core.tiling import Span
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.events import drain
from napari_ppn2v.files.atomic import atomic_path
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.pipeline.refinement import refine
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from evidence.data_sets import Task
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig

    Images = NDArray[np.float32]

N_FILTERS = 16
_N2V = Method("n2v", "Noise2Void", "unsupervised")
_PN2V = Method("pn2v", "PN2V", "calibrated")  # by the pairs that it is given


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of Noise2Void, of the PN2V prior, and of each refinement."""

    n2v: int = 600
    pn2v: int = 300
    refinement: int = 200


@dataclass(frozen=True)
class Prepared:
    """Blind estimates of the scored region of all images, each (N, Y, X) float32, ADU.

    Attributes
    ----------
    pseudo_ground_truth : of Noise2Void, midway between one pass and blind
    prior_mean, prior_std : of the PN2V prior
    cpu_seconds : of all trainings and estimates
    """

    pseudo_ground_truth: Images
    prior_mean: Images
    prior_std: Images
    cpu_seconds: float

    def save(self, path: Path) -> None:
        """Keep it as NPZ, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Prepared:
        """Read what was kept."""
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
        return cls(**{**found, "cpu_seconds": float(found["cpu_seconds"])})


def config_of(steps: Steps, seed: int) -> RunConfig:
    """Return the settings: the package's own, with a network of 16 filters."""
    config = preset("balanced", method="pn2v", seed=seed)
    return replace(
        config,
        network=replace(config.network, n_filters=N_FILTERS),
        pretraining=_with_steps(config.pretraining, steps.n2v),
        training=_with_steps(config.training, steps.pn2v),
        refinement=_with_steps(config.refinement, steps.refinement),
        noise_model=NoiseModelConfig(kind="gmm"),
        inference=InferenceConfig(estimate="mmse", blind="yes"),
    )


def _with_steps(config: TrainingConfig, n_steps: int) -> TrainingConfig:
    every = max(1, min(200, n_steps // 20))
    return replace(config, n_steps=n_steps, steps_per_validation=every)


def noise2void(task: Task, steps: Steps, seed: int, shared: Path) -> PriorNetwork:
    """Train Noise2Void on the noisy images of a task, or read what is in `shared`."""
    config = replace(config_of(steps, seed), method="n2v", inference=InferenceConfig())
    return train(
        _N2V, task, seed=seed, n_steps=steps.n2v, config=config, shared=shared
    ).denoiser.model


def prepare(task: Task, steps: Steps, seed: int, shared: Path) -> Prepared:
    """Train the common prior and keep all that noise models are tried on.

    Parameters
    ----------
    task : with all noisy images, and the region that is scored; its truth is not used
    shared : folder of trained Noise2Void networks
    """
    began = cpu_seconds()
    config = config_of(steps, seed)
    n2v = noise2void(task, steps, seed, shared)
    blindness = _blindness(config)
    blind = _estimates(n2v, task, blindness)[0]
    pseudo = 0.5 * (blind + _estimates(n2v, task, None)[0])
    crops = task.training[:, *task.region]
    bootstrapped = replace(task, calibration=Pairs(pseudo, crops))
    prior = train(
        _PN2V,
        bootstrapped,
        seed=seed,
        n_steps=steps.n2v + steps.pn2v,
        config=config,
        shared=shared,
    ).denoiser.model
    mean, std = _estimates(prior, task, blindness)
    return Prepared(pseudo, mean, std, cpu_seconds() - began)


def _blindness(config: RunConfig) -> Blindness:
    return Blindness(config.training.mask_box, config.training.replacement)


def _estimates(
    model: PriorNetwork, task: Task, blindness: Blindness | None
) -> tuple[Images, Images]:
    """Mean and standard deviation of the prior in the scored region of all images."""
    found = [_in_region(model, image, task, blindness) for image in task.training]
    means, widths = zip(*found, strict=True)
    return np.stack(means), np.stack(widths)


def _in_region(
    model: PriorNetwork, image: Images, task: Task, blindness: Blindness | None
) -> tuple[Images, Images]:
    """Estimate the region alone, from as much around it as the network looks at."""
    rows, columns = (
        _span(part, length, model)
        for part, length in zip(task.region, image.shape, strict=True)
    )
    found = estimate_tile(
        model, None, image[rows.read, columns.read], rows, columns, blindness
    )
    width = found.posterior_std
    return found.prior_mean, np.zeros_like(found.prior_mean) if width is None else width


def _span(part: slice, length: int, model: PriorNetwork) -> Span:
    stride = model.network.stride
    reach = -(-model.network.halo // stride) * stride
    first = max(0, (part.start - reach) // stride * stride)
    return Span(first, min(length, part.stop + reach), part.start, part.stop)


# --- Using a noise model ---------------------------------------------------------


def score_posterior_mean(
    prepared: Prepared, noise_model: NoiseModel, task: Task
) -> list[dict[str, float]]:
    """Score the MMSE estimate of the common prior with one noise model, by image."""
    estimates = []
    for number, image in zip(task.images, task.scored, strict=True):
        observation = image[task.region]
        mean, width = prepared.prior_mean[number], prepared.prior_std[number]
        found = _posterior_mean(mean, width, observation, noise_model)
        estimates.append(_framed(found, image, task))
    return scores_of(estimates, task, None)


def _posterior_mean(
    mean: Images, width: Images, observation: Images, noise_model: NoiseModel
) -> Images:
    """Posterior mean at the nodes of a Gaussian prior, as `GaussianPrior` has them."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    m, w, x = (
        torch.from_numpy(v.reshape(-1).copy()) for v in (mean, width, observation)
    )
    samples = m[:, None] + w[:, None] * torch.from_numpy(nodes.astype(np.float32))
    log_weights = torch.from_numpy(np.log(weights / weights.sum()).astype(np.float32))
    with torch.inference_mode():
        found = posterior_estimate(samples, log_weights[None], x, noise_model)
    return found.mmse.numpy().reshape(mean.shape)


def _framed(estimate: Images, image: Images, task: Task) -> Images:
    """Put the estimate of a region where it belongs; nothing else is scored."""
    whole = np.full(image.shape, np.nan, np.float32)
    whole[task.region] = estimate
    return whole


REFINED_SIDE = 256
"""Refinement learns from the middle of each image, of this side at most."""


def score_refined(
    n2v: PriorNetwork,
    noise_model: NoiseModel,
    images: Task,
    task: Task,
    config: RunConfig,
) -> list[dict[str, float]]:
    """Score one round of refinement with one noise model, by image.

    Parameters
    ----------
    n2v : which the round starts from
    images : all noisy images
    task : with the images to score
    config : with the steps of the round, and the seed
    """
    crops = _middle(images.training)
    training = config.refinement
    stack = collect_training_stack(
        [as_frames(crops, "TYX")],
        patch_size=training.patch_size,
        held_out_share=training.held_out_share,
        rng=np.random.default_rng(config.seed),
    )
    job = refine(
        n2v,
        noise_model,
        stack,
        training,
        stage="refinement 1",
        seed=config.seed + 2,
        stop=StopToken(),
        checkpoint=None,
    )
    refined = drain(job).model
    estimates = [
        _framed(_in_region(refined, image, task, None)[0], image, task)
        for image in task.scored
    ]
    return scores_of(estimates, task, None)


def _middle(stack: Images) -> Images:
    places = []
    for length in stack.shape[1:]:
        side = min(length, REFINED_SIDE)
        places.append(slice((length - side) // 2, (length - side) // 2 + side))
    return np.ascontiguousarray(stack[:, *places])
