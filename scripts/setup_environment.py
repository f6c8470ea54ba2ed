"""Create `.venv` with everything that developing, testing and the demo need.

Called by the Makefile; needs nothing but the standard library. Running it again is
free: a stamp in the environment holds a digest of all that decides its content.

The one delicate package is torch. Its plain Linux build brings gigabytes of CUDA
libraries that a computer without an NVIDIA card cannot use, so pip is first asked
what it would install. Where no card is present the CPU build is preferred; where only
the CUDA build can be had, the size of the download is stated before it starts.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
STAMP = ".set-up"

# Shared libraries that the wheels do not carry themselves -> their Debian package. All
# but the first are for Qt, which the tests of the viewer run without a screen.
SHARED_LIBRARIES = {
    "libstdc++.so.6": "libstdc++6",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libfontconfig.so.1": "libfontconfig1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
}

# The same for real windows on a screen in memory, and the programs that show them.
WINDOW_LIBRARIES = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
}
WINDOW_PROGRAMS = {"Xvfb": "xvfb", "xauth": "xauth", "xdotool": "xdotool"}

# Older versions of pip fetch every wheel even in a dry run (pip news, 23.3).
PIP_WITH_CHEAP_DRY_RUN = (23, 3)

# Stated only where a server does not tell the size of its files.
APPROXIMATE_CUDA_DOWNLOAD = "two to three gigabytes"
HEAD_TIMEOUT_SECONDS = 20


class SetupFailed(Exception):
    """The environment cannot be made; the message says what to do."""


@dataclass(frozen=True)
class TorchPlan:
    """Which torch to ask pip for, and what that would bring along."""

    requirement: str
    brings_cuda: bool
    urls: tuple[str, ...]


def say(message: str) -> None:
    """Tell the user what happens next, before the output of any subprocess."""
    print(f"==> {message}", flush=True)


# -- what this computer has ----------------------------------------------------------


def check_python() -> None:
    """Refuse a Python that the package does not support."""
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupFailed(
            f"This is Python {found}; napari-ppn2v needs 3.11 or newer. Install one "
            "and name it: make demo PYTHON=python3.11"
        )


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA card with a working driver is present."""
    program = shutil.which("nvidia-smi")
    if program is not None:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, check=False
        )
        if listing.returncode == 0 and "GPU" in listing.stdout:
            return True
    cards = Path("/proc/driver/nvidia/gpus")
    return cards.is_dir() and any(cards.iterdir())


def missing_debian_packages() -> list[str]:
    """Debian packages whose shared library or module cannot be loaded here."""
    missing = []
    if not can_make_environments():
        missing.append(f"python{sys.version_info[0]}.{sys.version_info[1]}-venv")
    if sys.platform == "linux":
        missing += packages_of(SHARED_LIBRARIES)
    return missing


def missing_window_packages() -> list[str]:
    """Debian packages that real windows on a screen in memory still need here."""
    if sys.platform != "linux":
        raise SetupFailed(
            "Clicking through the viewer needs a Linux with Xvfb. The other tests run "
            "here: make test"
        )
    programs = [
        package for name, package in WINDOW_PROGRAMS.items() if not shutil.which(name)
    ]
    return programs + packages_of(WINDOW_LIBRARIES)


def packages_of(libraries: dict[str, str]) -> list[str]:
    """Debian packages of those libraries that cannot be loaded here."""
    return [package for name, package in libraries.items() if not can_load(name)]


