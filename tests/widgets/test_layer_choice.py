"""The choice of a layer survives what happens to the layer list."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_ppn2v.widgets.layers.placing import add_preview, read_layer
from napari_ppn2v.widgets.parts.layer_choice import LayerChoice

PIXELS = np.arange(64.0).reshape(8, 8)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def choice(viewer, qtbot):
    found = LayerChoice(viewer)
    qtbot.addWidget(found)
    for event in ("inserted", "removed", "reordered", "renamed"):
        getattr(viewer.layers.events, event).connect(found.reset_choices)
    return found


def names(choice):
    return [choice.combo.itemText(i) for i in range(choice.combo.count())]


def test_the_first_image_is_chosen_and_told(viewer, choice, qtbot):
    assert choice.value is None
    with qtbot.waitSignal(choice.changed) as signal:
        layer = viewer.add_image(PIXELS, name="cells")
    assert signal.args == [layer]
    viewer.add_labels(np.ones((8, 8), int))
    assert names(choice) == ["cells"]


def test_the_layer_selected_in_the_viewer_is_chosen_first(viewer, qtbot):
    layers = [viewer.add_image(PIXELS, name=name) for name in "abc"]
    viewer.layers.selection.active = layers[1]
    assert LayerChoice(viewer).value is layers[1]


def test_the_choice_survives_a_new_name_order_and_neighbours(viewer, choice, qtbot):
    viewer.add_image(PIXELS, name="a")
    chosen = viewer.add_image(PIXELS, name="b")
    choice.choose(chosen)
    with qtbot.assertNotEmitted(choice.changed):
        chosen.name = "renamed"
        viewer.layers.move(1, 0)
        viewer.add_image(PIXELS, name="c")
        viewer.layers.remove("a")
    assert choice.value is chosen
    assert names(choice) == ["renamed", "c"]


def test_another_layer_takes_the_place_of_one_removed(viewer, choice, qtbot):
    first = viewer.add_image(PIXELS, name="a")
    second = viewer.add_image(PIXELS, name="b")
    with qtbot.waitSignal(choice.changed) as signal:
        viewer.layers.remove(first)
    assert signal.args == [second]
    with qtbot.waitSignal(choice.changed) as signal:
        viewer.layers.remove(second)
    assert signal.args == [None]


def test_no_layer_can_be_chosen_where_it_is_optional(viewer, qtbot):
    layer = viewer.add_image(PIXELS, name="a")
    choice = LayerChoice(viewer, is_optional=True)
    qtbot.addWidget(choice)
    assert choice.value is None
    choice.choose(layer)
    viewer.add_image(PIXELS, name="b")
    choice.reset_choices()
    assert choice.value is layer
    choice.choose(None)
    choice.reset_choices()
    assert choice.value is None


def test_previews_and_refused_layers_are_left_out(viewer, qtbot):
    layer = viewer.add_image(PIXELS, name="a")
    viewer.add_image(PIXELS, name="flat")
    whole = slice(0, 8)
    add_preview(viewer, read_layer(layer), 0, whole, whole, PIXELS)
    choice = LayerChoice(viewer, accepts=lambda layer: layer.name != "flat")
    qtbot.addWidget(choice)
    assert names(choice) == ["a"]


def test_a_removed_layer_is_not_kept_alive(viewer, choice):
    layer = weakref.ref(viewer.add_image(PIXELS, name="a"))
    viewer.add_image(PIXELS, name="b")
    viewer.layers.remove("a")
    gc.collect()
    assert layer() is None


def test_long_names_do_not_widen_the_dock(viewer, choice, qtbot):
    name = "2024-11-21 HeLa Tubulin-GFP 488 nm 20 ms exposure field 12 of 96 raw data"
    viewer.add_image(PIXELS, name=name)
    assert choice.sizeHint().width() < 300
    assert choice.combo.toolTip() == name


class Panel(QWidget):
    """A dock with a layer choice that finds its viewer by itself."""

    def __init__(self):
        super().__init__()
        self.choice = LayerChoice(parent=self)

    def reset_choices(self, event=None):
        self.choice.reset_choices(event)


def test_each_viewer_offers_its_own_layers(make_napari_viewer):
    one, other = make_napari_viewer(), make_napari_viewer()
    layer = one.add_image(PIXELS, name="mine")
    other.add_image(PIXELS, name="another")
    panel = Panel()
    one.window.add_dock_widget(panel, name="panel")
    panel.reset_choices()
    assert panel.choice.value is layer
    other.add_image(PIXELS, name="more")
    late = one.add_image(PIXELS, name="late")
    assert names(panel.choice) == ["mine", "late"]
    panel.choice.choose(late)
    assert panel.choice.value is late


def test_a_result_is_not_what_is_chosen_at_first(qtbot):
    viewer = ViewerModel()
    recording = viewer.add_image(np.zeros((3, 8, 8)), name="cells")
    viewer.add_image(
        np.zeros((3, 8, 8)), name="cells · denoised", metadata={"napari_ppn2v": {}}
    )
    choice = LayerChoice(viewer)
    qtbot.addWidget(choice)
    choice.reset_choices()
    assert choice.value is recording
