"""Settings of training, inference and whole runs, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from napari_ppn2v.core.noise_models.config import NoiseModelConfig
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.settings import check_settings, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a network is trained."""

    n_steps: int = setting(
        1000,
        label="Training steps",
        unit="steps",
        help="Optimizer steps. More steps take longer and denoise better.",
        minimum=1,
    )
    batch_size: int = setting(
        8,
        label="Batch size",
        unit="patches",
        help="Patches per step. Smaller needs less memory.",
        minimum=1,
        maximum=1024,
    )
    patch_size: int = setting(
        64,
        label="Patch size",
        unit="pixels",
        help="Side of the square patches that the network is trained on.",
        minimum=8,
        maximum=1024,
    )
    mask_box: int = setting(
        4,
        label="Mask box",
        unit="pixels",
        help="One pixel is hidden at a random place in every box of this side.",
        minimum=2,
        maximum=64,
    )
    replacement: str = setting(
        "mean",
        label="Replacement of hidden pixels",
        help="By the weighted mean of the neighbours, or by a random neighbour "
        "(as published).",
        choices=("mean", "random"),
    )
    learning_rate: float = setting(
        3e-3, label="Learning rate", help="Highest learning rate.", minimum=1e-7
    )
    schedule: str = setting(
        "one-cycle",
        label="Learning-rate schedule",
        help="One rise and fall over the whole training, or halved whenever the "
        "validation loss stops falling (as published).",
        choices=("one-cycle", "plateau"),
    )
    steps_per_validation: int = setting(
        50,
        label="Validate every",
        unit="steps",
        help="The best weights by validation loss are kept.",
        minimum=1,
    )
    patience: int = setting(
        10,
        label="Patience",
        unit="validations",
        help="Validations without improvement before a plateau schedule halves the "
        "learning rate.",
        minimum=1,
    )
    held_out_share: float = setting(
        0.05,
        label="Held-out share",
        help="Share of the pixels that are never training targets and measure the "
        "validation loss.",
        minimum=0.0001,
        maximum=0.5,
    )
    held_out_frames: int = setting(
        0,
        label="Held-out frames",
        unit="frames",
        help="Hold out this many frames at the end instead of regions "
        "(as published). 0: regions.",
        minimum=0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorConfig:
    """The prior of the signal that the network predicts."""

    kind: str = setting(
        "gaussian",
        label="Prior",
        help="'gaussian': mean and width per pixel. 'free': every sample is an "
        "output of the network (as published).",
        choices=("gaussian", "free"),
    )
    n_samples: int = setting(
        8,
        label="Prior samples",
        help="Samples of the prior per pixel: 800 as published, 8 nodes for the "
        "Gaussian prior.",
        minimum=1,
        maximum=4096,
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceConfig:
    """How frames are denoised by a trained model."""

    estimate: str = setting(
        "auto",
        label="Estimate",
        help="'mmse': posterior mean of the signal given prior and observation. "
        "'prior-mean': mean of the prior alone. 'auto': whichever comes closer on "
        "observations simulated from the denoised image with the noise model.",
        choices=("auto", "mmse", "prior-mean"),
    )
    blind: str = setting(
        "auto",
        label="Blind inference",
        help="'yes': the network never sees the pixel it predicts (many masked "
        "passes), so the observation is not counted twice. 'no': one pass. "
        "'auto': decided together with the estimate.",
        choices=("auto", "yes", "no"),
    )
    tile_size: int = setting(
        256,
        label="Tile size",
        unit="pixels",
        help="Frames are denoised in tiles of this side. Smaller needs less memory.",
        minimum=16,
        maximum=8192,
    )
    posterior_std: bool = setting(
        False,
        label="Posterior standard deviation",
        help="Also give the uncertainty of each pixel under prior and noise model.",
    )

    def __post_init__(self) -> None:
        check_settings(self)
