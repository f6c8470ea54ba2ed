"""A Gaussian prior per pixel, evaluated at the nodes of a quadrature."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from torch import nn

from napari_ppn2v.core.priors.base import OUTPUT_SCALE

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ppn2v.core.priors.free_samples import FreeSamples

START_LOG_WIDTH = -2.0  # of the data's standard deviation


class GaussianPrior(nn.Module):
    """Mean and width per pixel; the samples are Gauss-Hermite nodes.

    Free samples spread where broad noise hardly constrains them, which costs up to
    a decibel of the MMSE estimate on photon-starved data. Two numbers per pixel do
    not, and the nodes with their weights *are* the prior samples: loss and
    estimate are computed by the same code as for free samples.

    Attributes
    ----------
    width_shapes_features
        Whether the network learns from the gradient of the width. Under a likelihood
        mean and width are one prior. Where the width has a term of the loss to itself,
        it reads the features that serve the mean and leaves them as they are.
    """

    kind: ClassVar[str] = "gaussian"

    def __init__(self, n_features: int, n_samples: int = 8) -> None:
        super().__init__()
        self.n_samples = n_samples
        self.width_shapes_features = True
        self.linear = nn.Linear(n_features, 2)
        with torch.no_grad():
            self.linear.weight[1].zero_()
            self.linear.bias[1] = START_LOG_WIDTH
        nodes, weights = np.polynomial.hermite_e.hermegauss(n_samples)
        log_weights = np.log(weights) - 0.5 * math.log(2 * math.pi)
        self.register_buffer("nodes", torch.tensor(nodes, dtype=torch.float32))
        self.register_buffer(
            "log_weights", torch.tensor(log_weights, dtype=torch.float32)
        )
        self.nodes: Tensor
        self.log_weights: Tensor

    def start_from(self, point: FreeSamples) -> None:
        """Take over the mean of a trained point estimate (Noise2Void)."""
        with torch.no_grad():
            self.linear.weight[0] = point.linear.weight.mean(dim=0)
            self.linear.bias[0] = point.linear.bias.mean()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples (P, K) in normalised units and log weights (1, K)."""
        parameters = self.linear(features)
        mean = OUTPUT_SCALE * parameters[:, :1]
        if not self.width_shapes_features:
            parameters = self.linear(features.detach())
        # a width below e^-8 of the data's standard deviation is a point anyway
        width = parameters[:, 1:].clamp(-8.0, 3.0).exp()
        return mean + width * self.nodes, self.log_weights[None]
