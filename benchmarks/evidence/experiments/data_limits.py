"""How little data and light is enough: frames, electrons per pixel, bit depths."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from common import markdown_table
from evidence.filling import fill
from evidence.jobs import Job
from evidence.ledger import Ledger, Row, read_rows
from evidence.methods import CPU_SIZE, NOISY
from evidence.pictures import lines_figure
from evidence.tables import NOT_RUN, Mean, write_page
from napari_ppn2v.figures.common import save_figure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

NAME = "data-limits"
KEYS = ("method", "electrons", "frames", "side", "bits", "filled", "steps", "repeat")
ELECTRONS = (3.0, 30.0, 300.0, 3000.0)
FRAMES = (1, 3, 24)
BITS = (8, 12, 16)
BITS_AT = (100.0, 3)  # electrons and frames of the comparison of bit depths
METHODS = (NOISY.name, "n2v-ours", "auto-bootstrapped-ours")
LABELS = {
    NOISY.name: "noisy",
    "n2v-ours": "Noise2Void, ours",
    "auto-bootstrapped-ours": "PN2V, refined, ours (default)",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what is simulated and how much is trained."""
    parser.add_argument("--electrons", type=float, nargs="+", default=ELECTRONS)
    parser.add_argument("--frames", type=int, nargs="+", default=FRAMES)
    parser.add_argument("--bits", type=int, nargs="*", default=BITS)
    parser.add_argument("--side", type=int, default=256, help="of a frame, in pixels")
    parser.add_argument(
        "--steps", type=int, default=800, help="of each training, all stages together"
    )
    parser.add_argument("--filters", type=int, default=CPU_SIZE.n_filters)
    parser.add_argument("--repeats", type=int, default=1)


def run(options: argparse.Namespace) -> None:
    """Do the runs that are not done yet. The data are simulated: no folder is read."""
    ledger = Ledger(options.out / f"{NAME}.csv", KEYS)
    conditions = [(e, n, 16, 0) for n in options.frames for e in options.electrons]
    conditions += [(*BITS_AT, bits, 1) for bits in options.bits]
    wanted = [
        _run(method, *condition, repeat, options)
        for repeat in range(options.repeats)
        for condition in conditions
        for method in METHODS
    ]
    fill(ledger, wanted, options.workers, lambda _, result: [result])


def _run(
    method: str,
    electrons: float,
    frames: int,
    bits: int,
    filled: int,
    repeat: int,
    options: argparse.Namespace,
) -> tuple[dict[str, Any], Job]:
    steps = 0 if method == NOISY.name else options.steps
    values = (method, electrons, frames, options.side, bits, filled, steps, repeat)
    key = dict(zip(KEYS, values, strict=True))
    arguments = {name: value for name, value in key.items() if name != "filled"}
    arguments["fills_range"] = bool(filled)
    arguments["size"] = asdict(replace(CPU_SIZE, n_filters=options.filters))
    return key, Job("limits", arguments)


# --- Reporting -------------------------------------------------------------------


def report(out: Path) -> None:
    """Write the tables and the lines."""
    rows = read_rows(out / f"{NAME}.csv")
    if not rows:
        return
    light = [row for row in rows if not row["filled"]]
    figure = lines_figure(
        _curves(light),
        "A simulated sCMOS recording, denoised with nothing but itself",
        "electrons at the brightest pixel",
        "PSNR (dB)",
    )
    figure.axes[0].set_xscale("log")
    save_figure(figure, out / f"{NAME}.png")
    depths = [row for row in rows if row["filled"]]
    write_page(
        out / f"{NAME}.md",
        "How many frames, how much light",
        _introduction(rows),
        _table(light, ("electrons", "frames")),
        f"![PSNR against electrons for each number of frames]({NAME}.png)",
        "## Bit depth",
        f"{BITS_AT[1]} frames of {BITS_AT[0]:g} electrons, stretched so that the "
        "brightest signal takes three fifths of the range of the file.",
        _table(depths, ("bits",)) if depths else NOT_RUN,
        "## Command",
        "```\npython benchmarks/evidence data-limits .                  # as above\n"
        "python benchmarks/evidence data-limits . --side 512 --frames 1 3 24 1000 "
        "--steps 3000 --repeats 5\n```",
    )


def _introduction(rows: Sequence[Row]) -> str:
    trained = [row for row in rows if row["steps"]]
    steps = ", ".join(str(n) for n in sorted({row["steps"] for row in trained}))
    sides = ", ".join(f"{n}²" for n in sorted({row["side"] for row in rows}))
    seconds = [row["train CPU s"] for row in trained]
    cost = f" ({min(seconds):.0f} to {max(seconds):.0f} CPU s)" if seconds else ""
    return (
        "Simulated sCMOS recordings (read noise 1.6 electrons) of filaments, nuclei "
        f"and puncta, frames of {sides} pixels; trained on all frames for {steps} "
        f"steps of 8 patches of 64²{cost}, networks of 16 filters; no calibration. "
        "Scored is the first frame, which is the same whatever the number of frames "
        "and holds filaments; peak: range of its truth. *Estimate*: what the program "
        "chose, without the truth."
    )


def _curves(rows: Sequence[Row]) -> dict[str, tuple[list[float], list[float]]]:
    curves = {}
    for method in METHODS:
        for frames in sorted({row["frames"] for row in rows}):
            if method == NOISY.name and frames != min(row["frames"] for row in rows):
                continue  # the same frame
            mine = [r for r in rows if (r["method"], r["frames"]) == (method, frames)]
            levels = sorted({row["electrons"] for row in mine})
            means = [_mean(mine, electrons=level).mean for level in levels]
            named = "" if method == NOISY.name else f", {frames} frames"
            curves[LABELS[method] + named.replace("1 frames", "1 frame")] = (
                levels,
                means,
            )
    return curves


def _mean(rows: Sequence[Row], **named: Any) -> Mean:
    chosen = [r for r in rows if all(r[key] == value for key, value in named.items())]
    return Mean.of([row["psnr"] for row in chosen])


def _table(rows: Sequence[Row], keys: tuple[str, ...]) -> str:
    conditions = sorted({tuple(row[key] for key in keys) for row in rows})
    lines = []
    for condition in conditions:
        named = dict(zip(keys, condition, strict=True))
        mine = [r for r in rows if all(r[k] == v for k, v in named.items())]
        cells = {key: f"{value:g}" for key, value in named.items()}
        for method in METHODS:
            own = [row for row in mine if row["method"] == method]
            cells[LABELS[method]] = _mean(own).shown() if own else NOT_RUN
        chosen = {r["estimate"] for r in mine if r["method"] == METHODS[-1]}
        cells["estimate"] = "; ".join(sorted(chosen))
        lines.append(cells)
    return markdown_table(lines)
