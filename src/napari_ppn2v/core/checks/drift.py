"""Whether a calibration recording shows the same in all of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.checks.findings import CHANCE, Finding, graded, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.checks.sample import Floats, Sample

SLOW = (0.06, 0.25)
"""Variance that slow changes add to that of the noise: careful, will not work."""
MOTION = 0.1  # pixels, over the whole recording
_GROUPS = 8  # of pixels of similar brightness
_FEWEST_FRAMES = 4
_SMALLEST = 16  # pixels
_BLUR = 2.0  # pixels
_THIRD = 3


@dataclass(frozen=True)
class Steadiness:
    """What changes in the course of a recording.

    Attributes
    ----------
    slow, error : the largest added variance of a range of brightness, over that of
        the noise, and its standard error
    change : of the light from the first to the last third, relative
    motion : from the first to the last third, pixels, with its standard error
    """

    slow: float
    error: float
    change: float
    motion: tuple[float, float]


def steadiness(sample: Sample) -> Steadiness | None:
    """Compare the variance over the whole recording with that of successive frames.

    V is the variance of each pixel over the sample, D half the mean square of the
    difference of successive frames, which slow changes hardly reach; both averaged
    over pixels of similar brightness (8 groups). V/D - 1 is what lamp drift,
    bleaching or motion add to the noise (von Neumann 1941, "Distribution of the ratio
    of the mean square successive difference to the variance"). What changed is read
    from the mean images of the first and the last third: their difference is fitted
    by a constant, the image and its two gradients (Lucas and Kanade 1981).

    None without enough frames that follow each other.
    """
    at = sample.neighbours
    if len(at) < _FEWEST_FRAMES:
        return None
    frames = sample.frames
    steps = np.square(frames[at + 1] - frames[at]).mean(0, dtype=np.float64) / 2
    total = frames.var(axis=0, ddof=1, dtype=np.float64)
    groups = _by_brightness(frames.mean(0))
    found = []
    for group in groups:
        noise, all_in_all = float(steps[group].mean()), float(total[group].mean())
        if noise > 0:
            # of Gaussian noise: 2/(n - 1) and 3/m for each pixel, tails add to it
            scatter = float(np.std(total[group] - steps[group]))
            error = scatter / noise / group.sum() ** 0.5
            found.append((all_in_all / noise - 1, error))
    if not found:
        return None
    slow, error = max(found, key=lambda each: each[0] - CHANCE * each[1])
    third = max(1, len(frames) // _THIRD)
    change, motion = _what_changed(frames[:third].mean(0), frames[-third:].mean(0))
    return Steadiness(slow, error, change, motion)


def _by_brightness(mean: Floats) -> list[NDArray[np.bool_]]:
    """Masks of equally large groups of pixels, the smoothed mean in its order."""
    level = gaussian_filter(mean, 1.0) if min(mean.shape) >= _SMALLEST else mean
    n_groups = _GROUPS if mean.size >= 64 * _GROUPS else 1
    edges = np.quantile(level, np.linspace(0, 1, n_groups + 1))
    place = np.clip(np.searchsorted(edges, level, side="right") - 1, 0, n_groups - 1)
    return [place == number for number in range(n_groups) if (place == number).any()]


def _what_changed(first: Floats, last: Floats) -> tuple[float, tuple[float, float]]:
    """Relative change of the light, and the motion in pixels with its error."""
    base = float(np.quantile(first, 0.01))
    light = max(float(first.mean()) - base, 1e-6)
    if min(first.shape) < _SMALLEST:
        return float(last.mean() - first.mean()) / max(float(first.mean()), 1e-6), (
            0.0,
            np.inf,
        )
    a, b = (gaussian_filter(image.astype(float), _BLUR) for image in (first, last))
    middle = 0.5 * (a + b)
    rows, columns = np.gradient(middle)
    inside = (slice(4, -4), slice(4, -4))
    shape = [np.ones_like(middle), middle - middle.mean(), rows, columns]
    design = np.stack([each[inside].ravel() for each in shape], axis=1)
    difference = (b - a)[inside].ravel()
    normal = design.T @ design
    normal += 1e-12 * np.trace(normal) * np.eye(len(normal))
    inverse = np.linalg.inv(normal)
    found = inverse @ (design.T @ difference)
    rest = difference - design @ found
    # smoothing relates the pixels of an area of 4·pi·sigma²
    variance = np.square(rest).mean() * 4 * np.pi * _BLUR**2 * np.diag(inverse)
    motion = float(np.hypot(found[2], found[3]))
    return (
        float(last.mean() - first.mean()) / light,
        (motion, float(np.sqrt(variance[2] + variance[3]))),
    )


def drift_findings(sample: Sample) -> list[Finding]:
    """Judge whether a recording is steady enough to be averaged."""
    found = steadiness(sample)
    if found is None:
        return []
    figures = {
        "added variance": found.slow,
        "standard error": found.error,
        "change of the light": found.change,
        "motion, pixels": found.motion[0],
        "standard error of the motion, pixels": found.motion[1],
    }
    verdict = graded(found.slow, found.error, SLOW)
    sentence = (
        f"Slow changes add {share(max(found.slow, 0.0))} to the variance of the noise"
    )
    if verdict == "fine":
        return [Finding("steadiness", verdict, figures, f"{sentence}.")]
    moved = found.motion[0] - CHANCE * found.motion[1] > MOTION
    causes, advice = [], []
    if moved:
        causes.append(f"the scene moved by {found.motion[0]:.2f} pixels")
        advice.append("let the stage settle")
    if abs(found.change) > 0.002:
        side = "dimmer" if found.change < 0 else "brighter"
        causes.append(f"the light became {share(abs(found.change))} {side}")
        advice.append("let the lamp warm up, or take a sample that does not bleach")
    why = f": {' and '.join(causes)}" if causes else ""
    what = " and ".join(advice) or "keep lamp and stage steady"
    return [
        Finding(
            "steadiness",
            verdict,
            figures,
            f"{sentence}{why}. The noise model would take this for noise.",
            f"Record again: {what}. Or use the part of the recording that is steady.",
        )
    ]
