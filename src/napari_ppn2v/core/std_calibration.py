"""Calibration of the posterior standard deviation, without ground truth.

Among pixels of about equal posterior standard deviation the mean squared error is
estimated from products of neighbouring residuals (`napari_ppn2v.core.expected_error`,
where the algebra is). It is not let below the error of simulated observations, nor fall
where the standard deviation rises: the uncertainty tells pixels apart, and only its
scale is calibrated (isotonic regression by pooling adjacent violators, Ayer et al.
1955).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.core.expected_error import NEIGHBOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Image = NDArray[np.float32]

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
"""Quantiles of the standard deviation between which pixels are taken together."""

_FINE = 512
_DECADES = (-6.0, 6.0)  # of standard deviations that are told apart, log10 of ADU
_LEAST = 1e-3  # calibrated over given standard deviation


@dataclass(frozen=True)
class StdCalibration:
    """From the posterior standard deviation of a model to one that fits its errors.

    Attributes
    ----------
    std : that of the model, rising, ADU
    calibrated : root mean squared error expected there, ADU
    estimate, is_blind : of the denoised image whose errors it was fitted to
    """

    std: tuple[float, ...]
    calibrated: tuple[float, ...]
    estimate: str = ""
    is_blind: bool = False

    def __call__(self, std: Image) -> Image:
        """Calibrate a standard deviation; a constant factor beyond the nodes."""
        nodes = np.log(np.array(self.std))
        ratio = np.log(np.array(self.calibrated)) - nodes
        values = np.maximum(np.asarray(std, np.float64), 1e-12)
        factor = np.exp(np.interp(np.log(values), nodes, ratio))
        return (std * factor).astype(np.float32)

    def as_plain(self) -> dict[str, Any]:
        """Return it as lists, numbers and texts."""
        return {
            "std": list(self.std),
            "calibrated": list(self.calibrated),
            "estimate": self.estimate,
            "is_blind": self.is_blind,
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> StdCalibration:
        """Inverse of `as_plain`."""
        std, calibrated = (
            tuple(float(value) for value in plain[name])
            for name in ("std", "calibrated")
        )
        if len(std) != len(calibrated) or min((0.0, *std, *calibrated)) < 0:
            raise ValueError("the calibration of its uncertainty makes no sense")
        return cls(std, calibrated, str(plain["estimate"]), bool(plain["is_blind"]))


class StdTally:
    """Collects errors by posterior standard deviation, image after image."""

    def __init__(self) -> None:
        # pixels, std², products of neighbours, simulated error², its products
        self._sums = np.zeros((5, _FINE))

    def add(
        self,
        std: Image,
        observation: Image,
        estimate: Image,
        simulated_observation: Image,
        simulated_estimate: Image,
        signal: Image,
    ) -> None:
        """Take one image in.

        Parameters
        ----------
        std, observation, estimate : (Y, X), ADU
        simulated_observation, simulated_estimate : x' and f', ADU
        signal : around which x' was drawn, ADU
        """
        f = signal.astype(float)
        residual = observation.astype(float) - estimate
        noise, error = simulated_observation - f, simulated_estimate - f
        found, alike = np.zeros_like(f), np.zeros_like(f)
        for dy, dx in NEIGHBOURS:
            for sign in (1, -1):
                shift = (-sign * dy, -sign * dx)
                neighbour = np.roll(error, shift, (0, 1))
                found += residual * np.roll(residual, shift, (0, 1))
                found += noise * neighbour + error * np.roll(noise, shift, (0, 1))
                alike += error * neighbour
        count = 2 * len(NEIGHBOURS)
        inner = (slice(1, -1), slice(1, -1))  # np.roll joins opposite edges
        place = self._place(std[inner])
        parts = (
            np.ones_like(f),
            std.astype(float) ** 2,
            found / count,
            error**2,
            alike / count,
        )
        for row, values in enumerate(parts):
            weights = values[inner].ravel()
            self._sums[row] += np.bincount(place, weights, _FINE)

    def result(self, estimate: str, is_blind: bool) -> StdCalibration | None:
        """Return the calibration, None where no image was taken in."""
        pixels = self._sums[0]
        if not pixels.sum():
            return None
        ends = np.searchsorted(
            np.cumsum(pixels), pixels.sum() * np.array(SHARES[1:]) - 0.5
        )
        ends = np.unique(np.minimum(ends + 1, _FINE))
        parts = [
            self._sums[:, first:end].sum(axis=1)
            for first, end in zip([0, *ends[:-1]], ends, strict=True)
        ]
        count, square, found, simulated, alike = np.array(
            [part for part in parts if part[0] > 0]
        ).T
        smoothness = np.clip(alike / np.maximum(simulated, 1e-30), 0.1, 1.0)
        error = np.maximum(found / smoothness, simulated) / count
        rising = _rising(error, count)
        std = np.sqrt(square / count)
        calibrated = np.maximum(np.sqrt(rising), _LEAST * std)
        return StdCalibration(
            tuple(float(value) for value in np.maximum(std, 1e-12)),
            tuple(float(value) for value in calibrated),
            estimate,
            is_blind,
        )

    @staticmethod
    def _place(std: Image) -> NDArray[np.intp]:
        low, high = _DECADES
        logs = np.log10(np.maximum(std.astype(float).ravel(), 10.0**low))
        place = (logs - low) * (_FINE / (high - low))
        return place.astype(np.intp).clip(0, _FINE - 1)


def _rising(values: Floats, weights: Floats) -> Floats:
    """Return the nearest values that never fall, by pooling adjacent violators."""
    pools: list[list[float]] = []
    for value, weight in zip(values, weights, strict=True):
        pools.append([float(value), float(weight), 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            last, before = pools.pop(), pools.pop()
            total = before[1] + last[1]
            mean = (before[0] * before[1] + last[0] * last[1]) / total
            pools.append([mean, total, before[2] + last[2]])
    return np.concatenate([np.full(int(n), value) for value, _, n in pools])
