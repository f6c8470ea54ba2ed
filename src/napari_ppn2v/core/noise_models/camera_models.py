"""Noise models shaped by the physics of the camera: sCMOS and EMCCD."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

from napari_ppn2v.core.noise_models.shared import (
    Limits,
    check_numbers,
    check_range,
    clip_to,
    pack_limits,
    required,
    unpack_limits,
)
from napari_ppn2v.core.noise_models.tabulated import Grid, TabulatedLikelihood
from napari_ppn2v.core.pair_histogram import PhotonTransfer
from napari_ppn2v.core.photon_statistics import (
    poisson_gamma_log_density,
    poisson_gaussian_log_density,
)
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_LOWEST_ELECTRONS = 0.002  # per pixel; darker signals only move the shape along


class _Density(Protocol):
    def __call__(
        self,
        observation: np.ndarray,
        signal: np.ndarray,
        /,
        *,
        gain: float,
        offset: float,
        read_noise: float,
        cell: float,
    ) -> np.ndarray: ...


class _CountingCamera:
    """A camera that counts photons, with its exact likelihood behind a table.

    Signals below the dark level (the offset plus 0.002 electrons) have no physical
    meaning; there the shape at the dark level moves along with the signal, which
    keeps the likelihood normalised and its gradient finite. Above the table the shape
    at its upper end does the same.

    Parameters
    ----------
    gain
        ADU per electron (EM gain included).
    offset
        Grey value without light, ADU.
    read_noise
        Standard deviation without light, ADU, rounding left out.
    signal_range
        Signals (ADU) of the fit; the table reaches half as far again beyond.
    limits, cell
        Clipping limits and step of the grey values (0: not rounded), ADU.
    """

    kind: ClassVar[str]
    excess_noise_factor: ClassVar[float]
    _density: ClassVar[_Density]

    def __init__(
        self,
        *,
        gain: float,
        offset: float,
        read_noise: float,
        signal_range: tuple[float, float],
        limits: Limits = (None, None),
        cell: float = 1.0,
    ) -> None:
        if not (gain > 0 and read_noise > 0 and np.isfinite(offset)):
            raise BadSetting(
                f"A camera needs a positive gain and read noise, but has the gain "
                f"{gain:g} and the read noise {read_noise:g}."
            )
        check_numbers("camera", gain=gain, offset=offset, read_noise=read_noise)
        check_numbers("camera", step_of_the_grey_values=cell)
        check_range("camera", signal_range)
        self.gain, self.offset = float(gain), float(offset)
        self.read_noise = float(read_noise)
        self.signal_range = (float(signal_range[0]), float(signal_range[1]))
        self.limits = limits
        self.cell = float(cell)
        self._device: torch.device | str = "cpu"

    def exact_log_likelihood(
        self, observation: np.ndarray, signal: np.ndarray
    ) -> np.ndarray:
        """Return the closed form in float64, clipping left out, as the table has it."""
        return type(self)._density(
            observation,
            signal,
            gain=self.gain,
            offset=self.offset,
            read_noise=self.read_noise,
            cell=self.cell,
        )

    def any_log_likelihood(
        self, observation: np.ndarray, signal: np.ndarray
    ) -> np.ndarray:
        """Return the closed form for any signal, at least -1e4 nats per ADU.

        Below the dark level its shape moves along with the signal.
        """
        inside = np.maximum(signal, self.dark_signal)
        moved = observation - (signal - inside)
        lowest: np.ndarray = np.maximum(self.exact_log_likelihood(moved, inside), -1e4)
        return lowest

    def log_likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s) in nats per ADU from the table; see `NoiseModel`."""
        return self.table.log_likelihood(observation, signal)

    def sample(
        self, signal: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one observation per signal; values beyond a limit land on it."""
        import torch

        options: dict[str, Any] = {"device": signal.device, "generator": generator}
        dark = self.dark_signal
        inside = signal.clamp_min(dark)
        electrons = (inside - self.offset) / self.gain
        charge = torch.poisson(electrons, generator=generator)
        charge = self._multiplied(charge, generator)
        rounding = self.cell * (torch.rand(signal.shape, **options) - 0.5)
        noise = self.read_noise * torch.randn(signal.shape, **options) + rounding
        drawn = self.offset + self.gain * charge + noise + (signal - inside)
        return clip_to(drawn, self.limits)

    def _multiplied(self, charge: Tensor, generator: torch.Generator | None) -> Tensor:
        return charge

    def moments(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (the signal) and variance, rounding included, clipping left out."""
        electrons = (signal.clamp_min(self.dark_signal) - self.offset) / self.gain
        photons = self.excess_noise_factor * self.gain**2 * electrons
        return signal.clone(), photons + self.read_noise**2 + self.cell**2 / 12

    def to(self, device: torch.device | str) -> Self:
        """Return the same model with its table on another device."""
        moved = type(self).from_state(self.state())
        moved._device = device
        return moved

    def state(self) -> dict[str, Any]:
        """Return the numbers that describe the camera."""
        return {
            "gain": self.gain,
            "offset": self.offset,
            "read_noise": self.read_noise,
            "signal_range": np.array(self.signal_range),
            "limits": pack_limits(self.limits),
            "cell": self.cell,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuild the model from its `state`."""
        low, high = np.asarray(required(state, "signal_range"), float)
        return cls(
            gain=float(required(state, "gain")),
            offset=float(required(state, "offset")),
            read_noise=float(required(state, "read_noise")),
            signal_range=(float(low), float(high)),
            limits=unpack_limits(required(state, "limits")),
            cell=float(required(state, "cell")),
        )

    @property
    def transfer(self) -> PhotonTransfer:
        """Photon-transfer line of the camera."""
        slope = self.excess_noise_factor * self.gain
        dark = self.read_noise**2 + self.cell**2 / 12
        return PhotonTransfer(slope, dark - slope * self.offset, dark)

    @cached_property
    def table(self) -> TabulatedLikelihood:
        """The likelihood on a grid; made at first use, within a few seconds."""
        low, high = self.signal_range
        top = max(high, low, self.offset + self.gain)
        top += 0.5 * (top - min(low, self.offset))
        transfer = self.transfer
        grid = Grid(
            slope=transfer.slope,
            floor=transfer.floor,
            dark_signal=self.offset,
            signal_range=(self.dark_signal, top),
            low_light=_LOWEST_ELECTRONS * self.gain,
        )
        table = TabulatedLikelihood.from_density(
            self.exact_log_likelihood,
            grid,
            signal_range=self.signal_range,
            limits=self.limits,
            cell=self.cell,
        )
        return table.to(self._device)

    @property
    def dark_signal(self) -> float:
        """Signal (ADU) below which there is no light worth counting."""
        return self.offset + _LOWEST_ELECTRONS * self.gain


class PoissonGaussianModel(_CountingCamera):
    """SCMOS and CCD: Poisson electrons times a gain, plus Gaussian read noise."""

    kind: ClassVar[str] = "poisson-gaussian"
    excess_noise_factor: ClassVar[float] = 1.0
    _density: ClassVar[_Density] = poisson_gaussian_log_density


class PoissonGammaModel(_CountingCamera):
    """EMCCD: the register multiplies electrons to a gamma-distributed charge."""

    kind: ClassVar[str] = "poisson-gamma"
    excess_noise_factor: ClassVar[float] = 2.0
    _density: ClassVar[_Density] = poisson_gamma_log_density

    def _multiplied(self, charge: Tensor, generator: torch.Generator | None) -> Tensor:
        import torch

        grown = torch._standard_gamma(charge.clamp_min(1), generator=generator)
        return torch.where(charge > 0, grown, torch.zeros_like(grown))
