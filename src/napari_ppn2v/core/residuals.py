"""What a denoiser took away: noise and nothing but noise, or image too.

The standardised residual z = (x - f) / sd(x|f), of observation x and denoised image
f, has mean 0 and standard deviation 1 everywhere, is white, and is distributed as the
noise model says, if f is the signal. What differs from that was image, or is noise
that the noise model does not know. Statistics:

- *whiteness*: mean of z(p)·z(p + lag) over mean of z²; 0 for independent noise. A
  smooth error of the estimate adds its share of the noise variance to short lags.
- *slope*: covariance of x - f and f over the variance of f; the part of the contrast
  that was lost (positive) or made up (negative).
- *spread and bias by range of f*: standard deviation of z, mean of x - f.
- *leftover structure*: z smoothed by Gaussians of several widths, against the largest
  values that smoothed noise of the noise model reaches in the same image.
- *outliers*: pixels far above the result, against a camera of the same variance,
  because a noise model fitted to the data may have taken lost bright pixels for
  noise; and places that stick out in more frames than chance allows.

An estimate follows the noise of its own pixel a little, which makes residuals of the
best estimates not quite white either. Where a second, simulated observation was
denoised too, that part is known and taken out; the algebra is that of
`napari_ppn2v.core.risk`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.leftovers import Leftover, LeftoverMap, leftover_map
from napari_ppn2v.core.residual_outliers import Outliers, OutlierTally
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel

    Floats = NDArray[np.float64]

LAGS = {
    (0, 1): "along x",
    (1, 0): "along y",
    (1, 1): "diagonal",
    (1, -1): "other diagonal",
    (0, 2): "two pixels along x",
    (2, 0): "two pixels along y",
}
"""Distances (y, x) in pixels at which whiteness is looked at."""

_FINE_BINS = 512
_RANGE_SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.995, 1.0)
_FEWEST = 200  # pixels of a range; ranges of fewer join the next one


@dataclass(frozen=True)
class LagCorrelation:
    """Correlation of the residual with itself at one distance.

    Attributes
    ----------
    lag : (y, x), pixels
    value : -1 ... 1, less that which the estimate itself makes (`own`)
    own : correlation that comes from following the noise, 0 where not known
    error : standard error
    """

    lag: tuple[int, int]
    value: float
    own: float
    error: float


@dataclass(frozen=True)
class ResidualRange:
    """The residual in one range of denoised values.

    Attributes
    ----------
    low, high : the range, ADU
    n_pixels : in it
    bias, bias_error : mean of x - f and its standard error, ADU
    spread : standard deviation of the standardised residual; 1 is right
    """

    low: float
    high: float
    n_pixels: int
    bias: float
    bias_error: float
    spread: float


@dataclass(frozen=True)
class ResidualCheck:
    """What the residual of a result says about it; see the module.

    Attributes
    ----------
    n_images, n_pixels : looked at
    whiteness : one for each lag
    slope, slope_error : part of the contrast that is missing in the result
    ranges : from dark to bright
    spread : standard deviation of the standardised residual over all pixels
    leftover : structure in the residual
    outliers : pixels that the noise does not explain
    is_simulated : whether the estimate's own share was measured and taken out
    """

    n_images: int
    n_pixels: int
    whiteness: tuple[LagCorrelation, ...]
    slope: float
    slope_error: float
    ranges: tuple[ResidualRange, ...]
    spread: float
    leftover: Leftover
    outliers: Outliers
    is_simulated: bool


@dataclass
class _Sums:
    """Sums over all images."""

    n: int = 0
    squares: float = 0.0
    lagged: dict[tuple[int, int], float] = field(default_factory=dict)
    own: dict[tuple[int, int], float] = field(default_factory=dict)
    covariance: float = 0.0
    power: float = 0.0
    noise_power: float = 0.0


class ResidualTally:
    """Collects the residuals of image after image; `result` judges them together.

    Parameters
    ----------
    noise_model : p(x|s) that the result rests on
    seed : of the simulated noise that the residuals are compared with
    """

    def __init__(self, noise_model: NoiseModel, *, seed: int = 0) -> None:
        self._noise_model = noise_model.to("cpu")
        self._generator = torch.Generator().manual_seed(seed)
        self._sums = _Sums()
        self._outliers = OutlierTally(seed)
        self._leftovers: list[LeftoverMap] = []
        self._bins: Floats | None = None
        self._range = (0.0, 1.0)
        self._is_simulated = True

    def add(
        self,
        observation: NDArray[np.float32],
        denoised: NDArray[np.float32],
        simulated: NDArray[np.float32] | None = None,
        simulated_denoised: NDArray[np.float32] | None = None,
    ) -> LeftoverMap:
        """Take one image in.

        Parameters
        ----------
        observation, denoised : (Y, X), ADU
        simulated : (Y, X), ADU, drawn from the noise model around `denoised`
        simulated_denoised : the same, denoised in the same way

        Returns
        -------
        LeftoverMap  Where structure was left in this image.

        Raises
        ------
        BadData  If shapes differ, an image is smaller than 16 pixels, or values are not
            finite.
        """
        _check(observation, denoised)
        x, f = observation.astype(float), denoised.astype(float)
        sd = self._sd(denoised)
        z = (x - f) / sd
        self._count(z, x - f, f, sd)
        if simulated is not None and simulated_denoised is not None:
            self._count_own(simulated, simulated_denoised, f, sd)
        else:
            self._is_simulated = False
        noise = [self._noise(denoised, observation, sd) for _ in range(N_DRAWS)]
        self._outliers.add(z, noise[0], f, sd)
        found = leftover_map(z, noise, x - f)
        self._leftovers.append(found)
        return found

    def result(self) -> ResidualCheck:
        """Judge all images taken in; raises BadData if there is none."""
        sums = self._sums
        if not sums.n:
            raise BadData("There is no image to judge the residual of.")
        mean_square = sums.squares / sums.n
        whiteness = tuple(
            LagCorrelation(
                lag,
                (sums.lagged[lag] + self._own(lag)) / sums.n / mean_square,
                -self._own(lag) / sums.n / mean_square,
                1 / np.sqrt(sums.n),
            )
            for lag in LAGS
        )
        return ResidualCheck(
            n_images=len(self._leftovers),
            n_pixels=sums.n,
            whiteness=whiteness,
            slope=sums.covariance / sums.power if sums.power else 0.0,
            slope_error=np.sqrt(sums.noise_power) / sums.power if sums.power else 0.0,
            ranges=self._ranges(),
            spread=float(np.sqrt(mean_square)),
            leftover=Leftover.joined(self._leftovers),
            outliers=self._outliers.result(),
            is_simulated=self._is_simulated,
        )

    def _own(self, lag: tuple[int, int]) -> float:
        return self._sums.own.get(lag, 0.0) if self._is_simulated else 0.0

    def _count(self, z: Floats, residual: Floats, f: Floats, sd: Floats) -> None:
        sums, centred = self._sums, f - f.mean()
        sums.n += z.size
        sums.squares += float(np.sum(z**2))
        sums.covariance += float(np.sum((residual - residual.mean()) * centred))
        sums.power += float(np.sum(centred**2))
        sums.noise_power += float(np.sum((centred * sd) ** 2))
        for lag in LAGS:
            value = lagged_mean(z, z, lag) * z.size
            sums.lagged[lag] = sums.lagged.get(lag, 0.0) + value
        self._count_ranges(z, residual, f)

    def _count_own(
        self,
        simulated: NDArray[np.float32],
        estimate: NDArray[np.float32],
        f: Floats,
        sd: Floats,
    ) -> None:
        """Count how the estimate follows the noise: covariance of noise and error."""
        noise, error = simulated - f, estimate - f
        self._sums.covariance -= float(np.sum(noise * error))
        for lag in LAGS:
            both = lagged_mean(noise / sd, error / sd, lag)
            both += lagged_mean(error / sd, noise / sd, lag)
            self._sums.own[lag] = self._sums.own.get(lag, 0.0) + both * f.size

    def _count_ranges(self, z: Floats, residual: Floats, f: Floats) -> None:
        if self._bins is None:
            low, high = (float(v) for v in np.quantile(f, [0.0, 1.0]))
            low, high = (
                min(low, self._noise_model.signal_range[0]),
                max(high, self._noise_model.signal_range[1]),
            )
            self._range = low, high + 1e-6
            self._bins = np.zeros((4, _FINE_BINS))
        low, high = self._range
        place = ((f - low) * (_FINE_BINS / (high - low))).astype(int)
        place = place.clip(0, _FINE_BINS - 1).ravel()
        for row, values in enumerate((np.ones_like(z), residual, residual**2, z**2)):
            self._bins[row] += np.bincount(place, values.ravel(), _FINE_BINS)

    def _ranges(self) -> tuple[ResidualRange, ...]:
        assert self._bins is not None
        edges = np.linspace(*self._range, _FINE_BINS + 1)
        cumulative = np.cumsum(self._bins[0])
        ends = np.searchsorted(cumulative, cumulative[-1] * np.array(_RANGE_SHARES[1:]))
        ranges, first = [], 0
        for end in (int(v) + 1 for v in ends):
            n, total, square, z_square = self._bins[:, first:end].sum(axis=1)
            if n < _FEWEST:
                continue
            bias, spread = total / n, np.sqrt(z_square / n)
            error = np.sqrt(max(square / n - bias**2, 0) / n)
            low, high = edges[first], edges[end]
            ranges.append(
                ResidualRange(low, high, int(n), bias, float(error), float(spread))
            )
            first = end
        return tuple(ranges)

    def _sd(self, signal: NDArray[np.float32]) -> Floats:
        moments = self._noise_model.moments(torch.from_numpy(np.asarray(signal)))
        return np.sqrt(moments[1].double().clamp_min(1e-12).numpy())

    def _noise(self, signal: NDArray[np.float32], like: NDArray, sd: Floats) -> Floats:
        """Standardised residual as it were if the result were the signal."""
        clean = torch.from_numpy(np.asarray(signal))
        drawn = self._noise_model.sample(clean, self._generator).double().numpy()
        if np.array_equal(like, np.rint(like)):
            drawn = np.rint(drawn)
        return (drawn - signal) / sd


N_DRAWS = 4
"""Simulated residuals per image, whose largest structure is what noise allows."""


def lagged_mean(first: Floats, second: Floats, lag: tuple[int, int]) -> float:
    """Mean of first(p)·second(p + lag) over all pixels p for which both exist."""
    dy, dx = lag
    height, width = first.shape
    here = first[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    there = second[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    return float(np.mean(here * there))


def _check(observation: NDArray, denoised: NDArray) -> None:
    if observation.shape != denoised.shape or observation.ndim != 2:
        raise BadData(
            f"Observation {observation.shape} and result {denoised.shape} are not two "
            "images of the same size. Compare the same frames and the same region."
        )
    if min(observation.shape) < 16:
        raise BadData(
            f"The image is {observation.shape[0]} x {observation.shape[1]} pixels. Its "
            "residual is looked at from 16 x 16 on; use a larger region."
        )
    if not (np.isfinite(observation).all() and np.isfinite(denoised).all()):
        raise BadData(
            "Observation or result hold values that are not finite (NaN or infinite). "
            "Replace them, or denoise the missing frames first."
        )