def can_make_environments() -> bool:
    """Whether this Python can create environments (Debian splits that part off)."""
    probe = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def can_load(library: str) -> bool:
    """Whether the dynamic loader finds a shared library."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def provide_debian_packages(packages: list[str]) -> None:
    """Install missing packages where that is allowed, else name them."""
    if not packages:
        return
    names = " ".join(packages)
    apt = shutil.which("apt-get")
    if apt is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        raise SetupFailed(
            f"This system lacks what the Debian packages {names} hold. Install them "
            f"(on Debian or Ubuntu: sudo apt-get install {names}) and run this again."
        )
    say(f"Installing Debian packages: {names}")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run([apt, "update", "-q"], environment)
    run([apt, "install", "-q", "-y", "--no-install-recommends", *packages], environment)


# -- the environment -----------------------------------------------------------------


def run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command whose output the user sees; stop where it fails."""
    code = subprocess.run(
        command, check=False, env=environment, stdin=subprocess.DEVNULL, cwd=ROOT
    ).returncode
    if code != 0:
        raise SetupFailed(f"'{' '.join(command)}' ended with exit status {code}.")


def interpreter_of(environment: Path) -> Path:
    """Return the path of the Python inside an environment."""
    if os.name == "nt":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def create_environment(environment: Path) -> None:
    """Create the environment, or keep the one that is there if it works."""
    python = interpreter_of(environment)
    wanted = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if python.exists():
        probe = "import pip, sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run(
            [str(python), "-c", probe], capture_output=True, text=True, check=False
        )
        if answer.returncode == 0 and answer.stdout.strip() == wanted:
            return
    say(f"Creating {environment.name} with Python {wanted}")
    run([sys.executable, "-m", "venv", "--clear", str(environment)])


def digest_of_inputs(extras: str, torch_index: str | None) -> str:
    """Digest of all that decides what the environment holds."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "scripts/setup_environment.py"):
        digest.update((ROOT / name).read_bytes())
    facts = (str(ROOT), sys.version, extras, torch_index or "")
    digest.update("\0".join(facts).encode())
    return digest.hexdigest()


def upgrade_old_pip(python: Path) -> None:
    """Make sure that asking pip what it would do does not download it all."""
    answer = subprocess.run(
        [str(python), "-m", "pip", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = tuple(int(part) for part in re.findall(r"\d+", answer.stdout)[:2])
    if found < PIP_WITH_CHEAP_DRY_RUN:
        oldest = ".".join(map(str, PIP_WITH_CHEAP_DRY_RUN))
        run([str(python), "-m", "pip", "install", "--quiet", f"pip>={oldest}"])


# -- torch ---------------------------------------------------------------------------


def torch_version() -> str:
    """Return the torch version that constraints.txt pins."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(r"^torch==(\S+)$", text, re.MULTILINE)
    if found is None:
        raise SetupFailed("constraints.txt does not pin torch (torch==X.Y.Z).")
    return found[1]


