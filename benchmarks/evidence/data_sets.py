"""Which data each method may use: training images, calibration, targets, scored images.

A data set turns into tasks: one training (or none) and the images it is scored on. The
rules that keep the comparison honest live here and nowhere else: ground truth is for
scoring; supervised training and calibration see other images than those they are
scored on; where something does not exist, the reason is said and no cell is filled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from common import load_benchmark, simulate_bright
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_ppn2v.core.noise_model_config import NoiseModelConfig

    Stack = NDArray[np.float32]

FAMILIES = ("classical", "unsupervised", "calibrated", "noisy pairs", "supervised")
"""What a method needs besides the noisy images: nothing for the first two, then a
calibration, a second noisy image of everything, clean targets of other images."""


class NotPossible(Exception):
    """A family of methods cannot run on a data set; the message says why."""


@dataclass(frozen=True)
class Pairs:
    """Calibration by (signal, observation) images, each (N, Y, X) ADU."""

    signal: Stack
    observation: Stack


@dataclass(frozen=True)
class Repeats:
    """Calibration by repeats (m, Y, X), ADU, of one static scene."""

    frames: Stack


@dataclass(frozen=True)
class Task:
    """One training and what it is scored on.

    Attributes
    ----------
    name : of the part of the data set, such as "all" or "fold 2"
    training : (T, Y, X) ADU, the noisy images trained on
    scored : (N, Y, X) ADU, the noisy images denoised for the score
    truth : (N, Y, X) ADU, their ground truth, never seen by the method
    images : number of each scored image in its data set
    targets : (T, Y, X) ADU, clean or second noisy images of `training`, or None
    calibration : of the same camera, or None
    region : rows and columns that count in the score; the peak is that of the frame
    noise_models : kind -> settings that were published for this recording
    """

    name: str
    training: Stack
    scored: Stack
    truth: Stack
    images: tuple[int, ...]
    targets: Stack | None = None
    calibration: Pairs | Repeats | None = None
    region: tuple[slice, slice] = (slice(None), slice(None))
    noise_models: dict[str, NoiseModelConfig] = field(default_factory=dict)


@dataclass(frozen=True)
class DataSet:
    """Noisy images with ground truth, and what else there is for them.

    Attributes
    ----------
    name, label : for files and for tables
    describe : family -> what serves it, in words, or why it is not possible
    tasks_of : family -> the tasks; absent where not possible
    data_range : peak of the PSNR in ADU, None for the range of each truth
    note : what a reader of its figures must know
    """

    name: str
    label: str
    describe: dict[str, str]
    tasks_of: dict[str, tuple[Task, ...]]
    data_range: float | None = None
    note: str = ""

    def tasks(self, family: str) -> tuple[Task, ...]:
        """Return the tasks of a family of methods.

        Raises
        ------
        NotPossible  With the reason.
        """
        if family not in self.tasks_of:
            raise NotPossible(self.describe[family])
        return self.tasks_of[family]


def folds(n_images: int, n_folds: int) -> list[tuple[int, ...]]:
    """Deal images into folds: image i belongs to fold i modulo their number."""
    return [tuple(range(k, n_images, n_folds)) for k in range(n_folds)]


def _without(n_images: int, left_out: Sequence[int]) -> list[int]:
    return [i for i in range(n_images) if i not in left_out]


def _everything(noisy: Stack, truth: Stack) -> Task:
    return Task("all", noisy, noisy, truth, tuple(range(len(noisy))))


def supervised_folds(noisy: Stack, truth: Stack, n_folds: int) -> tuple[Task, ...]:
    """Train with clean targets on all other folds, score each."""
    return _by_fold(
        noisy,
        truth,
        n_folds,
        lambda others: {"training": noisy[others], "targets": truth[others]},
    )


def calibrated_folds(noisy: Stack, truth: Stack, n_folds: int) -> tuple[Task, ...]:
    """Calibrate with the pairs of all other folds; train on all noisy images."""
    return _by_fold(
        noisy,
        truth,
        n_folds,
        lambda others: {
            "training": noisy,
            "calibration": Pairs(truth[others], noisy[others]),
        },
    )


def _by_fold(
    noisy: Stack,
    truth: Stack,
    n_folds: int,
    given: Callable[[list[int]], dict[str, Any]],
) -> tuple[Task, ...]:
    """Score each fold; `given` says what is had of the images of the others."""
    return tuple(
        Task(
            name=f"fold {k}",
            scored=noisy[list(scored)],
            truth=truth[list(scored)],
            images=scored,
            **given(_without(len(noisy), scored)),
        )
        for k, scored in enumerate(folds(len(noisy), n_folds))
    )


# --- The data sets ---------------------------------------------------------------

N_FOLDS = 4
BRIGHT_CAMERA = Camera(
    kind="scmos", gain=2.2, offset=100, read_noise=3.3, rounded=False
)
SIMULATED_CAMERA = Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3)


def w2s(folder: Path) -> DataSet:
    """Real EMCCD frames, 24 fields of view, truth: averages of 400 frames."""
    data = load_benchmark(folder, "w2s")
    everything = (_everything(data.noisy, data.truth),)
    return DataSet(
        name="w2s",
        label="W2S (EMCCD, real)",
        describe={
            "classical": "parameters found with the truth, as in the papers",
            "unsupervised": "all 24 noisy frames",
            "calibrated": "pairs (truth, observation) of the other three folds of 6 "
            "fields of view",
            "noisy pairs": "not possible: one noisy frame for each field of view",
            "supervised": "truth of the other three folds of 6 fields of view",
        },
        tasks_of={
            "classical": everything,
            "unsupervised": everything,
            "calibrated": calibrated_folds(data.noisy, data.truth, N_FOLDS),
            "supervised": supervised_folds(data.noisy, data.truth, N_FOLDS),
        },
        note="Truth: averages of 400 frames, rounded to 8 bit by its source.",
    )


def bright(folder: Path) -> DataSet:
    """Read the structures of `w2s` with simulated sCMOS noise at about 30 dB."""
    data = load_benchmark(folder, "bright")
    structures = load_benchmark(folder, "w2s").truth
    second, _ = simulate_bright(structures, seed=1)
    camera = BRIGHT_CAMERA
    peak = float(data.truth.max() - camera.offset) / camera.gain
    repeats = diaphragm_repeats(camera, peak, n_repeats=100, size=128)
    everything = _everything(data.noisy, data.truth)
    return DataSet(
        name="bright",
        label="bright (sCMOS, simulated)",
        describe={
            "classical": "parameters found with the truth, as in the papers",
            "unsupervised": "all 24 noisy frames",
            "calibrated": "100 simulated repeats of a defocused diaphragm that covers "
            "all signals",
            "noisy pairs": "a second simulated noise draw of every frame",
            "supervised": "truth of the other three folds of 6 fields of view",
        },
        tasks_of={
            "classical": (everything,),
            "unsupervised": (everything,),
            "calibrated": (replace(everything, calibration=repeats),),
            "noisy pairs": (replace(everything, targets=second),),
            "supervised": supervised_folds(data.noisy, data.truth, N_FOLDS),
        },
        note="Noise exactly known: Poisson and Gaussian, white.",
    )


def diaphragm_repeats(
    camera: Camera, peak_electrons: float, *, n_repeats: int, size: int, seed: int = 2
) -> Repeats:
    """Simulate a calibration recording whose signals reach from dark to the peak."""
    recording = simulate_calibration(
        camera,
        n_repeats=n_repeats,
        size=size,
        peak_electrons=peak_electrons,
        seed=seed,
    )
    return Repeats(recording.observation.astype(np.float32))


def tirf(folder: Path) -> DataSet:
    """Real sCMOS repeats of one static scene: odd against even frames."""
    return odd_and_even(load_benchmark(folder, "tirf_scmos").noisy)


def odd_and_even(frames: Stack) -> DataSet:
    """Train on the odd frames (T, Y, X) of a static scene, score with the even ones.

    And the reverse. The first frame is the first odd one.
    """
    unsupervised, calibrated, pairs, supervised = [], [], [], []
    for name, first in (("odd frames", 0), ("even frames", 1)):
        mine, others = frames[first::2], frames[1 - first :: 2]
        numbers = tuple(range(first, len(frames), 2))
        # the other frames' mean: no noise of the scored frames is in it
        truth = np.broadcast_to(others.mean(axis=0), mine.shape)
        task = Task(name, mine, mine, truth, numbers)
        unsupervised.append(task)
        calibrated.append(replace(task, calibration=Repeats(mine)))
        pairs.append(replace(task, targets=np.roll(mine, 1, axis=0)))
        supervised += _halves(task)
    error, half = reference_error(frames), len(frames) // 2
    return DataSet(
        name="tirf_scmos",
        label="TIRF (sCMOS, real)",
        describe={
            "classical": "parameters found with the reference, as in the papers",
            "unsupervised": f"{half} frames (odd or even)",
            "calibrated": f"the same {half} frames: repeats of a static scene",
            "noisy pairs": f"the next of the same {half} frames",
            "supervised": "one half of the field of view (mean of the other frames of "
            f"the same {half}) for the other half",
        },
        tasks_of={
            "classical": tuple(unsupervised),
            "unsupervised": tuple(unsupervised),
            "calibrated": tuple(calibrated),
            "noisy pairs": tuple(pairs),
            "supervised": tuple(supervised),
        },
        note=f"One static scene. The reference is the mean of {half} frames, of which "
        f"none is scored with it; its own error of {error:.2f} ADU (root mean square) "
        f"limits every PSNR to {_limit(frames, error):.1f} dB and lowers those near "
        "it.",
    )


def _halves(task: Task) -> list[Task]:
    """Train with clean targets on one half of the field of view, score the other."""
    total, n = task.training.sum(axis=0), len(task.training)
    targets = (total - task.training) / (n - 1)
    middle = task.training.shape[2] // 2
    left, right = slice(0, middle), slice(middle, None)
    return [
        replace(
            task,
            name=f"{task.name}, {name} half",
            training=task.training[:, :, seen],
            targets=targets[:, :, seen],
            region=(slice(None), scored),
        )
        for name, seen, scored in (("right", left, right), ("left", right, left))
    ]


def reference_error(frames: Stack) -> float:
    """Root mean squared error, ADU, of the mean of half of these static frames."""
    half = len(frames) // 2
    difference = frames[0::2].mean(axis=0) - frames[1::2].mean(axis=0)
    # the difference of two means of m frames holds the error of both
    return float(np.sqrt(np.mean(difference**2) / 2)) if half else float("nan")


def _limit(frames: Stack, error: float) -> float:
    return float(20 * np.log10(np.ptp(frames[0::2].mean(axis=0)) / error))


def bpae(folder: Path) -> DataSet:
    """Real sCMOS tiles with one long exposure each: for ranking only."""
    from tifffile import imread

    noisy = np.asarray(imread(folder / "bpae_scmos" / "noisy_counts.tif"), np.float32)
    truth = np.asarray(imread(folder / "bpae_scmos" / "gt_counts.tif"), np.float32)
    everything = (_everything(noisy, truth),)
    return DataSet(
        name="bpae_scmos",
        label="BPAE (sCMOS, real; ranking only)",
        describe={
            "classical": "parameters found with the long exposure",
            "unsupervised": "all 6 noisy tiles",
            "calibrated": "not possible: the long exposure matches only roughly, so "
            "that pairs with it hold its error too, and there are no repeats",
            "noisy pairs": "not possible: one short exposure",
            "supervised": "long exposure of the other two folds of 2 tiles",
        },
        tasks_of={
            "classical": everything,
            "unsupervised": everything,
            "supervised": supervised_folds(noisy, truth, 3),
        },
        note="The truth is one long exposure, matched only roughly: for ranking.",
    )


def simulated(
    folder: Path | None = None,
    *,
    n_frames: int = 16,
    size: int = 256,
    psnr: float = 22.0,
    n_repeats: int = 100,
    seed: int = 0,
) -> DataSet:
    """Simulate filaments, nuclei and puncta on an sCMOS camera; needs no folder."""
    camera = SIMULATED_CAMERA
    stack = simulate_stack(camera, n_frames=n_frames, size=size, psnr=psnr, seed=seed)
    truth = stack.signal
    noisy = stack.observation.astype(np.float32)
    second = camera.expose(truth, np.random.default_rng(seed + 1)).astype(np.float32)
    peak = float(truth.max() - camera.offset) / camera.gain
    repeats = diaphragm_repeats(
        camera, peak, n_repeats=n_repeats, size=min(128, size), seed=seed + 2
    )
    everything = _everything(noisy, truth)
    return DataSet(
        name="simulated",
        label="simulated microscopy",
        describe={
            "classical": "parameters found with the truth, as in the papers",
            "unsupervised": f"all {n_frames} noisy frames",
            "calibrated": f"{n_repeats} simulated repeats of a defocused diaphragm",
            "noisy pairs": "a second simulated exposure of every frame",
            "supervised": "truth of the other fold",
        },
        tasks_of={
            "classical": (everything,),
            "unsupervised": (everything,),
            "calibrated": (replace(everything, calibration=repeats),),
            "noisy pairs": (replace(everything, targets=second),),
            "supervised": supervised_folds(noisy, truth, 2),
        },
        note="Poisson noise, then Gaussian noise, of a simulated camera.",
    )


def small(folder: Path | None = None) -> DataSet:
    """Four simulated frames of 64²: to try an experiment out in seconds."""
    source = simulated(n_frames=4, size=64, n_repeats=20)
    return replace(source, name="small", label="small simulation, for a try")


def _of_the_paper(name: str) -> Callable[[Path], DataSet]:
    def load_it(folder: Path) -> DataSet:
        from evidence import papers_data  # which needs this module

        return papers_data.load(folder, name)

    return load_it


DATA_SETS: dict[str, Callable[[Path], DataSet]] = {
    "w2s": w2s,
    "bright": bright,
    "tirf_scmos": tirf,
    "bpae_scmos": bpae,
    "simulated": simulated,
    "small": small,
    **{
        name: _of_the_paper(name)
        for name in ("convallaria", "mouse_actin", "mouse_skull_nuclei")
    },
}


def load(folder: Path, name: str) -> DataSet:
    """Read one data set from the folder that holds them all.

    Raises
    ------
    ValueError  If the name is not known.
    FileNotFoundError  If the folder does not hold its files.
    """
    if name not in DATA_SETS:
        raise ValueError(f"{name!r} is no data set. Choose one of {list(DATA_SETS)}.")
    return DATA_SETS[name](folder)
