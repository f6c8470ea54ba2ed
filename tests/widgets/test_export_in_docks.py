"""Trained models leave for other programs from the docks; exports are real."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import runpy
import subprocess
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import yaml
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog

from napari_ppn2v.core.prior_network import Normalisation
from napari_ppn2v.files import atomic
from napari_ppn2v.files.bioimage_model import read_description
from napari_ppn2v.pipeline.export_job import run_saved_module
from napari_ppn2v.session.session import NamedDenoiser
from napari_ppn2v.widgets.apply.target_section import FILES, SEVERAL
from napari_ppn2v.widgets.export import words
from tests.files.test_bioimage_model import CHECK, bioimageio_python
from tests.widgets.test_apply_panel import (
    SECONDS,
    cells,
    dock,
    model_file,
    press,
    ready,
    trained,
    wait,
)
from tests.widgets.test_closing import is_idle
from tests.widgets.test_denoise_panel import dock as denoise_dock

__all__ = ["denoise_dock", "dock", "model_file", "ready", "trained"]


@pytest.fixture
def panel(ready):
    """The Apply dock, with a model at hand."""
    return ready()[1]


@pytest.fixture
def section(panel):
    """Its section, and its viewer."""
    return panel.viewer, panel.export


def enter_axes(panel, axes):
    """Type the axes, as the user would, into the dock Apply."""
    panel.target.image.axes.setText(axes)
    panel.target.image.axes.textEdited.emit(axes)


def exported(section, path, qtbot):
    """Export to a path and wait; returns what is in the package, by name."""
    section.export_to(path)
    finish(section, qtbot)
    assert section.exporting.message.kind == "info", section.exporting.message.text()
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def finish(section, qtbot):
    qtbot.waitUntil(lambda: not section.exporting.is_busy, timeout=SECONDS)


def array(files, name):
    return np.load(io.BytesIO(files[f"{name}.npy"]))


def refused(section, path, qtbot):
    """Try to export; returns what is said."""
    section.export_to(path)
    finish(section, qtbot)
    assert section.exporting.message.kind == "error"
    return section.exporting.message.text()


def choose_file(monkeypatch, path):
    """Answer the next file dialogs; returns what they began with."""
    asked = []

    def answer(parent, caption, start, filters):
        asked.append(start)
        return str(path), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    return asked


# -- what comes out -------------------------------------------------------------------


def test_a_loaded_model_leaves_as_a_package_that_denoises_alike(
    dock, model_file, trained, qtbot, tmp_path, monkeypatch
):
    _, panel = dock()
    section = panel.export
    assert not section.isVisibleTo(panel)
    panel.model.load([model_file])
    wait(qtbot, panel)
    assert section.isVisibleTo(panel)
    assert section.card.name.text() == "PPN2V denoising tubulin"
    section.card.description.setPlainText("HeLa,\ntubulin-GFP")
    section.card.authors.setPlainText(
        "Ada Lovelace; Analytical Engines\n\nGrace Hopper"
    )
    section.card.licence.setCurrentText("CC0-1.0")
    section.card.tags.setText("sCMOS, , tubulin")
    asked = choose_file(monkeypatch, tmp_path / "cells")
    press(section.exporting.button)
    finish(section, qtbot)
    assert asked == ["tubulin.zip"]
    said = section.exporting.message.text()
    assert said.startswith(f"Saved cells.zip in {tmp_path}.")
    assert "Largest difference from napari-ppn2v" in said
    assert [path.name for path in tmp_path.iterdir()] == ["cells.zip"]
    plain = read_description(tmp_path / "cells.zip")
    assert plain["name"] == "PPN2V denoising tubulin"
    assert plain["description"] == "HeLa, tubulin-GFP"
    assert [a["name"] for a in plain["authors"]] == ["Ada Lovelace", "Grace Hopper"]
    assert plain["license"] == "CC0-1.0"
    assert {"sCMOS", "tubulin", "denoising"} <= set(plain["tags"])
    with zipfile.ZipFile(tmp_path / "cells.zip") as archive:
        weights = archive.read("weights.pt")
    noisy = cells()[0].astype(np.float32)
    found = run_saved_module(weights, noisy[None, None], with_std=False)["estimate"]
    own = trained.result(trained.estimate_image(noisy))
    noise = np.std(noisy - own)
    assert np.abs(found[0, 0] - own).max() < 0.2 * noise  # the package has 32 bits


def test_what_nobody_has_chosen_is_said_afterwards(section, qtbot, tmp_path):
    _, section = section
    assert section.image.note.text() == words.SIMULATED
    exported(section, tmp_path / "a.zip", qtbot)
    warned = section.warning.text()
    assert "No author was named: the package says 'Author not named'" in warned
    assert "simulated" in warned
    assert "--" not in warned  # options are of the command line
    section.card.authors.setPlainText("Ada Lovelace")
    exported(section, tmp_path / "b.zip", qtbot)
    assert "author" not in section.warning.text()


def test_a_part_of_the_layer_chosen_becomes_the_test_image(section, qtbot, tmp_path):
    viewer, section = section
    stack = cells(side=300)
    viewer.add_image(cells(seed=1), name="other")
    viewer.add_image(stack, name="day 2")
    section.image.box.setChecked(True)
    section.image.layer.choose(viewer.layers["day 2"])
    assert section.image.note.text().startswith("The middle of its first frame goes")
    files = exported(section, tmp_path / "a.zip", qtbot)
    np.testing.assert_array_equal(
        array(files, "observation")[0, 0], stack[0, 22:278, 22:278]
    )
    assert "simulated" not in section.warning.text()


def test_the_layer_that_a_model_is_applied_to_is_offered_with_its_axes(
    section, panel, qtbot, tmp_path
):
    viewer, section = section
    viewer.add_image(cells(seed=1), name="lowest")
    planes = cells(4, 128)[None]  # of which nobody can tell what they are
    source = viewer.add_image(planes, name="day 2")
    panel.choose_layer(source)
    enter_axes(panel, "ZTYX")
    section.image.box.setChecked(True)
    assert section.image.layer.value is source
    assert section.image.data().axes == "ZTYX"
    files = exported(section, tmp_path / "a.zip", qtbot)
    np.testing.assert_array_equal(array(files, "observation")[0, 0], planes[0, 0])
    enter_axes(panel, "CTYX")
    assert section.image.data().axes == "CTYX"
    enter_axes(panel, "CT")
    assert "CT" in section.exporting.button.reason()
    panel.choose_layer(viewer.layers["lowest"])
    assert section.image.data().axes == "TYX"
    assert section.exporting.button.reason() == ""


def test_of_several_layers_the_first_that_is_checked_is_offered(section, panel):
    viewer, section = section
    stacks = [viewer.add_image(cells(seed=seed)) for seed in range(3)]
    panel.target.choose(SEVERAL)
    panel.target.layers.check(stacks[1:])
    section.image.box.setChecked(True)
    assert section.image.layer.value is stacks[1]
    panel.target.layers.check([])
    assert section.image.layer.value is stacks[1]
    panel.target.choose(FILES)
    assert section.exporting.button.reason() == ""


def test_a_test_image_that_was_chosen_by_hand_stays_while_it_is_there(section, panel):
    viewer, section = section
    first, second, own = (viewer.add_image(cells(seed=seed)) for seed in range(3))
    panel.choose_layer(first)
    section.image.box.setChecked(True)
    section.image.layer.choose(own)
    panel.choose_layer(second)
    viewer.add_image(cells(seed=3))
    assert section.image.layer.value is own
    viewer.layers.remove(own)
    assert section.image.layer.value is second


def test_of_several_channels_one_is_chosen_and_that_of_the_layer_shown(
    ready, trained, qtbot, tmp_path
):
    brighter = copy.deepcopy(trained.model)
    brighter.normalisation = Normalisation(250.0, 20.0)
    second = replace(trained, model=brighter, estimate="prior-mean", refined=None)
    viewer, panel = ready((trained, second), (0, 2))
    section = panel.export
    image = np.stack([cells(1, 128, seed)[0] for seed in range(3)])
    viewer.add_image(image, name="day 2", axis_labels=("c", "y", "x"))
    section.image.box.setChecked(True)
    assert section.channels.isVisibleTo(section)
    section.channels.setCurrentIndex(1)
    assert section.card.name.text() == "PPN2V denoising tubulin_c2"
    assert "(channel 2)" in section.image.note.text()
    files = exported(section, tmp_path / "a.zip", qtbot)
    np.testing.assert_array_equal(array(files, "observation")[0, 0], image[2])
    ours = read_description(tmp_path / "a.zip")["config"]["napari_ppn2v"]
    assert ours["mean"] == 250
    viewer.layers["day 2"].data = image[:2]
    press(section.exporting.button)
    assert "channel 2" in section.exporting.button.reason()
    assert not section.exporting.is_busy


def test_the_uncertainty_is_a_second_output_where_there_is_one(
    ready, trained, qtbot, tmp_path
):
    _, panel = ready()
    section = panel.export
    section.std.setChecked(True)
    files = exported(section, tmp_path / "a.zip", qtbot)
    assert (array(files, "posterior_std") > 0).all()
    alone = replace(
        trained, estimate="prior-mean", refined=None, noise_model=None, target="clean"
    )
    panel.session.add_denoiser(NamedDenoiser("care", (alone,)))
    panel.model.choose("care")
    assert not section.std.isEnabled()
    assert "clean targets" in section.std.toolTip()
    files = exported(section, tmp_path / "b.zip", qtbot)
    assert "posterior_std.npy" not in files


def test_the_way_to_estimate_is_that_of_the_advanced_settings(section, qtbot, tmp_path):
    _, section = section
    estimate = section.inference.editor("estimate").findChild(QComboBox)
    estimate = estimate or section.inference.editor("estimate")
    estimate.setCurrentIndex(estimate.findData("prior-mean"))
    exported(section, tmp_path / "a.zip", qtbot)
    ours = read_description(tmp_path / "a.zip")["config"]["napari_ppn2v"]
    assert ours["estimate"] == "prior-mean"


@pytest.mark.slow
def test_bioimageio_core_accepts_what_the_viewer_exports(section, qtbot, tmp_path):
    python = bioimageio_python()
    viewer, section = section
    viewer.add_image(cells(side=200), name="day 2")
    section.image.box.setChecked(True)
    section.std.setChecked(True)
    section.card.authors.setPlainText("Ada Lovelace; 0000-0002-1825-0097")
    section.card.tags.setText("sCMOS")
    path = tmp_path / "cells.zip"
    exported(section, path, qtbot)
    np.save(path.with_suffix(".npy"), cells(side=200)[0].astype(np.float32))
    script = tmp_path / "check.py"
    script.write_text(CHECK)
    environment = os.environ | {"BIOIMAGEIO_CACHE_PATH": str(tmp_path / "cache")}
    answer = subprocess.run(
        [python, str(script), json.dumps([str(path)])],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    told = json.loads(answer.stdout.splitlines()[-1])[str(path)]
    assert told == {"status": "passed", "errors": []}


# -- after a run ----------------------------------------------------------------------


def test_what_was_trained_just_now_is_exported_with_a_part_of_its_recording(
    denoise_dock, qtbot, tmp_path
):
    viewer, panel = denoise_dock(5)
    section = panel.denoising.export
    planes = cells(4, 128)[None]  # of which nobody can tell what they are
    source = viewer.add_image(planes, name="day 1")
    panel.choose_layer(source)
    panel.image.axes.setText("ZTYX")
    panel.image.axes.textEdited.emit("ZTYX")
    assert not section.isVisibleTo(panel)
    press(panel.start)
    qtbot.waitUntil(lambda: not panel.session.is_busy, timeout=SECONDS)
    assert section.isVisibleTo(panel)
    assert section.card.name.text() == "PPN2V denoising day 1"
    section.image.box.setChecked(True)
    assert section.image.layer.value is source  # not the result, which is selected
    assert section.image.data().axes == "ZTYX"
    files = exported(section, tmp_path / "a.zip", qtbot)
    np.testing.assert_array_equal(array(files, "observation")[0, 0], planes[0, 0])
    assert panel.denoising.followups.isVisibleTo(panel)  # what the run left stays
    assert panel.session.state.message.startswith("Finished.")
    press(panel.start)
    assert not section.isVisibleTo(panel)  # another model is being made
    panel.denoising.monitor.stop_button.click()
    qtbot.waitUntil(lambda: not panel.session.is_busy, timeout=SECONDS)


# -- as Python ------------------------------------------------------------------------


def run_copied(section, tmp_path, monkeypatch):
    """Press “Copy export as Python” and run what is on the clipboard."""
    section.script_button.click()
    text = QApplication.clipboard().text()
    script = tmp_path / "script.py"
    script.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return text, runpy.run_path(str(script))["exported"]


def test_copied_as_python_a_loaded_model_makes_the_same_package(
    dock, model_file, qtbot, tmp_path, monkeypatch
):
    _, panel = dock()
    panel.model.load([model_file])
    wait(qtbot, panel)
    tifffile.imwrite(tmp_path / "day 2.tif", cells(), metadata={"axes": "TYX"})
    panel.target.image.layer.open_path(tmp_path / "day 2.tif")
    section = panel.export
    section.card.description.setPlainText("HeLa 'cells'")
    section.card.authors.setPlainText("Ada Lovelace; Engines; 0000-0002-1825-0097; @a")
    section.card.licence.setCurrentText("MIT")
    section.card.tags.setText("a, b")
    section.image.box.setChecked(True)
    section.std.setChecked(True)
    before = exported(section, tmp_path / "a.zip", qtbot)
    text, report = run_copied(section, tmp_path, monkeypatch)
    assert f"ppn2v.load_model({str(model_file)!r})" in text
    assert "overwrite=True" in text  # as it was in the viewer
    assert report.path == tmp_path / "a.zip"
    with zipfile.ZipFile(report.path) as archive:
        after = {name: archive.read(name) for name in archive.namelist()}
    assert after.keys() == before.keys()
    for name in ("observation", "estimate", "posterior_std"):
        np.testing.assert_array_equal(array(after, name), array(before, name))
    plain, again = (yaml.safe_load(f["rdf.yaml"]) for f in (before, after))
    for item in ("name", "description", "authors", "license", "tags", "config"):
        assert again[item] == plain[item], item


def test_copied_as_python_a_model_of_the_session_is_taken_from_the_viewer(
    make_napari_viewer, dock, trained, tmp_path, monkeypatch
):
    viewer = make_napari_viewer()
    _, panel = dock(viewer)
    panel.session.add_denoiser(NamedDenoiser("it's mine", (trained, trained), (0, 2)))
    section = panel.export
    section.channels.setCurrentIndex(1)
    config = section.inference.value()
    section.inference.set_value(
        replace(config, estimate="prior-mean", blind="yes", average_orientations=True)
    )
    text, report = run_copied(section, tmp_path, monkeypatch)
    assert "denoisers[1]" in text
    assert "overwrite" not in text
    assert report.path.name == "it_s mine_c2.zip"
    ours = read_description(tmp_path / report.path)["config"]["napari_ppn2v"]
    assert ours["is_blind"]
    assert ours["estimate"] == "prior-mean"


def test_a_model_that_was_saved_is_loaded_by_the_script(denoise_dock, qtbot, tmp_path):
    viewer, panel = denoise_dock(5)
    panel.choose_layer(viewer.add_image(cells(), name="day 1"))
    press(panel.start)
    qtbot.waitUntil(lambda: not panel.session.is_busy, timeout=SECONDS)
    section = panel.denoising.export
    assert "current_viewer" in section.script()
    panel.denoising.save_model(tmp_path / "cells.ppn2v")
    assert f"load_model({str(tmp_path / 'cells.ppn2v')!r})" in section.script()


# -- why it cannot be pressed ---------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "text", "reason"),
    [
        ("name", "PPN", "3 characters"),
        ("name", "Zellkerne grün", "letters without accents"),
        ("description", "x" * 1025, "1025 characters"),
        ("authors", "Ada\n; Somewhere", "'; Somewhere' has no name"),
        ("authors", "Ada; 0000-0002-1825-0098", "mistyped"),
        ("licence", "do what you want", "SPDX"),
    ],
)
def test_what_the_model_zoo_would_refuse_is_said_below_the_button(
    section, field, text, reason
):
    _, section = section
    assert section.exporting.button.reason() == ""
    widget = getattr(section.card, field)
    before = {"licence": "CC-BY-4.0", "name": section.card.name.text()}.get(field, "")
    write = getattr(widget, "setPlainText", None) or getattr(widget, "setText", None)
    write = write or widget.setCurrentText
    write(text)
    assert reason in section.exporting.button.reason()
    assert not section.exporting.button.button.isEnabled()
    write(before)
    assert section.exporting.button.reason() == ""


def test_an_image_that_is_not_there_is_said_below_the_button(section):
    viewer, section = section
    section.image.box.setChecked(True)
    assert "There is no image layer" in section.exporting.button.reason()
    layer = viewer.add_image(cells(), name="day 2")
    assert section.exporting.button.reason() == ""
    viewer.layers.remove(layer)
    assert "There is no image layer" in section.exporting.button.reason()


def test_a_model_of_corrected_frames_is_refused_with_the_reason(ready, trained):
    maps = {"common_offset": 100.0, "common_gain": 2.0, "name": "maps.tif"}
    _, panel = ready((replace(trained, provenance={"camera_maps": maps}),))
    assert "camera maps" in panel.export.exporting.button.reason()


def test_an_estimate_that_the_model_cannot_give_is_refused_with_the_reason(section):
    _, section = section
    config = section.inference.value()
    section.inference.set_value(replace(config, estimate="mmse"))
    section.std.toggle()
    assert "'refined' or 'prior-mean'" in section.exporting.button.reason()


def test_it_waits_for_a_run_and_no_run_waits_for_it(ready, qtbot, tmp_path):
    viewer, panel = ready()
    viewer.add_image(cells(), name="day 2")
    press(panel.start)
    assert "goes on. Wait for its end" in panel.export.exporting.button.reason()
    wait(qtbot, panel)
    assert panel.export.exporting.button.reason() == ""
    panel.export.export_to(tmp_path / "a.zip")
    press(panel.start)
    wait(qtbot, panel)
    finish(panel.export, qtbot)
    assert (tmp_path / "a.zip").is_file()
    assert len(viewer.layers) == 3


# -- another model --------------------------------------------------------------------


def test_another_model_keeps_the_authors_and_nothing_else(ready, trained, qtbot):
    _, panel = ready()
    card = panel.export.card
    card.name.setText("My tubulin")
    card.name.setModified(True)
    card.description.setPlainText("tubulin")
    card.authors.setPlainText("Ada Lovelace")
    card.licence.setCurrentText("CC0-1.0")
    panel.session.add_denoiser(NamedDenoiser("actin", (trained,)))
    assert card.name.text() == "My tubulin"  # the choice is the same
    panel.model.choose("actin")
    assert card.name.text() == "PPN2V denoising actin"
    assert card.description.toPlainText() == ""
    assert card.authors.toPlainText() == "Ada Lovelace"
    assert card.licence.currentText() == "CC0-1.0"


def test_an_export_is_told_though_another_model_was_chosen_meanwhile(
    ready, trained, qtbot, tmp_path
):
    _, panel = ready()
    panel.session.add_denoiser(NamedDenoiser("actin", (trained,)))
    section = panel.export
    section.export_to(tmp_path / "tubulin.zip")
    panel.model.choose("actin")
    finish(section, qtbot)
    assert "Saved tubulin.zip" in section.exporting.message.text()
    assert read_description(tmp_path / "tubulin.zip")["name"].endswith("tubulin")
    assert "'actin.zip'" in section.script()  # and nothing is overwritten


# -- files that are there, disks that are full -----------------------------------------


def test_a_file_that_the_dialog_has_not_asked_about_is_asked_about(
    section, qtbot, tmp_path, monkeypatch
):
    _, section = section
    path = tmp_path / "cells.zip"
    path.write_bytes(b"precious")
    choose_file(monkeypatch, tmp_path / "cells")  # to which .zip is added
    press(section.exporting.button)
    assert f"There is a file cells.zip in {tmp_path} already" in (
        section.exporting.message.text()
    )
    assert path.read_bytes() == b"precious"
    assert section.replace_button.isVisibleTo(section)
    section.card.tags.setText("something else")
    assert not section.replace_button.isVisibleTo(section)
    assert section.exporting.message.text() == ""
    press(section.exporting.button)
    press(section.replace_button)
    finish(section, qtbot)
    assert not section.replace_button.isVisibleTo(section)
    assert read_description(path)["name"] == "PPN2V denoising tubulin"


def test_a_dialog_that_was_cancelled_changes_nothing(section, tmp_path, monkeypatch):
    _, section = section
    choose_file(monkeypatch, "")
    press(section.exporting.button)
    assert not section.exporting.is_busy
    assert section.exporting.message.text() == ""


def test_a_full_disk_is_said_in_words_and_leaves_the_file_that_was_there(
    section, qtbot, tmp_path, monkeypatch
):
    _, section = section
    path = tmp_path / "cells.zip"
    before = exported(section, path, qtbot)
    usage = atomic.shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(
            atomic.shutil, "disk_usage", lambda where: usage._replace(free=1000)
        )
        said = refused(section, path, qtbot)
    assert "only 1.0 kB are free on this drive. Free some space" in said
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", write_to_full_disk)
        said = refused(section, path, qtbot)
    assert "The disk is full" in said
    assert [each.name for each in tmp_path.iterdir()] == ["cells.zip"]
    assert exported(section, path, qtbot).keys() == before.keys()


def write_to_full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_that_is_gone_is_named(section, qtbot, tmp_path):
    _, section = section
    said = refused(section, tmp_path / "gone" / "cells.zip", qtbot)
    assert f"there is no folder {tmp_path / 'gone'}" in said


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_read_only_folder_is_said_in_words(section, qtbot, tmp_path):
    _, section = section
    tmp_path.chmod(0o500)
    said = refused(section, tmp_path / "cells.zip", qtbot)
    tmp_path.chmod(0o700)
    assert "read-only" in said


# -- stopped, and closed --------------------------------------------------------------


def test_stop_writes_nothing_and_the_button_is_there_again(section, qtbot, tmp_path):
    _, section = section
    section.export_to(tmp_path / "a.zip")
    assert section.exporting.stop_button.isVisibleTo(section)
    press(section.exporting.stop_button)
    finish(section, qtbot)
    assert section.exporting.message.text() == "Stopped. Nothing was written."
    assert not list(tmp_path.iterdir())
    exported(section, tmp_path / "a.zip", qtbot)


def test_a_dock_closed_in_the_middle_leaves_no_file_and_no_listener(
    ready, qtbot, tmp_path
):
    _, panel = ready()
    count = len(panel.session.state_changed)
    panel.export.export_to(tmp_path / "a.zip")
    panel.close_down()
    qtbot.waitUntil(is_idle, timeout=SECONDS)
    assert not list(tmp_path.iterdir())
    assert len(panel.session.state_changed) == count - 3  # monitor, dock and section
