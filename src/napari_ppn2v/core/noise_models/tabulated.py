"""Any likelihood as a table: fast, with the analytic gradient of its interpolation.

The observation is measured in noise standard deviations from the signal, through the
variance-stabilising map A(v) = ∫ dv / sd(v) of a photon-transfer line: the table holds
log p on a grid of B(s) and A(x) - A(s), where B is A refined at low signal. In these
coordinates log p(x|s) is a smooth hill of the same width for all signals, so that
bilinear interpolation is accurate to about 1e-3 nats from a small table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import torch

from napari_ppn2v.core.noise_models.shared import (
    Limits,
    check_numbers,
    check_range,
    clip_to,
    in_line,
    inverted,
    pack_limits,
    required,
    unpack_limits,
    with_atoms,
)
from napari_ppn2v.core.pair_histogram import PhotonTransfer
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ppn2v.core.noise_models.base import NoiseModel

LogDensity = Callable[[np.ndarray, np.ndarray], np.ndarray]

_MOST_NODES = 2_000_000  # of signals; the table has some hundred values for each
_MOST_CELLS = 100_000_000  # 400 MB

_TAIL_NODES, _TAIL_WEIGHTS = np.polynomial.legendre.leggauss(64)


@dataclass(frozen=True)
class Grid:
    """Where the table has its nodes.

    Attributes
    ----------
    slope, floor, dark_signal
        Of the variance-stabilising map: the variance is `floor` (ADU²) up to
        `dark_signal` (ADU) and grows with `slope` (ADU) above.
    signal_range
        Signals covered (ADU); beyond, the shape at the end moves with the signal.
    low_light
        Distance (ADU) of the lowest signal from the dark level, over which the grid
        is refined logarithmically; 0 for no refinement.
    signal_step, step
        Distance of nodes along B(s) and along A(x) - A(s).
    reach
        Lowest and highest A(x) - A(s); beyond, log p goes on in a straight line.
    """

    slope: float
    floor: float
    dark_signal: float
    signal_range: tuple[float, float]
    low_light: float = 0.0
    signal_step: float = 0.1
    step: float = 0.0625
    reach: tuple[float, float] = (-9.0, 14.0)

    def __post_init__(self) -> None:
        """Refuse numbers from which no table can be made; raises BadSetting."""
        what = "table of likelihoods"
        numbers = ("slope", "floor", "dark_signal", "low_light", "signal_step", "step")
        check_numbers(what, **{name: getattr(self, name) for name in numbers})
        check_range(what, self.signal_range)
        check_range(what, self.reach)
        smallest = min(self.floor, self.signal_step, self.step)
        if smallest <= 0 or self.slope < 0 or self.low_light < 0:
            raise BadSetting(
                f"A {what} needs steps and a variance above 0, but has the variance "
                f"{self.floor:g} and the steps {self.signal_step:g} and {self.step:g}. "
                "Make the noise model again."
            )

    @property
    def transfer(self) -> PhotonTransfer:
        """The photon-transfer line of the map."""
        intercept = self.floor - self.slope * self.dark_signal
        return PhotonTransfer(self.slope, intercept, self.floor)

    def signal_nodes(self) -> np.ndarray:
        """Signals (ADU) at even steps of B."""
        low, high = self.signal_range
        fine = np.concatenate([low + np.geomspace(1e-6, 1, 4000) * (high - low), [low]])
        fine = np.unique(np.concatenate([fine, np.linspace(low, high, 20_000)]))
        mapped = self.transfer.stabilise(fine)
        if self.low_light > 0:
            mapped = mapped + np.log1p((fine - low) / self.low_light)
        mapped = mapped - mapped[0]
        steps = mapped[-1] / self.signal_step
        offsets = (self.reach[1] - self.reach[0]) / self.step
        if not (steps < _MOST_NODES and steps * offsets < _MOST_CELLS):
            raise BadSetting(
                f"Signals from {low:g} to {high:g} with a noise of {self.floor**0.5:g} "
                f"grey values need a table of {steps * offsets:.3g} likelihoods, of at "
                f"most {_MOST_CELLS:.0e}. Gain, read noise and range of these data do "
                "not belong together; choose a histogram or a mixture of Gaussians."
            )
        count = max(4, math.ceil(steps) + 1)
        nodes = np.interp(np.arange(count) * self.signal_step, mapped, fine)
        beyond = np.arange(count) * self.signal_step > mapped[-1]
        nodes[beyond] = high
        return nodes

    def offsets(self) -> np.ndarray:
        """Even steps of A(x) - A(s)."""
        low, high = self.reach
        return np.arange(low, high + self.step / 2, self.step)


class TabulatedLikelihood:
    """A noise model that looks its log-likelihood up in a table; see the module.

    Made by `from_density` or `from_model`. `log_likelihood` is float32 and its
    gradient in the signal is that of the interpolation. Samples are drawn from the
    table itself.
    """

    kind: ClassVar[str] = "tabulated"

    def __init__(
        self,
        grid: Grid,
        table: np.ndarray | Tensor,
        tails: np.ndarray | Tensor,
        *,
        signal_range: tuple[float, float] | None = None,
        limits: Limits = (None, None),
    ) -> None:
        self.grid = grid
        self.table = torch.as_tensor(table, dtype=torch.float32)  # (signals, offsets)
        self.tails = torch.as_tensor(tails, dtype=torch.float32)  # (2, signals)
        self.signal_range = signal_range or grid.signal_range
        self.limits = limits
        rows = self.table.shape[0] if self.table.ndim else 0
        wanted = (len(grid.signal_nodes()), len(grid.offsets()))
        if tuple(self.table.shape) != wanted or self.tails.shape != (2, rows):
            raise BadSetting(
                f"A table of likelihoods has {tuple(self.table.shape)} values, but its "
                f"grid {wanted}. Make the noise model again."
            )

    @classmethod
    def from_density(
        cls,
        log_density: LogDensity,
        grid: Grid,
        *,
        signal_range: tuple[float, float] | None = None,
        limits: Limits = (None, None),
        cell: float = 1.0,
    ) -> Self:
        """Tabulate log p(x|s) given as a function of two broadcasting arrays (ADU)."""
        nodes = grid.signal_nodes()[:, None]
        mapped = grid.transfer.stabilise(nodes)
        observations = grid.transfer.unstabilise(mapped + grid.offsets())
        table = log_density(observations, nodes)
        tails = [
            log_tail(log_density, nodes[:, 0], limit, direction, cell, grid.transfer)
            for limit, direction in zip(limits, (-1, 1), strict=True)
        ]
        return cls(
            grid, table, np.stack(tails), signal_range=signal_range, limits=limits
        )

    @classmethod
    def from_model(cls, model: NoiseModel, *, step: float = 0.0625) -> Self:
        """Tabulate another noise model over its range of signals and a bit beyond."""
        low, high = model.signal_range
        levels = torch.linspace(low, high, 65, dtype=torch.float64)
        variance = model.moments(levels)[1].double().cpu().numpy()
        slope = max((variance[-1] - variance[0]) / (high - low), 0.0)
        margin = 0.25 * (high - low)
        grid = Grid(
            slope=float(slope),
            floor=float(variance.min()),
            dark_signal=low,
            signal_range=(low - margin, high + margin),
            signal_step=2 * step,
            step=step,
        )

        def log_density(observation: np.ndarray, signal: np.ndarray) -> np.ndarray:
            free = _without_limits(model)
            with torch.no_grad():
                values = free.log_likelihood(
                    torch.from_numpy(observation), torch.from_numpy(signal)
                )
            return values.double().numpy()

        return cls.from_density(
            log_density,
            grid,
            signal_range=model.signal_range,
            limits=model.limits,
            cell=getattr(model, "cell", 1.0),
        )

    def log_likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s) in nats per ADU; see `NoiseModel`."""
        x, s = observation.to(torch.float32), signal.to(torch.float32)
        density = cast("Tensor", _Lookup.apply(x, s, self))  # type: ignore[no-untyped-call]
        return with_atoms(
            observation, density, self.limits, lambda _, side: self._tail(s, side)
        )

    def sample(
        self, signal: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one observation per signal, by inverting the tabulated distribution."""
        flat = signal.reshape(-1).to(torch.float32)
        inside = flat.clamp(*self.grid.signal_range)
        options: dict[str, Any] = {"device": flat.device, "generator": generator}
        # Dithering between the two nearest rows interpolates the distribution.
        position = self.signal_position(inside) + torch.rand(flat.shape, **options)
        n_rows, n_edges = self._edges.shape
        row = position.long().clamp(0, n_rows - 1)
        height = torch.rand(flat.shape, dtype=torch.float64, **options)
        right = inverted(self._heights, n_edges, row, height).clamp_min(1)
        right = row * n_edges + right
        heights, edges = self._heights, self._edges.reshape(-1)
        low, left_edge = heights[right - 1], edges[right - 1]
        share = (row + height - low) / (heights[right] - low).clamp_min(1e-12)
        drawn = torch.lerp(left_edge, edges[right], share.clamp(0, 1))
        moved = drawn.to(signal.dtype) + flat - self._nodes[row]
        return clip_to(moved, self.limits).reshape(signal.shape)

    def moments(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the table's density, clipping left out."""
        edges = self._edges
        mass = self._heights.reshape(edges.shape).diff(dim=1)
        middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
        width = edges.diff(dim=1)
        mean = (mass * middle).sum(1)
        spread = (middle - mean[:, None]) ** 2 + width**2 / 12
        variance = (mass * spread).sum(1)
        excess = mean - self._nodes.double()
        flat = signal.reshape(-1).to(torch.float32)
        position = self.signal_position(flat.clamp(*self.grid.signal_range))
        at = position.clamp(0, len(mean) - 1.001)
        low = at.long()
        part = (at - low).double()

        def between(values: Tensor) -> Tensor:
            mixed = values[low] * (1 - part) + values[low + 1] * part
            return mixed.reshape(signal.shape).to(signal.dtype)

        return signal + between(excess), between(variance)

    def to(self, device: torch.device | str) -> Self:
        """Return the model with its tensors on another device."""
        return type(self)(
            self.grid,
            self.table.to(device),
            self.tails.to(device),
            signal_range=self.signal_range,
            limits=self.limits,
        )

    def state(self) -> dict[str, Any]:
        """Return arrays and numbers that describe the table."""
        grid = {f"grid_{k}": v for k, v in self.grid.__dict__.items()}
        grid["grid_signal_range"] = np.array(self.grid.signal_range)
        grid["grid_reach"] = np.array(self.grid.reach)
        return {
            **grid,
            "table": self.table.cpu().numpy(),
            "tails": self.tails.cpu().numpy(),
            "signal_range": np.array(self.signal_range),
            "limits": pack_limits(self.limits),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuild the model from its `state`."""
        scalars = ("slope", "floor", "dark_signal", "low_light", "signal_step", "step")
        values = {name: float(required(state, f"grid_{name}")) for name in scalars}
        grid = Grid(
            **values,
            signal_range=_pair(required(state, "grid_signal_range")),
            reach=_pair(required(state, "grid_reach")),
        )
        return cls(
            grid,
            np.array(required(state, "table")),
            np.array(required(state, "tails")),
            signal_range=_pair(required(state, "signal_range")),
            limits=unpack_limits(required(state, "limits")),
        )

    def stabilise(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """A(v) and its derivative 1 / sd(v)."""
        grid = self.grid
        above = value - grid.dark_signal
        sd0 = grid.floor**0.5
        if grid.slope <= 0:
            return above / sd0, torch.full_like(value, 1 / sd0)
        sd = (grid.floor + grid.slope * above.clamp_min(0)).sqrt()
        return above.clamp_max(0) / sd0 + (sd - sd0) * (2 / grid.slope), 1 / sd

    def signal_position(self, signal: Tensor) -> Tensor:
        """Fractional row of the table for signals inside the grid's range."""
        mapped, _ = self.stabilise(signal)
        return self._position(signal, mapped)

    def _position(self, signal: Tensor, mapped: Tensor) -> Tensor:
        low = self.grid.signal_range[0]
        first = float(self.grid.transfer.stabilise(np.array(low)))
        if self.grid.slope <= 0:  # PhotonTransfer measures from zero there
            first = (low - self.grid.dark_signal) / self.grid.floor**0.5
        position = mapped - first
        if self.grid.low_light > 0:
            position = position + torch.log1p((signal - low) / self.grid.low_light)
        return position / self.grid.signal_step

    def _tail(self, signal: Tensor, side: int) -> Tensor:
        """Log probability of reaching a limit, interpolated between the rows."""
        values = self.tails[0 if side < 0 else 1]
        position = self.signal_position(signal.clamp(*self.grid.signal_range))
        position = position.clamp(0, len(values) - 1.001)
        row = position.detach().long()
        part = position - row
        return values[row] * (1 - part) + values[row + 1] * part

    @cached_property
    def _nodes(self) -> Tensor:
        """Signal of each row (signals,), ADU."""
        nodes = self.grid.signal_nodes().astype(np.float32)
        return torch.from_numpy(nodes).to(self.table.device)

    @cached_property
    def _edges(self) -> Tensor:
        """Observations between which the density is even (signals, edges), ADU."""
        nodes = self.grid.signal_nodes()[:, None]
        transfer, half = self.grid.transfer, self.grid.step / 2
        middles = transfer.stabilise(nodes) + self.grid.offsets()
        edges = transfer.unstabilise(
            np.concatenate([middles - half, middles[:, -1:] + half], axis=1)
        )
        return torch.from_numpy(edges).to(self.table.device)

    @cached_property
    def _heights(self) -> Tensor:
        """Distribution function at the edges (signals x edges,), see `in_line`."""
        mass = self.table.double().exp() * self._edges.diff(dim=1)
        share = mass.cumsum(1) / mass.sum(1, keepdim=True)
        return in_line(torch.nn.functional.pad(share, (1, 0)).clamp(0, 1))


class _Lookup(torch.autograd.Function):
    """Bilinear interpolation that keeps its own derivative for the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, observation: Tensor, signal: Tensor, model: TabulatedLikelihood
    ) -> Tensor:
        low, high = model.grid.signal_range
        inside = signal.clamp(low, high)
        mapped, slope = model.stabilise(inside)
        # Beyond the range the observation is measured from the end of the range.
        moved, moved_slope = model.stabilise(observation - (signal - inside))
        offset = (moved - mapped - model.grid.reach[0]) / model.grid.step
        position = model._position(inside, mapped)
        n_signals, n_offsets = model.table.shape
        row = position.floor().clamp(0, n_signals - 2)
        column = offset.floor().clamp(0, n_offsets - 2)
        u, v = (position - row).clamp(0, 1), offset - column
        index = (row * n_offsets + column).long()
        flat = model.table.reshape(-1)
        at, right = flat[index], flat[index + 1]
        below, diagonal = flat[index + n_offsets], flat[index + n_offsets + 1]
        upper, lower = torch.lerp(at, right, v), torch.lerp(below, diagonal, v)
        if ctx.needs_input_grad[1]:
            along_column = torch.lerp(right - at, diagonal - below, u) / model.grid.step
            row_slope = slope
            if model.grid.low_light > 0:
                row_slope = slope + 1 / (inside - low + model.grid.low_light)
            along_row = (lower - upper) * row_slope / model.grid.signal_step
            gradient = along_row - along_column * slope
            outside = -along_column * moved_slope
            ctx.save_for_backward(
                torch.where(inside == signal, gradient, outside),
            )
        ctx.signal_shape = signal.shape
        return torch.lerp(upper, lower, u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return None, (grad * gradient).sum_to_size(ctx.signal_shape), None


def log_tail(
    log_density: LogDensity,
    signal: np.ndarray,
    limit: float | None,
    direction: int,
    cell: float,
    transfer: PhotonTransfer,
) -> np.ndarray:
    """Log probability of `limit` or beyond, by Gauss-Legendre quadrature.

    Returns zeros where there is no limit.
    """
    if limit is None:
        return np.zeros(signal.shape)
    edge = limit - 0.5 * cell * direction
    sd = np.sqrt(np.maximum(transfer.variance(signal), transfer.variance(limit)))
    # Two stretches: from the limit past the signal, if that is beyond, and its tail.
    past = np.maximum(direction * (signal - edge), 0) + 3 * sd
    start = np.zeros_like(past)
    parts = []
    for length in (past, 9 * sd):
        half = length[:, None] / 2
        x = edge + direction * (start[:, None] + half * (1 + _TAIL_NODES))
        terms = log_density(x, signal[:, None]) + np.log(half * _TAIL_WEIGHTS)
        parts.append(np.logaddexp.reduce(terms, axis=1))
        start = start + length
    return np.minimum(np.logaddexp(*parts), 0.0)


def _without_limits(model: Any) -> Any:
    """Return the model's density, not its atoms."""
    if model.limits == (None, None):
        return model
    state = model.state()
    state["limits"] = pack_limits((None, None))
    return type(model).from_state(state)


def _pair(values: Any) -> tuple[float, float]:
    low, high = (float(v) for v in np.asarray(values).ravel())
    return low, high
