"""Read camera maps from .npz archives, folders of TIFFs or three TIFFs."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.camera_maps import CameraMaps
from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.archives import read_archive
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.lazy import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KINDS = ("offset", "gain", "variance")
_WORDS = {"offset": ("offset", "dark"), "gain": ("gain",), "variance": ("var",)}
_LARGEST = 4_000_000_000  # bytes; three maps of the largest sensors, 150 megapixels
_TIFFS = (".tif", ".tiff")


def load_camera_maps(
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
) -> CameraMaps:
    """Read per-pixel offset, gain and (if there) variance.

    Parameters
    ----------
    paths
        An .npz with arrays named offset, gain and variance, with or without a prefix
        (storm_offset); a folder that holds offset.tif, gain.tif and variance.tif; or
        such TIFFs one by one, told apart by their names.

    Raises
    ------
    BadFile  If something is missing, ambiguous or cannot be read.
    BadData  If the maps do not fit each other or are no calibration.
    """
    several = [paths] if isinstance(paths, str | PathLike) else paths
    files = [Path(item) for item in several]
    if len(files) == 1 and files[0].is_dir():
        folder = files[0]
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _TIFFS)
        name = folder.name
    else:
        name = ", ".join(path.name for path in files)
    for path in files:
        if not path.is_file():
            raise BadFile(f"There is no file of camera maps {path}. Check the path.")
    if len(files) == 1 and files[0].suffix.lower() == ".npz":
        arrays = _chosen(_read_npz(files[0]), name)
    else:
        arrays = _chosen({path.stem: _read_tiff(path) for path in files}, name)
    return CameraMaps.from_arrays(**arrays, name=name)


def _read_npz(path: Path) -> dict[str, NDArray]:
    try:
        return read_archive(path, largest=_LARGEST)
    except DAMAGED as error:
        raise BadFile(
            f"{path.name} cannot be read as camera maps ({error}). Give an "
            ".npz with the arrays offset, gain and variance, or three TIFFs."
        ) from error


def _read_tiff(path: Path) -> NDArray:
    """Read the pixels of a TIFF; raises BadFile."""
    data = open_image(path).data
    if data.nbytes > _LARGEST:
        raise BadFile(
            f"{path.name} holds {data.nbytes / 1e9:.1f} GB, which is no map of one "
            "value for each pixel of a camera. Give TIFFs of one frame, or one .npz."
        )
    return np.squeeze(data[...])


def _chosen(arrays: dict[str, NDArray], name: str) -> dict[str, NDArray]:
    """Find offset, gain and variance among arrays, by their names.

    Where there are several sets with prefixes, the one that holds offset and gain.
    """
    sets: dict[str, dict[str, NDArray]] = {}
    for key, values in arrays.items():
        low = key.lower()
        for kind in KINDS:
            word = next((w for w in _WORDS[kind] if w in low), None)
            if word is not None:
                sets.setdefault(low.partition(word)[0], {})[kind] = values
                break
    complete = {p: s for p, s in sets.items() if {"offset", "gain"} <= set(s)}
    if len(complete) != 1:
        found = ", ".join(sorted(arrays)) or "nothing"
        what = "several sets of maps" if complete else "no map of offset and of gain"
        raise BadFile(
            f"{name} holds {what} (found: {found}). Name the maps offset, gain and, "
            "if known, variance, one of each."
        )
    return next(iter(complete.values()))
