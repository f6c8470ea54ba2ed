"""The layers that a run leaves: denoised image, uncertainty, residual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ppn2v.widgets.layers.placing import LayerData, add_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.pipeline.stack_results import StackResult

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
