"""What a run does: fit noise models to some pairs, judge them by others, denoise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import cpu_seconds
from evidence.noise_models.kinds import KINDS
from evidence.noise_models.likelihood import held_out
from evidence.noise_models.pairs import (
    NoiseData,
    PixelPairs,
    covered_up_to,
    covering,
    load_noise_data,
    thinned,
)
from evidence.noise_models.priors import (
    Prepared,
    Steps,
    config_of,
    noise2void,
    prepare,
    score_posterior_mean,
    score_refined,
)
from evidence.noise_models.study import BOOTSTRAPPED, CALIBRATED, POSTERIOR
from evidence.noise_models.views import View
from napari_ppn2v.core.noise_models.fitting import fit_noise_model
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.events import drain

if TYPE_CHECKING:
    from evidence.noise_models.pairs import Fold
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.fitting import FittedNoiseModel
    from napari_ppn2v.core.pairs import PairHistogram
    from napari_ppn2v.core.prior_network import PriorNetwork

    Fits = list[tuple[str, FittedNoiseModel | PPN2VError]]

Result = dict[str, Any]
BOOTSTRAP_TRIM_PERCENT = 0.5


@dataclass(frozen=True)
class Cut:
    """Which part of the pairs a noise model is fitted to.

    Attributes
    ----------
    source : `CALIBRATED` or `BOOTSTRAPPED`
    coverage : part of the signal range, from its lower end
    share : of the pairs in that part, chosen at random
    """

    source: str = CALIBRATED
    coverage: float = 1.0
    share: float = 1.0

    def pairs(
        self, data: NoiseData, fold: Fold, prepared: Prepared | None, seed: int
    ) -> PixelPairs:
        """Return the pairs that a fold's noise models are fitted to."""
        if self.source == BOOTSTRAPPED:
            assert prepared is not None
            found = bootstrapped(data, fold, prepared)
        else:
            found = fold.calibration
        if self.coverage < 1:
            found = covering(found, self.coverage, data.signal_range)
        return thinned(found, self.share, seed)


def bootstrapped(data: NoiseData, fold: Fold, prepared: Prepared) -> PixelPairs:
    """Pair pseudo ground truth and observation of the images of all other folds."""
    assert data.images is not None
    assert fold.task is not None
    others = [i for i in data.images.images if i not in fold.task.images]
    crops = data.images.training[:, *data.images.region]
    return PixelPairs(
        prepared.pseudo_ground_truth[others].ravel(), crops[others].ravel()
    )


def make_prior(
    data: str, data_set: str, repeat: int, steps: dict[str, int], shared: str, path: str
) -> Result:
    """Train what the noise models of a data set are tried on, and keep it."""
    source = load_noise_data(Path(data), data_set)
    assert source.images is not None
    made = prepare(source.images, Steps(**steps), repeat, Path(shared))
    made.save(Path(path))
    return {"CPU s": made.cpu_seconds}


def study(
    data: str,
    data_set: str,
    cut: dict[str, Any],
    models: list[str],
    way: str,
    folds: list[int],
    repeat: int,
    steps: dict[str, int],
    shared: str,
    prior: str | None,
) -> Result:
    """Fit noise models to part of the pairs of each fold, and judge them.

    Parameters
    ----------
    cut : fields of `Cut`
    models : names of `KINDS`
    way : `POSTERIOR` or `REFINED`, how images are denoised, where there are images
    folds : numbers of the folds to do
    repeat : seed of trainings and of the choice of pairs
    steps : fields of `Steps`
    shared, prior : where trained networks, and the common prior, are kept

    Returns
    -------
    `rows`: one for each fold and model.
    """
    source = load_noise_data(Path(data), data_set)
    common = Prepared.load(Path(prior)) if prior else None
    chosen, taught = Cut(**cut), Steps(**steps)
    denoising = _Denoising(source, way, common, taught, repeat, Path(shared))
    fitting = _Fitting(source, chosen, common, models, repeat)
    limit = covered_up_to(chosen.coverage, source.signal_range)
    rows = []
    for number in folds:
        fold = source.folds[number]
        pairs, fits = fitting.of(fold)
        told = {
            "fold": number,
            "pairs": len(pairs),
            "signals up to": min(limit, float(pairs.signal.max())),
            "outside": float((fold.held_out.signal > limit).mean()),
        }
        for name, found in fits:
            began = cpu_seconds()
            scores = _judged(found, fold, denoising)
            scores["judging CPU s"] = cpu_seconds() - began
            rows.append({"model": name, **told, **scores})
    return {"rows": rows}


