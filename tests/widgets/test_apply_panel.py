"""The dock that applies trained models, driven as a user drives it; models are real."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.session.session import NamedDenoiser
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.apply.panel import ApplyPanel
from napari_ppn2v.widgets.apply.target_section import FILES, ONE, SEVERAL

SECONDS = 240_000  # ms to wait for a small run on a very busy machine
LONG = "2024-11-21 HeLa Tubulin-GFP 488 nm 20 ms exposure field 12 of 96 raw data"


def cells(n_frames=2, side=64, seed=0) -> np.ndarray:
    """Noisy frames of soft blobs, about 40 photons at most."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    truth = np.stack(
        [gaussian_filter(rng.normal(size=(side, side)), 3) for _ in range(n_frames)]
    )
    truth = 100 + 88 * (truth - truth.min()) / np.ptp(truth)
    noisy = 100 + 2.2 * rng.poisson((truth - 100) / 2.2) + rng.normal(0, 3, truth.shape)
    return np.rint(noisy).clip(0).astype(np.uint16)


@pytest.fixture(scope="session")
def trained():
    """As small a model as there is, with refinement."""
    from napari_ppn2v.events import drain
    from napari_ppn2v.pipeline.stack_job import denoise_stack
    from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
    from napari_ppn2v.stop import StopToken

    training = TrainingConfig(
        n_steps=24, batch_size=4, patch_size=32, steps_per_validation=12
    )
    config = RunConfig(
        method="refined",
        n_refinements=1,
        network=UNetConfig(n_filters=8),
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )
    request = StackRequest(
        observation=Stack(data=cells(), axes="TYX", name="day 1"), config=config
    )
    report = drain(denoise_stack(request, StopToken()))
    return replace(report.denoisers[0], provenance=report.provenance)


@pytest.fixture(scope="session")
def model_file(trained, tmp_path_factory):
    from napari_ppn2v.files.model_file import save_model

    return save_model(tmp_path_factory.mktemp("models") / "tubulin.ppn2v", trained)


@pytest.fixture
def dock(qtbot):
    """Make a dock for a viewer without a window."""
    docks = []

    def make(viewer=None) -> tuple[ViewerModel, ApplyPanel]:
        viewer = ViewerModel() if viewer is None else viewer
        panel = ApplyPanel(viewer)
        for name in ("inserted", "removed", "reordered", "renamed"):
            getattr(viewer.layers.events, name).connect(panel.reset_choices)
        qtbot.addWidget(panel)
        docks.append(panel)
        return viewer, panel

    yield make
    for panel in docks:
        panel.close_down()
        qtbot.waitUntil(lambda p=panel: not p.session.is_busy, timeout=SECONDS)


@pytest.fixture
def ready(dock, trained):
    """Make a dock whose session has a model."""

    def make(denoisers=None, channels=(0,)) -> tuple[ViewerModel, ApplyPanel]:
        viewer, panel = dock()
        panel.session.add_denoiser(
            NamedDenoiser("tubulin", denoisers or (trained,), channels, "from day 1")
        )
        return viewer, panel

    return make


def press(button) -> None:
    button = getattr(button, "button", button)
    assert button.isEnabled(), button.toolTip()
    button.click()


def wait(qtbot, panel) -> None:
    qtbot.waitUntil(lambda: not panel.session.is_busy, timeout=SECONDS)


def names(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers]


def test_a_model_of_a_file_is_loaded_described_and_applied_to_a_layer(
    dock, model_file, qtbot
):
    viewer, panel = dock()
    source = viewer.add_image(
        cells(), name="day 2", scale=(1, 0.1, 0.1), axis_labels=("t", "y", "x")
    )
    panel.choose_layer(source)
    assert panel.start.reason().startswith("Choose a model")
    panel.model.load([model_file])
    wait(qtbot, panel)
    words = panel.model.described.text()
    low, high = panel.model.value.denoisers[0].noise_model.signal_range
    for part in (
        "Probabilistic Noise2Void (PN2V), refined",
        f"Signals: {low:.4g} to {high:.4g} grey values",
        "Trained on: day 1, 2 × 64 × 64 (TYX), uint16",
        "napari-ppn2v",
        "tubulin.ppn2v, written 20",
    ):
        assert part in words
    assert panel.target.image.understood.text().startswith("2 frames of 64 x 64")
    press(panel.start)
    wait(qtbot, panel)
    assert names(viewer) == ["day 2", "day 2 · denoised (tubulin)"]
    result = viewer.layers[1]
    assert result.data.dtype == np.float32
    np.testing.assert_allclose(result.scale, source.scale)
    assert result.metadata["napari_ppn2v"]["model"] == "tubulin"
    assert panel.session.state.status is Status.FINISHED
    assert panel.session.state.message.startswith("Denoised in")


