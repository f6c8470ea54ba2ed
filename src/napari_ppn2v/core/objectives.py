"""Training objectives: per-pixel losses on prior samples and observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from napari_ppn2v.core.posterior import log_joint, prior_mean, prior_std

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(samples (P, K) ADU, log weights (P, K), target (P,) ADU) -> loss per pixel (P,)."""


def squared_error(scale: float) -> Objective:
    """Squared error of the prior mean, in units of the data's standard deviation.

    With masked observations as targets this is Noise2Void (Krull et al. 2019,
    Eq. 10); with a second noisy image Noise2Noise; with a clean image supervised
    training (the same, Eqs. 7 and 8).
    """

    def loss(samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        return ((prior_mean(samples, log_weights) - target) / scale).square()

    return loss


def mean_and_width(scale: float) -> Objective:
    """Squared error of the mean, and the width that fits what error is left.

    For a network that sees every pixel of an observation and is taught the signal,
    the mean becomes the MMSE estimate and the width the posterior standard
    deviation. The width is fitted by its Gaussian log-likelihood with the error held
    fixed, so that it does not weigh on the mean.

    Parameters
    ----------
    scale : standard deviation of the data, ADU
    """

    def loss(samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        mean = prior_mean(samples, log_weights)
        error = ((mean - target) / scale).square()
        width = prior_std(samples, log_weights, mean) / scale
        fit = width.log() + 0.5 * error.detach() / width.square()
        # a hundredth: the width learns fast, and should not crowd out the mean
        return error + 0.01 * fit

    return loss


def negative_log_likelihood(noise_model: NoiseModel) -> Objective:
    """PN2V: -log sum_k w_k p(x|s_k), nats per ADU, computed in the log domain.

    With equal weights w_k = 1/K this is the objective of Krull et al. 2019b.
    """

    def loss(samples: Tensor, log_weights: Tensor, target: Tensor) -> Tensor:
        joint = log_joint(samples, log_weights, target, noise_model)
        return -torch.logsumexp(joint, dim=1)

    return loss
