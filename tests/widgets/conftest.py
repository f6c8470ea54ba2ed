"""What tests of docks share: all of them may open viewers and start workers."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def viewers_can_be_opened(viewer_rig: None) -> None:
    """See `viewer_rig`."""


@pytest.fixture(autouse=True)
def interrupted_runs(tmp_path, monkeypatch):
    """Keep the runs of each test to itself; returns the folder that holds them."""
    from napari_ppn2v.pipeline import recovery

    folder = tmp_path / "recovery"
    monkeypatch.setattr(recovery, "recovery_root", lambda: folder)
    return folder
