"""Colours of plots in the viewer's themes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEVELS = 256


@dataclass(frozen=True)
class PlotColours:
    """Colours of one theme, as #rrggbb; data colours differ for colour-blind readers.

    Attributes
    ----------
    background, ink, faint
        Of the plot, of text and axes, and of what should stay in the background.
    model, measured, accent
        Of the noise model, of the data, and of the photon-transfer line.
    cursor
        Of what can be moved.
    series
        Of curves that are told apart by their names.
    counts
        Few and many pixels of a heat map.
    """

    background: str
    ink: str
    faint: str
    model: str
    measured: str
    accent: str
    cursor: str
    series: tuple[str, ...]
    counts: tuple[str, str]
    is_dark: bool

    def lookup_table(self) -> NDArray[np.uint8]:
        """Colours (256, 3) from few to many."""
        few, many = (np.array(_components(colour), float) for colour in self.counts)
        part = np.linspace(0, 1, _LEVELS)[:, None]
        return np.rint(few * (1 - part) + many * part).astype(np.uint8)


# Blue, orange and green as in Okabe and Ito's palette, brightened on dark grounds.
_DARK_SERIES = ("#ffa94d", "#74c0fc", "#63e6be", "#f783ac", "#ffe066", "#b197fc")
_LIGHT_SERIES = ("#c2410c", "#2b6cb0", "#047857", "#9d174d", "#7a5c00", "#5b21b6")


def plot_colours(theme: str) -> PlotColours:
    """Return the colours that suit a theme of napari, the user's own ones included."""
    from napari.utils.theme import get_theme

    chosen = get_theme(theme)
    background, ink, faint = (
        colour.as_hex(format="long")
        for colour in (chosen.background, chosen.text, chosen.secondary)
    )
    is_dark = _lightness(background) < 0.5
    return PlotColours(
        background=background,
        ink=ink,
        faint=faint,
        model="#ffa94d" if is_dark else "#c2410c",
        measured="#74c0fc" if is_dark else "#2b6cb0",
        accent="#63e6be" if is_dark else "#047857",
        cursor="#ffffff" if is_dark else "#000000",
        series=_DARK_SERIES if is_dark else _LIGHT_SERIES,
        counts=("#2c4a70", "#e7f5ff") if is_dark else ("#c3d9ee", "#08306b"),
        is_dark=is_dark,
    )


def _components(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _lightness(colour: str) -> float:
    """Perceived brightness, 0 … 1 (ITU-R BT.601)."""
    red, green, blue = _components(colour)
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255
