"""What the export says to the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_ppn2v.events import Notice

TITLE = "Export for other programs (BioImage Model Zoo)"
ABOUT = (
    "Writes the model as one .zip file, from which programs that read the format of "
    "the BioImage Model Zoo denoise without napari-ppn2v. Tried: bioimageio.core. Not "
    "tried: Fiji (deepImageJ), ilastik."
)
BUTTON_HELP = (
    "Asks for a file name, writes the package, and checks it: the model is loaded from "
    "it again and denoises its test image. To go on denoising here, save the model "
    "itself, too: packages cannot be loaded here."
)
STD = "posterior standard deviation as a second output"
STD_HELP = "Also give the uncertainty of each pixel, in grey values."
IMAGE = "test image and picture from a layer"
IMAGE_HELP = (
    "A recording like those the model is for. The middle of its first frame is what "
    "other programs test the model with, and the picture that people see."
)
SIMULATED = "Test image and picture are simulated; they show nothing of your sample."
NO_MODEL = "There is no trained model to export. Train one, or load one from a file."
STOPPED = "Stopped. Nothing was written."


def image_words(channel: int | None) -> str:
    """Say what of a layer becomes public.

    Parameters
    ----------
    channel : that is used, None where there is but one
    """
    which = "" if channel is None else f" (channel {channel})"
    return (
        f"The middle of its first frame{which} goes into the file. Choose a layer that "
        "may be published."
    )


def taken_words(path: Path) -> str:
    """Say that there is a file already."""
    return (
        f"There is a file {path.name} in {path.parent} already. Replace it, or choose "
        "another name."
    )


def done_words(path: Path, notices: Sequence[Notice]) -> str:
    """Say where the package is, and how near it is."""
    told = [notice.message for notice in notices if not notice.is_warning]
    return "\n".join([f"Saved {path.name} in {path.parent}.", *told])


def warning_words(notices: Sequence[Notice]) -> str:
    """Join what somebody should have chosen."""
    return "\n".join(notice.message for notice in notices if notice.is_warning)
