"""Tables and pictures of calibration that is reduced step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evidence.noise_models.averages import (
    folds_of,
    has_psnr,
    likelihood_cell,
    mean_of,
    paired,
    percent,
    psnr_cell,
    shown,
)
from evidence.noise_models.figures import figure_of, finish, save, style_of
from evidence.noise_models.study import POSTERIOR, REFINED, label_of
from evidence.tables import cross_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

    from evidence.ledger import Row
    from evidence.tables import Mean

MODELS = ("histogram-published", "histogram-ours", "gmm-1x2", "gmm-3x2", "camera")
REFERENCE = "gmm-3x2"
BEST_SHOWN = 3e-4  # nats above the best, the lower end of the picture


@dataclass(frozen=True)
class Levels:
    """What is reduced.

    Attributes
    ----------
    column : of the rows
    label : for tables and axes
    """

    column: str
    label: str

    def of(self, rows: Sequence[Row]) -> list[float]:
        """Levels that were run, the whole calibration first."""
        return sorted({row[self.column] for row in rows}, reverse=True)


def tables(rows: Sequence[Row], data_set: str, levels: Levels) -> str:
    """Likelihoods and PSNR of one data set, a row for each level."""
    mine = [row for row in rows if row["data set"] == data_set]
    models = [
        (name, label_of(name))
        for name in MODELS
        if any(row["model"] == name for row in mine)
    ]
    places = [
        (str(level), _level_label(mine, levels, level)) for level in levels.of(mine)
    ]
    reference = {levels.column: 1, "model": REFERENCE}

    def likelihood(level: str, model: str) -> str:
        return likelihood_cell(mine, model=model, **{levels.column: _number(level)})

    parts = [
        "Negative log-likelihood of held-out pixels, nats per pixel (density per "
        "ADU); lower is better:",
        cross_table(places, models, likelihood, levels.label),
    ]
    for way in (POSTERIOR, REFINED):
        if not has_psnr(mine, way):
            continue

        def quality(level: str, model: str, way: str = way) -> str:
            named = {levels.column: _number(level), "model": model}
            return psnr_cell(mine, way, reference, **named)

        denoised = [m for m in models if has_psnr(mine, way, model=m[0])]
        parts += [
            f"PSNR (dB), {WAY_WORDS[way]}; in brackets the difference to 3 Gaussians "
            "with the whole calibration, paired by fold:",
            cross_table(places, denoised, quality, levels.label),
        ]
    return "\n\n".join(parts)


WAY_WORDS = {
    POSTERIOR: "posterior mean of the common prior",
    REFINED: "a network refined with each noise model",
}


def _number(text: str) -> float:
    return float(text)


def _level_label(rows: Sequence[Row], levels: Levels, level: float) -> str:
    named = {levels.column: level, "model": REFERENCE, "way": POSTERIOR}
    pairs = mean_of(rows, "pairs", **named)
    words = f"{100 * level:g} %"
    if pairs is None:
        return words
    words += f", {pairs.mean:,.0f} pairs"
    outside = mean_of(rows, "outside", **named)
    if levels.column == "coverage" and outside is not None:
        reach = mean_of(rows, "signals up to", **named)
        assert reach is not None
        words += (
            f", up to {reach.mean:.0f} ADU: {percent(outside.mean)} of pixels outside"
        )
    return words


RIVALS = ("histogram-published", "histogram-ours", "gmm-1x2", "camera")
CERTAIN = 2  # standard errors that a difference has to exceed


def findings(rows: Sequence[Row], data_set: str, levels: Levels) -> str:
    """Say where the mixture of 3 Gaussians is ahead of the others, and behind."""
    mine = [row for row in rows if row["data set"] == data_set]
    found = []
    for rival in RIVALS:
        for column, word in (("nll", "Likelihood"), ("psnr", "PSNR")):
            gains = [(level, _gain(mine, column, levels, level, rival))
                     for level in levels.of(mine)]  # fmt: skip
            if any(gain is not None for _, gain in gains):
                found.append(f"- {word} against {label_of(rival)}: {_rule(gains)}.")
    return (
        "The mixture of 3 Gaussians against the others, at each level (ahead or behind "
        "where the difference, paired by fold, exceeds twice its standard error; the "
        "table gives the differences, positive where it is ahead):\n\n"
        + "\n".join(sorted(found))
    )


def _rule(gains: Sequence[tuple[float, Mean | None]]) -> str:
    """Name the levels at which a gain is certain, or a loss."""
    ahead, behind, even = [], [], []
    for level, gain in gains:
        if gain is None:
            continue
        error = 0.0 if math.isnan(gain.error) else gain.error
        is_certain = abs(gain.mean) > CERTAIN * error
        group = even if not is_certain else ahead if gain.mean > 0 else behind
        group.append(f"{100 * level:g} %")
    named = (("ahead", ahead), ("behind", behind), ("neither", even))
    return "; ".join(f"{word} at {', '.join(at)}" for word, at in named if at)


def gains_table(rows: Sequence[Row], data_set: str, levels: Levels) -> str:
    """How far the mixture of 3 Gaussians is ahead of each of the others."""
    mine = [row for row in rows if row["data set"] == data_set]
    columns = [
        (f"{column} {rival}", f"{label_of(rival)}, {unit}")
        for rival in RIVALS
        for column, unit in (("nll", "nats"), ("psnr", "dB"))
        if any(row["model"] == rival and row.get(column, "") != "" for row in mine)
    ]

    def cell(level: str, place: str) -> str:
        column, rival = place.split(" ")
        gain = _gain(mine, column, levels, float(level), rival)
        return shown(gain, 4 if column == "nll" else 3, signed=True)

    places = [(str(level), f"{100 * level:g} %") for level in levels.of(mine)]
    return cross_table(places, columns, cell, f"{levels.label}; ahead of")


def _gain(
    rows: Sequence[Row], column: str, levels: Levels, level: float, rival: str
) -> Mean | None:
    """How far the mixture of 3 Gaussians is ahead; positive is better."""
    at = {levels.column: level, "way": POSTERIOR}
    mixture, other = {**at, "model": REFERENCE}, {**at, "model": rival}
    if column == "nll":
        return paired(rows, column, other, mixture)
    return paired(rows, column, mixture, other)


def draw(
    rows: Sequence[Row], labels: dict[str, str], levels: Levels, path: Path
) -> None:
    """Draw likelihood and PSNR against what is left of the calibration."""
    names = [name for name in labels if any(r["data set"] == name for r in rows)]
    ways = [way for way in (POSTERIOR, REFINED) if has_psnr(rows, way)]
    figure = figure_of(5.4 * (1 + len(ways)), 3.9 * len(names))
    places = figure.subplots(len(names), 1 + len(ways), squeeze=False)
    for name, (left, *others) in zip(names, places, strict=True):
        mine = [row for row in rows if row["data set"] == name]
        _draw_likelihood(left, mine, levels, labels[name])
        for axes, way in zip(others, ways, strict=True):
            _draw_psnr(axes, mine, levels, labels[name], way)
    handles, texts = places[0][0].get_legend_handles_labels()
    figure.legend(
        handles, texts, loc="outside lower center", ncols=len(texts), frameon=False
    )
    save(figure, path)


def _draw_likelihood(
    axes: Axes, rows: Sequence[Row], levels: Levels, label: str
) -> None:
    """Draw how far each model is from the best one of all, on a logarithmic scale."""
    steps = levels.of(rows)
    best = min(
        mean.mean
        for level in steps
        for model in MODELS
        if (mean := _nll(rows, levels, level, model)) is not None
    )
    for model in MODELS:
        points = [
            (place, max(mean.mean - best, BEST_SHOWN))
            for place, level in enumerate(steps)
            if (mean := _nll(rows, levels, level, model)) is not None
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True), label=label_of(model), **style_of(model)
            )
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8 * BEST_SHOWN)
    axes.set_title(f"{label}: new pixels")
    axes.set_ylabel(
        "nats per pixel worse than the best\n(log scale; the best lies on the edge)"
    )
    _name_levels(axes, levels, steps)


def _nll(rows: Sequence[Row], levels: Levels, level: float, model: str) -> Any:
    named = {levels.column: level, "model": model, "way": POSTERIOR}
    return mean_of(rows, "nll", **named)


def _draw_psnr(
    axes: Axes, rows: Sequence[Row], levels: Levels, label: str, way: str
) -> None:
    """Draw PSNR differences to the reference, with their errors over folds."""
    steps = levels.of(rows)
    reference = {levels.column: 1, "model": REFERENCE, "way": way}
    if not folds_of(rows, "psnr", **reference):
        axes.set_axis_off()
        return
    for model in MODELS:
        points = []
        for place, level in enumerate(steps):
            named = {levels.column: level, "model": model, "way": way}
            mean = paired(rows, "psnr", named, reference)
            if mean is not None:
                error = 0.0 if math.isnan(mean.error) else mean.error
                points.append((place, mean.mean, error))
        if points:
            x, y, errors = zip(*points, strict=True)
            axes.errorbar(x, y, errors, capsize=2, **style_of(model))
    axes.axhline(0, color="#888888", lw=0.8)
    axes.set_title(f"{label}: {way}")
    axes.set_ylabel("PSNR (dB), difference to 3 Gaussians\nwith the whole calibration")
    _name_levels(axes, levels, steps)


def _name_levels(axes: Axes, levels: Levels, steps: Sequence[float]) -> None:
    axes.set_xticks(range(len(steps)), [f"{100 * level:g} %" for level in steps])
    axes.set_xlabel(levels.label)
    finish(axes)
