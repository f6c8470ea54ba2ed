"""The recordings of the PPN2V paper, with the settings that were published for them.

They are downloaded once, by the package's own samples, into the folder of the data
sets. Truth is the mean of all frames of the static scene, as published: a hundredth of
a scored frame's own noise is in it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evidence.data_sets import DataSet, Repeats, Task
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.files.downloads import fetch
from napari_ppn2v.files.images import open_image
from napari_ppn2v.sample_data import DATA_SETS as SAMPLES

if TYPE_CHECKING:
    from pathlib import Path

    from evidence.data_sets import Stack


@dataclass(frozen=True)
class Published:
    """What was published for a recording.

    Attributes
    ----------
    rows, columns : ends of the scored crop, which begins at 0; None for the whole side
    low, high, n_bins : range (ADU) and bins of the histogram
    variance_floor : ADU², of the mixture
    figures : PSNR (dB) of Table 1, by name of a method of ours
    """

    rows: int | None
    columns: int | None
    low: float
    high: float
    n_bins: int
    variance_floor: float
    figures: dict[str, float]

    @property
    def noise_models(self) -> dict[str, NoiseModelConfig]:
        """Settings of both kinds of noise model."""
        return {
            "histogram": NoiseModelConfig(
                kind="histogram",
                n_bins=self.n_bins,
                data_range=(self.low, self.high),
                is_plain_histogram=True,
                trim_percent=0.0,
            ),
            "gmm": NoiseModelConfig(
                kind="gmm",
                n_components=3,
                n_coefficients=2,
                variance_floor=self.variance_floor,
            ),
        }


def _figures(*values: float) -> dict[str, float]:
    names = (
        "care",
        "histogram-calibrated-published",
        "gmm-calibrated-published",
        "n2v-published",
        "histogram-bootstrapped-published",
        "gmm-bootstrapped-published",
    )
    return dict(zip(names, values, strict=True))


PUBLISHED = {
    "convallaria": Published(
        512, 512, 234, 7402, 256, 50, _figures(36.71, 36.51, 36.47, 35.73, 36.19, 36.70)
    ),
    "mouse_actin": Published(
        None, 512, 305, 2905, 260, 200,
        _figures(34.20, 33.78, 33.86, 33.39, 33.61, 33.74),
    ),
    "mouse_skull_nuclei": Published(
        None, 256, 2000, 22000, 400, 50,
        _figures(36.58, 36.29, 36.35, 35.84, 36.31, 36.43),
    ),
}  # fmt: skip


def load(folder: Path, name: str) -> DataSet:
    """Return a recording of the paper, fetched into `folder` the first time.

    Raises
    ------
    CannotDownload  If it is not there and the server cannot be reached.
    """
    sample = SAMPLES[name]
    paths = fetch(sample.archive, folder / name)
    noisy, calibration = (_read(path) for path in paths)
    return data_set(name, sample.title, noisy, calibration)


def _read(path: Path) -> Stack:
    return np.asarray(open_image(path).data, dtype=np.float32)


def data_set(name: str, label: str, noisy: Stack, calibration: Stack) -> DataSet:
    """Make the tasks of a recording (T, Y, X) and its calibration (m, Y, X), ADU.

    Supervised training sees the columns beside the scored crop alone.
    """
    published = PUBLISHED[name]
    crop = (slice(0, published.rows), slice(0, published.columns))
    mean = noisy.mean(axis=0, dtype=np.float64).astype(np.float32)
    scored = noisy[:, crop[0], crop[1]]
    task = Task(
        name="all",
        training=noisy,
        scored=scored,
        truth=np.broadcast_to(mean[crop], scored.shape),
        images=tuple(range(len(noisy))),
        noise_models=published.noise_models,
    )
    beside = slice(published.columns, None)
    others = noisy[:, :, beside]
    supervised = Task(
        name="all",
        training=others,
        targets=np.broadcast_to(mean[:, beside], others.shape),
        scored=scored,
        truth=task.truth,
        images=task.images,
    )
    calibrated = replace(task, calibration=Repeats(calibration))
    return DataSet(
        name=name,
        label=label,
        describe={
            "classical": "parameters found with the mean of all frames",
            "unsupervised": "all noisy frames",
            "calibrated": "the published calibration recording",
            "noisy pairs": "not possible: not part of the paper's comparison",
            "supervised": "mean of all frames, beside the scored crop",
        },
        tasks_of={
            "classical": (task,),
            "unsupervised": (task,),
            "calibrated": (calibrated,),
            "supervised": (supervised,),
        },
        note="Truth: mean of all frames, the scored one among them, as published.",
    )
