"""Images side by side and lines, from small crops kept beside the tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_ppn2v.figures.common import add_title, new_figure, plain, style_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

LEVELS = 512
"""Grey levels over the range shown that a kept crop can tell apart."""

COLOURS = ("#c2410c", "#2b6cb0", "#047857", "#7c3aed", "#a16207", "#64748b", "#be185d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@dataclass(frozen=True)
class Panel:
    """One image of a picture.

    Attributes
    ----------
    image : (Y, X), or None for a place where the caption says why it is empty
    title : above, caption: below
    limits : grey values shown as black and white
    arrow : row and column of what the reader should see, drawn as an arrow
    """

    image: NDArray | None
    title: str
    caption: str = ""
    limits: tuple[float, float] | None = None
    arrow: tuple[float, float] | None = None


def panels_figure(
    rows: Sequence[Sequence[Panel]],
    title: str,
    *,
    row_labels: Sequence[str] = (),
    side: float = 1.9,
) -> Figure:
    """Lay images out in rows, each with a title above and a caption below."""
    look = style_named("light")
    n_columns = max(len(row) for row in rows)
    has_captions = any(panel.caption for row in rows for panel in row)
    height = side + (0.45 if has_captions else 0.25)
    figure = new_figure((side * n_columns + 0.4, height * len(rows) + 0.45), look)
    grid = figure.subplots(len(rows), n_columns, squeeze=False)
    for axes_row, row in zip(grid, rows, strict=True):
        for axes, panel in zip(axes_row, row, strict=False):
            _draw(axes, panel)
        for axes in axes_row[len(row) :]:
            axes.set_axis_off()
    for axes_row, text in zip(grid, row_labels, strict=False):
        axes_row[0].set_ylabel(text, fontsize=9)
    add_title(figure, title, look)
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title, fontsize=8.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if panel.image is None:
        axes.set_aspect("equal")
        axes.text(0.5, 0.5, panel.caption, ha="center", va="center", color="#64748b")
        return
    axes.set_xlabel(panel.caption, fontsize=8)
    low, high = panel.limits or display_limits(panel.image)
    axes.imshow(panel.image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    if panel.arrow is not None:
        _point_at(axes, panel.arrow, panel.image.shape[0])


def _point_at(axes: Axes, spot: tuple[float, float], side: int) -> None:
    """Draw an arrow that comes from the middle of the image."""
    row, column = spot
    far, near = 0.2 * side, 1.5
    down, right = (1 if place < side / 2 else -1 for place in spot)
    axes.annotate(
        "",
        xy=(column + near * right, row + near * down),
        xytext=(column + far * right, row + far * down),
        arrowprops={"arrowstyle": "-|>", "color": "#ff3b30", "lw": 1.6},
    )


def display_limits(image: NDArray) -> tuple[float, float]:
    """Grey values shown as black and white: all but a few extreme pixels."""
    low, high = (float(value) for value in np.quantile(image, [0.002, 0.998]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def lines_figure(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    x_label: str,
    y_label: str,
) -> Figure:
    """Draw a line with markers for each name, told apart without colour too."""
    look = style_named("light")
    figure = new_figure((6.4, 4.4), look)
    axes = figure.subplots()
    for number, (name, (xs, ys)) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(xs, ys, color=colour, marker=marker, ms=5, lw=1.4, label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#eeeeee")
    plain(axes, look)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    add_title(figure, title, look)
    return figure


# --- Crops on the disk -----------------------------------------------------------


def window(shape: Sequence[int], row: int, column: int, size: int) -> tuple:
    """Rows and columns of a square around a pixel, moved to lie within the image."""
    places = []
    for middle, length in ((row, shape[0]), (column, shape[1])):
        side = min(size, length)
        first = min(max(0, middle - side // 2), length - side)
        places.append(slice(first, first + side))
    return tuple(places)


def busiest_window(image: NDArray, size: int) -> tuple:
    """Rows and columns of the square with the most fine detail of a clean image."""
    side = min(size, *image.shape)
    rows, columns = (
        range(0, length - side + 1, max(1, side // 4)) for length in image.shape
    )
    places = [
        (slice(row, row + side), slice(column, column + side))
        for row in rows
        for column in columns
    ]
    return max(places, key=lambda place: detail(image[place]))


def detail(image: NDArray, sigma: float = 4.0) -> float:
    """Contrast without what is wider than some pixels, such as the edge of a cell."""
    values = np.asarray(image, float)
    return float(np.std(values - gaussian_filter(values, sigma)))


def coarsened(image: NDArray) -> NDArray[np.float32]:
    """Round to a power of two below 1/512 of the range shown, which packs well."""
    low, high = display_limits(image)
    step = 2.0 ** np.floor(np.log2((high - low) / LEVELS))
    return (np.rint(np.asarray(image, float) / step) * step).astype(np.float32)


def keep_crops(path: Path, crops: Mapping[str, NDArray]) -> None:
    """Add crops to a file, replacing those of the same name."""
    kept = read_crops(path)
    kept.update({name: coarsened(image) for name, image in crops.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **kept)  # type: ignore[arg-type]


def read_crops(path: Path) -> dict[str, NDArray]:
    """Read all crops of a file; none if there is no file."""
    if not path.exists():
        return {}
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
