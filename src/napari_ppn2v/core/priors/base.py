"""What a prior is: samples of the signal, with weights, from features of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from torch import Tensor

# The papers' networks multiply their last layer's output by ten: with the usual
# initialisation it starts near zero, and ten makes it learn at the pace of the rest.
OUTPUT_SCALE = 10.0


class Prior(Protocol):
    """The head of the network: p(s | surroundings) as weighted samples.

    An `nn.Module` that takes the features (P, C) of P pixels, so that in training
    only masked pixels pass through it and at inference it runs in chunks.
    """

    kind: ClassVar[str]
    n_samples: int

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return samples (P, K), normalised units, and log weights (P, K) or (1, K).

        The weights sum to one over the samples.
        """
        ...
