"""What an opened image is, whatever its format."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - dataclass fields are documented types
from dataclasses import dataclass, field
from typing import Any

from napari_ppn2v.files.lazy import LazyArray  # noqa: TC001
from napari_ppn2v.files.units import Spacing  # noqa: TC001


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An opened image whose pixels are read when indexed.

    Attributes
    ----------
    data
        The pixels: an array with shape, dtype and indexing.
    axes
        One letter of "TZCYX" per axis of `data`; None where the file does not say
        (then `as_frames` guesses and says so).
    pixel_size
        Distance between neighbours for the axes of which it is known.
    name
        Short name for display, without folder and suffix.
    metadata
        "format" and "files" (their names); where the file holds them "description",
        "channel_names", and "provenance" (of results written by `files.results`); for
        several files "stack", a sentence on how they were joined.
    """

    data: LazyArray
    axes: str | None
    pixel_size: Mapping[str, Spacing] = field(default_factory=dict)
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> Any:
        """Type of the pixels."""
        return self.data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""
        return self.data.shape


def description_metadata(text: str | None) -> dict[str, Any]:
    """Return a file's description, and the provenance where it is one of ours."""
    if not text:
        return {}
    found: dict[str, Any] = {"description": text}
    if text.lstrip().startswith("{"):
        try:
            provenance = json.loads(text)
        except (ValueError, RecursionError):
            return found
        found["provenance"] = provenance
    return found
