"""Zarr arrays (v2, v3) and OME-Zarr images (0.4, 0.5), read only."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.expansion import check_piece
from napari_ppn2v.files.lazy import DAMAGED, DecodedArray, unreadable
from napari_ppn2v.files.source import ImageSource, description_metadata
from napari_ppn2v.files.units import Spacing, canonical_unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MARKERS = ("zarr.json", ".zarray", ".zgroup")
"""Files of which one lies in every Zarr array or group."""

_DESCRIPTIONS = (*MARKERS, ".zattrs", ".zmetadata")

PROVENANCE_KEY = "napari_ppn2v"
"""Attribute under which results keep the JSON of how they were made."""

_AXES = {"time": "T", "channel": "C", "depth": "Z", "row": "Y", "column": "X"}


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr array or group."""
    return any((path / marker).is_file() for marker in MARKERS)


def open_zarr(path: Path, series: int = 0) -> ImageSource:
    """Open a Zarr array, or the full resolution of an OME-Zarr image.

    Parameters
    ----------
    series
        Which image of a group that holds several.

    Raises
    ------
    BadFile  If there is no such image, or reading it would run code (pickled pixels).
    """
    try:
        return _image_of(path, series)
    except DAMAGED as error:  # any part of a description may be of any kind
        raise BadFile(
            f"What the Zarr image {path} says about itself is damaged or incomplete "
            f"({type(error).__name__}: {error}). Export it once more."
        ) from error


def _image_of(path: Path, series: int) -> ImageSource:
    node = _opened(path)
    if hasattr(node, "shape"):
        return _plain_array(path, node)
    attributes = dict(node.attrs)
    ome = attributes.get("ome", attributes)
    if "bioformats2raw.layout" in ome:
        if not is_zarr(path / str(series)):
            raise _no_series(path, series)
        return open_zarr(path / str(series))
    images = ome.get("multiscales")
    if images:
        if not 0 <= series < len(images):
            raise _no_series(path, series)
        return _ome_image(path, images[series], ome, attributes)
    arrays = sorted(name for name, _ in node.arrays())
    if len(arrays) == 1:
        return open_zarr(path / arrays[0])
    listed = ", ".join(arrays) or "none"
    raise BadFile(
        f"The Zarr group {path} is no OME-Zarr image; the arrays in it: {listed}. Give "
        "the path of one of them, for example image.zarr/0."
    )


def _opened(path: Path) -> Any:
    import zarr

    try:
        if _needs_pickle(path):
            raise _holds_objects(path)
        node = zarr.open(str(path), mode="r")
        return _bounded(path, node) if hasattr(node, "shape") else node
    except DAMAGED as error:
        raise BadFile(
            f"The folder {path} cannot be opened as Zarr: {error}. Check that it was "
            "copied completely, hidden files included."
        ) from error


def _bounded(path: Path, array: Any) -> Any:
    """Open an array again so that its chunks are measured before they are unpacked."""
    import zarr
    from zarr.storage import LocalStore, WrapperStore

    pieces = getattr(array, "shards", None) or array.chunks
    wanted = math.prod(pieces) * array.dtype.itemsize
    check_piece(path, b"", wanted)

    class Measured(WrapperStore):
        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
            found = await super().get(key, prototype, byte_range)
            if found is not None and not key.endswith(_DESCRIPTIONS):
                check_piece(path, found.to_bytes(), wanted)
            return found

    return zarr.open_array(Measured(LocalStore(path, read_only=True)), mode="r")


def _holds_objects(path: Path) -> BadFile:
    return BadFile(
        f"The Zarr array {path} holds Python objects or text, and reading such files "
        "could run foreign code. Save the image as integers or real numbers."
    )


def _no_series(path: Path, series: int) -> BadFile:
    return BadFile(f"The Zarr group {path} has no image {series}, counted from 0.")


