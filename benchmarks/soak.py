"""Does the viewer grow when it is used for hours? One real window, the same all over.

    python benchmarks/soak.py MINUTES [--out FOLDER]

Needs a screen; `xvfb-run -a -s "-screen 0 1920x1200x24"` before the command makes one
in memory. Each round opens an image and a recording, fits a noise model, denoises with
a tiny network, applies the model, changes the theme, closes the docks and clears up.
After each round memory, threads, open files and objects are counted. The growth for
each round is the Theil-Sen slope (the median of the slopes between all pairs of rounds)
after a warm-up, with its confidence interval of 95 %; it is a leak where the interval
lies above what is allowed. Ends with status 1 where there is one, 2 where a run fails.
"""

from __future__ import annotations

import argparse
import gc
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
ALLOWED = {  # growth for each round that nobody would notice in a day
    "memory [MB]": 0.2,
    "threads": 0.02,
    "open files": 0.02,
    "Qt objects in the window": 0.5,
    "Qt objects of Python": 0.5,
    "objects of Python": 150.0,  # napari: 73 for two layers added and taken away
}
LEAK, FAILED = 1, 2


@dataclass(frozen=True)
class Slope:
    """Growth of one count for each round; `low` and `high` bound it with 95 %."""

    name: str
    value: float
    low: float
    high: float
    allowed: float

    @property
    def is_leak(self) -> bool:
        """Whether it grows, and more than is allowed."""
        return self.low > 0 and self.low > self.allowed

    def row(self) -> Row:
        """Return it as a row of a table."""
        return {
            "count": self.name,
            "growth per round": round(self.value, 3),
            "95 % from": round(self.low, 3),
            "to": round(self.high, 3),
            "allowed": self.allowed,
            "verdict": "GROWS" if self.is_leak else "steady",
        }


def judged(rows: Sequence[Row]) -> list[Slope]:
    """Return the slope of each count after the warm-up; four rounds are needed."""
    from scipy.stats import theilslopes

    kept = rows[max(3, round(WARM_UP * len(rows))) :]
    if len(kept) < 4:
        raise ValueError(f"{len(rows)} rounds are too few to judge. Give more minutes.")
    rounds = [row["round"] for row in kept]
    slopes = []
    for name, allowed in ALLOWED.items():
        found = theilslopes([row[name] for row in kept], rounds, 0.95)
        slopes.append(Slope(name, *map(float, _parts(found)), allowed))
    return slopes


def _parts(found: Any) -> tuple[float, float, float]:
    return found.slope, found.low_slope, found.high_slope


# --- Counting ---------------------------------------------------------------------


def count(window: Any) -> Row:
    """Count what must not grow."""
    import psutil
    from qtpy.QtCore import QObject

    gc.collect()
    process = psutil.Process()
    known = gc.get_objects()
    of_qt = [item for item in known if issubclass(type(item), QObject)]
    row = {
        "memory [MB]": round(process.memory_info().rss / 1e6, 2),
        "threads": process.num_threads(),
        "open files": process.num_fds()
        if hasattr(process, "num_fds")
        else process.num_handles(),
        "Qt objects in the window": len(window.findChildren(QObject)),
        "Qt objects of Python": len(of_qt),
        "objects of Python": len(known),
    }
    row["threads of Python"] = threading.active_count()
    return row


def kinds() -> Counter[str]:
    """Count the objects of Python by their type, to find out what grows."""
    return Counter(
        f"{type(item).__module__}.{type(item).__qualname__}"
        for item in gc.get_objects()
    )


# --- A round ----------------------------------------------------------------------


