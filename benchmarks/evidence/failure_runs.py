"""Train on a scene on which a method must fail, and measure how it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.failure_scenes import (
    HEIGHTS,
    NOISE_SD,
    Scene,
    patterned_photographs,
    puncta,
    two_photon,
    two_photon_shuffled,
)
from evidence.measures import (
    frame_differences,
    neighbour_correlation,
    recovered_fraction,
    surviving_fluctuation,
    surviving_share,
)
from evidence.methods import METHODS, Size
from evidence.photograph_runs import estimate_words
from evidence.photographs import PEAK
from evidence.pictures import busiest_window, keep_crops, window
from evidence.training import predict, train
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.metrics import psnr
from napari_ppn2v.events import Event, Notice, drain
from napari_ppn2v.pipeline.data_check import check_stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Values = dict[str, float]

PUNCTA, PATTERN, REAL, SHUFFLED = "puncta", "pattern", "two-photon", "shuffled"
SCENES: dict[str, Callable[[Path], Scene]] = {
    PUNCTA: lambda folder: puncta(),
    PATTERN: patterned_photographs,
    REAL: two_photon,
    SHUFFLED: two_photon_shuffled,
}
WITH_TARGETS = (PUNCTA, PATTERN)
RECORDED = "noisy"
CROPPED = {PUNCTA: 64, PATTERN: 96, REAL: 96, SHUFFLED: 96}
"""Side of the crops, pixels: single pixels are to be seen."""

Images = list["NDArray[np.float32]"]


def run(
    data: str, case: str, method: str, steps: int, repeat: int, crops: str, filters: int
) -> dict[str, Any]:
    """Train one method on one scene.

    Parameters
    ----------
    case : name in `SCENES`
    method : name in `METHODS`; "noisy" measures and checks the noisy images themselves
    crops : file to which pictures of the first repeat are added

    Returns
    -------
    `measures`: estimate -> measure -> value, the method's own estimate and, of
    Noise2Void on single bright pixels, the blind one; `notices`: what the program
    said while it trained, of "noisy" what its check of the data found; `costs`.
    """
    scene = SCENES[case](Path(data))
    notices: list[str] = []
    costs: dict[str, Any] = {"train CPU s": "", "estimate": ""}
    if method == RECORDED:
        estimates = {method: list(scene.task.scored)}
        notices += _findings(scene.task.training)
    else:
        trained = train(
            METHODS[method],
            scene.task,
            seed=repeat,
            n_steps=steps,
            size=Size(n_filters=filters),
            on_event=lambda event: _note(event, notices),
        )
        denoiser = trained.denoiser
        estimates = {method: predict(denoiser, scene.task.scored)[0]}
        if case == PUNCTA and METHODS[method].group in ("n2v", "n2v, p"):
            blind = replace(denoiser, is_blind=True)
            estimates[f"{method}, blind"] = predict(blind, scene.task.scored)[0]
        costs = {
            "train CPU s": sum(trained.seconds.values()),
            "estimate": estimate_words(denoiser),
        }
    if repeat == 0:
        _keep_crops(Path(crops), case, scene, estimates)
    found = {name: MEASURES[case](scene, images) for name, images in estimates.items()}
    return {"measures": found, "notices": notices, "costs": costs}


def _note(event: Event, notices: list[str]) -> None:
    if isinstance(event, Notice):
        notices.append(event.message)


def _findings(noisy: NDArray) -> list[str]:
    """Return what the check of the data finds amiss, as a user reads it."""
    check = drain(check_stack(as_frames(noisy, "TYX")))
    return [
        f"{finding.name}, {finding.verdict}: {finding.in_words}"
        for finding in check.findings
        if finding.is_important
    ]


def _keep_crops(
    path: Path, case: str, scene: Scene, estimates: dict[str, Images]
) -> None:
    task, number = scene.task, scene.shown
    if case == PATTERN:
        place = busiest_window(task.truth[number], CROPPED[case])
    else:
        middle = [side // 2 for side in task.scored[number].shape]
        place = window(task.scored[number].shape, *middle, CROPPED[case])
    kept = {
        f"{case}/{name}": images[number][place] for name, images in estimates.items()
    }
    if case in WITH_TARGETS:
        kept[f"{case}/truth"] = task.truth[number][place]
    keep_crops(path, kept)


# --- What is measured ------------------------------------------------------------


def _of_puncta(scene: Scene, estimates: Images) -> Values:
    """Recovered fraction for each height, and the error beside the puncta."""
    heights, background = scene.parts["heights"], scene.parts["background"]
    found = np.stack(estimates)
    values = {}
    for height in HEIGHTS:
        chosen = np.where(np.isclose(heights, height * NOISE_SD), heights, 0)
        name = recovered_name(height)
        values[name] = recovered_fraction(found, background, chosen)
    beside = heights == 0
    errors = (found - background)[beside]
    return {**values, "error beside": float(np.sqrt(np.mean(errors**2)))}


def recovered_name(height: float) -> str:
    """Return the name of the recovered fraction of one height."""
    return f"recovered at {height:g} sd"


def _of_pattern(scene: Scene, estimates: Images) -> Values:
    task = scene.task
    pairs = zip(estimates, task.truth, strict=True)
    return {
        "pattern left": surviving_share(estimates, task.truth, scene.parts["pattern"]),
        "noise left": surviving_share(estimates, task.truth, scene.parts["noise"]),
        "psnr": float(np.mean([psnr(e, t, PEAK).mean for e, t in pairs])),
    }


def _of_frames(scene: Scene, estimates: Images) -> Values:
    """Differences of frames hold the noise, and what moved, without the scene."""
    after = np.stack(estimates)
    differences = frame_differences(after)
    return {
        "correlation along x": neighbour_correlation(differences, 2),
        "correlation along y": neighbour_correlation(differences, 1),
        "fluctuation left": surviving_fluctuation(scene.task.scored, after),
    }


MEASURES: dict[str, Callable[[Scene, Images], Values]] = {
    PUNCTA: _of_puncta,
    PATTERN: _of_pattern,
    REAL: _of_frames,
    SHUFFLED: _of_frames,
}
