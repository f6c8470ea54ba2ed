"""Which plane a file of a series holds, where the names of all files agree on it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from napari_ppn2v.errors import BadFile

if TYPE_CHECKING:
    from collections.abc import Sequence

# a word that no letter goes before, and the number that belongs to it: img_t003, z-12
_TOKEN = re.compile(r"(?<![a-z])(time|channel|ch|t|z|c)([-_ ]?)(\d+)")
_ORDER = "TZC"
_SHOWN = 3


@dataclass(frozen=True)
class NamedGrid:
    """Files laid out along the axes that their names tell of.

    Attributes
    ----------
    axes : letters of "TZC", in this order
    sizes : number of values along each
    order : for each place, the last axis fastest, the number of its file
    """

    axes: str
    sizes: tuple[int, ...]
    order: tuple[int, ...]

    def describe(self) -> str:
        """Say it in words."""
        sizes = ", ".join(
            f"{axis}={size}" for axis, size in zip(self.axes, self.sizes, strict=True)
        )
        return f"{len(self.order)} files, by their names {sizes}"


def named_grid(names: Sequence[str]) -> NamedGrid | None:
    """Read numbers after t (time), z and c (ch, channel) from the names of files.

    Returns
    -------
    NamedGrid, or None where the names tell of no such axis or differ elsewhere too.

    Raises
    ------
    BadFile  If files are missing in what would be a grid, or if the names tell of
        several channels but not clearly, so that channels would be mixed.
    """
    read = [_read(name) for name in names]
    letters = [axis for axis in _ORDER if len({r[1].get(axis) for r in read}) > 1]
    if not letters:
        return None
    if len({text for text, _ in read}) > 1 or any(
        set(letters) - set(p) for _, p in read
    ):
        if "C" in letters:
            raise BadFile(
                f"The names of these files ({', '.join(names[:_SHOWN])}...) tell of "
                "several channels, but also differ in other ways, so channels could be "
                "mixed up. Put the files of each position into a folder of their own, "
                "named alike up to t, z and c."
            )
        return None
    places = {tuple(p[axis] for axis in letters): i for i, (_, p) in enumerate(read)}
    values = [sorted({place[at] for place in places}) for at in range(len(letters))]
    whole = list(product(*values))
    missing = [place for place in whole if place not in places]
    if missing:
        raise _incomplete(letters, missing, len(whole))
    if len(places) < len(names):  # img1 and img01
        return None
    return NamedGrid(
        "".join(letters),
        tuple(len(each) for each in values),
        tuple(places[place] for place in whole),
    )


def _read(name: str) -> tuple[str, dict[str, int]]:
    """Return what is left of a name without its numbers, and the numbers."""
    stem = name.rpartition(".")[0].lower()
    found: dict[str, int] = {}

    def taken(match: re.Match[str]) -> str:
        axis = match[1][0].upper()
        if axis in found:  # a second number of this kind is part of the name
            return match[0]
        found[axis] = int(match[3])
        return f"{match[1]}{match[2]}#"

    return _TOKEN.sub(taken, stem), found


def _incomplete(
    letters: Sequence[str], missing: Sequence[tuple[int, ...]], n_whole: int
) -> BadFile:
    listed = "; ".join(
        ", ".join(
            f"{axis.lower()} {at}" for axis, at in zip(letters, place, strict=True)
        )
        for place in missing[:_SHOWN]
    )
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return BadFile(
        f"By their names these files are a stack of {n_whole} images "
        f"({' x '.join(letters)}), of which {len(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing: {listed}{more}. Copy the "
        "folder again, or move the files of incomplete rows elsewhere."
    )
