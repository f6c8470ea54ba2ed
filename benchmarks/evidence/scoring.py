"""One crop, one range and one metric code for every method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.core.metrics import psnr, scale_invariant_psnr, ssim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from evidence.data_sets import Task

SCORES = ("psnr", "si_psnr", "ssim")


def scores_of(
    estimates: Sequence[NDArray], task: Task, data_range: float | None
) -> list[dict[str, float]]:
    """Score the estimates of a task's images.

    Parameters
    ----------
    estimates : (Y, X) each, ADU, whole frames
    data_range : peak, ADU; None for max - min of each whole truth

    Returns
    -------
    For each image its PSNR (dB), PSNR after the best straight line (dB), and SSIM.
    """
    found = []
    for estimate, truth in zip(estimates, task.truth, strict=True):
        peak = float(truth.max() - truth.min()) if data_range is None else data_range
        result, true = estimate[task.region], truth[task.region]
        found.append(
            {
                "psnr": psnr(result, true, peak).mean,
                "si_psnr": scale_invariant_psnr(result, true, peak).mean,
                "ssim": ssim(result, true, peak).mean,
            }
        )
    return found
