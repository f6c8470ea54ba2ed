"""From a raw image to the estimate and its uncertainty, as one TorchScript module.

The module normalises, runs the network, evaluates prior and likelihood, and sums: what
`Denoiser.estimate_image` does, in grey values on both sides, in float32 throughout. The
network and its prior are traced, everything around them is compiled, so that a new
network needs no line here.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_ppn2v.core.blindspot import RANDOM_RADIUS
from napari_ppn2v.core.export.likelihoods import exported_likelihood

if TYPE_CHECKING:
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import Blindness
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.core.std_calibration import StdCalibration

_SAMPLES_ON_CPU, _SAMPLES_ELSEWHERE = 2**17, 2**22  # at once, as in `core.inference`
_MEAN_KERNEL = ((0.5, 1.0, 0.5), (1.0, 0.0, 1.0), (0.5, 1.0, 0.5))


def exported_estimator(denoiser: Denoiser, *, with_std: bool) -> torch.jit.ScriptModule:
    """Return a module from observations to estimates, with nothing of ours needed.

    Parameters
    ----------
    denoiser : its estimate, blindness and orientations are what the module does
    with_std : whether it also returns the posterior standard deviation

    Returns
    -------
    ScriptModule
        From (B, 1, Y, X), ADU, of any size, to the estimate of that shape, or to a pair
        of estimate and standard deviation.

    Raises
    ------
    BadSetting  If the noise model is of a kind that cannot be exported.
    """
    denoiser = denoiser.to(torch.device("cpu"))
    is_refined = denoiser.estimate == "refined"
    model = denoiser.refined if is_refined else denoiser.model
    assert model is not None
    needs_likelihood = denoiser.noise_model is not None and not is_refined
    # TorchScript is what the model zoo's programs run; torch announces its end
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = TracedSamples(model)
        rows: nn.Module = PriorRows(samples)
        if needs_likelihood and denoiser.noise_model is not None:
            likelihood = exported_likelihood(denoiser.noise_model)
            gives_mean = denoiser.estimate == "prior-mean"
            rows = PosteriorRows(samples, likelihood, gives_mean)
        passes = _passes(denoiser, samples, rows)
        whole = (
            Estimator(passes, _calibration(denoiser))
            if with_std
            else EstimatorWithoutStd(passes)
        )
        return torch.jit.script(whole.eval())


def _passes(denoiser: Denoiser, samples: TracedSamples, rows: nn.Module) -> nn.Module:
    """Choose how often the network sees the image."""
    blindness = None if denoiser.estimate == "refined" else denoiser.blindness
    if blindness is not None:
        return BlindPasses(samples, rows, blindness)
    if denoiser.averages_orientations:
        return AllOrientations(OnePass(samples, rows), samples.stride)
    return OnePass(samples, rows)


def _calibration(denoiser: Denoiser) -> nn.Module:
    known = denoiser.std_calibration
    in_use = (denoiser.estimate, denoiser.is_blind)
    if known is None or (known.estimate, known.is_blind) != in_use:
        return nn.Identity()
    return CalibratedStd(known)


class TracedSamples(nn.Module):
    """Network and prior: features of an image, samples in ADU of features."""

    def __init__(self, model: PriorNetwork) -> None:
        super().__init__()
        normal, network = model.normalisation, model.network
        self.mean, self.std = normal.mean, normal.std
        self.stride = network.stride
        self.n_samples = model.n_samples
        side = 4 * self.stride
        with torch.no_grad():
            self.network = torch.jit.trace(  # type: ignore[no-untyped-call]
                network.eval(), torch.zeros(1, 1, side, side), check_trace=False
            )
            self.prior = torch.jit.trace(  # type: ignore[no-untyped-call]
                model.prior.eval(),
                torch.zeros(3, network.n_features),
                check_trace=False,
            )

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, C, Y, X) of an image (B, 1, Y, X), ADU."""
        height, width = image.shape[2], image.shape[3]
        margin = [0, -width % self.stride, 0, -height % self.stride]
        padded = nn.functional.pad(image, margin, mode="replicate")
        inputs = (padded - self.mean) / self.std
        features = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return features[:, :, :height, :width]


