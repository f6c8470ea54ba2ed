"""Whether the signals of an image are those that a model knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.ndimage import uniform_filter

from napari_ppn2v.core.frames import evenly_spread
from napari_ppn2v.events import StepDone
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pairs import FrameSequence
    from napari_ppn2v.events import Event

ROUGH_SIGNAL_SIDE = 5  # pixels
RANGE_MARGIN = 0.02  # of the model's range
NOISE_MARGIN = 3.0  # standard deviations of a local mean
WORTH_A_WARNING = 0.001  # share of the pixels
MOST_FRAMES = 32  # compared, spread evenly
MOST_PIXELS = 8_000_000
SIGNAL_RANGE = "signal_range"  # in the provenance of a denoiser


class KnowsSignals(Protocol):
    """What has a range of signals; noise models do."""

    signal_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Signals of an image against those that a model knows, ADU.

    Attributes
    ----------
    data_range : lowest and highest rough signal, the local mean of 5 x 5 pixels
    model_range : what the model was fitted to or trained on
    share_outside : of the pixels whose rough signal lies beyond it, by more than the
        noise of a local mean and 2 % of the range
    """

    data_range: tuple[float, float]
    model_range: tuple[float, float]
    share_outside: float

    @property
    def is_worth_a_warning(self) -> bool:
        """Whether more than 0.1 % of the pixels lie outside."""
        return self.share_outside >= WORTH_A_WARNING


@dataclass(frozen=True, slots=True)
class KnownSignals:
    """The signals that a model knows, and how far a rough signal may lie beyond."""

    signal_range: tuple[float, float]
    margins: tuple[float, float]

    @classmethod
    def of_noise_model(cls, noise_model: NoiseModel) -> KnownSignals:
        """Take the range of the fit."""
        import torch

        low, high = noise_model.signal_range
        ends = torch.tensor([low, high], dtype=torch.float32)
        _, variance = noise_model.to("cpu").moments(ends)
        # the mean of n² pixels keeps 1 / n of the noise of one
        noise = variance.clamp_min(0).sqrt() * (NOISE_MARGIN / ROUGH_SIGNAL_SIDE)
        margin = RANGE_MARGIN * (high - low)
        return cls(
            (float(low), float(high)),
            (margin + float(noise[0]), margin + float(noise[1])),
        )

    @classmethod
    def of_denoiser(cls, denoiser: Denoiser) -> KnownSignals | None:
        """Take what it was trained on, and what its noise model was fitted to.

        The fit leaves out the ends of the training data, which are no news to the
        network. None where neither is known.
        """
        fitted = None
        if denoiser.noise_model is not None:
            fitted = cls.of_noise_model(denoiser.noise_model)
        seen = denoiser.provenance.get(SIGNAL_RANGE)
        if seen is None:
            return fitted
        low, high = (float(value) for value in seen)
        margin = RANGE_MARGIN * (high - low)
        trained = cls((low, high), (margin, margin))
        return trained if fitted is None else trained._joined(fitted)

    def _joined(self, other: KnownSignals) -> KnownSignals:
        """Return the range of both, with the margin of the one that reaches farther."""
        low = min((self, other), key=lambda known: known.signal_range[0])
        high = max((self, other), key=lambda known: known.signal_range[1])
        return KnownSignals(
            (low.signal_range[0], high.signal_range[1]),
            (low.margins[0], high.margins[1]),
        )


def signal_coverage(
    frames: FrameSequence | Sequence[NDArray], noise_model: NoiseModel
) -> Coverage:
    """Compare the signals of an image with those that a noise model was fitted to.

    Parameters
    ----------
    frames : `Frames`, or images (Y, X) or one array (N, Y, X), ADU; at most 32 of
        them, spread evenly, are looked at

    Raises
    ------
    BadData  If a frame holds values that are not finite.
    """
    job = compare_signals(frames, KnownSignals.of_noise_model(noise_model))
    while True:
        try:
            next(job)
        except StopIteration as end:
            return end.value


def compare_signals(
    frames: FrameSequence | Sequence[NDArray],
    known: KnownSignals,
    stop: StopToken | None = None,
) -> Generator[Event, None, Coverage]:
    """Do as `signal_coverage`, telling each frame; a stop leaves what is compared."""
    stop = stop or StopToken()
    (low, high), margins = known.signal_range, known.margins
    lows, highs, outside, n_pixels = [], [], 0, 0
    chosen = _some(frames)
    for number, index in enumerate(chosen):
        rough = rough_signal(_frame(frames, index))
        lows.append(float(rough.min()))
        highs.append(float(rough.max()))
        wrong = (rough < low - margins[0]) | (rough > high + margins[1])
        outside += int(wrong.sum())
        n_pixels += rough.size
        yield StepDone("coverage", number + 1, len(chosen))
        if stop.is_stopped:
            break
    return Coverage((min(lows), max(highs)), (low, high), outside / n_pixels)


def rough_range(images: Sequence[NDArray]) -> tuple[float, float]:
    """Lowest and highest rough signal of some of the images, ADU."""
    rough = [rough_signal(images[index]) for index in _some(images)]
    return min(float(r.min()) for r in rough), max(float(r.max()) for r in rough)


def rough_signal(image: NDArray) -> NDArray[np.float32]:
    """Local mean: single observations spread far beyond their signals."""
    return uniform_filter(np.asarray(image, np.float32), ROUGH_SIGNAL_SIDE)


def _some(frames: FrameSequence | Sequence[NDArray]) -> list[int]:
    """Numbers of frames spread evenly, few enough to be read within seconds."""
    shape = getattr(frames, "shape", None) or _frame(frames, 0).shape
    size = max(1, int(shape[-2]) * int(shape[-1]))
    most = max(1, min(len(frames), MOST_FRAMES, MOST_PIXELS // size))
    return evenly_spread(len(frames), most)


def _frame(frames: FrameSequence | Sequence[NDArray], index: int) -> NDArray:
    if hasattr(frames, "frame"):
        return frames.frame(index)
    return frames[index]
