"""Choosing estimate and inference for a trained model, without ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.noise_models.shared import simulated
from napari_ppn2v.core.risk import Risk, estimated_risk
from napari_ppn2v.core.std_calibration import StdCalibration, StdTally
from napari_ppn2v.events import Event, StepDone
from napari_ppn2v.pipeline.passes import pass_by_pass

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.stop import StopToken

STAGE = "inference choice"
CROP = 256
MAX_CROPS = 12
WORDS = {
    ("refined", False): "refined MMSE",
    ("prior-mean", False): "prior mean in one pass",
    ("prior-mean", True): "blind prior mean",
    ("mmse", False): "MMSE in one pass",
    ("mmse", True): "blind MMSE",
}


@dataclass(frozen=True, slots=True)
class InferenceChoice:
    """The estimate and inference to use, and the figures behind the choice.

    `risks` maps (estimate, is_blind) to the estimated mean squared error, ADU²;
    `std_calibration` brings the uncertainty of the estimate to its errors, None where
    there is no uncertainty.
    """

    estimate: str
    is_blind: bool
    reason: str
    risks: dict[tuple[str, bool], Risk]
    std_calibration: StdCalibration | None = None


def choose_inference(
    denoiser: Denoiser,
    images: list[NDArray[np.float32]],
    options: list[tuple[str, bool]],
    *,
    seed: int,
    stop: StopToken,
) -> Generator[Event, None, InferenceChoice | None]:
    """Compare estimates on real crops by their risk under the noise model.

    Parameters
    ----------
    denoiser : with a noise model
    images : (Y, X) each, ADU; at most 12 crops of 256² are looked at
    options : the (estimate, is_blind) that may be chosen
    seed : of the crops and the simulated observations
    stop : the crops done by then decide

    Returns
    -------
    InferenceChoice, or None if stopped before the first crop was done.

    Notes
    -----
    See `napari_ppn2v.core.risk`. Where the noise model is wrong, so is its risk: a
    variance 1 % too small makes estimates that use the observation itself look
    better by 2 % of their covariance with it.
    """
    noise_model = denoiser.noise_model
    assert noise_model is not None
    noise_model = noise_model.to("cpu")
    generator = torch.Generator().manual_seed(seed)
    ways = {
        (name, blind): replace(denoiser, estimate=name, is_blind=blind)
        for name, blind in options
    }
    outcomes: dict[tuple[str, bool], list[NDArray]] = {key: [] for key in options}
    tallies = {key: StdTally() for key in options}
    crops = _crops(images, np.random.default_rng(seed))
    for number, crop in enumerate(crops):
        done = StepDone(STAGE, number, len(crops))
        found = yield from _results(ways, crop, done, stop)
        if found is None:
            break
        results = {key: ways[key].result(each) for key, each in found.items()}
        signal = results[options[0]]
        observed, variance = simulated(noise_model, signal, generator)
        again = yield from _results(ways, observed, done, stop)
        if again is None:
            break
        for key, other in again.items():
            repeated, std = ways[key].result(other), found[key].posterior_std
            fields = [results[key], crop, repeated, observed, signal, variance]
            outcomes[key].append(np.stack(fields).reshape(6, -1))
            if std is not None and ways[key].gives_posterior_std:
                shown = (std, crop, results[key], observed, repeated, signal)
                tallies[key].add(*shown)
        yield StepDone(STAGE, number + 1, len(crops))
    if not outcomes[options[0]]:
        return None
    best = _best(outcomes)
    key = best.estimate, best.is_blind
    return replace(best, std_calibration=tallies[key].result(*key))


def _best(outcomes: dict[tuple[str, bool], list[NDArray]]) -> InferenceChoice:
    risks = {
        key: estimated_risk(*np.concatenate(parts, axis=1))
        for key, parts in outcomes.items()
    }
    best = min(risks, key=lambda key: risks[key].mean_squared_error)
    figures = ", ".join(f"{WORDS[key]} {_shown(risk)}" for key, risk in risks.items())
    reason = (
        f"{WORDS[best]}: lowest error expected under the noise model "
        f"(root mean square in grey values: {figures})"
    )
    return InferenceChoice(*best, reason, risks)


def _shown(risk: Risk) -> str:
    """Root of a risk; below zero where the noise model takes the noise for stronger."""
    square = risk.mean_squared_error
    return f"{square**0.5:.4g}" if square > 0 else "less than can be told"


def _results(
    ways: dict[tuple[str, bool], Denoiser],
    image: NDArray[np.float32],
    done: StepDone,
    stop: StopToken,
) -> Generator[Event, None, dict[tuple[str, bool], RegionEstimate] | None]:
    """Denoise in each way; what several ways share is computed once.

    Yields `done` after each pass of the network; returns None if stopped.
    """
    estimates: dict[tuple[bool, bool], RegionEstimate] = {}
    results = {}
    for (name, is_blind), way in ways.items():
        shared = (name == "refined", is_blind)
        if shared not in estimates:
            found = yield from pass_by_pass(way.image_passes(image), done, stop)
            if found is None:
                return None
            estimates[shared] = found
        results[name, is_blind] = estimates[shared]
    return results


def _crops(
    images: list[NDArray[np.float32]], rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    chosen = rng.permutation(len(images))[:MAX_CROPS]
    crops: list[NDArray[np.float32]] = []
    for repeat in range(-(-MAX_CROPS // max(1, len(chosen)))):
        for index in chosen:
            image = images[index]
            if len(crops) == MAX_CROPS or (repeat and min(image.shape) <= CROP):
                continue
            y, x = (int(rng.integers(0, max(1, n - CROP + 1))) for n in image.shape)
            crops.append(image[y : y + CROP, x : x + CROP])
    return crops
