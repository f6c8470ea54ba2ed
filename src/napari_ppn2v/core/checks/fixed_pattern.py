"""Patterns of the detector: pixels, rows and columns that differ from the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.checks.findings import Finding, graded, share
from napari_ppn2v.core.checks.sample import (
    block_side,
    in_blocks,
    quiet_blocks,
    sixth_difference,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.checks.correlation import SharedByFrames
    from napari_ppn2v.core.checks.sample import Floats, Sample

PATTERN = (0.2, 1.5)
"""Spread of the fixed pattern over that of the noise: careful, will not work."""
STRIPES = (0.1, 0.7)
PIXEL_NOISE = (0.35, np.inf)
"""Spread among pixels of the noise variance over its mean."""

_SEGMENTS = 4
_NARROWEST_SEGMENT = 12  # pixels
_APART = ((0, 2), (1, 3), (0, 3))
_STRIPE_TAILS = 0.02  # of the products, cut on each side against structure
_FEWEST_STEPS = 4


def pattern_findings(shared: SharedByFrames | None) -> list[Finding]:
    """Judge the fixed pattern of pixels; see `correlation.shared_by_frames`.

    Its spread over that of the noise is sqrt(p / (1 - p)), p being the part of the
    variance that all frames share.
    """
    if shared is None:
        return []
    part, error = shared.always
    ratio, least = (_spread(each) for each in (part, part - 3 * error))
    verdict = graded(least, 0.0, PATTERN)
    figures = {"pattern over noise": ratio, "share of all frames": part}
    sentence = f"The fixed pattern of the pixels is {ratio:.2f} times the noise"
    if verdict == "fine":
        return [Finding("fixed pattern", verdict, figures, f"{sentence}.")]
    return [
        Finding(
            "fixed pattern",
            verdict,
            figures,
            f"{sentence}: offset or sensitivity differ from pixel to pixel, and "
            "differences of frames hide it.",
            "Subtract a dark image (the mean of many frames without light), or give "
            "the maps of the camera; then denoise.",
        )
    ]


def _spread(part: float) -> float:
    part = min(max(part, 0.0), 0.99)
    return (part / (1 - part)) ** 0.5


@dataclass(frozen=True)
class Stripes:
    """Offsets that whole rows or columns have in common, in units of the noise.

    `spread` is their standard deviation over that of the noise, `least` what is left
    of it after three standard errors, `fixed` the share of their variance that all
    frames have in common.
    """

    spread: float
    least: float
    fixed: float


def stripes(sample: Sample, axis: int) -> Stripes | None:
    """Measure offsets of rows (axis 1) or columns (axis 2).

    The sixth difference across the rows, averaged along a row over each quarter of
    the image, m_q. Quarters that do not touch share no structure of the sample but
    the offset of their row, so that the mean of m_a · m_b is the variance of the row
    offsets, in the same units as the mean square of the differences is that of the
    noise. (EMVA Standard 1288 splits the variance into that of rows, columns and
    pixels on images of even light; this way does without.) Of the products 2 % are cut
    at each end, against lines of the sample that cross the whole image.
    """
    images = sample.frames if axis == 1 else sample.frames.transpose(0, 2, 1)
    width = images.shape[2] // _SEGMENTS
    if width < _NARROWEST_SEGMENT or images.shape[1] < 4 * _FEWEST_STEPS:
        return None
    residual = sixth_difference(images, 1)
    n, height, _ = residual.shape
    cut = residual[..., : width * _SEGMENTS].reshape(n, height, _SEGMENTS, width)
    means = cut.mean(axis=3)
    noise = float(np.median(np.square(cut).mean(axis=(1, 3))))
    if noise <= 0:
        return None
    products = np.stack([means[..., a] * means[..., b] for a, b in _APART])
    power, error = _trimmed_mean(products.ravel())
    error *= (3.17 * len(_APART)) ** 0.5  # neighbouring rows and pairs are related
    # of the noise in the quarter with the median power
    ratio, ratio_error = power / noise, error / noise
    fixed = 0.0
    if n > 1 and power > 0:
        both = means.mean(axis=0)
        lasting = np.mean([(both[:, a] * both[:, b]).mean() for a, b in _APART])
        alone = max(float(products.mean()), power)
        fixed = float(np.clip((n * lasting - alone) / (n - 1) / alone, 0, 1))
    return Stripes(
        max(ratio, 0.0) ** 0.5, max(ratio - 3 * ratio_error, 0.0) ** 0.5, fixed
    )


def _trimmed_mean(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [_STRIPE_TAILS, 1 - _STRIPE_TAILS])
    kept = values[(values >= low) & (values <= high)]
    return float(kept.mean()), float(kept.std() / max(kept.size, 1) ** 0.5)


def stripe_findings(sample: Sample) -> list[Finding]:
    """Judge stripes along rows and along columns."""
    found = {"rows": stripes(sample, 1), "columns": stripes(sample, 2)}
    known = {name: each for name, each in found.items() if each is not None}
    if not known:
        return []
    figures = {f"{name} over noise": each.spread for name, each in known.items()}
    figures |= {f"fixed share of {name}": each.fixed for name, each in known.items()}
    name, strongest = max(known.items(), key=lambda item: item[1].least)
    verdict = graded(strongest.least, 0.0, STRIPES)
    if verdict == "fine":
        text = "Rows and columns have no offsets of their own."
        return [Finding("stripes", verdict, figures, text)]
    kind = "in all frames alike" if strongest.fixed > 0.5 else "new in each frame"
    return [
        Finding(
            "stripes",
            verdict,
            figures,
            f"Whole {name} are shifted by {strongest.spread:.2f} times the noise, "
            f"{kind}. The network sees a stripe beside the hidden pixel and keeps it.",
            "Subtract a dark image, which takes away fixed stripes."
            if strongest.fixed > 0.5
            else f"Subtract from each of the {name} its median before denoising, or "
            "use another readout mode of the camera.",
        )
    ]


def pixel_noise_spread(sample: Sample) -> tuple[float, float] | None:
    """How much the variance of the noise differs among pixels of equal brightness.

    The variance of each pixel in time is estimated twice, from differences of
    successive frames in two halves of the recording. The covariance of the two over
    the pixels of a block is the variance of the true variances: chance, and tails of
    the noise, are independent in the two halves. What the brightness explains is
    taken out by regression on the smoothed mean. Returned is the root of the
    covariance over the mean variance, the coefficient of variation, as median over
    quiet blocks, and what is left of it after three standard errors.

    For static recordings of at least 4 pairs of successive frames; None otherwise.
    """
    at = _pairs_apart(sample.neighbours)
    side = block_side((sample.frames.shape[1] - 6, sample.frames.shape[2] - 6))
    if len(at) < _FEWEST_STEPS or not sample.is_static or not side:
        return None
    squares = np.square(sample.frames[at + 1] - sample.frames[at]) / 2
    halves = [squares[0::2].mean(0), squares[1::2].mean(0)]
    mean = sample.frames.mean(0)
    level = _smoothed(mean)
    residual = sixth_difference(mean[None], 1)
    quiet = quiet_blocks(mean[None, 3:-3], residual, side)[0]
    blocks = [in_blocks(each[None, 3:-3], side)[0] for each in (*halves, level)]
    rows, columns = quiet.shape
    first, second, light = (each[:rows, :, :columns] for each in blocks)
    covariance = _about_line(first, light) * _about_line(second, light)
    size = first.mean(axis=(1, 3)) * second.mean(axis=(1, 3))
    usable = quiet & (size > 0)
    if not usable.any():
        return None
    ratio = covariance.mean(axis=(1, 3))[usable] / size[usable]
    middle = float(np.median(ratio))
    error = 1.25 * float(ratio.std()) / ratio.size**0.5
    return max(middle, 0.0) ** 0.5, max(middle - 3 * error, 0.0) ** 0.5


def _pairs_apart(at: NDArray[np.int_]) -> NDArray[np.int_]:
    """Keep pairs (i, i + 1) that have no frame in common."""
    kept: list[int] = []
    for first in at:
        if not kept or first > kept[-1] + 1:
            kept.append(int(first))
    return np.array(kept, int)


def _smoothed(image: Floats) -> Floats:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 1.0)


def _about_line(values: Floats, light: Floats) -> Floats:
    """Subtract the regression on the brightness within each block."""
    centred = values - values.mean(axis=(1, 3), keepdims=True)
    along = light - light.mean(axis=(1, 3), keepdims=True)
    power = np.square(along).mean(axis=(1, 3), keepdims=True)
    slope = (centred * along).mean(axis=(1, 3), keepdims=True)
    return centred - slope / np.where(power > 0, power, 1) * along


def pixel_noise_findings(sample: Sample) -> list[Finding]:
    """Judge whether one noise model can serve all pixels."""
    found = pixel_noise_spread(sample)
    if found is None:
        return []
    spread, least = found
    verdict = graded(least, 0.0, PIXEL_NOISE)
    figures = {"spread of the variance": spread}
    sentence = (
        "Among pixels of equal brightness the variance of the noise differs by "
        f"{share(spread)}"
    )
    if verdict == "fine":
        return [Finding("noise by pixel", verdict, figures, f"{sentence}.")]
    return [
        Finding(
            "noise by pixel",
            verdict,
            figures,
            f"{sentence}: read noise or gain are those of each pixel, as in sCMOS "
            "cameras, while one noise model describes the average pixel.",
            "The result is right on average, and too trusting of the noisiest pixels. "
            "Correct the images with the camera's maps of offset and gain if you have "
            "them.",
        )
    ]
