"""Export to the BioImage Model Zoo from Python."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.events import drain
from napari_ppn2v.files.bioimage_card import (
    DEFAULT_LICENCE,
    UNNAMED,
    Author,
    ModelCard,
    name_from,
)
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.pipeline.export_job import (
    ExportReport,
    check_package_name,
    export_denoiser,
)
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.events import Event


def export_bioimage_model(
    denoiser: Denoiser,
    path: str | PathLike[str],
    *,
    image: Any = None,
    axes: str | None = None,
    channel: int | None = None,
    name: str = "",
    description: str = "",
    authors: Sequence[str] = (),
    licence: str = DEFAULT_LICENCE,
    tags: Sequence[str] = (),
    estimate: str | None = None,
    blind: bool | None = None,
    posterior_std: bool = False,
    average_orientations: bool = False,
    overwrite: bool = False,
    on_event: Callable[[Event], None] | None = None,
    stop: StopToken | None = None,
) -> ExportReport:
    """Write a denoiser as a package of the BioImage Model Zoo.

    The package holds normalisation, network, noise model and the computation of the
    estimate as one TorchScript module from grey values to grey values, so that Fiji,
    ilastik or bioimageio.core run it without napari-ppn2v.

    Parameters
    ----------
    denoiser : from `train`, `denoise` or `load_model`
    path : of the package, a name in .zip
    image, axes, channel
        A recording like those it is for, as for `apply`. Part of its first frame
        becomes the test image and the picture; otherwise a scene is simulated.
    name, description : what others read first
    authors : each as "Name; affiliation; ORCID; @github", all but the name optional
    licence : identifier of the SPDX list
    tags : further words to find it by
    estimate, blind, average_orientations : as for `apply`
    posterior_std : whether the uncertainty is a second output
    overwrite : whether an earlier file may be replaced
    on_event : called with each event
    stop : ends it early; nothing is written then

    Returns
    -------
    ExportReport
        The path, and the largest difference from the denoiser on the test image.

    Raises
    ------
    PPN2VError  One of its kinds, with a message for the user.
    """
    path = Path(path)
    check_package_name(path, is_overwriting=overwrite)
    card = ModelCard(
        name=name or name_from(path.stem),
        description=description,
        authors=tuple(Author.parse(text) for text in authors) or (Author(UNNAMED),),
        licence=licence,
        tags=tuple(tags),
    )
    wanted = InferenceConfig(
        estimate=estimate or "auto",
        blind={None: "auto", True: "yes", False: "no"}[blind],
        posterior_std=posterior_std,
        average_orientations=average_orientations,
    )
    job = export_denoiser(
        settled(denoiser, wanted),
        path,
        card,
        stop or StopToken(),
        frames=None if image is None else as_frames(image, axes, channel),
        with_std=posterior_std,
    )
    return drain(job, on_event)
