"""`demo`: the whole bootstrapped pipeline on simulated images, in minutes."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.denoise import EXIT_STOPPED, tell
from napari_ppn2v.cli.evaluate import SCORES, score_files
from napari_ppn2v.cli.output import say, show, table
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.cli.simulate import make_camera, write_sample
from napari_ppn2v.cli.stopping import stop_on_interrupt

FRAMES = 8
PHOTONS = 200.0
"""Bright enough for the noise model to show: noise grows sixfold with the signal."""

STEPS = 400


def demo(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for everything."),
    ] = Path("demo"),
    steps: Annotated[int, typer.Option(help="Training steps in all.")] = STEPS,
    size: Annotated[int, typer.Option(help="Side of the simulated frames.")] = 256,
    seed: Annotated[int, typer.Option(help="Same seed, same demo.")] = 0,
    device: o.Device = None,
    threads: o.Threads = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Simulate an sCMOS recording, denoise it, and compare with the truth.

    Runs in minutes without a graphics card and leaves in the folder what every run
    leaves: denoised OME-TIFF, noise model with its plot, picture of before and after,
    curves, model, settings. The simulated recording is in the folder 'sample'.

    For example:

        napari-ppn2v demo -o demo
    """
    from napari_ppn2v.cli.requests import denoise_request

    sample = out / "sample"
    noisy, truth = sample / "observation.tif", sample / "truth.tif"
    request = {
        "noisy": [noisy],
        "out": out,
        "preset": "fast",
        "steps": steps,
        "seed": seed,
        "device": device or "auto",
        "threads": threads,
        "overwrite": overwrite,
    }
    say("Simulating an sCMOS camera...")
    write_sample(
        sample,
        make_camera("scmos"),
        n_frames=FRAMES,
        size=size,
        photons=PHOTONS,
        psnr=None,
        n_calibration=20,
        seed=seed,
        is_overwriting=overwrite,
    )
    with stop_on_interrupt() as stop:
        from napari_ppn2v.pipeline.file_jobs import denoise_files

        report = run_with_progress(denoise_files(denoise_request(request), stop))
    from napari_ppn2v.cli.pictures import draw_pictures

    draw_pictures(report, truth=truth)
    tell(report)
    if report.is_stopped:
        raise typer.Exit(EXIT_STOPPED)
    before = score_files(noisy, truth)
    after = score_files(report.results[0].target.result, truth)
    rows = [
        (SCORES[name], f"{before[name].mean:.2f}", f"{after[name].mean:.2f}")
        for name in SCORES
    ]
    show(table(("", "before", "after"), rows))
