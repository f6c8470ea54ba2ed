"""The rules of docs/architecture.md, checked on the source itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "napari_ppn2v"
SOURCE = ROOT / "src" / PACKAGE
FILES = sorted(SOURCE.rglob("*.py"))

BINDINGS = {"PyQt5", "PyQt6", "PySide2", "PySide6"}
GRAPHICAL = {"qtpy", "napari", "magicgui", "superqt", "pyqtgraph", "vispy"} | BINDINGS
VIEWER_LAYERS = {"workers", "widgets", "sample_data", "napari_writer"}
START_THREADS = {
    "Thread",
    "ThreadPoolExecutor",
    "thread_worker",
    "create_worker",
    "QThread",
}
MAY_START_THREADS = {
    f"{PACKAGE}.{name}"
    for name in ("workers.run", "widgets.waiting", "pipeline.replicas")
}
HEAVY = ("torch", "matplotlib", "zarr", "dask", "skimage")
RUN_CODE_ON_LOADING = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@dataclass(frozen=True)
class Import:
    """One imported module, and where."""

    module: str
    line: int


def layers() -> dict[str, int]:
    """Rank of each module of the top level, read from the table of the document."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = text.partition("|---|---|---|\n")[2].partition("\n\n")[0]
    ranks = {}
    for rank, row in enumerate(table.splitlines()):
        for name in re.findall(r"`([^`]+)`", row.split("|")[1]):
            ranks[name.removesuffix("/").removesuffix(".py")] = rank
    # The Python interface stands beside the command line, on top of the pipeline.
    ranks.setdefault("api", ranks["figures"])
    return ranks


def module_name(path: Path) -> str:
    """Dotted name of a source file."""
    parts = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path) for path in FILES}


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports_of(path: Path) -> list[Import]:
    """All modules that a file imports, wherever in the file, as absolute names."""
    found = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(path, node)
            found += [
                Import(f"{base}.{alias.name}", node.lineno)
                if f"{base}.{alias.name}" in MODULES or base == PACKAGE
                else Import(base, node.lineno)
                for alias in node.names
            ]
    return found


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """Absolute name of the module in a `from ... import`."""
    if node.level == 0:
        return node.module or ""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def top_level(module: str) -> str:
    """Name directly under the package: "core" of "napari_ppn2v.core.frames"."""
    return module.split(".")[1] if "." in module else ""


def part_of(item: Import) -> str:
    """Layer of an imported module of ours; empty for anybody else's."""
    return top_level(item.module) if item.module.split(".")[0] == PACKAGE else ""


def in_viewer(path: Path) -> bool:
    return top_level(module_name(path)) in VIEWER_LAYERS


VIEWER_FILES = [path for path in FILES if in_viewer(path)]
OTHER_FILES = [path for path in FILES if not in_viewer(path)]


def calls_in(path: Path) -> list[ast.Call]:
    return [node for node in nodes_of(path) if isinstance(node, ast.Call)]


def keyword(call: ast.Call, name: str) -> object:
    for item in call.keywords:
        if item.arg == name and isinstance(item.value, ast.Constant):
            return item.value.value
    return None


def broken(rule, files=FILES) -> dict[str, object]:
    """What a rule finds wrong, by module; each rule returns what it objects to."""
    found = {module_name(path): rule(path) for path in files}
    return {name: wrong for name, wrong in found.items() if wrong}


def test_every_module_has_its_place_in_the_layer_table():
    known = layers()
    places = {top_level(name) for name in MODULES} - {""}
    unplaced = places - set(known)
    assert not unplaced, f"add {unplaced} to the table in docs/architecture.md"


def test_imports_point_to_own_or_lower_layers():
    ranks = layers()

    def upwards(path):
        here = top_level(module_name(path))
        if not here:  # the package itself offers all layers, lazily
            return []
        return [
            f"line {item.line}: {item.module} from layer {ranks[here]}"
            for item in imports_of(path)
            if item.module.split(".")[0] == PACKAGE
            and ranks.get(top_level(item.module), 99) > ranks[here]
            and item.module != f"{PACKAGE}.__version__"
        ]

    assert not broken(upwards)


def test_only_the_command_line_and_reports_make_figures():
    def figures(path):
        here = top_level(module_name(path))
        names = {top_level(i.module) for i in imports_of(path) if PACKAGE in i.module}
        return names & {"figures"} if here not in ("cli", "figures", "reports") else ()

    assert not broken(figures)


def test_the_engine_knows_no_gui():
    """Nor does the session, nor the command line."""

    def gui(path):
        used = imports_of(path)
        wrong = {i.module for i in used if i.module.split(".")[0] in GRAPHICAL}
        return wrong | {i.module for i in used if part_of(i) in VIEWER_LAYERS}

    assert not broken(gui, OTHER_FILES)


