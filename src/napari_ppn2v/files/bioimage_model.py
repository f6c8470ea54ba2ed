"""Packages of the BioImage Model Zoo: one zip with weights, description and test data.

The description follows version 0.5 of the model specification of bioimage.io. Weights
are TorchScript alone: a state dict would need this package to be of use.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.atomic import atomic_path
from napari_ppn2v.files.bioimage_card import GENERAL_DESCRIPTION
from napari_ppn2v.files.lazy import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from numpy.typing import NDArray

    from napari_ppn2v.files.bioimage_card import ModelCard

PACKAGE_SUFFIX = ".zip"
DESCRIPTION = "rdf.yaml"
FORMAT_VERSION = "0.5.12"
OBSERVATION, ESTIMATE, POSTERIOR_STD = "observation", "estimate", "posterior_std"
OURS = "napari_ppn2v"  # our part of the description's config

TAGS = (
    "denoising",
    "unsupervised",
    "noise2void",
    "pn2v",
    "2d",
    "unet",
    "pytorch",
    "microscopy",
)
PAPERS = (
    {
        "text": "Prakash, Lalit, Tomancak, Krull, Jug: Fully Unsupervised "
        "Probabilistic Noise2Void. IEEE ISBI 2020.",
        "doi": "10.1109/ISBI45749.2020.9098612",
    },
    {
        "text": "Krull, Buchholz, Jug: Noise2Void - Learning Denoising from Single "
        "Noisy Images. IEEE/CVF CVPR 2019.",
        "doi": "10.1109/CVPR.2019.00223",
    },
)

_NAMES = (DESCRIPTION, "bioimageio.yaml", "model.yaml")
_LARGEST_DESCRIPTION = 2_000_000  # bytes; they are kilobytes
_ROOM = 64  # pixels that the smallest input keeps beside its halos


@dataclass(frozen=True, kw_only=True)
class BioImageModel:
    """All that a package holds.

    Attributes
    ----------
    weights : a saved TorchScript module from observations to `outputs`
    torch_version : that wrote it
    stride, halo : of the network, pixels
    test_input : (B, 1, Y, X) float32, ADU
    test_outputs : what the module gives for it, by name, in order
    readme : Markdown
    cover : PNG
    attachments : further files by name
    facts : plain values that `info` shows
    """

    card: ModelCard
    weights: bytes
    torch_version: str
    stride: int
    halo: int
    test_input: NDArray[np.float32]
    test_outputs: dict[str, NDArray[np.float32]]
    readme: str
    cover: bytes
    attachments: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def smallest_side(stride: int, halo: int) -> int:
    """Smallest side of an input: both halos and some pixels that stay."""
    return -(-(2 * halo + _ROOM) // stride) * stride


def save_bioimage_model(path: str | PathLike[str], model: BioImageModel) -> Path:
    """Write a package, atomically.

    Raises
    ------
    CannotWrite  If the disk is full or the folder missing or read-only.
    """
    import yaml

    path = Path(path)
    files = {
        "weights.pt": model.weights,
        f"{OBSERVATION}.npy": _npy(model.test_input),
        f"{OBSERVATION}.tif": _tiff(model.test_input),
        **{f"{name}.npy": _npy(array) for name, array in model.test_outputs.items()},
        **{f"{name}.tif": _tiff(array) for name, array in model.test_outputs.items()},
        "README.md": model.readme.encode(),
        "cover.png": model.cover,
        **model.attachments,
    }
    text = yaml.safe_dump(
        _description(model, files), sort_keys=False, allow_unicode=True, width=88
    )
    files = {DESCRIPTION: text.encode(), **files}
    size = sum(len(content) for content in files.values())
    with (
        atomic_path(path, needed_bytes=size) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in files.items():
            # a fixed date: equal models make equal files
            entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return path


def is_bioimage_model(path: str | PathLike[str]) -> bool:
    """Whether a file is a zip that holds a description of bioimage.io."""
    try:
        with zipfile.ZipFile(path) as archive:
            return bool(set(_NAMES) & set(archive.namelist()))
    except (*DAMAGED, zipfile.BadZipFile):
        return False


def read_description(path: str | PathLike[str]) -> dict[str, Any]:
    """Return the description in a package, ours or anybody's, as plain values.

    Raises
    ------
    BadFile  If the file is missing, damaged, or holds no description.
    """
    import yaml

    path = Path(path)
    if not path.is_file():
        raise BadFile(f"There is no file {path}. Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in _NAMES if name in archive.namelist())
            if archive.getinfo(name).file_size > _LARGEST_DESCRIPTION:
                raise ValueError("the description is too large")
            found = yaml.safe_load(archive.read(name))
        if not isinstance(found, dict):
            raise ValueError("the description is foreign")
    except (*DAMAGED, StopIteration, zipfile.BadZipFile, yaml.YAMLError) as error:
        raise BadFile(
            f"{path.name} is not a package of the BioImage Model Zoo, or it is "
            "damaged. Make it again with napari-ppn2v export, or get another copy."
        ) from error
    return found


def _description(model: BioImageModel, files: dict[str, bytes]) -> dict[str, Any]:
    def described(name: str) -> dict[str, str]:
        digest = hashlib.sha256(files[name]).hexdigest()
        return {"source": name, "sha256": digest}

    card = model.card
    plain = {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": card.name,
        "description": card.description or GENERAL_DESCRIPTION,
        "authors": [author.as_plain() for author in card.authors],
        "license": card.licence,
        "documentation": described("README.md"),
        "covers": [described("cover.png")],
        "tags": list(dict.fromkeys([*TAGS, *card.tags])),
        "cite": [dict(paper) for paper in PAPERS],
        "attachments": [described(name) for name in model.attachments],
        "inputs": [
            _input(model) | _examples(described, OBSERVATION),
        ],
        "outputs": [
            _output(name, model.halo) | _examples(described, name)
            for name in model.test_outputs
        ],
        "weights": {
            "torchscript": {
                **described("weights.pt"),
                "pytorch_version": model.torch_version,
                "comment": "Observation in, estimate out, both in grey values.",
            }
        },
        "config": {
            "bioimageio": {"task": "denoising", "architecture_type": "2D U-Net"},
            OURS: model.facts,
        },
    }
    return {key: value for key, value in plain.items() if value not in ("", [])}


def _examples(
    described: Callable[[str], dict[str, str]], name: str
) -> dict[str, dict[str, str]]:
    """Name what programs compare (.npy) and what people open (.tif)."""
    return {
        "test_tensor": described(f"{name}.npy"),
        "sample_tensor": described(f"{name}.tif"),
    }


def _input(model: BioImageModel) -> dict[str, Any]:
    size = {
        "min": smallest_side(model.stride, model.halo),
        "step": model.stride,
    }
    return {
        "id": OBSERVATION,
        "description": "Noisy image as the camera wrote it, in grey values",
        "axes": [
            {"type": "batch"},
            {"type": "channel", "channel_names": [OBSERVATION]},
            {"type": "space", "id": "y", "size": dict(size), "concatenable": True},
            {"type": "space", "id": "x", "size": dict(size), "concatenable": True},
        ],
        "data": {"type": "float32"},
    }


def _output(name: str, halo: int) -> dict[str, Any]:
    words = {
        ESTIMATE: "Denoised image, in grey values",
        POSTERIOR_STD: "Standard deviation of each pixel of it, in grey values",
    }
    axes: list[dict[str, Any]] = [
        {"type": "batch"},
        {"type": "channel", "channel_names": [name]},
    ]
    for axis in ("y", "x"):
        size = {"tensor_id": OBSERVATION, "axis_id": axis}
        axes.append({"type": "space", "id": axis, "size": size})
        if halo:
            axes[-1]["halo"] = halo
    return {
        "id": name,
        "description": words[name],
        "axes": axes,
        "data": {"type": "float32"},
    }


def _tiff(array: NDArray[np.float32]) -> bytes:
    """Return the first image as a TIFF file."""
    import tifffile

    content = io.BytesIO()
    tifffile.imwrite(content, array[0, 0])
    return content.getvalue()


def _npy(array: NDArray) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()
