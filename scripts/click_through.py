"""Use the plugin with a mouse in a real viewer, check the result, take the pictures.

Opens the sample, denoises it with a bootstrapped noise model, looks at the noise model,
saves the trained model, applies it from its file and exports it for other programs, all
by moving and pressing the mouse of an X server (xdotool). Needs a screen: `make
click-through` brings one that is in memory only.

Every step waits for what a user would wait for, and fails with what was missing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("QT_QPA_PLATFORM", "xcb")

import napari
import numpy as np
from qtpy.QtCore import QPoint, QPointF, QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QMenu, QWidget

from napari_ppn2v.files.bioimage_model import read_description

if TYPE_CHECKING:
    from qtpy.QtGui import QAction, QImage

Wait = float | tuple[Callable[[], Any], float, str]
Steps = Generator[Wait, None, None]

SHORT, LONG = 30.0, 1800.0  # seconds to wait for a reaction, and for a training
LEAST_GAIN = 6.0  # dB that the denoised sample must come closer to its truth
PLUGIN = "napari-ppn2v"


class Failed(Exception):
    """Something that a user would have seen did not happen."""


class Robot:
    """Moves the mouse and the keys of the X server, and takes pictures."""

    def __init__(self, viewer: napari.Viewer, folder: Path):
        self.viewer, self.folder = viewer, folder
        self.window = viewer.window._qt_window
        folder.mkdir(parents=True, exist_ok=True)

    # -- mouse and keys ---------------------------------------------------------------

    def point(self, where: QPoint, *actions: str) -> None:
        """Move the mouse to a place on the screen and do something there."""
        _xdotool("mousemove", str(where.x()), str(where.y()), *actions)

    def click(self, widget: QWidget, at: QPoint | None = None) -> Steps:
        """Press a widget in its middle, or at a place in it."""
        yield from self.reach(widget)
        if not widget.isEnabled():
            raise Failed(f"{_name(widget)} cannot be pressed: {widget.toolTip()}")
        place = at or widget.rect().center()
        self.point(widget.mapToGlobal(place), "click", "1")
        yield 0.3

    def check(self, box: QWidget) -> Steps:
        """Press a check box or radio button, whose mark is at its left."""
        yield from self.click(box, QPoint(10, box.height() // 2))

    def reach(self, widget: QWidget) -> Steps:
        """Scroll until a widget is in sight."""
        yield (widget.isVisible, SHORT, f"{_name(widget)} to appear")
        parent = widget.parentWidget()
        while parent is not None:
            scroll = getattr(parent, "scroll_area", None)
            if scroll is not None:
                scroll.ensureWidgetVisible(widget)
                yield 0.2
            parent = parent.parentWidget()

    def choose(self, combo: QComboBox, text: str) -> Steps:
        """Open a list and press one of its entries."""
        yield from self.click(combo)
        names = [combo.itemText(i) for i in range(combo.count())]
        number = next((i for i, name in enumerate(names) if text in name), None)
        if number is None:
            raise Failed(f"“{text}” is not among {names}")
        entries, model = combo.view(), combo.model()
        assert entries is not None
        assert model is not None
        yield (entries.isVisible, SHORT, "the list to open")
        place = entries.visualRect(model.index(number, 0)).center()
        surface = entries.viewport()
        assert surface is not None
        self.point(surface.mapToGlobal(place), "click", "1")
        yield (lambda: text in combo.currentText(), SHORT, f"“{text}” to be chosen")

    def menu(self, *path: str) -> Steps:
        """Press an entry of the menu bar, through its submenus."""
        bar = self.window.menuBar()
        container: Any = bar
        for number, name in enumerate(path):
            action = _action(container, name)
            place = container.actionGeometry(action).center()
            self.point(container.mapToGlobal(place), "click", "1")
            yield 0.3
            if number + 1 < len(path):
                container = action.menu()
                assert isinstance(container, QMenu)
                yield (container.isVisible, SHORT, f"the menu “{name}” to open")

    def drag(self, widget: QWidget, start: QPoint, end: QPoint) -> Steps:
        """Press, move in small steps, release."""
        self.point(widget.mapToGlobal(start), "mousedown", "1")
        for part in np.linspace(0, 1, 12):
            between = QPointF(start) * (1 - part) + QPointF(end) * part
            self.point(widget.mapToGlobal(between.toPoint()))
            yield 0.05
        self.point(widget.mapToGlobal(end), "mouseup", "1")
        yield 0.3

    def type(self, widget: QWidget, text: str) -> Steps:
        """Press a field and type into it."""
        yield from self.click(widget)
        _xdotool("windowfocus", str(int(self.window.winId())))
        yield 0.3
        _xdotool("type", "--delay", "5", text)
        yield 0.3

    def answer_dialog(self, path: Path) -> Steps:
        """Type a path into the file dialog that is open, and confirm."""
        yield (_file_dialog, SHORT, "the file dialog")
        dialog = _file_dialog()
        assert dialog is not None
        # without a window manager nobody gives a new window the keyboard
        _xdotool("windowfocus", str(int(dialog.winId())))
        yield 0.3
        _xdotool("key", "ctrl+a")
        _xdotool("type", "--delay", "5", str(path))
        yield 0.3
        _xdotool("key", "Return")
        yield (lambda: _file_dialog() is None, SHORT, "the file dialog to close")

    # -- pictures ---------------------------------------------------------------------

    def picture(self, name: str) -> Steps:
        """Take the whole window, in napari's dark and light theme."""
        self.point(self.window.mapToGlobal(QPoint(5, self.window.height() - 5)))
        for theme in ("light", "dark"):
            if self.viewer.theme != theme:
                self.viewer.theme = theme
                yield 1.0
            image = self.grab()
            path = self.folder / f"{name}_{theme}.png"
            image.save(str(path))

    def grab(self) -> QImage:
        """Take what is on the screen where the window is, dialogs included."""
        screen = QApplication.primaryScreen()
        assert screen is not None
        area = self.window.geometry()
        everything = screen.grabWindow(0)  # type: ignore[arg-type]
        return everything.copy(area).toImage()


