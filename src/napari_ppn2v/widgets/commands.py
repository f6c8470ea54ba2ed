"""What the layer's context menu does: open a dock with that layer chosen."""

# No future annotations here: napari reads the types to know what to pass.

from typing import Any, Protocol

import napari
from napari.layers import Image

PLUGIN = "napari-ppn2v"
DENOISE, NOISE_MODEL, APPLY = (
    "Denoise (PPN2V)",
    "Noise model (PPN2V)",
    "Apply a model (PPN2V)",
)
"""Names of the docks in the manifest."""


class TakesLayer(Protocol):
    """A dock that can be told which layer to work on."""

    def choose_layer(self, layer: Image) -> None:
        """Choose a layer, as a person would from the list."""
        ...


def denoise_layer(viewer: napari.viewer.Viewer) -> None:
    """Open the dock that denoises, with the active layer chosen."""
    open_dock(viewer, DENOISE)


def fit_noise_model_to_layer(viewer: napari.viewer.Viewer) -> None:
    """Open the dock of noise models, with the active layer chosen."""
    open_dock(viewer, NOISE_MODEL)


def apply_model_to_layer(viewer: napari.viewer.Viewer) -> None:
    """Open the dock that applies trained models, with the active layer chosen."""
    open_dock(viewer, APPLY)


def open_dock(viewer: napari.viewer.Viewer, name: str) -> Any:
    """Show one of our docks and choose the viewer's active image layer in it.

    Parameters
    ----------
    viewer
        May be the proxy that napari passes to plugins.
    name
        Name of the dock in the manifest, such as `DENOISE`.

    Returns
    -------
    The dock's widget; the one that is there already, if it is.
    """
    # the layers that a proxy gives are proxies, and no list holds those
    real: Any = getattr(viewer, "__wrapped__", viewer)
    layer = real.layers.selection.active
    dock, widget = real.window.add_plugin_dock_widget(PLUGIN, name)
    dock.show()
    dock.raise_()
    if isinstance(layer, Image):
        widget.choose_layer(layer)
    return widget
