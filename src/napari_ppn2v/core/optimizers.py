"""Optimizers: Adam as published, and Muon, which learns more from each step.

Trainings here are short, a few hundred to a few thousand steps. Adam scales every
weight by itself. Muon (Jordan et al. 2024) treats the weights of a convolution as one
matrix and makes each change of it nearly orthogonal, so that all directions are learnt
at once and none is drowned by a few strong ones. What it brings, measured:
docs/explanation/closing-the-gap.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOMENTUM = 0.95
MATRIX_RATE = 2.5
"""Learning rate of matrices over that of all other weights."""
ITERATIONS = 5
_QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024


def orthogonalised(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return the singular vectors of each matrix with singular values near 1.

    Five steps of a Newton-Schulz iteration with the quintic of Jordan et al. 2024,
    which leaves the singular values between about 0.7 and 1.2; that is near enough,
    and needs products alone.

    Parameters
    ----------
    matrices : (M, N) each

    Returns
    -------
    (M, N) each, zero where the matrix is zero.
    """
    wide = [_unit(m.T if m.shape[0] > m.shape[1] else m) for m in matrices]
    sizes = [len(m) for m in wide]
    factors: list[Tensor] = list(wide)
    for size in set(sizes):
        where = [i for i, own in enumerate(sizes) if own == size]
        found = _evening(torch.stack([wide[i] @ wide[i].T for i in where]))
        for i, factor in zip(where, found, strict=True):
            factors[i] = factor
    even = [factor @ m for factor, m in zip(factors, wide, strict=True)]
    return [
        e.T if m.shape[0] > m.shape[1] else e
        for e, m in zip(even, matrices, strict=True)
    ]


def _unit(matrix: Tensor) -> Tensor:
    return matrix / matrix.norm().clamp_min(1e-30)


def _evening(squares: Tensor) -> Tensor:
    """Return the matrices that even X where X X' = `squares`: (B, M, M) both.

    Each step multiplies X by a polynomial of X X', so that the small squares tell the
    whole iteration. Those of equal size are done together: alone, each would take
    less time than its call.
    """
    a, b, c = _QUINTIC
    identity = torch.eye(squares.shape[-1]).to(squares)
    factor = identity.expand_as(squares)
    for _ in range(ITERATIONS):
        step = a * identity + b * squares + c * (squares @ squares)
        factor = step @ factor
        squares = step @ squares @ step
    return factor


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
        changed = [w for w in matrices["params"] if w.grad is not None]
        changes = orthogonalised([self._momentum(weights) for weights in changed])
        for weights, change in zip(changed, changes, strict=True):
            rows, columns = change.shape
            rate = matrices["lr"] * self.matrix_rate * max(1.0, rows / columns) ** 0.5
            weights.sub_(change.reshape(weights.shape), alpha=rate)

    def _momentum(self, weights: Tensor) -> Tensor:
        """Take the gradient into the momentum; return it looking ahead, as a matrix."""
        gradient, kept = weights.grad, self.state[weights]
        assert gradient is not None
        if "momentum" not in kept:
            kept["momentum"] = torch.zeros_like(gradient)
        mean = kept["momentum"].lerp_(gradient, 1 - self.momentum)
        return gradient.lerp(mean, self.momentum).flatten(1)

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
