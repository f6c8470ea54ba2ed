"""The check of data before training: reads a part of it, and says what it is fit for.

It informs and never blocks: nothing else waits for it or asks for its verdict.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.core.checks import (
    clipping,
    compression,
    correlation,
    coverage,
    drift,
    fixed_pattern,
    grey_levels,
    outliers,
)
from napari_ppn2v.core.checks.findings import (
    Finding,
    Verdict,
    worst,
    worst_of_each,
)
from napari_ppn2v.core.frames import Frames
from napari_ppn2v.events import StageFinished, StageStarted, StepDone
from napari_ppn2v.pipeline.coverage import (
    NOISE_MARGIN,
    RANGE_MARGIN,
    ROUGH_SIGNAL_SIDE,
    KnownSignals,
    compare_signals,
    rough_signal,
)
from napari_ppn2v.pipeline.data_sample import FULL, Budget, Part, read_part, samples_of
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_ppn2v.core.checks.sample import Sample
    from napari_ppn2v.events import Event

STAGE = "check"
_RANGE_FRAMES = 8  # of a calibration scene, whose mean gives its signals
_ENDS = 0.05  # of the pixels, at which the noise of the range is measured


@dataclass(frozen=True)
class WhatWasRead:
    """The part of one recording that was looked at.

    Attributes
    ----------
    name : of its files, empty for arrays
    n_frames, shape : of all of it
    n_frames_read, window : what was read of that, rows and columns from the middle
    """

    name: str
    n_frames: int
    shape: tuple[int, int]
    n_frames_read: int
    window: tuple[int, int]


@dataclass(frozen=True)
class DataCheck:
    """What was found in images or calibration recordings.

    Attributes
    ----------
    subject : "images" or "calibration"
    findings : one for each question that could be answered
    read : which part of the data they come from
    seconds : that it took
    is_stopped : whether the user stopped before the end
    calibration : the check of the calibration that was given with the images
    """

    subject: str
    findings: tuple[Finding, ...]
    read: tuple[WhatWasRead, ...]
    seconds: float
    is_stopped: bool = False
    calibration: DataCheck | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all findings, those of the calibration included."""
        own = worst(finding.verdict for finding in self.findings)
        return worst((own, self.calibration.verdict)) if self.calibration else own

    @property
    def important(self) -> tuple[Finding, ...]:
        """Findings that are not fine, the worst first."""
        both = self.findings + (self.calibration.findings if self.calibration else ())
        told = [finding for finding in both if finding.is_important]
        return tuple(sorted(told, key=lambda each: each.verdict == "careful"))

    def finding(self, name: str) -> Finding | None:
        """Return the finding of a name, None if the question was not answered."""
        return next((each for each in self.findings if each.name == name), None)

    def as_plain(self) -> dict[str, Any]:
        """Return all of it as dictionaries, lists, numbers and texts."""
        return {"verdict": self.verdict} | _plain(asdict(self))

    def as_json(self) -> str:
        """Return all of it as JSON."""
        return json.dumps(self.as_plain(), indent=2, ensure_ascii=False)


def check_stack(
    frames: Frames | Sequence[Frames],
    *,
    stop: StopToken | None = None,
    budget: Budget = FULL,
) -> Generator[Event, None, DataCheck]:
    """Check whether images are fit for denoising without clean data.

    Read are at most `budget.frames` frames in runs of three, spread evenly over the
    recording, and of those a window in the middle. Recordings of equal frame size are
    looked at together; of each question the worst answer is kept.

    Parameters
    ----------
    frames : one recording or several, which are to be trained on together

    Yields
    ------
    StageStarted, StepDone, StageFinished of the stage "check".

    Raises
    ------
    BadData  If a frame holds values that are not finite, or cannot be read.
    """
    sources = _listed(frames)
    return (
        yield from _check("images", samples_of(sources, budget), _ask_of_stack, stop)
    )


def check_calibration(
    scenes: Frames | Sequence[Frames],
    frames: Frames | Sequence[Frames] | None = None,
    *,
    stop: StopToken | None = None,
    budget: Budget = FULL,
) -> Generator[Event, None, DataCheck]:
    """Check recordings of static scenes, and whether they cover the data.

    Parameters
    ----------
    scenes : repeats of a static scene, or several such recordings
    frames : the images to be denoised, whose signals are compared with the scenes'

    Yields, Raises
    --------------
    As for `check_stack`; frames compared are steps of the stage "coverage".
    """
    stop = stop or StopToken()
    sources = _listed(scenes)
    budget = replace(budget, groups=max(budget.groups, len(sources)))
    parts = tuple(samples_of([each], budget)[0] for each in sources)
    done = yield from _check("calibration", parts, _ask_of_calibration, stop)
    began = time.perf_counter()
    n_frames = min(len(each) for each in sources)
    n_pixels = sum(each.shape[0] * each.shape[1] for each in sources)
    findings = list(coverage.repeats_findings(n_frames, n_pixels)) + list(done.findings)
    if frames is not None and not stop.is_stopped:
        known = known_signals(sources)
        findings += yield from _compare(_listed(frames), known, stop)
    return replace(
        done,
        findings=tuple(findings),
        seconds=done.seconds + time.perf_counter() - began,
        is_stopped=stop.is_stopped,
    )