class PriorRows(nn.Module):
    """Mean and standard deviation of the prior."""

    def __init__(self, samples: TracedSamples) -> None:
        super().__init__()
        self.prior = samples.prior
        self.mean, self.std = samples.mean, samples.std
        self.n_samples = samples.n_samples

    def forward(self, features: Tensor, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, (P,), ADU, for features (P, C); the observation has no say."""
        samples, log_weights = self.prior(features)
        samples = samples * self.std + self.mean
        weights = log_weights.exp()
        mean = (samples * weights).sum(dim=1)
        deviations = (samples - mean[:, None]).square()
        return mean, (deviations * weights).sum(dim=1).sqrt()


class PosteriorRows(nn.Module):
    """The MMSE estimate and the posterior standard deviation.

    See `napari_ppn2v.core.posterior.posterior_estimate`.
    """

    def __init__(
        self, samples: TracedSamples, likelihood: nn.Module, gives_mean: bool
    ) -> None:
        super().__init__()
        self.prior = samples.prior
        self.likelihood = likelihood
        self.mean, self.std = samples.mean, samples.std
        self.n_samples = samples.n_samples
        self.gives_mean = gives_mean

    def forward(self, features: Tensor, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, (P,), ADU, for features (P, C) and observations (P,), ADU."""
        samples, log_weights = self.prior(features)
        samples = samples * self.std + self.mean
        log_joint = self.likelihood(observation[:, None], samples) + log_weights
        weights = torch.softmax(log_joint, dim=1)
        mean = (samples * log_weights.exp()).sum(dim=1)
        deviations = samples - mean[:, None]
        shift = (weights * deviations).sum(dim=1)
        spread = (weights * (deviations - shift[:, None]).square()).sum(dim=1)
        if self.gives_mean:
            return mean, spread.sqrt()
        return mean + shift, spread.sqrt()


class _InChunks(nn.Module):
    """Estimates pixels in chunks that stay in the cache of the processor."""

    def __init__(self, samples: TracedSamples, rows: nn.Module) -> None:
        super().__init__()
        self.samples, self.rows = samples, rows
        self.on_cpu = max(1, _SAMPLES_ON_CPU // samples.n_samples)
        self.elsewhere = max(1, _SAMPLES_ELSEWHERE // samples.n_samples)

    def estimate(self, features: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return estimate and std, shape of the image, of features (B, C, Y, X)."""
        pixels = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
        observation = image.reshape(-1)
        size = self.on_cpu if image.device.type == "cpu" else self.elsewhere
        means: list[Tensor] = []
        stds: list[Tensor] = []
        for first in range(0, observation.shape[0], size):
            mean, std = self.rows(
                pixels[first : first + size], observation[first : first + size]
            )
            means.append(mean)
            stds.append(std)
        return torch.cat(means).reshape(image.shape), torch.cat(stds).reshape(
            image.shape
        )


class OnePass(_InChunks):
    """The network sees every pixel."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return estimate and std, (B, 1, Y, X), ADU."""
        return self.estimate(self.samples(image), image)


class AllOrientations(nn.Module):
    """The mean over the eight orientations; see `napari_ppn2v.core.orientations`."""

    def __init__(self, one_pass: OnePass, stride: int) -> None:
        super().__init__()
        self.one_pass, self.stride = one_pass, stride

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return estimate and std, (B, 1, Y, X), ADU."""
        height, width = image.shape[2], image.shape[3]
        margin = [0, -width % self.stride, 0, -height % self.stride]
        padded = nn.functional.pad(image, margin, mode="replicate")
        total, variance = torch.zeros_like(padded), torch.zeros_like(padded)
        for number in range(8):
            turned = torch.rot90(padded, number % 4, [2, 3])
            if number >= 4:
                turned = turned.flip(3)
            mean, std = self.one_pass(turned.contiguous())
            if number >= 4:
                mean, std = mean.flip(3), std.flip(3)
            total = total + torch.rot90(mean, -(number % 4), [2, 3]) / 8
            square = std.square() / 8
            variance = variance + torch.rot90(square, -(number % 4), [2, 3])
        whole = total[:, :, :height, :width]
        return whole, variance[:, :, :height, :width].sqrt()


class BlindPasses(_InChunks):
    """In each pass one lattice of pixels is hidden; these are kept from it."""

    def __init__(
        self, samples: TracedSamples, rows: nn.Module, blindness: Blindness
    ) -> None:
        super().__init__(samples, rows)
        self.box = blindness.box
        self.by_mean = blindness.replacement == "mean"
        self.radius = RANDOM_RADIUS
        self.register_buffer("kernel", torch.tensor(_MEAN_KERNEL)[None, None])
        self.kernel: Tensor

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return estimate and std, (B, 1, Y, X), ADU."""
        estimate, spread = torch.zeros_like(image), torch.zeros_like(image)
        box = self.box
        for py in range(min(box, image.shape[2])):
            for px in range(min(box, image.shape[3])):
                features = self.samples(self.hide(image, py, px))
                mean, std = self.estimate(
                    features[:, :, py::box, px::box], image[:, :, py::box, px::box]
                )
                estimate[:, :, py::box, px::box] = mean
                spread[:, :, py::box, px::box] = std
        return estimate, spread

    def hide(self, image: Tensor, py: int, px: int) -> Tensor:
        """Replace one lattice of pixels by what surrounds them."""
        known = torch.ones_like(image[:1])
        known[:, :, py :: self.box, px :: self.box] = 0.0
        if self.by_mean:
            total = nn.functional.conv2d(image * known, self.kernel, padding=1)
            weight = nn.functional.conv2d(known, self.kernel, padding=1)
            return torch.where(known > 0, image, total / weight.clamp_min(0.5))
        hidden = image.clone()
        chosen = self.neighbours(image, known, py, px)
        hidden[:, :, py :: self.box, px :: self.box] = chosen
        return hidden

    def neighbours(self, image: Tensor, known: Tensor, py: int, px: int) -> Tensor:
        """Values of the neighbours that draw the highest numbers, (B, 1, y, x)."""
        batch, height, width = image.shape[0], image.shape[2], image.shape[3]
        ys = torch.arange(py, height, self.box, device=image.device)
        xs = torch.arange(px, width, self.box, device=image.device)
        y = ys.repeat_interleave(xs.shape[0])
        x = xs.repeat(ys.shape[0])
        side, margin = 2 * self.radius + 1, [self.radius] * 4
        place = torch.arange(side * side, device=image.device)
        row = y[:, None] + place // side
        column = x[:, None] + place % side
        index = row * (width + 2 * self.radius) + column  # (P, places)
        values = nn.functional.pad(image, margin).reshape(batch, -1)
        is_known = nn.functional.pad(known, margin).reshape(-1)[index] > 0
        drawn = self.lottery(y, x, side * side)
        drawn = torch.where(is_known, drawn, torch.full_like(drawn, -1.0))
        winner = drawn.argmax(dim=1, keepdim=True)
        chosen = values[:, index.gather(1, winner)[:, 0]]
        return chosen.reshape(batch, 1, ys.shape[0], xs.shape[0])

    def lottery(self, y: Tensor, x: Tensor, count: int) -> Tensor:
        """Do as `napari_ppn2v.core.blindspot.position_lottery`, in signed integers.

        Products of 64 bits wrap around alike; shifts to the right need the bits that
        the sign brings in to be cleared.
        """
        places = torch.arange(count, device=y.device)
        mixed = ((y * 4294967296) ^ x)[:, None] * count + places
        mixed = mixed ^ ((mixed >> 30) & 0x3FFFFFFFF)
        mixed = mixed * -0x40A7B892E31B1A47
        mixed = mixed ^ ((mixed >> 27) & 0x1FFFFFFFFF)
        mixed = mixed * -0x6B2FB644ECCEEE15
        return ((mixed >> 40) & 0xFFFFFF).float() / 16777216.0


class CalibratedStd(nn.Module):
    """As `StdCalibration`, in float32."""

    def __init__(self, calibration: StdCalibration) -> None:
        super().__init__()
        nodes = [math.log(value) for value in calibration.std]
        ratios = [
            math.log(value) - node
            for value, node in zip(calibration.calibrated, nodes, strict=True)
        ]
        if len(nodes) == 1:  # a constant factor
            nodes, ratios = [nodes[0], nodes[0] + 1.0], ratios * 2
        self.register_buffer("nodes", torch.tensor(nodes))
        self.register_buffer("ratios", torch.tensor(ratios))
        self.nodes: Tensor
        self.ratios: Tensor

    def forward(self, std: Tensor) -> Tensor:
        """Calibrate a standard deviation; a constant factor beyond the nodes."""
        last = self.nodes.shape[0] - 1
        value = std.clamp_min(1e-12).log().contiguous()
        right = torch.bucketize(value, self.nodes).clamp(1, last)
        low, high = self.nodes[right - 1], self.nodes[right]
        part = ((value - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
        before, after = self.ratios[right - 1], self.ratios[right]
        return std * (before + part * (after - before)).exp()


class Estimator(nn.Module):
    """Observation in, estimate and posterior standard deviation out."""

    def __init__(self, passes: nn.Module, calibration: nn.Module) -> None:
        super().__init__()
        self.passes, self.calibration = passes, calibration

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return both, of the shape of the observation (B, 1, Y, X), ADU."""
        estimate, std = self.passes(image.to(torch.float32))
        return estimate, self.calibration(std)


class EstimatorWithoutStd(nn.Module):
    """Observation in, estimate out."""

    def __init__(self, passes: nn.Module) -> None:
        super().__init__()
        self.passes = passes

    def forward(self, image: Tensor) -> Tensor:
        """Return the estimate, of the shape of the observation (B, 1, Y, X), ADU."""
        estimate, _ = self.passes(image.to(torch.float32))
        return estimate
