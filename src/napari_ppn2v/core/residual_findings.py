"""What the residual of a result says, in words and with a verdict.

Limits were chosen on real EMCCD frames, on simulated sCMOS frames of the same
structures and on simulated scenes: the ground truth itself, taken for the result, is
fine in all findings; filters by the median, smoothing by 2.5 pixels and results with
removed spots or lines are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_ppn2v.core.checks.findings import Finding, Verdict, graded, share, worst
from napari_ppn2v.core.residuals import LAGS

if TYPE_CHECKING:
    from napari_ppn2v.core.residuals import LagCorrelation, ResidualCheck

ALIKE = (0.1, 0.3)
"""Correlation of neighbouring residuals."""

UNLIKE = (0.1, 0.3)
"""The same where it is negative: the result follows the noise."""

LOST_CONTRAST = (0.02, 0.1)
LOST_BRIGHTEST = (0.05, 0.15)
"""Part of the height of the brightest pixels."""

SPREAD = (0.12, 0.35)
"""Distance of the standardised residual's spread from 1."""

LEFT_AREA = (0.02, 0.1)
"""Share of the area with structure in the residual."""

LEFT_STRENGTH = (2.5, 8.0)
"""Strongest structure, in units of the most that noise reaches."""

FAR_ABOVE = (2.5, 10.0)
"""Number of pixels far above the noise, over that of a camera."""

REPEATED = (0.0, 1e-3)
"""Share of the pixels that stick out in more frames than chance allows."""

_TRAIN_LONGER = "Train longer, and look at the places named in the leftover map."


def residual_findings(check: ResidualCheck) -> tuple[Finding, ...]:
    """Judge whiteness, contrast, spread, leftover structure and outliers."""
    return (
        _leftover(check),
        _contrast(check),
        _whiteness(check),
        _spread(check),
        _outliers(check),
        *_repeated(check),
    )


def _leftover(check: ResidualCheck) -> Finding:
    left = check.leftover
    strongest = max((abs(place.excess) for place in left.places), default=0.0)
    verdict = worst(
        (graded(left.share, 0, LEFT_AREA), graded(strongest, 0, LEFT_STRENGTH))
    )
    figures = {
        "share_of_area": left.share,
        "share_of_area_in_worst_image": left.worst_share,
        "strongest_over_noise": strongest,
    }
    if not left.places:
        text = "No structure was found in what was taken away."
        return Finding("leftover structure", verdict, figures, text)
    place = left.places[0]
    side = "brighter" if place.amplitude > 0 else "darker"
    sentence = (
        f"In {share(left.share)} of the area, what was taken away is more structured "
        f"than noise can be. Strongest at row {place.row}, column {place.column} of "
        f"image {place.image}: the data are {abs(place.amplitude):.2g} grey values "
        f"{side} than the result there, {strongest:.1f} times what noise reaches."
    )
    advice = "" if verdict == "fine" else f"Real structure was lost. {_TRAIN_LONGER}"
    return Finding("leftover structure", verdict, figures, sentence, advice)


def _contrast(check: ResidualCheck) -> Finding:
    verdict = graded(abs(check.slope), check.slope_error, LOST_CONTRAST)
    bright, error = _brightest(check)
    figures = {
        "slope": check.slope,
        "standard_error": check.slope_error,
        "lost_in_brightest": bright,
    }
    if verdict == "fine" and graded(abs(bright), error, LOST_BRIGHTEST) == "fine":
        text = f"Contrast is kept: {100 * check.slope:.1f} % of it is in the residual."
        return Finding("contrast", verdict, figures, text)
    if verdict == "fine":
        side = "dark" if bright > 0 else "bright"
        text = (
            f"The brightest pixels are too {side} in the result, by "
            f"{100 * abs(bright):.0f} % of their height over the darkest."
        )
        advice = f"Do not measure how bright they are. {_TRAIN_LONGER}"
        verdict = graded(abs(bright), error, LOST_BRIGHTEST)
        return Finding("contrast", verdict, figures, text, advice)
    if check.slope > 0:
        sentence = (
            f"{100 * check.slope:.0f} % of the contrast was taken away with the noise: "
            "bright places are too dark in the result, dark ones too bright."
        )
    else:
        sentence = f"The result exaggerates the contrast by {-100 * check.slope:.0f} %."
    return Finding(
        "contrast", verdict, figures, sentence, f"Do not measure it. {_TRAIN_LONGER}"
    )


