"""Does the viewer grow when it is used for hours? One real window, the same all over.

    python benchmarks/soak.py MINUTES [--out FOLDER]

Needs a screen; `xvfb-run -a -s "-screen 0 1920x1200x24"` before the command makes one
in memory. Each round opens an image and a recording, fits a noise model, denoises with
a tiny network, applies the model, changes the theme, closes the docks and clears up.
After each round memory, threads, open files and objects are counted.

The window grows without us, too. So a quarter of the time is the control: what such a
round asks of napari and Qt, as many layers, docks, workers and changes of the theme,
without any code of ours. It comes after some rounds of ours, so that all is loaded and
memory is in the same state for both. napari keeps each worker, with some objects, as
long as its window, and how many of them a round of ours starts depends on how busy the
machine is. So workers are counted by themselves, and what napari alone keeps of each,
measured before the control, is taken off the other counts. Growth for each round is the
Theil-Sen slope (the median of the slopes between all pairs of rounds) after a warm-up,
with its confidence interval of 95 %. Ours beyond the control is the difference of the
two slopes, with the interval of Zou and Donner (MOVER, Statistics in Medicine 27:1693,
2008); it is a leak where the interval lies above what is allowed. Ends with status 1
where there is one, 2 where a run fails.

The memory of the process hides slow leaks, because they fill holes first. Where the C
library tells (glibc 2.33 and newer), what `malloc` has handed out and not got back is
judged beside it.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import math
import os
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import report, write_csv

Row = dict[str, Any]
Steps = Generator[Callable[[], Any], None, None]

PLUGIN = "napari-ppn2v"
DOCKS = {
    "noise model": "Noise model (PPN2V)",
    "denoise": "Denoise (PPN2V)",
    "apply": "Apply a model (PPN2V)",
}
LIMIT_S = 300.0  # for anything that is waited for
WARM_UP = 0.25  # share of the rounds, three at least
LOADING = 3  # rounds of ours before the control
CONTROL = 0.25  # share of the time
ALLOWED = {  # growth beyond the control for each round; nobody would notice it in a day
    "memory [MB]": 0.2,
    "memory in use [MB]": 0.2,
    "threads": 0.02,
    "open files": 0.02,
    "Qt objects in the window": 0.5,
    "Qt objects of Python": 0.5,
    "objects of Python": 20.0,
    "workers kept by napari": 2.0,
}
LEAK, FAILED = 1, 2

# What a round of ours asks of napari and Qt, for the control
N_FRAMES, SIZE = 3, 96  # of the images: noisy, two previews, three results
N_STILL, STILL_SIZE = 30, 64  # of the calibration
N_WORKERS = 9
IN_DOCKS = ((10, 15), (7, 3), (9, 6))  # combo boxes and line edits, one pair for each


@dataclass(frozen=True)
class Slope:
    """Growth for each round; `low` and `high` bound it with 95 %."""

    value: float
    low: float
    high: float

    def beyond(self, other: Slope) -> Slope:
        """Return the difference, with the interval of Zou and Donner (MOVER)."""
        value = self.value - other.value
        below = math.hypot(self.value - self.low, other.high - other.value)
        above = math.hypot(self.high - self.value, other.value - other.low)
        return Slope(value, value - below, value + above)

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class Growth:
    """Growth of one count, in our rounds and in those of napari alone."""

    name: str
    ours: Slope
    control: Slope
    allowed: float

    @property
    def beyond(self) -> Slope:
        """What ours grows beyond the control."""
        return self.ours.beyond(self.control)

    @property
    def is_leak(self) -> bool:
        """Whether that is surely more than is allowed."""
        return self.beyond.low > self.allowed

    @property
    def verdict(self) -> str:
        """In a word; where the interval holds what is allowed, nothing is sure."""
        if self.is_leak:
            return "GROWS"
        return "steady" if self.beyond.high <= self.allowed else "not sure"

    def row(self) -> Row:
        """Return it as a row of a table."""
        return {
            "count, growth per round": self.name,
            "ours": str(self.ours),
            "napari alone": str(self.control),
            "beyond it": str(self.beyond),
            "allowed": self.allowed,
            "verdict": self.verdict,
        }


def judged(control: Sequence[Row], rows: Sequence[Row]) -> list[Growth]:
    """Return the growth of each count after the warm-ups.

    Raises
    ------
    ValueError  If either has fewer than seven rounds.
    """
    counted = [
        name for name in ALLOWED if all(name in row for row in [*control, *rows])
    ]
    return [
        Growth(name, slope(rows, name), slope(control, name), ALLOWED[name])
        for name in counted
    ]


def slope(rows: Sequence[Row], name: str) -> Slope:
    """Return the slope of one count after the warm-up; seven rounds are needed."""
    from scipy.stats import theilslopes

    kept = rows[warm_up_of(rows) :]
    if len(kept) < 4:
        raise ValueError(f"{len(rows)} rounds are too few to judge. Give more minutes.")
    rounds = [row["round"] for row in kept]
    found: Any = theilslopes([row[name] for row in kept], rounds, 0.95)
    return Slope(float(found.slope), float(found.low_slope), float(found.high_slope))


def warm_up_of(rows: Sequence[Row]) -> int:
    """Return how many of the first rounds are not judged."""
    return max(3, round(WARM_UP * len(rows)))


# --- Counting ---------------------------------------------------------------------


def count(window: Any) -> Row:
    """Count what must not grow."""
    import psutil
    from qtpy.QtCore import QObject
    from superqt.utils import WorkerBase

    gc.collect()
    process = psutil.Process()
    known = gc.get_objects()
    of_qt = [item for item in known if issubclass(type(item), QObject)]
    workers = [item for item in known if issubclass(type(item), WorkerBase)]
    row = {
        "memory [MB]": round(process.memory_info().rss / 1e6, 2),
        **in_use(),
        "threads": process.num_threads(),
        "open files": process.num_fds()
        if hasattr(process, "num_fds")
        else process.num_handles(),
        "Qt objects in the window": len(window.findChildren(QObject)),
        "Qt objects of Python": len(of_qt),
        "objects of Python": len(known),
        "workers kept by napari": len(workers),
    }
    row["threads of Python"] = threading.active_count()
    return row


def of_each_worker(before: Row, after: Row) -> Row:
    """Return what is kept of each of the workers between two counts."""
    kept = "workers kept by napari"
    n = after[kept] - before[kept]
    names = ("Qt objects of Python", "objects of Python")
    return {name: (after[name] - before[name]) / n if n else 0.0 for name in names}


def without_workers(row: Row, each: Row) -> Row:
    """Return the counts without what napari keeps of its workers."""
    n = row["workers kept by napari"]
    return row | {name: round(row[name] - n * kept, 1) for name, kept in each.items()}


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def in_use() -> Row:
    """Return what `malloc` has handed out and not got back; nothing where it is mute.

    Small objects of Python are not among it; they are counted.
    """
    ask = None
    if sys.platform.startswith("linux"):
        ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:
        return {}
    ask.restype = _MallInfo
    info = ask()
    return {"memory in use [MB]": round((info.uordblks + info.hblkhd) / 1e6, 3)}


def kinds() -> Counter[str]:
    """Count the objects of Python by their type, to find out what grows."""
    return Counter(
        f"{type(item).__module__}.{type(item).__qualname__}"
        for item in gc.get_objects()
    )


def more_of(kinds_of_control: Sequence[Row], kinds_of_ours: Sequence[Row]) -> Row:
    """Return which types of objects grow beyond the control, for each round."""
    grown = Counter(_each_round(kinds_of_ours))
    grown.subtract(_each_round(kinds_of_control))
    return {name: round(n, 2) for name, n in grown.most_common(12) if n >= 0.5}


def _each_round(counted: Sequence[Row]) -> dict[str, float]:
    first, last = counted[len(counted) // 3], counted[-1]
    n = last["round"] - first["round"]
    more = last["kinds"] - first["kinds"]
    return {name: count / n for name, count in more.items()} if n else {}


# --- Rounds -----------------------------------------------------------------------


class Rounds:
    """One viewer in which the same is done again and again, and then counted."""

    part = ""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        self.rows: list[Row] = []
        self.kinds: list[Row] = []
        self.of_each_worker: Row = {}

    def rounds(self, minutes: float) -> Steps:
        """Play rounds until the time is over."""
        began = time.monotonic()
        while time.monotonic() - began < 60 * minutes:
            round_began = time.monotonic()
            yield from self.one_round(len(self.rows))
            yield from self.settled()
            yield from cleared()
            row = {
                "part": self.part,
                "round": len(self.rows) + 1,
                "seconds": round(time.monotonic() - round_began, 1),
                **without_workers(self.count(), self.of_each_worker),
            }
            self.rows.append(row)
            if len(self.rows) % 5 == 4:
                self.kinds.append({"round": row["round"], "kinds": kinds()})
            print(
                "  ".join(f"{name} {value}" for name, value in row.items()), flush=True
            )

    def one_round(self, number: int) -> Steps:
        """Do all of it once."""
        raise NotImplementedError

    def settled(self) -> Steps:
        """Wait until nothing goes on, and all is drawn."""
        yield from drawn()

    def count(self) -> Row:
        """Count what there is in the window and in the process."""
        return count(self.viewer.window._qt_window)

    def change_theme(self, number: int) -> None:
        """Change from light to dark, or back."""
        self.viewer.theme = "light" if number % 2 else "dark"


class Control(Rounds):
    """What a round of ours asks of napari and Qt, without any code of ours."""

    part = "napari alone"

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        rng = np.random.default_rng(0)
        self.noisy = rng.poisson(300, (N_FRAMES, SIZE, SIZE)).astype(np.uint16)
        still = rng.poisson(300, (N_STILL, STILL_SIZE, STILL_SIZE))
        self.still = still.astype(np.uint16)
        self.workers: list[Any] = []

    def one_round(self, number: int) -> Steps:
        """Add layers, open docks, let workers run, change the theme, and clear up."""
        viewer = self.viewer
        viewer.add_image(self.noisy.copy(), name="cells")
        viewer.add_image(self.still.copy(), name="still")
        docks = [
            viewer.window.add_dock_widget(plain(*widgets), name=f"dock {place}")
            for place, widgets in enumerate(IN_DOCKS)
        ]
        yield from self.settled()
        self.work(3)
        yield from self.settled()
        for name in ("denoised", "denoised longer"):
            preview = self.noisy[:1].astype(np.float32)
            preview_layer = viewer.add_image(preview, name="preview")
            self.work(2)
            yield from self.settled()
            viewer.layers.remove(preview_layer)
            viewer.add_image(self.noisy.astype(np.float32), name=name)
            yield from self.settled()
        self.change_theme(number)
        self.work(N_WORKERS - 7)
        yield from self.settled()
        viewer.add_image(self.noisy.astype(np.float32), name="applied")
        yield from self.settled()
        for dock in docks:
            dock.destroyOnClose()
        yield from self.settled()
        viewer.layers.clear()

    def workers_alone(self) -> Steps:
        """Measure what napari keeps of a worker."""
        counts = []
        for _ in range(3):
            self.work(N_WORKERS)
            yield from self.settled()
            yield from cleared()
            counts.append(self.count())
        self.of_each_worker = of_each_worker(counts[0], counts[-1])

    def work(self, n: int) -> None:
        """Start workers of napari that have little to do."""
        from napari.qt.threading import create_worker

        for _ in range(n):
            worker = create_worker(little, _start_thread=False, _ignore_errors=True)
            self.workers.append(worker)
            worker.start()

    def settled(self) -> Steps:
        """Wait until no worker works, and all is drawn."""
        yield lambda: not any(worker.is_running for worker in self.workers)
        self.workers.clear()
        yield from drawn()


def little() -> Generator[int, None, None]:
    """Do little; one function for all workers, because napari keeps it with each."""
    for step in range(5):
        time.sleep(0.05)
        yield step


def plain(n_combo_boxes: int, n_line_edits: int) -> Any:
    """Return a widget of Qt's own; combo boxes and line edits leave rules of style."""
    from qtpy.QtWidgets import QComboBox, QLineEdit, QVBoxLayout, QWidget

    widget = QWidget()
    column = QVBoxLayout(widget)
    for _ in range(n_combo_boxes):
        combo_box = QComboBox()
        combo_box.addItems(["one", "two", "three"])
        column.addWidget(combo_box)
    for _ in range(n_line_edits):
        column.addWidget(QLineEdit("text"))
    return widget


