"""Tables and pictures of the failure cases, from the CSV files and crops alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from common import markdown_table
from evidence.failure_runs import (
    PATTERN,
    PUNCTA,
    REAL,
    RECORDED,
    SHUFFLED,
    recovered_name,
)
from evidence.failure_scenes import AMPLITUDE, HEIGHTS, NOISE_SD, SQUARE
from evidence.ledger import Row, read_rows
from evidence.pictures import (
    Panel,
    display_limits,
    lines_figure,
    panels_figure,
    read_crops,
)
from evidence.tables import NOT_RUN, Mean, write_page
from evidence.worst_parts import CARE, FILES, OURS
from napari_ppn2v.figures.common import save_figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

NAME = "failures"
KEYS = ("case", "method", "steps", "repeat")
LABELS = {
    "truth": "truth",
    RECORDED: "noisy",
    CARE: "CARE (clean targets)",
    "n2v-published": "Noise2Void, published",
    "n2v-ours": "Noise2Void, ours",
    "n2v-published, blind": "Noise2Void, published, blind",
    "n2v-ours, blind": "Noise2Void, ours, blind",
    "gmm-bootstrapped-published": "PN2V, published",
    OURS: "PN2V, ours",
}


def write_report(out: Path) -> None:
    """Write tables and pictures."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows and not (out / f"{FILES}.csv").exists():
        return
    parts = [
        *_report_worst(out),
        *_report_puncta(rows, out),
        *_report_pattern(rows, out),
        *_report_frames(rows, out),
        *_report_notices(rows),
    ]
    write_page(out / f"{NAME}.md", "Where Noise2Void must fail", INTRODUCTION, *parts)


INTRODUCTION = (
    "Krull et al. 2019, section 4.4: a network that predicts a pixel from its "
    "surroundings loses what they do not tell (single bright pixels, fine grain), and "
    "keeps noise that they do tell (patterns, noise shared by neighbours). PN2V, ours, "
    "is refined on images that a Noise2Void has made: what is lost there it never "
    "sees, and what stayed there it takes for structure. So it is measured too."
)


