"""Likelihoods of cameras that count photons, in float64 and accurate in the tails.

Everything is worked out in electrons: with u = (x - offset) / gain, mean number of
electrons lam, read noise rho = read_noise / gain and a cell (one grey value) of
width c, the functions return the log probability of the cell around u, per electron.

Two routes are taken, element by element:

- where the distribution is close enough to smooth and unimodal, the saddlepoint
  approximation with its first correction (Daniels 1954), relative error below 1e-4;
- elsewhere the sum over electron numbers (sCMOS), or a Gauss-Legendre quadrature over
  the charge that leaves the multiplication register (EMCCD).

All terms are positive, so that far tails keep their relative accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, i1e, log_ndtr, logsumexp, ndtr, wrightomega

Floats = NDArray[np.float64]

_SMALLEST_LAM = 1e-10  # electrons; below, the chance of one electron is negligible
_CORRECTION_LIMIT = 0.04  # size of the first-order terms up to which they suffice
_LATTICE_VARIANCE = 0.64  # electrons²; above, single-electron peaks are below 1e-5
_FEW_POISSON, _FEW_GAMMA = 3.0, 12.0  # tilted electrons below which terms are summed
_SMOOTH_CELLS = 6.0  # sd in cells above which rounding only widens the normal density
_BLOCK = 16_384  # elements per block of the sums, to bound memory
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)


def poisson_gaussian_log_density(
    observation: ArrayLike,
    signal: ArrayLike,
    *,
    gain: float,
    offset: float,
    read_noise: float,
    cell: float = 1.0,
) -> Floats:
    """Log p(x|s) of an sCMOS pixel: x = offset + gain·Poisson(lam) + N(0, read²).

    Parameters
    ----------
    observation, signal
        ADU; they broadcast. Signals below the offset count as the offset.
    gain, offset, read_noise
        ADU per electron, ADU, ADU.
    cell
        Width (ADU) of the grey value over which the density is averaged; 0 for an
        observation that was not rounded.

    Returns
    -------
    float64 array in nats per ADU, of the broadcast shape.
    """
    return _log_density(_poisson, observation, signal, gain, offset, read_noise, cell)


def poisson_gamma_log_density(
    observation: ArrayLike,
    signal: ArrayLike,
    *,
    gain: float,
    offset: float,
    read_noise: float,
    cell: float = 1.0,
) -> Floats:
    """Log p(x|s) of an EMCCD pixel: x = offset + gain·Gamma(Poisson(lam), 1) + N.

    The multiplication register turns n electrons into a Gamma(n, gain) charge, so
    the photon noise has an excess factor of 2. Parameters as for
    `poisson_gaussian_log_density`.
    """
    return _log_density(_gamma, observation, signal, gain, offset, read_noise, cell)


def gaussian_cell(distance: Floats, sd: Floats | float, cell: float) -> Floats:
    """Log of a normal density averaged over a cell of width `cell` at `distance`."""
    sd = np.asarray(sd, float)
    widened = np.sqrt(sd**2 + cell**2 / 12)
    smooth = -0.5 * (distance / widened) ** 2 - np.log(widened * np.sqrt(2 * np.pi))
    if cell == 0 or np.all(sd > _SMOOTH_CELLS * cell):
        return smooth
    # Lower-tail form of both ends: the difference keeps its relative accuracy.
    nearest = -np.abs(distance)
    mass = ndtr((nearest + cell / 2) / sd) - ndtr((nearest - cell / 2) / sd)
    with np.errstate(divide="ignore"):
        exact = np.log(mass / cell)
    far = mass == 0  # rare, and costs as much as all else where it is not left out
    if far.any():
        sds = np.broadcast_to(sd, mass.shape)[far]
        exact[far] = log_ndtr((nearest[far] + cell / 2) / sds) - np.log(cell)
    is_smooth = sd > _SMOOTH_CELLS * cell
    return np.where(is_smooth, smooth, exact) if is_smooth.any() else exact


Kernel = Callable[[Floats, Floats, float, float], Floats]


def _log_density(
    kernel: Kernel,
    observation: ArrayLike,
    signal: ArrayLike,
    gain: float,
    offset: float,
    read_noise: float,
    cell: float,
) -> Floats:
    """Convert to electrons, evaluate, and convert the density back to ADU."""
    charge, lam = np.broadcast_arrays(
        (np.asarray(observation, float) - offset) / gain,
        np.maximum((np.asarray(signal, float) - offset) / gain, _SMALLEST_LAM),
    )
    flat = kernel(charge.ravel(), lam.ravel(), read_noise / gain, cell / gain)
    return (flat - np.log(gain)).reshape(charge.shape)


def _saddlepoint(
    exponent: Floats, second: Floats, third: Floats, fourth: Floats
) -> tuple[Floats, Floats]:
    """Corrected saddlepoint log density, and the size of its correction terms."""
    fourth_term = fourth / (8 * second**2)
    third_term = 5 * third**2 / (24 * second**3)
    log_density = exponent - 0.5 * np.log(2 * np.pi * second)
    correction = np.maximum(fourth_term - third_term, -0.5)
    return log_density + np.log1p(correction), np.abs(fourth_term) + third_term


def _poisson(charge: Floats, lam: Floats, rho: float, cell: float) -> Floats:
    """Density per electron of Poisson(lam) + N(0, rho²) averaged over a cell."""
    variance = rho**2 + cell**2 / 12
    # The tilted mean n solves n + variance·log(n / lam) = charge.
    tilted = variance * np.real(wrightomega(np.log(lam / variance) + charge / variance))
    tilted = np.maximum(tilted, 1e-300)
    theta = np.log(tilted / lam)
    exponent = tilted - lam + 0.5 * variance * theta**2 - theta * charge
    result, size = _saddlepoint(
        exponent, tilted + variance, tilted, tilted - cell**4 / 120
    )
    rough = (size > _CORRECTION_LIMIT) | (tilted < _FEW_POISSON)
    if variance < _LATTICE_VARIANCE:
        rough = np.ones_like(rough)
    for block in _blocks(rough):
        result[block] = _poisson_sum(
            charge[block], lam[block], tilted[block], rho, cell
        )
    return result


def _poisson_sum(
    charge: Floats, lam: Floats, tilted: Floats, rho: float, cell: float
) -> Floats:
    """Sum over the electron numbers that matter around the tilted mean."""
    variance = rho**2 + cell**2 / 12
    spread = 1 / np.sqrt(1 / np.maximum(tilted, 1e-12) + 1 / variance)
    first = np.floor(np.maximum(tilted - 9 * spread - 4, 0))
    last = np.ceil(tilted + 9 * spread + 6)
    n = first[:, None] + np.arange(int((last - first).max()) + 1)  # (P, electrons)
    log_weight = n * np.log(lam)[:, None] - lam[:, None] - gammaln(n + 1)
    return logsumexp(log_weight + gaussian_cell(charge[:, None] - n, rho, cell), axis=1)


def _gamma(charge: Floats, lam: Floats, rho: float, cell: float) -> Floats:
    """Density per electron of Gamma(Poisson(lam), 1) + N(0, rho²) over a cell."""
    variance = rho**2 + cell**2 / 12
    scale = _gamma_tilt(charge, lam, variance)
    theta = 1 - 1 / scale
    exponent = lam * (scale - 1) + 0.5 * variance * theta**2 - theta * charge
    result, size = _saddlepoint(
        exponent,
        2 * lam * scale**3 + variance,
        6 * lam * scale**4,
        24 * lam * scale**5 - cell**4 / 120,
    )
    rough = (size > _CORRECTION_LIMIT) | (lam * scale < _FEW_GAMMA)
    for block in _blocks(rough):
        result[block] = _gamma_quadrature(charge[block], lam[block], rho, cell)
    return result


def _gamma_tilt(charge: Floats, lam: Floats, variance: float) -> Floats:
    """Positive root b of lam·b³ + (variance - charge)·b = variance, by Newton.

    The left side is convex for b > 0 and the start lies right of the root, so the
    iteration descends monotonically.
    """
    slope = variance - charge
    scale = np.sqrt(np.maximum(-slope, 0) / lam) + np.cbrt(variance / lam)
    bound = variance / np.maximum(slope, 1e-12 * variance)
    scale = np.where(slope > 0, np.minimum(scale, bound), scale)
    for _ in range(60):
        step = (lam * scale**3 + slope * scale - variance) / (
            3 * lam * scale**2 + slope
        )
        scale = scale - step
        if np.all(np.abs(step) <= 1e-9 * scale):
            break
    return scale


def _gamma_quadrature(charge: Floats, lam: Floats, rho: float, cell: float) -> Floats:
    """Zero-electron peak plus the integral over the register's output charge y."""
    sd = np.sqrt(rho**2 + cell**2 / 12)
    reach = 8.5 * rho + 0.5 * cell + 1e-9
    low = np.maximum(charge - rho**2 - reach, 0)
    # Left of zero the read noise decays away from y = 0: follow it down to exp(-36).
    left = charge + np.sqrt(np.maximum(charge, -1e150) ** 2 + 72 * sd**2)
    high = np.where(charge < 0, left, charge + reach)
    half = (high - low)[:, None] / 2
    y = low[:, None] + half * (1 + _NODES)  # (P, nodes)
    root_lam, root_y = np.sqrt(lam)[:, None], np.sqrt(y)
    z = np.maximum(2 * root_lam * root_y, 1e-150)
    log_output = np.log(2 * lam)[:, None] - (root_lam - root_y) ** 2
    log_output = log_output + np.log(i1e(z) / z)
    noise = gaussian_cell(charge[:, None] - y, rho, cell)
    smeared = logsumexp(log_output + noise, axis=1, b=half * _WEIGHTS)
    return np.logaddexp(smeared, gaussian_cell(charge, rho, cell) - lam)


def _blocks(chosen: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """List the chosen elements' indices in blocks of bounded size."""
    index = np.flatnonzero(chosen)
    return [index[i : i + _BLOCK] for i in range(0, len(index), _BLOCK)]