class Soak(Rounds):
    """Everything there is for users to do with our docks."""

    part = "ours"

    def __init__(self, viewer: Any) -> None:
        from napari_ppn2v.core.camera import (
            Camera,
            simulate_calibration,
            simulate_stack,
        )
        from napari_ppn2v.session.session import session_of

        super().__init__(viewer)
        self.session = session_of(viewer)
        camera = Camera("emccd", gain=20.0, offset=300.0, read_noise=15.0)
        light = {"peak_electrons": 60.0}
        noisy = simulate_stack(camera, n_frames=N_FRAMES, size=SIZE, **light)
        still = simulate_calibration(
            camera, n_repeats=N_STILL, size=STILL_SIZE, **light
        )
        self.noisy, self.still = noisy.observation, still.observation

    def one_round(self, number: int) -> Steps:
        """Do all of it once."""
        viewer = self.viewer
        image = viewer.add_image(self.noisy.copy(), name="cells")
        still = viewer.add_image(self.still.copy(), name="still")
        docks, panels = {}, {}
        for kind, name in DOCKS.items():
            docks[kind], panels[kind] = viewer.window.add_plugin_dock_widget(
                PLUGIN, name
            )
        yield from self.fit(panels["noise model"], still)
        yield from self.denoise(panels["denoise"], image)
        self.change_theme(number)
        yield from self.apply(panels["apply"], image)
        for dock in docks.values():
            dock.destroyOnClose()
        yield from self.settled()
        viewer.layers.clear()
        # what the user has made is kept until the viewer is closed: no leak
        for name in list(self.session.noise_models):
            self.session.remove_noise_model(name)
        self.session.denoisers.clear()
        self.session.denoisers_changed.emit()

    def fit(self, panel: Any, layer: Any) -> Steps:
        """Fit a noise model to the recording."""
        from napari_ppn2v.core.noise_model_config import NoiseModelConfig

        panel.choose_layer(layer)
        panel.settings.set_value(NoiseModelConfig(kind="gmm", n_components=1))
        panel.fit()
        yield from self.finished()

    def denoise(self, panel: Any, layer: Any) -> Steps:
        """Denoise, train longer, and check the result as the dock does it."""
        panel.choose_layer(layer)
        panel.settings.set_config(tiny())
        panel.settings.computing.threads.setValue(1)
        press(panel.start)
        yield from self.finished()
        press(panel.denoising.followups.longer)
        yield from self.finished()

    def apply(self, panel: Any, layer: Any) -> Steps:
        """Apply the trained model to the image."""
        panel.choose_layer(layer)
        press(panel.start)
        yield from self.finished()

    def finished(self) -> Steps:
        """Wait until the run has come to a good end."""
        yield lambda: not self.session.is_busy
        yield from self.settled()
        state = self.session.state
        if state.status.value != "finished":
            raise RuntimeError(f"{state.title} {state.status.value}: {state.message}")

    def settled(self) -> Steps:
        """Wait until no thread of ours works, and all is drawn."""
        from napari_ppn2v import workers

        yield workers.is_idle
        yield from drawn()


