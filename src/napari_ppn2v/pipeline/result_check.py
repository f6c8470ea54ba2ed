"""Can the result be believed: residual, expected error and uncertainty of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.checks.findings import Finding
from napari_ppn2v.core.expected_error import (
    VARIANCE_UNCERTAINTY,
    ErrorSums,
    ExpectedErrors,
    error_sums,
    expected_errors,
)
from napari_ppn2v.core.frames import evenly_spread
from napari_ppn2v.core.noise_models.shared import simulated
from napari_ppn2v.core.residual_findings import residual_findings
from napari_ppn2v.core.residuals import ResidualCheck, ResidualTally
from napari_ppn2v.core.tiling import middle
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import StageFinished, StageStarted, StepDone
from napari_ppn2v.pipeline.passes import pass_by_pass

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.inference import RegionEstimate
    from napari_ppn2v.core.leftovers import LeftoverMap
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

    Image = NDArray[np.float32]

STAGE = "result check"
MOST_IMAGES = 24
SIDE = 512
"""Images are looked at in their middle, at most this many pixels wide and high."""


@dataclass(frozen=True)
class ShownImage:
    """The image with the most structure left, for pictures; all (Y, X), ADU.

    Attributes
    ----------
    source, frame : number of the recording and of the frame in it
    observation, denoised : of the part looked at
    posterior_std : None where there is none
    leftover : where structure was left
    """

    source: int
    frame: int
    observation: Image
    denoised: Image
    posterior_std: Image | None
    leftover: LeftoverMap


@dataclass(frozen=True)
class ResultCheck:
    """What can be said of a result without ground truth.

    Attributes
    ----------
    images : (source, frame) of each image looked at
    residual : of all of them
    errors : expected error of each
    std_factor : by which the posterior standard deviation is to be multiplied, so that
        its mean square is the expected error; None where either is not there
    findings : in words, with verdicts
    shown : the image with the most structure left
    is_bootstrapped : whether the noise model was fitted to the same data
    """

    images: tuple[tuple[int, int], ...]
    residual: ResidualCheck
    errors: ExpectedErrors
    std_factor: float | None
    findings: tuple[Finding, ...]
    shown: ShownImage
    is_bootstrapped: bool


def check_result(
    denoiser: Denoiser,
    sources: Sequence[Frames],
    *,
    stop: StopToken,
    seed: int = 0,
    noise_correlation: float = 0.0,
    is_bootstrapped: bool = True,
) -> Generator[Event, None, ResultCheck | None]:
    """Denoise some images and as many simulated ones, and judge what comes of it.

    Parameters
    ----------
    denoiser : as it is applied; its noise model is the yardstick
    sources : recordings it was applied to; at most 24 frames are looked at, spread
        evenly over all
    noise_correlation : between neighbouring pixels, where it was measured
    is_bootstrapped : whether the noise model was fitted to the same data

    Yields
    ------
    StepDone for each image.

    Returns
    -------
    ResultCheck, or None if stopped before the first image was done.

    Raises
    ------
    BadSetting  If the model has no noise model to check with.
    """
    if denoiser.noise_model is None:
        raise BadSetting(
            "This model has no noise model (methods n2v, care and n2n), so it cannot "
            "be said how strong the noise is that it should have removed. Train with "
            "method refined or pn2v to have the result checked."
        )
    images = chosen_images(sources)
    look = _Look(denoiser, denoiser.noise_model.to("cpu"), seed)
    yield StageStarted(STAGE, len(images))
    for number, (source, frame) in enumerate(images):
        yield from look.at(sources[source], source, frame, stop)
        if stop.is_stopped:
            break
        yield StepDone(STAGE, number + 1, len(images))
    if look.shown is None:
        return None
    yield StageFinished(STAGE, 0.0)
    residual = look.tally.result()
    errors = expected_errors(
        look.sums,
        noise_correlation=noise_correlation,
        variance_uncertainty=None if is_bootstrapped else VARIANCE_UNCERTAINTY,
    )
    return ResultCheck(
        images=tuple(images[: len(look.sums)]),
        residual=residual,
        errors=errors,
        std_factor=look.std_factor(errors),
        findings=(
            *residual_findings(residual),
            error_finding(errors, is_bootstrapped=is_bootstrapped),
        ),
        shown=look.shown,
        is_bootstrapped=is_bootstrapped,
    )


def chosen_images(sources: Sequence[Frames]) -> list[tuple[int, int]]:
    """Return (source, frame) of at most 24 frames, spread evenly over all sources."""
    everything = [(s, f) for s, each in enumerate(sources) for f in range(len(each))]
    return [everything[i] for i in evenly_spread(len(everything), MOST_IMAGES)]


def error_finding(errors: ExpectedErrors, *, is_bootstrapped: bool) -> Finding:
    """Put the expected error into words."""
    if errors.rmse is None or errors.psnr is None:
        return Finding(
            "expected error",
            "careful",
            {},
            f"The error of the result cannot be told. {errors.reason}.",
            "Check the data; a repeats check of a static scene can tell it.",
        )
    told = errors.told
    low, high = (
        float(np.sqrt(np.mean([getattr(each, name) ** 2 for each in told])))
        for name in ("low", "high")
    )
    figures = {
        "rmse_adu": errors.rmse,
        "rmse_low_adu": low,
        "rmse_high_adu": high,
        "psnr_db": errors.psnr,
        "rmse_from_variance_alone_adu": errors.from_variance,
    }
    sentence = (
        f"The result is off by about {errors.rmse:.3g} grey values per pixel (root "
        f"mean square; {low:.3g} to {high:.3g}), a PSNR of {errors.psnr:.1f} dB over "
        "the range of the denoised image."
    )
    advice = (
        "The noise model comes from the same data, so detail of single pixels that the "
        "network lost counts as noise and not as error."
        if is_bootstrapped
        else ""
    )
    return Finding("expected error", "fine", figures, sentence, advice)


class _Look:
    """Looks at image after image."""

    def __init__(self, denoiser: Denoiser, noise_model: NoiseModel, seed: int) -> None:
        self.denoiser, self.noise_model = denoiser, noise_model
        self.tally = ResidualTally(noise_model, seed=seed)
        self.sums: list[ErrorSums] = []
        self.shown: ShownImage | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._variances: list[float] = []

    def at(
        self, frames: Frames, source: int, frame: int, stop: StopToken
    ) -> Generator[Event, None, None]:
        """Denoise one image and a simulated one, and count them."""
        rows, columns = (middle(side, SIDE) for side in frames.shape)
        x = np.asarray(frames.region(frame, rows, columns), np.float32)
        done = StepDone(STAGE, frame, 0)
        estimate = yield from pass_by_pass(self.denoiser.image_passes(x), done, stop)
        if estimate is None:
            return
        f = self.denoiser.result(estimate)
        observed, variance = simulated(self.noise_model, f, self._generator)
        passes = self.denoiser.image_passes(observed)
        again = yield from pass_by_pass(passes, done, stop)
        if again is None:
            return
        fitted = self.denoiser.result(again)
        self.sums.append(error_sums(x, f, observed, fitted, variance))
        found = self.tally.add(x, f, observed, fitted)
        std = self._spread(estimate)
        if self.shown is None or found.share > self.shown.leftover.share:
            self.shown = ShownImage(source, frame, x, f, std, found)

    def _spread(self, estimate: RegionEstimate) -> Image | None:
        if not self.denoiser.gives_posterior_std or estimate.posterior_std is None:
            return None
        self._variances.append(float(np.mean(estimate.posterior_std**2)))
        return estimate.posterior_std

    def std_factor(self, errors: ExpectedErrors) -> float | None:
        if errors.rmse is None or not self._variances:
            return None
        std = float(np.sqrt(np.mean(self._variances)))
        return errors.rmse / std if std > 0 else None
