"""Pixel sizes and the names that different formats give to their units."""

from __future__ import annotations

from typing import NamedTuple


class Spacing(NamedTuple):
    """Distance between neighbours along one axis.

    `unit` is written as "nm", "µm", "mm", "s", "ms"... where it is known, as found
    where it is not, and is empty where the file states none.
    """

    size: float
    unit: str


# unit as shown to users -> (name in OME-Zarr, other spellings, in lower case)
_UNITS = {
    "pm": ("picometer", ()),
    "Å": ("angstrom", ("a", "\u212b")),
    "nm": ("nanometer", ()),
    "µm": ("micrometer", ("um", "\u03bcm", "micron", "microns", "\\u00b5m")),
    "mm": ("millimeter", ()),
    "cm": ("centimeter", ()),
    "m": ("meter", ()),
    "in": ("inch", ("inches",)),
    "ns": ("nanosecond", ("nsec",)),
    "µs": ("microsecond", ("us", "\u03bcs", "usec", "\\u00b5s")),
    "ms": ("millisecond", ("msec",)),
    "s": ("second", ("sec", "secs")),
    "min": ("minute", ()),
    "h": ("hour", ("hr",)),
}
_IN_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}


def _spellings() -> dict[str, str]:
    known: dict[str, str] = {}
    for unit, (name, others) in _UNITS.items():
        british = name.replace("meter", "metre")
        for spelling in (unit, name, name + "s", british, british + "s", *others):
            known[spelling.lower()] = unit
    return known


_KNOWN = _spellings()


def canonical_unit(text: str | None) -> str:
    """Return one spelling for each known unit, others as they are, None as ""."""
    text = str(text or "").strip()
    return _KNOWN.get(text.lower(), text)


def ome_unit(unit: str) -> str:
    """Name of a unit in OME-XML; "reference frame" for what OME does not know."""
    unit = canonical_unit(unit)
    return unit if unit in _UNITS or unit == "pixel" else "reference frame"


def zarr_unit(unit: str) -> str | None:
    """Name of a unit in OME-Zarr; None for what it does not know."""
    known = _UNITS.get(canonical_unit(unit))
    return known[0] if known else None


def micrometres(spacing: Spacing) -> float | None:
    """Length in µm; None where the unit is no length."""
    factor = _IN_MICROMETRES.get(canonical_unit(spacing.unit))
    return None if factor is None else spacing.size * factor
