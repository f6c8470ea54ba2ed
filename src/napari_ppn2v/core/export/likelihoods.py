"""Log-likelihoods of the noise models, written so that TorchScript can hold them.

Each module does what `log_likelihood` of its noise model does, without gradients, with
its numbers in buffers, so that they follow the network to another device. A noise model
without a line in `LIKELIHOODS` cannot be exported.

The number 0.9189... is log(sqrt(2 pi)), written out because TorchScript sees no
constants of a module.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_ppn2v.core.noise_models import (
    GaussianMixtureModel,
    HistogramModel,
    PoissonGammaModel,
    PoissonGaussianModel,
    TabulatedLikelihood,
)
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.shared import Limits

_HIGHEST_LOG_VARIANCE = 40.0
_SMALLEST_ATOM = 1e-30


def log_normal_tail(z: Tensor) -> Tensor:
    """Log of the standard normal distribution function, finite far out."""
    far = z.clamp_max(-8.0)
    small = (1 / far) ** 2  # Abramowitz and Stegun 26.2.12
    series = torch.log1p(small * (-1 + small * (3 - 15 * small)))
    tail = -0.5 * far**2 - torch.log(-far) - 0.9189385332046727 + series
    return torch.where(z < -8.0, tail, torch.special.log_ndtr(z.clamp_min(-8.0)))


def polynomials(coefficients: Tensor, z: Tensor) -> Tensor:
    """Evaluate rows of coefficients (K, n) at z (P, S): (K, P, S), by Horner's rule."""
    last = coefficients.shape[1] - 1
    value = coefficients[:, last, None, None].expand(-1, z.shape[0], z.shape[1])
    for i in range(last):
        value = value * z + coefficients[:, last - 1 - i, None, None]
    return value


class _Limits(nn.Module):
    """Where the observation is at a limit of the camera."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        low, high = limits
        self.has_low, self.has_high = low is not None, high is not None
        self.low = 0.0 if low is None else float(low)
        self.high = 0.0 if high is None else float(high)


class MixtureLikelihood(_Limits):
    """As `GaussianMixtureModel.log_likelihood`."""

    def __init__(self, model: GaussianMixtureModel) -> None:
        super().__init__(model.limits)
        offsets, log_variance, logits = model.coefficients.float().chunk(3)
        growth = log_variance.clamp_max(_HIGHEST_LOG_VARIANCE).exp()
        self.register_buffer("offsets", offsets.clone())
        self.register_buffer("growth", growth)
        self.register_buffer("logits", logits.clone())
        self.offsets: Tensor
        self.growth: Tensor
        self.logits: Tensor
        self.darkest, self.brightest = model.signal_range
        self.variance_floor = model.variance_floor
        self.has_floor = model.likelihood_floor > 0
        self.log_floor = math.log(model.likelihood_floor) if self.has_floor else 0.0
        self.half_cell = 0.5 * model.cell
        self.is_clamped = model.is_clamped

    def reaching(
        self, log_weights: Tensor, means: Tensor, variances: Tensor, side: float
    ) -> Tensor:
        """Log probability of the limit and all beyond it; `side` is -1 or 1."""
        limit = self.low if side < 0 else self.high
        edge = limit - side * self.half_cell
        z = side * (means - edge) / variances.sqrt()
        return torch.logsumexp(log_weights + log_normal_tail(z), dim=0)

    def forward(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s), (P, K), for observations (P, 1) and signals (P, K), ADU."""
        inside = signal
        if self.is_clamped:
            inside = signal.clamp(self.darkest, self.brightest)
        z = (inside - self.darkest) / (self.brightest - self.darkest)
        variances = polynomials(self.growth, z).clamp_min(self.variance_floor)
        log_weights = torch.log_softmax(polynomials(self.logits, z), dim=0)
        g = polynomials(self.offsets, z)
        means = signal + g - (log_weights.exp() * g).sum(dim=0)
        distance = observation - means  # (components, P, K)
        log_normal = -0.5 * distance * distance / variances - 0.5 * variances.log()
        density = torch.logsumexp(log_weights + log_normal, dim=0) - 0.9189385332046727
        if self.has_low:
            atom = self.reaching(log_weights, means, variances, -1.0)
            density = torch.where(observation <= self.low, atom, density)
        if self.has_high:
            atom = self.reaching(log_weights, means, variances, 1.0)
            density = torch.where(observation >= self.high, atom, density)
        if self.has_floor:
            floor = torch.full_like(density, self.log_floor)
            density = torch.logaddexp(density, floor)
        return density


