"""The running mean of the weights of a network in training.

The targets of Noise2Void are noisy, and so are its gradients: weights wander around
what they would be with endless data, the more the higher the learning rate. Their mean
over the last part of the steps wanders less. It is what is validated, shown, kept and
used. What it brings, measured: docs/explanation/closing-the-gap.md.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

POWER = 15
"""The weights after step k count as k^15: two thirds of the mean are of the last
sixteenth of the steps, however many there are (Karras et al. 2024, section 3.1)."""


class WeightAverage:
    """The mean of what the weights of `model` were after each step so far.

    Weights that are no floating-point numbers are those of the last step.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 1."""
        now = {
            k: v for k, v in self._model.state_dict().items() if v.is_floating_point()
        }
        if not self._mean:
            self._mean = {name: value.clone() for name, value in now.items()}
            return
        share = 1 - (1 - 1 / step) ** (POWER + 1)
        torch._foreach_lerp_(list(self._mean.values()), list(now.values()), share)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Give the model the mean for a while, and then its own weights again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if not self._mean:
            return
        for name, weights in self._model.state_dict(keep_vars=True).items():
            if name in self._mean:
                weights.data, self._mean[name] = self._mean[name], weights.data

    def state(self) -> dict[str, Tensor]:
        """Return the mean on the CPU; empty before the first step."""
        return {name: value.cpu().clone() for name, value in self._mean.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a saved state, on the device of the model."""
        now = self._model.state_dict()
        self._mean = {
            name: torch.empty_like(now[name]).copy_(value)
            for name, value in state.items()
        }
