"""Open images of any supported format by what is in the file, not by its name.

No pixel is read until asked for, and nothing in a file is ever run as code.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.axes import check_axes
from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.archives import read_array_header
from napari_ppn2v.files.lazy import DAMAGED, LazyArray, RawArray, unreadable
from napari_ppn2v.files.source import ImageSource
from napari_ppn2v.files.stacks import stack_of_files
from napari_ppn2v.files.tiff_reading import open_tiff
from napari_ppn2v.files.units import Spacing
from napari_ppn2v.files.zarr_reading import is_zarr, open_zarr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

__all__ = ["ImageSource", "LazyArray", "Spacing", "open_image"]

SUFFIXES = (".tif", ".tiff", ".npy", ".zarr", ".lsm", ".stk")
"""Endings of what is taken from a folder."""

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NPY = b"\x93NUMPY"
_FOREIGN = {
    b"ZISRAWFILE": "a Zeiss CZI file",
    b"\xda\xce\xbe\x0a": "a Nikon ND2 file",
    b"\x89HDF": "an HDF5 file (or Imaris)",
    b"\xd0\xcf\x11\xe0": "a compound file (Olympus OIB or Zeiss ZVI)",
    b"\x70\x00\x00\x00": "a Leica LIF file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture, which has lost the camera's noise",
    b"PK\x03\x04": "a zip archive (or a NumPy .npz file)",
}


def open_image(
    path: str | PathLike[str] | Sequence[str | PathLike[str]],
    axes: str | None = None,
    series: int = 0,
) -> ImageSource:
    """Open TIFF (plain, OME, ImageJ), Zarr, OME-Zarr or .npy without reading pixels.

    Parameters
    ----------
    path
        A file, a Zarr folder, a folder of images, or a list of these. Several images
        are joined along time: along their T axis where they have one (the first axis
        where their axes are not known), else as one frame each. Files of a folder are
        taken in the order of the numbers in their names; where all names are alike up
        to numbers after t, z and c (img_t003_z12_c1.tif), these are their axes. What
        was understood is in `metadata["stack"]`.
    axes
        Letters of "TZCYX" for the axes of each file, in place of what it says.
    series
        Which image of a file that holds several, from 0.

    Raises
    ------
    BadFile  If a file is missing, empty, incomplete or of a foreign format, or files
        to be joined do not match.
    BadAxes  If `axes` do not fit.
    """
    if isinstance(path, (str, Path)) or hasattr(path, "__fspath__"):
        one = Path(path)
        if not one.is_dir() or is_zarr(one):
            return _open_one(one, axes, series)
        paths, folder = images_in(one), one.resolve().name
    else:
        paths, folder = [Path(item) for item in path], ""
    if not paths:
        raise BadFile("No image file was given. Name at least one.")
    if len(paths) == 1:
        return _open_one(paths[0], axes, series)
    return stack_of_files(
        paths, lambda item: _open_one(item, axes, series), folder=folder
    )


def _open_one(path: Path, axes: str | None, series: int) -> ImageSource:
    source = _opener(path)(path, series)
    known = "YX" if source.data.ndim == 2 and source.axes is None else source.axes
    return replace(
        source,
        axes=known if axes is None else check_axes(axes, source.data.shape),
        name=_display_name(path),
        metadata={**source.metadata, "files": (path.name,)},
    )


def _opener(path: Path) -> Any:
    """Choose the reader by the first bytes of the file.

    Raises
    ------
    BadFile  Naming the foreign format where it is a well-known one.
    """
    if path.is_dir():
        if is_zarr(path):
            return open_zarr
        raise BadFile(f"{path} is a folder but no Zarr image. Give the files in it.")
    start = _first_bytes(path)
    if start.startswith(_TIFF):
        return open_tiff
    if start.startswith(_NPY):
        return _open_npy
    kind = next((name for sign, name in _FOREIGN.items() if start.startswith(sign)), "")
    what = kind or "not an image of a known format"
    raise BadFile(
        f"The file {path} is {what}. Readable are TIFF, OME-TIFF, Zarr, OME-Zarr and "
        ".npy; export the image as OME-TIFF, for example with Fiji or with the "
        "microscope's software, without lossy compression."
    )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError as error:
        raise BadFile(
            f"There is no file {path}. Check the spelling and the folder."
        ) from error
    except OSError as error:
        raise BadFile(
            f"The file {path} cannot be opened: {error.strerror}. Check that you may "
            "read it and that the drive is connected."
        ) from error
    if not start:
        raise BadFile(f"The file {path} is empty (0 bytes). Copy it again.")
    return start


def _open_npy(path: Path, series: int = 0) -> ImageSource:
    try:
        header = read_array_header(path)
    except DAMAGED as error:
        raise unreadable(path, error) from error
    data = RawArray(
        path,
        shape=header.shape,
        dtype=header.dtype,
        offset=header.offset,
        is_fortran=header.is_fortran,
    )
    return ImageSource(data=data, axes=None, metadata={"format": "npy"})


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, frame2 before frame10; raises BadFile."""
    found = [
        item
        for item in folder.iterdir()
        if item.suffix.lower() in SUFFIXES and not item.name.startswith(".")
    ]
    if not found:
        raise BadFile(
            f"The folder {folder} holds no images (files ending in "
            f"{', '.join(SUFFIXES)}). Check the path, or name the files themselves."
        )
    return sorted(found, key=natural_order)


def natural_order(path: Path) -> list[tuple[int, str]]:
    """Return the sort key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _display_name(path: Path) -> str:
    name = path.name
    return re.sub(r"(\.ome)?\.(tiff?|zarr|npy|lsm|stk)$", "", name, flags=re.IGNORECASE)