class HistogramLikelihood(_Limits):
    """As `HistogramModel.log_likelihood`."""

    def __init__(self, model: HistogramModel) -> None:
        super().__init__(model.limits)
        rows, columns = model._rows.clone(), model._columns.clone()
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)
        self.register_buffer("density", model._density.reshape(-1).clone())
        self.register_buffer("sd", model._variance.sqrt().float())
        self.register_buffer("atoms", model.atoms.float().clamp_min(_SMALLEST_ATOM))
        self.rows: Tensor
        self.columns: Tensor
        self.density: Tensor
        self.sd: Tensor
        self.atoms: Tensor
        self.n_columns, self.n_rows = len(columns), len(rows)
        self.darkest, self.brightest = float(rows[0]), float(rows[-1])
        self.first, self.last = float(columns[0]), float(columns[-1])
        edges = model.observation_edges
        self.lowest, self.highest = float(edges[0]), float(edges[-1])
        self.is_constant_in_column = model.interpolation == "lower-edge"

    def between(self, row: Tensor, part: Tensor, observation: Tensor) -> Tensor:
        """Density between the rows and columns next to each pair."""
        held = observation.clamp(self.first, self.last)
        found = torch.bucketize(held.contiguous(), self.columns, right=True) - 1
        if self.is_constant_in_column:
            index = row * self.n_columns + found.clamp(0, self.n_columns - 1)
            upper, lower = self.density[index], self.density[index + self.n_columns]
        else:
            column = found.clamp(0, self.n_columns - 2)
            step = self.columns[column + 1] - self.columns[column]
            across = (held - self.columns[column]) / step
            index = row * self.n_columns + column
            upper = self.density[index] * (1 - across)
            upper = upper + self.density[index + 1] * across
            index = index + self.n_columns
            lower = self.density[index] * (1 - across)
            lower = lower + self.density[index + 1] * across
        return upper * (1 - part) + lower * part

    def reaching(self, side: int, row: Tensor, part: Tensor) -> Tensor:
        """Log probability of the lower (0) or upper (1) limit."""
        atoms = self.atoms[side]
        return (atoms[row] * (1 - part) + atoms[row + 1] * part).log()

    def forward(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s), (P, K), for observations (P, 1) and signals (P, K), ADU."""
        inside = signal.clamp(self.darkest, self.brightest)
        found = torch.bucketize(inside.contiguous(), self.rows, right=True) - 1
        row = found.clamp(0, self.n_rows - 2)
        part = (inside - self.rows[row]) / (self.rows[row + 1] - self.rows[row])
        moved = observation - (signal - inside)
        beyond = moved - moved.clamp(self.lowest, self.highest)
        density = self.between(row, part, moved).log() - beyond.abs() / self.sd[row]
        if self.has_low:
            atom = self.reaching(0, row, part)
            density = torch.where(observation <= self.low, atom, density)
        if self.has_high:
            atom = self.reaching(1, row, part)
            density = torch.where(observation >= self.high, atom, density)
        return density


class TableLikelihood(_Limits):
    """As `TabulatedLikelihood.log_likelihood`."""

    def __init__(self, model: TabulatedLikelihood) -> None:
        super().__init__(model.limits)
        grid = model.grid
        self.register_buffer("table", model.table.reshape(-1).clone())
        self.register_buffer("tails", model.tails.clone())
        self.table: Tensor
        self.tails: Tensor
        self.n_signals, self.n_offsets = model.table.shape
        self.slope, self.floor, self.dark = grid.slope, grid.floor, grid.dark_signal
        self.darkest, self.brightest = grid.signal_range
        self.low_light, self.signal_step = grid.low_light, grid.signal_step
        self.start, self.step = grid.reach[0], grid.step
        self.origin = float(grid.transfer.stabilise(np.array(self.darkest)))
        if self.slope <= 0:  # PhotonTransfer measures from zero there
            self.origin = (self.darkest - self.dark) / self.floor**0.5

    def stabilise(self, value: Tensor) -> Tensor:
        """Variance-stabilising map A(v)."""
        above = value - self.dark
        sd0 = math.sqrt(self.floor)
        if self.slope <= 0:
            return above / sd0
        sd = (self.floor + self.slope * above.clamp_min(0)).sqrt()
        return above.clamp_max(0) / sd0 + (sd - sd0) * (2 / self.slope)

    def position(self, inside: Tensor, mapped: Tensor) -> Tensor:
        """Fractional row of the table."""
        position = mapped - self.origin
        if self.low_light > 0:
            position = position + torch.log1p((inside - self.darkest) / self.low_light)
        return position / self.signal_step

    def reaching(self, side: int, position: Tensor) -> Tensor:
        """Log probability of the lower (0) or upper (1) limit."""
        values = self.tails[side]
        held = position.clamp(0, self.n_signals - 1.001)
        row = held.long()
        part = held - row
        return values[row] * (1 - part) + values[row + 1] * part

    def forward(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s), (P, K), for observations (P, 1) and signals (P, K), ADU."""
        inside = signal.clamp(self.darkest, self.brightest)
        mapped = self.stabilise(inside)
        moved = self.stabilise(observation - (signal - inside))
        offset = (moved - mapped - self.start) / self.step
        position = self.position(inside, mapped)
        row = position.floor().clamp(0, self.n_signals - 2)
        column = offset.floor().clamp(0, self.n_offsets - 2)
        u, v = (position - row).clamp(0, 1), offset - column
        index = (row * self.n_offsets + column).long()
        upper = torch.lerp(self.table[index], self.table[index + 1], v)
        index = index + self.n_offsets
        lower = torch.lerp(self.table[index], self.table[index + 1], v)
        density = torch.lerp(upper, lower, u)
        if self.has_low:
            atom = self.reaching(0, position)
            density = torch.where(observation <= self.low, atom, density)
        if self.has_high:
            atom = self.reaching(1, position)
            density = torch.where(observation >= self.high, atom, density)
        return density


def _camera_table(model: PoissonGaussianModel | PoissonGammaModel) -> TableLikelihood:
    return TableLikelihood(model.table)


LIKELIHOODS: dict[str, Callable[..., nn.Module]] = {
    GaussianMixtureModel.kind: MixtureLikelihood,
    HistogramModel.kind: HistogramLikelihood,
    TabulatedLikelihood.kind: TableLikelihood,
    PoissonGaussianModel.kind: _camera_table,
    PoissonGammaModel.kind: _camera_table,
}


def exported_likelihood(noise_model: NoiseModel) -> nn.Module:
    """Return a scriptable module that gives the log-likelihoods of a noise model.

    Raises
    ------
    BadSetting  If there is none for this kind of noise model.
    """
    if noise_model.kind not in LIKELIHOODS:
        raise BadSetting(
            f"The noise model is of the kind '{noise_model.kind}', which cannot be "
            f"exported. Fit one of these kinds: {', '.join(LIKELIHOODS)}."
        )
    return LIKELIHOODS[noise_model.kind](noise_model.to("cpu"))
