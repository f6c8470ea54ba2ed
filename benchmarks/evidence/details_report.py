"""The page and the pictures of details, from the CSV files and crops alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import markdown_table
from evidence.data_sets import N_FOLDS
from evidence.details_bars import (
    BANDS,
    BARS,
    OURS,
    REFERENCES,
    Bar,
    by_repeat,
    longest,
    per_cent,
    verdict,
)
from evidence.details_figures import draw_lines, draw_pictures
from evidence.details_scenes import BOX, HEIGHTS, LEVELS, SHAPES
from evidence.ledger import Row, read_rows
from evidence.methods import NOISY
from evidence.spectra import band_edges
from evidence.tables import NOT_RUN, Mean, cross_table, write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAME = "details"
KEYS = ("data set", "method", "repeat", "seconds")
DEFAULT = ("w2s", "bright")
DATA_SETS = {
    "w2s": "W2S (EMCCD, real)",
    "bright": "bright (sCMOS, simulated)",
    "small": "small simulation, for a try",
}
LABELS = {
    NOISY.name: "noisy input",
    "n2v-published": "Noise2Void, as published",
    "n2v-ours": "Noise2Void, **ours**",
    "gmm-bootstrapped-published": "PN2V, GMM, bootstrapped, as published",
    OURS: "PN2V, noise model chosen, bootstrapped, **ours**",
    "care": "CARE (supervised)",
}


def write_report(out: Path) -> None:
    """Write the page, its lines and its pictures; what was not run says so."""
    rows = longest(read_rows(out / f"{NAME}.csv"))
    found = {row["data set"] for row in rows} or set(DEFAULT)
    names = {name: label for name, label in DATA_SETS.items() if name in found}
    labels = {name: label.replace("**", "") for name, label in LABELS.items()}
    if rows:
        draw_lines(out / f"{NAME}.png", rows, names, labels)
    cameras = {row["data set"]: row for row in read_rows(out / f"{NAME}-cameras.csv")}
    pictures = [
        f"![]({picture})"
        for name, label in names.items()
        if (picture := draw_pictures(out, f"{NAME}-{name}", label, labels))
    ]
    write_page(
        out / f"{NAME}.md",
        "Does denoising invent, lose or blur?",
        _introduction(rows, names),
        "## What was to be reached, and whether it was",
        BAR_WORDS,
        _verdicts(rows, names),
        *([f"![]({NAME}.png)"] if rows else []),
        *_flat_part(rows, names, cameras),
        *_peak_part(rows, names),
        *_detail_part(rows, names),
        *(["## In pictures", PICTURE_WORDS, *pictures] if pictures else []),
        "## Cost",
        _costs(rows, names),
    )


def _introduction(rows: Sequence[Row], names: dict[str, str]) -> str:
    seconds = sorted({row["seconds"] for row in rows if row["seconds"]})
    budgets = " or ".join(f"{value:g}" for value in seconds)
    if not seconds:
        return f"{QUESTIONS} Data: {', '.join(names.values())}. No method was run yet."
    repeats = len({row["repeat"] for row in rows})
    return (
        f"{QUESTIONS} Data: {', '.join(names.values())}. Every method had about "
        f"{budgets} CPU seconds in one thread for all that it needs, with the same "
        "network (U-Net of 16 filters, batches of 8 patches of 64²), was trained on "
        "the data as they are, and then measured, without being told of what it is "
        "measured on. Trained "
        f"{repeats} times with other seeds; mean ± standard error over these, n = 1 "
        "where there was one. CARE is trained once for each seed, on the images of all "
        f"folds but the first (of {N_FOLDS}; 2 in the small simulation); all methods "
        "are measured on those of the first. CARE has clean images to learn from, the "
        "others have not: it is what could be had, not a rival."
    )


FITTED = (
    ", fitted to its pairs of truth and observation (the recording saturates at 336 "
    "grey values, which is left out)"
)
QUESTIONS = (
    "A picture can score a high PSNR and still show structure that is not there, or "
    "lack the small bright things that the experiment is about. So this page asks "
    "three plain questions: what does a method make of *uniform light*, where there is "
    "nothing to see; how much is left of *small bright spots*; and down to which "
    "*fineness* is the detail right."
)
BAR_WORDS = (
    "For *PN2V, noise model chosen, bootstrapped, ours*, the default of this program; "
    "the values are in the tables below. Differences to Noise2Void are taken repeat by "
    "repeat. A bar counts as met only if it is met everywhere it was measured."
)
PICTURE_WORDS = (
    "The middle of an image, the same exposure for all methods. Above, uniform light, "
    "each with its own mean in the middle of the grey scale, which spans 60 % of the "
    "noise's standard deviation: all that is to be seen there is invented. Below, the "
    "scene with small bright spots (point sources of standard deviation 1 pixel, one "
    f"in each square of {BOX} pixels, 3, 5 or 10 times the noise high)."
)


def _verdicts(rows: Sequence[Row], names: dict[str, str]) -> str:
    lines = []
    for bar in BARS:
        references = REFERENCES if bar.limit is None else {OURS: ""}
        for reference, words in references.items():
            cells = {
                label: verdict(rows, name, bar, reference).short
                for name, label in names.items()
            }
            lines.append({"bar": bar.words, "compared with": words, **cells})
    return markdown_table(lines)


def _shown(
    rows: Sequence[Row], data_set: str, method: str, measure: str, at: Any
) -> Mean | None:
    values = by_repeat(rows, data_set, method, measure, at)
    return Mean.of(list(values.values())) if values else None


def _cell(mean: Mean | None, digits: int, percent: bool, signed: bool) -> str:
    if mean is None:
        return NOT_RUN
    if percent:
        return per_cent(mean, digits, signed=signed)
    return mean.shown(digits, signed=signed)


Column = tuple[str, Any, str, int, bool, bool]


def _column(
    measure: str, at: Any, words: str, digits: int = 1, *, percent=True, signed=False
) -> Column:
    return (measure, at, words, digits, percent, signed)


def _tables(
    rows: Sequence[Row], names: dict[str, str], columns: Sequence[Column]
) -> str:
    """Lay out a table for each data set, methods down."""
    parts = []
    for data_set, label in names.items():

        def cell(method: str, number: str, data_set: str = data_set) -> str:
            measure, at, _, digits, percent, signed = columns[int(number)]
            mean = _shown(rows, data_set, method, measure, at)
            return _cell(mean, digits, percent, signed)

        heads = [(str(i), column[2]) for i, column in enumerate(columns)]
        table = cross_table(list(LABELS.items()), heads, cell, "method")
        parts.append(f"### {label}\n\n{table}")
    return "\n\n".join(parts)


def _outcome(rows: Sequence[Row], names: dict[str, str], chosen: Sequence[Bar]) -> str:
    """State the bars of a part, and where they were missed."""
    lines = []
    for bar in chosen:
        lines.append(f"- **Bar:** {bar.words}.")
        for name, label in names.items():
            told = [
                f"{words}{verdict(rows, name, bar, reference).full}"
                for reference, words in _references(bar).items()
            ]
            lines.append(f"  - {label}: {'; '.join(told)}.")
    return "\n".join(lines)


def _references(bar: Bar) -> dict[str, str]:
    if bar.limit is not None:
        return {OURS: ""}
    return {name: f"against {words}: " for name, words in REFERENCES.items()}


def _bars(*measures: str) -> list[Bar]:
    return [bar for bar in BARS if bar.measure.startswith(measures)]


def _flat_part(
    rows: Sequence[Row], names: dict[str, str], cameras: dict[str, Row]
) -> list[str]:
    columns = [
        _column("flat noise left", percent, f"noise left, brighter than {percent} %")
        for percent in LEVELS
    ]
    columns += [
        _column("flat bias", percent, f"error of the mean, {percent} %", signed=True)
        for percent in LEVELS
    ]
    lit = [_light(rows, name, label, cameras) for name, label in names.items()]
    return [
        "## Uniform light: is structure invented?",
        "Simulated exposures of a uniform signal, at three brightnesses: brighter than "
        "10, 50 and 95 % of the pixels of the data's truth. They hold nothing but "
        "noise, so whatever the result shows is invented. *Noise left*: standard "
        "deviation of the result over that of the noise. *Error of the mean*: by how "
        "much the result is too bright (+) or too dark (-), in per cent of the noise's "
        "standard deviation. " + " ".join(lit),
        _outcome(rows, names, _bars("flat")),
        _tables(rows, names, columns),
    ]


def _light(rows: Sequence[Row], name: str, label: str, cameras: dict[str, Row]) -> str:
    levels = []
    for percent in LEVELS:
        signal = _shown(rows, name, NOISY.name, "flat signal", percent)
        noise = _shown(rows, name, NOISY.name, "flat noise", percent)
        if signal and noise:
            levels.append(f"{signal.mean:.0f} (noise {noise.mean:.1f})")
    if not levels:
        return f"{label}: {NOT_RUN}."
    text = f"{label}: {', '.join(levels)} grey values"
    camera = cameras.get(name)
    if camera is None:
        return f"{text}."
    fitted = FITTED if name == "w2s" else ""
    return (
        f"{text}; {camera['kind']} camera of {camera['gain']:.3g} grey values per "
        f"electron, {camera['offset']:.4g} without light, read noise "
        f"{camera['read_noise']:.2g}{fitted}."
    )


def _peak_part(rows: Sequence[Row], names: dict[str, str]) -> list[str]:
    columns = [
        _column(f"recovered {shape}", height, f"{shape}, {height:g} × noise", 0)
        for shape in SHAPES
        for height in HEIGHTS
    ]
    return [
        "## Small bright spots: are they kept?",
        "Spots of 3, 5 and 10 standard deviations of the noise at their place are "
        "added to the truth of the measured images, far from each other, and these are "
        "exposed again; once more with the same noise but without the spots. The table "
        "says how much of a spot's height the results differ by there: 100 % where it "
        "is kept, 0 where it is gone. *Single pixels* are what Noise2Void must lose: "
        "nothing around them tells of them. A *point source* of standard deviation 1 "
        "pixel is what a microscope makes of a very small object. None of the methods "
        "had such spots to learn from beyond what the data hold.",
        _outcome(rows, names, _bars("recovered")),
        _tables(rows, names, columns),
    ]


def _detail_part(rows: Sequence[Row], names: dict[str, str]) -> list[str]:
    columns = [
        _column("finest detail", "all", "finest correct detail (cycles per pixel)", 3,
                percent=False),
        _column("ssim", "all", "SSIM", 3, percent=False),
        _column("psnr", "all", "PSNR (dB)", 2, percent=False),
    ]  # fmt: skip
    edges = band_edges()
    bands = [
        _column("spectral error", band, f"{low:.1f} to {high:.1f}", 2, percent=False)
        for band, low, high in zip(BANDS, edges[:-1], edges[1:], strict=True)
    ]  # fmt: skip
    return [
        "## Resolution: how fine is the detail that is right?",
        "*Finest correct detail*: result and truth are compared at each fineness "
        "(Fourier ring correlation); this is the spatial frequency at which their "
        "agreement falls to one half. 0.25 cycles per pixel is a pattern that repeats "
        "every 4 pixels; more is better. That of the noisy input says what can be seen "
        "without denoising. A blur alone does not lower it, so the error below belongs "
        "with it.",
        _outcome(rows, names, _bars("finest", "ssim")),
        _tables(rows, names, columns),
        "## Error by fineness",
        "How much of the detail of each fineness is wrong: power of the error over the "
        "power of the truth, in five bands from coarse to fine, in cycles per pixel. 0 "
        "is perfect; 1 is as wrong as showing no such detail at all; above 1 the "
        "detail shown is worse than none. The truth of W2S is an average of 400 "
        "frames, and its finest bands hold what is left of their noise, which no "
        "method can know.",
        _outcome(rows, names, _bars("spectral")),
        _tables(rows, names, bands),
    ]


def _costs(rows: Sequence[Row], names: dict[str, str]) -> str:
    lines = []
    for method, label in LABELS.items():
        line = {"method": label}
        for name, head in names.items():
            mine = [r for r in rows if (r["data set"], r["method"]) == (name, method)]
            costs = [row["train CPU s"] for row in mine if row["train CPU s"] != ""]
            steps = {row["steps"] for row in mine if row["steps"]}
            used = "; ".join(dict.fromkeys(row["estimate"] for row in mine))
            line[f"{head}: CPU s"] = f"{Mean.of(costs).mean:.1f}" if costs else ""
            line["steps, " + head] = ", ".join(str(n) for n in sorted(steps))
            line["estimate, " + head] = used
        lines.append(line)
    return markdown_table(lines)
