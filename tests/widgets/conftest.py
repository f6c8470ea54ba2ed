"""What tests of docks share: viewers without a graphics card, no worker left over."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXTURE_LIMITS = (2048, 2048)
SECONDS_TO_END = 20


@pytest.fixture(autouse=True)
def answers_for_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell napari the limits of a graphics card where there is no screen to have one.

    Without a screen there is no OpenGL context, napari's questions about it are
    answered by None, and adding any layer fails.
    """
    if os.environ.get("QT_QPA_PLATFORM") != "offscreen":
        return
    from napari._vispy import canvas
    from napari._vispy.layers import base, image, labels

    monkeypatch.setattr(image, "get_gl_extensions", lambda: "")
    for module in (image, base, labels, canvas):
        monkeypatch.setattr(module, "get_max_texture_sizes", lambda: TEXTURE_LIMITS)


@pytest.fixture(autouse=True)
def no_worker_outlives_its_test(qapp: object) -> Iterator[None]:
    """After the viewer is closed, every worker has to come to its end by itself."""
    yield
    from napari._qt.qthreading import wait_for_workers_to_quit

    wait_for_workers_to_quit(SECONDS_TO_END * 1000)
