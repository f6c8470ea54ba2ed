"""Estimates of the signal from prior samples, observation and noise model."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ppn2v.core.noise_models.base import NoiseModel


class Estimate(NamedTuple):
    """Estimates for P pixels, all (P,), in ADU."""

    prior_mean: Tensor
    mmse: Tensor
    posterior_std: Tensor


def prior_mean(samples: Tensor, log_weights: Tensor) -> Tensor:
    """Mean of the prior, (P,), for samples (P, K) and log weights (P, K) or (1, K)."""
    return (samples * log_weights.exp()).sum(dim=1)


def prior_std(samples: Tensor, log_weights: Tensor, mean: Tensor) -> Tensor:
    """Return the standard deviation of the prior around its mean, (P,)."""
    deviations = (samples - mean[:, None]).square()
    return (deviations * log_weights.exp()).sum(dim=1).sqrt()


def log_joint(
    samples: Tensor, log_weights: Tensor, observation: Tensor, noise_model: NoiseModel
) -> Tensor:
    """Return log w_k + log p(x|s_k), (P, K), for observations (P,).

    One tensor serves both the training loss and the estimate.
    """
    return noise_model.log_likelihood(observation[:, None], samples) + log_weights


def posterior_estimate(
    samples: Tensor, log_weights: Tensor, observation: Tensor, noise_model: NoiseModel
) -> Estimate:
    """MMSE estimate sum_k w_k p(x|s_k) s_k / sum_k w_k p(x|s_k) and its uncertainty.

    Parameters
    ----------
    samples : Tensor, (P, K), ADU
    log_weights : Tensor, (P, K) or (1, K)
    observation : Tensor, (P,), ADU

    Returns
    -------
    Estimate
        Finite wherever the inputs are: the weights are a softmax, because the
        likelihoods of an outlier underflow all at once in the linear domain.
        `posterior_std` is the standard deviation of the signal given the
        observation, under the prior and the noise model.
    """
    weights = torch.softmax(
        log_joint(samples, log_weights, observation, noise_model), dim=1
    )
    mean = prior_mean(samples, log_weights)
    # relative to the prior mean: the difference of large squares would cancel
    deviations = samples - mean[:, None]
    shift = (weights * deviations).sum(dim=1)
    spread = (weights * (deviations - shift[:, None]).square()).sum(dim=1)
    return Estimate(mean, mean + shift, spread.sqrt())
