"""A small noisy stack with known truth, and settings that train in seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.training_stack import TrainingStack, collect_training_stack
from napari_ppn2v.pipeline.config import InferenceConfig, RunConfig, TrainingConfig


@dataclass(frozen=True)
class Sample:
    observation: np.ndarray
    truth: np.ndarray

    @property
    def frames(self):
        return as_frames(self.observation, "TYX")


def smooth_scenes(n_frames: int, side: int, seed: int) -> np.ndarray:
    """Soft blobs between 0 and 1, (N, Y, X)."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    scenes = np.stack(
        [gaussian_filter(rng.normal(size=(side, side)), 3) for _ in range(n_frames)]
    )
    scenes -= scenes.min()
    return scenes / scenes.max()


@pytest.fixture(scope="session")
def sample() -> Sample:
    """sCMOS-like: gain 2.2, offset 100, read noise 3.3; about 40 photons at most."""
    truth = 100 + 2.2 * 40 * smooth_scenes(6, 96, 0)
    rng = np.random.default_rng(1)
    electrons = rng.poisson((truth - 100) / 2.2)
    observation = 100 + 2.2 * electrons + rng.normal(0, 3.3, truth.shape)
    return Sample(np.rint(observation).astype(np.uint16), truth.astype(np.float32))


@pytest.fixture(scope="session")
def stack(sample) -> TrainingStack:
    """What is trained on, with a tenth held out."""
    return collect_training_stack(
        [sample.frames],
        patch_size=32,
        held_out_share=0.1,
        rng=np.random.default_rng(0),
    )


@pytest.fixture(scope="session")
def quick() -> RunConfig:
    """A small network and few steps."""
    training = TrainingConfig(
        n_steps=60, batch_size=4, patch_size=32, steps_per_validation=20
    )
    return RunConfig(
        method="pn2v",
        network=UNetConfig(n_filters=8),
        pretraining=training,
        training=training,
        refinement=training,
        n_refinements=2,
        inference=InferenceConfig(),
    )
