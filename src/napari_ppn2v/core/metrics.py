"""How close a result is to the truth, where a truth is known.

Every score is made per frame and averaged over the frames (the mean of the PSNRs,
not the PSNR of the mean error). Without a truth there is no such score: the distance
of a result to the noisy image says nothing about its quality.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.core.frames import Frames
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SSIM_WINDOW = 11
"""Side in pixels of the Gaussian window of Wang et al. 2004 (sigma 1.5)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """One score per frame and their mean."""

    per_frame: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean of the scores over the frames."""
        return float(np.mean(self.per_frame))


def psnr(result: Any, truth: Any, data_range: float | None = None) -> Scores:
    """Peak signal-to-noise ratio in dB: 20 log10(range) - 10 log10(mean error²).

    Parameters
    ----------
    result, truth : (Y, X) or (N, Y, X) arrays, or Frames; ADU
    data_range
        Peak in ADU. None takes max - min of each frame's truth.

    Returns
    -------
    Scores, dB; infinite where result and truth are equal.

    Raises
    ------
    BadData  If shapes differ, values are not finite, or a truth without `data_range`
        is constant.
    """

    def one(frame: np.ndarray, true: np.ndarray, peak: float) -> float:
        return _decibels(frame - true, peak)

    return _scores(result, truth, data_range, one)


def scale_invariant_psnr(
    result: Any, truth: Any, data_range: float | None = None
) -> Scores:
    """PSNR in dB after the best straight line from result to truth, per frame.

    The result r is replaced by a·r + b with a and b of least mean (a·r + b - truth)²,
    then scored as in `psnr` with the range of the truth itself. A wrong scale or
    offset of the result does not count; a is not kept from being negative.

    Parameters, returned values and errors are those of `psnr`.
    """

    def one(frame: np.ndarray, true: np.ndarray, peak: float) -> float:
        centred, target = frame - frame.mean(), true - true.mean()
        power = float(np.sum(centred**2))
        slope = float(np.sum(centred * target)) / power if power > 0 else 0.0
        return _decibels(slope * centred - target, peak)

    return _scores(result, truth, data_range, one)


def ssim(result: Any, truth: Any, data_range: float | None = None) -> Scores:
    """Structural similarity, 1 for equal images (Wang et al. 2004, Eq. 13).

    With the Gaussian window (11 x 11, sigma 1.5) and constants (0.01, 0.03) of that
    work. Parameters, returned values and errors are those of `psnr`; frames smaller
    than the window raise BadData too.
    """
    from skimage import metrics

    def one(frame: np.ndarray, true: np.ndarray, peak: float) -> float:
        if min(frame.shape) < _SSIM_WINDOW:
            raise BadData(
                f"SSIM compares windows of {_SSIM_WINDOW} x {_SSIM_WINDOW} pixels, "
                f"but the frames are {frame.shape[0]} x {frame.shape[1]}. Use larger "
                "frames."
            )
        return float(
            metrics.structural_similarity(  # type: ignore[no-untyped-call]
                true,
                frame,
                data_range=peak,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
        )

    return _scores(result, truth, data_range, one)


def _scores(
    result: Any,
    truth: Any,
    data_range: float | None,
    score: Callable[[np.ndarray, np.ndarray, float], float],
) -> Scores:
    if data_range is not None and not 0 < data_range < np.inf:
        raise BadData(f"The data range is {data_range}. It must be a positive number.")
    values = []
    for index, (frame, true) in enumerate(_frame_pairs(result, truth)):
        _check_values(frame, "result", index)
        _check_values(true, "truth", index)
        peak = float(np.ptp(true)) if data_range is None else float(data_range)
        if peak == 0:
            raise BadData(
                f"The truth of frame {index} is constant ({true.flat[0]:g}), so its "
                "range is 0 and no score can be made. Leave this frame out, or give "
                "the data range."
            )
        values.append(score(frame, true, peak))
    return Scores(tuple(values))


def _frame_pairs(result: Any, truth: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    found, true = _as_stack(result), _as_stack(truth)
    if _shape(found) != _shape(true):
        raise BadData(
            "Result and truth do not match: the result has {} frames of {} x {}, the "
            "truth {} of {} x {}. Compare the same frames and the same region.".format(
                *_shape(found), *_shape(true)
            )
        )
    for index in range(len(found)):
        yield _frame(found, index), _frame(true, index)


def _as_stack(images: Any) -> Frames | np.ndarray:
    if isinstance(images, Frames):
        return images
    stack = np.asarray(images)
    if stack.ndim not in (2, 3) or 0 in stack.shape or stack.dtype.kind not in "iuf":
        raise BadData(
            f"An array of shape {stack.shape} and type {stack.dtype} cannot be scored. "
            "Give one frame (Y, X) or a stack (N, Y, X) of integers or real numbers."
        )
    return stack[np.newaxis] if stack.ndim == 2 else stack


def _shape(stack: Frames | np.ndarray) -> tuple[int, ...]:
    return (len(stack), *stack.shape[-2:])


def _frame(stack: Frames | np.ndarray, index: int) -> np.ndarray:
    frame = stack.frame(index) if isinstance(stack, Frames) else stack[index]
    return np.asarray(frame, dtype=np.float64)


def _check_values(frame: np.ndarray, what: str, index: int) -> None:
    wrong = frame.size - int(np.isfinite(frame).sum())
    if wrong:
        raise BadData(
            f"Frame {index} of the {what} holds {wrong} values that are not finite. "
            "Replace them before scoring."
        )


def _decibels(error: np.ndarray, peak: float) -> float:
    mean_square = float(np.mean(error**2))
    if mean_square == 0:
        return float("inf")
    return float(20 * np.log10(peak) - 10 * np.log10(mean_square))