def values(rows: Sequence[Row], case: str, measure: str) -> dict[str, Mean]:
    """Mean over repeats of a measure, by what is shown, in the order of `LABELS`."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["case"] == case and row["measure"] == measure:
            found.setdefault(row["shown as"], []).append(row["value"])
    return {name: Mean.of(found[name]) for name in LABELS if name in found}


def _steps(rows: Sequence[Row], case: str) -> str:
    """Say how long the networks of a case were trained."""
    steps = {row["steps"] for row in rows if row["case"] == case and row["steps"]}
    shown = ", ".join(str(n) for n in sorted(steps))
    return f"trained for {shown} steps" if steps else "not trained yet"


def _table(rows: Sequence[Row], case: str, measures: dict[str, tuple[str, str]]) -> str:
    """Lay measures out; each is name -> (title, format), % for a share in per cent."""
    columns = {title: values(rows, case, m) for m, (title, _) in measures.items()}
    forms = dict(measures.values())
    names = [n for n in LABELS if any(n in column for column in columns.values())]
    return markdown_table(
        [
            {
                "images": LABELS[name],
                **{
                    title: f"{column[name].mean:{forms[title]}}"
                    if name in column
                    else NOT_RUN
                    for title, column in columns.items()
                },
            }
            for name in names
        ]
    )


WORST = {"pixel": "largest error of a pixel", "image": "largest error of an image"}


def _report_worst(out: Path) -> list[str]:
    heading = "## Photographs: where Noise2Void errs most (the paper's Fig. 5)\n\n"
    rows, crops = read_rows(out / f"{FILES}.csv"), read_crops(out / f"{FILES}.npz")
    if not rows:
        return [heading + NOT_RUN]
    pictures = [
        _worst_line(case, [row for row in rows if row["case"] == case], crops)
        for case in WORST
    ]
    title = "Photographs: where Noise2Void errs most"
    figure = panels_figure(pictures, title, row_labels=list(WORST.values()))
    save_figure(figure, out / f"{FILES}.png")
    return [
        heading + "Above, the pixel with the largest error of all test images; below, "
        "the worst part of the image with the largest sum of squared errors. From the "
        f"networks of [bsd68](bsd68.md).\n\n![]({FILES}.png)"
    ]


def _worst_line(
    case: str, rows: Sequence[Row], crops: dict[str, NDArray]
) -> list[Panel]:
    limits = display_limits(crops[f"{case}/truth"])
    line = []
    for row in rows:
        arrow, score = None, row["psnr of image"]
        caption = "" if score == "" else f"whole image: {score:.2f} dB"
        if case == "pixel":
            arrow = (row["row"] - row["top"], row["column"] - row["left"])
            caption = f"this pixel: {row['grey value']:.0f}"
        name = row["method"]
        line.append(
            Panel(crops[f"{case}/{name}"], LABELS[name], caption, limits, arrow)
        )
    return line


def _report_puncta(rows: Sequence[Row], out: Path) -> list[str]:
    if not values(rows, PUNCTA, "error beside"):
        return [f"## Single bright pixels\n\n{NOT_RUN}"]
    measures = {
        recovered_name(height): (f"{height:g} × noise", ".0%") for height in HEIGHTS
    }
    measures["error beside"] = ("error elsewhere (grey values)", ".1f")
    curves = {}
    for name in LABELS:
        means = [values(rows, PUNCTA, recovered_name(h)).get(name) for h in HEIGHTS]
        if name != RECORDED and all(mean is not None for mean in means):
            curves[LABELS[name]] = (
                HEIGHTS,
                [100 * mean.mean for mean in means if mean],
            )
    lines = lines_figure(
        curves,
        "How much of a single bright pixel is left",
        "height of the bright pixel (standard deviations of the noise)",
        "light recovered (%)",
    )
    save_figure(lines, out / f"{NAME}-puncta-lines.png")
    parts = [
        "## Single bright pixels (simulated)\n\n"
        "One pixel in 256 is brighter than its surroundings by 2, 4, 8 or 16 standard "
        "deviations of white Gaussian noise; the table says how much of that light the "
        "result still shows. 16 training frames of 128², scored on 8 other frames; "
        f"networks {_steps(rows, PUNCTA)}. *Blind*: the network "
        "does not see the pixel that it predicts, as in training; in one pass it "
        "does.\n\n" + _table(rows, PUNCTA, measures),
        f"![]({NAME}-puncta-lines.png)",
    ]
    crops = read_crops(out / f"{NAME}-{PUNCTA}.npz")
    if crops:
        limits = (60.0, 420.0)
        names = [n for n in LABELS if f"{PUNCTA}/{n}" in crops and "blind" not in n]
        line = [
            Panel(crops[f"{PUNCTA}/{name}"], LABELS[name], "", limits) for name in names
        ]
        figure = panels_figure([line], "Single bright pixels on a soft background")
        save_figure(figure, out / f"{NAME}-puncta.png")
        parts.append(f"![]({NAME}-puncta.png)")
    return parts


def _report_pattern(rows: Sequence[Row], out: Path) -> list[str]:
    if not values(rows, PATTERN, "pattern left"):
        return [f"## Structured noise, added\n\n{NOT_RUN}"]
    measures = {
        "pattern left": ("pattern left (share of its variance)", ".1%"),
        "noise left": ("independent noise left", ".1%"),
        "psnr": ("PSNR (dB)", ".2f"),
    }
    parts = [
        "## Structured noise, added to photographs (the paper's Fig. 6, a to c)\n\n"
        f"White noise of standard deviation {NOISE_SD:g} and a checkerboard of "
        f"{SQUARE} x {SQUARE} pixels that goes up and down by {AMPLITUDE:g} grey "
        "values, begun elsewhere in each image. CARE was taught with clean images that "
        "the pattern is no signal; methods that see noisy images alone cannot know "
        f"it. Networks {_steps(rows, PATTERN)}.\n\n" + _table(rows, PATTERN, measures)
    ]
    crops = read_crops(out / f"{NAME}-{PATTERN}.npz")
    if not crops:
        return parts
    limits = display_limits(crops[f"{PATTERN}/truth"])
    left = values(rows, PATTERN, "pattern left")
    line = []
    for name in [n for n in LABELS if f"{PATTERN}/{n}" in crops]:
        caption = f"pattern left: {left[name].mean:.0%}" if name in left else ""
        line.append(Panel(crops[f"{PATTERN}/{name}"], LABELS[name], caption, limits))
    title = "A checkerboard hidden in the noise of a photograph"
    figure = panels_figure([line], title, side=2.4)
    save_figure(figure, out / f"{NAME}-{PATTERN}.png")
    return [*parts, f"![]({NAME}-{PATTERN}.png)"]


FRAME_ROWS = {
    REAL: "as recorded",
    SHUFFLED: "each pixel's grey values\nshuffled among the frames",
}


def _report_frames(rows: Sequence[Row], out: Path) -> list[str]:
    if not values(rows, REAL, "fluctuation left"):
        return [f"## Structured noise, recorded\n\n{NOT_RUN}"]
    measures = {
        "correlation along x": ("neighbours along x", ".2f"),
        "correlation along y": ("along y", ".2f"),
        "fluctuation left": ("variance between frames that is left", ".1%"),
    }
    parts = [
        "## Structured noise, recorded (the paper's Fig. 6, d and e)\n\n"
        "Two-photon frames of one place, 20 of 256². Their noise is alike in "
        "neighbours along the scanned line: the table shows the correlation of "
        "neighbours in the difference of successive frames. There is no truth, so the "
        "control is the same recording with the grey values of each pixel shuffled "
        "among the frames: the same scene and the same noise in each pixel, but "
        "independent of its neighbours (what truly changed from frame to frame "
        f"becomes noise there too). Networks {_steps(rows, REAL)}."
    ]
    for case, text in FRAME_ROWS.items():
        if values(rows, case, "fluctuation left"):
            words = text.replace("\n", " ")
            parts.append(f"### {words.capitalize()}\n\n{_table(rows, case, measures)}")
    return [*parts, *_frame_pictures(rows, out)]


def _frame_pictures(rows: Sequence[Row], out: Path) -> list[str]:
    pictures, labels = [], []
    for case, text in FRAME_ROWS.items():
        crops = read_crops(out / f"{NAME}-{case}.npz")
        left = values(rows, case, "fluctuation left")
        names = [name for name in LABELS if f"{case}/{name}" in crops]
        if RECORDED not in names:
            continue
        limits = (0.0, float(np.quantile(crops[f"{case}/{RECORDED}"], 0.97)))
        pictures.append(
            [
                Panel(
                    crops[f"{case}/{name}"],
                    LABELS[name],
                    ""
                    if name == RECORDED
                    else f"frame-to-frame variance left: {left[name].mean:.1%}",
                    limits,
                )
                for name in names
            ]
        )
        labels.append(text)
    if not pictures:
        return []
    title = "Noise that neighbours share looks like structure"
    figure = panels_figure(pictures, title, row_labels=labels, side=2.8)
    save_figure(figure, out / f"{NAME}-{REAL}.png")
    return [f"![]({NAME}-{REAL}.png)"]


CASE_WORDS = {
    PUNCTA: "single bright pixels",
    PATTERN: "photographs with a pattern",
    REAL: "two-photon frames",
    SHUFFLED: "two-photon frames, shuffled",
}


def _report_notices(rows: Sequence[Row]) -> list[str]:
    """Say what the program said of these data, before and while it trained on them."""
    checked, trained = [], []
    for case, words in CASE_WORDS.items():
        said = {(row["method"], row["notices"]) for row in rows if row["case"] == case}
        for method, notices in sorted(said):
            if method == RECORDED:
                checked.append(f"- {words}: {notices or 'nothing amiss'}")
            else:
                trained.append(f"- {words}, {LABELS[method]}: {notices or 'nothing'}")
    if not checked and not trained:
        return []
    return [
        "## What the program says about these data\n\n"
        "Word by word. The [check of the data](../how-to/check-your-data.md), which "
        "the viewer offers before a training, finds noise that neighbours share in a "
        "recording of one place. A single bright pixel that moves from frame to frame "
        "it cannot tell from a structure, nor a weak pattern within each of many "
        "unlike images:\n\n" + "\n".join(checked),
        "While training, the program says which estimate it uses. The error that it "
        "expects takes the noise model and its own result for true, so it cannot tell "
        "what is wrong with them:\n\n" + "\n".join(trained),
    ]