def _xdotool(*words: str) -> None:
    subprocess.run(["xdotool", *words], check=True, timeout=SHORT)


def _name(widget: QWidget) -> str:
    text = getattr(widget, "text", None)
    return f"“{text()}”" if callable(text) else type(widget).__name__


def _action(container: Any, name: str) -> QAction:
    known = {a.text().replace("&", "").rstrip("…."): a for a in container.actions()}
    found = next((a for text, a in known.items() if text.startswith(name)), None)
    if found is None:
        raise Failed(f"There is no “{name}” among {list(known)}")
    return found


def _file_dialog() -> QFileDialog | None:
    window = QApplication.activeModalWidget()
    return window if isinstance(window, QFileDialog) and window.isVisible() else None


# -- the story -----------------------------------------------------------------------


def story(robot: Robot, model_file: Path) -> Steps:
    """Tell what a user does; see the tutorial."""
    viewer = robot.viewer
    yield from robot.menu("File", "Open Sample", PLUGIN, "Simulated EMCCD")
    yield (lambda: len(viewer.layers) == 3, SHORT, "the three layers of the sample")
    noisy, truth = viewer.layers["EMCCD recording"], viewer.layers["EMCCD truth"]
    yield from denoise(robot, model_file)
    result = viewer.layers.selection.active
    assert result is not None
    gained = check_result(result.data, noisy.data, truth.data)
    print(f"PSNR gained by denoising: {gained:.2f} dB")
    yield from look_at_noise_model(robot)
    yield from apply_from_file(robot, model_file, result.data)
    yield from export(robot, model_file.with_suffix(".zip"))


