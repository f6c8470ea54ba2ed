"""What several noise models have in common."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_ppn2v.errors import BadFile, BadSetting, FitFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pairs import PairCells, PairHistogram

Limits = tuple[float | None, float | None]

_FEWEST_CELLS = 30
_HIGHEST_SIGNAL = 1e15  # ADU; squares of more overflow in float32
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


def simulated(
    model: NoiseModel, signal: NDArray[np.float32], generator: torch.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw an observation of a denoised image.

    Parameters
    ----------
    model : on the CPU
    signal : ADU, of any shape

    Returns
    -------
    The observation (ADU) and its variance (ADU²), both of the shape of `signal`.
    """
    clean = torch.from_numpy(np.ascontiguousarray(signal))
    observation = model.sample(clean, generator)
    _, variance = model.moments(clean)
    return observation.float().numpy(), variance.float().numpy()


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
    largest = max(float(np.abs(v).max()) for v in values[:2])
    if largest > _HIGHEST_SIGNAL:
        raise FitFailed(
            f"The pairs of signal and observation hold a value of {largest:.3g}, which "
            "is no grey value of any camera. Check that the pixel type was read "
            "correctly, or divide the images by a constant."
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


def check_numbers(what: str, **values: float) -> None:
    """Refuse numbers of a model that are not finite or beyond all grey values.

    Raises
    ------
    BadSetting  Naming the first of them.
    """
    for name, value in values.items():
        if not abs(value) <= _HIGHEST_SIGNAL:
            raise BadSetting(
                f"The {name.replace('_', ' ')} of a {what} is {value:g}, which is no "
                "grey value of any camera. Make the noise model again."
            )


def check_range(what: str, signal_range: tuple[float, float]) -> None:
    """Refuse a range of signals that is empty, turned round or not finite.

    Raises
    ------
    BadSetting
    """
    low, high = signal_range
    check_numbers(what, lowest_signal=low, highest_signal=high)
    if not np.float32(low) < np.float32(high):
        raise BadSetting(
            f"A {what} covers the signals from {low:g} to {high:g}, which is no range. "
            "Make the noise model again."
        )


def check_usable(model: NoiseModel) -> None:
    """Refuse a noise model from outside that does not keep what `NoiseModel` promises.

    Likelihoods and moments are computed for signals within and around its range.

    Raises
    ------
    BadSetting  If a likelihood, mean or variance is not finite.
    """
    what = f"noise model of the kind {model.kind!r}"
    check_range(what, model.signal_range)
    low, high = model.signal_range
    low_limit, high_limit = model.limits
    ends = [v for v in model.limits if v is not None]
    check_numbers(what, **{f"limit_{at}": v for at, v in enumerate(ends)})
    if low_limit is not None and high_limit is not None and low_limit >= high_limit:
        raise BadSetting(
            f"A {what} has the limits {low_limit:g} and {high_limit:g}, which is no "
            "range of grey values. Make the noise model again."
        )
    span = high - low
    signal = torch.linspace(low - span, high + span, 33)
    extremes = torch.tensor([low - 9 * span, high + 9 * span, *ends])
    seen = torch.cat([signal, extremes])
    with torch.no_grad():
        found = model.log_likelihood(seen[:, None], signal[None])
        mean, variance = model.moments(signal)
    is_finite = all(bool(v.isfinite().all()) for v in (found, mean, variance))
    if not is_finite or not bool((variance >= 0).all()):
        raise BadSetting(
            f"A {what} gives likelihoods or variances that are not finite for signals "
            f"from {low:g} to {high:g}. Make the noise model again."
        )


def in_line(shares: Tensor) -> Tensor:
    """Distribution functions row after row, so that row r goes from r to r + 1.

    Parameters
    ----------
    shares : (rows, columns), each row ascending from 0 or more to 1

    Returns
    -------
    (rows x columns,) float64, ascending; for `inverted`.
    """
    rows = torch.arange(len(shares), device=shares.device)
    return (rows[:, None] + shares.double()).reshape(-1)


def inverted(heights: Tensor, n_columns: int, row: Tensor, height: Tensor) -> Tensor:
    """Return the first column of a pixel's row whose share reaches its height.

    One search through all rows in line: with a row of its own for each pixel, some
    hundred times as many numbers as there are pixels would have to be copied.

    Parameters
    ----------
    heights : of `in_line`
    row, height : (P,), the height from 0 to 1

    Returns
    -------
    (P,) of 0 to n_columns - 1.
    """
    found = torch.searchsorted(heights, row + height.double())
    return (found - row * n_columns).clamp(0, n_columns - 1)
