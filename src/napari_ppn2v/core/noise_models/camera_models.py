"""Noise models shaped by the physics of the camera: sCMOS and EMCCD."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np

from napari_ppn2v.core.noise_models.shared import (
    Limits,
    check_numbers,
    check_pairs,
    check_range,
    clip_to,
    pack_limits,
    required,
    unpack_limits,
)
from napari_ppn2v.core.noise_models.tabulated import Grid, TabulatedLikelihood, log_tail
from napari_ppn2v.core.pair_histogram import PairCells, PhotonTransfer
from napari_ppn2v.core.photon_statistics import (
    poisson_gamma_log_density,
    poisson_gaussian_log_density,
)
from napari_ppn2v.errors import BadSetting, FitFailed
from napari_ppn2v.events import Event, FitProgress
from napari_ppn2v.settings import check_settings, setting

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import torch
    from torch import Tensor

    from napari_ppn2v.core.pairs import PairHistogram

_LOWEST_ELECTRONS = 0.002  # per pixel; darker signals only move the shape along
_SMALLEST_READ_NOISE = 0.2  # cells; less cannot be told from rounding
_NO_CAMERA = 1e300  # nats; the search subtracts values, and infinities would give NaN
_MOST_CELLS = 6000  # for the fit, to bound its time
_MOST_EVALUATIONS, _STEPS_AT_ONCE = 90, 10  # of the search, in one round


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


@dataclass(frozen=True)
class CameraFitSettings:
    """What is known of the camera beforehand."""

    offset: float | None = setting(
        None,
        label="Offset",
        help="Grey value without light, if known from a dark recording.",
        unit="ADU",
    )
    read_noise: float | None = setting(
        None,
        label="Read noise",
        help="Noise without light, if known from a dark recording.",
        unit="ADU",
        minimum=1e-6,
    )

    def __post_init__(self) -> None:
        check_settings(self)


def fit_camera(
    model_type: type[_CountingCamera],
    pairs: PairHistogram,
    settings: CameraFitSettings | None = None,
) -> Generator[Event, None, _CountingCamera]:
    """Fit gain, offset and read noise by maximum likelihood; deterministic.

    The photon-transfer line starts the search; what `settings` gives stays as it is.

    Raises
    ------
    FitFailed  If there are too few pairs, or the noise does not grow with the signal.
    """
    settings = settings or CameraFitSettings()
    check_pairs(pairs, "camera model")
    if pairs.transfer.slope <= 0:
        raise FitFailed(
            "The noise does not grow with the signal, so gain and offset of a camera "
            "cannot be told. Use the mixture of Gaussians, or a recording with dark "
            "and bright regions."
        )
    search = _CameraSearch(model_type, pairs, settings)
    iteration = 0
    for _ in range(search.most_rounds):
        before = search.nll
        for _ in search.refine():
            iteration += _STEPS_AT_ONCE
            yield FitProgress(model_type.kind, iteration, search.nll)
        if before - search.nll < 1e-5:
            break
    if not np.isfinite(search.nll):
        raise FitFailed(
            "The camera model does not describe these pairs: its likelihood is not "
            "finite. Use the mixture of Gaussians or the histogram instead."
        )
    try:
        return search.model(search.best)
    except BadSetting as error:
        raise FitFailed(
            f"The camera model does not describe these pairs ({error}) Use the mixture "
            "of Gaussians or the histogram instead."
        ) from error


class _CameraSearch:
    """Nelder-Mead over (log gain, offset, log read noise), in rounds."""

    most_rounds = 4

    def __init__(
        self,
        model_type: type[_CountingCamera],
        pairs: PairHistogram,
        settings: CameraFitSettings,
    ) -> None:
        self._type, self._pairs = model_type, pairs
        self._cells = _thinned(pairs)
        gain = pairs.transfer.slope / model_type.excess_noise_factor
        read_noise = settings.read_noise or max(0.5 * pairs.transfer.floor**0.5, 1e-6)
        offset = settings.offset
        if offset is None:
            line = pairs.transfer
            offset = (read_noise**2 - line.intercept) / line.slope
            offset = min(offset, pairs.signal_range[0] + 0.5 * gain)
        self._start = np.array([np.log(gain), offset, np.log(read_noise)])
        known = [False, settings.offset is not None, settings.read_noise is not None]
        self._free = ~np.array(known)
        self._scale = np.array([0.05, 0.3 * gain + 0.02 * read_noise, 0.2])
        self.best, self.nll = self._start, np.inf

    def refine(self) -> Iterator[None]:
        """Restart the search from the best point with a fresh simplex.

        The search pauses every few steps; it goes on from where its simplex is, and
        does not compute again what it knows.
        """
        from scipy.optimize import minimize

        size = self._scale if self.nll == np.inf else 0.25 * self._scale
        n = int(self._free.sum())
        simplex = np.concatenate([np.zeros((1, n)), np.eye(n)])
        origin = self.best.copy()
        known: dict[bytes, float] = {}

        def place(step: np.ndarray) -> np.ndarray:
            values = origin.copy()
            values[self._free] += step * size[self._free]
            return values

        def nll(step: np.ndarray) -> float:
            key = step.tobytes()
            if key not in known:
                known[key] = self._nll(place(step))
            return known[key]

        for _ in range(_MOST_EVALUATIONS // _STEPS_AT_ONCE):
            answer = minimize(
                nll,
                simplex[0],
                method="Nelder-Mead",
                options={
                    "initial_simplex": simplex,
                    "xatol": 0.02,
                    "fatol": 2e-6,
                    "maxiter": _STEPS_AT_ONCE,
                },
            )
            simplex = answer.final_simplex[0]
            if answer.fun < self.nll:
                self.best, self.nll = place(answer.x), float(answer.fun)
            yield
            if answer.success or len(known) >= _MOST_EVALUATIONS:
                return

    def model(self, values: np.ndarray) -> _CountingCamera:
        """Return the camera at one point of the search."""
        pairs = self._pairs
        smallest = _SMALLEST_READ_NOISE * pairs.cell
        return self._type(
            gain=float(np.exp(values[0])),
            offset=float(values[1]),
            read_noise=max(float(np.exp(values[2])), smallest, 1e-9),
            signal_range=pairs.signal_range,
            limits=pairs.limits,
            cell=pairs.cell,
        )

    def _nll(self, values: np.ndarray) -> float:
        try:
            model, cells = self.model(values), self._cells
        except BadSetting:  # the search has left what any camera can be
            return _NO_CAMERA
        dark = model.dark_signal
        signal = np.maximum(cells.signal, dark)
        moved = cells.observation - (cells.signal - signal)
        log_density = model.exact_log_likelihood(moved, signal)
        for limit, direction in zip(self._pairs.limits, (-1, 1), strict=True):
            at = cells.observation == limit
            if limit is not None and at.any():
                log_density[at] = log_tail(
                    model.exact_log_likelihood,
                    signal[at],
                    limit,
                    direction,
                    model.cell,
                    model.transfer,
                )
        nll = -cells.mean_of(np.maximum(log_density, -1e4))
        return nll if np.isfinite(nll) else 1e6


def _thinned(pairs: PairHistogram) -> PairCells:
    """Keep every k-th row of signals where there are very many cells.

    Which cells stay depends on the signal alone, so p(x|s) is not biased.
    """
    cells = pairs.training
    every = -(-len(cells) // _MOST_CELLS)
    kept = np.searchsorted(pairs.row_edges, cells.signal) % every == 0
    return PairCells(cells.signal[kept], cells.observation[kept], cells.weight[kept])
