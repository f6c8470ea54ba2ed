"""Names of files to save to."""

from __future__ import annotations

MOST_LETTERS = 100  # file systems allow 255 bytes, and endings are added
_ALLOWED = " -_.,()+"


def file_stem(name: str, otherwise: str = "image") -> str:
    """Turn the name of a layer into that of a file, without its ending.

    Layers may be called "a/b" or "x: y", which no file may, or nothing at all.

    Parameters
    ----------
    otherwise : where nothing is left of the name
    """
    kept = "".join(c if c.isalnum() or c in _ALLOWED else "_" for c in name)
    return kept[:MOST_LETTERS].strip(" ._") or otherwise
