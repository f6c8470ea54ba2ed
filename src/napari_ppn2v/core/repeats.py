"""Error of denoised repeats of a static scene, with other repeats as the reference.

For a denoised frame f, and the mean m of n other frames of the same scene whose noise
is independent of f,

    E (f - m)²  =  E (f - s)²  +  E (m - s)²

and the last term, the noise of the reference, is the variance between these n frames
divided by n. So it can be taken out, if none of them had a part in f: neither denoised
nor trained on, nor in the fit of the noise model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter

from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    Stack = NDArray[np.floating]

_BLOCKS = 8
_RANGE = (0.001, 0.999)
_SQUARE = 8  # pixels over which frames are averaged to look for movement
MOST_MOVEMENT = 1.3
"""Ratio of slow to fast changes between frames from which a scene is not static."""


@dataclass(frozen=True)
class RepeatsScore:
    """Error of denoised frames against the mean of others.

    Attributes
    ----------
    rmse : root mean squared error with the noise of the reference taken out, ADU; NaN
        where the reference is too noisy to tell
    standard_error : of `rmse`, from parts of the image, ADU
    noisy_rmse : the same of the noisy frames
    reference_rmse : error of the reference, ADU
    peak : range of the reference (0.1 % to 99.9 %), ADU
    n_frames, n_reference : number of frames scored, and of those in the reference
    is_estimate : False where frames of the reference had a part in the training; the
        figure is then too good and only shows how alike they are
    """

    rmse: float
    standard_error: float
    noisy_rmse: float
    reference_rmse: float
    peak: float
    n_frames: int
    n_reference: int
    is_estimate: bool

    @property
    def psnr(self) -> float:
        """20 log10(peak / rmse), dB."""
        return float(20 * np.log10(self.peak / self.rmse))

    @property
    def psnr_error(self) -> float:
        """Standard error of the PSNR, dB."""
        return float(20 / np.log(10) * self.standard_error / self.rmse)


def score_against_repeats(
    denoised: Stack,
    noisy: Stack,
    reference: Stack,
    *,
    scored: Collection[int] = (),
    referred: Collection[int] = (),
    trained_on: Collection[int] = (),
) -> RepeatsScore:
    """Score denoised frames with other frames of the same static scene.

    Parameters
    ----------
    denoised, noisy : (N, Y, X), ADU; the frames scored, after and before
    reference : (M, Y, X), ADU; noisy frames of the same scene, two or more
    scored, referred, trained_on
        Numbers of the frames in the recording: those scored, those of `reference`,
        and those that had a part in the training.

    Raises
    ------
    BadData  If shapes differ, there are too few frames, or a frame is on both sides.
    """
    _check(denoised, noisy, reference)
    both = set(scored) & set(referred)
    if both:
        raise BadData(
            f"{len(both)} frames (number {min(both)} for example) are scored and in "
            "the reference too, where they hold the same noise. Choose other frames "
            "for one of the two."
        )
    mean = reference.mean(axis=0, dtype=np.float64)
    count = len(reference)
    own = reference.var(axis=0, ddof=1, dtype=np.float64) / count
    errors = ((denoised - mean) ** 2).mean(axis=0) - own
    before = ((noisy - mean) ** 2).mean(axis=0) - own
    square, chance = float(errors.mean()), _chance(errors)
    rmse = square**0.5 if square > 0 else float("nan")
    low, high = np.quantile(mean, _RANGE)
    return RepeatsScore(
        rmse=rmse,
        standard_error=chance / (2 * rmse) if square > 0 else float("nan"),
        noisy_rmse=float(max(before.mean(), 0.0) ** 0.5),
        reference_rmse=float(own.mean() ** 0.5),
        peak=float(high - low),
        n_frames=len(denoised),
        n_reference=count,
        is_estimate=not set(referred) & set(trained_on),
    )


def movement(frames: Stack) -> float:
    """How much more a scene changes over a recording than between successive frames.

    Differences of successive frames hold noise alone, if nothing moves; so do those of
    frames half a recording apart. Both are averaged over squares of 8 pixels first,
    which lessens the noise and not the movement.

    Returns
    -------
    float
        Ratio of their root mean squares; 1 for a static scene.
    """
    half = len(frames) // 2
    smooth = [uniform_filter(np.asarray(f, float), _SQUARE) for f in frames]
    near = np.mean([np.mean((b - a) ** 2) for a, b in itertools.pairwise(smooth)])
    far = np.mean([np.mean((smooth[k + half] - smooth[k]) ** 2) for k in range(half)])
    return float(np.sqrt(far / near)) if near > 0 else 1.0


def _chance(errors: NDArray[np.float64]) -> float:
    """Return the standard error of the mean, from that of blocks."""
    height, width = (max(1, side // _BLOCKS) for side in errors.shape)
    rows, columns = errors.shape[0] // height, errors.shape[1] // width
    cut = errors[: rows * height, : columns * width]
    blocks = cut.reshape(rows, height, columns, width).mean(axis=(1, 3))
    return float(blocks.std(ddof=1) / np.sqrt(blocks.size))


def _check(denoised: Stack, noisy: Stack, reference: Stack) -> None:
    if denoised.shape != noisy.shape or denoised.shape[1:] != reference.shape[1:]:
        raise BadData(
            f"Denoised {denoised.shape}, noisy {noisy.shape} and reference frames "
            f"{reference.shape} do not fit each other. Give frames of one recording."
        )
    if len(reference) < 2 or len(denoised) < 1:
        raise BadData(
            f"There are {len(reference)} frames to score against, but at least 2 are "
            "needed (better 10): the error of their mean is told by their differences."
        )
    if min(denoised.shape[1:]) < _BLOCKS:
        raise BadData(
            f"The frames are {denoised.shape[1]} x {denoised.shape[2]} pixels; at "
            f"least {_BLOCKS} x {_BLOCKS} are needed."
        )
