"""Free samples: the network predicts every sample of the prior, as published."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from napari_ppn2v.core.priors.base import OUTPUT_SCALE

if TYPE_CHECKING:
    from torch import Tensor


class FreeSamples(nn.Module):
    """K equally weighted samples, each an output of the network of its own.

    With one sample this is the point estimate of Noise2Void; with 800 the prior of
    PN2V (Krull et al. 2019b; Prakash et al. 2020, section 3).
    """

    kind: ClassVar[str] = "free"

    def __init__(self, n_features: int, n_samples: int) -> None:
        super().__init__()
        self.n_samples = n_samples
        self.linear = nn.Linear(n_features, n_samples)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples (P, K) in normalised units and log weights (1, K)."""
        samples = OUTPUT_SCALE * self.linear(features)
        return samples, samples.new_full((1, self.n_samples), -math.log(self.n_samples))
