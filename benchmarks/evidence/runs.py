"""What a run of each kind does; arguments and results are plain values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import cpu_seconds, peak_memory_mb
from evidence.data_sets import load
from evidence.methods import METHODS, NOISY, Size
from evidence.scoring import scores_of
from evidence.training import plan_steps, predict, train

if TYPE_CHECKING:
    from evidence.data_sets import DataSet, Task

Result = dict[str, Any]
SEARCHED, SEARCHED_SIDE = {"bm3d": 4, "nlm": 4}, 256
"""Images that choose the parameters of a slow filter, and the side of what is taken of
each, in pixels; whole images, all of them, for the others."""


def plan(
    data: str,
    data_set: str,
    method: str,
    budgets: list[float],
    size: dict[str, int] | None = None,
) -> Result:
    """Return the steps of a method that fill each budget of CPU seconds."""
    chosen = METHODS[method]
    task = load(Path(data), data_set).tasks(chosen.family)[0]
    return {"steps": plan_steps(chosen, task, budgets, Size(**(size or {})))}


def score(
    data: str,
    data_set: str,
    method: str,
    part: str,
    repeat: int,
    steps: int = 0,
    size: dict[str, int] | None = None,
    shared: str | None = None,
    estimates: str | None = None,
) -> Result:
    """Train one method on one part of a data set and score it.

    Parameters
    ----------
    part : name of the task
    repeat : number of the repeat, the seed of everything random
    size : of network and batches, see `evidence.methods.Size`
    shared : folder of Noise2Void networks that methods have in common
    estimates : file to keep the denoised images in, for pictures

    Returns
    -------
    `images`: number and scores of each image; `costs`: seconds, memory, steps.
    """
    source = load(Path(data), data_set)
    chosen = METHODS[method]
    task = next(t for t in source.tasks(chosen.family) if t.name == part)
    if chosen.family == "classical":
        results, costs = _filter(method, task, source)
    else:
        trained = train(
            chosen,
            task,
            seed=repeat,
            n_steps=steps,
            size=Size(**(size or {})),
            shared=Path(shared) if shared else None,
        )
        results, per_megapixel = predict(trained.denoiser, task.scored)
        costs = {
            "train CPU s": sum(trained.seconds.values()),
            "predict CPU s per megapixel": per_megapixel,
            "steps": sum(trained.steps.values()),
            "estimate": _estimate(trained.denoiser),
        }
    costs["peak MB"] = peak_memory_mb()
    if estimates:
        path = Path(estimates)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, images=np.array(task.images), estimates=np.stack(results))
    found = scores_of(results, task, source.data_range)
    images = [
        {"image": number, **scores}
        for number, scores in zip(task.images, found, strict=True)
    ]
    return {"images": images, "costs": costs}


def _filter(name: str, task: Task, source: DataSet) -> tuple[list, Result]:
    if name == NOISY.name:
        return list(task.scored), {"estimate": "as recorded"}
    from evidence.classical import FILTERS, grid_search, shown

    if name not in SEARCHED:
        found = grid_search(
            FILTERS[name], task.scored, task.truth, data_range=source.data_range
        )
        return found.estimates, {
            "predict CPU s per megapixel": found.cpu_seconds_per_megapixel,
            "estimate": shown(found.parameters),
        }
    # the curve of the noise is that of all images; the parameters are those of a few
    method = FILTERS[name].adapted_to(list(task.scored))
    last = len(task.scored) - 1
    some = sorted({int(i) for i in np.linspace(0, last, SEARCHED[name])})
    part = (slice(0, SEARCHED_SIDE), slice(0, SEARCHED_SIDE))
    found = grid_search(
        method,
        [task.scored[i][part] for i in some],
        [task.truth[i][part] for i in some],
        data_range=source.data_range,
    )
    began = cpu_seconds()
    results = [method.apply(image, found.parameters) for image in task.scored]
    megapixels = sum(image.size for image in task.scored) / 1e6
    return results, {
        "predict CPU s per megapixel": (cpu_seconds() - began) / megapixels,
        "estimate": shown(found.parameters),
    }


def _estimate(denoiser: Any) -> str:
    noise_model = denoiser.noise_model
    kind = "" if noise_model is None else f", {type(noise_model).__name__}"
    return f"{'blind ' if denoiser.is_blind else ''}{denoiser.estimate}{kind}"
