"""`denoise` and `train`: from options to a request, and from the report to words."""

# No future annotations here: typer reads the types themselves.

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.output import say, show
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.cli.stopping import stop_on_interrupt
from napari_ppn2v.errors import BadSetting, PPN2VError

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.file_jobs import FileReport
    from napari_ppn2v.pipeline.file_request import DenoiseRequest

EXIT_STOPPED = 130


def denoise(
    noisy: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Noisy images (TIFF, OME-TIFF, Zarr, .npy), folders of images, or "
            "patterns. Several are trained together, so give those of one camera and "
            "one kind of sample.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A name in .tif, .ome.tif or .zarr: the result, with all else in a "
            "folder beside it. Otherwise a folder for everything.",
            show_default=False,
        ),
    ] = None,
    axes: o.Axes = None,
    channel: o.Channel = None,
    frames: o.Frames = None,
    as_stack: o.AsStack = False,
    calibration: o.Calibration = None,
    calibration_axes: o.CalibrationAxes = None,
    noise_model: o.NoiseModelChoice = None,
    noise_model_kind: o.NoiseModelKind = None,
    dark: o.Dark = None,
    offset: o.Offset = None,
    camera_maps: o.CameraMaps = None,
    method: o.Method = None,
    target: o.Target = None,
    target_axes: o.TargetAxes = None,
    preset: o.Preset = None,
    minutes: o.Minutes = None,
    steps: o.Steps = None,
    seed: o.Seed = None,
    estimate: o.Estimate = None,
    blind: o.Blind = None,
    tile_size: o.TileSize = None,
    posterior_std: o.PosteriorStd = None,
    average_orientations: o.AverageOrientations = None,
    dtype: o.Dtype = None,
    ome_zarr_version: o.OmeZarrVersion = None,
    device: o.Device = None,
    threads: o.Threads = None,
    dask_scheduler: o.DaskScheduler = None,
    dask_workers: o.DaskWorkers = None,
    report: o.Report = False,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Denoise noisy images with nothing but themselves.

    Without further options the noise model is estimated from the noisy images too
    (bootstrapped). Ctrl-C stops cleanly: the best weights are kept, and --resume goes
    on later.

    For example:

        napari-ppn2v denoise noisy.tif -o denoised.ome.tif

        napari-ppn2v denoise day1/*.tif -o results --minutes 10

        napari-ppn2v denoise cells.tif -o cells --calibration diaphragm.tif

        napari-ppn2v denoise two_colours.tif -o result.zarr --channel all

        napari-ppn2v denoise noisy.tif -o result.tif --method care --target clean.tif

        napari-ppn2v denoise -o results --resume
    """
    given = {name: value for name, value in locals().items() if value is not None}
    wants_report = given.pop("report")
    _run(given, wants_report=wants_report)


def train(
    noisy: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Noisy images, folders of images, or patterns.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Model file to write, ending in .ppn2v. Noise model, curves and "
            "settings go into a folder beside it.",
            show_default=False,
        ),
    ] = None,
    axes: o.Axes = None,
    channel: o.Channel = None,
    frames: o.Frames = None,
    as_stack: o.AsStack = False,
    calibration: o.Calibration = None,
    calibration_axes: o.CalibrationAxes = None,
    noise_model: o.NoiseModelChoice = None,
    noise_model_kind: o.NoiseModelKind = None,
    dark: o.Dark = None,
    offset: o.Offset = None,
    camera_maps: o.CameraMaps = None,
    method: o.Method = None,
    target: o.Target = None,
    target_axes: o.TargetAxes = None,
    preset: o.Preset = None,
    minutes: o.Minutes = None,
    steps: o.Steps = None,
    seed: o.Seed = None,
    estimate: o.Estimate = None,
    blind: o.Blind = None,
    device: o.Device = None,
    threads: o.Threads = None,
    resume: o.Resume = False,
    overwrite: o.Overwrite = False,
) -> None:
    """Train a model on noisy images, for 'apply' to use on these and others.

    For example:

        napari-ppn2v train day1/*.tif -o cells.ppn2v --preset thorough

        napari-ppn2v train a.tif -o cells.ppn2v --method n2n --target again.tif

        napari-ppn2v apply cells.ppn2v day2/*.tif -o results
    """
    given = {name: value for name, value in locals().items() if value is not None}
    if out is not None and out.suffix.lower() != ".ppn2v":
        raise BadSetting(
            f"The model file is named {out.name}, but model files end in .ppn2v. Name "
            f"it {out.name}.ppn2v, for example."
        )
    _run(given)


def _run(given: dict[str, Any], *, wants_report: bool = False) -> None:
    """Run the job that the options given describe, and say what came of it."""
    if "out" not in given:
        raise BadSetting("No output is given. Name it with -o, for example -o results.")
    with stop_on_interrupt() as stop:
        from napari_ppn2v.cli.requests import denoise_request
        from napari_ppn2v.pipeline.file_jobs import denoise_files

        request = denoise_request(given)
        try:
            report = run_with_progress(denoise_files(request, stop))
        except PPN2VError as error:
            if error.is_resumable:
                error.add_note(f"To go on then:  {_resuming(request)}")
            raise
    from napari_ppn2v.cli.pictures import draw_pictures

    draw_pictures(report)
    tell(report)
    if report.is_stopped:
        raise typer.Exit(EXIT_STOPPED)
    if wants_report:
        from napari_ppn2v.cli.report import write

        folder = report.files.folder
        page = write(folder, given.get("device"), given.get("threads"))
        say("The report was stopped." if page is None else f"Report: {page}")


def tell(report: "FileReport") -> None:
    """Say where everything is; paths of results on stdout, for scripts."""
    for written in report.results:
        show(str(written.target.result))
        if written.target.posterior_std is not None:
            show(str(written.target.posterior_std))
    if not report.files.results and not report.is_stopped:
        for channel in report.channels:
            show(str(channel.model))
    for channel in report.channels:
        say(f"Model: {channel.model}")
    if report.channels:
        say(f"Noise model, curves, pictures and settings: {report.files.folder}")
    if report.is_stopped:
        _tell_how_to_go_on(report)
        return
    total = sum(report.seconds.values())
    denoising = report.seconds.get("denoise", 0)
    say(f"Done in {total:.0f} s, {denoising:.1f} s of it denoising.")


def _tell_how_to_go_on(report: "FileReport") -> None:
    if report.files.record.exists():
        say(f"Stopped. To go on:  {_resuming(report.request)}")
    else:
        say("Stopped before anything was begun.")
    if report.channels and report.files.results:
        model = shlex.quote(str(report.channels[0].model))
        inputs = " ".join(shlex.quote(str(image.path)) for image in report.images)
        out = shlex.quote(str(report.request.out))
        say(f"To use the model as it is:  {_program()} apply {model} {inputs} -o {out}")


def _resuming(request: "DenoiseRequest") -> str:
    """Return the command that goes on with a run."""
    command = "train" if request.out.suffix.lower() == ".ppn2v" else "denoise"
    out = shlex.quote(str(request.out))
    return f"{_program()} {command} -o {out} --resume"


def _program() -> str:
    return Path(sys.argv[0]).name if sys.argv else "napari-ppn2v"
