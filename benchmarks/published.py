"""The published arithmetic of PPN2V, unoptimised, as the baseline of our ratios.

This is a re-implementation in our own words of what Prakash et al. 2020 (and Krull
et al. 2019, on whose implementation it stands) compute: the same network, masking,
losses, accumulation and fits, in float32 with torch's default settings, including
the faults that influence time or quality. It must not be made faster. What departs
from the published code, always in its favour or without effect: validation runs
without an autograd graph, tiles never exceed the image, and a tile that ends at the
border of the image is the last one (the published loop may compute it once more).

Run one of:

    python benchmarks/published.py n2v-step --threads 2
    python benchmarks/published.py pn2v-step --patches 2
    python benchmarks/published.py predict --size 128
    python benchmarks/published.py gmm-fit --data FOLDER
    python benchmarks/published.py n2v-train --data FOLDER --minutes 10 --out CSV
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from common import (
    BENCHMARKS,
    Benchmark,
    cpu_seconds,
    crop_psnr,
    describe_machine,
    load_benchmark,
    markdown_table,
    mean_psnr,
    peak_memory_mb,
    write_csv,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LIKELIHOOD_FLOOR = 1e-10
"""Added to every GMM likelihood: far from all samples the MMSE is the prior mean."""

OUTPUT_SCALE = 10.0
"""Prior samples = network output x this x std + mean."""

VARIANCE_FLOOR = 50.0
"""ADU²; the published default, in the scale of its 16-bit cameras."""

TILE, TILE_OVERLAP = 256, 48
N2V_STEPS_PER_EPOCH, PN2V_STEPS_PER_EPOCH = 10, 5


class Likelihood(Protocol):
    """p(x|s), elementwise and broadcasting."""

    def likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Density or mass of `observation` (ADU) given `signal` (ADU)."""
        ...


# --- Network ---------------------------------------------------------------------


class PublishedUNet(nn.Module):
    """U-Net of three resolution levels whose skip connections are added.

    Zero padding, no normalisation layers, ReLU after each 3x3 convolution, max
    pooling, transposed convolutions, a linear 1x1 head. Convolutions start from
    Xavier-normal weights and zero bias, transposed ones from torch's default.

    Parameters
    ----------
    n_outputs
        Channels of the head: 800 prior samples for PN2V, 1 for N2V.
    n_filters
        Filters of the first level; doubled per level.
    n_levels
        Resolutions, so poolings plus one.
    """

    def __init__(self, n_outputs: int, n_filters: int = 64, n_levels: int = 3) -> None:
        super().__init__()
        widths = [n_filters * 2**level for level in range(n_levels)]
        coarser = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.encoder = nn.ModuleList(
            _two_convolutions(before, width)
            for before, width in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.upsampling = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 2, stride=2) for wide, narrow in coarser
        )
        self.decoder = nn.ModuleList(
            _two_convolutions(narrow, narrow) for _, narrow in coarser
        )
        self.pooling = nn.MaxPool2d(2)
        self.head = nn.Conv2d(n_filters, n_outputs, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, Y, X) normalised -> (B, n_outputs, Y, X); sides divisible by 4."""
        skips: list[Tensor] = []
        features = image
        for level, block in enumerate(self.encoder):
            features = block(self.pooling(features) if level else features)
            skips.append(features)
        skips.pop()
        for upsample, block in zip(self.upsampling, self.decoder, strict=True):
            features = block(upsample(features) + skips.pop())
        return self.head(features)


def _two_convolutions(n_inputs: int, n_filters: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_inputs, n_filters, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(n_filters, n_filters, 3, padding=1),
        nn.ReLU(),
    )


def make_network(n_outputs: int, n_filters: int = 64, seed: int = 0) -> PublishedUNet:
    """Build the network with weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PublishedUNet(n_outputs, n_filters)


# --- Masking ---------------------------------------------------------------------


def stratified_places(
    rng: np.random.Generator, size: int, n_places: float
) -> list[tuple[int, int]]:
    """One random (row, column) in each box of a grid, about `n_places` in all.

    The box side is rounded, and places outside the patch are dropped: a patch of 100
    with 312.5 places asked for has 17 x 17 boxes of 6 and about 278 places.
    """
    box = round(math.sqrt(size * size / n_places))
    corners = range(0, size, box)
    places = [
        (top + int(rng.integers(box)), left + int(rng.integers(box)))
        for top in corners
        for left in corners
    ]
    return [(y, x) for y, x in places if y < size and x < size]


