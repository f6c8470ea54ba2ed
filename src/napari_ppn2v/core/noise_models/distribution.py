"""The distribution function of a noise model, as pairs are compared with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairCells, PairHistogram

    Floats = NDArray[np.float64]

_NODES = 24  # signals per range at which the distribution is tabulated
_STEPS_PER_SD = 48
_REACH = 9.0  # standard deviations of the model
_MOST_STEPS = 6000
_NARROWEST = 1e-6  # jump of F that a cell is spread over, at least
_PIT_BINS = 10


class Distribution:
    """The model's distribution function of x - s at some signals of one range.

    Between the signals it is interpolated; atoms at clipping limits stay where they
    are.
    """

    def __init__(
        self, model: NoiseModel, pairs: PairHistogram, cells: PairCells
    ) -> None:
        self._pairs, self._limits = pairs, model.limits
        low, high = float(cells.signal.min()), float(cells.signal.max())
        self.nodes = np.linspace(low, max(high, low + 1e-3), _NODES)
        self._edges, mass, self._atoms = _masses(model, self.nodes, cells, pairs.cell)
        total = mass.sum(1) + self._atoms.sum(1)
        self._log_total = np.log(total)
        mass, self._atoms = mass / total[:, None], self._atoms / total[:, None]
        zero = np.zeros((len(mass), 1))
        below = np.concatenate([zero, np.cumsum(mass, axis=1)], axis=1)
        self._below = self._atoms[:, :1] + below  # F at the edges
        middle = 0.5 * (self._edges[1:] + self._edges[:-1])
        values = np.broadcast_to(middle, mass.shape)
        ends = [0.0 if limit is None else limit for limit in self._limits]
        mean = (mass * values).sum(1) + self._atoms @ np.array(ends)
        square = (mass * (values - mean[:, None]) ** 2).sum(1)
        square += (self._atoms * (np.array(ends) - mean[:, None]) ** 2).sum(1)
        self._excess, self._variance = mean - self.nodes, square

    def excess_at(self, signal: Floats) -> Floats:
        """E[x|s] - s with clipping, ADU."""
        return np.interp(signal, self.nodes, self._excess)

    def log_total_at(self, signal: Floats) -> Floats:
        """Log of the model's sum over all grey values, 0 if it is normalised."""
        return np.interp(signal, self.nodes, self._log_total)

    def variance_at(self, signal: Floats) -> Floats:
        """Variance of x with clipping, ADU²."""
        return np.interp(signal, self.nodes, self._variance)

    def jumps(self, cells: PairCells) -> tuple[Floats, Floats]:
        """F just below and just above each cell of observations."""
        edges = self._pairs.column_edges
        column = np.clip(
            np.searchsorted(edges, cells.observation, side="right") - 1,
            0,
            len(edges) - 2,
        )
        low = self.below(edges[column], cells.signal)
        high = self.below(edges[column + 1], cells.signal)
        # the outer columns also hold what lies beyond
        low[column == 0] = self._atom(0, cells.signal[column == 0])
        last = column == len(edges) - 2
        high[last] = 1 - self._atom(1, cells.signal[last])
        for side, limit in enumerate(self._limits):
            if limit is None:
                continue
            at = cells.observation == limit
            atom = self._atom(side, cells.signal[at])
            low[at], high[at] = (0.0, atom) if side == 0 else (1 - atom, 1.0)
        return low, high

    def below(self, observation: Floats, signal: Floats) -> Floats:
        """Probability of less than `observation` at each signal, limits included.

        The shape at each node is moved along with the signal, so that a few nodes do.
        """
        row = np.clip(np.searchsorted(self.nodes, signal) - 1, 0, len(self.nodes) - 2)
        gap = self.nodes[row + 1] - self.nodes[row]
        part = np.clip((signal - self.nodes[row]) / gap, 0, 1)
        values = [
            self._moved(observation - signal + self.nodes[at], at)
            for at in (row, row + 1)
        ]
        return values[0] * (1 - part) + values[1] * part

    def _moved(self, observation: Floats, row: NDArray) -> Floats:
        step = self._edges[1] - self._edges[0]
        place = np.clip(
            (observation - self._edges[0]) / step, 0, len(self._edges) - 1.000001
        )
        column = place.astype(int)
        part = place - column
        return (
            self._below[row, column] * (1 - part) + self._below[row, column + 1] * part
        )

    def _atom(self, side: int, signal: Floats) -> Floats:
        return np.interp(signal, self.nodes, self._atoms[:, side])