def ask_pip(python: Path, requirement: str, options: list[str]) -> TorchPlan | None:
    """Ask pip what a requirement would install; None where it cannot be had."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [str(python), "-m", "pip", "install", "--dry-run", "--quiet"]
        command += ["--ignore-installed", "--report", str(report), *options]
        answer = subprocess.run(
            [*command, requirement], capture_output=True, text=True, check=False
        )
        if answer.returncode != 0:
            return None
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    names = [item["metadata"]["name"].lower() for item in items]
    return TorchPlan(
        requirement=requirement,
        brings_cuda=any(is_cuda_package(name) for name in names),
        urls=tuple(item["download_info"]["url"] for item in items),
    )


def is_cuda_package(name: str) -> bool:
    """Whether a distribution only serves torch on NVIDIA cards."""
    return name == "triton" or name.startswith(("nvidia-", "nvidia_", "cuda-", "cuda_"))


def plan_torch(python: Path, options: list[str]) -> TorchPlan:
    """Choose the build of torch that suits this computer."""
    plain = f"torch=={torch_version()}"
    gpu = has_nvidia_gpu()
    if not gpu:
        cpu_build = ask_pip(python, f"{plain}+cpu", options)
        if cpu_build is not None:
            say(f"No NVIDIA card found: taking the CPU build, {cpu_build.requirement}")
            return cpu_build
    plan = ask_pip(python, plain, options)
    if plan is None:
        raise SetupFailed(
            f"pip finds no {plain} for this Python ({sys.version.split()[0]}) and "
            "system. Try another Python (make demo PYTHON=...), or name an index that "
            "has it (make demo TORCH_INDEX=...)."
        )
    if gpu and not plan.brings_cuda:
        say("NVIDIA card found, but pip's sources offer a build without CUDA.")
    elif plan.brings_cuda and not gpu:
        say(
            "No NVIDIA card found, but pip's sources offer only the CUDA build of "
            f"{plain}. To save most of the download, stop now (Ctrl-C) and name an "
            "index with CPU builds: make demo TORCH_INDEX=<address>"
        )
    return plan


def announce_download(plan: TorchPlan) -> None:
    """State the size of the torch download before it starts."""
    remote = [url for url in plan.urls if urlsplit(url).scheme in ("http", "https")]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(size_of, remote))
    known = sum(size for size in sizes if size is not None)
    unknown = sizes.count(None)
    message = f"torch and what it needs: {len(remote)} files, {known / 1e6:,.0f} MB"
    if unknown:
        message += f" and {unknown} files of unknown size"
        if plan.brings_cuda:
            message += f" ({APPROXIMATE_CUDA_DOWNLOAD} in all, roughly)"
    say(f"{message} to download, less what pip has kept from before")


def size_of(url: str) -> int | None:
    """Size in bytes that a server states for a file; None where it does not."""
    request = urllib.request.Request(url.partition("#")[0], method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HEAD_TIMEOUT_SECONDS) as answer:
            length = answer.headers.get("Content-Length")
    except (OSError, urllib.error.URLError, ValueError):
        return None
    return int(length) if length else None


def install(environment: Path, extras: str, torch_index: str | None) -> None:
    """Install torch and the package itself, editable, with the pinned versions."""
    python = interpreter_of(environment)
    upgrade_old_pip(python)
    options = ["--constraint", str(ROOT / "constraints.txt")]
    if torch_index:
        options += ["--extra-index-url", torch_index]
    plan = plan_torch(python, options)
    announce_download(plan)
    say("Installing napari-ppn2v and what it needs (a few minutes at first)")
    command = [str(python), "-m", "pip", "install", *options]
    if os.environ.get("CI"):
        command += ["--quiet", "--progress-bar", "off"]
    run([*command, plan.requirement, "--editable", f"{ROOT}[{extras}]"])


def set_up(environment: Path, extras: str, torch_index: str | None) -> None:
    """Bring the environment up to date; does nothing where it is."""
    check_python()
    stamp = environment / STAMP
    digest = digest_of_inputs(extras, torch_index)
    is_done = stamp.exists() and stamp.read_text(encoding="utf-8") == digest
    if is_done and interpreter_of(environment).exists():
        return
    provide_debian_packages(missing_debian_packages())
    create_environment(environment)
    install(environment, extras, torch_index)
    partial = stamp.with_suffix(".partial")
    partial.write_text(digest, encoding="utf-8")
    partial.replace(stamp)
    say(f"Ready: {environment}")


def main() -> int:
    """Read the command line and set up; errors are one message and exit status 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv")
    parser.add_argument(
        "--extras", default="dev,all", help="extras to install, by commas"
    )
    parser.add_argument(
        "--windows",
        action="store_true",
        help="also provide what real windows without a screen need (Linux)",
    )
    parser.add_argument(
        "--torch-index",
        default=os.environ.get("TORCH_INDEX") or None,
        help="address of a further package index to look for torch in",
    )
    arguments = parser.parse_args()
    environment = arguments.environment.absolute()
    try:
        set_up(environment, arguments.extras, arguments.torch_index)
        if arguments.windows:
            provide_debian_packages(missing_window_packages())
    except SetupFailed as failure:
        print(f"Setup failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Setup stopped; run it again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