def mask_patch(
    patch: np.ndarray, rng: np.random.Generator, n_places: float
) -> tuple[np.ndarray, np.ndarray]:
    """Replace stratified pixels by a random neighbour of their 5 x 5 window.

    With the published faults: the window is cut at the patch's borders, one pixel
    too early at the far ones, and what is excluded is always the *window's* third
    row and column. In the first two rows or columns that is not the pixel itself, so
    there a pixel may be replaced by itself and identity leaks. Pixels are replaced
    one after the other, so a replacement may be a replaced neighbour that happens to
    hold the pixel's own value (less than one pixel in a thousand, anywhere).

    Parameters
    ----------
    patch
        (Y, X), square; not written to.

    Returns
    -------
    masked, mask
        (Y, X) each; mask is 1.0 at replaced pixels.
    """
    size = len(patch)
    masked, mask = patch.copy(), np.zeros_like(patch)
    for y, x in stratified_places(rng, size, n_places):
        window = masked[
            max(y - 2, 0) : min(y + 3, size - 1), max(x - 2, 0) : min(x + 3, size - 1)
        ]
        row = column = 2
        while row == 2 and column == 2:
            row = int(rng.integers(window.shape[0]))
            column = int(rng.integers(window.shape[1]))
        masked[y, x] = window[row, column]
        mask[y, x] = 1.0
    return masked, mask