@dataclass
class _Fitting:
    """Fits of all models to the pairs of each fold."""

    data: NoiseData
    cut: Cut
    prior: Prepared | None
    models: list[str]
    repeat: int
    _last: tuple[PixelPairs, tuple[PixelPairs, Fits]] | None = None

    def of(self, fold: Fold) -> tuple[PixelPairs, Fits]:
        """Return pairs and fits; folds that share a recording share its fits."""
        if self._last is not None and self._last[0] is fold.calibration:
            return self._last[1]
        seed = 100 * self.repeat + fold.number
        pairs = self.cut.pairs(self.data, fold, self.prior, seed)
        found = pairs, _fits(pairs, self.cut.source, self.models, self.data)
        if self.cut.source == CALIBRATED and self.cut.share >= 1:
            self._last = fold.calibration, found
        return found


def _fits(pairs: PixelPairs, source: str, models: list[str], data: NoiseData) -> Fits:
    """Fit each of the models to the same pairs; a failure is a result."""
    found: Fits = []
    cells: dict[float, PairHistogram] = {}
    for name in models:
        trim = trim_percent(name, source)
        try:
            if trim not in cells:
                cells[trim] = pairs.for_fit(trim).histogram()
            found.append((name, fitted(name, cells[trim], data)))
        except PPN2VError as error:
            found.append((name, error))
    return found


def trim_percent(model: str, source: str) -> float:
    """Return the share of the extreme signals left out at either end.

    That of bootstrapped signals, but for published histograms, which have them all
    (Prakash et al. 2020, section 3).
    """
    is_trimmed = source == BOOTSTRAPPED and not KINDS[model].is_published
    return BOOTSTRAP_TRIM_PERCENT if is_trimmed else 0.0


def fitted(name: str, cells: PairHistogram, data: NoiseData) -> FittedNoiseModel:
    """Fit one of the models that are compared."""
    config = KINDS[name].config(data.name, data.observation_range)
    return drain(fit_noise_model(cells, config))


@dataclass
class _Denoising:
    """How images are denoised with a noise model; Noise2Void is read when needed."""

    data: NoiseData
    way: str
    prior: Prepared | None
    steps: Steps
    repeat: int
    shared: Path

    def score(self, noise_model: NoiseModel, fold: Fold) -> list[dict[str, float]]:
        """Score the images of a fold; none where there are no images."""
        if fold.task is None or self.prior is None:
            return []
        if self.way == POSTERIOR:
            return score_posterior_mean(self.prior, noise_model, fold.task)
        assert self.data.images is not None
        config = config_of(self.steps, self.repeat)
        return score_refined(
            self._n2v, noise_model, self.data.images, fold.task, config
        )

    @cached_property
    def _n2v(self) -> PriorNetwork:
        assert self.data.images is not None
        return noise2void(self.data.images, self.steps, self.repeat, self.shared)


def _judged(
    found: FittedNoiseModel | PPN2VError, fold: Fold, denoising: _Denoising
) -> Result:
    """Score one fit by the pairs and the images of its fold."""
    if isinstance(found, PPN2VError):
        return {"failed": str(found)}
    likelihood = held_out(found.model, fold.held_out)
    images = denoising.score(found.model, fold)
    result: Result = {
        "nll": likelihood.nll,
        "impossible": likelihood.impossible,
        "nll possible": likelihood.nll_possible,
        "spread": found.candidates[0].spread,
    }
    for score in ("psnr", "ssim") if images else ():
        result[score] = float(np.mean([image[score] for image in images]))
    return result


# --- Pictures --------------------------------------------------------------------


def pictures(
    data: str,
    data_set: str,
    fold: int,
    panels: list[tuple[str, dict[str, Any]]],
    models: list[str],
    parts: list[float],
    repeat: int,
    prior: str | None,
) -> Result:
    """Fit noise models to several cuts of a fold's pairs, and read off their densities.

    Parameters
    ----------
    panels : name of each panel, and fields of its `Cut`
    models : names of `KINDS`
    parts : of the signal range, where the cross-sections lie
    prior : where the common prior is kept, for bootstrapped pairs

    Returns
    -------
    `rows`: densities (1/ADU) at even observations, one row for each signal.
    """
    source = load_noise_data(Path(data), data_set)
    common = Prepared.load(Path(prior)) if prior else None
    chosen = source.folds[fold]
    view = View.of(source)
    sections = [covered_up_to(part, source.signal_range) for part in parts]
    rows = []
    for panel, fields in panels:
        cut = Cut(**fields)
        pairs = cut.pairs(source, chosen, common, seed=100 * repeat + fold)
        for name, found in _fits(pairs, cut.source, models, source):
            if isinstance(found, PPN2VError):
                continue
            trim = trim_percent(name, cut.source)
            low, high = pairs.for_fit(trim).histogram().signal_range
            told = {"panel": panel, "model": name, "pairs": len(pairs)}
            told |= {"from": low, "to": high}
            rows += [
                {"part": part, **told, **view.densities(found.model, s)}
                for part, signals in (("map", view.signals), ("section", sections))
                for s in signals
            ]
    rows += [
        {"part": "measured", "panel": "", "model": "", **measured}
        for measured in view.measured(chosen.calibration, sections)
    ]
    return {"rows": rows}
