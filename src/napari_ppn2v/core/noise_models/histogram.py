"""Histogram noise model (Krull et al. 2020; Prakash et al. 2020, §2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import torch

from napari_ppn2v.core.noise_models.shared import (
    Limits,
    check_numbers,
    check_pairs,
    check_range,
    clip_to,
    held_out_nll,
    in_line,
    inverted,
    pack_limits,
    required,
    unpack_limits,
    with_atoms,
)
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Event, FitProgress
from napari_ppn2v.settings import check_settings, setting

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from napari_ppn2v.core.pair_histogram import PairHistogram

_EMPTY_DENSITY = 1e-30  # 1/ADU; far below any density that matters, finite as log
_GROUPED_CELLS = (1, 2, 4)  # candidate widths of a bin, in cells of the pairs
_PSEUDO_COUNTS = (3.0, 30.0, 300.0)  # candidate weights of the expectation, in pairs
_OUTLIER_SHARE = 1e-3  # of the expectation that is broad, for outliers
_REACH = 4.0  # noise sd by which the bins reach beyond the signals


class HistogramModel:
    """p(x|s) from the counts of observations in rows of similar signal.

    Densities are interpolated between the centres of bins, linearly in signal and
    observation. Beyond the first and last row the shape moves along with the signal;
    beyond the first and last column the density falls off exponentially within the
    row's standard deviation.

    Parameters
    ----------
    mass
        (rows, columns): probability of each bin of observations, each row of sum 1.
    signal_edges, observation_edges
        Edges of rows and columns, ADU, ascending.
    atoms
        (2, rows): probability of the lower and upper limit; counted in the row sums
        apart from `mass`. None where there are no limits.
    interpolation
        "centre", or "lower-edge" to do as the published PN2V program does: rows are
        interpolated from their lower edges, so that E[x|s] is half a bin too high, and
        the density is constant within a column.
    """

    kind: ClassVar[str] = "histogram"

    def __init__(
        self,
        mass: np.ndarray | Tensor,
        signal_edges: np.ndarray | Tensor,
        observation_edges: np.ndarray | Tensor,
        *,
        limits: Limits = (None, None),
        atoms: np.ndarray | Tensor | None = None,
        cell: float = 1.0,
        interpolation: str = "centre",
    ) -> None:
        if interpolation not in ("centre", "lower-edge"):
            raise BadSetting(
                f"The interpolation is {interpolation!r}. Choose 'centre' or "
                "'lower-edge'."
            )
        self.mass = torch.as_tensor(mass, dtype=torch.float64)
        self.signal_edges = torch.as_tensor(signal_edges, dtype=torch.float64)
        self.observation_edges = torch.as_tensor(observation_edges, dtype=torch.float64)
        if self.mass.shape != (
            len(self.signal_edges) - 1,
            len(self.observation_edges) - 1,
        ):
            raise BadSetting(
                f"A histogram of {tuple(self.mass.shape)} bins needs one edge more "
                f"along each axis, but has {len(self.signal_edges)} and "
                f"{len(self.observation_edges)}."
            )
        self.limits, self.cell, self.interpolation = limits, float(cell), interpolation
        rows = self.mass.shape[0]
        self.atoms = (
            torch.zeros(2, rows, dtype=torch.float64)
            if atoms is None
            else torch.as_tensor(atoms, dtype=torch.float64)
        )
        edges = self.signal_edges
        self.signal_range = (float(edges[0]), float(edges[-1]))
        self._check()
        self._prepare()

    def _check(self) -> None:
        """Refuse what is no histogram; raises BadSetting."""
        check_numbers("histogram", step_of_the_grey_values=self.cell)
        rows, columns = self.mass.shape
        parts = (self.mass, self.atoms, self.signal_edges, self.observation_edges)
        is_counted = all(bool(part.isfinite().all()) for part in parts) and all(
            bool((part >= 0).all()) for part in parts[:2]
        )
        edges = self.signal_edges.float(), self.observation_edges.float()
        is_ascending = all(bool((part.diff() > 0).all()) for part in edges)
        is_whole = min(rows, columns) > 1 and self.atoms.shape == (2, rows)
        if not (is_whole and is_counted and is_ascending):
            raise BadSetting(
                f"A histogram of {rows} x {columns} bins needs at least 2 x 2, shares "
                "of at least 0 that are finite, and edges that ascend. Make the noise "
                "model again."
            )
        for part in parts[2:]:
            check_range("histogram", (float(part[0]), float(part[-1])))

    def _prepare(self) -> None:
        """Derive what the lookups need, in float32."""
        rows, columns = self.signal_edges, self.observation_edges
        widths = columns.diff()
        at_centre = self.interpolation == "centre"
        density = self.mass / widths
        if at_centre:
            density = (
                density * (self.mass.sum(1) / _integral(density, columns))[:, None]
            )
        density = density.nan_to_num(0.0).clamp_min(_EMPTY_DENSITY)
        shift = 0.5 if at_centre else 0.0
        self._rows = (rows[:-1] + shift * rows.diff()).float()
        self._columns = (columns[:-1] + shift * widths).float()  # lookups start here
        self._density = density.float()
        middle = columns[:-1] + 0.5 * widths
        total = self.mass.sum(1).clamp_min(1e-300)
        mean = (self.mass * middle).sum(1) / total
        spread = (self.mass * ((middle - mean[:, None]) ** 2 + widths**2 / 12)).sum(1)
        variance = (spread / total).clamp_min(float(widths.min()) ** 2 / 12)
        is_empty = self.mass.sum(1) + self.atoms.sum(0) < 0.5
        centres = self._rows.double()
        self._excess = torch.where(is_empty, torch.zeros_like(mean), mean - centres)
        self._variance = variance

    def log_likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s) in nats per ADU; see `NoiseModel`."""
        row, part, inside = self._row_of(signal)
        moved = observation - (signal - inside)
        density = self._between(row, part, moved).log() - self._falloff(row, moved)

        def log_reaching(limit: float, direction: int) -> Tensor:
            atoms = self.atoms[0 if direction < 0 else 1].float().clamp_min(1e-30)
            atoms = atoms.to(signal.device)
            return (atoms[row] * (1 - part) + atoms[row + 1] * part).log()

        return with_atoms(observation, density, self.limits, log_reaching)

    def _row_of(self, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Row below each signal, the part of the way to the next, clamped signal."""
        rows = self._rows.to(signal.device)
        first, last = float(rows[0]), float(rows[-1])
        inside = signal.clamp(first, last)
        found = torch.bucketize(inside.detach(), rows, right=True) - 1
        row = found.clamp(0, len(rows) - 2)
        part = (inside - rows[row]) / (rows[row + 1] - rows[row])
        return row, part, inside

    def _between(self, row: Tensor, part: Tensor, observation: Tensor) -> Tensor:
        """Bilinear interpolation of the density."""
        columns = self._columns.to(observation.device)
        density = self._density.to(observation.device)
        n_columns = len(columns)
        held = observation.clamp(float(columns[0]), float(columns[-1]))
        found = torch.bucketize(held.detach().contiguous(), columns, right=True) - 1
        flat = density.reshape(-1)
        if self.interpolation == "lower-edge":  # constant within each column
            index = row * n_columns + found.clamp(0, n_columns - 1)
            return flat[index] * (1 - part) + flat[index + n_columns] * part
        column = found.clamp(0, n_columns - 2)
        step = columns[column + 1] - columns[column]
        across = (held - columns[column]) / step
        index = row * n_columns + column
        upper = flat[index] * (1 - across) + flat[index + 1] * across
        index = index + n_columns
        lower = flat[index] * (1 - across) + flat[index + 1] * across
        return upper * (1 - part) + lower * part

    def _falloff(self, row: Tensor, observation: Tensor) -> Tensor:
        """Distance beyond the outer columns, in standard deviations of the row."""
        edges = self.observation_edges
        beyond = observation - observation.clamp(float(edges[0]), float(edges[-1]))
        sd = self._variance.sqrt().to(observation)
        return beyond.abs() / sd[row]

    def sample(
        self, signal: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one observation per signal from the two nearest rows."""
        options: dict[str, Any] = {"device": signal.device, "generator": generator}
        flat = signal.reshape(-1)
        row, part, inside = self._row_of(flat)
        row = row + (torch.rand(flat.shape, **options) < part).long()
        height = torch.rand(flat.shape, dtype=torch.float64, **options)
        n_bins = self.mass.shape[1] + 2  # with the atoms at both ends
        bin_ = inverted(self._heights.to(signal.device), n_bins, row, height)
        edges = self.observation_edges.to(signal.device)
        column = (bin_ - 1).clamp(0, len(edges) - 2)
        place = torch.rand(flat.shape, dtype=torch.float64, **options)
        drawn = edges[column] + place * edges.diff()[column]
        drawn = (drawn + (flat - inside)).to(signal.dtype)
        low, high = self.limits
        if low is not None:
            drawn = torch.where(bin_ == 0, torch.full_like(drawn, low), drawn)
        if high is not None:
            top = bin_ == n_bins - 1
            drawn = torch.where(top, torch.full_like(drawn, high), drawn)
        return clip_to(drawn, self.limits).reshape(signal.shape)

    @cached_property
    def _heights(self) -> Tensor:
        """Distribution function of lower atom, columns and upper atom of all rows."""
        parts = [self.atoms[:1].T, self.mass, self.atoms[1:].T]
        cumulative = torch.cat(parts, 1).cumsum(1)
        return in_line(cumulative / cumulative[:, -1:].clamp_min(1e-300))

    def moments(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the rows' densities, atoms left out."""
        row, part, inside = self._row_of(signal)
        excess = self._excess.to(signal)
        rows = self._rows.to(signal)
        means = rows[row] + excess[row], rows[row + 1] + excess[row + 1]
        mean = means[0] * (1 - part) + means[1] * part
        variance = self._variance.to(signal)
        mixed = variance[row] * (1 - part) + variance[row + 1] * part
        mixed = mixed + part * (1 - part) * (means[1] - means[0]) ** 2
        return mean + (signal - inside), mixed

    def to(self, device: torch.device | str) -> Self:
        """Return the model with its tables on another device."""
        moved = type(self).from_state(self.state())
        for name in ("_density", "_rows", "_columns"):
            setattr(moved, name, getattr(moved, name).to(device))
        return moved

    def state(self) -> dict[str, Any]:
        """Return arrays, numbers and strings that describe the model."""
        return {
            "mass": self.mass.cpu().numpy(),
            "signal_edges": self.signal_edges.cpu().numpy(),
            "observation_edges": self.observation_edges.cpu().numpy(),
            "atoms": self.atoms.cpu().numpy(),
            "limits": pack_limits(self.limits),
            "cell": self.cell,
            "interpolation": self.interpolation,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuild the model from its `state`."""
        return cls(
            np.array(required(state, "mass")),
            np.array(required(state, "signal_edges")),
            np.array(required(state, "observation_edges")),
            limits=unpack_limits(required(state, "limits")),
            atoms=np.array(required(state, "atoms")),
            cell=float(required(state, "cell")),
            interpolation=str(required(state, "interpolation")),
        )


def _integral(density: Tensor, edges: Tensor) -> Tensor:
    """Integral of each row, interpolated between bin centres and flat at the ends."""
    centres = 0.5 * (edges[:-1] + edges[1:])
    inner = torch.trapezoid(density, centres, dim=1)
    first, last = centres[0] - edges[0], edges[-1] - centres[-1]
    return inner + density[:, 0] * first + density[:, -1] * last


@dataclass(frozen=True)
class HistogramSettings:
    """Bins of the histogram."""

    n_bins: int | None = setting(
        None,
        label="Bins",
        help="Rows and columns of equal width, as published; by default bins that "
        "follow the noise, as fine as the held-out pairs allow.",
        minimum=2,
        maximum=4096,
    )
    data_range: tuple[float, float] | None = setting(
        None,
        label="Range",
        help="Lowest and highest grey value of the data to be denoised.",
        unit="ADU",
    )
    is_plain: bool = setting(
        False,
        label="Plain histogram",
        help="Leave empty bins empty, as published, instead of filling them.",
    )

    def __post_init__(self) -> None:
        check_settings(self)


def fit_histogram(
    pairs: PairHistogram, settings: HistogramSettings | None = None
) -> Generator[Event, None, HistogramModel]:
    """Count pairs, and fill what is empty with what neighbours and noise suggest.

    Each row is the posterior mean of a Dirichlet prior: its expectation is the
    neighbouring rows' histogram, and theirs the photon-transfer Gaussian. Width of the
    bins and weight of the expectation are those of the highest held-out likelihood.

    Raises
    ------
    FitFailed  If there are too few pairs.
    """
    settings = settings or HistogramSettings()
    check_pairs(pairs, "histogram")
    fixed = settings.n_bins is not None or settings.is_plain
    groups: tuple[int | None, ...] = (None,) if fixed else _GROUPED_CELLS
    weights = (0.0,) if settings.is_plain else _PSEUDO_COUNTS
    best: HistogramModel | None = None
    best_nll, fitted_nll, tried = np.inf, np.inf, 0
    for group in groups:
        counts = _Counts(pairs, settings, group)
        for weight in weights:
            model, tried = counts.model(weight), tried + 1
            nll = held_out_nll(model, pairs.held_out)
            if best is None or nll < best_nll:
                best, best_nll = model, nll
                fitted_nll = held_out_nll(model, pairs.training)
            yield FitProgress("histogram", tried, fitted_nll, best)
    assert best is not None
    return best


class _Counts:
    """Counts of the training pairs in one choice of bins."""

    def __init__(
        self, pairs: PairHistogram, settings: HistogramSettings, group: int | None
    ) -> None:
        self._pairs = pairs
        self.signal_edges, self.observation_edges = _edges(pairs, settings, group)
        rows = _overlaps(pairs.row_edges, self.signal_edges)
        columns = _overlaps(pairs.column_edges, self.observation_edges)
        cells = pairs.training
        row = _place(pairs.row_edges, cells.signal)
        column = _place(pairs.column_edges, cells.observation)
        at_limit = [
            np.zeros(len(cells), bool) if limit is None else cells.observation == limit
            for limit in pairs.limits
        ]
        n_rows = len(rows)
        self.atoms = np.stack(
            [np.bincount(row[at], cells.weight[at], n_rows) @ rows for at in at_limit]
        )
        free = ~(at_limit[0] | at_limit[1])
        fine = np.zeros((n_rows, len(columns)))
        np.add.at(fine, (row[free], column[free]), cells.weight[free])
        self.counts = rows.T @ fine @ columns

    def model(self, weight: float) -> HistogramModel:
        """Normalise, with an expectation that weighs as much as `weight` pairs."""
        counts = np.concatenate([self.atoms[:1].T, self.counts, self.atoms[1:].T], 1)
        if weight > 0:
            expected = self._expectation()
            near = _smoothed(counts)
            near = (near + expected) / (near.sum(1, keepdims=True) + 1)
            counts = counts + weight * near
        total = counts.sum(1, keepdims=True)
        share = counts / np.maximum(total, 1e-300)
        return HistogramModel(
            share[:, 1:-1],
            self.signal_edges,
            self.observation_edges,
            limits=self._pairs.limits,
            atoms=np.stack([share[:, 0], share[:, -1]]),
            cell=self._pairs.cell,
        )

    def _expectation(self) -> np.ndarray:
        """Photon-transfer Gaussian of each row, with a broad part for outliers."""
        from scipy.special import ndtr

        centres = 0.5 * (self.signal_edges[1:] + self.signal_edges[:-1])
        sd = np.sqrt(self._pairs.transfer.variance(centres))[:, None]
        z = (self.observation_edges - centres[:, None]) / sd
        mass = np.zeros((len(centres), z.shape[1] - 1))
        for share, wider in ((1 - _OUTLIER_SHARE, 1.0), (_OUTLIER_SHARE, 8.0)):
            mass += share * np.diff(ndtr(z / wider), axis=1)
        widths = np.diff(self.observation_edges)
        mass += 1e-9 * widths / widths.sum()
        low, high = self._pairs.limits
        lower = ndtr(z[:, :1]) if low is not None else np.zeros_like(sd)
        upper = ndtr(-z[:, -1:]) if high is not None else np.zeros_like(sd)
        return np.concatenate([lower, mass, upper], axis=1)


def _edges(
    pairs: PairHistogram, settings: HistogramSettings, group: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Edges of rows and columns (ADU)."""
    if group is None:
        # The publication's bins: B x B of equal width over the data's range.
        low, high = settings.data_range or pairs.observation_range
        edges = np.linspace(low, high, (settings.n_bins or 256) + 1)
        return edges, edges
    rows, columns = (
        np.append(edges[:-1][::group], edges[-1])
        for edges in (pairs.row_edges, pairs.column_edges)
    )
    return _without_slivers(rows), _without_slivers(_within_limits(columns, pairs))


def _within_limits(edges: np.ndarray, pairs: PairHistogram) -> np.ndarray:
    """Cut columns off at the inner side of the grey values that are atoms."""
    low, high = pairs.limits
    half = 0.5 * pairs.cell
    if low is not None:
        edges = np.append(low + half, edges[edges > low + half])
    if high is not None:
        edges = np.append(edges[edges < high - half], high - half)
    return edges


def _without_slivers(edges: np.ndarray) -> np.ndarray:
    """Join bins that are much narrower than the others, or vanish in float32."""
    resolution = 4 * np.finfo(np.float32).eps * np.abs(edges).max()
    least = max(0.01 * float(np.median(np.diff(edges))), float(resolution))
    kept = [edges[0]]
    for edge in edges[1:-1]:
        if edge - kept[-1] >= least and edges[-1] - edge >= least:
            kept.append(edge)
    return np.array([*kept, edges[-1]])


def _place(edges: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Bin of each value; beyond the ends, the first or last bin."""
    place = np.searchsorted(edges, values, side="right") - 1
    return np.clip(place, 0, len(edges) - 2)


def _overlaps(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Share of each source bin that falls into each target bin (sources, targets)."""
    upper = np.minimum(source[1:, None], target[1:])
    lower = np.maximum(source[:-1, None], target[:-1])
    return np.maximum(upper - lower, 0) / np.diff(source)[:, None]


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """Add up neighbouring rows with falling weights."""
    padded = np.pad(counts, ((2, 2), (0, 0)))
    weights = (0.25, 0.75, 1.0, 0.75, 0.25)
    rows = len(counts)
    return sum(
        (w * padded[i : i + rows] for i, w in enumerate(weights)),
        np.zeros_like(counts),
    )
