"""Whether a calibration holds enough frames, and the brightness of the data."""

from __future__ import annotations

from napari_ppn2v.core.checks.findings import Finding, Verdict, share

OUTSIDE = (0.001, 0.5)
"""Share of the pixels beyond the calibration: careful, will not work."""
FEW_FRAMES = 20
"""Repeats below which the mean is a poor stand-in for the signal."""
FEW_PAIRS = 100_000
"""Observations below which the tails of the noise are left to chance."""
SMALLEST_SIDE = 16
"""Pixels; below, hardly a pixel has surroundings to be predicted from."""


def size_findings(shape: tuple[int, int], n_frames: int) -> list[Finding]:
    """Judge whether frames are large enough to train on."""
    height, width = shape
    figures = {
        "height, pixels": float(height),
        "width, pixels": float(width),
        "frames": float(n_frames),
    }
    said = f"{n_frames} frame{'s' * (n_frames != 1)} of {height} x {width} pixels"
    if min(height, width) >= SMALLEST_SIDE:
        return [Finding("size", "fine", figures, f"{said}.")]
    return [
        Finding(
            "size",
            "will not work",
            figures,
            f"{said}: a network needs at least {SMALLEST_SIDE} pixels on each side to "
            "learn from surroundings.",
            "Give larger frames. As a calibration of the noise model they are usable.",
        )
    ]


def repeats_findings(n_frames: int, n_pixels: int) -> list[Finding]:
    """Judge whether a calibration has enough frames and pixels.

    The variance about the mean of m repeats is (m - 1)/m of that of the noise, and
    the mean itself is wrong by 1/sqrt(m) of its standard deviation.
    """
    pairs = n_frames * n_pixels
    figures = {"frames": float(n_frames), "observations": float(pairs)}
    sentence = f"{n_frames} repeats of {n_pixels} pixels"
    if n_frames < 2:
        return [
            Finding(
                "repeats",
                "will not work",
                figures,
                f"{sentence}: noise shows only between repeats.",
                "Record the same scene at least 20 times, better 100 times.",
            )
        ]
    if n_frames >= FEW_FRAMES and pairs >= FEW_PAIRS:
        return [Finding("repeats", "fine", figures, f"{sentence}.")]
    if n_frames < FEW_FRAMES:
        why = (
            f"their mean, which stands for the signal, is itself wrong by "
            f"{share(n_frames**-0.5)} of the noise"
        )
    else:
        why = f"{pairs} observations are few for the rare strong deviations"
    return [
        Finding(
            "repeats",
            "careful",
            figures,
            f"{sentence}: {why}.",
            "Record 50 repeats or more, of larger frames if possible.",
        )
    ]


def range_findings(
    data_range: tuple[float, float],
    known_range: tuple[float, float],
    share_outside: float,
) -> list[Finding]:
    """Judge the signals of the data against those of all calibration recordings.

    Signals are means of 5 x 5 pixels. Prakash et al. 2020, Fig. 3 and Table 3, show
    what a calibration of part of the range costs.

    Parameters
    ----------
    data_range, known_range : lowest and highest signal, ADU
    share_outside : of the pixels of the data, by more than the noise of the means
    """
    verdict: Verdict = "fine"
    if share_outside >= OUTSIDE[0]:
        verdict = "will not work" if share_outside > OUTSIDE[1] else "careful"
    figures = {
        "lowest signal of the data": data_range[0],
        "highest signal of the data": data_range[1],
        "lowest signal of the calibration": known_range[0],
        "highest signal of the calibration": known_range[1],
        "share outside": share_outside,
    }
    sentence = (
        f"The calibration holds signals from {known_range[0]:.5g} to "
        f"{known_range[1]:.5g} grey values, the data from {data_range[0]:.5g} to "
        f"{data_range[1]:.5g}"
    )
    if verdict == "fine":
        return [Finding("signal range", verdict, figures, f"{sentence}: covered.")]
    darker, brighter = data_range[0] < known_range[0], data_range[1] > known_range[1]
    side = "darker and brighter" if darker and brighter else "brighter"
    side = side if brighter else "darker"
    return [
        Finding(
            "signal range",
            verdict,
            figures,
            f"{sentence}: {share(share_outside)} of the pixels lie outside, where the "
            "noise model is a guess.",
            f"Record a {side} calibration scene in addition, or estimate the noise "
            "from the images themselves.",
        )
    ]
