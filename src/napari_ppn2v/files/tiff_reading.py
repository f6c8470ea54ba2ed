"""TIFF files of all dialects: plain, OME, ImageJ and what tifffile knows besides."""

from __future__ import annotations

import logging
import math
import re
import weakref
from contextlib import contextmanager
from html import unescape
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.expansion import check_piece
from napari_ppn2v.files.lazy import (
    DAMAGED,
    DecodedArray,
    LazyArray,
    RawArray,
    truncated,
    unreadable,
)
from napari_ppn2v.files.source import ImageSource, description_metadata
from napari_ppn2v.files.units import Spacing, canonical_unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import tifffile

_SPATIAL = {"X": "PhysicalSizeX", "Y": "PhysicalSizeY", "Z": "PhysicalSizeZ"}
_NAMED_FILE = re.compile(r"FileName\s*=\s*[\"']([^\"']*)[\"']")
_DAMAGE = (
    *("invalid page offset", "invalid value offset", "invalid offset", "corrupted"),
    "circular reference",
)
_RESOLUTION_PER_CENTIMETRE = 3


def open_tiff(path: Path, series: int = 0) -> ImageSource:
    """Open one series of a TIFF file without reading its pixels.

    Uncompressed series in one piece are mapped, all others are decoded strip by strip
    or tile by tile. Resolutions in dots per inch are print sizes and not taken for
    pixel sizes.

    Raises
    ------
    BadFile  If the file is no TIFF, incomplete, or compressed with a codec that is not
        installed, or has no such series.
    """
    import tifffile

    with _damage_noted() as damage:
        try:
            tif = tifffile.TiffFile(path)
        except DAMAGED as error:
            raise unreadable(path, error) from error
        try:
            len(tif.pages)  # finds lists that go round in circles, which others follow
            _check_named_files(tif, path)
            chosen = _chosen_series(tif, path, series)
            _check_complete(tif, chosen, path, damage)
            data = _pixels(tif, chosen, path)
        except DAMAGED as error:
            tif.close()
            raise unreadable(path, error) from error
        except BaseException:
            tif.close()
            raise
    if isinstance(data, RawArray):
        tif.close()
    try:
        pixel_size, metadata = _described(tif, series)
    except DAMAGED:  # what is said besides is no reason to refuse good pixels
        pixel_size, metadata = {}, {"format": "TIFF"}
    return ImageSource(
        data=data,
        axes=_our_axes(chosen.axes),
        pixel_size=pixel_size,
        metadata=metadata,
    )


def _check_named_files(tif: tifffile.TiffFile, path: Path) -> None:
    """Refuse an OME image whose further files lie outside of its folder.

    A file could otherwise have any other file, pipe or network drive opened.
    """
    named = _NAMED_FILE.findall(tif.ome_metadata or "") if tif.is_ome else []
    for name in named:
        if re.search(r"[/\\:\0]|^\.\.$", unescape(name)):
            raise BadFile(
                f"The OME-TIFF {path.name} names pixels in the file '{name[:80]}', "
                "outside of its own folder. Put the files of one image into one "
                "folder, or export it as a single file."
            )


def _chosen_series(tif: tifffile.TiffFile, path: Path, series: int) -> Any:
    try:
        found = tif.series
    except DAMAGED as error:
        raise unreadable(path, error) from error
    if not found:
        raise BadFile(
            f"The file {path} is a TIFF without an image in it. It may be damaged or "
            "incomplete; copy it again or export it once more."
        )
    if not 0 <= series < len(found):
        raise BadFile(
            f"The file {path} has {len(found)} image series, counted from 0; there is "
            f"no series {series}."
        )
    return found[series]


def _check_complete(
    tif: tifffile.TiffFile, series: Any, path: Path, damage: list[str]
) -> None:
    """Compare what the directory of pages promises with the length of the file."""
    if damage:
        raise truncated(path, "its list of pages breaks off")
    size = path.stat().st_size
    for page in (series.pages[0], series.pages[-1]):
        # parts of an OME series may lie in other files, or nowhere
        if page is None or page.parent is not tif:
            continue
        spans = zip(page.dataoffsets, page.databytecounts, strict=False)
        missing = max((start + count for start, count in spans), default=0) - size
        if missing > 0:
            raise truncated(path, f"at least {missing} bytes of pixels are missing")


def _pixels(tif: tifffile.TiffFile, series: Any, path: Path) -> LazyArray:
    if series.dtype is None or 0 in series.shape:
        raise BadFile(f"The file {path} holds no pixels. Export the image once more.")
    if series.dataoffset is not None:
        dtype = np.dtype(series.dtype).newbyteorder(tif.byteorder)
        return RawArray(path, shape=series.shape, dtype=dtype, offset=series.dataoffset)
    import zarr

    _bound_expansion(series, path)
    try:
        store = series.aszarr(level=0)
        data = DecodedArray(path, zarr.open(store, mode="r"))
    except DAMAGED as error:
        raise unreadable(path, error) from error
    data.probe()
    weakref.finalize(data, tif.close)
    return data


