"""`check`: whether data are fit for denoising, before any training."""

# No future annotations here: typer reads the types themselves.

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.denoise import EXIT_STOPPED
from napari_ppn2v.cli.output import say, show, table
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.cli.stopping import stop_on_interrupt
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.data_check import DataCheck

EXIT_UNFIT = 1
WIDTH = 78


def check(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Noisy images, folders of images, or patterns: those that are to be "
            "trained on together.",
            show_default=False,
        ),
    ] = None,
    axes: o.Axes = None,
    channel: o.Channel = None,
    frames: o.Frames = None,
    calibration: o.Calibration = None,
    calibration_axes: o.CalibrationAxes = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON instead.")
    ] = False,
) -> None:
    """Say whether images, a calibration, or both are fit for denoising.

    Reads a part of them, within seconds, and trains nothing. The exit status is 0
    where all is fine or needs care, and 1 where something will not work.

    For example:

        napari-ppn2v check noisy.tif

        napari-ppn2v check noisy.tif --calibration diaphragm.tif

        napari-ppn2v check noisy.tif --json > check.json
    """
    if not images and not calibration:
        raise BadSetting(
            "There is nothing to check. Name an image, or a --calibration, for "
            "example: napari-ppn2v check noisy.tif"
        )
    with stop_on_interrupt() as stop:
        from napari_ppn2v.cli.requests import channel_number
        from napari_ppn2v.pipeline.checking import check_opened
        from napari_ppn2v.pipeline.inputs import find_images, open_frames, open_noisy

        number = channel_number(channel)
        if isinstance(number, str):
            raise BadSetting(
                "Channels are checked one by one, as each has its own detector. Give "
                "the number of one, for example --channel 0."
            )
        paths = find_images(images) if images else ()
        opened = open_noisy(paths, axes, number, frames or "")
        sources = [image.frames[0] for image in opened]
        scenes = [
            open_frames(path, calibration_axes, number or 0)
            for path in calibration or ()
        ]
        found = run_with_progress(check_opened(sources, scenes, stop))
    show(found.as_json() if json else in_words(found))
    if found.is_stopped:
        say("Stopped before all was checked.")
        raise typer.Exit(EXIT_STOPPED)
    if found.verdict == "will not work":
        raise typer.Exit(EXIT_UNFIT)


def in_words(found: "DataCheck") -> str:
    """Lay out all findings: those that matter in full, the others in a table."""
    parts = [f"Verdict: {found.verdict}"]
    for each in (found, found.calibration):
        if each is not None:
            parts.append(_section(each))
    return "\n\n".join(parts)


def _section(found: "DataCheck") -> str:
    lines = [found.subject.capitalize()]
    for part in found.read:
        name = f"{part.name}: " if part.name else ""
        height, width = part.shape
        lines.append(
            f"{name}read {part.n_frames_read} of {part.n_frames} frames of {height} x "
            f"{width} pixels, {part.window[0]} x {part.window[1]} of each"
        )
    rows = [
        (each.name, each.verdict, "see below" if each.is_important else each.sentence)
        for each in found.findings
    ]
    lines += ["", table(("question", "verdict", "answer"), rows, left=(0, 1, 2))]
    for each in sorted(found.findings, key=lambda f: f.verdict == "careful"):
        if each.is_important:
            head = f"{each.name}: {each.verdict}"
            lines += ["", head, *_indented(each.sentence), *_indented(each.advice)]
    return "\n".join(lines)


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
