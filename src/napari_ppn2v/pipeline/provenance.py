"""Where a result comes from: software, settings and data, as plain values."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_ppn2v import __version__
from napari_ppn2v.errors import BadFile
from napari_ppn2v.settings import check_type

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

_PACKAGES = ("torch", "numpy", "scipy", "tifffile", "zarr")


def software(*devices: torch.device) -> dict[str, str]:
    """Return versions of what computes, and on which devices it does."""
    # here, as the docks read settings too, and load no torch for it
    from napari_ppn2v.core.devices import describe_devices

    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "napari-ppn2v": __version__,
        "python": platform.python_version(),
        **versions,
        "platform": platform.platform(),
        "device": describe_devices(devices),
    }


def from_plain(kind: type[T], plain: Any) -> T:
    """Rebuild a settings dataclass from the dictionary that JSON gave back.

    Nested dataclasses, tuples, paths and optional values are restored by the types
    of the fields. The settings check themselves.

    Raises
    ------
    BadFile  If a field is missing that has no default, or one is not known.
    """
    try:
        return _restored(kind, plain)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise BadFile(
            f"The stored settings do not fit this version of napari-ppn2v ({error}). "
            "Use the version that wrote them, or begin a new run with --overwrite."
        ) from error


def _restored(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        for name, found in value.items():
            check_type(hints[name], found, name)
        return hint(**{name: _restored(hints[name], v) for name, v in value.items()})
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        known = [part for part in arguments if part is not types.NoneType]
        return value if value is None else _restored(known[0], value)
    if origin in (tuple, Sequence):
        if not isinstance(value, list | tuple):
            raise TypeError(f"{value!r} is no list")
        if (
            origin is tuple
            and arguments[-1] is not ...
            and len(value) != len(arguments)
        ):
            raise TypeError(f"{value!r} has not {len(arguments)} values")
        for item in value:
            check_type(arguments[0], item, "an entry of a list")
        return tuple(_restored(arguments[0], item) for item in value)
    if hint is not Path:
        return value
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise TypeError(f"{value!r} is not the name of a file")
    return Path(value)
