"""Where the noise model comes from, and whether it covers the data."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.inference import image_passes
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.events import Notice, StageFinished, StageStarted, StepDone
from napari_ppn2v.pipeline.coverage import RANGE_MARGIN as RANGE_MARGIN
from napari_ppn2v.pipeline.coverage import ROUGH_SIGNAL_SIDE as ROUGH_SIGNAL_SIDE
from napari_ppn2v.pipeline.coverage import WORTH_A_WARNING as WORTH_A_WARNING
from napari_ppn2v.pipeline.coverage import signal_coverage

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.inference import Blindness
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pairs import FrameSequence
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.core.training_stack import TrainingStack
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

PSEUDO_GROUND_TRUTH_PIXELS = 1_000_000
PARTS = 100  # in which the progress of one image is told


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Fit the noise model to the noisy frames and their Noise2Void estimate.

    "Bootstrapped PN2V", Prakash et al. 2020, section 2.
    """


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fit the noise model to recordings of static scenes; each holds repeats of one."""

    scenes: tuple[Frames, ...]


@dataclass(frozen=True, slots=True)
class GivenNoiseModel:
    """Use a noise model that is there already."""

    model: NoiseModel


NoiseSource = Bootstrap | Calibration | GivenNoiseModel


@dataclass(frozen=True, slots=True)
class _Images:
    """Images in memory, of differing sizes, read like frames."""

    images: Sequence[NDArray[np.float32]]

    def __len__(self) -> int:
        return len(self.images)

    def frame(self, index: int) -> NDArray[np.float32]:
        return self.images[index]


class Stopped(Exception):
    """Raised in the middle of reading, where no event can be yielded."""


@dataclass(frozen=True, slots=True)
class Stoppable:
    """Frames whose reading ends with `Stopped` when the user stops."""

    frames: FrameSequence
    stop: StopToken

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, index: int) -> NDArray[np.float32]:
        """Return one frame, (Y, X) float32, ADU."""
        if self.stop.is_stopped:
            raise Stopped
        return self.frames.frame(index)


def unstoppable(pairs: SignalObservationPairs) -> SignalObservationPairs:
    """Return pairs that can be read after a stop, too, as whoever gets them will."""

    def frames_of(sequence: FrameSequence) -> FrameSequence:
        return sequence.frames if isinstance(sequence, Stoppable) else sequence

    return pairs.read_through(frames_of)


def bootstrapped_pairs(
    model: PriorNetwork,
    stack: TrainingStack,
    blindness: Blindness,
    *,
    kind: str,
    seed: int,
    stop: StopToken,
) -> Generator[Event, None, SignalObservationPairs | None]:
    """Pair noisy images with their Noise2Void estimates, as many as a fit can use.

    Parameters
    ----------
    model : trained Noise2Void
    blindness : how pixels were hidden in its training
    kind : "midway", "one-pass" or "blind"; see `RunConfig.pseudo_ground_truth`
    seed : of the choice of images

    Returns
    -------
    SignalObservationPairs, or None if stopped.
    """
    stage, began = "pseudo ground truth", time.perf_counter()
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(stack.images))
    sizes = np.cumsum([stack.images[i].size for i in order])
    enough = int(np.searchsorted(sizes, PSEUDO_GROUND_TRUTH_PIXELS)) + 1
    chosen = sorted(order[:enough])
    total = len(chosen) * PARTS
    yield StageStarted(stage, total)
    signals = []
    for number, index in enumerate(chosen):
        image = stack.images[index]
        job = _pseudo_ground_truth(model, image, blindness, kind)
        while True:
            try:
                done = next(job)
            except StopIteration as end:
                signals.append(end.value)
                break
            yield StepDone(stage, int((number + done) * PARTS), total)
            if stop.is_stopped:
                return None
    observations = [stack.images[index] for index in chosen]
    yield StageFinished(stage, time.perf_counter() - began)
    return SignalObservationPairs.from_pseudo_ground_truth(
        Stoppable(_Images(signals), stop), Stoppable(_Images(observations), stop)
    )


def _pseudo_ground_truth(
    model: PriorNetwork,
    image: NDArray[np.float32],
    blindness: Blindness,
    kind: str,
) -> Generator[float, None, NDArray[np.float32]]:
    """Estimate the signal that the noise model is fitted to; yields the part done.

    With noise of variance v, an estimate that sees its own pixel and is as good as it
    can be, of error a, leaves residuals of variance v - a; a blind one of error b
    leaves v + b. The covariance of the two residuals is v, so that midway between the
    estimates they have v + (b - a) / 4: what is left is a quarter of the difference
    of two similar small errors.
    """
    ways = {"midway": (None, blindness), "one-pass": (None,), "blind": (blindness,)}
    passes = [1 if way is None else way.box**2 for way in ways[kind]]
    estimates, done = [], 0.0
    for way, weight in zip(ways[kind], passes, strict=True):
        share = weight / sum(passes)
        job = image_passes(model, None, image, way)
        while True:
            try:
                yield done + share * next(job)
            except StopIteration as end:
                estimates.append(end.value.prior_mean)
                break
        done += share
    return np.mean(estimates, axis=0)


def warn_of_range(
    stack: TrainingStack, noise_model: NoiseModel
) -> Generator[Event, None, None]:
    """Say how much of the data lies outside the signals that the fit has seen."""
    found = signal_coverage(stack.images, noise_model)
    if not found.is_worth_a_warning:
        return
    low, high = found.model_range
    reach = found.data_range
    yield Notice(
        f"The noise model was fitted for signals from {low:.4g} to {high:.4g} grey "
        f"values, but the image reaches from {reach[0]:.4g} to {reach[1]:.4g}: "
        f"{found.share_outside:.1%} of the pixels lie outside. There the noise model "
        "is extrapolated. Record a calibration that covers the image, or estimate the "
        "noise model from the image itself.",
        is_warning=True,
    )
