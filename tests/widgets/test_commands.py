"""Entries of a layer's context menu, run the way napari runs them."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from napari._app_model import get_app_model
from napari.layers import Image

from napari_ppn2v.widgets import commands

DOCKS = {
    "denoise_layer": (commands.DENOISE, "denoise.panel"),
    "fit_noise_model_to_layer": (commands.NOISE_MODEL, "noise_model.panel"),
    "apply_model_to_layer": (commands.APPLY, "apply.panel"),
}


@pytest.fixture(params=DOCKS)
def command(request) -> str:
    importlib.import_module(f"napari_ppn2v.widgets.{DOCKS[request.param][1]}")
    return request.param


def run(command: str) -> None:
    get_app_model().commands.execute_command(f"napari-ppn2v.{command}").result()


def image(value: int) -> np.ndarray:
    return np.random.default_rng(value).poisson(value, (4, 64, 64)).astype(np.uint16)


def dock_of(viewer, command: str):
    (found,) = [
        widget
        for name, widget in viewer.window.dock_widgets.items()
        if name.startswith(DOCKS[command][0])
    ]
    return found


def chosen_layers(dock) -> list[str]:
    """Names of all layers that are chosen in a dock, wherever it holds them."""
    from qtpy.QtWidgets import QComboBox

    return [box.currentText() for box in dock.findChildren(QComboBox)]


def test_the_entry_opens_its_dock_with_the_active_layer(command, make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(image(20), name="first")
    viewer.add_image(image(30), name="second")
    viewer.layers.selection.active = viewer.layers["first"]
    run(command)
    assert "first" in chosen_layers(dock_of(viewer, command))


def test_the_entry_reuses_the_dock_that_is_open(command, make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(image(20), name="first")
    viewer.add_image(image(30), name="second")
    for name in ("first", "second"):
        viewer.layers.selection.active = viewer.layers[name]
        run(command)
    dock = dock_of(viewer, command)
    assert "second" in chosen_layers(dock)


def test_the_menu_of_plugins_closes_the_same_dock(command, make_napari_viewer):
    viewer = make_napari_viewer()
    viewer.add_image(image(20), name="first")
    run(command)
    dock = DOCKS[command][1].replace(".", "_")
    get_app_model().commands.execute_command(f"napari-ppn2v.{dock}")
    assert len(viewer.window.dock_widgets) == 1


def test_without_an_image_the_dock_opens_empty(command, make_napari_viewer):
    viewer = make_napari_viewer()
    run(command)
    assert dock_of(viewer, command) is not None


def test_only_images_have_the_entries(make_napari_viewer):
    viewer = make_napari_viewer()
    layer = viewer.add_labels(np.zeros((8, 8), int))
    menu = get_app_model().menus.get_menu("napari/layers/filter")
    ours = [
        item.command
        for item in menu
        if getattr(item, "command", None) and "napari-ppn2v" in item.command.id
    ]
    assert len(ours) == len(DOCKS)
    for entry in ours:
        context = {"active_layer_type": layer._type_string}
        assert not entry.enablement.eval(context)
        assert entry.enablement.eval({"active_layer_type": Image.__name__.lower()})
