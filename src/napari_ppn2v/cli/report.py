"""`report`: one page on a finished run."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.denoise import EXIT_STOPPED
from napari_ppn2v.cli.output import say, show
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.cli.stopping import stop_on_interrupt


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder of a finished run, or its result, or its model.",
            show_default=False,
        ),
    ],
    device: o.Device = None,
    threads: o.Threads = None,
) -> None:
    """Write a one-page report of a run: was the data fit, can one believe the result.

    The noisy images are read again and some of them denoised again; what was taken
    away is compared with the noise model, and the error of the result is estimated
    without ground truth. The page (report.html) holds its pictures and needs no
    network; report.json holds all figures.

    For example:

        napari-ppn2v report results

        napari-ppn2v report denoised.ome.tif
    """
    path = write(run, device, threads)
    if path is None:
        say("Stopped; no report was written.")
        raise typer.Exit(EXIT_STOPPED)
    show(str(path))


def write(run: Path, device: str | None, threads: int | None) -> Path | None:
    """Gather and write the report, with progress; None if stopped."""
    with stop_on_interrupt() as stop:
        from napari_ppn2v.pipeline.run_summary import summarise_run
        from napari_ppn2v.reports.make import write_report

        job = summarise_run(run, stop, device=device or "auto", n_threads=threads)
        summary = run_with_progress(job)
    return None if summary is None else write_report(summary)
