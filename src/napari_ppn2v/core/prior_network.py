"""Network, prior and normalisation: what training makes and inference uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_ppn2v.core.devices import mixed_precision
from napari_ppn2v.core.networks import NETWORKS
from napari_ppn2v.core.priors import PRIORS

if TYPE_CHECKING:
    from napari_ppn2v.core.networks import UNetConfig


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The network sees (x - mean) / std; both in ADU."""

    mean: float
    std: float


class PriorNetwork(nn.Module):
    """Predicts weighted samples of the signal, in ADU, at chosen pixels.

    Parameters
    ----------
    config : the network's settings
    prior_kind : "free" or "gaussian"
    n_samples : samples per pixel (nodes for the Gaussian prior)
    normalisation : of the training data
    """

    def __init__(
        self,
        config: UNetConfig,
        prior_kind: str,
        n_samples: int,
        normalisation: Normalisation,
        network_kind: str = "unet",
    ) -> None:
        super().__init__()
        self.config, self.network_kind = config, network_kind
        self.prior_kind, self.n_samples = prior_kind, n_samples
        self.normalisation = normalisation
        network, _ = NETWORKS[network_kind]
        self.network = network(config)
        # measured: with bfloat16 1.3 times faster in training, 2.4 at inference
        self.network.to(memory_format=torch.channels_last)
        self.prior = PRIORS[prior_kind](self.network.n_features, n_samples)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, C, Y, X) of normalised images (B, 1, Y, X)."""
        images = images.to(self.device).contiguous(memory_format=torch.channels_last)
        with mixed_precision(self.device):
            return self.network(images)

    def samples(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples in ADU and log weights, (P, K), for features (P, C)."""
        samples, log_weights = self.prior(features.float())
        scaled = samples * self.normalisation.std + self.normalisation.mean
        return scaled, log_weights


def pixels(features: Tensor, where: Tensor | None = None) -> Tensor:
    """Features (B, C, Y, X) as rows (P, C); `where` are flat indices into B·Y·X."""
    rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1])
    return rows if where is None else rows.index_select(0, where)
