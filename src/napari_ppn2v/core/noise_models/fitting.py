"""Fit a noise model of a chosen kind, or the best of several by held-out likelihood."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models.camera_fit import CameraFitSettings, fit_camera
from napari_ppn2v.core.noise_models.camera_models import (
    PoissonGammaModel,
    PoissonGaussianModel,
)
from napari_ppn2v.core.noise_models.gmm_fit import GaussianMixtureSettings, fit_gmm
from napari_ppn2v.core.noise_models.histogram import HistogramSettings, fit_histogram
from napari_ppn2v.core.noise_models.shared import held_out_nll
from napari_ppn2v.core.pairs import PairHistogram, SignalObservationPairs
from napari_ppn2v.errors import FitFailed
from napari_ppn2v.events import (
    Event,
    FitProgress,
    NoiseModelFitted,
    Notice,
    PairsReady,
)
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairCells

Fit = Generator[Event, None, "NoiseModel"]

# Nats per pixel by which a model must beat the cameras: what is simpler and physical
# extrapolates better, and a histogram has a rough gradient.
_HANDICAPS = {"gmm": 0.002, "histogram": 0.005}

# Nats per pixel within which a camera and the histogram tell the same. They are as
# unlike as models can be, so that a large mixture would tell nothing else.
_AGREEMENT = 0.002

# Times the spread of the real observations beyond which a model is not believed.
_WIDEST_SPREAD = 2.0
_DRAWS = 200_000

_MIXTURE = "mixture of {}, {} coefficients"
_LARGE_MIXTURE = _MIXTURE.format("5 Gaussians", 3)


@dataclass(frozen=True)
class Candidate:
    """One model that was fitted; `held_out_nll` in nats per pixel and ADU.

    `spread` is the mean squared distance from the signal of observations drawn from
    the model, over that of the pixels kept apart. The likelihood hardly sees a
    Gaussian of small weight far from all data, but everything drawn from it does.
    """

    name: str
    model: NoiseModel
    held_out_nll: float
    spread: float = 1.0


@dataclass(frozen=True)
class FittedNoiseModel:
    """The chosen model, and how it compares with the others.

    `reason` is a sentence for the user; `candidates` are sorted by likelihood, best
    first; `failed` holds the messages of fits that were not possible.
    """

    model: NoiseModel
    name: str
    held_out_nll: float
    reason: str
    candidates: tuple[Candidate, ...]
    failed: tuple[str, ...] = ()


@overload
def fit_noise_model(
    pairs: SignalObservationPairs | PairHistogram,
    config: NoiseModelConfig | None = None,
    stop: None = None,
) -> Generator[Event, None, FittedNoiseModel]: ...


@overload
def fit_noise_model(
    pairs: SignalObservationPairs | PairHistogram,
    config: NoiseModelConfig | None,
    stop: StopToken,
) -> Generator[Event, None, FittedNoiseModel | None]: ...


def fit_noise_model(
    pairs: SignalObservationPairs | PairHistogram,
    config: NoiseModelConfig | None = None,
    stop: StopToken | None = None,
) -> Generator[Event, None, FittedNoiseModel | None]:
    """Fit the configured noise model, or choose one; deterministic.

    Where several are fitted, the held-out likelihood decides, with a handicap in nats
    per pixel of 0.002 for mixtures and 0.005 for the histogram against cameras. With
    the kind 'auto' a mixture of 5 Gaussians is fitted where camera and histogram differ
    by more than 0.002, so that neither need be the truth. A
    model whose own observations spread far wider than the real ones is passed over.

    Parameters
    ----------
    pairs
        Pairs, which are trimmed here, or a histogram of pairs, used as it is.
    stop
        Leaves the fit that is going on; the choice is then among those that are done.

    Yields
    ------
    PairsReady, FitProgress, a Notice if the model is not to be trusted, and
    NoiseModelFitted. The models of FitProgress are named like the candidates, and
    their likelihoods are those of the pairs that are fitted to.

    Returns
    -------
    FittedNoiseModel, or None if stopped before the first fit was done.

    Raises
    ------
    BadData, FitFailed  If no model can be fitted to the pairs.
    """
    config = config or NoiseModelConfig()
    stop = stop or StopToken()
    if isinstance(pairs, SignalObservationPairs):
        trim = config.trim_percent
        pairs = pairs.within_percentiles(trim, 100 - trim).histogram()
    yield PairsReady(pairs)
    candidates, failed = yield from _candidates(pairs, config, stop)
    if stop.is_stopped and not candidates:
        return None
    if not candidates:
        raise FitFailed(" ".join(failed) or "No noise model fits these pairs.")
    result = _choose(candidates, failed)
    spread = next(c.spread for c in candidates if c.model is result.model)
    if not spread <= _WIDEST_SPREAD:
        yield Notice(
            f"Observations drawn from the {result.name} are spread {spread:.3g} times "
            "as wide (mean square) as the real ones. Train longer, use a calibration "
            "recording, or choose the kind 'histogram'.",
            is_warning=True,
        )
    yield NoiseModelFitted(result.model, result.held_out_nll, result.reason)
    return result


def _candidates(
    pairs: PairHistogram, config: NoiseModelConfig, stop: StopToken
) -> Generator[Event, None, tuple[list[Candidate], list[str]]]:
    """Fit what the settings ask for, one after the other, until stopped."""
    candidates: list[Candidate] = []
    failed: list[str] = []
    for name, fit in _fits(pairs, config):
        if stop.is_stopped:
            break
        if name == _LARGE_MIXTURE and config.kind == "auto" and _agree(candidates):
            continue  # it takes as long as all others together
        try:
            model = yield from _named(name, fit(), pairs, stop)
        except FitFailed as error:
            failed.append(f"{name}: {error}")
            continue
        if model is None:
            break
        nll = held_out_nll(model, pairs.held_out)
        if nll == nll:
            spread = spread_of_samples(model, pairs.held_out)
            candidates.append(Candidate(name, model, nll, spread))
    return candidates, failed


def _agree(candidates: list[Candidate]) -> bool:
    """Whether the better camera and the histogram are as good on pixels kept apart."""
    nll = {c.model.kind: c.held_out_nll for c in candidates}
    cameras = [value for kind, value in nll.items() if kind.startswith("poisson")]
    if not cameras or "histogram" not in nll:
        return False
    return abs(min(cameras) - nll["histogram"]) <= _AGREEMENT


def _named(
    name: str, fit: Fit, pairs: PairHistogram, stop: StopToken
) -> Generator[Event, None, NoiseModel | None]:
    """Run one fit under the name of its candidate; None if stopped.

    At the end it shows the model of fits that do not show it on the way.
    """
    iteration, is_shown = 0, False
    while True:
        try:
            event = next(fit)
        except StopIteration as end:
            model: NoiseModel = end.value
            break
        if isinstance(event, FitProgress):
            iteration, is_shown = event.iteration, event.snapshot is not None
            event = replace(event, model=name)
        yield event
        if stop.is_stopped:
            fit.close()
            return None
    if not is_shown:
        nll = held_out_nll(model, pairs.training)
        yield FitProgress(name, iteration + 1, nll, model)
    return model


def spread_of_samples(model: NoiseModel, cells: PairCells) -> float:
    """Compare observations drawn from a model with real ones.

    Returns
    -------
    float
        Mean squared distance from the signal, drawn over real; 1 for a true model.
    """
    repeats = -(-_DRAWS // len(cells))
    signal = torch.from_numpy(cells.signal)[:, None].expand(-1, repeats)
    drawn = model.sample(signal.float(), torch.Generator().manual_seed(0))
    squares = (drawn.double() - signal).square().mean(1).numpy()
    real = cells.mean_of(np.square(cells.observation - cells.signal))
    return cells.mean_of(squares) / max(real, 1e-300)


def _fits(
    pairs: PairHistogram, config: NoiseModelConfig
) -> list[tuple[str, Callable[[], Fit]]]:
    """Fits to try, the simplest model first."""
    camera = CameraFitSettings(config.offset, config.read_noise)

    def mixture(
        n_components: int, n_coefficients: int
    ) -> tuple[str, Callable[[], Fit]]:
        settings = GaussianMixtureSettings(
            n_components, n_coefficients, config.variance_floor, config.likelihood_floor
        )
        gaussians = f"{n_components} Gaussian{'s' * (n_components != 1)}"
        name = _MIXTURE.format(gaussians, n_coefficients)
        return name, lambda: fit_gmm(pairs, settings)

    cameras: list[tuple[str, Callable[[], Fit]]] = [
        (
            "sCMOS camera (Poisson-Gaussian)",
            lambda: fit_camera(PoissonGaussianModel, pairs, camera),
        ),
        (
            "EMCCD camera (Poisson-gamma)",
            lambda: fit_camera(PoissonGammaModel, pairs, camera),
        ),
    ]
    own = mixture(config.n_components, config.n_coefficients)
    histogram = HistogramSettings(
        config.n_bins, config.data_range, config.is_plain_histogram
    )
    bins: tuple[str, Callable[[], Fit]] = (
        "histogram",
        lambda: fit_histogram(pairs, histogram),
    )
    flexible = [own, bins]
    if config.n_components < 5 or config.n_coefficients < 3:
        flexible.append(mixture(5, 3))
    fits: dict[str, list[tuple[str, Callable[[], Fit]]]] = {
        "gmm": [own],
        "histogram": [bins],
        "camera": cameras,
        "poisson-gaussian": cameras[:1],
        "poisson-gamma": cameras[1:],
        "auto": [*cameras, *flexible],
    }
    return fits[config.kind]


def _choose(candidates: list[Candidate], failed: list[str]) -> FittedNoiseModel:
    """Take the simplest believable candidate that is as good as the best."""
    ranked = sorted(candidates, key=lambda c: c.held_out_nll)
    believable = [c for c in candidates if c.spread <= _WIDEST_SPREAD] or candidates
    chosen = min(
        believable, key=lambda c: c.held_out_nll + _HANDICAPS.get(c.model.kind, 0.0)
    )
    figures = "; ".join(
        f"{c.name} {c.held_out_nll:.4f}"
        + (" (spreads far too wide)" if c not in believable else "")
        for c in ranked
        if c is not chosen
    )
    if len(candidates) == 1:
        reason = (
            f"The {chosen.name} reaches {chosen.held_out_nll:.4f} nats per pixel on "
            "pixels kept apart from the fit."
        )
    else:
        share = (
            "has the highest likelihood"
            if chosen.held_out_nll <= min(c.held_out_nll for c in believable)
            else "is the simplest close to the highest likelihood"
        )
        reason = (
            f"The {chosen.name} {share} on pixels kept apart from the fit: "
            f"{chosen.held_out_nll:.4f} nats per pixel (lower is better), against "
            f"{figures}."
        )
    return FittedNoiseModel(
        model=chosen.model,
        name=chosen.name,
        held_out_nll=chosen.held_out_nll,
        reason=reason,
        candidates=tuple(ranked),
        failed=tuple(failed),
    )
