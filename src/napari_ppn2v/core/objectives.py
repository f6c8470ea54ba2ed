"""Training objectives: per-pixel losses on prior samples and observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from napari_ppn2v.core.posterior import log_joint, prior_mean, prior_std

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_weights import NoiseDeviance

SAMPLES_PER_CHUNK = 2**18

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(samples (P, K) ADU, log weights (P, K), target (P,) ADU) -> loss per pixel (P,)."""


def squared_error(scale: float) -> Objective:
    """Squared error of the prior mean, in units of the data's standard deviation.

    With masked observations as targets this is Noise2Void (Krull et al. 2019,
    Eq. 10); with a second noisy image Noise2Noise; with a clean image supervised
    training (the same, Eqs. 7 and 8).
    """

    def loss(samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        return _error(prior_mean(samples, log_weights), target, scale)

    return loss


def deviance(scale: float, noise: NoiseDeviance) -> Objective:
    """Squared error of the prior mean that counts by the noise of each pixel.

    See `napari_ppn2v.core.noise_weights`; for noisy targets. In units of the data's
    standard deviation, and where the noise is even, the same as `squared_error`.
    """

    def loss(samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        return _error(prior_mean(samples, log_weights), target, scale, noise)

    return loss


def mean_and_width(scale: float, noise: NoiseDeviance | None = None) -> Objective:
    """Error of the mean, and the width that fits what error is left.

    For a network that sees every pixel of an observation and is taught the signal,
    the mean becomes the MMSE estimate and the width the posterior standard
    deviation. The width is fitted by its Gaussian log-likelihood with the error held
    fixed. It has a gradient, but no part in the value of the loss: validation judges
    by the mean alone, because a width that is too small for a few pixels weighs more
    there than all that the mean still gains.

    Parameters
    ----------
    scale : standard deviation of the data, ADU
    noise : of the observations, by which the error of the mean counts; None: all
        pixels count alike
    """

    def loss(samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        mean = prior_mean(samples, log_weights)
        width = prior_std(samples, log_weights, mean) / scale
        left = _error(mean.detach(), target, scale)
        fit = width.log() + 0.5 * left / width.square()
        # a hundredth: gradients are clipped together, and this one is the larger
        taught = 0.01 * (fit - fit.detach())
        return _error(mean, target, scale, noise) + taught

    return loss


def _error(
    mean: Tensor, target: Tensor, scale: float, noise: NoiseDeviance | None = None
) -> Tensor:
    """Squared error in units of the data's, counted by the noise if that is given."""
    if noise is None:
        return ((mean - target) / scale).square()
    return noise(mean, target) / scale**2


def negative_log_likelihood(noise_model: NoiseModel) -> NegativeLogLikelihood:
    """PN2V: -log sum_k w_k p(x|s_k), nats per ADU, computed in the log domain.

    With equal weights w_k = 1/K this is the objective of Krull et al. 2019b.
    """
    return NegativeLogLikelihood(noise_model)


@dataclass(frozen=True)
class NegativeLogLikelihood:
    """See `negative_log_likelihood`; computed where the noise model is."""

    noise_model: NoiseModel

    def __call__(self, samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        """Return the loss per pixel (P,); see `Objective`."""
        is_large = samples.device.type == "cpu" and samples.numel() > SAMPLES_PER_CHUNK
        if not is_large or not samples.requires_grad or len(log_weights) > 1:
            return self._per_pixel(samples, log_weights, target)
        return _InChunks.apply(samples, log_weights, target, self._per_pixel)  # type: ignore[no-untyped-call]

    def _per_pixel(
        self, samples: Tensor, log_weights: Tensor, target: Tensor
    ) -> Tensor:
        joint = log_joint(samples, log_weights, target, self.noise_model)
        return -torch.logsumexp(joint, dim=1)

    def to(self, device: torch.device | str) -> NegativeLogLikelihood:
        """Return the same objective with the noise model on another device."""
        return NegativeLogLikelihood(self.noise_model.to(device))


def on_device(objective: Objective, device: torch.device) -> Objective:
    """Return the same objective for arguments on another device.

    Objectives that hold tensors have a method `to`, as noise models do; all others
    compute wherever their arguments are.
    """
    move = getattr(objective, "to", None)
    return objective if move is None else move(device)


class _InChunks(torch.autograd.Function):
    """A loss per pixel whose gradient is made along with it, in chunks.

    Hundreds of samples for thousands of pixels do not fit into a processor's cache.
    Done chunk by chunk, forward and backward at once, they do: measured 4 times
    faster for 5413 pixels of 800 samples.
    """

    @staticmethod
    def forward(
        ctx: Any,
        samples: Tensor,
        log_weights: Tensor,
        target: Tensor,
        per_pixel: Objective,
    ) -> Tensor:
        size = max(1, SAMPLES_PER_CHUNK // samples.shape[1])
        losses, gradients = [], []
        for some, x in zip(
            torch.split(samples, size), torch.split(target, size), strict=True
        ):
            leaf = some.detach().requires_grad_()
            with torch.enable_grad():
                loss = per_pixel(leaf, log_weights, x)
                (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            losses.append(loss.detach())
            gradients.append(gradient)
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0][:, None], None, None, None
