"""Settings of training, inference and whole runs, and the named presets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
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
        2,
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
    weighting: str = setting(
        "noise",
        label="Weighting of the loss",
        help="What the squared error of Noise2Void and of refinement counts at each "
        "pixel: by 'noise', less where there is more of it, as estimated from the "
        "image itself; or 'equal' everywhere (as published).",
        choices=("noise", "equal"),
    )
    optimizer: str = setting(
        "muon",
        label="Optimizer",
        help="'muon' changes the weights of each convolution together and learns more "
        "from each step; 'adam' changes each weight by itself (as published).",
        choices=("muon", "adam"),
    )
    averages_weights: bool = setting(
        True,
        label="Average the weights",
        help="Validate and keep the mean of the weights of the last steps, which is "
        "calmer than the weights of a single step (as published).",
    )
    learning_rate: float = setting(
        3e-3,
        label="Learning rate",
        help="Highest learning rate; with 'muon', trainings of fewer than 100 steps "
        "take up to twice as much.",
        minimum=1e-7,
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
        help="'mmse': posterior mean of the signal, computed from prior and "
        "observation. 'refined': posterior mean, learnt on synthetic observations. "
        "'prior-mean': mean of the prior alone. 'auto': the one of lowest expected "
        "error under the noise model.",
        choices=("auto", "refined", "mmse", "prior-mean"),
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
        512,
        label="Tile size",
        unit="pixels",
        help="Frames are denoised in tiles of this side. Smaller needs less memory.",
        minimum=16,
        maximum=8192,
    )
    average_orientations: bool = setting(
        False,
        label="Average orientations",
        help="Denoise each frame in its eight orientations and average: about 0.1 dB "
        "better, and takes eight times as long to denoise. Blind estimates are not "
        "averaged.",
    )
    posterior_std: bool = setting(
        False,
        label="Posterior standard deviation",
        help="Also give the uncertainty of each pixel under prior and noise model.",
    )

    def __post_init__(self) -> None:
        check_settings(self)


METHOD_HELP = {
    "n2v": "Noise2Void, without a noise model.",
    "pn2v": "Probabilistic Noise2Void, the MMSE estimate computed from prior and "
    "noise model.",
    "refined": "the MMSE estimate learnt on synthetic observations, which the noise "
    "model draws from the Noise2Void result.",
    "care": "supervised, trained with clean images as targets (CARE).",
    "n2n": "Noise2Noise, trained with a second noisy image of each scene as target.",
}
METHODS = tuple(METHOD_HELP)
WITH_TARGETS = ("care", "n2n")
# With much light a Noise2Void of fewer is worse than the noise, and with it the noise
# model; measured in docs/explanation/closing-the-gap.md
FEWEST_BEFORE_REFINEMENT = 400
"""Methods that need a target image for each noisy one."""
UNSUPERVISED = tuple(name for name in METHODS if name not in WITH_TARGETS)
"""Methods that need noisy images alone; the viewer offers these."""
ESTIMATES = {
    "n2v": ("auto", "prior-mean"),
    "pn2v": ("auto", "prior-mean", "mmse"),
    "refined": ("auto", "prior-mean", "refined"),
    "care": ("auto", "prior-mean"),
    "n2n": ("auto", "prior-mean"),
}


def method_help(methods: tuple[str, ...]) -> str:
    """Say what each of some methods is."""
    return " ".join(f"'{name}': {METHOD_HELP[name]}" for name in methods)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Settings of a whole run, from noisy frames to denoised frames."""

    method: str = setting(
        "refined",
        label="Method",
        help=method_help(METHODS),
        choices=METHODS,
    )
    preset: str = setting(
        "balanced", label="Preset", help="Named settings this run started from."
    )
    network: UNetConfig = field(default_factory=UNetConfig)
    pretraining: TrainingConfig = field(default_factory=TrainingConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    starts_from_n2v: bool = setting(
        True,
        label="Start from Noise2Void",
        help="Start PN2V from the weights of the Noise2Void that the bootstrap needs "
        "anyway. Off: from scratch, as published.",
    )
    noise_model: NoiseModelConfig = field(default_factory=NoiseModelConfig)
    pseudo_ground_truth: str = setting(
        "midway",
        label="Pseudo ground truth",
        help="How the bootstrap estimates the signal: 'one-pass' (as published; the "
        "estimate follows its own pixel, and the noise comes out too small), 'blind' "
        "(it never sees its own pixel; the noise comes out too large), or 'midway' "
        "between the two, where both errors cancel.",
        choices=("midway", "one-pass", "blind"),
    )
    n_refinements: int = setting(
        1,
        label="Refinement rounds",
        help="Rounds in which the network is taught on synthetic observations of its "
        "own denoised images (method 'refined'). One long round measured better than "
        "two of half its length.",
        minimum=1,
        maximum=10,
    )
    refinement: TrainingConfig = field(default_factory=TrainingConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    seed: int = setting(
        0,
        label="Seed",
        help="Equal seed, steps, threads and machine give equal results on the CPU.",
        minimum=0,
        maximum=2**31 - 1,
    )

    def __post_init__(self) -> None:
        check_settings(self)
        allowed, wanted = ESTIMATES[self.method], self.inference.estimate
        if wanted not in allowed:
            methods = [name for name, known in ESTIMATES.items() if wanted in known]
            raise BadSetting(
                f"Method '{self.method}' has no estimate '{wanted}'. Choose one of: "
                f"{', '.join(allowed)}; or method {' or '.join(methods)}."
            )
        if self.needs_targets:
            self._check_with_targets()

    def _check_with_targets(self) -> None:
        if self.inference.blind == "yes":
            raise BadSetting(
                f"Method '{self.method}' trains a network that sees every pixel, so "
                "nothing can be denoised blind. Choose blind 'auto' or 'no', or one of "
                f"the methods {', '.join(UNSUPERVISED)}."
            )
        if self.inference.posterior_std:
            raise BadSetting(
                f"Method '{self.method}' has no noise model, so there is no posterior "
                "standard deviation. Choose the method refined or pn2v."
            )

    @property
    def needs_targets(self) -> bool:
        """Whether it is trained on pairs of a noisy image and a target."""
        return self.method in WITH_TARGETS

    @property
    def uses_noise_model(self) -> bool:
        """Whether a noise model is part of the method."""
        return self.method in ("pn2v", "refined")

    @property
    def stages(self) -> dict[str, TrainingConfig]:
        """The trainings that a bootstrapped run goes through, in order."""
        first = self.method if self.needs_targets else "n2v"
        stages = {first: self.pretraining}
        if self.method == "pn2v":
            stages["pn2v"] = self.training
        elif self.method == "refined":
            for number in range(1, self.n_refinements + 1):
                stages[f"refinement {number}"] = self.refinement
        return stages

    @property
    def n_steps(self) -> int:
        """Training steps of a bootstrapped run in all."""
        return sum(config.n_steps for config in self.stages.values())

    def with_steps(self, n_steps: int) -> RunConfig:
        """Return the same settings with `n_steps` in all, at least one per training.

        Each training keeps its share of them; the first takes what rounding leaves
        over, so that the same total always means the same run. Of few steps as many
        as half go to the Noise2Void that is refined.
        """
        scale = n_steps / self.n_steps
        refinement = _scaled(self.refinement, scale)
        if self.method == "refined":
            before = min(FEWEST_BEFORE_REFINEMENT, n_steps // 2)
            most = max(1, (n_steps - before) // self.n_refinements)
            if refinement.n_steps > most:
                refinement = _scaled(refinement, most / refinement.n_steps)
        scaled = replace(
            self, training=_scaled(self.training, scale), refinement=refinement
        )
        later = scaled.n_steps - scaled.pretraining.n_steps
        first = max(1, n_steps - later) / self.pretraining.n_steps
        return replace(scaled, pretraining=_scaled(self.pretraining, first))


def _scaled(config: TrainingConfig, scale: float) -> TrainingConfig:
    """Scale the number of steps; validations keep their number, about twenty."""
    n_steps = max(1, round(config.n_steps * scale))
    return replace(
        config, n_steps=n_steps, steps_per_validation=max(1, min(200, n_steps // 20))
    )
