"""Picture of the same region before and after denoising."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.errors import BadData
from napari_ppn2v.figures.common import (
    StyleName,
    add_title,
    colour_bar,
    new_figure,
    plain,
    style_named,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

_PANEL_PIXELS = 256  # side of the part that is shown


def before_after_figure(
    observation: ArrayLike,
    result: ArrayLike,
    truth: ArrayLike | None = None,
    posterior_std: ArrayLike | None = None,
    psnr_before: float | None = None,
    psnr_after: float | None = None,
    pixel_size: float | None = None,
    *,
    style: StyleName = "light",
) -> Figure:
    """Show the same part of a frame before and after, with the same contrast.

    Parameters
    ----------
    observation, result, truth, posterior_std
        (Y, X), ADU, of one frame.
    psnr_before, psnr_after
        dB, shown where the truth is known.
    pixel_size
        µm; draws a scale bar.

    Raises
    ------
    BadData     If an image is not 2-D or the shapes differ.
    BadSetting  If the style is unknown.
    """
    look = style_named(style)
    images = {"observation": observation, "result": result}
    images |= {} if truth is None else {"truth": truth}
    images |= {} if posterior_std is None else {"posterior_std": posterior_std}
    arrays = _same_shape(images)
    crop = _busiest_part(arrays.get("truth", arrays["result"]))
    parts = {name: array[crop] for name, array in arrays.items()}
    clean = parts.get("truth", parts["result"])
    limits = _contrast(clean)
    titles = {
        "observation": _with_psnr("Noisy, as recorded", psnr_before),
        "result": _with_psnr("Denoised", psnr_after, " (higher is better)"),
        "truth": "Truth (for comparison only)",
        "posterior_std": "Uncertainty of each pixel",
    }
    height, width = clean.shape
    panel = min(4.0, 14.0 / len(parts))
    n_bars = 1 + ("posterior_std" in parts)
    size = (panel * len(parts) + 0.9 * n_bars, panel * height / width + 0.85)
    figure = new_figure(size, look)
    panels = figure.subplots(1, len(parts), squeeze=False)[0]
    grey = None
    for axes, (name, part) in zip(panels, parts.items(), strict=True):
        is_std = name == "posterior_std"
        bounds = (0.0, float(np.quantile(part, 0.995)) or 1.0) if is_std else limits
        image = axes.imshow(
            part,
            cmap="magma" if is_std else "gray",
            vmin=bounds[0],
            vmax=bounds[1],
            interpolation="nearest",
        )
        axes.set_title(titles[name])
        plain(axes, look)
        axes.set_xticks([])
        axes.set_yticks([])
        if is_std:
            colour_bar(axes, image, "± standard deviation (grey values)", look)
        else:
            grey = axes, image
    if grey is not None:
        colour_bar(*grey, "grey value", look)
    if pixel_size:
        _scale_bar(panels[0], width, pixel_size)
    add_title(figure, "Before and after: same region, same contrast", look)
    return figure


def _same_shape(images: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    arrays = {name: np.asarray(image, float) for name, image in images.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or arrays["result"].ndim != 2:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise BadData(
            f"A before/after picture needs single frames of one shape, got: {listing}. "
            "Give one frame of each."
        )
    return arrays


def _busiest_part(image: Floats) -> tuple[slice, slice]:
    """Return the square with the strongest contrast, so that structure is seen."""
    size = min(_PANEL_PIXELS, *image.shape)
    rows, columns = (
        range(0, length - size + 1, max(1, (length - size) // 4))
        for length in image.shape
    )
    corners = [(row, column) for row in rows for column in columns]

    def contrast(corner: tuple[int, int]) -> float:
        row, column = corner
        return float(image[row : row + size, column : column + size].std())

    row, column = max(corners, key=contrast)
    return slice(row, row + size), slice(column, column + size)


def _contrast(image: Floats) -> tuple[float, float]:
    """Grey values shown as black and white."""
    low, high = (float(value) for value in np.quantile(image, [0.002, 0.998]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _with_psnr(title: str, psnr: float | None, note: str = "") -> str:
    return title if psnr is None else f"{title}\nPSNR {psnr:.1f} dB{note}"


def _scale_bar(axes: Axes, width: int, pixel_size: float) -> None:
    """Draw a bar of a round length, about a fifth of the panel."""
    target = 0.25 * width * pixel_size
    power = 10.0 ** np.floor(np.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target)
    right, height = 0.95 * width, axes.get_ylim()[0]
    left = right - length / pixel_size
    outline = {"facecolor": "black", "alpha": 0.55, "edgecolor": "none", "pad": 1.5}
    axes.plot([left, right], [0.95 * height] * 2, color="white", lw=4)
    axes.text(
        0.5 * (left + right),
        0.925 * height,
        f"{length:g} µm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=9,
        bbox=outline,
    )
