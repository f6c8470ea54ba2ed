"""Pixels at an end of the range of grey values, where more or less light was lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.checks.findings import Finding, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.checks.findings import Verdict
    from napari_ppn2v.core.checks.sample import Floats

TOLD = 0.001
"""Share of the pixels at a limit from which on it is told."""
AT_MOST = 0.5
"""Share of the pixels at a limit above which too little is left to learn from."""

_FEWEST = 30  # pixels
_PILE = 1.3  # times what the values beside it hold, as for noise models
_SMALLEST_SHARE = 5e-5
_NEARBY = 4  # grey values


@dataclass(frozen=True)
class Limit:
    """An end of the range at which values pile up, in some images or all.

    Attributes
    ----------
    values : lowest and highest of the limits of the images, ADU
    images : number of images with a pile
    count, share : of the pixels there
    bias : mean of E[x] - s over all pixels in units of the noise, see `clipping_bias`
    """

    values: tuple[float, float]
    images: int
    count: int
    share: float
    bias: float


def clipped_limits(images: list[Floats]) -> tuple[Limit | None, Limit | None]:
    """Find piles of values at the lowest and at the highest value.

    A pile holds at least 30 pixels and 1.3 times as many as each of the next four grey
    values on average, which is what noise models go by; or 1.3 times n1²/n2, from the
    numbers of pixels with the next two grey values, beyond three standard deviations
    of counting: the tail of any log-concave distribution falls faster than that.
    Continuous values pile up where the same one occurs 30 times. Looked at are the
    ends of all images together and, since stretched images end at different values,
    those of each image. Piles of less than 0.005 % of all pixels do not count.
    """
    step = grey_step(images[0])
    return (
        _limit(images, step, 1),
        _limit([-image for image in images], step, -1),
    )


def _limit(images: list[Floats], step: float, sign: int) -> Limit | None:
    """Look for piles at the lowest values; `sign` says what was changed for that."""
    lows = [float(image.min()) for image in images]
    lowest, span = min(lows), max(float(image.max()) for image in images) - min(lows)
    if span == 0:
        return None
    width = max(step, span / 4096) if step else span / 1024
    ends = [_counts(each, low, width) for each, low in zip(images, lows, strict=True)]
    at_lowest = np.array(lows) == lowest
    together = np.sum([e for e, is_at in zip(ends, at_lowest, strict=True) if is_at], 0)
    is_common = _is_pile(together, is_continuous=step == 0)
    chosen = [
        (image, low, int(end[0]))
        for image, low, end in zip(images, lows, ends, strict=True)
        if (is_common and low == lowest) or _is_pile(end, is_continuous=step == 0)
    ]
    if not chosen:
        return None
    n_pixels = sum(image.size for image in images)
    if sum(count for _, _, count in chosen) < _SMALLEST_SHARE * n_pixels:
        return None
    bias = sum(clipping_bias(image == low) * image.size for image, low, _ in chosen)
    count = sum(count for _, _, count in chosen)
    values = sorted(sign * low for _, low, _ in chosen)
    return Limit(
        (values[0], values[-1]),
        len(chosen),
        count,
        count / n_pixels,
        sign * bias / n_pixels,
    )


def _counts(image: Floats, low: float, width: float) -> NDArray[np.int_]:
    """Count the pixels at the lowest value, and in the next four steps above it."""
    near = image[image <= low + (_NEARBY + 0.5) * width]
    place = np.ceil((near - low) / width - 0.5).astype(int)
    place[near > low] = np.maximum(place[near > low], 1)
    return np.bincount(np.clip(place, 0, _NEARBY), minlength=_NEARBY + 1)


def _is_pile(counts: NDArray[np.int_], *, is_continuous: bool) -> bool:
    at, nearby = int(counts[0]), counts[1:]
    if at < _FEWEST:
        return False
    if is_continuous:
        return True  # the very same number again and again
    if at > _PILE * nearby.mean():
        return True
    first, second = (float(n) for n in nearby[:2])
    if min(first, second) < _FEWEST:
        return False
    most = (first + 3 * first**0.5) ** 2 / max(second - 3 * second**0.5, 1.0)
    return at - 3 * at**0.5 > _PILE * most


def grey_step(image: Floats) -> float:
    """Step of the grey values, 0 for continuous ones; looks at 65 536 pixels."""
    values = image.ravel()[:: max(1, image.size // 65536)]
    if not (values == np.rint(values)).all():
        return 0.0
    return float(max(np.gcd.reduce((values - values.min()).astype(np.int64)), 1))


def clipping_bias(is_clipped: NDArray[np.bool_]) -> float:
    """Mean of E[x] - s that clipping causes, in standard deviations of the noise.

    Noise2Void needs noise of mean zero, E[x] = s (Krull et al. 2019, Eqs. 4 and 5).
    Of normal noise cut at z standard deviations from the signal the share
    p = Phi(-z) lies at the limit, and the mean moves by phi(z) - z·Phi(-z) (Tobin
    1958, "Estimation of relationships for limited dependent variables"). p is
    counted in squares of 8 x 8 pixels, and the bias averaged over the image.
    """
    from scipy.special import ndtri

    side = min(8, *is_clipped.shape)
    rows, columns = (length // side for length in is_clipped.shape)
    cut = is_clipped[: rows * side, : columns * side]
    part = cut.reshape(rows, side, columns, side).mean(axis=(1, 3))
    part = np.minimum(part[part > 0], 1 - 0.5 / side**2)
    z = -ndtri(part)
    moved = np.exp(-0.5 * z**2) / (2 * np.pi) ** 0.5 - z * part
    return float(moved.sum() / (rows * columns))


def clipping_findings(images: list[Floats]) -> list[Finding]:
    """Judge how many pixels lie at the ends of the range."""
    low, high = clipped_limits(images)
    found = [(name, limit) for name, limit in (("low", low), ("high", high)) if limit]
    figures: dict[str, float] = {}
    for name, limit in found:
        figures |= {
            f"{name} limit": limit.values[0 if name == "low" else 1],
            f"pixels at the {name} limit": float(limit.count),
            f"share at the {name} limit": limit.share,
            f"images cut at the {name} limit": float(limit.images),
            f"bias of the {name} limit, noise standard deviations": limit.bias,
        }
    if not found:
        text = "No pixels pile up at either end of the grey values."
        return [Finding("clipping", "fine", figures, text)]
    total = sum(limit.share for _, limit in found)
    verdict: Verdict = "fine" if total < TOLD else "careful"
    verdict = "will not work" if total > AT_MOST else verdict
    parts = " and ".join(_in_words(name, limit) for name, limit in found)
    bias = max((limit.bias for _, limit in found), key=abs)
    sentence = (
        f"{parts}: what lies beyond was cut, which moves the mean of the image by "
        f"{bias:+.2g} noise standard deviations. {_treatment(found)}"
    )
    return [
        Finding("clipping", verdict, figures, sentence, _advice(low, high, verdict))
    ]


def _in_words(name: str, limit: Limit) -> str:
    end = "lowest" if name == "low" else "highest"
    first, last = limit.values
    where = f"{first:g}, the {end} value"
    if first != last:
        where = f"the {end} value of their image ({first:g} to {last:g})"
    return (
        f"{share(limit.share)} of the pixels ({limit.count} of those read) are {where}"
    )


def _treatment(found: list[tuple[str, Limit]]) -> str:
    if all(limit.values[0] == limit.values[1] for _, limit in found):
        return "The noise model counts them as piles at the limits."
    return "The noise model knows one limit for all images, not one for each."


def _advice(low: Limit | None, high: Limit | None, verdict: Verdict) -> str:
    if verdict == "fine":
        return ""
    if high is not None and (low is None or high.share > low.share):
        return (
            "Do not measure intensities in saturated structures. Next time expose "
            "shorter, or lower the gain."
        )
    return (
        "Dark regions come out too bright, most where nearly all pixels are cut. Next "
        "time raise the offset of the camera or detector, and do not subtract the "
        "background before denoising."
    )