def test_a_damaged_or_foreign_file_is_said_in_one_sentence(
    dock, model_file, qtbot, tmp_path
):
    _, panel = dock()
    content = model_file.read_bytes()
    for name, data in (
        ("damaged.ppn2v", content[: len(content) // 2]),
        ("foreign.ppn2v", b"not a model"),
    ):
        (tmp_path / name).write_bytes(data)
        panel.model.load([tmp_path / name])
        wait(qtbot, panel)
        assert panel.model.message.kind == "error"
        assert panel.model.message.text().startswith(f"{name} is ")
    assert panel.model.value is None
    assert not panel.start.button.isEnabled()


def test_several_layers_are_denoised_in_turn_with_their_further_layers(ready, qtbot):
    viewer, panel = ready()
    first = viewer.add_image(cells(), name="a")
    second = viewer.add_image(cells(seed=1) * 4, name=LONG)
    viewer.add_image(np.zeros((8, 8), bool), name="mask")
    panel.target.choose(SEVERAL)
    panel.target.layers.check([])
    assert panel.start.reason() == "Check the layers to denoise."
    panel.target.layers.check([first, second])
    panel.options.results.std.setChecked(True)
    panel.options.results.dtype_box.setChecked(True)
    press(panel.start)
    wait(qtbot, panel)
    assert names(viewer) == [
        "a",
        "a · denoised (tubulin)",
        "a · posterior sd",
        LONG,
        f"{LONG} · denoised (tubulin)",
        f"{LONG} · posterior sd",
        "mask",
    ]
    assert viewer.layers[1].data.dtype == np.uint16
    state = panel.session.state
    assert state.message.startswith("2 of 2 layers denoised")
    told = [n.message for n in state.notices if n.is_warning]
    assert any(f"“{LONG}” reaches from" in text for text in told)
    # results and what holds no grey values are no candidates
    assert panel.target.layers.list.count() == 3
    flags = panel.target.layers.list.item(2).flags()
    assert not flags & Qt.ItemFlag.ItemIsEnabled


def test_checked_layers_stay_checked_when_layers_are_renamed_or_moved(ready):
    viewer, panel = ready()
    first, second = (viewer.add_image(cells(), name=name) for name in "ab")
    panel.target.choose(SEVERAL)
    panel.target.layers.check([first])
    viewer.layers.move(0, 2)
    first.name = "renamed"
    viewer.add_image(cells(), name="c")
    assert [data.name for data in panel.target.layers.checked()] == ["renamed"]
    viewer.layers.remove(first)
    assert panel.target.layers.checked() == []
    panel.target.layers.all_button.click()
    assert [data.name for data in panel.target.layers.checked()] == ["b", "c"]
    assert second in viewer.layers


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "raw"
    place.mkdir()
    for number in range(2):
        tifffile.imwrite(
            place / f"field{number}.tif", cells(seed=number), metadata={"axes": "TYX"}
        )
    return place


def test_a_folder_of_files_goes_to_the_folder_chosen(ready, qtbot, folder, tmp_path):
    viewer, panel = ready()
    panel.target.choose(FILES)
    assert panel.start.reason().startswith("Choose the files to denoise")
    panel.target.files.choose([folder])
    assert panel.target.files.out.path == folder / "denoised"
    panel.target.files.choose_out(tmp_path / "results")
    said = panel.target.files.understood.text()
    assert said.startswith("2 files; the first, field0.tif: 2 frames of 64 x 64")
    press(panel.start)
    wait(qtbot, panel)
    written = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert written == ["field0_denoised.ome.tif", "field1_denoised.ome.tif"]
    state = panel.session.state
    assert state.message.startswith("2 files denoised")
    assert state.stages[-1].step == state.stages[-1].total == 4
    assert "Replace results" in panel.start.reason()
    panel.target.files.is_replacing.setChecked(True)
    assert panel.start.reason() == ""
    panel.target.files.pattern.setText("*1.tif")
    panel.target.files.pattern.textEdited.emit("*1.tif")
    assert panel.request().images == (folder / "*1.tif",)
    panel.target.files.pattern.setText("nothing*")
    panel.target.files.pattern.textEdited.emit("nothing*")
    assert "No file matches" in panel.start.reason()
    assert not viewer.layers


def test_axes_can_be_corrected_and_channels_chosen(ready, qtbot):
    viewer, panel = ready()
    panel.choose_layer(viewer.add_image(cells(3), name="three"))
    panel.target.image.axes.setText("CYX")
    panel.target.image.axes.textEdited.emit("CYX")
    box = panel.target.image.channels
    assert [box.itemText(i) for i in range(box.count())][-1] == "all channels"
    box.setCurrentText("all channels")
    assert "is for 1 channel, but 3 channels of “three” are chosen" in (
        panel.start.reason()
    )
    box.setCurrentIndex(2)
    assert panel.start.reason() == ""
    press(panel.start)
    wait(qtbot, panel)
    assert viewer.layers[1].data.shape == (64, 64)
    panel.target.choose(SEVERAL)
    viewer.layers[0].axis_labels = ("c", "y", "x")
    panel.target.layers.check([viewer.layers[0]])
    assert "“three” has 3 channels" in panel.start.reason()


def test_a_model_of_several_channels_takes_them_all(ready, trained, qtbot):
    viewer, panel = ready((trained, trained), (0, 1))
    data = np.stack([cells(1)[0], cells(1, seed=1)[0]])
    panel.choose_layer(viewer.add_image(data, name="two", axis_labels=("c", "y", "x")))
    assert panel.target.image.channels.currentText() == "all channels"
    press(panel.start)
    wait(qtbot, panel)
    assert viewer.layers[1].data.shape == (2, 64, 64)
    panel.choose_layer(viewer.add_image(cells(), name="single"))
    assert "for 2 channels (0, 1), but “single” has 1 channel" in panel.start.reason()


def test_only_what_the_model_can_give_is_offered(ready, trained):
    _, panel = ready()
    box = panel.options.estimate

    def offered():
        return [box.itemData(i) for i in range(box.count())]

    assert offered() == ["auto", "refined", "prior-mean"]
    assert panel.options.results.std.isEnabled()
    plain = replace(trained, noise_model=None, refined=None, estimate="prior-mean")
    panel.session.add_denoiser(NamedDenoiser("n2v", (plain,)))
    panel.model.choose("n2v")
    assert offered() == ["auto", "prior-mean"]
    assert box.itemText(0) == "automatic (prior mean)"
    assert not panel.options.results.std.isEnabled()
    assert "needs a model trained with" in panel.options.results.std.toolTip()
    assert "Noise2Void\n" in panel.model.described.text()


def test_a_stop_keeps_the_layers_that_are_done(ready, qtbot, slowdown):
    viewer, panel = ready()
    small = viewer.add_image(cells(1), name="small")
    large = viewer.add_image(np.tile(cells(1), (40, 4, 4)), name="large")
    panel.target.choose(SEVERAL)
    panel.target.layers.check([small, large])
    press(panel.start)
    qtbot.waitUntil(lambda: "small · denoised (tubulin)" in names(viewer))
    began = time.monotonic()
    press(panel.monitor.stop_button)
    wait(qtbot, panel)
    assert time.monotonic() - began < 2 * slowdown
    assert panel.session.state.status is Status.STOPPED
    assert panel.session.state.message.startswith("Stopped. 1 of 2 layers denoised")
    assert "large · denoised (tubulin)" not in names(viewer)


def test_layers_may_be_renamed_and_removed_during_the_run(ready, qtbot):
    viewer, panel = ready()
    kept = viewer.add_image(cells(), name="kept")
    gone = viewer.add_image(cells(seed=1), name="gone")
    panel.target.choose(SEVERAL)
    panel.target.layers.check([kept, gone])
    press(panel.start)
    viewer.layers.remove(gone)
    kept.name = "renamed"
    wait(qtbot, panel)
    assert names(viewer) == [
        "renamed",
        "kept · denoised (tubulin)",
        "gone · denoised (tubulin)",
    ]


def test_a_broken_layer_ends_the_run_with_its_reason(ready, qtbot):
    viewer, panel = ready()
    broken = cells().astype(np.float32)
    broken[1, 3, 3] = np.nan
    panel.choose_layer(viewer.add_image(broken, name="broken"))
    press(panel.start)
    wait(qtbot, panel)
    assert panel.session.state.status is Status.FAILED
    assert "not a number" in panel.session.state.message
    assert names(viewer) == ["broken"]
    assert panel.start.button.isEnabled()


def test_while_another_run_goes_on_the_button_says_so(ready, qtbot):
    viewer, panel = ready()
    panel.choose_layer(viewer.add_image(cells(), name="a"))
    panel.session.begin("Denoising “b”")
    assert "Denoising “b”" in panel.start.reason()
    assert not panel.model.load_button.isEnabled()
    panel.session.finish("Done.")
    assert panel.start.reason() == ""
    assert panel.model.load_button.isEnabled()


def test_a_closed_dock_stops_within_two_seconds_and_adds_nothing(
    make_napari_viewer, trained, qtbot, slowdown
):
    viewer = make_napari_viewer()
    panel = ApplyPanel(viewer)
    viewer.window.add_dock_widget(panel, name="Apply a model (PPN2V)")
    panel.session.add_denoiser(NamedDenoiser("tubulin", (trained,)))
    layer = viewer.add_image(np.tile(cells(1), (60, 4, 4)), name="large")
    panel.choose_layer(layer)
    press(panel.start)
    qtbot.waitUntil(lambda: panel.session.state.share > 0)
    session, began = panel.session, time.monotonic()
    viewer.window.remove_dock_widget(panel)
    qtbot.waitUntil(lambda: not session.is_busy, timeout=SECONDS)
    assert time.monotonic() - began < 2 * slowdown
    assert names(viewer) == ["large"]
    assert panel.is_closed


def test_the_dock_fits_a_small_screen_and_scrolls(ready):
    viewer, panel = ready()
    viewer.add_image(cells(), name=LONG)
    panel.resize(panel.minimumWidth(), 500)
    panel.show()
    content = panel.scroll_area.widget()
    for kind in (ONE, SEVERAL, FILES):
        panel.target.choose(kind)
        panel.options.advanced.expand(animate=False)
        assert content.minimumSizeHint().width() <= panel.scroll_area.viewport().width()
    assert panel.minimumWidth() <= 360


def test_the_dock_scrolls_to_the_stop_button_when_a_run_begins(ready, qtbot):
    viewer, panel = ready()
    panel.choose_layer(viewer.add_image(np.tile(cells(1), (40, 4, 4)), name="large"))
    panel.resize(panel.minimumWidth(), 400)
    panel.show()
    press(panel.start)
    assert panel.monitor.stop_button.visibleRegion().isEmpty()
    qtbot.waitUntil(lambda: not panel.monitor.stop_button.visibleRegion().isEmpty())
    press(panel.monitor.stop_button)
    wait(qtbot, panel)
    assert panel.session.state.message == "Stopped; there is no result."


def test_the_tab_key_goes_through_the_dock_from_top_to_bottom(ready):
    _, panel = ready()
    panel.show()
    order, at = [], panel.model.list
    for _ in range(200):
        order.append(at)
        at = at.nextInFocusChain()
    expected = [
        panel.model.list,
        panel.model.load_button,
        panel.target.kinds,
        panel.target.files.files_button,
        panel.target.files.folder_button,
        panel.target.files.pattern,
        panel.target.files.is_replacing,
        panel.options.estimate,
        panel.options.results.std,
        panel.start.button,
    ]
    places = [order.index(part) for part in expected]
    assert places == sorted(places)


def test_opening_the_dock_loads_no_torch():
    script = """
import sys
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
app = QApplication([])
from napari_ppn2v.widgets.apply.panel import ApplyPanel
import numpy as np
viewer = ViewerModel()
viewer.add_image(np.ones((3, 8, 8), np.uint16))
panel = ApplyPanel(viewer)
panel.target.choose("several layers")
panel.target.choose("files")
panel.options.advanced.expand(animate=False)
assert panel.start.reason()
heavy = {"torch", "zarr", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
