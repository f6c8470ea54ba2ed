"""Gaussian mixture noise model (Prakash et al. 2020, Eqs. 1 and 2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from napari_ppn2v.core.noise_models.shared import (
    Limits,
    check_numbers,
    check_range,
    clip_to,
    log_normal_tail,
    pack_limits,
    required,
    unpack_limits,
    with_atoms,
)
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from torch import Tensor

_HIGHEST_LOG_VARIANCE = 40.0
_MOST_ROWS, _MOST_COLUMNS = 300, 32  # of coefficients; more would take for ever
_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


class GaussianMixtureModel:
    """p(x|s) as a mixture of Gaussians whose parameters are polynomials of s.

    With z = (s - min_signal) / (max_signal - min_signal) and rows of coefficients
    w, column i belonging to z**i, component k has

    - the mean s + g_k(s) - sum_j alpha_j g_j, so that E[x|s] = s exactly;
    - the variance max(sum_i exp(w_i) z**i, variance_floor). The exp() is not in the
      publication but in its program and files; it makes variances grow with s;
    - the weight alpha = softmax of polynomials.

    Outside of min_signal … max_signal the shape at the end of the range moves along
    with the signal (`is_clamped`, how our fits extrapolate), or the polynomials go on
    (files of other programs, which define them so).

    Parameters
    ----------
    coefficients
        (3·n_components, n_coefficients): rows of mean offsets (ADU), of log variance
        coefficients (log ADU²), and of weight logits.
    min_signal, max_signal
        ADU; where z is 0 and 1.
    variance_floor
        ADU².
    likelihood_floor
        Density (per ADU) added to p(x|s). 0 leaves the mixture as it is; the files of
        PPN2V imply 1e-10, by which the MMSE estimate falls back to the prior mean
        for observations that no sample explains.
    limits, cell
        Clipping limits and step of the grey values, ADU.
    """

    kind: ClassVar[str] = "gmm"

    def __init__(
        self,
        coefficients: np.ndarray | Tensor,
        *,
        min_signal: float,
        max_signal: float,
        variance_floor: float,
        likelihood_floor: float = 0.0,
        limits: Limits = (None, None),
        cell: float = 1.0,
        is_clamped: bool = True,
    ) -> None:
        self.coefficients = torch.as_tensor(coefficients)
        rows = self.coefficients.shape[0] if self.coefficients.ndim == 2 else 0
        if rows == 0 or rows % 3 or not max_signal > min_signal:
            raise BadSetting(
                f"A mixture of Gaussians needs coefficients of shape (3 x components, "
                f"coefficients) and a range of signals, but has the shape "
                f"{tuple(self.coefficients.shape)} and the range "
                f"{min_signal:g} to {max_signal:g}. Make the noise model again."
            )
        if rows > _MOST_ROWS or self.n_coefficients > _MOST_COLUMNS:
            raise BadSetting(
                f"A mixture of {self.n_components} Gaussians with {self.n_coefficients}"
                f" coefficients each is not used; at most {_MOST_ROWS // 3} and "
                f"{_MOST_COLUMNS} are."
            )
        what = "mixture of Gaussians"
        check_numbers(what, variance_floor=variance_floor, cell=cell)
        check_range(what, (min_signal, max_signal))
        self.signal_range = (float(min_signal), float(max_signal))
        self.variance_floor = float(variance_floor)
        self.likelihood_floor = float(likelihood_floor)
        self.limits = limits
        self.cell = float(cell)
        self.is_clamped = bool(is_clamped)

    @property
    def n_components(self) -> int:
        """Number of Gaussians."""
        return self.coefficients.shape[0] // 3

    @property
    def n_coefficients(self) -> int:
        """Number of coefficients of each polynomial."""
        return self.coefficients.shape[1]

    def log_likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s) in nats per ADU; see `NoiseModel`."""
        # as many axes as the observation, so that components can come before them
        missing = (1,) * (observation.ndim - signal.ndim)
        log_weights, means, variances = self.components(
            signal.reshape(missing + signal.shape)
        )
        # (components, ...) throughout
        distance = observation - means
        log_normal = -0.5 * distance * distance / variances - 0.5 * variances.log()
        density = torch.logsumexp(log_weights + log_normal, 0) - _LOG_SQRT_2PI

        def log_reaching(limit: float, direction: int) -> Tensor:
            edge = limit - 0.5 * self.cell * direction
            z = direction * (means - edge) / variances.sqrt()
            return torch.logsumexp(log_weights + log_normal_tail(z), 0)

        density = with_atoms(observation, density, self.limits, log_reaching)
        if self.likelihood_floor > 0:
            floor = torch.full_like(density, math.log(self.likelihood_floor))
            density = torch.logaddexp(density, floor)
        return density

    def components(self, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means (ADU) and variances (ADU²), each (components, ...)."""
        low, high = self.signal_range
        inside = signal.clamp(low, high) if self.is_clamped else signal
        z = (inside - low) / (high - low)
        rows = self.coefficients.to(device=signal.device, dtype=signal.dtype)
        offsets, log_variance, logits = rows.chunk(3)
        # e^40 ADU² is beyond any camera; squares of more would overflow in float32
        growth = log_variance.clamp_max(_HIGHEST_LOG_VARIANCE).exp()
        variances = _polynomials(growth, z).clamp_min(self.variance_floor)
        log_weights = torch.log_softmax(_polynomials(logits, z), 0)
        g = _polynomials(offsets, z)
        return log_weights, signal + g - (log_weights.exp() * g).sum(0), variances

    def sample(
        self, signal: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one observation per signal; values beyond a limit land on it."""
        log_weights, means, variances = self.components(signal)
        options: dict[str, Any] = {"device": signal.device, "generator": generator}
        height = torch.rand(signal.shape, **options)
        chosen = (log_weights.exp().cumsum(0) < height).sum(0, keepdim=True)
        chosen = chosen.clamp_max(self.n_components - 1)
        noise = torch.randn(signal.shape, dtype=signal.dtype, **options)
        drawn = (
            means.gather(0, chosen)[0] + variances.gather(0, chosen)[0].sqrt() * noise
        )
        return clip_to(drawn, self.limits)

    def moments(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (the signal itself) and variance of x, clipping left out."""
        log_weights, means, variances = self.components(signal)
        spread = (means - signal) ** 2
        return signal.clone(), (log_weights.exp() * (variances + spread)).sum(0)

    def to(self, device: torch.device | str) -> Self:
        """Return the model with its tensors on another device."""
        return type(self)(self.coefficients.to(device), **self._arguments())

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers that describe the model."""
        return {
            "coefficients": self.coefficients.cpu().numpy(),
            "min_signal": self.signal_range[0],
            "max_signal": self.signal_range[1],
            "variance_floor": self.variance_floor,
            "likelihood_floor": self.likelihood_floor,
            "limits": pack_limits(self.limits),
            "cell": self.cell,
            "is_clamped": int(self.is_clamped),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuild the model from its `state`."""
        return cls(
            np.array(required(state, "coefficients")),
            min_signal=float(required(state, "min_signal")),
            max_signal=float(required(state, "max_signal")),
            variance_floor=float(required(state, "variance_floor")),
            likelihood_floor=float(required(state, "likelihood_floor")),
            limits=unpack_limits(required(state, "limits")),
            cell=float(required(state, "cell")),
            is_clamped=bool(required(state, "is_clamped")),
        )

    def _arguments(self) -> dict[str, Any]:
        return {
            "min_signal": self.signal_range[0],
            "max_signal": self.signal_range[1],
            "variance_floor": self.variance_floor,
            "likelihood_floor": self.likelihood_floor,
            "limits": self.limits,
            "cell": self.cell,
            "is_clamped": self.is_clamped,
        }


def _polynomials(coefficients: Tensor, z: Tensor) -> Tensor:
    """Evaluate rows of coefficients (K, n) at z: (K, ...), by Horner's rule."""
    shape = (-1,) + (1,) * z.ndim
    columns = coefficients.unbind(1)
    value = columns[-1].reshape(shape).expand(-1, *z.shape)
    for column in reversed(columns[:-1]):
        value = value * z + column.reshape(shape)
    return value