def denoise(robot: Robot, model_file: Path) -> Steps:
    """Denoise the sample with the noise model estimated from it."""
    yield from robot.menu("Plugins", PLUGIN, "Denoise (PPN2V)")
    panel = yield from _dock(robot, "DenoisePanel")
    layers = panel.image.layer.choice.findChild(QComboBox)
    yield from robot.choose(layers, "EMCCD recording")
    times = [panel.time.text_of(name) for name in ("fast", "thorough")]
    yield (
        lambda: all("about" in panel.time.text_of(n) for n in ("fast", "thorough")),
        LONG,
        f"the times of the presets, which read {times}",
    )
    yield from robot.check(panel.time.button_of("fast"))
    yield from robot.picture("1_ready")
    yield from robot.click(panel.start.button)
    yield (lambda: panel.session.is_busy, SHORT, "the run to begin")
    yield (_reached(panel, "n2v", 0.6), LONG, "the Noise2Void training")
    yield from robot.picture("2_training")
    yield (lambda: panel.session.state.fit.model is not None, LONG, "the noise model")
    yield from robot.reach(panel.denoising.noise_plots)
    yield from robot.picture("3_noise_model")
    yield (_reached(panel, "refinement 1", 0.3), LONG, "the refinement")
    yield from robot.reach(panel.denoising.monitor)
    yield from robot.picture("4_refinement")
    yield (lambda: not panel.session.is_busy, LONG, "the end of the run")
    state = panel.session.state
    if state.status.value != "finished":
        raise Failed(f"The run {state.status.value}: {state.message}")
    yield from robot.reach(panel.denoising.followups)
    yield from robot.picture("5_denoised")
    yield from robot.click(panel.denoising.followups.save)
    yield from robot.answer_dialog(model_file)
    yield (model_file.is_file, SHORT, f"the model file {model_file.name}")


def look_at_noise_model(robot: Robot) -> Steps:
    """Open the noise model that was fitted and move the cursor over it."""
    yield from robot.menu("Plugins", PLUGIN, "Noise model (PPN2V)")
    panel = yield from _dock(robot, "NoiseModelPanel")
    view = panel.view
    yield (lambda: view.cursor_signal is not None, SHORT, "the noise model to be shown")
    yield 1.0  # its texts make room
    yield from robot.reach(view.slice)
    yield from robot.reach(view.heat_map)
    before = view.cursor_signal
    box = view.heat_map.getViewBox()
    line = box.mapViewToScene(QPointF(before, sum(box.viewRange()[1]) / 2))
    start = view.heat_map.mapFromScene(line)
    end = QPoint(start.x() + 60, start.y())
    yield from robot.drag(view.heat_map.viewport(), start, end)
    yield (
        lambda: view.cursor_signal > before,
        SHORT,
        f"the cursor to follow the mouse away from {before:.5g}",
    )
    yield from robot.picture("6_inspect")


def apply_from_file(robot: Robot, model_file: Path, expected: np.ndarray) -> Steps:
    """Load the saved model and apply it; it must give the same again."""
    viewer = robot.viewer
    yield from robot.menu("Plugins", PLUGIN, "Apply a model (PPN2V)")
    panel = yield from _dock(robot, "ApplyPanel")
    known = panel.model.list.count()
    yield from robot.click(panel.model.load_button)
    yield from robot.answer_dialog(model_file)
    yield (lambda: panel.model.list.count() > known, SHORT, "the model to be loaded")
    count = len(viewer.layers)
    panel.choose_layer(viewer.layers["EMCCD recording"])
    yield (panel.start.button.isEnabled, SHORT, "the button “Apply” to be enabled")
    yield from robot.click(panel.start.button)
    yield (lambda: len(viewer.layers) > count, LONG, "the layer of the applied model")
    yield (lambda: not panel.session.is_busy, SHORT, "the end of the run")
    yield from robot.picture("7_applied")
    again = viewer.layers.selection.active.data
    if not np.allclose(again, expected, rtol=1e-4, atol=1e-2):
        worst = float(np.abs(again - expected).max())
        raise Failed(f"The reloaded model gives another result (by up to {worst:.4g})")


