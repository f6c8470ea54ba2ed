"""How sure the parameters of a fitted camera model are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.pair_histogram import PairCells

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_ppn2v.core.noise_models.camera_models import _CountingCamera
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.core.photon_statistics import Floats

_NAMES = ("gain", "offset", "read_noise")
_MOST_CELLS = 3000


def parameter_errors(
    model: _CountingCamera, pairs: PairHistogram, fixed: set[str]
) -> dict[str, float]:
    """Tell how sure gain, offset and read noise are, by the observed information.

    The inverse of the second derivatives of the log-likelihood at its maximum (Efron
    and Hinkley 1978), by differences whose steps change it by about one. What is
    `fixed` has the error 0; inf stands for what the pairs do not determine.

    Returns
    -------
    dict with "gain" (ADU per electron), "offset" and "read_noise" (ADU)
    """
    cells = _unclipped(pairs)
    total = float(pairs.training.weight.sum())
    best = np.array([math.log(model.gain), model.offset, math.log(model.read_noise)])
    free = [i for i, name in enumerate(_NAMES) if name not in fixed]

    def loss(values: Floats) -> float:
        moved = type(model)(
            gain=math.exp(values[0]),
            offset=float(values[1]),
            read_noise=math.exp(values[2]),
            signal_range=model.signal_range,
            cell=model.cell,
        )
        return total * cells.mean_of(pointwise_losses(moved, cells))

    curvature = _curvature(loss, best, free, (0.01, 0.05 * model.read_noise, 0.05))
    errors = dict.fromkeys(_NAMES, 0.0)
    scales = (model.gain, 1.0, model.read_noise)  # of logarithms
    try:
        variances = np.diag(np.linalg.inv(curvature))
    except np.linalg.LinAlgError:
        variances = np.full(len(free), -1.0)
    for index, variance in zip(free, variances, strict=True):
        is_told = np.isfinite(variance) and variance > 0
        error = math.sqrt(variance) if is_told else math.inf
        errors[_NAMES[index]] = scales[index] * error
    return errors


def pointwise_losses(model: _CountingCamera, cells: PairCells) -> Floats:
    """Negative log-likelihood (nats per ADU) of each cell in closed form."""
    return -model.any_log_likelihood(cells.observation, cells.signal)


def _unclipped(pairs: PairHistogram) -> PairCells:
    """Every k-th row of the cells, without what is clipped."""
    cells = pairs.training
    every = -(-len(cells) // _MOST_CELLS)
    kept = np.searchsorted(pairs.row_edges, cells.signal) % every == 0
    for limit in pairs.limits:
        if limit is not None:
            kept &= cells.observation != limit
    return PairCells(cells.signal[kept], cells.observation[kept], cells.weight[kept])


def _curvature(
    loss: Callable[[Floats], float],
    best: Floats,
    free: list[int],
    first_steps: tuple[float, float, float],
) -> Floats:
    """Second derivatives of a function at its minimum, (free, free)."""
    lowest = loss(best)
    units = np.eye(len(best))
    steps = {}
    for index in free:
        step = first_steps[index]
        for _ in range(2):  # a parabola grows with the square of the step
            rise = loss(best + step * units[index]) + loss(best - step * units[index])
            rise = max(0.5 * rise - lowest, 1e-3)
            step *= min(max(rise**-0.5, 0.05), 4.0)
        steps[index] = step
    result = np.zeros((len(free), len(free)))
    for row, i in enumerate(free):
        for column, j in enumerate(free[: row + 1]):
            one, two = steps[i] * units[i], steps[j] * units[j]
            if i == j:
                change = loss(best + one) - 2 * lowest + loss(best - one)
            else:
                change = loss(best + one + two) + loss(best - one - two)
                change -= loss(best + one - two) + loss(best - one + two)
                change /= 4
            result[row, column] = result[column, row] = change / (steps[i] * steps[j])
    return result