def known_signals(scenes: Sequence[Frames]) -> KnownSignals:
    """Range of the signals of calibration scenes, and how much noise blurs its ends.

    The signal is the mean of eight frames and of 5 x 5 pixels.
    """
    lows, highs = [], []
    for scene in scenes:
        chosen = np.unique(
            np.linspace(0, len(scene) - 1, min(len(scene), _RANGE_FRAMES)).astype(int)
        )
        stack = np.stack([scene.frame(int(index)) for index in chosen])
        mean = rough_signal(stack.mean(0))
        spread = (
            np.sqrt(stack.var(0, ddof=1)) if len(stack) > 1 else np.zeros_like(mean)
        )
        dark, bright = np.quantile(mean, [_ENDS, 1 - _ENDS])
        noise = [
            float(spread[mean <= dark].mean()),
            float(spread[mean >= bright].mean()),
        ]
        lows.append((float(mean.min()), noise[0]))
        highs.append((float(mean.max()), noise[1]))
    (low, dark_noise), (high, bright_noise) = min(lows), max(highs)
    margin, noise_part = RANGE_MARGIN * (high - low), NOISE_MARGIN / ROUGH_SIGNAL_SIDE
    margins = (margin + noise_part * dark_noise, margin + noise_part * bright_noise)
    return KnownSignals((low, high), margins)


def _compare(
    sources: list[Frames], known: KnownSignals, stop: StopToken
) -> Generator[Event, None, list[Finding]]:
    found = []
    for source in sources:
        if stop.is_stopped:
            break
        covered = yield from compare_signals(source, known, stop)
        found += coverage.range_findings(
            covered.data_range, covered.model_range, covered.share_outside
        )
    return list(worst_of_each(found))


@dataclass
class _Look:
    """What the questions about one part share; each is answered when it is asked."""

    part: Part
    images: list[np.ndarray]
    fine: Sample
    answers: list[Finding] = field(default_factory=list)


def _size(look: _Look) -> list[Finding]:
    return coverage.size_findings(look.part.shape, look.part.n_frames)


def _clipped(look: _Look) -> list[Finding]:
    return clipping.clipping_findings(look.images)


def _stretched(look: _Look) -> list[Finding]:
    found = grey_levels.stretch_findings(look.images, look.fine.dtype)
    return found + grey_levels.normalised_findings(look.images, look.fine.dtype)


def _odd(look: _Look) -> list[Finding]:
    if min(look.part.shape) < coverage.SMALLEST_SIDE:
        return []
    odd = outliers.odd_pixels(look.fine)
    look.fine = outliers.without(look.fine, odd)  # they are no pattern and no noise
    return outliers.outlier_findings(odd, len(look.fine))


def _rounded(look: _Look) -> list[Finding]:
    return grey_levels.rounding_findings(
        look.images, correlation.noise_spread(look.fine)
    )


def _correlated(look: _Look) -> list[Finding]:
    return correlation.correlation_findings(look.fine)


def _patterned(look: _Look) -> list[Finding]:
    shared = correlation.shared_by_frames(look.fine)
    return fixed_pattern.pattern_findings(shared) + correlation.time_findings(shared)


def _remembered(look: _Look) -> list[Finding]:
    return correlation.time_findings(correlation.shared_by_frames(look.fine))


def _striped(look: _Look) -> list[Finding]:
    return fixed_pattern.stripe_findings(look.fine)


def _by_pixel(look: _Look) -> list[Finding]:
    return fixed_pattern.pixel_noise_findings(look.fine)


def _compressed(look: _Look) -> list[Finding]:
    return compression.compression_findings(look.fine)


def _steady(look: _Look) -> list[Finding]:
    return drift.drift_findings(look.fine)


_COMMON = (_clipped, _stretched, _odd, _rounded, _compressed, _correlated)
_ask_of_stack = (_size, *_COMMON, _patterned, _striped, _by_pixel)
_ask_of_calibration = (*_COMMON, _remembered, _steady, _by_pixel)


def _check(
    subject: str,
    parts: Sequence[Part],
    questions: Sequence[Callable[[_Look], list[Finding]]],
    stop: StopToken | None,
) -> Generator[Event, None, DataCheck]:
    stop = stop or StopToken()
    began = time.perf_counter()
    total = sum(len(part.places) + len(questions) for part in parts)
    yield StageStarted(STAGE, total)
    findings, read = list[Finding](), list[WhatWasRead]()
    done = 0
    for part in parts:
        for sample in read_part(part):
            done += 1
            yield StepDone(STAGE, done, total)
            if stop.is_stopped or len(sample) == len(part.places):
                break
        if stop.is_stopped:
            break
        read.append(_what_was_read(part))
        look = _Look(part, list(sample.frames), sample.cropped(part.fine_side))
        for question in questions:
            findings += question(look)
            done += 1
            yield StepDone(STAGE, done, total)
            if stop.is_stopped:
                break
    seconds = time.perf_counter() - began
    yield StageFinished(STAGE, seconds)
    return DataCheck(
        subject, worst_of_each(findings), tuple(read), seconds, stop.is_stopped
    )


def _what_was_read(part: Part) -> WhatWasRead:
    rows, columns = part.window
    return WhatWasRead(
        ", ".join(dict.fromkeys(each.name for each in part.sources if each.name)),
        part.n_frames,
        part.shape,
        len(part.places),
        (rows.stop - rows.start, columns.stop - columns.start),
    )


def _listed(frames: Frames | Sequence[Frames]) -> list[Frames]:
    return [frames] if isinstance(frames, Frames) else list(frames)


def _plain(value: Any) -> Any:
    """Replace what JSON does not know: tuples, and numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value
