"""Noise shared by neighbouring pixels, or by frames that follow each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.checks.findings import CHANCE, Finding, graded, worst
from napari_ppn2v.core.checks.sample import (
    GAIN,
    block_side,
    in_blocks,
    median_with_error,
    quiet_blocks,
    sixth_difference,
)

if TYPE_CHECKING:
    from napari_ppn2v.core.checks.findings import Verdict
    from napari_ppn2v.core.checks.sample import Floats, Sample

ALONG_ROWS = (0.1, 0.3)
"""Correlation of neighbours above which to be careful, and above which it fails."""
IN_TIME = (0.1, 0.6)
_LAGS = (1, 2)
_FRAMES_IN_TIME = 3


@dataclass(frozen=True)
class Correlation:
    """A correlation coefficient with its standard error, and at which distance."""

    value: float
    error: float
    lag: int = 1

    @property
    def verdict(self) -> Verdict:
        """How far it breaks the assumption of independent pixels."""
        return graded(abs(self.value), self.error, ALONG_ROWS)


def spatial_correlation(sample: Sample, axis: int) -> Correlation | None:
    """Correlation of the noise of neighbouring pixels along one axis.

    Defined as mean(h_i · h_(i + lag)) / mean(h²), for lags 1 and 2, of which the one
    farther from zero is returned. h is the sixth difference *across* the axis: it
    takes away what the optics draw, and leaves white noise white along the axis
    (the autocorrelation of the noise in the band of finest detail, cf. Box, Jenkins:
    Time Series Analysis, 1970, section 2.1). Averaged in blocks of 16 pixels; the
    median of the half of the blocks with least structure counts. Where frames show
    the same, their differences take the place of the frames.

    Noise2Void assumes 0 (Krull et al. 2019, Eq. 3 and Fig. 6).

    Parameters
    ----------
    axis : 2 along x, 1 along y

    Returns
    -------
    Correlation, or None where the frames are too small or hold no noise
    """
    images = sample.noise
    if axis == 1:
        images = images.transpose(0, 2, 1)
    residual = sixth_difference(images, 1)
    side = block_side(residual.shape)
    if not side:
        return None
    quiet = quiet_blocks(images[:, 3:-3], residual, side)
    blocks = in_blocks(residual, side)
    power = np.square(blocks).mean(axis=(2, 4))
    quiet &= power > 0
    if not quiet.any():
        return None
    power = power[quiet]
    found = []
    for lag in _LAGS:
        product = (blocks[..., lag:] * blocks[..., :-lag]).mean(axis=(2, 4))[quiet]
        found.append(Correlation(*median_with_error(product / power), lag))
    return max(found, key=lambda each: abs(each.value))


@dataclass(frozen=True)
class SharedByFrames:
    """What the finest detail of different frames has in common.

    Attributes
    ----------
    always : part of the variance that any two frames share, and its standard error
    following : part of the rest that successive frames share in addition, and its
        standard error; None where no frames follow each other
    """

    always: tuple[float, float]
    following: tuple[float, float] | None


def shared_by_frames(sample: Sample) -> SharedByFrames | None:
    """Compare the finest detail of frames: what stays, and what stays for a while.

    h is the sixth difference along both axes, which keeps only what changes from
    pixel to pixel in both directions: no image of a lens, so that a static sample
    does not count. The part that any two frames share is the mean of h_s · h_t over
    all s, t that do not follow each other, over the mean of h²; it is the variance of
    the fixed pattern over that of noise and pattern (EMVA Standard 1288 measures the
    same, under even light, as spatial variance of averaged frames). What successive
    frames share beyond it is noise that lasts from one to the next.

    Returns
    -------
    SharedByFrames, or None for fewer than 3 frames or frames that are too small
    """
    if len(sample) < _FRAMES_IN_TIME:
        return None
    fine = sixth_difference(sixth_difference(sample.frames, 1), 2)
    side = block_side(fine.shape)
    if not side:
        return None
    is_quiet = quiet_blocks(sample.frames[:, 3:-3, 3:-3], fine, side)
    most = max(1.0, 0.5 * len(sample))
    own = _block_power(fine, side).sum(0)
    quiet = is_quiet.sum(0) >= min(most, float(is_quiet.sum(0).max()))
    quiet &= own > 0
    own = own[quiet]
    together = _block_power(fine.sum(0, keepdims=True), side)[0][quiet]
    n, at = len(fine), sample.neighbours
    products = [_block_mean_product(fine[i], fine[i + 1], side)[quiet] for i in at]
    following = 2 * np.sum(products, axis=0) if products else np.zeros_like(own)
    n_apart = n * (n - 1) - 2 * len(at)
    power = own / n
    if n_apart == 0 or power.size == 0:
        return None
    always = (together - own - following) / n_apart / power
    middle = median_with_error(always)
    if not products:
        return SharedByFrames(middle, None)
    lasting = following / (2 * len(at)) / power - always
    rest = max(1 - middle[0], 0.05)
    value, error = median_with_error(lasting)
    return SharedByFrames(middle, (value / rest, error / rest))


def correlation_findings(sample: Sample) -> list[Finding]:
    """Judge the correlation of the noise along x and y."""
    along_x = spatial_correlation(sample, 2)
    along_y = spatial_correlation(sample, 1)
    if along_x is None or along_y is None:
        return []
    figures = {
        "along x": along_x.value,
        "along y": along_y.value,
        "distance along x, pixels": float(along_x.lag),
        "distance along y, pixels": float(along_y.lag),
        "standard error along x": along_x.error,
        "standard error along y": along_y.error,
    }
    verdict = worst((along_x.verdict, along_y.verdict))
    sentence = (
        f"Noise of neighbouring pixels is correlated by {_two(along_x.value)} along x "
        f"and {_two(along_y.value)} along y"
    )
    if verdict == "fine":
        return [Finding("noise correlation", verdict, figures, f"{sentence}.")]
    both = min((along_x, along_y), key=lambda each: each.value)
    if both.value - CHANCE * both.error > ALONG_ROWS[0]:
        return [_smoothed(verdict, figures, sentence)]
    direction = "x" if along_x.verdict == verdict else "y"
    if along_x.verdict == along_y.verdict:
        direction = "x and y"
    return [
        Finding(
            "noise correlation",
            verdict,
            figures,
            f"{sentence}: the network can predict noise along {direction} from its "
            "neighbours, and takes it for structure.",
            f"Look at the result for streaks along {direction}. Record with a slower "
            "or another readout mode, or average pixels along that direction before "
            "denoising.",
        )
    ]


def _smoothed(verdict: Verdict, figures: dict[str, float], sentence: str) -> Finding:
    return Finding(
        "noise correlation",
        verdict,
        figures,
        f"{sentence}: the image was smoothed, resized, aligned or compressed after it "
        "was recorded, which spread the noise of each pixel over its neighbours.",
        "Use the files as the camera wrote them, and filter or align after denoising.",
    )


def time_findings(shared: SharedByFrames | None) -> list[Finding]:
    """Judge the noise that successive frames share."""
    if shared is None or shared.following is None:
        return []
    value, error = shared.following
    verdict = graded(abs(value), error, IN_TIME)
    figures = {"frame to frame": value, "standard error": error}
    sentence = f"Noise of successive frames is correlated by {_two(value)}"
    if verdict == "fine":
        return [Finding("correlation in time", verdict, figures, f"{sentence}.")]
    return [
        Finding(
            "correlation in time",
            verdict,
            figures,
            f"{sentence}: frames were averaged or repeated, or the camera remembers "
            "the last one.",
            "Each frame is denoised by itself, so this does no harm there; but do not "
            "use such frames as a calibration or as second noisy images, since their "
            "mean keeps part of the noise.",
        )
    ]


def noise_spread(sample: Sample) -> float | None:
    """Measure the standard deviation of the noise in the quiet half, ADU.

    The root of the mean square of the sixth difference along y over 924, the sum of
    its squared coefficients; the median over blocks. In frames too small for that the
    spread of the differences of successive frames, None if there are none.
    """
    residual = sixth_difference(sample.noise, 1)
    side = block_side(residual.shape)
    if not side:
        return float(sample.differences.std()) if len(sample.neighbours) else None
    power = _block_power(residual, side)
    images = sample.noise[:, 3:-3]
    quiet = quiet_blocks(images, residual, side)
    chosen = power[quiet] if quiet.any() else power
    return float((np.median(chosen) / GAIN) ** 0.5)


def _two(value: float) -> str:
    return f"{value if abs(value) >= 0.005 else 0.0:.2f}"


def _block_power(images: Floats, side: int) -> Floats:
    return np.square(in_blocks(images, side)).mean(axis=(2, 4))


def _block_mean_product(first: Floats, second: Floats, side: int) -> Floats:
    return in_blocks((first * second)[None], side).mean(axis=(2, 4))[0]
