"""What several noise models have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_ppn2v.errors import BadFile, FitFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from napari_ppn2v.core.pairs import PairCells, PairHistogram

Limits = tuple[float | None, float | None]

_FEWEST_CELLS = 30
_FEWEST_PAIRS = 200.0


def log_normal_tail(z: Tensor) -> Tensor:
    """Log of the standard normal distribution function, finite with its gradient."""
    near = torch.special.log_ndtr(z.clamp_min(-8.0))
    far = z.clamp_max(-8.0)
    # Asymptotic series (Abramowitz and Stegun 26.2.12), relative error below 1e-5.
    small = (1 / far) ** 2
    series = torch.log1p(small * (-1 + small * (3 - 15 * small)))
    tail = -0.5 * far**2 - torch.log(-far) - 0.5 * math.log(2 * math.pi) + series
    return torch.where(z < -8.0, tail, near)


def with_atoms(
    observation: Tensor,
    density: Tensor,
    limits: Limits,
    log_reaching: Callable[[float, int], Tensor],
) -> Tensor:
    """Replace the density by the atom where the observation is at a limit.

    `log_reaching(limit, direction)` gives the log probability of the limit and of all
    beyond it, direction -1 for the lower and +1 for the upper limit.
    """
    low, high = limits
    if low is not None:
        density = torch.where(observation <= low, log_reaching(low, -1), density)
    if high is not None:
        density = torch.where(observation >= high, log_reaching(high, 1), density)
    return density


def clip_to(observation: Tensor, limits: Limits) -> Tensor:
    """Move observations beyond a limit onto it."""
    low, high = limits
    if low is None and high is None:
        return observation
    return observation.clamp(low, high)


def check_pairs(pairs: PairHistogram, what: str) -> None:
    """Refuse pairs that no model can be fitted to."""
    cells = pairs.training
    if len(cells) < _FEWEST_CELLS or cells.weight.sum() < _FEWEST_PAIRS:
        raise FitFailed(
            f"There are only {int(cells.weight.sum())} pairs of signal and "
            f"observation in {len(cells)} distinct places, too few for a {what}. "
            "Use more or larger frames."
        )
    values = (cells.signal, cells.observation, cells.weight)
    if not all(np.isfinite(v).all() for v in values):
        raise FitFailed(
            "The pairs of signal and observation hold values that are not finite "
            "(NaN or infinite). Replace or crop them and fit again."
        )


def held_out_nll(model: Any, cells: PairCells) -> float:
    """Mean negative log-likelihood of pairs, nats per pixel and ADU."""
    with torch.no_grad():
        log_likelihood = model.log_likelihood(
            torch.from_numpy(cells.observation.astype(np.float32)),
            torch.from_numpy(cells.signal.astype(np.float32)),
        )
    return -cells.mean_of(log_likelihood.double().numpy())


def pack_limits(limits: Limits) -> np.ndarray:
    """Limits as an array in which NaN stands for none."""
    return np.array([np.nan if v is None else v for v in limits], np.float64)


def unpack_limits(packed: Any) -> Limits:
    """Inverse of `pack_limits`."""
    low, high = (
        None if np.isnan(v) else float(v) for v in np.asarray(packed, float).ravel()
    )
    return low, high


def required(state: dict[str, Any], key: str) -> Any:
    """Read one entry of a saved state.

    Raises
    ------
    BadFile  If it is missing.
    """
    if key not in state:
        raise BadFile(
            f"The noise model lacks its entry '{key}'. The file is damaged or was "
            "written by another program; make the noise model again."
        )
    return state[key]
