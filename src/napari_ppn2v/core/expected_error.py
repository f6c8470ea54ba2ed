"""Root mean squared error of denoised images, per image, without ground truth.

Two roads lead to the error e = f - s of an estimate f of the signal s, from
observations x = s + n whose noise n is independent from pixel to pixel, of mean zero.

*From the variance*, as in `napari_ppn2v.core.risk`:

    E e²  =  E (x - f)²  +  2 E n·e  -  E var(x|s)

It sees every kind of error, but is a small difference of large numbers: where the
variance is 2 % wrong, and hardly a bootstrapped one is better known, the result is
wrong by 2 % of the noise.

*From the neighbours*. Between pixels p and q = p + lag the noise is independent and
drops out, however strong it is:

    E e(p)·e(q)  =  E (x - f)(p)·(x - f)(q)  +  E n(p)·e(q)  +  E e(p)·n(q)

Errors of denoised images are smooth, so the value for lag 0 follows from those of the
eight neighbours and the shape of the error's correlation, which is taken from a
simulated one: x' is drawn around f, denoised to f', and f' - f is its error. The same
simulation gives the covariances of noise and error. Not seen by it: errors that are
independent from pixel to pixel, such as the loss of single bright pixels.

The estimate is the second one for each image, drawn by its own standard error towards
the simulated error (whose chance error is small, and whose level is wrong by nearly the
same factor in all images); and raised, for all images by one factor, by as much of the
difference to the first one as the uncertainty of the variance leaves significant. A
bootstrapped variance (two of the same frames differed by 3 %) is not used at all.

The first formula is that of Stein 1981 (Annals of Statistics 9, 1135) carried to other
noise, the drawing together that of James and Stein 1961.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.residuals import lagged_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Lags (y, x) of the eight neighbours, each standing for its opposite too."""

VARIANCE_UNCERTAINTY = 0.01
"""Share by which the variance of a good noise model may be wrong on average."""

VARIANCE_OF_AN_IMAGE = 0.05
"""The same for one image: offset and light source are not quite those of the others.

Measured on 24 fields of view of a real EMCCD: up to 5 %.
"""

SHAPE_UNCERTAINTY = 0.08
"""Share of the mean squared error by which the step from lag 1 to lag 0 may be wrong.

Measured on real EMCCD frames with ground truth: 4 % of the root mean square.
"""

RANGE = (0.001, 0.999)
"""Quantiles of the denoised image whose distance is the peak of the PSNR."""

MOST_OF_ONE_VALUE = 0.5
MOST_DIRECTED = 0.5
MOST_UNLIKE = 0.1
_BLOCKS = 8
_DEAF = 1e-6  # simulated error over variance, below which noise is not followed
_ERRORS = 3.0


@dataclass(frozen=True)
class ErrorSums:
    """What one image says about its error; all means over pixels, ADU².

    Attributes
    ----------
    n_pixels : in the image
    risk : from the variance
    blocks : (B, 2), of each part of the image what its neighbours give, and the
        simulated one
    by_lag : from the neighbours, for each of `NEIGHBOURS`
    simulated, simulated_by_lag : mean of (f' - f)², and of its products
    variance : of the noise
    peak : range of the denoised image, ADU
    most_of_one_value : share of the pixels that hold the most frequent grey value
    """

    n_pixels: int
    risk: float
    blocks: Floats
    by_lag: Floats
    simulated: float
    simulated_by_lag: Floats
    variance: float
    peak: float
    most_of_one_value: float

    @property
    def smoothness(self) -> float:
        """Correlation of the simulated error with that of its neighbours.

        1 for an estimate that does not follow the noise at all.
        """
        if self.simulated < _DEAF * self.variance:
            return 1.0
        return float(self.simulated_by_lag.mean()) / max(self.simulated, 1e-30)

    @property
    def from_neighbours(self) -> float:
        """Mean squared error, ADU², negative where chance made it so."""
        return float(self.by_lag.mean()) / max(self.smoothness, 1e-3)

    @property
    def relative_error(self) -> float:
        """Relative standard error of the same, from parts of the image."""
        found, simulated = self.blocks.T
        if self.simulated < _DEAF * self.variance:
            simulated = np.full_like(found, abs(found.mean()) or 1.0)
        ratio = found.sum() / simulated.sum()
        scatter = np.sqrt(np.sum((found - ratio * simulated) ** 2)) / simulated.sum()
        return float(scatter / max(abs(ratio), 1e-30))