def test_the_viewer_does_not_know_the_command_line():
    def command_line(path):
        return {i.module for i in imports_of(path) if part_of(i) == "cli"}

    assert not broken(command_line, VIEWER_FILES)


def test_qt_is_imported_through_qtpy_alone():
    assert not broken(
        lambda path: {i.module.split(".")[0] for i in imports_of(path)} & BINDINGS
    )


def test_only_workers_downloads_and_replicas_start_threads():
    def threads(path):
        called = {ast.unparse(call.func).split(".")[-1] for call in calls_in(path)}
        is_allowed = module_name(path) in MAY_START_THREADS
        return set() if is_allowed else called & START_THREADS

    assert not broken(threads)


def test_pyplot_with_its_global_state_is_never_used():
    def pyplot(path):
        names = {node.id for node in nodes_of(path) if isinstance(node, ast.Name)}
        modules = {i.module for i in imports_of(path)}
        return names & {"plt", "pyplot"} | modules & {"matplotlib.pyplot"}

    assert not broken(pyplot)


def test_loading_a_file_can_never_run_code():
    def running_code(path):
        wrong = {i.module.split(".")[0] for i in imports_of(path)} & RUN_CODE_ON_LOADING
        for call in calls_in(path):
            loads = ast.unparse(call.func).endswith("torch.load")
            if loads and keyword(call, "weights_only") is not True:
                wrong.add(f"line {call.lineno}: torch.load without weights_only")
            if keyword(call, "allow_pickle"):
                wrong.add(f"line {call.lineno}: allow_pickle")
        return wrong

    assert not broken(running_code)


def test_nothing_prints():
    """Events and logging tell what happens."""
    assert not broken(
        lambda path: [
            call.lineno for call in calls_in(path) if ast.unparse(call.func) == "print"
        ]
    )


def run_python(code: str, warnings: str = "error") -> str:
    command = [sys.executable, "-W", warnings, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.mark.parametrize("module", [PACKAGE, f"{PACKAGE}.cli"])
def test_import_is_light(module):
    if module not in MODULES:
        pytest.skip("not written yet")
    loaded = json.loads(
        run_python(f"import sys, json, {module}; print(json.dumps(list(sys.modules)))")
    )
    assert not set(HEAVY) & set(loaded)


def loaded_by(modules: list[str], warnings: str = "error") -> set[str]:
    """Everything that a fresh Python has loaded after importing some of our modules."""
    imports = "; ".join(f"import {name}" for name in modules)
    code = f"import sys, json; {imports}; print(json.dumps(list(sys.modules)))"
    return set(json.loads(run_python(code, warnings).splitlines()[-1]))


def modules_of(*layers: str) -> list[str]:
    return sorted(name for name in MODULES if top_level(name) in layers)


def test_the_session_is_light_and_knows_no_gui():
    modules = modules_of("session")
    if not modules:
        pytest.skip("not written yet")
    loaded = {name.split(".")[0] for name in loaded_by(modules)}
    assert not loaded & {*HEAVY, *GRAPHICAL}


def test_opening_a_dock_loads_neither_torch_nor_matplotlib():
    # napari warns on import with the newest pydantic
    loaded = loaded_by(modules_of(*VIEWER_LAYERS), warnings="ignore")
    assert not loaded & {"torch", "matplotlib", "pooch"}


SIDE_EFFECTS = """
import importlib, json, logging, os, signal, sys, threading, warnings
import torch, scipy.stats, zarr, dask.array, tifffile, matplotlib, skimage.metrics
import psutil, rich.progress, typer
import qtpy.QtCore, qtpy.QtWidgets, napari.qt.threading, superqt, magicgui, pyqtgraph

def state():
    loggers = [logging.getLogger(), *(
        logging.getLogger(name) for name in logging.root.manager.loggerDict
        if name.startswith("napari_ppn2v"))]
    return {
        "environment": dict(os.environ),
        "torch threads": torch.get_num_threads(),
        "torch seed": torch.initial_seed(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": threading.active_count(),
        "handlers": sum(len(logger.handlers) for logger in loggers),
        "level": logging.getLogger().level,
        "interrupt": repr(signal.getsignal(signal.SIGINT)),
        "warnings": [repr(item) for item in warnings.filters],
        "live plot settings": dict(pyqtgraph.CONFIG_OPTIONS),
        "application": qtpy.QtWidgets.QApplication.instance() is None,
        "plot settings": {k: str(v) for k, v in matplotlib.rcParams.items()},
    }

before = state()
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
"""


def test_importing_every_module_changes_nothing_global():
    names = sorted(name for name in MODULES if not name.endswith("__main__"))
    command = [sys.executable, "-c", SIDE_EFFECTS, json.dumps(names)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout) == []
