"""Whether a saved noise model is still right for a new recording."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_ppn2v.errors import BadData
from napari_ppn2v.events import StageFinished, StageStarted, StepDone

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.quality import RangeQuality
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.core.pairs import FrameSequence
    from napari_ppn2v.core.photon_transfer import SignalRows
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

    Floats = NDArray[np.float64]

DriftVerdict = Literal["still right", "slightly off", "no longer right"]

STAGE = "noise drift"
_CHANCE = 2.0  # standard errors that a range may be off by
_SURE = 0.05  # error of a variance ratio below which ranges weigh the same
_LIMITS = {"pairs": (0.06, 0.12), "frames": (0.05, 0.10)}
"""Mean deviation of the variance up to which a model is right, and slightly off.

For pairs those of the fit quality. In frames alone the ranges are less sure, so that
less is left of the same change: of 30 % in the gain 0.09 to 0.2 on simulated cells.
"""


@dataclass(frozen=True)
class DriftRange:
    """One range of signals: variance of the recording over that of the model."""

    signal: float
    variance_ratio: float
    error: float
    n: int


@dataclass(frozen=True)
class DriftReport:
    """How a noise model compares with a new recording.

    Attributes
    ----------
    verdict, reason : for the user
    source : "pairs" (of repeats or of a denoised version) or "frames" alone
    ranges : from dark to bright
    deviation : mean over the ranges, weighted by how sure they are, of what chance
        leaves of |variance ratio - 1|
    slope_ratio : slope of the photon-transfer line over that of the model; nan if
        there is no line
    dark_shift : ADU by which the recording's line lies to the right of the model's,
        a change of the offset if the read noise is the same; nan if there is no line
    share_outside : of the pixels whose signals the model does not cover
    quality : of the fit to the new pairs, empty for frames alone
    """

    verdict: DriftVerdict
    reason: str
    source: str
    ranges: tuple[DriftRange, ...]
    deviation: float
    slope_ratio: float
    dark_shift: float
    share_outside: float
    quality: tuple[RangeQuality, ...] = ()
    is_stopped: bool = False


def check_drift(
    model: NoiseModel,
    recording: PairHistogram | FrameSequence,
    stop: StopToken | None = None,
) -> Generator[Event, None, DriftReport]:
    """Compare a noise model with a new recording of the same camera.

    Parameters
    ----------
    recording
        Pairs of a new calibration or of frames and their denoised version; or noisy
        `Frames` alone, whose local differences bound the noise from above.

    Yields
    ------
    StepDone for each frame, where frames are given.

    Raises
    ------
    BadData  If the recording holds too little to compare.
    """
    from napari_ppn2v.core.noise_models.quality import fit_quality
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.core.photon_transfer import signal_rows

    began = time.perf_counter()
    yield StageStarted(STAGE, 0)
    quality: tuple[RangeQuality, ...] = ()
    is_stopped = False
    if isinstance(recording, PairHistogram):
        rows, source = signal_rows(recording), "pairs"
        quality = fit_quality(model, recording)
    else:
        rows = yield from _local_rows(recording, stop)
        source = "frames"
        is_stopped = stop is not None and stop.is_stopped
    report = _compared(model, rows, source, quality, is_stopped)
    yield StageFinished(STAGE, time.perf_counter() - began)
    return report


def _local_rows(
    frames: FrameSequence, stop: StopToken | None
) -> Generator[Event, None, SignalRows]:
    from napari_ppn2v.core.local_noise import LocalNoise

    noise = LocalNoise()
    for index in range(len(frames)):
        noise.add(frames.frame(index))
        yield StepDone(STAGE, index + 1, len(frames))
        if noise.is_enough or (stop is not None and stop.is_stopped):
            break
    return noise.rows()


def _compared(
    model: NoiseModel,
    rows: SignalRows,
    source: str,
    quality: tuple[RangeQuality, ...],
    is_stopped: bool,
) -> DriftReport:
    low, high = model.signal_range
    margin = 0.02 * (high - low)
    inside = (rows.signal >= low - margin) & (rows.signal <= high + margin)
    outside = 1 - float(rows.count[inside].sum() / rows.count.sum())
    if inside.sum() < 2:
        raise BadData(
            f"The recording has signals from {rows.signal[0]:.4g} to "
            f"{rows.signal[-1]:.4g} grey values, the noise model covers {low:.4g} to "
            f"{high:.4g}. They cannot be compared; was the offset or the gain of the "
            "camera changed? Fit a noise model to this recording."
        )
    kept = rows.taken(inside)
    expected = _variances(model, kept.signal)
    ratio, error = kept.variance / expected, kept.variance_error / expected
    off = np.maximum(np.abs(ratio - 1) - _CHANCE * error, 0)
    # by how sure each range is and not by its pixels, most of which are dark
    trust = 1 / (error**2 + _SURE**2)
    deviation = float(np.average(off, weights=trust))
    right, nearly = _LIMITS[source]
    verdict: DriftVerdict = "no longer right"
    if deviation <= nearly:
        verdict = "still right" if deviation <= right else "slightly off"
    slope_ratio, dark_shift = _line_change(kept, expected)
    return DriftReport(
        verdict=verdict,
        reason=_reason(verdict, source, ratio, trust, slope_ratio, dark_shift),
        source=source,
        ranges=tuple(
            DriftRange(float(s), float(r), float(e), int(n))
            for s, r, e, n in zip(kept.signal, ratio, error, kept.count, strict=True)
        ),
        deviation=deviation,
        slope_ratio=slope_ratio,
        dark_shift=dark_shift,
        share_outside=outside,
        quality=quality,
        is_stopped=is_stopped,
    )


def _variances(model: NoiseModel, signal: Floats) -> Floats:
    import torch

    with torch.no_grad():
        _, variance = model.to("cpu").moments(torch.from_numpy(signal))
    return np.maximum(variance.double().numpy(), 1e-9)


def _line_change(rows: SignalRows, expected: Floats) -> tuple[float, float]:
    """Slope over that of the model, and shift of the line along the signal (ADU)."""
    from dataclasses import replace

    from napari_ppn2v.core.photon_transfer import transfer_line

    try:
        new = transfer_line(rows)
        # the same rows with the same trust, so that only the variances differ
        scaled = rows.variance_error * expected / rows.variance
        old = transfer_line(replace(rows, variance=expected, variance_error=scaled))
    except BadData:
        return float("nan"), float("nan")
    return new.slope / old.slope, new.zero - old.zero


def _reason(
    verdict: DriftVerdict,
    source: str,
    ratio: Floats,
    trust: Floats,
    slope_ratio: float,
    dark_shift: float,
) -> str:
    mean = float(np.average(ratio, weights=trust))
    words = (
        f"This noise model is {verdict}: the variance of the noise is {mean:.2f} times "
        "what it says"
    )
    if np.isfinite(slope_ratio):
        words += (
            f"; it grows {slope_ratio:.2f} times as fast, from a dark level "
            f"{abs(dark_shift):.2g} grey values "
            f"{'higher' if dark_shift > 0 else 'lower'}"
        )
    words += "."
    if source == "frames":
        words += (
            " Measured in the noisy frames alone, where fine structure of the sample "
            "can only make it look larger."
        )
    if verdict != "still right":
        words += " Fit a noise model to a new calibration, or to this recording."
    return words
