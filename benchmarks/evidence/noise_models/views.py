"""Densities of a noise model on a coarse grid, for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.noise_models.likelihood import log_likelihoods
from evidence.noise_models.pairs import PixelPairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evidence.noise_models.pairs import NoiseData
    from napari_ppn2v.core.noise_models.base import NoiseModel

N_SIGNALS, N_OBSERVATIONS = 40, 110
NEAR = 0.004  # of the signal range: pairs that count as of one signal
PREFIX = "x="  # of the columns that hold densities


@dataclass(frozen=True)
class View:
    """What part of signals and observations is shown, ADU.

    Attributes
    ----------
    signals : of the maps
    edges : of the observations' columns; each holds equally many grey values
    """

    signals: tuple[float, ...]
    edges: NDArray[np.float64]
    near: float

    @classmethod
    def of(cls, data: NoiseData) -> View:
        """Show all signals of the data, and nearly all of its observations."""
        low, high = data.signal_range
        first, last = data.observation_range
        step = max(1, round((last - first) / N_OBSERVATIONS))
        edges = np.arange(np.floor(first) - 0.5, last + step, step)
        signals = tuple(float(s) for s in np.linspace(low, high, N_SIGNALS))
        return cls(signals, edges, NEAR * (high - low))

    @property
    def observations(self) -> NDArray[np.float64]:
        """Middle of each column."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def densities(self, model: NoiseModel, signal: float) -> dict[str, Any]:
        """Return p(x|s) at one signal; the columns are named by the observation."""
        x = self.observations.astype(np.float32)
        pairs = PixelPairs(np.full_like(x, signal), x)
        return self._row(signal, np.exp(log_likelihoods(model, pairs)))

    def measured(
        self, pairs: PixelPairs, signals: Sequence[float]
    ) -> list[dict[str, Any]]:
        """Return the histogram of the observations near each signal, 1/ADU."""
        found = []
        for signal in signals:
            near = np.abs(pairs.signal - signal) <= self.near
            counts, _ = np.histogram(pairs.observation[near], self.edges)
            total = max(int(near.sum()), 1)
            row = self._row(signal, counts / total / np.diff(self.edges))
            found.append({"pairs": int(near.sum()), **row})
        return found

    def _row(self, signal: float, density: NDArray[np.float64]) -> dict[str, Any]:
        names = (f"{PREFIX}{x:g}" for x in self.observations)
        values = (float(f"{d:.3g}") for d in density)
        return {"signal": signal, **dict(zip(names, values, strict=True))}