class Soak:
    """One viewer in which everything is done again and again."""

    def __init__(self, viewer: Any, minutes: float) -> None:
        from napari_ppn2v.core.camera import (
            Camera,
            simulate_calibration,
            simulate_stack,
        )
        from napari_ppn2v.session.session import session_of

        self.viewer, self.seconds = viewer, 60 * minutes
        self.session = session_of(viewer)
        self.rows: list[Row] = []
        self.kinds: list[Counter[str]] = []
        camera = Camera("emccd", gain=20.0, offset=300.0, read_noise=15.0)
        light = {"peak_electrons": 60.0}
        self.noisy = simulate_stack(camera, n_frames=3, size=96, **light).observation
        still = simulate_calibration(camera, n_repeats=30, size=64, **light)
        self.still = still.observation

    def rounds(self) -> Steps:
        """Play rounds until the time is over."""
        began = time.monotonic()
        while time.monotonic() - began < self.seconds:
            round_began = time.monotonic()
            yield from self.one_round(len(self.rows))
            yield from settled()
            # napari notes each task, some ninety objects, as long as its window lives
            self.viewer.window._task_status_manager._tasks.clear()
            row = {
                "round": len(self.rows) + 1,
                "seconds": round(time.monotonic() - round_began, 1),
                **count(self.viewer.window._qt_window),
            }
            self.rows.append(row)
            if len(self.rows) % 5 == 4:
                self.kinds.append(kinds())
            print(
                "  ".join(f"{name} {value}" for name, value in row.items()), flush=True
            )

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
        viewer.theme = "light" if number % 2 else "dark"
        yield from self.apply(panels["apply"], image)
        for dock in docks.values():
            dock.destroyOnClose()
        yield from settled()
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
        yield from settled()
        state = self.session.state
        if state.status.value != "finished":
            raise RuntimeError(f"{state.title} {state.status.value}: {state.message}")


def settled() -> Steps:
    """Wait until no thread of ours works, and all is drawn."""
    from napari_ppn2v import workers

    yield lambda: not workers._RUNNING
    began = time.monotonic()
    yield lambda: time.monotonic() - began > 0.3


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


def soak(minutes: float, folder: Path) -> tuple[list[Row], list[Counter[str]], str]:
    """Play in a real window; returns the rows, kinds of objects, and what failed."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_ppn2v.pipeline import recovery

    # runs of the user's own are neither offered nor touched
    recovery.recovery_root = lambda: folder / "recovery"
    viewer = napari.Viewer()
    viewer.window.resize(1880, 1160)
    play, failure = Soak(viewer, minutes), ""
    steps = play.rounds()
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
    return play.rows, play.kinds, failure


def draw(rows: Sequence[Row], slopes: Sequence[Slope], path: Path) -> None:
    """Draw each count over the rounds, with its slope after the warm-up."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    rounds = np.array([row["round"] for row in rows])
    first = max(3, round(WARM_UP * len(rows)))
    for axis, slope in zip(axes, slopes, strict=True):
        values = np.array([row[slope.name] for row in rows], dtype=float)
        axis.plot(rounds, values, ".-", color="0.5", markersize=4, linewidth=0.8)
        x, y = rounds[first:], values[first:]
        line = np.median(y) + slope.value * (x - np.median(x))
        colour = "tab:red" if slope.is_leak else "tab:blue"
        axis.plot(x, line, color=colour, linewidth=2)
        axis.axvspan(rounds[0], rounds[first - 1], color="0.93")
        axis.set_title(f"{slope.name}\n{slope.value:+.3g} per round", fontsize=10)
        axis.set_xlabel("round")
        spread = max(np.ptp(values[first:]), 0.02 * max(1.0, float(values.max())))
        axis.set_ylim(values.min() - spread, values.max() + spread)
    figure.suptitle(f"{len(rows)} rounds in one viewer; grey: warm-up")
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
        rows, counted, failure = soak(options.minutes, Path(folder))
    if options.out is not None and rows:
        options.out.mkdir(parents=True, exist_ok=True)
        write_csv(options.out / "soak_rounds.csv", rows)
    if failure:
        print(f"A round failed: {failure}")
        return FAILED
    slopes = judged(rows)
    minutes = f"{options.minutes:g} minutes, {len(rows)} rounds in one viewer"
    report(f"Long use: {minutes}", "soak", [s.row() for s in slopes], options.out)
    if options.out is not None:
        draw(rows, slopes, options.out / "soak.png")
    if len(counted) > 2:
        grown = counted[-1] - counted[len(counted) // 2]
        print("What there is more of than in the middle:", grown.most_common(12))
    return LEAK if any(slope.is_leak for slope in slopes) else 0


if __name__ == "__main__":
    sys.exit(main())
