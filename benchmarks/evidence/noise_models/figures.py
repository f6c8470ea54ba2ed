"""Small parts of the pictures of noise models: light, labelled, told apart by shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.figures.common import new_figure, plain, save_figure, style_named

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOK = style_named("light")
# Okabe and Ito's colours, which people with colour-blindness can tell apart
STYLES = {
    "histogram-published": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    "histogram-ours": {"color": "#E69F00", "marker": "D", "linestyle": "-"},
    "gmm-1x2": {"color": "#56B4E9", "marker": "o", "linestyle": "--"},
    "gmm-3x2": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "camera": {"color": "#009E73", "marker": "^", "linestyle": "-"},
}
OTHER = {"color": "#0072B2", "marker": "o", "linestyle": "-"}


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure on white, inches."""
    return new_figure((width, height), LOOK)


def style_of(model: str) -> dict[str, str]:
    """Colour, marker and line of a noise model."""
    return STYLES.get(model, OTHER)


def finish(axes: Axes) -> None:
    """Give axes the plain look, with a faint grid across."""
    plain(axes, LOOK)
    axes.grid(axis="y", color=LOOK.faint, lw=0.5)
    axes.set_axisbelow(True)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, replacing the last one as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)
