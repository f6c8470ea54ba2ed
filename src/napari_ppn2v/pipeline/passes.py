"""Denoising in the midst of a long job: it can be stopped after each pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.core.inference import Passes, RegionEstimate
    from napari_ppn2v.events import Event, StepDone
    from napari_ppn2v.stop import StopToken


def pass_by_pass(
    passes: Passes, done: StepDone, stop: StopToken
) -> Generator[Event, None, RegionEstimate | None]:
    """Yield `done` after each pass of the network; return None if stopped."""
    while True:
        try:
            next(passes)
        except StopIteration as end:
            estimate: RegionEstimate = end.value
            return estimate
        yield done
        if stop.is_stopped:
            passes.close()
            return None