def _checked(path: Path, array: Any) -> DecodedArray:
    if not hasattr(array, "shape"):
        raise BadFile(f"There is a group and no array in {path}. Export it once more.")
    if array.dtype.kind not in "biufc":
        raise _holds_objects(path)
    try:
        return DecodedArray(path, array)
    except DAMAGED as error:
        raise unreadable(path, error) from error


def _needs_pickle(path: Path) -> bool:
    """Whether a Zarr array names the codec that unpickles what it reads."""
    for marker in ("zarr.json", ".zarray"):
        text = (path / marker).read_text("utf-8") if (path / marker).is_file() else ""
        if text and "pickle" in _codec_names(json.loads(text)):
            return True
    return False


def _codec_names(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {str(value.get(key, "")).rpartition(".")[2] for key in ("id", "name")}
        return own.union(*(_codec_names(part) for part in value.values()))
    if isinstance(value, list):
        return set().union(*(_codec_names(part) for part in value))
    return set()


def _plain_array(path: Path, array: Any) -> ImageSource:
    attributes = dict(array.attrs)
    names = getattr(array.metadata, "dimension_names", None)
    names = names or attributes.get("_ARRAY_DIMENSIONS")
    return ImageSource(
        data=_checked(path, array),
        axes=_our_axes(names or ()),
        metadata={"format": "Zarr"},
    )


def _ome_image(
    path: Path, image: dict[str, Any], ome: dict[str, Any], attributes: dict[str, Any]
) -> ImageSource:
    try:
        axes = [
            axis if isinstance(axis, dict) else {"name": axis}
            for axis in image.get("axes", [])
        ]
        level = image["datasets"][0]
        full = path / str(level["path"])
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise BadFile(
            f"The description of the OME-Zarr image {path} is incomplete ({error!r}). "
            "Export it once more."
        ) from error
    if not full.resolve().is_relative_to(path.resolve()):
        raise BadFile(f"The OME-Zarr image {path} points outside of its own folder.")
    letters = _our_axes([axis.get("name", "") for axis in axes])
    metadata: dict[str, Any] = {"format": f"OME-Zarr {_version(image, ome)}"}
    metadata |= description_metadata(attributes.get(PROVENANCE_KEY))
    labels = [c.get("label", "") for c in ome.get("omero", {}).get("channels", [])]
    if any(labels):
        metadata["channel_names"] = tuple(labels)
    return ImageSource(
        data=_checked(full, _opened(full)),
        axes=letters,
        pixel_size=_pixel_size(letters, axes, [image, level]),
        metadata=metadata,
    )


def _version(image: dict[str, Any], ome: dict[str, Any]) -> str:
    return str(ome.get("version") or image.get("version") or "of unknown version")


def _our_axes(names: Sequence[str | None]) -> str | None:
    letters = [str(name or "") for name in names]
    axes = "".join(_AXES.get(name.lower(), name.upper()) for name in letters)
    is_known = set(axes) <= set("TZCYX") and {"Y", "X"} <= set(axes)
    return axes if is_known and len(axes) == len(set(axes)) == len(letters) else None


def _pixel_size(
    letters: str | None, axes: list[dict[str, Any]], scaled: list[dict[str, Any]]
) -> dict[str, Spacing]:
    """Pixel sizes: the product of the scales of the image and of its first level."""
    if letters is None:
        return {}
    sizes = [1.0] * len(letters)
    for part in scaled:
        for transformation in part.get("coordinateTransformations", []):
            scale = transformation.get("scale", [])
            if len(scale) == len(sizes):
                sizes = [
                    size * float(by) for size, by in zip(sizes, scale, strict=True)
                ]
    # a size of 1 without a unit is the way OME-Zarr says "not known"
    return {
        letter: Spacing(size, canonical_unit(axis.get("unit")))
        for letter, axis, size in zip(letters, axes, sizes, strict=True)
        if letter != "C" and size > 0 and (axis.get("unit") or size != 1)
    }
