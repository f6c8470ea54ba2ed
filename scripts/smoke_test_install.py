"""Install the wheel into an empty environment and use it there as a stranger would.

    python scripts/smoke_test_install.py --binding PyQt6
    python scripts/smoke_test_install.py --binding PySide6 --wheel dist/*.whl

First without a viewer: light import, command line, demo. Then with napari and one Qt
binding: manifest, plugin list, and every dock, without a screen. Needs a network or a
local index that pip knows of.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINDINGS = ("PyQt6", "PySide6")

LIGHT_IMPORT = """
import importlib.metadata, sys
import napari_ppn2v, napari_ppn2v.cli
heavy = {"torch", "matplotlib", "zarr", "napari", "qtpy"} & set(sys.modules)
assert not heavy, f"importing the package loads {heavy}"
assert napari_ppn2v.__version__ == importlib.metadata.version("napari-ppn2v")
assert "site-packages" in napari_ppn2v.__file__, napari_ppn2v.__file__
"""

NO_VIEWER = """
import importlib.util
names = ("napari", "PyQt6", "PySide6", "PyQt5")
found = [name for name in names if importlib.util.find_spec(name)]
assert not found, f"a plain install brings {found}"
"""

DOCKS = """
import sys
import napari
from npe2 import PluginManager
from qtpy import API_NAME

binding = sys.argv[1]
assert API_NAME == binding, f"qtpy takes {API_NAME}, not {binding}"
viewer = napari.Viewer(show=False)
manifest = PluginManager.instance().get_manifest("napari-ppn2v")
names = [item.display_name for item in manifest.contributions.widgets]
assert len(names) == 3, names
for name in names:
    dock, widget = viewer.window.add_plugin_dock_widget("napari-ppn2v", name)
    assert widget is not None
    print("opened", name)
assert "torch" not in sys.modules, "opening a dock loads torch"
assert manifest.contributions.sample_data, "no samples"
viewer.close()
"""


class Failed(Exception):
    """A step went wrong; the message holds its output."""


def step(title: str, command: list[str], environment: dict[str, str]) -> str:
    """Run one step, tell how long it took, and return what it printed."""
    began = time.perf_counter()
    answer = subprocess.run(
        command, capture_output=True, text=True, env=environment, check=False
    )
    seconds = time.perf_counter() - began
    if answer.returncode != 0:
        raise Failed(f"{title}\n{' '.join(command)}\n{answer.stdout}{answer.stderr}")
    print(f"ok  {title} ({seconds:.1f} s)", flush=True)
    return answer.stdout


def programs(environment: Path) -> Path:
    """Return the folder of an environment that holds its programs."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


def built_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout with the environment that runs this script."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder)]
    command += ["--no-isolation", str(ROOT)]
    step("build the wheel", command, dict(os.environ))
    (wheel,) = folder.glob("*.whl")
    return wheel


def quiet_home(folder: Path) -> dict[str, str]:
    """Return an environment that touches neither the user's settings nor a screen."""
    home = folder / "home"
    home.mkdir()
    return os.environ | {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "NAPARI_CONFIG": str(home / "napari.yaml"),
        "QT_QPA_PLATFORM": "offscreen",
        "PYTHONWARNINGS": "ignore",
    }


def check_engine(python: Path, folder: Path, environment: dict[str, str]) -> None:
    """Use the package as a cluster does: without a viewer."""
    run = str(python)
    step("no viewer comes along", [run, "-c", NO_VIEWER], environment)
    step("import without torch", [run, "-c", LIGHT_IMPORT], environment)
    program = str(python.with_name("napari-ppn2v"))
    step("napari-ppn2v --version", [program, "--version"], environment)
    demo = [program, "demo", "-o", str(folder / "demo")]
    demo += ["--steps", "8", "--size", "96", "--threads", "1", "--device", "cpu"]
    step("napari-ppn2v demo", demo, environment)
    out = str(folder / "demo.zip")
    step(
        "napari-ppn2v export",
        [program, "export", str(folder / "demo"), "-o", out],
        environment,
    )
    if "BioImage Model Zoo" not in step(
        "napari-ppn2v info", [program, "info", out], environment
    ):
        raise Failed("napari-ppn2v info does not know the package it exported")


def check_viewer(python: Path, binding: str, environment: dict[str, str]) -> None:
    """Use the plugin in napari, without a screen."""
    environment = environment | {"QT_API": binding.lower()}
    npe2 = [str(python), "-m", "npe2"]
    step("npe2 validate", [*npe2, "validate", "napari-ppn2v"], environment)
    if "napari-ppn2v" not in step("npe2 list", [*npe2, "list"], environment):
        raise Failed("npe2 list does not name napari-ppn2v")
    command = [str(python), "-c", DOCKS, binding]
    step("open every dock", command, environment)


def smoke_test(
    wheel: Path | None, binding: str, folder: Path, options: list[str]
) -> None:
    """Install and use; raises Failed."""
    environment = quiet_home(folder)
    wheel = wheel or built_wheel(folder)
    place = folder / "environment"
    # installers are given the user's own settings, programs a home of their own
    own = dict(os.environ)
    step("make an environment", [sys.executable, "-m", "venv", str(place)], own)
    name = "python.exe" if os.name == "nt" else "python"
    python = programs(place) / name
    pip = [str(python), "-m", "pip", "install", "--quiet", *options]
    pip += ["--constraint", str(ROOT / "constraints.txt")]
    step("install the wheel", [*pip, str(wheel)], own)
    check_engine(python, folder, environment)
    step(f"install napari with {binding}", [*pip, "napari>=0.7", binding], own)
    check_viewer(python, binding, environment)


def main() -> int:
    """Read the command line; exit status 1 tells of a failure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--binding", choices=BINDINGS, default=BINDINGS[0])
    parser.add_argument("--wheel", help="file or pattern; by default it is built")
    parser.add_argument(
        "--folder", type=Path, help="where to work; by default a temporary folder"
    )
    parser.add_argument(
        "--pip-option", action="append", default=[], help="passed to pip; repeat it"
    )
    arguments = parser.parse_args()
    options = [*arguments.pip_option]
    if os.environ.get("TORCH_INDEX"):
        options += ["--extra-index-url", os.environ["TORCH_INDEX"]]
    pattern = Path(arguments.wheel or "")
    found = list(pattern.parent.glob(pattern.name)) if arguments.wheel else []
    if arguments.wheel and len(found) != 1:
        print(f"{arguments.wheel} names {len(found)} files, not one", file=sys.stderr)
        return 1
    wheel = Path(found[0]).resolve() if found else None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            smoke_test(wheel, arguments.binding, folder, options)
        except Failed as failure:
            print(f"FAILED  {failure}", file=sys.stderr)
            return 1
    print(f"The wheel works in an empty environment with {arguments.binding}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