def _brightest(check: ResidualCheck) -> tuple[float, float]:
    """Lost part of the height of the brightest range, and its standard error."""
    if len(check.ranges) < 2:
        return 0.0, 0.0
    first, last = check.ranges[0], check.ranges[-1]
    height = 0.5 * (last.low + last.high) - first.low
    return last.bias / height, last.bias_error / height


def _whiteness(check: ResidualCheck) -> Finding:
    strongest = max(check.whiteness, key=lambda each: abs(each.value))
    limits = ALIKE if strongest.value > 0 else UNLIKE
    verdict = graded(abs(strongest.value), strongest.error, limits)
    figures = {f"{name}": _of(check, lag).value for lag, name in LAGS.items()}
    where = LAGS[strongest.lag]
    sentence = (
        f"Neighbouring pixels of the residual have a correlation of "
        f"{strongest.value:+.3f} ({where}); that of independent noise is 0."
    )
    advice = ""
    if verdict != "fine" and strongest.value > 0:
        advice = (
            "Either structure was smoothed away, or the noise itself is correlated, "
            "which the method cannot remove. Look at the residual, and check the data."
        )
    elif verdict != "fine":
        advice = "The result still follows the noise of single pixels. Train longer."
    return Finding("whiteness", verdict, figures, sentence, advice)


def _of(check: ResidualCheck, lag: tuple[int, int]) -> LagCorrelation:
    return next(each for each in check.whiteness if each.lag == lag)


def _spread(check: ResidualCheck) -> Finding:
    ranges = [r for r in check.ranges if r.n_pixels >= 0.01 * check.n_pixels]
    furthest = max(ranges, key=lambda r: abs(r.spread - 1), default=None)
    if furthest is None:
        return Finding("noise removed", "fine", {}, "There are too few pixels.")
    # of the standard deviation of so many Gaussian values
    error = (0.5 / furthest.n_pixels) ** 0.5
    verdict: Verdict = graded(abs(furthest.spread - 1), error, SPREAD)
    figures = {"spread": check.spread, "spread_furthest_from_1": furthest.spread}
    sentence = (
        f"What was taken away is {check.spread:.2f} times as strong as the noise of "
        f"the noise model; between grey values {furthest.low:.4g} and "
        f"{furthest.high:.4g} it is {furthest.spread:.2f} times."
    )
    advice = ""
    if verdict != "fine" and furthest.spread > 1:
        advice = "Structure was taken away too, or the noise model is too narrow there."
    elif verdict != "fine":
        advice = "Noise was left in the result, or the noise model is too wide there."
    return Finding("noise removed", verdict, figures, sentence, advice)


def _outliers(check: ResidualCheck) -> Finding:
    out = check.outliers
    excess = out.found / max(out.expected, 5.0)
    error = (max(out.found, 1) ** 0.5) / max(out.expected, 5.0)
    verdict = graded(excess, error, FAR_ABOVE)
    figures = {"found": float(out.found), "expected_at_most": out.expected}
    sentence = (
        f"{out.found} pixels lie far above the result; of a camera with this noise one "
        f"expects {out.expected:.0f} at most."
    )
    advice = (
        ""
        if verdict == "fine"
        else "Single bright pixels were taken for noise: small spots that are lost, "
        "hot pixels or cosmic rays. Compare with the noisy image; a noise model from a "
        "calibration keeps real ones."
    )
    return Finding("lost bright pixels", verdict, figures, sentence, advice)


def _repeated(check: ResidualCheck) -> tuple[Finding, ...]:
    out = check.outliers
    if out.n_repeated is None or check.n_images < out.n_frames:
        return ()
    figures = {"places": float(out.n_repeated), "frames": float(out.n_frames)}
    part = out.n_repeated * check.n_images / check.n_pixels
    verdict = graded(part, 0, REPEATED)
    if not out.n_repeated:
        text = f"No place sticks out of the noise in {out.fewest} or more frames."
        return (Finding("repeated bright pixels", verdict, figures, text),)
    row, column = out.repeated[0]
    sentence = (
        f"{out.n_repeated} places are far above the result in at least {out.fewest} of "
        f"{out.n_frames} frames, for example row {row}, column {column}."
    )
    advice = (
        "They are hot pixels, or structures of a single pixel that were lost. Look at "
        "them in the noisy frames."
    )
    return (Finding("repeated bright pixels", verdict, figures, sentence, advice),)
