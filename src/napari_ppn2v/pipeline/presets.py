"""Named settings: three of ours by time, and those of the papers exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.config import (
    WITH_TARGETS,
    InferenceConfig,
    PriorConfig,
    RunConfig,
    TrainingConfig,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def _ours(name: str, n_steps: int) -> RunConfig:
    config = RunConfig(
        preset=name,
        pretraining=TrainingConfig(learning_rate=3e-3, n_steps=300),
        training=TrainingConfig(learning_rate=2e-3, n_steps=300),
        # a longer refinement is worth more than a longer Noise2Void before it
        refinement=TrainingConfig(learning_rate=4e-3, n_steps=900),
    )
    return config.with_steps(n_steps)


def _paper_ppn2v() -> RunConfig:
    """Prakash et al. 2020, section 3; the network and schedule are those of PN2V."""
    training = TrainingConfig(
        n_steps=200 * 5,
        batch_size=20,
        patch_size=100,
        mask_box=6,  # about 278 hidden pixels of 100²; the paper says 312
        replacement="random",
        weighting="equal",
        optimizer="adam",
        averages_weights=False,
        learning_rate=1e-3,
        schedule="plateau",
        steps_per_validation=5,
        patience=10,
        held_out_frames=5,
    )
    return RunConfig(
        preset="paper-ppn2v",
        method="pn2v",
        network=UNetConfig(n_levels=3, n_filters=64, activation="relu"),
        pretraining=training,
        training=training,
        prior=PriorConfig(kind="free", n_samples=800),
        starts_from_n2v=False,
        pseudo_ground_truth="one-pass",
        noise_model=NoiseModelConfig(kind="gmm", n_components=3, n_coefficients=2),
        inference=InferenceConfig(estimate="mmse", blind="no"),
    )


def _paper_n2v(name: str, n_filters: int, kernel_size: int) -> RunConfig:
    """Krull et al. 2019, sections 4.1 to 4.3."""
    training = TrainingConfig(
        n_steps=200 * 400,
        batch_size=128,
        patch_size=64,
        mask_box=8,  # one in each box: 64 hidden pixels per patch of 64²
        replacement="random",
        weighting="equal",
        optimizer="adam",
        averages_weights=False,
        learning_rate=4e-4,
        schedule="plateau",
        steps_per_validation=400,
        patience=10,
        held_out_share=0.1,
    )
    return RunConfig(
        preset=name,
        method="n2v",
        network=UNetConfig(
            n_levels=3,
            n_filters=n_filters,
            kernel_size=kernel_size,
            batch_norm=True,
            merge="concatenate",
            activation="relu",
        ),
        pretraining=training,
        training=training,
        inference=InferenceConfig(estimate="prior-mean", blind="no"),
    )


_PRESETS: dict[str, Callable[[], RunConfig]] = {
    "fast": lambda: _ours("fast", 800),
    "balanced": lambda: _ours("balanced", 3000),
    "thorough": lambda: _ours("thorough", 12000),
    "paper-ppn2v": _paper_ppn2v,
    "paper-n2v-bsd68": lambda: _paper_n2v("paper-n2v-bsd68", 96, 3),
    "paper-n2v-simulated": lambda: _paper_n2v("paper-n2v-simulated", 32, 5),
    "paper-n2v-microscopy": lambda: _paper_n2v("paper-n2v-microscopy", 32, 3),
}
PRESET_NAMES = tuple(_PRESETS)


def preset(name: str, *, method: str | None = None, seed: int = 0) -> RunConfig:
    """Return the settings of that name.

    Parameters
    ----------
    name : one of `PRESET_NAMES`
    method
        "refined", "pn2v", "n2v", "care" or "n2n" in place of the preset's own. With
        the settings of a paper, "care" and "n2n" train its network as long as its
        Noise2Void.

    Raises
    ------
    BadSetting  If there is no preset or no method of that name.
    """
    if name not in _PRESETS:
        raise BadSetting(
            f"There is no preset '{name}'. Choose one of: {', '.join(PRESET_NAMES)}."
        )
    config = replace(_PRESETS[name](), seed=seed)
    if method is None or method == config.method:
        return config
    if name.startswith("paper-") and method == "refined":
        raise BadSetting(
            "The papers know no refinement. Choose method 'n2v' or 'pn2v', or a preset "
            "of ours: fast, balanced or thorough."
        )
    has_one_estimate = method in ("n2v", *WITH_TARGETS)
    estimate = "prior-mean" if has_one_estimate else "auto"
    changed = replace(
        config, method=method, inference=replace(config.inference, estimate=estimate)
    )
    if name.startswith("paper-"):
        return changed
    # as much training as the preset's own method gets
    return changed.with_steps(config.n_steps)
