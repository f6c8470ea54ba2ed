"""Train on the odd frames of a static scene, score with the even ones, and reverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.repeats import (
    MOST_MOVEMENT,
    RepeatsScore,
    movement,
    score_against_repeats,
)
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import Notice, PartStarted
from napari_ppn2v.pipeline.denoising import denoise_frames
from napari_ppn2v.pipeline.journeys import train_denoiser

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    import torch
    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.pipeline.noise_sources import NoiseSource
    from napari_ppn2v.stop import StopToken

    Stack = NDArray[np.float32]

FEWEST_FRAMES = 4
MOST_FRAMES = 200
HALVES = ("odd frames", "even frames")


@dataclass(frozen=True)
class RepeatsCheck:
    """What repeats of a static scene say about the error of denoising them.

    Attributes
    ----------
    scores : trained on and scored of the odd frames against the even ones, and reverse
    movement : change over the recording over that between frames; about 1 if static
    """

    scores: tuple[RepeatsScore, ...]
    movement: float

    @property
    def rmse(self) -> float:
        """Root mean squared error of both halves, ADU."""
        return float(np.sqrt(np.mean([each.rmse**2 for each in self.scores])))

    @property
    def standard_error(self) -> float:
        """Of `rmse`, ADU: the larger of that of parts, and that between the halves.

        Both halves show the same scene, so theirs are not independent.
        """
        within = max(each.standard_error for each in self.scores)
        both = [each.rmse for each in self.scores]
        return float(max(within, np.ptp(both) / 2))

    @property
    def psnr(self) -> float:
        """Mean PSNR of both halves, dB."""
        return float(np.mean([each.psnr for each in self.scores]))

    @property
    def psnr_error(self) -> float:
        """Standard error of the PSNR, dB."""
        return float(20 / np.log(10) * self.standard_error / self.rmse)

    @property
    def in_words(self) -> str:
        """Result and uncertainty in a sentence."""
        noisy = float(np.mean([each.noisy_rmse for each in self.scores]))
        if math.isnan(self.rmse):
            return (
                "The error is too small to be told: the mean of the other frames is "
                f"off by {self.scores[0].reference_rmse:.3g} grey values itself. "
                "Record more repeats."
            )
        return (
            f"Trained on one half of the frames and scored with the other, the result "
            f"is off by {self.rmse:.3g} ± {self.standard_error:.1g} grey values (root "
            f"mean square; noisy {noisy:.3g}): {self.psnr:.1f} ± {self.psnr_error:.1f} "
            f"dB. More frames to train on make it better."
        )


def check_with_repeats(
    frames: Frames,
    config: RunConfig,
    noise_source: NoiseSource | None = None,
    *,
    device: torch.device,
    stop: StopToken,
    other_devices: Sequence[torch.device] = (),
) -> Generator[Event, None, RepeatsCheck | None]:
    """Train twice, on each half of a recording, and score with the other half.

    Parameters
    ----------
    frames : of a static scene; every second frame belongs to the same half
    config : of both trainings
    noise_source : as for `train_denoiser`; must not come from these frames
    device, stop, other_devices : as for `train_denoiser`

    Yields
    ------
    PartStarted for each half, and the events of its training.

    Returns
    -------
    RepeatsCheck, or None if stopped.

    Raises
    ------
    BadData  If there are fewer than four frames, or the scene moves.
    BadSetting  If the method needs targets.
    """
    if config.needs_targets:
        raise BadSetting(
            f"The method {config.method} needs targets, so frames of one scene cannot "
            "check it. Choose refined, pn2v or n2v."
        )
    numbers = range(min(len(frames), MOST_FRAMES))
    if len(numbers) < FEWEST_FRAMES:
        raise BadData(
            f"There are {len(numbers)} frames; at least {FEWEST_FRAMES} of one static "
            "scene are needed, half of them to train on, half to score with."
        )
    stack = np.stack([frames.frame(n) for n in numbers]).astype(np.float32)
    ratio = movement(stack)
    if ratio > MOST_MOVEMENT:
        raise BadData(
            f"The scene is not static: over the recording it changes {ratio:.1f} times "
            f"as much as between successive frames (at most {MOST_MOVEMENT} is noise). "
            "Other frames are then no reference for its error. Record a fixed sample "
            "without bleaching, or rely on the expected error of the report."
        )
    scores = []
    for half, name in enumerate(HALVES):
        yield PartStarted(name, half, len(HALVES))
        mine, others = list(numbers[half::2]), list(numbers[1 - half :: 2])
        run = yield from train_denoiser(
            [frames.select(mine)],
            config,
            noise_source,
            device=device,
            stop=stop,
            other_devices=other_devices,
        )
        if run.is_stopped:
            return None
        denoised = yield from _denoised(run.denoiser.to(device), frames, mine, stop)
        if denoised is None:
            return None
        score = score_against_repeats(
            denoised,
            stack[mine],
            stack[others],
            scored=mine,
            referred=others,
            trained_on=mine,
        )
        scores.append(score)
    check = RepeatsCheck(tuple(scores), ratio)
    yield Notice(check.in_words)
    return check


def score_denoiser(
    denoiser: Denoiser,
    frames: Frames,
    trained_on: list[int],
    *,
    device: torch.device,
    stop: StopToken,
) -> Generator[Event, None, RepeatsScore | None]:
    """Score a trained denoiser on frames of a static scene, without training.

    Frames it was trained on are denoised and scored against the others; of frames it
    has not seen, the odd ones against the even ones.

    Parameters
    ----------
    trained_on : numbers of the frames it was trained on, empty for another recording

    Raises
    ------
    BadData  If it was trained on all frames, so that none is left to score with.
    """
    unseen = [n for n in range(len(frames)) if n not in set(trained_on)]
    if len(unseen) < 2:
        raise BadData(
            f"The model was trained on {len(frames) - len(unseen)} of these "
            f"{len(frames)} frames, so their noise is known to it and their mean is no "
            "reference: the figure would not be an estimate of its error. Train on "
            "every second frame, or use 'repeats', which does so."
        )
    scored = sorted(trained_on) or unseen[::2]
    referred = unseen if trained_on else unseen[1::2]
    denoised = yield from _denoised(denoiser.to(device), frames, scored, stop)
    if denoised is None:
        return None
    return score_against_repeats(
        denoised,
        np.stack([frames.frame(n) for n in scored]),
        np.stack([frames.frame(n) for n in referred]),
        scored=scored,
        referred=referred,
        trained_on=trained_on,
    )


def _denoised(
    denoiser: Denoiser, frames: Frames, numbers: list[int], stop: StopToken
) -> Generator[Event, None, Stack | None]:
    chosen = frames.select(numbers)
    result = np.empty((len(chosen), *chosen.shape), np.float32)

    def sink(index: int, rows: slice, columns: slice, block: RegionEstimate) -> None:
        result[index, rows, columns] = denoiser.result(block)

    done = yield from denoise_frames(denoiser, chosen, sink, tile_size=512, stop=stop)
    return result if done == len(chosen) else None