def export(robot: Robot, package: Path) -> Steps:
    """Export the model that was applied, for other programs."""
    panel = yield from _dock(robot, "ApplyPanel")
    section = panel.export
    yield from robot.click(section.toggleButton())
    yield from robot.type(section.card.description, "Simulated filaments, EMCCD")
    yield from robot.type(section.card.authors, "Ada Lovelace")
    yield from robot.check(section.image.box)
    yield from robot.click(section.exporting.button.button)
    yield from robot.answer_dialog(package)
    yield (lambda: not section.exporting.is_busy, SHORT, "the end of the export")
    said = section.exporting.message.text()
    if not said.startswith(f"Saved {package.name} in "):
        raise Failed(f"The export says: {said or section.exporting.button.reason()}")
    plain = read_description(package)
    if [author["name"] for author in plain["authors"]] != ["Ada Lovelace"]:
        raise Failed(f"The package names as its authors {plain['authors']}")
    yield from robot.reach(section.script_button)
    yield from robot.picture("8_exported")


def _dock(robot: Robot, kind: str) -> Generator[Wait, None, Any]:
    """Wait for a dock and return it."""

    def find() -> Any:
        widgets = QApplication.allWidgets()
        return next(
            (w for w in widgets if type(w).__name__ == kind and w.isVisible()), None
        )

    yield (lambda: find() is not None, SHORT, f"the dock {kind}")
    yield 0.5
    return find()


def _reached(panel: Any, stage: str, share: float) -> Callable[[], bool]:
    """Whether a stage is done by that share, or the run is over before."""

    def reached() -> bool:
        state = panel.session.state
        if not state.status.is_busy:
            raise Failed(f"The run {state.status.value} early: {state.message}")
        return any(s.name == stage and s.share >= share for s in state.stages)

    return reached


def check_result(result: np.ndarray, noisy: np.ndarray, truth: np.ndarray) -> float:
    """Return the PSNR gained (dB); fails where it is too little."""
    before = np.mean((noisy.astype(float) - truth) ** 2)
    gained = 10 * np.log10(before / np.mean((result.astype(float) - truth) ** 2))
    if not gained >= LEAST_GAIN:
        raise Failed(f"Denoising gained {gained:.2f} dB, less than {LEAST_GAIN} dB")
    return float(gained)


# -- driving -------------------------------------------------------------------------


class Driver:
    """Runs the story beside the event loop, one wait after the other."""

    def __init__(self, steps: Steps, robot: Robot) -> None:
        self.steps, self.robot = steps, robot
        self.failure: BaseException | None = None
        self.is_over = False
        self._wait: Wait = 0.5
        self._since = time.monotonic()
        self.timer = QTimer()
        self.timer.setInterval(50)
        self.timer.timeout.connect(self._tick)
        self.timer.start()

    def _tick(self) -> None:
        self.timer.stop()  # a dialog's own loop must not come back in here
        try:
            if self._is_waited_for():
                self._wait, self._since = next(self.steps), time.monotonic()
        except StopIteration:
            self._end(None)
            return
        except Exception as error:  # noqa: BLE001 - reported, and the exit status says so
            self._end(error)
            return
        self.timer.start()

    def _is_waited_for(self) -> bool:
        waited = time.monotonic() - self._since
        if isinstance(self._wait, float):
            return waited >= self._wait
        condition, limit, what = self._wait
        if condition():
            return True
        if waited > limit:
            raise Failed(f"Waited {limit:.0f} s in vain for {what}")
        return False

    def _end(self, failure: BaseException | None) -> None:
        self.failure, self.is_over = failure, True
        if failure is not None:
            traceback.print_exception(failure)
            self.robot.grab().save(str(self.robot.folder / "failed.png"))
        self.robot.viewer.close()


def main() -> int:
    """Run it; the exit status is 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("click-through"))
    arguments = parser.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(1880, 1160)
    robot = Robot(viewer, arguments.output.absolute())
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(story(robot, Path(folder, "emccd.ppn2v")), robot)
        napari.run()
    if not driver.is_over:
        print("The viewer was closed before the story ended.", file=sys.stderr)
        return 1
    return 1 if driver.failure is not None else 0


if __name__ == "__main__":
    sys.exit(main())