@dataclass(frozen=True)
class ExpectedError:
    """Expected error of one denoised image.

    Attributes
    ----------
    rmse : root mean squared error, ADU
    low, high : one standard error below and above, ADU
    peak : ADU; distance of the 0.1 % and 99.9 % quantiles of the denoised image, which
        needs no truth and is not moved by a few pixels
    """

    rmse: float
    low: float
    high: float
    peak: float

    @property
    def psnr(self) -> float:
        """20 log10(peak / rmse), dB. Compare only with figures of the same peak."""
        return float(20 * np.log10(self.peak / self.rmse))


@dataclass(frozen=True)
class ExpectedErrors:
    """Expected errors of several images of one recording.

    Attributes
    ----------
    per_image : None where it cannot be told
    reason : why it cannot be told, empty where it can
    from_variance : root mean squared error over all images by the variance alone, ADU
    white_share : part of the mean squared error that neighbours do not see
    """

    per_image: tuple[ExpectedError | None, ...]
    reason: str
    from_variance: float
    white_share: float

    @property
    def told(self) -> tuple[ExpectedError, ...]:
        """Those that can be told."""
        return tuple(each for each in self.per_image if each is not None)

    @property
    def rmse(self) -> float | None:
        """Root of the mean squared error over all images that can be told, ADU."""
        if not self.told:
            return None
        return float(np.sqrt(np.mean([each.rmse**2 for each in self.told])))

    @property
    def psnr(self) -> float | None:
        """Mean of the PSNRs, dB."""
        return float(np.mean([e.psnr for e in self.told])) if self.told else None