def drawn() -> Steps:
    """Wait until all is drawn."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began > 0.3


def cleared() -> Steps:
    """Wait until Qt, too, has let go of what Python has found to be unreachable."""
    gc.collect()
    yield from drawn()


def press(button: Any) -> None:
    """Press a button that can be pressed."""
    button = getattr(button, "button", button)
    if not button.isEnabled():
        raise RuntimeError(f"“{button.text()}” cannot be pressed: {button.toolTip()}")
    button.click()


def tiny() -> Any:
    """Return settings that train in about a second."""
    from napari_ppn2v.core.network_config import UNetConfig
    from napari_ppn2v.core.noise_model_config import NoiseModelConfig
    from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig

    training = TrainingConfig(
        n_steps=20, batch_size=2, patch_size=32, steps_per_validation=5
    )
    return RunConfig(
        method="refined",
        n_refinements=1,
        network=UNetConfig(n_filters=4),
        pretraining=training,
        refinement=training,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


# --- The program ------------------------------------------------------------------


def soak(minutes: float, folder: Path) -> tuple[Control, Soak, str]:
    """Play in a real window; returns the control, ours, and what failed."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_ppn2v.pipeline import recovery

    # runs of the user's own are neither offered nor touched
    recovery.recovery_root = lambda: folder / "recovery"
    viewer = napari.Viewer()
    viewer.window.resize(1880, 1160)
    control, ours, failure = Control(viewer), Soak(viewer), ""

    def all_rounds() -> Steps:
        began = time.monotonic()
        for number in range(LOADING):
            yield from ours.one_round(number)
            yield from ours.settled()
        left = minutes - (time.monotonic() - began) / 60
        yield from control.workers_alone()
        print(f"napari keeps of each worker: {control.of_each_worker}", flush=True)
        ours.of_each_worker = control.of_each_worker
        yield from control.rounds(CONTROL * left)
        yield from ours.rounds((1 - CONTROL) * left)

    steps = all_rounds()
    waited_for: Callable[[], Any] = lambda: True  # noqa: E731
    since = time.monotonic()

    def tick() -> None:
        nonlocal waited_for, since, failure
        timer.stop()
        try:
            if waited_for():
                waited_for, since = next(steps), time.monotonic()
            elif time.monotonic() - since > LIMIT_S:
                raise TimeoutError(f"waited {LIMIT_S:.0f} s in vain")
            timer.start()
        except StopIteration:
            viewer.close()
        except Exception as error:  # noqa: BLE001 - told by the exit status
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"
            viewer.close()

    timer = QTimer()
    timer.setInterval(20)
    timer.timeout.connect(tick)
    timer.start()
    napari.run(force=True)
    return control, ours, failure


