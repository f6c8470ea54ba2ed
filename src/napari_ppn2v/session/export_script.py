"""The export of a model as a Python script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.files.bioimage_card import DEFAULT_LICENCE, UNNAMED
from napari_ppn2v.session.script_text import INDENT, ArraySource, Script

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_ppn2v.files.bioimage_card import Author, ModelCard
    from napari_ppn2v.pipeline.config import InferenceConfig
    from napari_ppn2v.pipeline.export_request import ExportModelRequest


def export_script(
    request: ExportModelRequest,
    out: Path,
    *,
    image: ArraySource | None = None,
    models: Sequence[Path] = (),
    overwrite: bool = False,
) -> str:
    """Write a script that exports a model, as a request says.

    Parameters
    ----------
    request : what is exported
    out : the package
    image : where `request.image` comes from
    models : files of the model, one for each channel; without them the script takes it
        from the session of the viewer
    overwrite : whether a package that is there is replaced

    Returns
    -------
    str
        Run, it leaves the report in `exported`.
    """
    name = request.model.name
    script = Script(f"Export the model '{name}' to the BioImage Model Zoo.", ())
    place = request.model.channels.index(request.channel)
    if models:
        script.add(f"denoiser = ppn2v.load_model({str(models[place])!r})")
    else:
        script.need("import napari")
        script.need("from napari_ppn2v.session.session import session_of")
        script.add(
            "# the model is in no file: run this in the console of napari, or save the",
            "# model and load it here",
            "session = session_of(napari.current_viewer())",
            f"denoiser = session.denoisers[{name!r}].denoisers[{place}]",
        )
    call: dict[str, str] = {}
    if image is not None:
        script.load("image", image)
        call |= {"image": "image", "axes": repr(image.axes)}
        if request.image_channel is not None:
            call["channel"] = str(request.image_channel)
    call |= _card_options(request.card) | _inference_options(request.inference)
    if overwrite:
        call["overwrite"] = "True"
    lines = ["denoiser", repr(str(out)), *(f"{k}={v}" for k, v in call.items())]
    script.add("", "exported = ppn2v.export_bioimage_model(")
    script.add(*(f"{INDENT}{line}," for line in lines), ")")
    script.add("print(exported.path, exported.difference)")
    return script.text()


def _card_options(card: ModelCard) -> dict[str, str]:
    options = {"name": repr(card.name)}
    if card.description:
        options["description"] = repr(card.description)
    named = [_author_text(author) for author in card.authors if author.name != UNNAMED]
    if named:
        options["authors"] = repr(named)
    if card.licence != DEFAULT_LICENCE:
        options["licence"] = repr(card.licence)
    if card.tags:
        options["tags"] = repr(list(card.tags))
    return options


def _author_text(author: Author) -> str:
    """Write an author so that `Author.parse` reads the same."""
    github = f"@{author.github_user}" if author.github_user else ""
    parts = (author.name, author.affiliation, author.orcid, github)
    return "; ".join(part for part in parts if part)


def _inference_options(inference: InferenceConfig) -> dict[str, str]:
    options = {}
    if inference.estimate != "auto":
        options["estimate"] = repr(inference.estimate)
    if inference.blind != "auto":
        options["blind"] = str(inference.blind == "yes")
    for name in ("posterior_std", "average_orientations"):
        if getattr(inference, name):
            options[name] = "True"
    return options
