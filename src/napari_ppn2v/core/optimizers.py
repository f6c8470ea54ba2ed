"""Optimizers: Adam as published, and Muon, which learns more from each step.

Trainings here are short, a few hundred to a few thousand steps. Adam scales every
weight by itself. Muon (Jordan et al. 2024) treats the weights of a convolution as one
matrix and makes each change of it nearly orthogonal, so that all directions are learnt
at once and none is drowned by a few strong ones. What it brings, measured:
docs/explanation/closing-the-gap.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

MOMENTUM = 0.95
MATRIX_RATE = 2.5
"""Learning rate of matrices over that of all other weights."""
ITERATIONS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return the singular vectors of `matrix` with singular values near 1.

    Five steps of a Newton-Schulz iteration with the quintic of Jordan et al. 2024,
    which leaves the singular values between about 0.7 and 1.2; that is near enough,
    and needs products alone.

    Parameters
    ----------
    matrix : (M, N)

    Returns
    -------
    (M, N), zero where `matrix` is zero.
    """
    a, b, c = _QUINTIC
    is_tall = matrix.shape[0] > matrix.shape[1]
    # products of the short side are the cheaper ones
    x = matrix.T if is_tall else matrix
    x = x / x.norm().clamp_min(1e-30)
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon for the weights of convolutions, Adam for all else.

    Parameters
    ----------
    model : whose weights are trained
    momentum : of the gradients of matrices
    matrix_rate : learning rate of matrices over that of the rest

    Notes
    -----
    The change of an M x N matrix is its Nesterov momentum made orthogonal, times
    sqrt(max(1, M / N)). First layers of one input channel, biases, normalisations and
    the head have no or few directions to balance: they are Adam's, as in Jordan et al.
    """

    def __init__(
        self,
        model: nn.Module,
        momentum: float = MOMENTUM,
        matrix_rate: float = MATRIX_RATE,
    ) -> None:
        matrices: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in model.parameters():
            is_matrix = parameter.ndim == 4 and min(parameter.shape[:2]) > 1
            (matrices if is_matrix else others).append(parameter)
        self._adam = torch.optim.AdamW(others, weight_decay=0.0)
        self.momentum, self.matrix_rate = momentum, matrix_rate
        super().__init__([{"params": matrices}, {"params": others}], {"lr": 1e-3})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Change all weights once by their gradients."""
        if closure is not None:
            raise ValueError("the gradients must be there already")
        matrices, others = self.param_groups
        self._adam.param_groups[0]["lr"] = others["lr"]
        self._adam.step()
        for weights in matrices["params"]:
            if weights.grad is not None:
                rate = matrices["lr"] * self.matrix_rate
                self._change(weights, weights.grad, rate)

    def _change(self, weights: Tensor, gradient: Tensor, rate: float) -> None:
        kept = self.state[weights]
        if "momentum" not in kept:
            kept["momentum"] = torch.zeros_like(gradient)
        mean = kept["momentum"]
        mean.lerp_(gradient, 1 - self.momentum)
        ahead = gradient.lerp(mean, self.momentum)
        change = orthogonalised(ahead.reshape(ahead.shape[0], -1))
        rows, columns = change.shape
        change = change * math.sqrt(max(1.0, rows / columns))
        weights.sub_(change.reshape(weights.shape), alpha=rate)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next step depends on."""
        return {"matrices": super().state_dict(), "others": self._adam.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict["matrices"])
        self._adam.load_state_dict(state_dict["others"])


def make_optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of that name, "muon" or "adam"; neither decays weights."""
    if kind == "adam":
        return torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    return Muon(model)