def _bound_expansion(series: Any, path: Path) -> None:
    """Have every strip or tile measured before it is unpacked."""
    page = series.keyframe
    wanted = math.prod(page.chunks) * np.dtype(page.dtype).itemsize
    check_piece(path, b"", wanted)
    decode = page.decode

    def bounded(data: bytes | None, *arguments: Any, **options: Any) -> Any:
        check_piece(path, data or b"", wanted)
        return decode(data, *arguments, **options)

    page.decode = bounded


def _our_axes(axes: str) -> str | None:
    """Letters of tifffile as ours: samples are channels, unnamed axes are unknown."""
    axes = axes.upper()
    if "C" not in axes:
        axes = axes.replace("S", "C")
    is_known = set(axes) <= set("TZCYX") and {"Y", "X"} <= set(axes)
    return axes if is_known and len(set(axes)) == len(axes) else None


def _described(
    tif: tifffile.TiffFile, series: int
) -> tuple[dict[str, Spacing], dict[str, Any]]:
    if tif.is_ome and tif.ome_metadata:
        return _from_ome(tif.ome_metadata, series)
    if tif.is_imagej and tif.imagej_metadata is not None:
        return _from_imagej(tif)
    page = tif.pages.first
    scale = {}
    if page.tags.valueof("ResolutionUnit") == _RESOLUTION_PER_CENTIMETRE:
        scale = _resolution(page, "µm", 1e4)
    is_structured = tif.is_shaped or tif.is_ome
    text = None if is_structured else str(page.description)
    return scale, {"format": "TIFF", **description_metadata(text)}


def _from_ome(xml: str, series: int) -> tuple[dict[str, Spacing], dict[str, Any]]:
    metadata: dict[str, Any] = {"format": "OME-TIFF"}
    try:
        images = ElementTree.fromstring(xml).findall("{*}Image")
    except ElementTree.ParseError:
        return {}, metadata
    if series >= len(images):
        return {}, metadata
    metadata |= description_metadata(images[series].findtext("{*}Description"))
    pixels = images[series].find("{*}Pixels")
    if pixels is None:
        return {}, metadata
    names = [channel.get("Name") for channel in pixels.findall("{*}Channel")]
    if any(names):
        metadata["channel_names"] = tuple(name or "" for name in names)
    scale = {
        axis: _spacing(pixels.get(key), pixels.get(f"{key}Unit", "µm"))
        for axis, key in _SPATIAL.items()
    }
    scale["T"] = _spacing(
        pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s")
    )
    return {axis: found for axis, found in scale.items() if found}, metadata


def _from_imagej(
    tif: tifffile.TiffFile,
) -> tuple[dict[str, Spacing], dict[str, Any]]:
    found = tif.imagej_metadata or {}
    metadata: dict[str, Any] = {"format": "ImageJ TIFF"}
    metadata |= description_metadata(str(found.get("Info", "")))
    unit = str(found.get("unit", ""))
    scale = _resolution(tif.pages.first, unit, 1.0)
    if canonical_unit(unit) in ("", "pixel"):
        scale = {}
    elif depth := _spacing(found.get("spacing"), unit):
        scale["Z"] = depth
    if interval := _spacing(found.get("finterval"), str(found.get("tunit", "s"))):
        scale["T"] = interval
    return scale, metadata


def _resolution(page: Any, unit: str, factor: float) -> dict[str, Spacing]:
    """Pixel sizes from the tags that count pixels per unit."""
    scale = {}
    for axis in "XY":
        count, per = page.tags.valueof(f"{axis}Resolution") or (0, 1)
        if count > 0 and (found := _spacing(factor * per / count, unit)):
            scale[axis] = found
    return scale


def _spacing(value: Any, unit: str | None) -> Spacing | None:
    try:
        size = float(value)
    except (TypeError, ValueError):
        return None
    return Spacing(size, canonical_unit(unit)) if 0 < size < np.inf else None


@contextmanager
def _damage_noted() -> Iterator[list[str]]:
    """Collect what tifffile only logs, namely that a list of pages breaks off."""
    notes: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if any(sign in text for sign in _DAMAGE):
                notes.append(text)

    handler = Notes(logging.WARNING)
    logger = logging.getLogger("tifffile")
    logger.addHandler(handler)
    try:
        yield notes
    finally:
        logger.removeHandler(handler)
