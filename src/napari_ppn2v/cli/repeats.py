"""`repeats`: the error of denoising, told by repeats of a static scene."""

# No future annotations here: typer reads the types themselves.

from dataclasses import asdict
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
    from napari_ppn2v.pipeline.repeats_check import RepeatsCheck


def repeats(
    noisy: Annotated[
        Path,
        typer.Argument(
            help="Recording of one static scene: the same field of view again and "
            "again, at least 4 frames (better 20).",
            show_default=False,
        ),
    ],
    axes: o.Axes = None,
    channel: o.Channel = None,
    method: o.Method = None,
    preset: o.Preset = None,
    steps: o.Steps = None,
    seed: o.Seed = None,
    noise_model: o.NoiseModelChoice = None,
    device: o.Device = None,
    threads: o.Threads = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """Measure the error of denoising with repeats of a static scene.

    Trains on the odd frames and scores them with the mean of the even ones, whose own
    noise is taken out; then the reverse. Frames are never scored with frames that were
    trained on. Scenes that move are refused. Takes two trainings, and writes no image.

    For example:

        napari-ppn2v repeats fixed_cell.tif --preset fast
    """
    given = {name: value for name, value in locals().items() if value is not None}
    with stop_on_interrupt() as stop:
        from napari_ppn2v.cli.requests import denoise_request
        from napari_ppn2v.core.devices import choose_devices
        from napari_ppn2v.core.devices import threads as with_threads
        from napari_ppn2v.pipeline.file_request import open_noise_source
        from napari_ppn2v.pipeline.inputs import open_noisy
        from napari_ppn2v.pipeline.repeats_check import check_with_repeats

        request = denoise_request({**given, "noisy": [noisy], "out": Path()})
        if isinstance(request.channel, str):
            raise BadSetting(
                "Channels are checked one by one. Give the number of one, for example "
                "--channel 0."
            )
        image = open_noisy((noisy,), axes, request.channel, "")[0]
        where, *others = choose_devices(request.device)
        job = check_with_repeats(
            image.frames[0],
            request.config,
            open_noise_source(request, image.channels[0]),
            device=where,
            stop=stop,
            other_devices=others,
        )
        with with_threads(request.threads):
            found = run_with_progress(job)
    if found is None:
        say("Stopped before both halves were trained; nothing is known yet.")
        raise typer.Exit(EXIT_STOPPED)
    show(_as_json(found) if as_json else _as_table(found))


def _as_json(found: "RepeatsCheck") -> str:
    from napari_ppn2v.files.atomic import as_json

    figures = {
        "rmse_adu": found.rmse,
        "rmse_standard_error_adu": found.standard_error,
        "psnr_db": found.psnr,
        "psnr_standard_error_db": found.psnr_error,
        "movement": found.movement,
        "halves": [asdict(score) for score in found.scores],
    }
    return as_json(figures, indent=2)


def _as_table(found: "RepeatsCheck") -> str:
    from napari_ppn2v.pipeline.repeats_check import HALVES

    head = ("trained on", "error", "±", "noisy", "reference", "PSNR (dB)")
    rows = [
        (
            name,
            f"{each.rmse:.3g}",
            f"{each.standard_error:.2g}",
            f"{each.noisy_rmse:.3g}",
            f"{each.reference_rmse:.3g}",
            f"{each.psnr:.2f}",
        )
        for name, each in zip(HALVES, found.scores, strict=True)
    ]
    return f"{table(head, rows)}\n\n{found.in_words}"
