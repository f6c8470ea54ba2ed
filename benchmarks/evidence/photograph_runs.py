"""Runs on the photographs of the Noise2Void paper: filters, networks, scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import peak_memory_mb
from evidence.classical import FILTERS, Searched, grid_search, shown
from evidence.methods import (
    METHODS,
    NOISY,
    PUBLISHED,
    Method,
    Size,
    published_noise_model,
    settings,
)
from evidence.photographs import PEAK, photographs, spread
from evidence.scoring import scores_of
from evidence.training import CPU, plan_steps, predict, train
from napari_ppn2v.core.devices import choose_device
from napari_ppn2v.pipeline.config import InferenceConfig, PriorConfig
from napari_ppn2v.pipeline.presets import preset

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evidence.data_sets import Task
    from napari_ppn2v.pipeline.config import RunConfig

Result = dict[str, Any]

WINDOWS = {
    f"{kind}-{side}": (kind, side) for kind in ("mean", "median") for side in (3, 5, 7)
}
"""Filters of the paper's sizes, each a row of its own."""

SLOW = ("nlm", "bm3d")
N_SEARCHED = 6  # images that choose h of non-local means; all choose for the Gaussian
PAPER_FILTERS, PAPER_BATCH, PAPER_STEPS = 96, 128, 200 * 400
N2N_BATCH = 16  # of the paper, section 4.1


def plan(
    data: str, method: str, seconds: float, size: dict[str, int], scene: dict[str, Any]
) -> Result:
    """Return the steps of a method that fill `seconds` CPU seconds."""
    chosen = METHODS[method]
    task = photographs(Path(data), **scene).tasks(chosen.family)[0]
    return {"steps": plan_steps(chosen, task, [seconds], Size(**size))[0]}


def score(
    data: str,
    method: str,
    scene: dict[str, Any],
    *,
    steps: int = 0,
    size: dict[str, int] | None = None,
    is_full: bool = False,
    device: str = "cpu",
    shared: str | None = None,
    estimates: str | None = None,
) -> Result:
    """Denoise the test photographs with one method and score them.

    Parameters
    ----------
    method : name in `METHODS` or `WINDOWS`
    scene : arguments of `photographs`
    is_full : the settings of the paper instead of `steps` and `size`
    shared : folder of Noise2Void networks that methods have in common
    estimates : file to keep the denoised images in, for pictures

    Returns
    -------
    `images`: number and scores of each image; `costs`: seconds, memory, steps.
    """
    source = photographs(Path(data), **scene)
    family = METHODS[method].family if method in METHODS else "classical"
    task = source.tasks(family)[0]
    if family == "classical":
        results, costs = filtered(method, task, scene.get("sigma", 25.0))
    else:
        chosen = METHODS[method]
        seed = scene.get("repeat", 0)
        trained = train(
            chosen,
            task,
            seed=seed,
            n_steps=steps,
            size=Size(**(size or {})),
            config=paper_settings(chosen, seed, task.training) if is_full else None,
            device=choose_device(device) if device != "cpu" else CPU,
            shared=Path(shared) if shared else None,
        )
        results, per_megapixel = predict(trained.denoiser, task.scored)
        costs = {
            "train CPU s": sum(trained.seconds.values()),
            "predict CPU s per megapixel": per_megapixel,
            "steps": sum(trained.steps.values()),
            "estimate": estimate_words(trained.denoiser),
        }
    costs["peak MB"] = peak_memory_mb()
    if estimates:
        keep_estimates(Path(estimates), task.images, results)
    found = scores_of(results, task, source.data_range)
    images = [
        {"image": number, **scores}
        for number, scores in zip(task.images, found, strict=True)
    ]
    return {"images": images, "costs": costs}


def estimate_words(denoiser: Any) -> str:
    """Say which estimate a denoiser gives, and with which noise model."""
    noise_model = denoiser.noise_model
    kind = "" if noise_model is None else f", {type(noise_model).__name__}"
    return f"{'blind ' if denoiser.is_blind else ''}{denoiser.estimate}{kind}"


# --- Filters ---------------------------------------------------------------------


def filtered(name: str, task: Task, sigma: float) -> tuple[list[NDArray], Result]:
    """Filter the scored images.

    BM3D knows the standard deviation of the noise and nothing is searched for;
    non-local means knows it too and searches its h, as Krull et al. 2019 do.
    """
    if name == NOISY.name:
        return list(task.scored), {"estimate": "as it came"}
    kind, side = WINDOWS.get(name, (name, None))
    method = FILTERS[kind].with_known_noise(sigma)
    if side is not None:
        method = replace(method, grid=((("size", side),),))
    elif kind == "bm3d":
        method = replace(method, grid=((("strength", 1.0), ("noise_sd", sigma)),))
    elif kind == "nlm":
        smallest = [p for p in method.grid if _windows(p) == (5, 6)]
        method = replace(method, grid=tuple(smallest))
    found = _searched(method, task)
    return found.estimates, {
        "predict CPU s per megapixel": found.cpu_seconds_per_megapixel,
        "estimate": shown(found.parameters),
    }


def _windows(point: Any) -> tuple[int, int]:
    values = dict(point)
    return values["patch"], values["distance"]


def _searched(method: Any, task: Task) -> Searched:
    """Search on all images, or on a few where that takes long."""
    n_searched = N_SEARCHED if method.name in SLOW else None
    if len(method.grid) == 1:
        n_searched = 1  # nothing needs trying
    return grid_search(
        method,
        task.scored,
        task.truth,
        data_range=PEAK,
        search_on=spread(len(task.scored), n_searched),
    )


# --- The paper's own settings ----------------------------------------------------


def paper_settings(method: Method, seed: int, observations: NDArray) -> RunConfig:
    """Return the settings of Krull et al. 2019, section 4.1, for one method.

    96 filters, batches of 128 patches of 64² (Noise2Noise: 16), 200 epochs of 400
    steps. PN2V *as published* is trained so too, with 800 free samples. What is ours
    has the same number of filters, patches and steps with our own training.
    """
    if method.group in ("n2n", "care"):
        config = preset("paper-n2v-bsd68", method=method.group, seed=seed)
        if method.group == "n2n":
            training = replace(config.pretraining, batch_size=N2N_BATCH)
            config = replace(config, pretraining=training)
        return config
    if method.way != PUBLISHED:
        size = Size(n_filters=PAPER_FILTERS, batch_size=PAPER_BATCH)
        return settings(method, seed, observations, size).with_steps(PAPER_STEPS)
    config = preset("paper-n2v-bsd68", seed=seed)
    if method.noise_model == "":
        return config
    return replace(
        config,
        method="pn2v",
        prior=PriorConfig(kind="free", n_samples=800),
        noise_model=published_noise_model(method.noise_model, observations),
        starts_from_n2v=False,
        pseudo_ground_truth="one-pass",
        inference=InferenceConfig(estimate="mmse", blind="no"),
    )


# --- Estimates on the disk -------------------------------------------------------


def keep_estimates(path: Path, numbers: tuple[int, ...], images: list[NDArray]) -> None:
    """Keep images of any shapes by their numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {
        str(number): np.asarray(image, np.float32)
        for number, image in zip(numbers, images, strict=True)
    }
    np.savez(path, **named)  # type: ignore[arg-type]


def kept_estimates(path: Path) -> dict[int, NDArray]:
    """Read what `keep_estimates` kept."""
    with np.load(path) as file:
        return {int(name): file[name] for name in file.files}
