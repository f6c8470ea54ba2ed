"""Maximum-likelihood fit of the camera models: gain, offset and read noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.noise_models.shared import check_pairs
from napari_ppn2v.core.noise_models.tabulated import log_tail
from napari_ppn2v.core.pair_histogram import PairCells
from napari_ppn2v.errors import BadSetting, FitFailed
from napari_ppn2v.events import Event, FitProgress
from napari_ppn2v.settings import check_settings, setting

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from napari_ppn2v.core.noise_models.camera_models import _CountingCamera
    from napari_ppn2v.core.pairs import PairHistogram
    from napari_ppn2v.core.photon_statistics import Floats

_SMALLEST_READ_NOISE = 0.2  # cells; less cannot be told from rounding
_NO_CAMERA = 1e300  # nats; the search subtracts values, and infinities would give NaN
_MOST_CELLS = 6000  # for the fit, to bound its time
_FEW_CELLS = 800  # to come near it
_STEPS_AT_ONCE, _MOST_EVALUATIONS = 20, 160  # of Nelder-Mead
_ITERATIONS_AT_ONCE, _MOST_ROUNDS = 2, 8  # of BFGS
_DIFFERENCE = 1e-4  # of scaled parameters, for gradients
_FLAT = 5e-4  # gradient left; about 1e-7 nats per pixel from the maximum


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
    Nelder-Mead on a part of the pairs comes near the maximum wherever it starts from.
    BFGS goes on to it with all of them: near the maximum it needs a fifth of the
    evaluations, once each parameter is scaled by how much it is told by the pairs.

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
    for way in (search.come_near, search.go_on):
        for _ in way():
            yield FitProgress(model_type.kind, search.evaluations, search.nll)
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
    """Search over (log gain, offset, log read noise), of which some may be known.

    Attributes
    ----------
    best, nll : the three numbers of highest likelihood so far, nats per pixel
    evaluations : of the likelihood so far, of few cells or many
    """

    def __init__(
        self,
        model_type: type[_CountingCamera],
        pairs: PairHistogram,
        settings: CameraFitSettings,
    ) -> None:
        self._type, self._pairs = model_type, pairs
        self._cells = _thinned(pairs, _MOST_CELLS)
        gain = pairs.transfer.slope / model_type.excess_noise_factor
        read_noise = settings.read_noise or max(0.5 * pairs.transfer.floor**0.5, 1e-6)
        offset = settings.offset
        if offset is None:
            line = pairs.transfer
            offset = (read_noise**2 - line.intercept) / line.slope
            offset = min(offset, pairs.signal_range[0] + 0.5 * gain)
        known = [False, settings.offset is not None, settings.read_noise is not None]
        self._free = ~np.array(known)
        self._scale = np.array([0.05, 0.3 * gain + 0.02 * read_noise, 0.2])[self._free]
        self.best = np.array([np.log(gain), offset, np.log(read_noise)])
        self.nll, self.evaluations = np.inf, 0

    def come_near(self) -> Iterator[None]:
        """Nelder-Mead on few cells; pauses every few steps.

        It goes on from where its simplex is, and does not compute again what it knows.
        """
        from scipy.optimize import minimize

        few, origin = _thinned(self._pairs, _FEW_CELLS), self.best.copy()
        n = len(self._scale)
        simplex = np.concatenate([np.zeros((1, n)), np.eye(n)])
        known: dict[bytes, float] = {}

        def nll(step: Floats) -> float:
            key = step.tobytes()
            if key not in known:
                known[key] = self._nll(self._moved(origin, self._scale * step), few)
            return known[key]

        while True:
            answer = minimize(
                nll,
                simplex[0],
                method="Nelder-Mead",
                options={
                    "initial_simplex": simplex,
                    "xatol": 0.05,
                    "fatol": 2e-5,
                    "maxiter": _STEPS_AT_ONCE,
                },
            )
            simplex = answer.final_simplex[0]
            self._judge(self._moved(origin, self._scale * answer.x))
            yield
            if answer.success or len(known) >= _MOST_EVALUATIONS:
                return

    def go_on(self) -> Iterator[None]:
        """BFGS on all cells from the best point, in units in which it is round."""
        from scipy.optimize import minimize

        if not np.isfinite(self.nll):
            return
        origin, units = self.best.copy(), self._units()
        place, inverse = np.zeros(len(self._scale)), np.eye(len(self._scale))
        for _ in range(_MOST_ROUNDS):
            with np.errstate(all="ignore"):  # where there is no camera
                answer = minimize(
                    lambda step: self._judge(self._moved(origin, units @ step)),
                    place,
                    method="BFGS",
                    options={
                        "eps": _DIFFERENCE,
                        "gtol": _FLAT,
                        "maxiter": _ITERATIONS_AT_ONCE,
                        "hess_inv0": inverse,
                    },
                )
            yield
            if answer.status != 1 or not np.isfinite(answer.hess_inv).all():
                return  # there, or no nearer to be had
            place = answer.x
            inverse = 0.5 * (answer.hess_inv + answer.hess_inv.T)

    def _units(self) -> Floats:
        """Return steps (columns) that are independent, and equally well told.

        By the covariance of the scores of the pairs, which near the maximum of a good
        model is the curvature of the likelihood.
        """
        scores, base = [], self._log_likelihood(self.best, self._cells)
        for step in 0.02 * np.diag(self._scale):
            moved = self._moved(self.best, step)
            scores.append((self._log_likelihood(moved, self._cells) - base) / 0.02)
        self.evaluations += 1 + len(scores)
        each = np.nan_to_num(np.stack(scores), posinf=0, neginf=0)
        curvature = (each * self._cells.weight) @ each.T / self._cells.weight.sum()
        ridge = 1e-6 * np.trace(curvature) + 1e-12
        root = np.linalg.cholesky(curvature + ridge * np.eye(len(curvature)))
        scaled: Floats = self._scale[:, None] * np.linalg.inv(root).T
        return scaled

    def _moved(self, origin: Floats, step: Floats) -> Floats:
        values = origin.copy()
        values[self._free] += step
        return values

    def model(self, values: Floats) -> _CountingCamera:
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

    def _judge(self, values: Floats) -> float:
        """Negative log-likelihood of all cells; remembers the best."""
        nll = self._nll(values, self._cells)
        if nll < min(self.nll, _NO_CAMERA):
            self.best, self.nll = values, nll
        return nll

    def _nll(self, values: Floats, cells: PairCells) -> float:
        self.evaluations += 1
        nll = -cells.mean_of(self._log_likelihood(values, cells))
        return nll if np.isfinite(nll) else _NO_CAMERA

    def _log_likelihood(self, values: Floats, cells: PairCells) -> Floats:
        """Log-likelihood of each cell, nats per ADU; -inf where there is no camera."""
        try:
            model = self.model(values)
        except BadSetting:  # the search has left what any camera can be
            return np.full(len(cells), -np.inf)
        log_density = model.any_log_likelihood(cells.observation, cells.signal)
        signal = np.maximum(cells.signal, model.dark_signal)
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
        return np.maximum(log_density, -1e4)


def _thinned(pairs: PairHistogram, most: int) -> PairCells:
    """Keep every k-th row of signals where there are very many cells.

    Which cells stay depends on the signal alone, so p(x|s) is not biased.
    """
    cells = pairs.training
    every = -(-len(cells) // most)
    kept = np.searchsorted(pairs.row_edges, cells.signal) % every == 0
    return PairCells(cells.signal[kept], cells.observation[kept], cells.weight[kept])
