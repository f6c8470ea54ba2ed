"""Does the viewer stay responsive while it denoises? Measured in a real window.

Run one of:

    python benchmarks/gui_responsiveness.py docks
    python benchmarks/gui_responsiveness.py training
    python benchmarks/gui_responsiveness.py ends

or all of them without a name. Needs a screen; `xvfb-run -a -s "-screen 0
1920x1200x24"` before the command makes one in memory. Without a screen it says so and
measures nothing.

A timer of 10 ms in the thread of the window notes how late it comes. Each case runs in
a process of its own, and every table also holds what the same window showed at rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common import report

Wait = float | Callable[[], Any]
Steps = Generator[Wait, None, None]
Row = dict[str, Any]

BEAT_MS = 10
LATE_MS = 100.0  # from which on a beat is explained by `--stacks`
LIMIT_S = 600.0  # for anything that is waited for
REST_S, ROUND_S, AFTER_S = 6.0, 4.0, 3.0
MANY = 1_000_000  # steps; more than there is time for
PLUGIN = "napari-ppn2v"
DOCKS = ("Denoise (PPN2V)", "Noise model (PPN2V)", "Apply a model (PPN2V)")
STAGES = (
    "times of the presets",
    "n2v",
    "pseudo ground truth",
    "noise model",
    "refinement 1",
    "inference choice",
    "denoise",
)
ENDS = {
    "stop": "Stop",
    "dock": "dock closed",
    "viewer": "viewer.close()",
    "quit": "program quit",
}


# --- Clock of the window ----------------------------------------------------------


class Beats:
    """Intervals between the beats of a timer, by what was going on at their end.

    Parameters
    ----------
    phase
        Says what is going on.
    """

    def __init__(self, phase: Callable[[], str]) -> None:
        self.seen: dict[str, list[float]] = {}
        self.last = time.perf_counter()
        self._phase = phase

    def beat(self) -> None:
        """Note a beat."""
        now = time.perf_counter()
        self.seen.setdefault(self._phase(), []).append(1000 * (now - self.last))
        self.last = now

    def rows(self, **about: Any) -> list[Row]:
        """Return a row for each phase, in the order in which they were first seen."""
        return [
            {"phase": phase, **about, **summary(intervals)}
            for phase, intervals in self.seen.items()
        ]


def summary(intervals: list[float]) -> Row:
    """Summarise intervals between beats, in ms."""
    shares = np.percentile(intervals, [50, 95, 99])
    named = dict(zip(("p50", "p95", "p99"), shares, strict=True))
    return {
        "s": round(sum(intervals) / 1000, 1),
        "beats": len(intervals),
        **{name: round(float(value), 1) for name, value in named.items()},
        "max": round(max(intervals), 1),
        "over 100 ms": sum(value > 100 for value in intervals),
        "over 500 ms": sum(value > 500 for value in intervals),
    }


class Watchdog(threading.Thread):
    """Prints what the thread of the window does whenever a beat is late."""

    def __init__(self, beats: Beats) -> None:
        super().__init__(daemon=True)
        self._beats, self._main = beats, threading.main_thread().ident

    def run(self) -> None:
        """Look every 20 ms."""
        told = 0.0
        while True:
            time.sleep(0.02)
            last = self._beats.last
            late = 1000 * (time.perf_counter() - last)
            if late > LATE_MS and told != last:
                told = last
                frame = sys._current_frames()[self._main or 0]
                lines = "".join(traceback.format_stack(frame)[-9:])
                print(f"--- {late:.0f} ms late\n{lines}", file=sys.stderr, flush=True)


class Load:
    """Share of the processors that other programs use, and the queue of the system."""

    def __init__(self) -> None:
        self._at_first = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        import psutil

        every, own = psutil.cpu_times(), psutil.Process().cpu_times()
        busy = sum(every) - every.idle - getattr(every, "iowait", 0.0)
        return time.perf_counter(), busy, own.user + own.system

    def words(self) -> str:
        """Say it of the time since this was made."""
        wall, busy, own = (
            now - before
            for now, before in zip(self._now(), self._at_first, strict=True)
        )
        others = max(0.0, busy - own) / wall
        return f"others {others:.1f}, own {own / wall:.1f} of {os.cpu_count()} CPUs"


# --- A window and what is done in it ----------------------------------------------


@dataclass
class Scene:
    """A viewer with an image and a dock, and what the user is doing."""

    viewer: Any
    options: argparse.Namespace
    phase: str = "opening"
    is_moving: bool = False
    panel: Any = None

    def __post_init__(self) -> None:
        self.beats = Beats(self.phase_now)

    @property
    def session(self) -> Any:
        """The session of the viewer."""
        return self.panel.session

    def phase_now(self) -> str:
        """Say what is going on; without a name of its own, the stage of the run."""
        name = self.phase or self.stage()
        return f"{name}, moving about" if self.is_moving else name

    def stage(self) -> str:
        """Name the stage that is running."""
        running = self.session.state.running_stage
        return "between stages" if running is None else str(running.name)

    def has_times(self) -> bool:
        """Whether the times of the presets are known."""
        return "about" in self.panel.time.text_of("fast")

    def is_idle(self) -> bool:
        """Whether neither a run nor its thread goes on."""
        from napari_ppn2v import workers

        return not self.session.is_busy and workers.is_idle()


def timer_of(scene: Scene, ms: int, action: Callable[[], None]) -> Any:
    """Start a timer of the window."""
    from qtpy.QtCore import Qt, QTimer

    timer = QTimer(scene.viewer.window._qt_window)
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.setInterval(ms)
    timer.timeout.connect(action)
    timer.start()
    return timer


def open_window(options: argparse.Namespace) -> Scene:
    """Open the viewer with a simulated recording, its timer beating."""
    import napari

    from napari_ppn2v.core.camera import Camera, simulate_stack

    camera = Camera("emccd", gain=20.0, offset=300.0, read_noise=15.0)
    stack = simulate_stack(
        camera, n_frames=options.frames, size=options.side, peak_electrons=60.0
    )
    viewer = napari.Viewer()
    viewer.window.resize(1880, 1160)
    viewer.add_image(stack.observation, name="recording")
    scene = Scene(viewer, options)
    timer_of(scene, BEAT_MS, scene.beats.beat)
    if options.stacks:
        Watchdog(scene.beats).start()
    return scene


def open_dock(scene: Scene) -> Any:
    """Open the dock that denoises as the menu does; returns its frame."""
    dock, scene.panel = scene.viewer.window.add_plugin_dock_widget(PLUGIN, DOCKS[0])
    return dock


def set_up(scene: Scene, pretraining: int, refinement: int) -> None:
    """Set the preset "fast" with other numbers of steps and one refinement."""
    from napari_ppn2v.core.network_config import UNetConfig
    from napari_ppn2v.pipeline.presets import preset

    config = replace(preset("fast"), n_refinements=1)
    size: dict[str, int] = {}
    if scene.options.tiny:
        config = replace(config, network=UNetConfig(n_filters=4))
        size = {"patch_size": 32, "batch_size": 2}
    config = replace(
        config,
        pretraining=replace(config.pretraining, n_steps=pretraining, **size),
        training=replace(config.training, **size),
        refinement=replace(config.refinement, n_steps=refinement, **size),
    )
    scene.panel.settings.set_config(config)
    scene.panel.settings.computing.threads.setValue(scene.options.threads)


def play(scene: Scene, steps: Steps) -> None:
    """Take the steps beside the event loop; a failure ends the process at once."""
    wait: Wait = 0.0
    since = time.monotonic()

    def tick() -> None:
        nonlocal wait, since
        waited = time.monotonic() - since
        is_over = waited >= wait if isinstance(wait, float) else wait()
        if is_over:
            wait = next(steps)
            since = time.monotonic()
        elif waited > LIMIT_S:
            raise TimeoutError(f"waited {waited:.0f} s in vain, {scene.phase_now()}")

    def guarded() -> None:
        try:
            tick()
        except StopIteration:
            timer.stop()
            scene.viewer.close()
        except Exception:  # noqa: BLE001 - reported, and the exit status says so
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(3)

    timer = timer_of(scene, 5, guarded)


def move_about(scene: Scene, seconds: float) -> Steps:
    """Scroll through the frames and zoom, ten times a second."""
    viewer, count = scene.viewer, 0

    def move() -> None:
        nonlocal count
        count += 1
        viewer.dims.set_current_step(0, count % scene.options.frames)
        viewer.camera.zoom *= 1.1 if count % 10 < 5 else 1 / 1.1

    timer = timer_of(scene, 100, move)
    scene.is_moving = True
    began = time.monotonic()
    is_busy = scene.panel is not None and scene.session.is_busy
    yield lambda: time.monotonic() - began > seconds or (is_busy and scene.is_idle())
    timer.stop()
    timer.deleteLater()
    scene.is_moving = False


# --- Cases ------------------------------------------------------------------------


def measure_docks(scene: Scene, rows: list[Row]) -> Steps:
    """Open each dock, and close it again."""
    yield 1.0
    for name in DOCKS:
        load, began = Load(), time.perf_counter()
        dock, _ = scene.viewer.window.add_plugin_dock_widget(PLUGIN, name)
        built = time.perf_counter() - began
        yield 0.0
        rows.append(
            {
                "dock": name,
                "built [s]": round(built, 2),
                "event loop goes on [s]": round(time.perf_counter() - began, 2),
                "torch is loaded": "yes" if "torch" in sys.modules else "no",
                "load": load.words(),
            }
        )
        yield 0.3
        dock.destroyOnClose()
        yield 0.5


def measure_training(scene: Scene, rows: list[Row]) -> Steps:
    """Denoise once, start to end; every other four seconds the user moves about."""
    load, options = Load(), scene.options
    open_dock(scene)
    yield 0.5
    scene.phase = "times of the presets"
    scene.panel.choose_layer(scene.viewer.layers["recording"])
    yield scene.has_times
    set_up(scene, options.steps, options.steps)
    scene.panel.settings.changed.emit()
    yield 1.0
    yield scene.has_times
    scene.phase = "at rest"
    yield REST_S
    yield from move_about(scene, REST_S)
    scene.phase = "start"
    scene.panel.start.button.click()
    yield lambda: scene.session.state.running_stage is not None
    yield 0.5
    yield from _watch(scene)
    scene.phase = "result added"
    yield AFTER_S
    scene.phase = "at rest again"
    yield REST_S
    yield from move_about(scene, REST_S)
    state = scene.session.state
    if state.status.value != "finished":
        raise RuntimeError(f"The run {state.status.value}: {state.message}")
    threads = options.threads or "default"
    rows.extend(scene.beats.rows(threads=threads, load=load.words()))


def _watch(scene: Scene) -> Steps:
    """Look, move about, look...; the theme is changed once, after the first look."""
    is_themed = False
    while not scene.is_idle():
        scene.phase = ""
        began = time.monotonic()
        yield lambda: time.monotonic() - began > ROUND_S or scene.is_idle()  # noqa: B023
        if not is_themed:
            is_themed, scene.phase = True, "theme change"
            for theme in ("light", "dark"):
                scene.viewer.theme = theme
                yield 1.0
            scene.phase = ""
        yield from move_about(scene, ROUND_S)


def measure_end(scene: Scene, rows: list[Row]) -> Steps:
    """End a run in one of its stages, in one way; the process ends with it."""
    options = scene.options
    dock = open_dock(scene)
    yield 0.5
    scene.panel.choose_layer(scene.viewer.layers["recording"])
    if options.stage == STAGES[0]:
        yield lambda: scene.panel.estimates._run is not None
        yield options.after
    else:
        set_up(
            scene,
            MANY if options.stage == "n2v" else 20,
            MANY if options.stage == "refinement 1" else 20,
        )
        yield 0.1
        scene.panel.start.button.click()
        yield lambda: scene.stage() == options.stage or not scene.session.is_busy
        if scene.stage() != options.stage:
            state = scene.session.state
            raise RuntimeError(f"The run {state.status.value}: {state.message}")
        yield options.after
    row = {"end": ENDS[options.end], "stage": options.stage, "seen in": scene.stage()}
    rows.append(row)
    began = time.perf_counter()
    _end(scene, dock)
    row["call took [s]"] = round(time.perf_counter() - began, 2)
    row["at"] = time.time()
    _save(options, rows)
    yield scene.is_idle
    row["run ended after [s]"] = round(time.perf_counter() - began, 2)
    row["at"] = time.time()


def _end(scene: Scene, dock: Any) -> None:
    """Do what the user does."""
    how = scene.options.end
    if how == "stop":
        scene.panel.denoising.monitor.stop_button.click()
    elif how == "dock":
        dock.titleBarWidget().close_button.click()
    elif how == "viewer":
        scene.viewer.close()
    else:
        scene.viewer.window._qt_window.close(quit_app=True)


# --- Processes --------------------------------------------------------------------

CASES: dict[str, Callable[[Scene, list[Row]], Steps]] = {
    "docks": measure_docks,
    "training": measure_training,
    "end": measure_end,
}


def _save(options: argparse.Namespace, rows: list[Row]) -> None:
    options.rows.write_text(json.dumps(rows), encoding="utf-8")


def run_case(options: argparse.Namespace) -> int:
    """Play one case in this process and leave its rows in a file."""
    rows: list[Row] = []
    if options.case != "docks" and options.tiny:
        options.after = 0.05
    scene = open_window(options)
    play(scene, CASES[options.case](scene, rows))
    import napari

    napari.run()
    _save(options, rows)
    return 0


def case_of(
    options: argparse.Namespace, case: str, **more: Any
) -> tuple[list[Row], Row]:
    """Run a case in a process of its own.

    Returns
    -------
    rows : what it measured
    end : its exit status, the seconds it took to end, what it wrote to stderr
    """
    known = ("frames", "side", "steps", "tiny", "stacks", "after")
    arguments = {name: getattr(options, name) for name in known} | more
    words = [
        f"--{name}" if value is True else f"--{name}={value}"
        for name, value in arguments.items()
        if value is not False
    ]
    environment = dict(os.environ)
    if not options.tiny:  # the numbers are those of a machine set up by nobody
        environment.pop("OMP_NUM_THREADS", None)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        done = subprocess.run(
            [
                sys.executable,
                "-X",
                "faulthandler",
                __file__,
                "--case",
                case,
                "--rows",
                str(file),
                *words,
            ],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=2 * LIMIT_S,
            check=False,
        )
        ended = time.time()
        rows = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    said = done.stderr.decode(errors="replace")
    if options.stacks or done.returncode:
        sys.stderr.write(said)
    return rows, {"exit": done.returncode, "ended": ended, "said": said}


def docks(options: argparse.Namespace) -> list[Row]:
    """Report how long docks take to open."""
    rows, _ = case_of(options, "docks")
    report("Opening the docks", "gui-docks", rows, options.out)
    return rows


def training(options: argparse.Namespace) -> list[Row]:
    """Report the intervals between beats while a recording is denoised."""
    every: list[Row] = []
    for threads in options.threads:
        rows, _ = case_of(options, "training", threads=threads)
        every.extend(rows)
    title = f"Intervals of a {BEAT_MS} ms timer in the window, in ms"
    report(title, "gui-training", every, options.out)
    return every


def ends(options: argparse.Namespace) -> list[Row]:
    """Report how soon runs end that the user ends."""
    every: list[Row] = []
    load = Load()
    for end in options.ends:
        for stage in options.stages:
            if (end, stage) == ("stop", STAGES[0]):
                continue  # there is nothing to stop: its button is that of a run
            rows, process = case_of(options, "end", end=end, stage=stage)
            for row in rows:
                at = row.pop("at")
                row.setdefault("run ended after [s]", "")
                row["process ended after [s]"] = (
                    round(process["ended"] - at, 2) if end in ("viewer", "quit") else ""
                )
                row["exit"] = process["exit"]
                row["lines on stderr"] = len(process["said"].splitlines())
            every.extend(rows)
    print(f"Load: {load.words()}")
    if not every:
        raise SystemExit("No run could be ended; see above.")
    report("Ending a run", "gui-ends", every, options.out)
    return every


def has_screen() -> bool:
    """Whether a window can be shown."""
    if not sys.platform.startswith("linux"):
        return True
    named = os.environ.get("QT_QPA_PLATFORM", "")
    return named == "offscreen" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    every = ("docks", "training", "ends")
    parser.add_argument("what", nargs="*", default=every, metavar="|".join(every))
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument("--steps", type=int, default=100, help="of each training")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[0, 2],
        help="of torch, one run for each; 0 is the default of the program",
    )
    parser.add_argument("--ends", nargs="+", default=list(ENDS), choices=ENDS)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    parser.add_argument(
        "--after", type=float, default=0.5, help="seconds into the stage to end it"
    )
    parser.add_argument("--out", type=Path, help="folder for CSV and Markdown tables")
    parser.add_argument(
        "--stacks", action="store_true", help="say what the window did when it was late"
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a small network, for tests"
    )
    for hidden in ("--case", "--end", "--stage"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = set(options.what) - set(every)
    if unknown:
        parser.error(f"choose from {', '.join(every)}, not {', '.join(unknown)}")
    if options.case:
        options.threads = options.threads[0]
    return options


def main() -> int:
    """Measure what was asked for."""
    options = parse()
    if not has_screen():
        print(
            "There is no screen to open a window on. Put 'xvfb-run -a -s \"-screen 0 "
            "1920x1200x24\"' before the command."
        )
        return 0
    if options.case:
        return run_case(options)
    what = {"docks": docks, "training": training, "ends": ends}
    for name in options.what:
        what[name](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
