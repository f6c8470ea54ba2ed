"""Style, saving and small parts that all figures share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.files.atomic import atomic_path

if TYPE_CHECKING:
    from os import PathLike

    from matplotlib.axes import Axes

StyleName = Literal["light", "dark"]
LegendPlace = Literal["upper left", "upper right"]

_DPI = 150


@dataclass(frozen=True)
class Style:
    """Colours of a figure; the data colours are told apart by colour-blind readers."""

    background: str
    ink: str
    faint: str
    model: str
    measured: str
    accent: str
    counts: Colormap


STYLES = {
    "light": Style(
        background="#ffffff",
        ink="#1a1a1a",
        faint="#c8c8c8",
        model="#c2410c",
        measured="#2b6cb0",
        accent="#047857",
        counts=LinearSegmentedColormap.from_list("counts", ["#dbe9f6", "#08306b"]),
    ),
    "dark": Style(
        background="#1e1f26",
        ink="#e8e8ea",
        faint="#4a4c57",
        model="#ffa94d",
        measured="#74c0fc",
        accent="#63e6be",
        counts=LinearSegmentedColormap.from_list("counts", ["#243b58", "#d0ebff"]),
    ),
}


def save_figure(figure: Figure, path: str | PathLike[str]) -> Path:
    """Write a figure as PNG, PDF or SVG by its ending; never half a file.

    Raises
    ------
    BadSetting   If the ending is not one that can be written.
    CannotWrite  If the folder is missing or read-only, or the disk is full.
    """
    final = Path(path)
    endings = figure.canvas.get_supported_filetypes()
    if final.suffix[1:].lower() not in endings:
        raise BadSetting(
            f"A figure cannot be written as '{final.name}'. Use a name that ends in "
            ".png, .pdf or .svg."
        )
    with atomic_path(final) as temporary:
        figure.savefig(temporary, dpi=_DPI)
    return final


def style_named(name: str) -> Style:
    """Look up a style by its name."""
    if name not in STYLES:
        raise BadSetting(
            f"'Style' (style) is {name!r}. Choose one of {', '.join(STYLES)}."
        )
    return STYLES[name]


def new_figure(size: tuple[float, float], look: Style) -> Figure:
    """Make an empty figure (inches) that draws without a screen."""
    figure = Figure(figsize=size, layout="constrained", facecolor=look.background)
    FigureCanvasAgg(figure)
    return figure


def add_title(figure: Figure, text: str, look: Style) -> None:
    """Set the title above all panels."""
    figure.suptitle(text, color=look.ink, fontsize=13)


def plain(axes: Axes, look: Style) -> None:
    """Colour the axes by the style, without touching global settings."""
    axes.set_facecolor(look.background)
    axes.title.set(color=look.ink, fontsize=11)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=look.ink, fontsize=9.5)
    axes.tick_params(colors=look.ink, labelsize=8.5)
    for name, spine in axes.spines.items():
        spine.set_color(look.faint)
        spine.set_visible(name in ("left", "bottom"))


def legend(axes: Axes, look: Style, place: LegendPlace) -> None:
    """Add a legend that names each kind of line once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(
        list(once.values()),
        list(once),
        loc=place,
        fontsize=8,
        labelcolor=look.ink,
        facecolor=look.background,
        edgecolor=look.faint,
        framealpha=0.85,
    )


def colour_bar(axes: Axes, image: Any, label: str, look: Style) -> None:
    """Add a colour bar at the right of a panel."""
    bar = axes.figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label(label, color=look.ink, fontsize=9)
    bar.ax.tick_params(colors=look.ink, which="both", labelsize=8)
    bar.outline.set_edgecolor(look.faint)
