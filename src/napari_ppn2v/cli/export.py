"""`export`: a trained model for Fiji, ilastik and the BioImage Model Zoo."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.denoise import EXIT_STOPPED
from napari_ppn2v.cli.output import say, show
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.cli.stopping import stop_on_interrupt


def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="Model file (.ppn2v) of 'denoise' or 'train', or the folder of a run.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Name of the package, in .zip."),
    ],
    image: Annotated[
        Path | None,
        typer.Option(
            help="A noisy recording like those the model is for; part of its first "
            "frame becomes the test image and the picture. Default: simulated.",
            show_default=False,
        ),
    ] = None,
    axes: o.Axes = None,
    channel: o.Channel = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model. Default: made of that of its file."),
    ] = None,
    description: Annotated[
        str, typer.Option(help="One or two sentences: sample, microscope, camera.")
    ] = "",
    author: Annotated[
        list[str] | None,
        typer.Option(
            help="'Name; affiliation; ORCID; @github', all but the name optional. "
            "Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Identifier of the SPDX list, such as CC0-1.0.")
    ] = "CC-BY-4.0",
    tag: Annotated[
        list[str] | None,
        typer.Option(
            help="Word to find the model by; repeat it for several.", show_default=False
        ),
    ] = None,
    estimate: o.Estimate = None,
    blind: o.Blind = None,
    posterior_std: Annotated[
        bool,
        typer.Option(
            "--posterior-std", help="Give the uncertainty of each pixel, too."
        ),
    ] = False,
    average_orientations: o.AverageOrientations = None,
    threads: o.Threads = None,
    overwrite: o.Overwrite = False,
) -> None:
    """Write a trained model as a package of the BioImage Model Zoo.

    The package takes raw grey values and gives denoised ones: normalisation, noise
    model and estimate are inside. It is made for bioimageio.core and for programs that
    read the format, such as Fiji with deepImageJ, without napari-ppn2v. Estimate and
    blindness are by default what was chosen in training.

    For example:

        napari-ppn2v export cells.ppn2v -o cells.zip --image noisy.tif
    """
    with stop_on_interrupt() as stop:
        from napari_ppn2v.cli.requests import channel_number
        from napari_ppn2v.core.devices import threads as with_threads
        from napari_ppn2v.errors import BadSetting
        from napari_ppn2v.files.bioimage_card import (
            UNNAMED,
            Author,
            ModelCard,
            name_from,
        )
        from napari_ppn2v.pipeline.config import InferenceConfig
        from napari_ppn2v.pipeline.export_job import ExportRequest, export_file
        from napari_ppn2v.pipeline.inputs import check_threads

        number = channel_number(channel)
        if isinstance(number, str):
            raise BadSetting(
                "A package holds the model of one channel. Give its number, from 0, "
                "and export the others by themselves."
            )
        check_threads(threads)
        authors = tuple(Author.parse(text) for text in author or ())
        request = ExportRequest(
            model=model,
            out=out,
            image=image,
            axes=axes,
            channel=number,
            card=ModelCard(
                name=name or name_from(model.stem),
                description=description,
                authors=authors or (Author(UNNAMED),),
                licence=licence,
                tags=tuple(tag or ()),
            ),
            inference=InferenceConfig(
                estimate=estimate or "auto",
                blind=blind or "auto",
                posterior_std=posterior_std,
                average_orientations=bool(average_orientations),
            ),
            is_overwriting=overwrite,
        )
        with with_threads(threads):
            report = run_with_progress(export_file(request, stop))
    if report.path is None:
        say("Stopped. Nothing was written.")
        raise typer.Exit(EXIT_STOPPED)
    show(str(report.path))