class PatchSource:
    """Masked training patches, one from each frame in turn, frames then reshuffled.

    Of the 8 orientations only the 4 rotations occur: the published flip turns both
    axes, which is one more rotation.
    """

    def __init__(
        self, frames: np.ndarray, rng: np.random.Generator, size: int = 100
    ) -> None:
        self.frames, self.rng, self.size = frames, rng, size
        self._order = np.arange(len(frames))
        self._next = 0

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return masked input, target and mask, (1, 1, Y, X) float32 each, ADU."""
        if self._next >= len(self._order):
            self._next = 0
            self.rng.shuffle(self._order)
        frame = self.frames[self._order[self._next]]
        self._next += 1
        top = int(self.rng.integers(frame.shape[0] - self.size + 1))
        left = int(self.rng.integers(frame.shape[1] - self.size + 1))
        target = frame[top : top + self.size, left : left + self.size]
        masked, mask = mask_patch(target, self.rng, self.size * self.size / 32)
        turns = int(self.rng.integers(4)) + 2 * int(self.rng.integers(2))
        turned = [np.rot90(image, turns) for image in (masked, target, mask)]
        tensors = [torch.from_numpy(image.copy())[None, None] for image in turned]
        return tensors[0], tensors[1], tensors[2]


# --- Noise models ----------------------------------------------------------------


@dataclass
class PublishedGmm:
    """GMM noise model in the parametrisation of the PPN2V files, linear domain.

    Rows of `weight` (3K, n): K mean offsets, K log coefficients of the variance, K
    logits; column i multiplies z**i, z = (s - min_signal) / (max_signal - min_signal).
    Prakash et al. 2020, Eqs. 1-2; exp() on the variance coefficients as in the code.
    """

    weight: Tensor
    min_signal: float
    max_signal: float
    variance_floor: float = VARIANCE_FLOOR

    def _polynomial(self, coefficients: Tensor, signal: Tensor) -> Tensor:
        # z is computed anew for each of the 3K polynomials, as published.
        total = torch.zeros(())
        for power, coefficient in enumerate(coefficients):
            z = (signal - self.min_signal) / (self.max_signal - self.min_signal)
            total = total + coefficient * z**power
        return total

    def likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """p(x|s) + `LIKELIHOOD_FLOOR`, per ADU."""
        n_components = len(self.weight) // 3
        offset_rows = self.weight[:n_components]
        variance_rows = self.weight[n_components : 2 * n_components]
        logit_rows = self.weight[2 * n_components :]
        offsets = [self._polynomial(row, signal) for row in offset_rows]
        deviations = [
            torch.sqrt(
                torch.clamp(
                    self._polynomial(torch.exp(row), signal), self.variance_floor
                )
            )
            for row in variance_rows
        ]
        masses = [torch.exp(self._polynomial(row, signal)) for row in logit_rows]
        total_mass = sum(masses)
        alphas = [mass / total_mass for mass in masses]
        mean_offset = sum(a * offset for a, offset in zip(alphas, offsets, strict=True))
        density = torch.zeros(())
        for alpha, offset, deviation in zip(alphas, offsets, deviations, strict=True):
            mean = signal + offset - mean_offset
            exponent = -((observation - mean) ** 2) / (2.0 * deviation * deviation)
            height = torch.sqrt(2.0 * math.pi * deviation * deviation)
            density = density + alpha * torch.exp(exponent) / height
        return density + LIKELIHOOD_FLOOR

    def to_npz(self) -> dict[str, np.ndarray]:
        """Return the arrays of a PPN2V noise-model file."""
        return {
            "trained_weight": self.weight.detach().numpy().astype(np.float32),
            "min_signal": np.array([self.min_signal], dtype=np.float32),
            "max_signal": np.array([self.max_signal], dtype=np.float32),
            "min_sigma": np.array(self.variance_floor),
        }

    @classmethod
    def from_npz(cls, arrays: Mapping[str, np.ndarray]) -> PublishedGmm:
        """Rebuild the model from the arrays of a PPN2V or CAREamics file."""
        return cls(
            weight=torch.from_numpy(np.asarray(arrays["trained_weight"], np.float32)),
            min_signal=float(np.ravel(arrays["min_signal"])[0]),
            max_signal=float(np.ravel(arrays["max_signal"])[0]),
            variance_floor=float(arrays["min_sigma"]),
        )


def photon_transfer_gmm(
    min_signal: float, max_signal: float, intercept: float, slope: float
) -> PublishedGmm:
    """Three equal components on the line var = intercept + slope * s, for timings.

    The arithmetic of a GMM takes the same time whatever its weights are.
    """
    weight = torch.zeros(9, 2)
    weight[3:6, 0] = math.log(max(intercept + slope * min_signal, 1e-6))
    weight[3:6, 1] = math.log(slope * (max_signal - min_signal))
    return PublishedGmm(weight, min_signal, max_signal)


class PublishedHistogram:
    """Histogram noise model, interpolated along the signal from lower bin edges.

    The published faults are kept: a bias of half a bin, a last observation column
    that is never read, mass per bin instead of a density.

    Parameters
    ----------
    table
        (3, B, B): mass per bin (rows = signal), lower and upper edges.
    """

    def __init__(self, table: np.ndarray) -> None:
        self.mass = torch.from_numpy(table[0].astype(np.float32))
        self.low, self.high = float(table[1].min()), float(table[2].max())

    def _position(self, value: Tensor) -> Tensor:
        n_bins = len(self.mass)
        position = n_bins * (value - self.low) / (self.high - self.low)
        return torch.clamp(position, 0.0, n_bins - 1 - 1e-3)

    def likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """p(x|s) as mass per bin."""
        column = self._position(observation).floor().long()
        position = self._position(signal)
        row = position.floor().long()
        fraction = position - row.float()
        below, above = self.mass[row, column], self.mass[row + 1, column]
        return below * (1.0 - fraction) + above * fraction


def make_histogram_published(
    signal: np.ndarray, observation: np.ndarray, n_bins: int, low: float, high: float
) -> np.ndarray:
    """Build the (3, B, B) float64 table of a PN2V file from pairs in ADU."""
    counts, edges, _ = np.histogram2d(
        signal.ravel(), observation.ravel(), n_bins, [[low, high], [low, high]]
    )
    counts += 1e-30
    totals = counts.sum(axis=1, keepdims=True)
    mass = np.where(totals > 1e-20, counts / totals, counts)
    lower = np.repeat(edges[:-1, None], n_bins, axis=1)
    upper = np.repeat(edges[1:, None], n_bins, axis=1)
    return np.stack([mass, lower, upper])


# --- Losses ----------------------------------------------------------------------


def n2v_loss(samples: Tensor, observation: Tensor, mask: Tensor, std: float) -> Tensor:
    """Masked mean squared error over the whole patch (Krull et al. 2019)."""
    error = (observation - samples.mean(dim=0)) ** 2
    return (error * mask).sum() / mask.sum() / std**2


def pn2v_loss(
    samples: Tensor, observation: Tensor, mask: Tensor, noise_model: Likelihood
) -> Tensor:
    """Masked mean of -log of the mean likelihood of all samples, whole patch.

    Parameters
    ----------
    samples
        (K, B, Y, X), ADU.
    observation, mask
        (B, Y, X).
    """
    likelihood = noise_model.likelihood(observation, samples)
    log_likelihood = torch.log(likelihood.mean(dim=0))
    return -(log_likelihood * mask).sum() / mask.sum()


def pn2v_loss_loop(
    samples: np.ndarray, observation: np.ndarray, gmm_params: Mapping[str, np.ndarray]
) -> float:
    """PN2V loss of masked pixels by explicit float64 loops, to check fast versions.

    Parameters
    ----------
    samples
        (P, K), ADU.
    observation
        (P,), ADU.
    gmm_params
        Arrays of a PPN2V file (`trained_weight`, `min_signal`, ...).

    Returns
    -------
    float
        - 1/P sum_p log(1/K sum_k (p(x_p|s_pk) + 1e-10)), nats per ADU.
    """
    total = 0.0
    for pixel in range(len(observation)):
        mean_likelihood = 0.0
        for sample in samples[pixel]:
            density = gmm_density(float(observation[pixel]), float(sample), gmm_params)
            mean_likelihood += (density + LIKELIHOOD_FLOOR) / len(samples[pixel])
        total -= math.log(mean_likelihood)
    return total / len(observation)


def gmm_density(
    observation: float, signal: float, gmm_params: Mapping[str, np.ndarray]
) -> float:
    """p(x|s) of one pair in float64, from the arrays of a PPN2V file, no floor."""
    rows = [[float(w) for w in row] for row in gmm_params["trained_weight"]]
    low = float(np.ravel(gmm_params["min_signal"])[0])
    high = float(np.ravel(gmm_params["max_signal"])[0])
    floor = float(gmm_params["min_sigma"])
    z = (signal - low) / (high - low)
    n = len(rows) // 3
    offsets = [math.fsum(w * z**i for i, w in enumerate(row)) for row in rows[:n]]
    variances = [
        max(math.fsum(math.exp(w) * z**i for i, w in enumerate(row)), floor)
        for row in rows[n : 2 * n]
    ]
    logits = [math.fsum(w * z**i for i, w in enumerate(row)) for row in rows[2 * n :]]
    masses = [math.exp(logit - max(logits)) for logit in logits]
    alphas = [mass / math.fsum(masses) for mass in masses]
    mean_offset = math.fsum(a * g for a, g in zip(alphas, offsets, strict=True))
    density = 0.0
    for alpha, offset, variance in zip(alphas, offsets, variances, strict=True):
        residual = observation - (signal + offset - mean_offset)
        exponential = math.exp(-(residual**2) / (2 * variance))
        density += alpha * exponential / math.sqrt(2 * math.pi * variance)
    return density


# --- Training --------------------------------------------------------------------


@dataclass
class PublishedTrainer:
    """Optimizer steps as published: `n_patches` single patches, gradients summed.

    Attributes
    ----------
    noise_model
        None trains N2V (one output channel), else PN2V.
    mean, std
        Of all frames, ADU.
    """

    network: PublishedUNet
    patches: PatchSource
    mean: float
    std: float
    noise_model: Likelihood | None = None
    n_patches: int = 20
    learning_rate: float = 1e-3
    optimizer: torch.optim.Adam = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.learning_rate
        )

    def patch_loss(self, patches: PatchSource) -> Tensor:
        """Loss of one freshly masked patch."""
        masked, target, mask = patches.draw()
        output = self.network((masked - self.mean) / self.std) * OUTPUT_SCALE
        # (B, K, Y, X) -> (K, B, Y, X), ADU
        samples = output.permute(1, 0, 2, 3) * self.std + self.mean
        if self.noise_model is None:
            return n2v_loss(samples, target[:, 0], mask[:, 0], self.std)
        return pn2v_loss(samples, target[:, 0], mask[:, 0], self.noise_model)

    def step(self) -> float:
        """One optimizer step; returns the mean loss of its patches."""
        self.optimizer.zero_grad()
        losses = []
        for _ in range(self.n_patches):
            loss = self.patch_loss(self.patches)
            torch.autograd.backward(loss)
            losses.append(loss.item())
        self.optimizer.step()
        return statistics.fmean(losses)

    @torch.no_grad()
    def validate(self, patches: PatchSource, n_patches: int = 20) -> float:
        """Mean loss of validation patches, masked like training patches."""
        return statistics.fmean(
            self.patch_loss(patches).item() for _ in range(n_patches)
        )


def make_trainer(
    frames: np.ndarray,
    noise_model: Likelihood | None = None,
    *,
    n_samples: int = 800,
    n_filters: int = 64,
    patch_size: int = 100,
    n_patches: int = 20,
    n_validation_frames: int = 0,
    seed: int = 0,
) -> PublishedTrainer:
    """Build a trainer at the published settings (N2V without a noise model).

    It is normalised by all frames and trains on all but the last
    `n_validation_frames`.
    """
    rng = np.random.default_rng(seed)
    n_outputs = 1 if noise_model is None else n_samples
    return PublishedTrainer(
        network=make_network(n_outputs, n_filters, seed),
        patches=PatchSource(
            frames[: len(frames) - n_validation_frames], rng, patch_size
        ),
        mean=float(frames.mean()),
        std=float(frames.std()),
        noise_model=noise_model,
        n_patches=n_patches,
    )


@dataclass
class N2vRun:
    """A trained network, the one of the lowest validation loss, and the curve."""

    trainer: PublishedTrainer
    best_network: PublishedUNet
    curve: list[dict[str, Any]]


def train_n2v_published(
    frames: np.ndarray,
    seconds: float,
    *,
    score: Callable[[PublishedTrainer], float] | None = None,
    score_every: float = 30.0,
    clock: Callable[[], float] = time.perf_counter,
    n_validation_frames: int = 5,
    on_row: Callable[[dict[str, Any]], None] = lambda row: None,
    **settings: Any,
) -> N2vRun:
    """Train the published N2V for a budget of seconds on `clock`, scoring left out.

    Epochs of 10 steps, validated on 20 patches of the last frames; the learning rate
    is halved when the validation loss has not improved for 10 epochs.

    Parameters
    ----------
    frames
        (T, Y, X) float32, ADU. The last `n_validation_frames` are not trained on;
        0 trains and validates on all frames.
    score
        Called about every `score_every` seconds and at the end with the trainer;
        whatever truth it knows stays with it. Its time is not counted.
    clock
        Wall clock by default; `cpu_seconds` for budgets in CPU seconds.
    settings
        Passed to `make_trainer`.
    """
    trainer = make_trainer(frames, n_validation_frames=n_validation_frames, **settings)
    held_out = PatchSource(
        frames[-n_validation_frames:], trainer.patches.rng, trainer.patches.size
    )
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        trainer.optimizer, factor=0.5, patience=10
    )
    best_network, best_loss, loss = copy.deepcopy(trainer.network), math.inf, math.nan
    curve: list[dict[str, Any]] = []
    used, n_steps = 0.0, 0
    while used < seconds:
        start = clock()
        training_loss = trainer.step()
        n_steps += 1
        if n_steps % N2V_STEPS_PER_EPOCH == 0:
            loss = trainer.validate(held_out)
            schedule.step(loss)
            if loss < best_loss:
                best_network, best_loss = copy.deepcopy(trainer.network), loss
        used += clock() - start
        if score is None or (used < score_every * (len(curve) + 1) and used < seconds):
            continue
        row = {
            "seconds": round(used, 2),
            "steps": n_steps,
            "learning rate": trainer.optimizer.param_groups[0]["lr"],
            "training loss": training_loss,
            "validation loss": loss,
            "psnr": score(trainer),
        }
        curve.append(row)
        on_row(row)
    if math.isinf(best_loss):  # too short for a single epoch
        best_network = copy.deepcopy(trainer.network)
    return N2vRun(trainer, best_network, curve)


# --- Prediction ------------------------------------------------------------------


def predict_tile(
    tile: np.ndarray, trainer: PublishedTrainer
) -> tuple[np.ndarray, np.ndarray | None]:
    """Prior mean and, with a noise model, MMSE estimate of one tile, (Y, X) ADU.

    All samples of all pixels are held at once. Where autograd is on, as in the
    published code, the graph of network and likelihood stays alive to the end.
    sum(p * s) / sum(p) is 0/0 for outliers of a histogram model.
    """
    observation = torch.from_numpy(np.ascontiguousarray(tile))[None, None]
    output = trainer.network((observation - trainer.mean) / trainer.std)
    samples = output.permute(1, 0, 2, 3) * OUTPUT_SCALE * trainer.std + trainer.mean
    prior_mean = samples.mean(dim=0)[0].detach().numpy()
    if trainer.noise_model is None:
        return prior_mean, None
    likelihood = trainer.noise_model.likelihood(observation[:, 0], samples)
    mmse = (likelihood * samples).sum(dim=0) / likelihood.sum(dim=0)
    return prior_mean, mmse[0].detach().numpy()


def predict_tiled(
    frame: np.ndarray,
    trainer: PublishedTrainer,
    tile: int = TILE,
    overlap: int = TILE_OVERLAP,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Prior mean and MMSE of a frame, tile by tile; later tiles overwrite earlier.

    Half of the overlap is cut at each tile's start; the last tile of a row is moved
    back to the border.
    """
    prior_mean = np.empty(frame.shape, np.float32)
    mmse = None if trainer.noise_model is None else np.empty_like(prior_mean)
    tile_y, tile_x = (min(tile, side // 4 * 4) for side in frame.shape)
    for top in _tile_starts(frame.shape[0], tile_y, overlap):
        for left in _tile_starts(frame.shape[1], tile_x, overlap):
            rows, columns = slice(top, top + tile_y), slice(left, left + tile_x)
            tile_mean, tile_mmse = predict_tile(frame[rows, columns], trainer)
            cut_y, cut_x = (overlap // 2 if at else 0 for at in (top, left))
            prior_mean[rows, columns][cut_y:, cut_x:] = tile_mean[cut_y:, cut_x:]
            if mmse is not None and tile_mmse is not None:
                mmse[rows, columns][cut_y:, cut_x:] = tile_mmse[cut_y:, cut_x:]
    return prior_mean, mmse


def _tile_starts(side: int, tile: int, overlap: int) -> list[int]:
    starts = [0]
    while starts[-1] + tile < side:
        starts.append(min(starts[-1] + tile - overlap, side - tile))
    return starts


@torch.no_grad()
def predict_crop(
    frame: np.ndarray, trainer: PublishedTrainer, region: tuple[slice, slice]
) -> np.ndarray:
    """Prior mean of a part of a frame, seen with 32 pixels of surroundings.

    The network reaches less far, so this equals the same part of a whole-frame pass
    for regions and frames whose bounds are multiples of 4.
    """
    halo = 32
    top, left = (max(part.start - halo, 0) for part in region)
    surroundings = frame[top : region[0].stop + halo, left : region[1].stop + halo]
    sides = [side // 4 * 4 for side in surroundings.shape]
    prior_mean, _ = predict_tile(surroundings[: sides[0], : sides[1]], trainer)
    rows = slice(region[0].start - top, region[0].stop - top)
    columns = slice(region[1].start - left, region[1].stop - left)
    return prior_mean[rows, columns]


# --- Noise-model fit -------------------------------------------------------------


def fit_gmm_published(
    signal: np.ndarray,
    observation: np.ndarray,
    *,
    n_components: int = 3,
    n_coefficients: int = 2,
    n_iterations: int = 2000,
    batch_size: int = 250_000,
    learning_rate: float = 0.1,
    variance_floor: float = VARIANCE_FLOOR,
    seed: int = 0,
) -> PublishedGmm:
    """Fit a GMM by Adam on random batches of pairs from a random start.

    The published trainer saves its weights half-way; this returns the final ones,
    which is in its favour.

    Parameters
    ----------
    signal, observation
        Same shape, ADU; all pairs are kept as a float64 table and shuffled whole.
    """
    rng = np.random.default_rng(seed)
    pairs = np.stack([signal.ravel(), observation.ravel()], axis=1).astype(np.float64)
    low, high = float(pairs[:, 0].min()), float(pairs[:, 0].max())
    start = rng.standard_normal((3 * n_components, n_coefficients))
    start[n_components : 2 * n_components, 1] = math.log(high - low)
    weight = torch.from_numpy(start.astype(np.float32)).requires_grad_()
    model = PublishedGmm(weight, low, high, variance_floor)
    optimizer = torch.optim.Adam([weight], lr=learning_rate)
    pairs = pairs[rng.permutation(len(pairs))][rng.permutation(len(pairs))]
    batch_index = 0
    for _ in range(n_iterations):
        if (batch_index + 1) * batch_size >= len(pairs):
            batch_index = 0
            pairs = pairs[rng.permutation(len(pairs))]
        batch = pairs[batch_index * batch_size : (batch_index + 1) * batch_size]
        batch_index += 1
        loss = _gmm_nll(model, torch.from_numpy(batch.astype(np.float32)))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    model.weight = weight.detach()
    return model


def _gmm_nll(model: PublishedGmm, pairs: Tensor) -> Tensor:
    return -torch.log(model.likelihood(pairs[:, 1], pairs[:, 0])).mean()


@torch.no_grad()
def gmm_nll(model: PublishedGmm, signal: np.ndarray, observation: np.ndarray) -> float:
    """Mean -log(p(x|s) + 1e-10) over pairs in nats per ADU, summed in float64."""
    total, chunk = 0.0, 1_000_000
    signal, observation = signal.ravel(), observation.ravel()
    for start in range(0, signal.size, chunk):
        part = slice(start, start + chunk)
        likelihood = model.likelihood(
            torch.from_numpy(observation[part].astype(np.float64)),
            torch.from_numpy(signal[part].astype(np.float64)),
        )
        total -= float(torch.log(likelihood).sum())
    return total / signal.size


# --- Command line ----------------------------------------------------------------


def synthetic_frames(n_frames: int, size: int, seed: int = 0) -> np.ndarray:
    """Smooth waves with Poisson-Gaussian noise, (T, Y, X) float32, for timings."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = [np.sin(9 * x + phase) * np.cos(7 * y - phase) for phase in range(n_frames)]
    electrons = 60.0 * (1.2 + np.stack(waves))
    noisy = 100 + 2.2 * rng.poisson(electrons) + rng.normal(0, 3.3, electrons.shape)
    return noisy.astype(np.float32)


def _timing_noise_model(kind: str, frames: np.ndarray) -> Likelihood:
    low, high = float(frames.min()), float(frames.max())
    if kind == "gmm":
        return photon_transfer_gmm(low, high, intercept=-210.0, slope=2.2)
    rng = np.random.default_rng(1)
    signal = rng.uniform(low, high, 500_000)
    deviation = np.sqrt(np.maximum(2.2 * (signal - 95), 11.0))
    observation = rng.normal(signal, deviation)
    return PublishedHistogram(
        make_histogram_published(signal, observation, 256, low, high)
    )


def _time_steps(options: argparse.Namespace, noise_model: str | None) -> None:
    frames = synthetic_frames(4, 512)
    model = None if noise_model is None else _timing_noise_model(noise_model, frames)
    trainer = make_trainer(
        frames,
        model,
        n_samples=getattr(options, "samples", 1),
        n_filters=options.filters,
        patch_size=options.patch,
        n_patches=options.patches,
    )
    # The first patch pays for gigabytes of fresh memory; leave it out.
    trainer.n_patches = 1
    trainer.step()
    trainer.n_patches = options.patches
    rows = []
    for repeat in range(options.repeats):
        wall, cpu = time.perf_counter(), cpu_seconds()
        loss = trainer.step()
        wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
        rows.append(
            {
                "repeat": repeat,
                "wall s per step": wall,
                "CPU s per step": cpu,
                "wall s per patch": wall / options.patches,
                "loss": loss,
            }
        )
    _report(rows)


def _run_n2v_step(options: argparse.Namespace) -> None:
    _time_steps(options, None)


def _run_pn2v_step(options: argparse.Namespace) -> None:
    _time_steps(options, options.noise_model)


def _run_predict(options: argparse.Namespace) -> None:
    frames = synthetic_frames(1, options.size)
    trainer = make_trainer(
        frames,
        _timing_noise_model(options.noise_model, frames),
        n_samples=options.samples,
        n_filters=options.filters,
    )
    wall, cpu = time.perf_counter(), cpu_seconds()
    with torch.set_grad_enabled(not options.no_graph):
        predict_tiled(frames[0], trainer, tile=options.tile)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    megapixels = frames[0].size / 1e6
    row = {
        "size": options.size,
        "wall s": wall,
        "CPU s": cpu,
        "wall s per megapixel": wall / megapixels,
        "CPU s per megapixel": cpu / megapixels,
        "peak memory MB": peak_memory_mb(),
    }
    _report([row])


def _run_gmm_fit(options: argparse.Namespace) -> None:
    benchmark = load_benchmark(options.data, options.name)
    fitted, held_out = slice(0, -5), slice(-5, None)
    wall, cpu = time.perf_counter(), cpu_seconds()
    model = fit_gmm_published(
        benchmark.truth[fitted],
        benchmark.noisy[fitted],
        n_iterations=options.iterations,
        batch_size=options.batch,
        variance_floor=options.variance_floor,
        seed=options.seed,
    )
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    row: dict[str, Any] = {"iterations": options.iterations, "wall s": wall}
    row["CPU s"] = cpu
    for label, part in (("fitted", fitted), ("held-out", held_out)):
        nll = gmm_nll(model, benchmark.truth[part], benchmark.noisy[part])
        row[f"NLL of {label} frames"] = f"{nll:.5f}"
    _report([row])
    if options.out:
        np.savez(options.out, allow_pickle=False, **model.to_npz())


def _run_n2v_train(options: argparse.Namespace) -> None:
    benchmark = load_benchmark(options.data, options.name)
    rows = [_noisy_row(benchmark)]
    print(rows[0], flush=True)

    def add(row: dict[str, Any]) -> None:
        rows.append({"what": "crops", **row})
        print(rows[-1], flush=True)

    def score(trainer: PublishedTrainer) -> float:
        region = benchmark.scored_region
        return crop_psnr(
            benchmark, lambda frame, _: predict_crop(frame, trainer, region)
        )

    run = train_n2v_published(
        benchmark.noisy,
        60 * options.minutes,
        score=score,
        score_every=options.every,
        clock=cpu_seconds if options.clock == "cpu" else time.perf_counter,
        n_validation_frames=options.validation_frames,
        on_row=add,
        n_filters=options.filters,
        seed=options.seed,
    )
    networks = {"": run.trainer.network, ", best validation": run.best_network}
    for label, network in networks.items():
        run.trainer.network = network
        rows.append(
            {
                **rows[-1],
                "what": f"complete frames{label}",
                "psnr": _complete_psnr(benchmark, run.trainer),
            }
        )
    _report(rows)
    if options.out:
        write_csv(options.out, rows)


def _noisy_row(benchmark: Benchmark) -> dict[str, Any]:
    region = benchmark.scored_region
    blank = {"learning rate": "", "training loss": "", "validation loss": ""}
    score = crop_psnr(benchmark, lambda frame, _: frame[region])
    return {"what": "noisy crops", "seconds": 0.0, "steps": 0, **blank, "psnr": score}


@torch.no_grad()
def _complete_psnr(benchmark: Benchmark, trainer: PublishedTrainer) -> float:
    estimates = (predict_tiled(frame, trainer)[0] for frame in benchmark.noisy)
    return mean_psnr(estimates, benchmark.truth)


def _report(rows: Sequence[Mapping[str, Any]]) -> None:
    print(describe_machine())
    print(markdown_table(rows), end="")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--threads", type=int, default=2)
    shared.add_argument("--filters", type=int, default=64)
    shared.add_argument("--seed", type=int, default=0)
    head = argparse.ArgumentParser(add_help=False)
    head.add_argument("--samples", type=int, default=800)
    head.add_argument("--noise-model", choices=("gmm", "histogram"), default="gmm")
    steps = argparse.ArgumentParser(add_help=False)
    steps.add_argument("--patch", type=int, default=100, help="side in pixels")
    steps.add_argument("--patches", type=int, default=20, help="accumulated per step")
    steps.add_argument("--repeats", type=int, default=3, help="steps to time")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", required=True, help="folder of the data sets")
    data.add_argument("--name", choices=BENCHMARKS, default="w2s")
    data.add_argument("--out", help="file to write the result to")
    commands = parser.add_subparsers(required=True)

    def add(
        name: str,
        run: Callable[[argparse.Namespace], None],
        *parents: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[shared, *parents])
        command.set_defaults(run=run)
        return command

    add("n2v-step", _run_n2v_step, steps)
    add("pn2v-step", _run_pn2v_step, steps, head)
    predict = add("predict", _run_predict, head)
    predict.add_argument("--size", type=int, default=128, help="side in pixels")
    predict.add_argument("--tile", type=int, default=192)
    predict.add_argument("--no-graph", action="store_true", help="without autograd")
    fit = add("gmm-fit", _run_gmm_fit, data)
    fit.add_argument("--iterations", type=int, default=2000)
    fit.add_argument("--batch", type=int, default=250_000)
    fit.add_argument("--variance-floor", type=float, default=VARIANCE_FLOOR)
    train = add("n2v-train", _run_n2v_train, data)
    train.add_argument("--minutes", type=float, default=10.0)
    train.add_argument("--every", type=float, default=30.0, help="seconds per score")
    train.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    train.add_argument("--validation-frames", type=int, default=5)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the sub-commands."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
