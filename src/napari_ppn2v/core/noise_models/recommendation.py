"""Which of several noise models to use, by pairs that none of them has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ppn2v.core.noise_models.quality import (
    RangeQuality,
    Verdict,
    fit_quality,
    overall,
    pointwise_log_likelihood,
)
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairHistogram

_CLEAR = 3.0  # standard errors from which a difference is no chance
_NEGLIGIBLE = 0.002  # nats per pixel, which the simpler model may be worse by
_SIMPLICITY = ("poisson-gaussian", "poisson-gamma", "gmm", "tabulated", "histogram")
_ORDER: dict[Verdict, int] = {"good": 0, "fair": 1, "poor": 2}


@dataclass(frozen=True)
class Ranked:
    """One noise model on held-out pairs.

    Attributes
    ----------
    log_likelihood : nats per pixel and ADU, of the model normalised over grey values
    behind, behind_error : nats per pixel behind the likeliest, with standard error
    verdict : of the fit quality over all ranges of signal
    ranges : the same range by range
    """

    name: str
    kind: str
    log_likelihood: float
    behind: float
    behind_error: float
    verdict: Verdict
    ranges: tuple[RangeQuality, ...]


@dataclass(frozen=True)
class Recommendation:
    """The noise model to use, why, and all of them, the likeliest first."""

    name: str
    reason: str
    ranking: tuple[Ranked, ...]
    n_pairs: int


def recommend(models: Mapping[str, NoiseModel], pairs: PairHistogram) -> Recommendation:
    """Recommend the simplest noise model that is as good as the likeliest.

    As good means: within 0.002 nats per pixel or three standard errors of the paired
    difference, and no worse in its verdict. Simple are cameras, then mixtures, then
    histograms.

    Parameters
    ----------
    models
        Under their names.
    pairs
        Only its held-out pairs are used; the models must not have been fitted to them.

    Raises
    ------
    BadData  If there are no models or no held-out pairs.
    """
    cells = pairs.held_out
    total = float(cells.weight.sum())
    if not models or len(cells) == 0 or total <= 1:
        raise BadData(
            "There is nothing to compare: give at least one noise model, and pairs of "
            "which some were kept apart from the fits."
        )
    points = {
        name: pointwise_log_likelihood(model, pairs) for name, model in models.items()
    }
    means = {name: cells.mean_of(values) for name, values in points.items()}
    best = max(means, key=lambda name: means[name])
    ranking = []
    for name, model in models.items():
        apart = points[best] - points[name]
        behind = cells.mean_of(apart)
        spread = cells.mean_of((apart - behind) ** 2)
        ranges = fit_quality(model, pairs)
        ranking.append(
            Ranked(
                name=name,
                kind=model.kind,
                log_likelihood=means[name],
                behind=behind,
                behind_error=math.sqrt(spread / total),
                verdict=overall(ranges),
                ranges=ranges,
            )
        )
    ranking.sort(key=lambda item: item.behind)
    chosen = _chosen(ranking)
    return Recommendation(
        chosen.name, _reason(chosen, ranking), tuple(ranking), round(total)
    )


def _chosen(ranking: list[Ranked]) -> Ranked:
    best = ranking[0]
    as_good = [
        item
        for item in ranking
        if item.behind <= max(_NEGLIGIBLE, _CLEAR * item.behind_error)
        and _ORDER[item.verdict] <= _ORDER[best.verdict]
    ]
    return min(as_good, key=lambda item: (_simplicity(item.kind), item.behind))


def _simplicity(kind: str) -> int:
    return _SIMPLICITY.index(kind) if kind in _SIMPLICITY else len(_SIMPLICITY)


def _reason(chosen: Ranked, ranking: list[Ranked]) -> str:
    words = f"'{chosen.name}' reaches {chosen.log_likelihood:.4f} nats per pixel"
    if len(ranking) > 1 and chosen is ranking[0]:
        second = ranking[1]
        words += (
            f", the most; next is '{second.name}', {second.behind:.4f} ± "
            f"{second.behind_error:.4f} behind"
        )
    elif chosen is not ranking[0]:
        words += (
            f", {chosen.behind:.4f} behind '{ranking[0].name}', which matters to "
            "nobody, and is the simpler one"
        )
    return f"{words}. Its fit on pixels kept apart is {chosen.verdict}."
