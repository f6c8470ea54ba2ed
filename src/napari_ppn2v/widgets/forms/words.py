"""How settings are worded in forms: choices, tooltips."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOICES = {
    "auto": "automatic",
    "free": "free samples",
    "gaussian": "Gaussian",
    "gmm": "Gaussian mixture",
    "mmse": "MMSE",
    "n2v": "Noise2Void",
    "pn2v": "Probabilistic Noise2Void",
    "poisson-gamma": "Poisson-gamma (EMCCD)",
    "poisson-gaussian": "Poisson-Gaussian (sCMOS, CCD)",
    "random": "random neighbour",
    "mean": "mean of the neighbours",
    "plateau": "halved at a plateau",
    "one-cycle": "one cycle",
    "add": "added",
    "concatenate": "concatenated",
}


def choice_text(choice: str) -> str:
    """Return a choice as people write it: "Gaussian mixture" for "gmm"."""
    return _CHOICES.get(choice, choice.replace("-", " "))


def tooltip(metadata: Mapping[str, Any]) -> str:
    """Return the help of a setting with its range, as rich text, which Qt wraps."""
    text = str(metadata["help"])
    for choice in metadata["choices"] or ():
        word = choice_text(choice)
        text = text.replace(f"'{choice}'", f"'{word}'").replace(
            f"'{word}': {word}", word
        )
    return f"<qt>{html.escape(text, quote=False)}{_range_text(metadata)}</qt>"


def _range_text(metadata: Mapping[str, Any]) -> str:
    low, high, unit = metadata["minimum"], metadata["maximum"], metadata["unit"]
    if low is None and high is None:
        return ""
    if low is None or high is None:
        bound = f"at most {high:g}" if low is None else f"at least {low:g}"
    else:
        bound = f"{low:g} to {high:g}"
    return f"<br><i>Allowed: {bound} {html.escape(unit)}</i>".replace(" </i>", "</i>")
