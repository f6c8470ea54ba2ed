"""What is said about the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.widgets.layers.results import estimate_words

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.stack_job import StackReport


def closing_words(report: StackReport) -> str:
    """Say how a run ended and what there is now."""
    if report.result is not None:
        return (
            "Finished. The new layer lies above its source; it holds the estimate "
            f"“{estimate_words(report.denoisers)}”."
        )
    if not report.runs:
        return "Stopped before anything was learnt."
    if any(run.is_stopped for run in report.runs):
        return (
            "The training was stopped; its best weights so far are kept. Denoise with "
            "them, or resume the training where it was."
        )
    return "Stopped while denoising; the trained model is kept."
