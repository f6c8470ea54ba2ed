"""What the grey values themselves tell: stretched, converted or normalised data."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter1d

from napari_ppn2v.core.checks.clipping import grey_step
from napari_ppn2v.core.checks.findings import Finding, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.checks.sample import Floats

COMB = 0.02
"""Share of empty grey levels, among those that should be filled, that makes a comb."""
SAME = 0.5
"""Correlation of the empty levels of images above which they have one comb."""
ROUNDING = 0.6
"""Noise in steps of the grey values below which rounding hides it."""
_EXPECTED = 12.0  # pixels that a level should hold to be judged
_AROUND = 9  # levels whose mean is expected in the middle one
_MOST_LEVELS = 1 << 17
_LARGEST_LEVEL = 2.0**62  # as integers of 64 bits
_FEWEST_LEVELS = 20
_ENDS = (0.02, 0.98)  # quantiles between which levels are judged
_STRETCHED_SHARE = 0.2  # of the images


@dataclass(frozen=True)
class Comb:
    """Grey levels of one image that no pixel has although their neighbours do.

    `judged` and `empty` are the levels; all of them between the same two.
    """

    judged: NDArray[np.int_]
    empty: NDArray[np.int_]

    @property
    def share(self) -> float:
        """Empty levels among those judged."""
        return len(self.empty) / max(len(self.judged), 1)


def comb_of(image: Floats) -> Comb:
    """Find empty grey levels between filled ones.

    A level is judged if the nine around it hold 12 pixels each on average, so that by
    chance (Poisson) an empty one is met less than once in 100 000. Stretched
    contrast leaves such gaps, since a range of n values cannot fill more than n
    levels (Stamm and Liu 2010, "Forensic detection of image manipulation using
    statistical intrinsic fingerprints"). Values that are all multiples of one step
    are divided by it first: that is a harmless change of units.
    """
    nothing = np.array([], int)
    step = grey_step(image)
    if step == 0:
        return Comb(nothing, nothing)
    levels = np.clip(image / step, -_LARGEST_LEVEL, _LARGEST_LEVEL)
    levels = levels.astype(np.int64).ravel()
    low, high = (int(v) for v in np.quantile(levels, _ENDS))
    if high - low < _FEWEST_LEVELS or high - low > _MOST_LEVELS:
        return Comb(nothing, nothing)
    inside = levels[(levels >= low) & (levels <= high)]
    count = np.bincount(inside - low, minlength=high - low + 1)
    expected = uniform_filter1d(count.astype(float), _AROUND, mode="nearest")
    judged = expected >= _EXPECTED
    return Comb(
        np.flatnonzero(judged) + low, np.flatnonzero(judged & (count == 0)) + low
    )


def stretch_findings(images: list[Floats], dtype: np.dtype) -> list[Finding]:
    """Judge whether images were stretched, each by itself or all alike.

    A stretch that leaves no gaps, since the range became smaller, shows only by images
    of 8 bit that all reach from 0 to 255 exactly.
    """
    combs = [comb_of(image) for image in images]
    known = [comb for comb in combs if len(comb.judged) >= _FEWEST_LEVELS]
    if not known:
        return []
    stretched = [comb for comb in known if comb.share > COMB]
    largest = max(known, key=lambda comb: comb.share)
    figures = {
        "largest share of empty grey levels": largest.share,
        "images with gaps": float(len(stretched)),
        "images judged": float(len(known)),
    }
    if len(stretched) <= _STRETCHED_SHARE * len(known):
        if dtype == np.uint8 and _reach_both_ends(images):
            return [_cut_or_stretched(figures)]
        text = "The grey levels have no regular gaps."
        return [Finding("grey levels", "fine", figures, text)]
    figures["likeness of the gaps"] = same = _likeness(stretched, len(known))
    head = (
        f"In {len(stretched)} of {len(known)} images grey levels are empty between "
        f"filled ones (up to {share(largest.share)}): the contrast was stretched"
    )
    advice = "Use the files as the camera wrote them, not those made for display."
    if same < SAME:
        return [
            Finding(
                "grey levels",
                "will not work",
                figures,
                f"{head}, each image by another factor. Equal grey values then mean "
                "different light, and no single noise model is right.",
                f"{advice} If they are lost, denoise each image by itself.",
            )
        ]
    return [
        Finding(
            "grey levels",
            "careful",
            figures,
            f"{head}, all alike as far as can be seen.",
            f"{advice} A calibration has to be stretched in the same way.",
        )
    ]


def _reach_both_ends(images: list[Floats]) -> bool:
    return len(images) > 1 and all(
        image.min() == 0 and image.max() == 255 for image in images
    )


def _cut_or_stretched(figures: dict[str, float]) -> Finding:
    return Finding(
        "grey levels",
        "careful",
        figures,
        "Every image reaches from 0 to 255 exactly: either all of them are cut at both "
        "ends, or the contrast of each was stretched by itself. Then equal grey values "
        "mean different light, and no single noise model is right.",
        "Use the files as the camera wrote them, not those made for display.",
    )


def _likeness(stretched: list[Comb], n_known: int) -> float:
    """Mean correlation of the gaps of each image with those of the next.

    Of levels judged in both, 1 for an empty and 0 for a filled one (the phi
    coefficient): 1 for equal combs, about 0 for different ones, however many levels
    are empty. Images without gaps are like none.
    """
    found = []
    for first, second in pairwise(stretched):
        both = np.intersect1d(first.judged, second.judged)
        a, b = np.isin(both, first.empty), np.isin(both, second.empty)
        if 0 < a.sum() < a.size and 0 < b.sum() < b.size:
            found.append(float(np.corrcoef(a, b)[0, 1]))
    mean = float(np.mean(found)) if found else 1.0
    return mean * len(stretched) / n_known


def normalised_findings(images: list[Floats], dtype: np.dtype) -> list[Finding]:
    """Judge whether grey values were replaced by a scale such as 0 to 1.

    Told are real numbers that all lie between 0 and 1, or whose mean is 0 and whose
    standard deviation is 1 to within 5 %, in every image; and whether each image
    reaches 0 and 1 exactly, which means that each was scaled by itself.
    """
    if dtype.kind != "f":
        return []
    lows = np.array([float(image.min()) for image in images])
    highs = np.array([float(image.max()) for image in images])
    spreads = np.array([float(image.std()) for image in images])
    means = np.array([float(image.mean(dtype=np.float64)) for image in images])
    figures = {"lowest value": float(lows.min()), "highest value": float(highs.max())}
    is_unit = lows.min() >= 0 and highs.max() <= 1
    is_standard = bool(
        (np.abs(means) < 0.05).all() and (np.abs(spreads - 1) < 0.05).all()
    )
    if not (is_unit or is_standard):
        text = f"Values run from {lows.min():.5g} to {highs.max():.5g}."
        return [Finding("normalised values", "fine", figures, text)]
    each = is_unit and bool((lows == 0).all() and (highs == 1).all())
    each |= is_standard
    what = "mean 0 and standard deviation 1" if is_standard else "the range 0 to 1"
    advice = "Use the files as the camera wrote them."
    if each and len(images) > 1:
        return [
            Finding(
                "normalised values",
                "will not work",
                figures,
                f"Each image was scaled to {what} by itself. Equal values then mean "
                "different light, and no single noise model is right.",
                f"{advice} If they are lost, denoise each image by itself.",
            )
        ]
    return [
        Finding(
            "normalised values",
            "careful",
            figures,
            f"The values were scaled to {what}. Denoising works on that scale, but a "
            "calibration or noise model in grey values of the camera does not fit.",
            advice,
        )
    ]


def rounding_findings(images: list[Floats], noise: float | None) -> list[Finding]:
    """Judge whether rounding to grey values hides the noise.

    `noise` is `correlation.noise_spread`, ADU, of the rounded values. Noise of half a
    step is 0.58 steps after rounding; below it, rounding is no longer an addition of
    independent noise of variance 1/12 (Widrow and Kollar 2008, "Quantization noise").
    """
    step = grey_step(images[0])
    if step == 0 or noise is None:
        return []
    ratio = noise / step
    figures = {"noise, ADU": noise, "grey-value step": step, "noise in steps": ratio}
    sentence = f"In dark regions the noise is {ratio:.2g} steps of the grey values"
    if ratio >= ROUNDING:
        return [Finding("rounding", "fine", figures, f"{sentence}.")]
    return [
        Finding(
            "rounding",
            "careful",
            figures,
            f"{sentence} (of {step:g}): it was rounded or cut away, by a conversion to "
            "8 bit, a threshold or a subtracted background.",
            "Use the files as the camera wrote them. Structures fainter than a step "
            "cannot be brought back.",
        )
    ]
