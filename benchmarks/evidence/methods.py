"""The methods of both papers, as published and as this project does them by default."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.pipeline.config import (
    InferenceConfig,
    PriorConfig,
    RunConfig,
    TrainingConfig,
)
from napari_ppn2v.pipeline.presets import preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

PUBLISHED, OURS = "as published", "ours (default)"

VALIDATIONS, PATIENCE = 20, 1
"""Of a published training. It validates 200 times and halves its learning rate after 10
without improvement; in a short training that would cost more than the training, so that
the patience is kept as a share of the training, 5 %."""


@dataclass(frozen=True)
class Method:
    """One row of a table.

    Attributes
    ----------
    name : for files and the command line
    label : for tables
    family : one of `evidence.data_sets.FAMILIES`: what it needs
    way : `PUBLISHED`, `OURS`, or "" where there is only one way
    noise_model : kind of noise model, "" for none
    group : methods of a group take as many steps each, and share their Noise2Void
    """

    name: str
    label: str
    family: str
    way: str = ""
    noise_model: str = ""
    group: str = ""


def _probabilistic() -> list[Method]:
    """PN2V with each noise model, calibrated and bootstrapped, both ways."""
    found = []
    for kind, shown in (("histogram", "histogram"), ("gmm", "GMM")):
        for source, family in (
            ("calibrated", "calibrated"),
            ("bootstrapped", "unsupervised"),
        ):
            for way in (PUBLISHED, OURS):
                short = "published" if way == PUBLISHED else "ours"
                group = f"published, {source}" if way == PUBLISHED else "ours"
                found.append(
                    Method(
                        name=f"{kind}-{source}-{short}",
                        label=f"PN2V, {shown}, {source}",
                        family=family,
                        way=way,
                        noise_model=kind,
                        group=group,
                    )
                )
    return found


NOISY = Method("noisy", "noisy input", "classical")

_ALL = [
    NOISY,
    Method("mean", "mean filter", "classical"),
    Method("median", "median filter", "classical"),
    Method("gaussian", "Gaussian filter", "classical"),
    Method("nlm", "non-local means", "classical"),
    Method("bm3d", "BM3D", "classical"),
    Method("n2v-published", "Noise2Void", "unsupervised", PUBLISHED, group="n2v, p"),
    Method("n2v-ours", "Noise2Void", "unsupervised", OURS, group="n2v"),
    *_probabilistic(),
    Method("auto-bootstrapped-ours", "PN2V, noise model chosen, bootstrapped",
           "unsupervised", OURS, "auto", "ours"),
    Method("n2n", "Noise2Noise", "noisy pairs", group="n2n"),
    Method("care", "CARE (supervised)", "supervised", group="care"),
]  # fmt: skip
METHODS = {method.name: method for method in _ALL}


@dataclass(frozen=True)
class Size:
    """What is smaller than published, for all methods alike.

    Attributes
    ----------
    n_filters : of the first level of the U-Net; 64 in PPN2V
    batch_size, patch_size : patches of a step and their side; 20 and 100 in PPN2V
    n_samples : of the prior *as published*; 800 in PPN2V
    """

    n_filters: int = 16
    batch_size: int = 8
    patch_size: int = 64
    n_samples: int = 64


CPU_SIZE = Size()
FULL_SIZE = Size(n_filters=64, batch_size=20, patch_size=100, n_samples=800)
FULL_STEPS = 1000
"""Of each training of the PPN2V paper: 200 epochs of 5 steps."""


def settings(
    method: Method,
    seed: int,
    observations: NDArray,
    size: Size = CPU_SIZE,
    noise_models: Mapping[str, NoiseModelConfig] | None = None,
) -> RunConfig:
    """Return the settings of a method, before its steps are chosen.

    All methods get the same network, a U-Net with two poolings and added skips as in
    PPN2V, and batches of the same size. *As published* otherwise follows section 3 of
    Prakash et al. 2020: ReLU, random neighbours in place of hidden pixels, 800 free
    prior samples, PN2V from untrained weights, Adam at 1e-3 halved on plateaus,
    one-pass pseudo ground truth, MMSE in one pass.

    Parameters
    ----------
    observations : (T, Y, X) ADU; their range is that of a published histogram
    noise_models : kind -> settings published for these observations, where there are
    """
    if method.way == PUBLISHED:
        noise_model = (noise_models or {}).get(method.noise_model)
        noise_model = noise_model or published_noise_model(
            method.noise_model, observations
        )
        return _published(method, seed, noise_model, len(observations), size)
    if method.group in ("n2v", "n2n", "care"):
        config = preset("balanced", method=method.group, seed=seed)
    else:
        config = preset("balanced", method="refined", seed=seed)
    return replace(
        config,
        network=replace(config.network, n_filters=size.n_filters),
        pretraining=_sized(config.pretraining, size),
        training=_sized(config.training, size),
        refinement=_sized(config.refinement, size),
        noise_model=NoiseModelConfig(kind=method.noise_model or "auto"),
    )


def _published(
    method: Method, seed: int, noise_model: NoiseModelConfig, n_frames: int, size: Size
) -> RunConfig:
    config = preset("paper-ppn2v", seed=seed)
    training = _sized(config.training, size)
    if n_frames <= 2 * training.held_out_frames:
        training = replace(training, held_out_frames=0)  # regions instead
    is_n2v = method.noise_model == ""
    return replace(
        config,
        method="n2v" if is_n2v else "pn2v",
        network=replace(config.network, n_filters=size.n_filters),
        pretraining=training,
        training=training,
        prior=PriorConfig(kind="free", n_samples=size.n_samples),
        noise_model=noise_model,
        inference=InferenceConfig(
            estimate="prior-mean" if is_n2v else "mmse", blind="no"
        ),
    )


def published_noise_model(kind: str, observations: NDArray) -> NoiseModelConfig:
    """Three Gaussians with straight lines, or 256 x 256 plain bins over the data."""
    if kind != "histogram":
        return NoiseModelConfig(kind="gmm", n_components=3, n_coefficients=2)
    return NoiseModelConfig(
        kind="histogram",
        n_bins=256,
        data_range=(float(observations.min()), float(observations.max())),
        is_plain_histogram=True,
        trim_percent=0.0,
    )


def _sized(training: TrainingConfig, size: Size) -> TrainingConfig:
    return replace(training, batch_size=size.batch_size, patch_size=size.patch_size)


def with_steps(method: Method, config: RunConfig, n_steps: int) -> RunConfig:
    """Share the steps among the trainings; short published ones validate less often."""
    if method.way == PUBLISHED and n_steps == config.n_steps:
        return config
    config = config.with_steps(n_steps)
    if method.way != PUBLISHED:
        return config
    return replace(
        config,
        pretraining=_with_validations(config.pretraining),
        training=_with_validations(config.training),
    )


def full_steps(method: Method) -> int:
    """Return the steps of the paper; methods that start from Noise2Void take both."""
    return FULL_STEPS * (2 if method.noise_model else 1)


def _with_validations(training: TrainingConfig) -> TrainingConfig:
    return replace(
        training,
        steps_per_validation=max(1, training.n_steps // VALIDATIONS),
        patience=PATIENCE,
    )
