"""Run the engine's tests with the lowest versions that pyproject.toml allows.

    python scripts/test_lowest_versions.py
    python scripts/test_lowest_versions.py --keep torch==2.13.0+cpu -- tests/core

What the package names itself is taken as low as it may be (lowest-direct of uv), what
those need in turn as high as it may be. `--keep` leaves one out, for example where an
index has no low version. The viewer is not tested: napari decides on its own versions.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/core", "tests/files", "tests/pipeline")
TOOLS = ("pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "hatchling>=1.27")


def run(command: list[str], **options: str) -> None:
    """Run a command whose output is seen; stop where it fails."""
    environment = os.environ | options
    code = subprocess.run(command, check=False, cwd=ROOT, env=environment).returncode
    if code != 0:
        sys.exit(f"'{' '.join(command[:6])} ...' ended with exit status {code}.")


def resolve(lock: Path, keep: list[str]) -> None:
    """Write the lowest versions of what the package names."""
    constraints = lock.with_name("keep.txt")
    constraints.write_text("".join(f"{item}\n" for item in keep), encoding="utf-8")
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command = ["uv", "pip", "compile", str(ROOT / "pyproject.toml"), "--quiet"]
    command += ["--resolution", "lowest-direct", "--python-version", version]
    command += ["--constraint", str(constraints), "--output-file", str(lock)]
    if os.environ.get("TORCH_INDEX"):
        command += ["--extra-index-url", os.environ["TORCH_INDEX"]]
        command += ["--index-strategy", "unsafe-best-match"]
    run(command)


def install(environment: Path, lock: Path) -> Path:
    """Make an environment of exactly these versions and return its Python."""
    run([sys.executable, "-m", "venv", "--clear", str(environment)])
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    python = environment / folder / name
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if os.environ.get("TORCH_INDEX"):
        pip += ["--extra-index-url", os.environ["TORCH_INDEX"]]
    run([*pip, "--requirement", str(lock)])
    run([*pip, "--constraint", str(lock), *TOOLS])
    run([*pip, "--no-deps", "--no-build-isolation", str(ROOT)])
    return python


def main() -> None:
    """Read the command line, resolve, install and test."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", action="append", default=[], help="name==version")
    parser.add_argument("--folder", type=Path, help="where the environment is made")
    parser.add_argument("tests", nargs="*", default=TESTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / "lowest.txt"
        resolve(lock, arguments.keep)
        python = install(folder / "environment", lock)
        # old packages announce what newer ones have changed since; that is no failure
        command = [str(python), "-m", "pytest", "-o", "filterwarnings="]
        run([*command, *arguments.tests], OMP_NUM_THREADS="1")


if __name__ == "__main__":
    main()
