"""PSNR against the noise added to photographs (Krull et al. 2019, Fig. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common import markdown_table
from evidence.experiments.bsd68 import by_repeat
from evidence.filling import fill
from evidence.jobs import Job
from evidence.ledger import Ledger, Row, read_rows
from evidence.methods import METHODS
from evidence.photograph_runs import N_SEARCHED, WINDOWS
from evidence.pictures import lines_figure
from evidence.tables import NOT_RUN, Mean, write_page
from napari_ppn2v.figures.common import save_figure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

NAME = "noise-levels"
KEYS = ("sigma", "method", "steps", "repeat", "scored")
SIGMAS = (10.0, 25.0, 40.0, 60.0)
FILTERS = ("noisy", *WINDOWS, "nlm", "bm3d")
NETWORKS = ("n2v-ours", "auto-bootstrapped-ours", "care")
LABELS = {
    "noisy": "noisy input",
    "best mean": "mean filter, best of 3, 5, 7",
    "best median": "median filter, best of 3, 5, 7",
    "nlm": "non-local means",
    "bm3d": "BM3D",
    "n2v-published": "Noise2Void, as published",
    "n2v-ours": "Noise2Void, ours",
    "auto-bootstrapped-ours": "PN2V, ours",
    "care": "CARE (clean targets)",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the noise levels and how much is run."""
    parser.add_argument("--sigmas", type=float, nargs="+", default=SIGMAS)
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[*FILTERS, *NETWORKS],
        choices=[*FILTERS, *NETWORKS, "n2v-published"],
    )
    parser.add_argument(
        "--steps", type=int, default=600, help="of each training, all stages together"
    )
    parser.add_argument(
        "--images", type=int, default=68, help="score this many, evenly spread"
    )
    parser.add_argument("--filters", type=int, default=16, help="of the U-Net")
    parser.add_argument("--repeats", type=int, default=1)


def run(options: argparse.Namespace) -> None:
    """Do the runs that are not done yet."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    wanted = [
        _run(sigma, method, repeat, options)
        for repeat in range(options.repeats)
        for method in options.methods
        for sigma in options.sigmas
        if repeat == 0 or (method in METHODS and method not in FILTERS)
    ]
    fill(ledger, wanted, options.workers, _rows)


def _run(
    sigma: float, method: str, repeat: int, options: argparse.Namespace
) -> tuple[dict[str, Any], Job]:
    steps = 0 if method in FILTERS else options.steps
    values = (sigma, method, steps, repeat, options.images)
    scene = {"sigma": sigma, "repeat": repeat, "n_images": options.images}
    arguments = {"data": str(options.data), "method": method, "scene": scene}
    if steps:
        arguments |= {"steps": steps, "size": {"n_filters": options.filters}}
        arguments["shared"] = str(options.work / NAME / "shared")
    return dict(zip(KEYS, values, strict=True)), Job("photographs", arguments)


def _rows(job: Job, result: dict[str, Any]) -> list[Row]:
    return [{**image, **result["costs"]} for image in result["images"]]


# --- Reporting -------------------------------------------------------------------


def report(out: Path) -> None:
    """Write the table and the lines."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    scored = max(row["scored"] for row in rows)
    rows = [row for row in rows if row["scored"] == scored]
    found = levels(rows)
    curves = {
        LABELS[name]: (list(means), [mean.mean for mean in means.values()])
        for name, means in found.items()
    }
    title = f"Photographs: {scored} images of BSD68, the same for all methods"
    figure = lines_figure(
        curves, title, "standard deviation of the added noise", "PSNR (dB)"
    )
    save_figure(figure, out / f"{NAME}.png")
    write_page(
        out / f"{NAME}.md",
        "PSNR against the noise that is added",
        _introduction(rows, scored),
        _table(found),
        f"![]({NAME}.png)",
        "## Chosen by the grids\n\n" + _choices(rows),
    )


def levels(rows: Sequence[Row]) -> dict[str, dict[float, Mean]]:
    """Mean PSNR by method and noise level; of the windows the best at each level.

    Returns
    -------
    In the order of `LABELS`, the levels rising; absent where not run.
    """
    means: dict[tuple[str, float], Mean] = {}
    for name, sigma in {(row["method"], row["sigma"]): 0 for row in rows}:
        mine = [r for r in rows if r["method"] == name and r["sigma"] == sigma]
        means[name, sigma] = Mean.of(list(by_repeat(mine, "psnr").values()))
    for kind in ("mean", "median"):
        for sigma in {sigma for _, sigma in means}:
            sides = [
                mean
                for (name, level), mean in means.items()
                if level == sigma and name in WINDOWS and WINDOWS[name][0] == kind
            ]
            if sides:
                means[f"best {kind}", sigma] = max(sides, key=lambda mean: mean.mean)
    return {
        name: {level: means[name, level] for level in sorted(_of(means, name))}
        for name in LABELS
        if _of(means, name)
    }


def _of(means: dict[tuple[str, float], Mean], name: str) -> list[float]:
    return [level for method, level in means if method == name]


def _introduction(rows: Sequence[Row], scored: int) -> str:
    steps = sorted({row["steps"] for row in rows if row["steps"]})
    seconds = [row["train CPU s"] for row in rows if row.get("train CPU s", "") != ""]
    trained = (
        f"The networks (16 filters unless said otherwise) were trained for only "
        f"{', '.join(map(str, steps))} steps on the 400 training photographs, "
        f"{min(seconds):.0f} to {max(seconds):.0f} CPU s each: longer training gains "
        "most where there is least noise. "
        if seconds
        else ""
    )
    return (
        f"Gaussian noise added to photographs, not clipped; peak 255; mean over "
        f"{scored} of the 68 test images, evenly spread, whole. {trained}"
        "BM3D and non-local means know the standard deviation; h of non-local means "
        f"was found with the truth of {min(scored, N_SEARCHED)} images. Noise2Void and "
        "PN2V see single noisy "
        "images, CARE clean targets."
    )


def _table(found: dict[str, dict[float, Mean]]) -> str:
    sigmas = sorted({sigma for means in found.values() for sigma in means})
    rows = []
    for name, words in LABELS.items():
        means = found.get(name, {})
        cells = {f"σ = {sigma:g}": _cell(name, means.get(sigma)) for sigma in sigmas}
        rows.append({"PSNR (dB)": words, **cells})
    return markdown_table(rows)


def _cell(name: str, mean: Mean | None) -> str:
    if mean is None:
        return NOT_RUN
    return (
        mean.shown() if name in METHODS and name not in FILTERS else f"{mean.mean:.2f}"
    )


def _choices(rows: Sequence[Row]) -> str:
    chosen = {
        (row["sigma"], row["method"]): row["estimate"]
        for row in rows
        if row["method"] not in ("noisy", *WINDOWS)
    }
    lines = [
        f"- {LABELS[method]}, σ = {sigma:g}: {estimate}"
        for (sigma, method), estimate in sorted(chosen.items(), key=lambda i: i[0][1])
    ]
    return "\n".join(lines)
