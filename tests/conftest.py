"""What all tests share: a private home, repeatable property tests, GPU checks.

Windows are made in memory only, unless QT_QPA_PLATFORM says otherwise; QT_API chooses
between the Qt bindings that are installed.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# One thread: on busy processors the threads of one small computation wait for each
# other far longer than they compute. Where a test asks for more, they wait without
# using a processor: on busy ones, fits of noise models took 193 s in two threads, 57 s
# so, and 53 s in one. Set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Both before anything imports Qt. Where two bindings are installed, napari and
# pytest-qt would each take another one.
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
for _binding in ("PyQt6", "PySide6"):
    if importlib.util.find_spec(_binding):
        os.environ.setdefault("QT_API", _binding.lower())
if "QT_API" in os.environ:
    os.environ.setdefault("PYTEST_QT_API", os.environ["QT_API"])

# No deadline: the first call into torch takes long and is no fault of the code.
settings.register_profile(
    "default", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session", autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's own library of noise models out of reach of the tests."""
    # Caches stay: matplotlib would search all fonts anew in every session.
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA"):
            patch.setenv(name, str(home))
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
            patch.setenv(name, str(home / name.lower()))
        yield home


@pytest.fixture
def slowdown() -> float:
    """How many programs wait for each processor, averaged over a minute; at least 1.

    Limits in seconds are multiplied by it: they hold as they are on a machine that has
    a processor for everybody.
    """
    if not hasattr(os, "getloadavg"):
        return 1.0
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


TEXTURE_LIMITS = (2048, 2048)
SECONDS_TO_END = 120


@pytest.fixture
def viewer_rig(monkeypatch: pytest.MonkeyPatch, qapp: object) -> Iterator[None]:
    """Viewers that hold layers without a graphics card, and leave no worker behind.

    Without a screen there is no OpenGL context, napari's questions about it are
    answered by None, and adding any layer fails.
    """
    from napari._qt.qthreading import wait_for_workers_to_quit
    from napari._vispy import canvas
    from napari._vispy.layers import base, image, labels

    if os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        monkeypatch.setattr(image, "get_gl_extensions", lambda: "")
        for module in (image, base, labels, canvas):
            # older versions of napari ask in fewer places
            limits = "get_max_texture_sizes"
            monkeypatch.setattr(module, limits, lambda: TEXTURE_LIMITS, raising=False)
    yield
    # the viewer is closed by now, so every worker has to come to its end by itself
    wait_for_workers_to_quit(SECONDS_TO_END * 1000)


def pytest_collection_finish() -> None:
    """Spare the collector all that was imported, which lives as long as the tests.

    napari collects garbage whenever a layer goes; with torch, napari and all test
    modules to look through that took 0.3 s each time.
    """
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keep torch to one thread; skip tests that need a GPU where there is none."""
    # numba, which napari draws with, gives torch as many as there are processors
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        pytest.skip("no CUDA or MPS device here")
