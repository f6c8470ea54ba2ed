"""Settings as frozen dataclasses whose fields carry their own documentation.

Forms, command-line help and the reference table are made from this metadata, so a
label, a unit or a range is written once.
"""

from __future__ import annotations

import math
import types
import typing
from dataclasses import MISSING, asdict, field, fields
from typing import Any, TypeVar

from napari_ppn2v.errors import BadSetting

T = TypeVar("T")


def setting(
    default: Any = MISSING,
    *,
    label: str,
    help: str,  # noqa: A002 - the word that forms and command lines use
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    suggestion: Any = None,
) -> Any:
    """Declare one dataclass field with its label, unit, allowed range and help.

    `suggestion` is what a form begins with when the user turns off the automatic
    choice of a setting whose default is None.
    """
    return field(
        default=default,
        metadata={
            "label": label,
            "help": help,
            "unit": unit,
            "minimum": minimum,
            "maximum": maximum,
            "choices": choices,
            "suggestion": suggestion,
        },
    )


def check_settings(config: Any) -> None:
    """Compare each field of a settings dataclass with its declared range.

    Raises
    ------
    BadSetting  Naming the label, the value and what is allowed. `None` is allowed
        wherever it is the default.
    """
    for item in fields(config):
        value = getattr(config, item.name)
        meta = item.metadata
        if not meta or (value is None and item.default is None):
            continue
        name = f"'{meta['label']}' ({item.name})"
        choices, low, high = meta["choices"], meta["minimum"], meta["maximum"]
        if choices is not None and value not in choices:
            raise BadSetting(
                f"{name} is {value!r}. Choose one of: {', '.join(choices)}."
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise BadSetting(f"{name} is {value}. Give a finite number.")
        if low is not None and not value >= low:
            raise BadSetting(f"{name} is {value}. It must be at least {low}.")
        if high is not None and not value <= high:
            raise BadSetting(f"{name} is {value}. It must be at most {high}.")


def as_plain(config: Any) -> dict[str, Any]:
    """Return a settings dataclass as a dictionary that JSON can hold."""
    return asdict(config)


def from_plain_settings(kind: type[T], plain: Any) -> T:
    """Rebuild a flat settings dataclass from what JSON gave back, types checked.

    Raises
    ------
    TypeError  If a field is unknown, or its value of another type than declared.
    BadSetting  If a value is outside of its range.
    """
    hints = typing.get_type_hints(kind)
    for name, value in plain.items():
        if name not in hints:
            raise TypeError(f"the setting {name!r} is not known")
        check_type(hints[name], value, name)
    return kind(**plain)


def check_type(hint: Any, value: Any, name: str) -> None:
    """Compare a plain value with the type of a field; whole numbers pass as float.

    Raises
    ------
    TypeError  Naming the field.
    """
    origin = typing.get_origin(hint)
    allowed = hint.__args__ if origin in (types.UnionType, typing.Union) else (hint,)
    for one in allowed:
        if one is float and type(value) in (int, float):
            return
        if one in (int, bool, str, types.NoneType) and type(value) is one:
            return
        if one not in (int, float, bool, str, types.NoneType):
            return  # of a kind that is restored and checked elsewhere
    raise TypeError(f"{name} is {value!r}, of another type than it should be")
