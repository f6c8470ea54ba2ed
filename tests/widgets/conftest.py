"""What tests of docks share: all of them may open viewers and start workers."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def viewers_can_be_opened(viewer_rig: None) -> None:
    """See `viewer_rig`."""