def error_sums(
    observation: NDArray[np.float32],
    estimate: NDArray[np.float32],
    simulated_observation: NDArray[np.float32],
    simulated_estimate: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> ErrorSums:
    """Measure one image.

    Parameters
    ----------
    observation, estimate : x and f, (Y, X), ADU
    simulated_observation, simulated_estimate : x' drawn around f, and f', ADU
    variance : of x given f, ADU²
    """
    x, f = observation.astype(float), estimate.astype(float)
    noise = simulated_observation.astype(float) - f
    error, residual = simulated_estimate.astype(float) - f, x - f
    by_lag = [
        lagged_mean(residual, residual, lag)
        + lagged_mean(noise, error, lag)
        + lagged_mean(error, noise, lag)
        for lag in NEIGHBOURS
    ]
    risk = np.mean(residual**2) + 2 * np.mean(noise * error) - np.mean(variance)
    low, high = np.quantile(f, RANGE)
    _, counts = np.unique(observation, return_counts=True)
    return ErrorSums(
        n_pixels=f.size,
        risk=float(risk),
        blocks=_blocks(residual, noise, error),
        by_lag=np.array(by_lag),
        simulated=float(np.mean(error**2)),
        simulated_by_lag=np.array([lagged_mean(error, error, k) for k in NEIGHBOURS]),
        variance=float(np.mean(variance)),
        peak=float(high - low),
        most_of_one_value=float(counts.max() / f.size),
    )


def expected_errors(
    images: Sequence[ErrorSums],
    *,
    noise_correlation: float = 0.0,
    variance_uncertainty: float | None = VARIANCE_UNCERTAINTY,
) -> ExpectedErrors:
    """Join what the images say to an error of each.

    Parameters
    ----------
    images : of one recording, denoised by one model
    noise_correlation : largest correlation of the noise between neighbours, where a
        check of the data has measured it
    variance_uncertainty : share by which the noise model's variance may be wrong; None
        where it was fitted to the same data, which makes it no witness of what was
        lost from them: errors of single pixels are then left out

    Returns
    -------
    ExpectedErrors
        None in place of an error where the noise is correlated, where one grey value
        fills half of the image, or where the figure drowns in its own uncertainty: an
        error of zero is never told.
    """
    risk = max(float(np.mean([each.risk for each in images])), 0.0) ** 0.5
    reason = _why_not(images, noise_correlation)
    if reason:
        return ExpectedErrors((None,) * len(images), reason, risk, 0.0)
    squares, errors = _drawn_together(images)
    white, white_error = _white(images, squares, variance_uncertainty)
    mean = float(np.mean(squares))
    factor = 1 + white / mean
    found: list[ExpectedError | None] = []
    for image, square, error in zip(images, squares, errors, strict=True):
        if image.most_of_one_value > MOST_OF_ONE_VALUE or image.peak <= 0:
            found.append(None)
            continue
        total = square * factor
        spread = np.sqrt(
            (total * error) ** 2
            + (total * SHAPE_UNCERTAINTY) ** 2
            + (white_error * square / mean) ** 2
        )
        low, high = np.sqrt([max(total - spread, 0.0), total + spread])
        rmse = float(np.sqrt(total))
        found.append(ExpectedError(rmse, float(low), float(high), image.peak))
    reason = "" if any(found) else _NO_RANGE
    return ExpectedErrors(tuple(found), reason, risk, white / (mean + white))


_ZEROS = (
    "More than half of the pixels hold one and the same grey value, so that noise and "
    "signal cannot be told apart there"
)
_NO_RANGE = "The denoised images are the same everywhere"
_TOO_SMALL = "The error is too small against the noise to be told from so few pixels"


def _why_not(images: Sequence[ErrorSums], noise_correlation: float) -> str:
    """Return why no error can be told, empty if it can."""
    if not images:
        return "No image was looked at"
    if all(each.most_of_one_value > MOST_OF_ONE_VALUE for each in images):
        return _ZEROS
    if noise_correlation > 0.05:
        return (
            f"The noise is correlated between neighbouring pixels "
            f"({noise_correlation:.2f}), so that part of it looks like image"
        )
    along_x, along_y = (
        float(np.mean([each.by_lag[k] for each in images])) for k in (0, 1)
    )
    noise = float(np.mean([each.variance for each in images]))
    n_pixels = sum(each.n_pixels for each in images)
    chance = _ERRORS * noise * np.sqrt(2 / n_pixels)
    if min(along_x, along_y) < -chance - MOST_UNLIKE * noise:
        return (
            "Neighbouring pixels of the residual differ more than independent noise "
            "lets them, as after sharpening"
        )
    if abs(along_x - along_y) > max(chance, MOST_DIRECTED * (along_x + along_y)):
        side = "x" if along_x > along_y else "y"
        return (
            f"The residual is alike along {side} and not along the other axis: the "
            "noise is correlated, or stripes are left"
        )
    if _level(images) < chance / 2:
        return (
            "The error is too small against the noise to be told from this many pixels"
        )
    return ""


def _level(images: Sequence[ErrorSums]) -> float:
    """Mean squared error of all images by their neighbours, ADU².

    Not below the simulated one, which holds no lost structure: the loss of single
    pixels makes neighbours unlike, and would be subtracted.
    """
    found = float(np.mean([each.from_neighbours for each in images]))
    return max(found, float(np.mean([each.simulated for each in images])))


def _drawn_together(images: Sequence[ErrorSums]) -> tuple[Floats, Floats]:
    """Mean squared errors, ADU², and their relative standard errors.

    Empirical Bayes on the logarithm of what neighbours give over what is simulated.
    """
    found = np.array([each.from_neighbours for each in images])
    level = _level(images)
    deaf = max(_DEAF * float(np.mean([each.variance for each in images])), 1e-30)
    simulated = np.array([each.simulated for each in images])
    simulated = np.where(simulated > deaf, simulated, level)
    error = np.clip([each.relative_error for each in images], 0.0, 1.0)
    middle = np.log(level / simulated.mean())
    ratio = np.log(np.maximum(found / simulated, 0.2 * level / simulated.mean()))
    scatter = max(float(np.mean((ratio - middle) ** 2 - error**2)), 1e-4)
    own = scatter / (scatter + error**2) if len(images) > 1 else np.ones(1)
    squares = simulated * np.exp(middle + own * (ratio - middle))
    return squares, error * np.sqrt(own)


def _white(
    images: Sequence[ErrorSums], squares: Floats, uncertainty: float | None
) -> tuple[float, float]:
    """Mean squared error that neighbours do not see, ADU², and its standard error."""
    if uncertainty is None:
        return 0.0, 0.0
    beyond = float(np.mean([each.risk for each in images]) - np.mean(squares))
    share = np.hypot(uncertainty, VARIANCE_OF_AN_IMAGE / np.sqrt(len(images)))
    chance = float(share * np.mean([each.variance for each in images]))
    weight = beyond**2 / max(beyond**2 + chance**2, 1e-30) if beyond > 0 else 0.0
    return max(beyond, 0.0) * weight, chance * max(weight, 0.25) ** 0.5


def _blocks(residual: Floats, noise: Floats, error: Floats) -> Floats:
    """Mean products with neighbours, and squared simulated error, of parts."""
    products = np.zeros_like(residual)
    for dy, dx in NEIGHBOURS:
        for sign in (1, -1):
            shift = (-sign * dy, -sign * dx)
            products += residual * np.roll(residual, shift, (0, 1))
            products += 2 * noise * np.roll(error, shift, (0, 1))
    height, width = (max(1, side // _BLOCKS) for side in residual.shape)
    rows, columns = residual.shape[0] // height, residual.shape[1] // width
    cut = slice(0, rows * height), slice(0, columns * width)
    parts = [
        image[cut].reshape(rows, height, columns, width).mean(axis=(1, 3)).ravel()
        for image in (products / (2 * len(NEIGHBOURS)), error**2)
    ]
    return np.stack(parts, axis=1)