def draw(
    control: Sequence[Row], rows: Sequence[Row], growths: Sequence[Growth], path: Path
) -> None:
    """Draw how each count grows after the warm-up, ours beside napari alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    for axis in axes[len(growths) :]:
        axis.set_axis_off()
    for axis, growth in zip(axes, growths, strict=False):
        ours = "tab:red" if growth.is_leak else "tab:blue"
        for counted, found, colour, label in (
            (control, growth.control, "0.45", Control.part),
            (rows, growth.ours, ours, Soak.part),
        ):
            first = warm_up_of(counted)
            x = np.array([row["round"] for row in counted], dtype=float)
            y = np.array([row[growth.name] for row in counted], dtype=float)
            middle_x, middle_y = np.median(x[first:]), np.median(y[first:])
            start = middle_y + found.value * (x[first] - middle_x)
            axis.plot(x, y - start, ".", color=colour, markersize=3, alpha=0.5)
            line = found.value * (x[first:] - x[first])
            axis.plot(x[first:], line, color=colour, linewidth=2, label=label)
        axis.set_title(
            f"{growth.name}\n{growth.beyond.value:+.3g} per round beyond napari",
            fontsize=10,
        )
        axis.set_xlabel("round")
        axis.axhline(0, color="0.85", linewidth=0.8, zorder=0)
    axes[0].set_ylabel("growth since the warm-up")
    axes[0].legend(fontsize=8)
    figure.suptitle(f"{len(control)} rounds of napari alone, then {len(rows)} of ours")
    figure.savefig(path, dpi=110)


def main() -> int:
    """Soak, judge, and write tables and a picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("minutes", type=float, help="how long; an hour is 60")
    parser.add_argument("--out", type=Path, help="folder for tables and the picture")
    options = parser.parse_args()
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform.startswith("linux") and not any(os.environ.get(n) for n in names):
        print('There is no screen. Use: xvfb-run -a -s "-screen 0 1920x1200x24" ...')
        return FAILED
    with tempfile.TemporaryDirectory() as folder:
        control, ours, failure = soak(options.minutes, Path(folder))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        write_csv(options.out / "soak_rounds.csv", control.rows + ours.rows)
    if failure:
        print(f"A round failed: {failure}")
        return FAILED
    growths = judged(control.rows, ours.rows)
    title = (
        f"Long use: {options.minutes:g} minutes in one viewer, {len(control.rows)} "
        f"rounds of napari alone, then {len(ours.rows)} of ours"
    )
    report(title, "soak", [growth.row() for growth in growths], options.out)
    if options.out is not None:
        draw(control.rows, ours.rows, growths, options.out / "soak.png")
    if len(control.kinds) > 1 and len(ours.kinds) > 1:
        more = more_of(control.kinds, ours.kinds)
        print("Objects of Python for each round beyond napari alone:", more)
    return LEAK if any(growth.is_leak for growth in growths) else 0


if __name__ == "__main__":
    sys.exit(main())
