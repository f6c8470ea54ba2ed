"""The photographs of the Noise2Void paper (BSD68) with added Gaussian noise.

Krull et al. 2019, sections 4.1 and 4.5: 400 photographs of 180² train, 68 of 321 x 481
are scored. Noise is added in float and never clipped; the peak of the PSNR is 255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evidence.data_sets import DataSet, Task

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Image = NDArray[np.float32]

PEAK = 255.0
TEST_SEED = 0
TRAIN_ON = ("train", "test")
FOLDER = "bsd68"


def read_training(folder: Path) -> Image:
    """Read the clean training photographs, (T, Y, X) float32."""
    with np.load(folder / FOLDER / "train400_180.npz") as file:
        return file["images"].astype(np.float32)


def read_test(folder: Path) -> list[Image]:
    """Read the clean test photographs, sorted by name; two shapes occur."""
    with np.load(folder / FOLDER / "test68.npz") as file:
        return [file[name].astype(np.float32) for name in sorted(file.files)]


def with_noise(images: Sequence[Image], sigma: float, seed: int) -> list[Image]:
    """Add Gaussian noise with one generator for all images, in their order."""
    rng = np.random.default_rng(seed)
    return [
        (image + rng.normal(0, sigma, image.shape)).astype(np.float32)
        for image in images
    ]


def spread(n_all: int, n_wanted: int | None) -> list[int]:
    """Return the numbers of `n_wanted` images, evenly spread; all for None."""
    if n_wanted is None or n_wanted >= n_all:
        return list(range(n_all))
    middles = (np.arange(n_wanted) + 0.5) * n_all / n_wanted
    return [int(number) for number in middles]


def landscape(image: Image) -> Image:
    """Turn portraits by 90°, so that all images of a stack have one shape."""
    return np.rot90(image) if image.shape[0] > image.shape[1] else image


def photographs(
    folder: Path,
    *,
    sigma: float = 25.0,
    repeat: int = 0,
    train_on: str = "train",
    n_images: int | None = None,
    n_training: int | None = None,
) -> DataSet:
    """Read BSD68 as tasks of each family of methods.

    Parameters
    ----------
    folder : that holds the folder `bsd68`
    sigma : standard deviation of the added noise, grey values
    repeat : draws other noise of the training images; that of the test images is one
    train_on
        "train": the 400 photographs; "test": the noisy test images themselves, which
        methods without clean targets may
    n_images, n_training : fewer, evenly spread; noise as if all were there

    Raises
    ------
    FileNotFoundError  If the folder does not hold the files.
    """
    clean = read_test(folder)
    noisy = with_noise(clean, sigma, TEST_SEED)
    chosen = spread(len(clean), n_images)
    if train_on == "train":
        scenes = read_training(folder)
        training = np.stack(with_noise(scenes, sigma, 1 + 2 * repeat))
    else:
        scenes = np.stack([landscape(image) for image in clean])
        training = np.stack([landscape(image) for image in noisy])
    second = np.stack(with_noise(scenes, sigma, 2 + 2 * repeat))
    used = spread(len(scenes), n_training)

    def task(targets: Image | None = None) -> tuple[Task, ...]:
        return (
            Task(
                name="all",
                training=training[used],
                targets=None if targets is None else targets[used],
                scored=[noisy[i] for i in chosen],  # type: ignore[arg-type]
                truth=[clean[i] for i in chosen],  # type: ignore[arg-type]
                images=tuple(chosen),
            ),
        )

    tasks = {"classical": task(), "unsupervised": task(), "noisy pairs": task(second)}
    if train_on == "train":
        tasks["supervised"] = task(scenes)
    return DataSet(
        name=FOLDER,
        label=f"BSD68, standard deviation {sigma:g}",
        describe=_described(train_on),
        tasks_of=tasks,
        data_range=PEAK,
    )


def _described(train_on: str) -> dict[str, str]:
    is_test = train_on == "test"
    images = "the noisy test images" if is_test else "the training photographs"
    return {
        "classical": "parameters found with the truth, as in the papers",
        "unsupervised": f"{images}, noisy",
        "calibrated": "not possible: added noise has no camera to calibrate",
        "noisy pairs": f"a second noise draw of {images}",
        "supervised": "not possible: clean test images are what is looked for"
        if is_test
        else f"{images}, clean",
    }
