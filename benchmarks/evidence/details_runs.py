"""Train one method and measure what it invents, loses and resolves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evidence.data_sets import load
from evidence.details_scenes import (
    CAMERAS,
    HEIGHTS,
    LEVELS,
    SHAPES,
    add_peaks,
    expose_with_and_without,
    flat_fields,
    left_of_noise,
    recovered_heights,
    scored_task,
)
from evidence.methods import METHODS, NOISY, Size
from evidence.photograph_runs import estimate_words
from evidence.pictures import window
from evidence.scoring import scores_of
from evidence.spectra import band_errors, fourier_ring_correlation, mean_curve
from evidence.training import predict, train
from napari_ppn2v.core.camera import Camera
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models.fitting import fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.events import drain

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from evidence.data_sets import DataSet, Task

    Denoise = Callable[[NDArray], NDArray]

Rows = list[dict[str, Any]]
Crops = dict[str, list]

N_FLAT, FLAT_SIDE = 2, 256  # images of each level, and their side in pixels
SHOWN_LEVEL, SHOWN_SHAPE, CROP = 50, "point source", 96  # what pictures show
DRAWN_RINGS = 25  # of the curve that is drawn; the crossing is found with finer ones


def fit_camera(data: str, data_set: str) -> dict[str, Any]:
    """Return the camera of a data set: exact where simulated, otherwise fitted.

    A recording's is an EMCCD camera of highest likelihood for the pairs (truth,
    observation) of all its images. It exposes what methods are measured on and none
    of them learns from it.
    """
    if data_set in CAMERAS:
        return asdict(CAMERAS[data_set])
    everything = load(Path(data), data_set).tasks("unsupervised")[0]
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        everything.truth, everything.scored
    )
    fit = drain(fit_noise_model(pairs, NoiseModelConfig(kind="poisson-gamma")))
    model: Any = fit.model
    return asdict(
        Camera(
            kind="emccd",
            gain=model.gain,
            offset=model.offset,
            read_noise=model.read_noise,
        )
    )


def run(
    data: str,
    data_set: str,
    method: str,
    repeat: int,
    camera: dict[str, Any],
    steps: int = 0,
    size: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Train one method once and measure it.

    Parameters
    ----------
    method : name in `METHODS`; "noisy" measures the noisy images themselves
    repeat : seed of the training, and of the exposures, which are those of all methods
    camera : settings of the camera that exposes flat fields and peaks
    steps : of the training, all stages together

    Returns
    -------
    `measures`: rows of measure, place and value; `costs`; `crops` of the first repeat
    for pictures, as lists.
    """
    source = load(Path(data), data_set)
    denoise, costs = _denoiser(source, method, repeat, steps, size)
    scored = scored_task(source)
    exposing = Camera(**camera)
    # all methods see the same exposures, so that differences are of the methods
    flat_rng, peak_rng = (np.random.default_rng([repeat, k]) for k in (1, 2))
    everything = source.tasks("unsupervised")[0].truth
    flats, crops = _measure_flats(denoise, exposing, everything, flat_rng)
    peaks, more = _measure_peaks(denoise, exposing, scored, peak_rng)
    rows = [*flats, *peaks, *_measure_detail(denoise, scored, source.data_range)]
    crops = {**crops, **more} if repeat == 0 else {}
    return {"measures": rows, "costs": costs, "crops": crops}


def _denoiser(
    source: DataSet, method: str, repeat: int, steps: int, size: dict[str, int] | None
) -> tuple[Denoise, dict[str, Any]]:
    if method == NOISY.name:
        return np.asarray, {"train CPU s": "", "estimate": "as recorded"}
    chosen = METHODS[method]
    task = source.tasks(chosen.family)[0]
    trained = train(chosen, task, seed=repeat, n_steps=steps, size=Size(**(size or {})))
    costs = {
        "train CPU s": sum(trained.seconds.values()),
        "estimate": estimate_words(trained.denoiser),
    }
    return lambda images: np.stack(predict(trained.denoiser, images)[0]), costs


def _row(measure: str, at: Any, value: float) -> dict[str, Any]:
    return {"measure": measure, "at": str(at), "value": float(value)}


def _measure_flats(
    denoise: Denoise, camera: Camera, truth: NDArray, rng: np.random.Generator
) -> tuple[Rows, Crops]:
    rows: Rows = []
    crops: Crops = {}
    side = min(FLAT_SIDE, *truth.shape[1:])
    for percent in LEVELS:
        signal, variance = camera.moments(np.percentile(truth, percent))
        level, noise = float(signal), float(np.sqrt(variance))
        flats = flat_fields(camera, level, n=N_FLAT, size=side, rng=rng)
        outputs = denoise(flats)
        left, bias = left_of_noise(outputs, level, noise)
        rows += [
            _row("flat signal", percent, level),
            _row("flat noise", percent, noise),
            _row("flat noise left", percent, left),
            _row("flat bias", percent, bias),
        ]
        if percent == SHOWN_LEVEL:
            crops = {"flat/noisy": _crop(flats[0]), "flat": _crop(outputs[0])}
    return rows, crops


def _measure_peaks(
    denoise: Denoise, camera: Camera, task: Task, rng: np.random.Generator
) -> tuple[Rows, Crops]:
    signal = camera.moments(task.truth)[0]  # not below the signal without light
    placed = {
        name: add_peaks(signal, camera, width, rng) for name, width in SHAPES.items()
    }
    lights = [peaks.light for peaks in placed.values()]
    plain, exposed = expose_with_and_without(camera, signal, lights, rng)
    without = denoise(plain)
    rows: Rows = []
    crops: Crops = {}
    for (name, peaks), seen in zip(placed.items(), exposed, strict=True):
        outputs = denoise(seen)
        shares = recovered_heights(outputs, without, peaks)
        rows += [
            _row(f"recovered {name}", f"{height:g}", share)
            for height, share in zip(HEIGHTS, shares, strict=True)
        ]
        rows.append(_row(f"peaks {name}", "all", len(peaks.heights)))
        if name == SHOWN_SHAPE:
            crops = {
                "peaks/truth": _crop((signal + peaks.light)[0]),
                "peaks/noisy": _crop(seen[0]),
                "peaks": _crop(outputs[0]),
            }
    return rows, crops


def _measure_detail(denoise: Denoise, task: Task, data_range: float | None) -> Rows:
    outputs = denoise(task.scored)
    pairs = list(zip(outputs, task.truth, strict=True))
    finest = [fourier_ring_correlation(o, t).falls_to() for o, t in pairs]
    errors = np.mean([band_errors(o, t) for o, t in pairs], axis=0)
    curve = mean_curve([fourier_ring_correlation(o, t, DRAWN_RINGS) for o, t in pairs])
    scores = scores_of(list(outputs), task, data_range)
    rows = [_row("finest detail", "all", np.mean(finest))]
    rows += [_row("spectral error", band, error) for band, error in enumerate(errors)]
    for name in ("psnr", "ssim"):
        rows.append(_row(name, "all", np.mean([score[name] for score in scores])))
    rows += [
        _row("frc", f"{frequency:.3f}", value)
        for frequency, value in zip(curve.frequency, curve.correlation, strict=True)
    ]
    return rows


def _crop(image: NDArray) -> list:
    middle = [side // 2 for side in image.shape]
    place = window(image.shape, *middle, CROP)
    return np.asarray(image[place], float).round(3).tolist()
