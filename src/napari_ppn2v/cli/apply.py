"""`apply`: denoise further images with a trained model."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.denoise import EXIT_STOPPED
from napari_ppn2v.cli.output import say, show
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.cli.stopping import stop_on_interrupt


def apply(
    model: Annotated[
        Path,
        typer.Argument(
            help="Model file (.ppn2v) of 'denoise' or 'train', or the folder of a run.",
            show_default=False,
        ),
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Noisy images, folders of images, or patterns.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="A name in .tif, .ome.tif or .zarr for the result of one image, or a "
            "folder.",
            show_default=False,
        ),
    ],
    axes: o.Axes = None,
    channel: o.Channel = None,
    frames: o.Frames = None,
    as_stack: o.AsStack = False,
    camera_maps: o.CameraMaps = None,
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
    overwrite: o.Overwrite = False,
) -> None:
    """Denoise images with a trained model, in tiles and frame by frame.

    The model fits images of the same camera, gain and kind of sample as those it was
    trained on. Estimate and blindness are by default what was chosen in training.

    For example:

        napari-ppn2v apply cells.ppn2v new.tif -o new_denoised.ome.tif

        napari-ppn2v apply cells.ppn2v day2 -o results --posterior-std

        napari-ppn2v apply cells.ppn2v big.zarr -o out.zarr --dask-workers 8
    """
    with stop_on_interrupt() as stop:
        from napari_ppn2v.cli.requests import channel_number, cluster_choice
        from napari_ppn2v.pipeline.apply_job import ApplyRequest, apply_files
        from napari_ppn2v.pipeline.config import InferenceConfig

        request = ApplyRequest(
            model=model,
            images=tuple(images),
            out=out,
            inference=InferenceConfig(
                estimate=estimate or "auto",
                blind=blind or "auto",
                tile_size=512 if tile_size is None else tile_size,
                posterior_std=bool(posterior_std),
                average_orientations=bool(average_orientations),
            ),
            camera_maps=tuple(camera_maps or ()),
            axes=axes,
            channel=channel_number(channel),
            frames=frames or "",
            device=device or "auto",
            threads=threads,
            dtype=dtype or "float32",
            ome_zarr_version=ome_zarr_version or "0.5",
            as_stack=as_stack,
            cluster=cluster_choice(dask_scheduler, dask_workers),
            is_overwriting=overwrite,
        )
        report = run_with_progress(apply_files(request, stop))
    for written in report.results:
        show(str(written.target.result))
        if written.target.posterior_std is not None:
            show(str(written.target.posterior_std))
    if report.is_stopped:
        say("Stopped. The images listed are complete; run it again for the others.")
        raise typer.Exit(EXIT_STOPPED)
    say(f"Done in {report.seconds:.1f} s.")
