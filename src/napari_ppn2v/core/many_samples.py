"""The MMSE estimate from hundreds of samples per pixel, by looking likelihoods up.

With 800 samples a megapixel needs 800 million likelihoods, but few different
observations. For each of them the likelihood of all signals that matter is computed
once, exactly, on a fine grid; a sample then costs one look-up and no exponential.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_ppn2v.core.posterior import Estimate, posterior_estimate

if TYPE_CHECKING:
    from torch import Tensor

    from napari_ppn2v.core.noise_models.base import NoiseModel

WORTHWHILE_SAMPLES = 64
N_SIGNALS = 4096  # grid points of a row
REACH = 9.0  # standard deviations around the observation
ROWS_AT_ONCE = 64
N_COARSE = 256  # to find where a row has to be fine
LOWEST_LOG = -30.0  # relative to the most likely signal
SHARE_OF_SIGMA = 0.0625  # distance of the rows for observations that are not whole
MOST_ROWS = 16384  # 256 MB; then they are made anew
SMALLEST_TOTAL = 1e-12  # of the looked-up likelihoods, whose largest is 1


class LikelihoodRows:
    """Posterior estimates for many equally weighted samples.

    Rows, one for each observation seen so far, are added when needed. A row holds
    p(x|s) divided by its maximum, for all signals where that is above e^-30. An
    observation between two rows is shifted onto the nearer one together with its
    samples.

    Parameters
    ----------
    noise_model : whose likelihoods are looked up
    """

    def __init__(self, noise_model: NoiseModel) -> None:
        self.noise_model = noise_model
        self._step: float | None = None
        self._row_of: dict[int, int] = {}
        self._table = torch.empty(0)
        self._start = torch.empty(0)
        self._per_adu = torch.empty(0)

    def posterior(self, samples: Tensor, observation: Tensor) -> Estimate:
        """Return the estimates for samples (P, K) and observations (P,), ADU.

        As `posterior_estimate` with equal weights, to a few thousandths of a noise
        standard deviation.
        """
        row, shift = self._rows_for(observation)
        start = (self._start[row] + shift)[:, None]
        place = (samples - start).mul_(self._per_adu[row][:, None])
        index = place.clamp_(0, N_SIGNALS - 1).long().add_((row * N_SIGNALS)[:, None])
        weights = self._table.view(-1).take(index)
        total = weights.sum(dim=1)
        mean = samples.mean(dim=1)
        deviations = samples - mean[:, None]
        weights = weights.div_(total.clamp_min(SMALLEST_TOTAL)[:, None])
        weighted = weights.mul_(deviations)
        mmse_shift = weighted.sum(dim=1)
        second = weighted.mul_(deviations).sum(dim=1)
        spread = (second - mmse_shift.square()).clamp_min_(0).sqrt()
        estimate = Estimate(mean, mean + mmse_shift, spread)
        lost = total < SMALLEST_TOTAL
        # a clipped observation is as likely for all signals far beyond the limit
        low, high = self.noise_model.limits
        if low is not None:
            lost |= observation <= low
        if high is not None:
            lost |= observation >= high
        return self._with_outliers(estimate, lost, samples, observation)

    def _with_outliers(
        self, estimate: Estimate, is_lost: Tensor, samples: Tensor, observation: Tensor
    ) -> Estimate:
        """Recompute in the log domain where a row does not hold all that matters."""
        lost = is_lost.nonzero().flatten()
        if not len(lost):
            return estimate
        equal = samples.new_zeros(1, samples.shape[1])
        exact = posterior_estimate(
            samples[lost], equal, observation[lost], self.noise_model
        )
        estimate.mmse[lost] = exact.mmse
        estimate.posterior_std[lost] = exact.posterior_std
        return estimate

    def _rows_for(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Row of each observation, and how far it lies beside that row's, ADU."""
        if self._step is None:
            self._step = self._distance(observation)
        key = (observation / self._step).round().long()
        keys, inverse = torch.unique(key, return_inverse=True)
        missing = [k for k in keys.tolist() if k not in self._row_of]
        for first in range(0, len(missing), ROWS_AT_ONCE):
            self._add(missing[first : first + ROWS_AT_ONCE], observation)
        rows = torch.tensor([self._row_of[k] for k in keys.tolist()])
        shift = observation - key * self._step
        return rows.to(observation.device)[inverse], shift

    def _distance(self, observation: Tensor) -> float:
        """Distance of the rows: one grey value for whole numbers, else finer."""
        if torch.equal(observation, observation.round()):
            return 1.0
        darkest = observation.new_tensor(self.noise_model.signal_range[0])
        return SHARE_OF_SIGMA * float(self._sigma(darkest))

    def _add(self, keys: list[int], like: Tensor) -> None:
        assert self._step is not None
        if len(self._row_of) + len(keys) > MOST_ROWS:
            self._row_of.clear()
            self._table = self._start = self._per_adu = like.new_empty(0)
        x = like.new_tensor(keys) * self._step
        low, high = self._window(x)
        rows = self._row(x, low, high, N_SIGNALS).exp()
        rows[:, 0] = rows[:, -1] = 0  # what lies beyond is left to the exact way
        per_adu = (N_SIGNALS - 1) / (high - low)
        # the nearest grid point: half a cell is added before truncation
        start = low - 0.5 / per_adu
        for key in keys:
            self._row_of[key] = len(self._row_of)
        parts = ((self._table, rows), (self._start, start), (self._per_adu, per_adu))
        self._table, self._start, self._per_adu = (
            torch.cat([old.to(like.device).reshape(-1, *new.shape[1:]), new])
            for old, new in parts
        )

    def _row(self, x: Tensor, low: Tensor, high: Tensor, n_signals: int) -> Tensor:
        """Log-likelihoods between two signals, their maximum at 0: (R, n_signals)."""
        grid = torch.linspace(0, 1, n_signals, device=x.device)
        signal = low[:, None] + (high - low)[:, None] * grid
        rows = self.noise_model.log_likelihood(x[:, None], signal)
        return rows - rows.amax(dim=1, keepdim=True)

    def _window(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signals between which an observation is not utterly unlikely."""
        low, high = x - REACH * self._sigma(x), x
        # noise grows with the signal: the signal of which x lies 9 of *its* standard
        # deviations below is further away than it looks from x
        for _ in range(8):
            high = x + REACH * self._sigma(high)
        matters = self._row(x, low, high, N_COARSE) > LOWEST_LOG
        cell = (high - low) / (N_COARSE - 1)
        first = matters.int().argmax(dim=1) - 1
        last = N_COARSE - matters.flip(1).int().argmax(dim=1)
        return low + first.clamp_min(0) * cell, low + last.clamp_max(
            N_COARSE - 1
        ) * cell

    def _sigma(self, signal: Tensor) -> Tensor:
        return self.noise_model.moments(signal)[1].clamp_min(1e-12).sqrt()