def _masses(
    model: NoiseModel, nodes: Floats, cells: PairCells, cell: float
) -> tuple[Floats, Floats, Floats]:
    """Probabilities of small even steps of x at each node.

    Returns
    -------
    edges (N + 1,) ADU, mass (nodes, N), atoms (nodes, 2) at the limits
    """
    signal = torch.from_numpy(nodes)
    with torch.no_grad():
        mean, variance = (part.double().numpy() for part in model.moments(signal))
    sd = np.sqrt(np.maximum(variance, 1e-12))
    low, high = model.limits
    lowest = min(float((mean - _REACH * sd).min()), float(cells.observation.min()))
    highest = max(float((mean + _REACH * sd).max()), float(cells.observation.max()))
    step = max(float(sd.min()) / _STEPS_PER_SD, (highest - lowest) / _MOST_STEPS)
    if cell > 0:  # whole grey values, each with the density at its middle
        step = max(round(step / cell), 1) * cell
        lowest = np.floor(lowest / cell) * cell - 0.5 * cell
    start = lowest if low is None else max(lowest, low + 0.5 * cell)
    stop = highest if high is None else min(highest, high - 0.5 * cell)
    count = max(round(np.ceil((stop - start) / step)), 2)
    edges = start + step * np.arange(count + 1.0)
    middle = 0.5 * (edges[1:] + edges[:-1])
    mass = step * _probability(model, middle[None, :], nodes[:, None])
    if high is not None:
        mass[:, middle >= high] = 0.0
    atoms = np.zeros((len(nodes), 2))
    for side, limit in enumerate((low, high)):
        if limit is not None:
            atoms[:, side] = _probability(model, np.full_like(nodes, limit), nodes)
    return edges, mass, atoms


def log_likelihood(model: NoiseModel, cells: PairCells) -> Floats:
    """Log-likelihood (nats per ADU) of each cell, as the model gives it."""
    with torch.no_grad():
        values = model.log_likelihood(
            torch.from_numpy(cells.observation.astype(np.float32)),
            torch.from_numpy(cells.signal.astype(np.float32)),
        )
    return values.double().numpy()


def _probability(model: NoiseModel, observation: Floats, signal: Floats) -> Floats:
    x, s = np.broadcast_arrays(observation, signal)
    with torch.no_grad():
        log_density = model.log_likelihood(
            torch.tensor(x, dtype=torch.float32), torch.tensor(s, dtype=torch.float32)
        )
    return np.exp(log_density.double().numpy())


def ks_distance(low: Floats, high: Floats, weight: Floats) -> float:
    """Return how far masses spread evenly from low to high are from evenness."""
    middle = 0.5 * (low + high)
    half = np.maximum(0.5 * (high - low), 0.5 * _NARROWEST)
    # the distribution function is a sum of ramps: its slope changes at their ends
    ends = np.concatenate([middle - half, middle + half])
    slope = np.concatenate([weight / (2 * half), -weight / (2 * half)]) / weight.sum()
    order = np.argsort(ends, kind="stable")
    at = ends[order]
    rises = np.cumsum(slope[order])[:-1] * np.diff(at)
    reached = np.concatenate([[0.0], np.cumsum(rises)])
    return float(np.abs(reached - np.clip(at, 0, 1)).max())


def pit_histogram(low: Floats, high: Floats, weight: Floats) -> tuple[float, ...]:
    """Return the mass in each tenth, of masses spread evenly from low to high."""
    width = np.maximum(high - low, _NARROWEST)
    edges = np.linspace(0, 1, _PIT_BINS + 1)
    below = np.clip((edges[:, None] - low) / width, 0, 1)  # (edges, cells)
    below[0], below[-1] = 0.0, 1.0
    shares = np.diff(below @ weight) / weight.sum()
    return tuple(float(share) * _PIT_BINS for share in shares)
