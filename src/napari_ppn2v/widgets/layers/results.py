"""The layers that a run leaves: denoised image, uncertainty, residual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap

from napari_ppn2v.widgets.layers.placing import LayerData, add_overlay, add_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.pipeline.result_check import ShownImage
    from napari_ppn2v.pipeline.stack_results import StackResult

_MOST_SHOWN = 2.5  # of the most that noise reaches
_ORANGE, _BLUE = (1.0, 0.45, 0.05), (0.2, 0.6, 1.0)  # told apart by colour-blind people
_ESTIMATES = {"refined": "MMSE", "mmse": "MMSE", "prior-mean": "prior mean"}


def estimate_words(denoisers: Sequence[Denoiser]) -> str:
    """Name the estimates of some models: "MMSE", "prior mean"."""
    names = dict.fromkeys(_ESTIMATES[denoiser.estimate] for denoiser in denoisers)
    return " / ".join(names)


def add_results(
    viewer: ViewerModel,
    data: LayerData,
    result: StackResult,
    denoisers: Sequence[Denoiser],
    provenance: dict[str, Any],
    *,
    made_by: str = "",
) -> Image:
    """Add all layers of a result; returns that of the denoised image.

    Parameters
    ----------
    made_by : stands in the name of the layer, the estimate by default
    """
    source = data
    options: dict[str, Any] = {"axes": result.axes, "metadata": provenance}
    if result.residual is not None:
        layer = add_result(
            viewer, source, result.residual, what="residual", show_as="residual",
            **options,
        )  # fmt: skip
        layer.visible = False
    if result.posterior_std is not None:
        layer = add_result(
            viewer,
            source,
            result.posterior_std,
            what="posterior sd",
            show_as="posterior_std",
            **options,
        )
        layer.visible = False
    words = f"denoised ({made_by or estimate_words(denoisers)})"
    denoised = add_result(viewer, source, result.image, what=words, **options)
    viewer.layers.selection.active = denoised
    return denoised


def add_leftover(
    viewer: ViewerModel,
    data: LayerData,
    above: Image,
    shown: ShownImage,
    *,
    channel: int = 0,
) -> Image:
    """Colour where more than noise was taken away, and go to that frame.

    Parameters
    ----------
    above : the denoised image, which is seen where there is no colour
    """
    layer = add_overlay(
        viewer,
        data,
        above,
        shown.frame,
        np.asarray(shown.leftover.excess),
        what="leftover map",
        channel=channel,
        look={
            "colormap": _beyond_noise(),
            "contrast_limits": (-_MOST_SHOWN, _MOST_SHOWN),
            "blending": "translucent",
        },
    )
    corner = layer.data_to_world([0] * layer.ndim)
    offset = viewer.dims.ndim - layer.ndim
    for axis in viewer.dims.not_displayed:
        if axis >= offset:
            viewer.dims.set_point(axis, float(corner[axis - offset]))
    return layer


def _beyond_noise() -> Colormap:
    """Blue below -1, clear up to 1, orange above, stronger the further away."""
    end = 0.5 / _MOST_SHOWN
    edge = 1e-4
    stops = [0.0, 0.5 - end - edge, 0.5 - end, 0.5 + end, 0.5 + end + edge, 1.0]
    alphas = [1.0, 0.5, 0.0, 0.0, 0.5, 1.0]
    colours = [_BLUE] * 3 + [_ORANGE] * 3
    rgba = [(*rgb, alpha) for rgb, alpha in zip(colours, alphas, strict=True)]
    return Colormap(rgba, controls=stops, name="beyond noise")
