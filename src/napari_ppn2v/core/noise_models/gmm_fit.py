"""Maximum-likelihood fit of the Gaussian mixture (Prakash et al. 2020, Eq. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.noise_models.gmm import GaussianMixtureModel
from napari_ppn2v.core.noise_models.shared import check_pairs
from napari_ppn2v.core.pair_histogram import PairCells
from napari_ppn2v.errors import FitFailed
from napari_ppn2v.events import Event, FitProgress
from napari_ppn2v.settings import check_settings, setting

if TYPE_CHECKING:
    from collections.abc import Generator

    from torch import Tensor

    from napari_ppn2v.core.pairs import PairHistogram

_EXPLORING, _PER_STEP, _MOST_STEPS = 3, 10, 60  # steps of 10 L-BFGS iterations
_IMPROVEMENT = 2e-6  # nats per pixel and step below which the fit has converged
_RIDGE = 1e-9  # keeps the weights of unused components from running away
_END_SHARE = 0.5  # of the pairs of an outer row


@dataclass(frozen=True)
class GaussianMixtureSettings:
    """How many Gaussians, and how they may vary with the signal."""

    n_components: int = setting(
        3,
        label="Gaussians",
        help="Number of Gaussians in the mixture.",
        minimum=1,
        maximum=20,
    )
    n_coefficients: int = setting(
        2,
        label="Coefficients",
        help="Coefficients of each polynomial of the signal; 2 is a straight line.",
        minimum=1,
        maximum=8,
    )
    variance_floor: float | None = setting(
        None,
        label="Variance floor",
        help="Smallest variance of a Gaussian; by default a small part of the data's.",
        unit="ADU²",
        minimum=0,
    )
    likelihood_floor: float = setting(
        0.0,
        label="Likelihood floor",
        help="Density added to p(x|s), so that outliers fall back to the prior mean.",
        unit="1/ADU",
        minimum=0,
    )

    def __post_init__(self) -> None:
        check_settings(self)


def fit_gmm(
    pairs: PairHistogram, settings: GaussianMixtureSettings | None = None
) -> Generator[Event, None, GaussianMixtureModel]:
    """Fit a mixture to weighted pairs by L-BFGS in float64; deterministic.

    A photon-transfer line gives the variances to start from; a symmetric and a skewed
    start are tried for a few iterations and the better one is followed.

    Yields
    ------
    FitProgress  With the best mixture so far, every ten iterations of either start.

    Raises
    ------
    FitFailed  If there are too few pairs or the likelihood is never finite.
    """
    settings = settings or GaussianMixtureSettings()
    check_pairs(pairs, "mixture of Gaussians")
    problem = _Problem(pairs, settings)
    runs = [_Run(problem, start) for start in problem.starts()]
    best, iteration = runs[0], 0
    for run in runs:
        for _ in range(_EXPLORING if len(runs) > 1 else 0):
            run.advance()
            best, iteration = min(best, run, key=lambda r: r.nll), iteration + _PER_STEP
            yield _progress(problem, best, iteration)
    for _ in range(_MOST_STEPS):
        before = best.nll
        best.advance()
        iteration += _PER_STEP
        yield _progress(problem, best, iteration)
        if before - best.nll < _IMPROVEMENT:
            break
    if not np.isfinite(best.nll):
        raise FitFailed(
            "The mixture of Gaussians could not be fitted: its likelihood is not "
            "finite. Try fewer Gaussians, or another kind of noise model."
        )
    return problem.model(best.values, torch.float32)


def _progress(problem: _Problem, run: _Run, iteration: int) -> FitProgress:
    model = problem.model(run.values, torch.float32)
    return FitProgress("gmm", iteration, run.nll, model)


def _with_ends(pairs: PairHistogram) -> PairCells:
    """Training pairs, with half of those of the outer rows at the ends of the range.

    All pairs of a row count at their mean signal, so that nothing is known between the
    outermost mean and the end of the range. A mixture may do anything there: in the
    darkest pixels of a recording of 3 electrons one had a fortieth of the variance.
    """
    cells, edges = pairs.training, pairs.row_edges
    row = np.searchsorted(edges, cells.signal, side="right")
    weights = cells.weight.copy()
    parts = [(cells.signal, cells.observation, weights)]
    for end, outer in zip(pairs.signal_range, (row.min(), row.max()), strict=True):
        own = row == outer
        signal, x = cells.signal[own], cells.observation[own]
        is_clipped = np.isin(x, [v for v in pairs.limits if v is not None])
        moved = np.where(is_clipped, x, x + end - signal)
        share = _END_SHARE * weights[own]
        weights[own] -= share
        parts.append((np.full_like(signal, end), moved, share))
    return PairCells(*(np.concatenate(each) for each in zip(*parts, strict=True)))


class _Problem:
    """The pairs, and parameters scaled so that steps of 1 are reasonable for all."""

    def __init__(self, pairs: PairHistogram, settings: GaussianMixtureSettings) -> None:
        self.pairs, self.settings = pairs, settings
        low, high = pairs.signal_range
        self.low_variance = float(pairs.transfer.variance(np.array(low)))
        high_variance = float(pairs.transfer.variance(np.array(high)))
        self.growth = max(high_variance - self.low_variance, 1e-3 * self.low_variance)
        self.sd = (0.5 * (self.low_variance + high_variance)) ** 0.5
        cells = _with_ends(pairs)
        self.signal = torch.from_numpy(cells.signal)
        self.observation = torch.from_numpy(cells.observation)
        self.weight = torch.from_numpy(cells.weight / cells.weight.sum())
        k = settings.n_components
        self.scale = torch.ones(3 * k, 1, dtype=torch.float64)
        self.scale[:k] = self.sd
        # variances relative to the data's, so that the fit is the same in any unit
        self.log_variance = 2 * math.log(self.sd)
        # a Gaussian wider than all observations is not told by them, and runs away
        spread = float(np.ptp(cells.observation))
        self.highest_log_variance = 2 * math.log(max(spread, self.sd))
        # Half a grey value: a narrower Gaussian would slip between the grey values.
        own = max(0.25 * pairs.cell**2, 1e-3 * self.low_variance)
        floor = settings.variance_floor
        self.variance_floor = own if floor is None else floor

    def starts(self) -> list[Tensor]:
        """Scaled start values, each (3·n_components, n_coefficients)."""
        k = self.settings.n_components
        if k == 1:
            return [self._start(np.zeros(1), np.ones(1), np.zeros(1))]
        even = np.linspace(-1, 1, k)
        symmetric = self._start(0.1 * even, 2.0**even, np.zeros(k))
        skewed = self._start(
            0.9 * even + 0.3 * even**2, 4.0 ** (even - 0.4), -1.0 * even
        )
        return [symmetric, skewed]

    def _start(
        self, offsets: np.ndarray, variance: np.ndarray, logits: np.ndarray
    ) -> Tensor:
        k, n = self.settings.n_components, self.settings.n_coefficients
        values = torch.zeros(3 * k, n, dtype=torch.float64)
        lowest = self.low_variance**0.5 / self.sd
        values[:k, 0] = torch.from_numpy(offsets * lowest)
        if n > 1:
            values[:k, 1] = torch.from_numpy(offsets * (1 - lowest))
        powers = [self.low_variance, self.growth] + [1e-2 * self.growth] * n
        grown = np.log(np.outer(variance, powers[:n])) - self.log_variance
        values[k : 2 * k] = torch.from_numpy(grown)
        values[2 * k :, 0] = torch.from_numpy(logits)
        return values

    def model(self, values: Tensor, dtype: torch.dtype) -> GaussianMixtureModel:
        """Return the mixture with these (scaled) values."""
        offsets, log_variance, logits = (values * self.scale).chunk(3)
        log_variance = log_variance + self.log_variance
        log_variance = log_variance.clamp_max(self.highest_log_variance)
        return GaussianMixtureModel(
            torch.cat([offsets, log_variance, logits]).to(dtype),
            min_signal=self.pairs.signal_range[0],
            max_signal=self.pairs.signal_range[1],
            variance_floor=self.variance_floor,
            likelihood_floor=self.settings.likelihood_floor,
            limits=self.pairs.limits,
            cell=self.pairs.cell,
        )

    def nll(self, values: Tensor) -> Tensor:
        """Mean negative log-likelihood of the training pairs."""
        model = self.model(values, torch.float64)
        return -(model.log_likelihood(self.observation, self.signal) @ self.weight)


class _Run:
    """One start followed by L-BFGS, keeping the best values seen."""

    def __init__(self, problem: _Problem, start: Tensor) -> None:
        self._problem = problem
        self._values = start.clone().requires_grad_(True)
        self.values, self.nll = start, float("inf")
        self._optimizer = torch.optim.LBFGS(
            [self._values],
            max_iter=_PER_STEP,
            history_size=30,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

    def advance(self) -> None:
        """Run a few iterations, unless the last ones left the finite numbers."""
        if not torch.isfinite(self._values).all():
            return
        self._optimizer.step(self._loss)  # type: ignore[no-untyped-call]

    def _loss(self) -> Tensor:
        self._optimizer.zero_grad()
        nll = self._problem.nll(self._values)
        value = float(nll.detach())
        if value < self.nll:
            self.nll = value
            self.values = self._values.detach().clone()
        loss = nll + _RIDGE * (self._values**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss
