"""Messages, explained buttons, paths and frame ranges."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QFileDialog

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.widgets.parts.basics import (
    ElidedLabel,
    ExplainedButton,
    FrameRangeEdit,
    MessageLine,
    PathChoice,
)

LONG = "/data/microscope/2024/november/a folder of a very long name/EMCCD gain 300.npz"


@pytest.mark.parametrize("kind", ["info", "warning", "error"])
def test_a_message_is_there_only_while_there_is_something_to_say(qtbot, kind):
    line = MessageLine()
    qtbot.addWidget(line)
    line.show_message("Something about the noise.", kind)
    assert line.isVisible()
    assert (line.text(), line.kind) == ("Something about the noise.", kind)
    line.clear()
    assert not line.isVisible()


def test_a_button_says_why_it_cannot_be_pressed(qtbot):
    button = ExplainedButton("Denoise")
    qtbot.addWidget(button)
    button.set_help("Trains on the image and denoises it.")
    button.show()
    button.set_reason("Choose an image first.")
    with qtbot.assertNotEmitted(button.clicked):
        qtbot.mouseClick(button.button, Qt.MouseButton.LeftButton)
    assert button.button.toolTip() == button.reason() == "Choose an image first."
    button.set_reason("")
    with qtbot.waitSignal(button.clicked):
        qtbot.mouseClick(button.button, Qt.MouseButton.LeftButton)
    assert button.button.toolTip() == "Trains on the image and denoises it."


def test_a_long_path_is_cut_but_told_in_full(qtbot):
    label = ElidedLabel(LONG)
    qtbot.addWidget(label)
    label.resize(150, 20)
    assert "…" in label._elidedText()
    assert label.text() == label.toolTip() == LONG


def test_a_path_chosen_in_the_dialog_is_told(qtbot, monkeypatch):
    choice = PathChoice("Choose a noise model")
    qtbot.addWidget(choice)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (LONG, ""))
    with qtbot.waitSignal(choice.path_changed) as signal:
        choice.button.click()
    assert signal.args == [Path(LONG)]
    with qtbot.assertNotEmitted(choice.path_changed):
        choice.button.click()
        choice.set_path(None)
    assert choice.path is None


def test_a_cancelled_dialog_keeps_the_path(qtbot, monkeypatch):
    choice = PathChoice("Choose a folder", mode="folder")
    qtbot.addWidget(choice)
    choice.set_path("/data")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: "")
    choice.button.click()
    assert choice.path == Path("/data")


def test_a_file_can_be_dropped(qtbot, tmp_path):
    choice = PathChoice("Choose a noise model")
    qtbot.addWidget(choice)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path))])
    event = QDropEvent(
        QPointF(1, 1),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    with qtbot.waitSignal(choice.path_changed):
        choice.dropEvent(event)
    assert choice.path == tmp_path


def test_frames_are_read_as_ranges(qtbot):
    edit = FrameRangeEdit(24)
    qtbot.addWidget(edit)
    assert edit.frames() == tuple(range(24))
    with qtbot.waitSignal(edit.frames_changed):
        edit.set_text("0-2, 12")
    assert edit.frames() == (0, 1, 2, 12)


def test_frames_that_are_not_there_are_explained(qtbot):
    edit = FrameRangeEdit(24)
    qtbot.addWidget(edit)
    edit.set_text("20-23")
    edit.set_n_frames(10)
    assert "the image has 10 frames, numbered 0 to 9" in edit.error()
    with pytest.raises(BadSetting):
        edit.frames()
    with qtbot.assertNotEmitted(edit.frames_changed):
        edit.set_text("x")
