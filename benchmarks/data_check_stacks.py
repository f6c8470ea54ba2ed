"""Clean simulated recordings for the data check.

They are of several cameras, gains, brightnesses, sizes and structures; static, moving,
or of a new scene in each frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from napari_ppn2v.core.camera import Camera
from napari_ppn2v.core.scenes import SCENES, diaphragm

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rng = np.random.Generator

KINDS = ("scmos", "emccd", "gaussian", "float", "8 bit")
MOTIONS = ("static", "moving", "new scenes", "one frame")
STRUCTURES = (*SCENES, "sharp puncta", "fine lines", "flat")


@dataclass(frozen=True)
class Recording:
    """A simulated recording and how it was made.

    `light` (N, Y, X) are the electrons that each frame is expected to have, so that a
    fault can be made before or after the camera.
    """

    camera: Camera
    light: NDArray
    kind: str
    motion: str
    structure: str

    def expose(self, rng: Rng) -> NDArray:
        """Take the frames."""
        signal = self.camera.offset + self.camera.gain * self.light
        return self.camera.expose(signal, rng)


def clean_recording(rng: Rng, *, motion: str | None = None) -> Recording:
    """Draw camera, gain, brightness, size, structure and motion at random."""
    kind = str(rng.choice(KINDS))
    motion = motion or str(rng.choice(MOTIONS, p=[0.35, 0.25, 0.25, 0.15]))
    structure = str(rng.choice(STRUCTURES))
    n_frames = 1 if motion == "one frame" else int(rng.integers(5, 25))
    shape = tuple(int(side) for side in rng.choice([96, 128, 192, 256], 2))
    peak = float(np.exp(rng.uniform(np.log(5), np.log(2000))))
    camera = _camera(kind, peak, rng)
    light = np.stack(_scenes(structure, motion, n_frames, shape, rng)) * peak
    return Recording(camera, light, kind, motion, structure)


def _camera(kind: str, peak: float, rng: Rng) -> Camera:
    """Choose gain and offset so that nothing is clipped."""
    read = float(rng.uniform(1.0, 4.0))
    if kind == "8 bit":
        room = 255 - 20  # grey values for light and noise, six standard deviations
        gain = min(room / (peak + 6 * peak**0.5 + 12), float(rng.uniform(0.5, 20)))
        noise = max(1.0, 0.5 * gain)
        return Camera(gain=gain, offset=6 * noise, read_noise=noise, bit_depth=8)
    if kind == "emccd":
        gain = float(rng.uniform(5, min(30, 30000 / peak)))
        return Camera("emccd", gain=gain, offset=400.0, read_noise=read * 3)
    gain = float(rng.uniform(0.5, 5))
    base = "gaussian" if kind == "gaussian" else "scmos"
    return Camera(
        base, gain=gain, offset=100.0, read_noise=read, rounded=kind != "float"
    )


def _scenes(
    structure: str, motion: str, n_frames: int, shape: tuple[int, int], rng: Rng
) -> list[NDArray]:
    if motion == "new scenes":
        return [_scene(structure, shape, rng) for _ in range(n_frames)]
    scene = _scene(structure, shape, rng)
    if motion != "moving":
        return [scene] * n_frames
    step = rng.normal(0, 0.6, 2)
    return [
        np.clip(shift(scene, step * index, order=1, mode="grid-wrap"), 0, None)
        for index in range(n_frames)
    ]


def _scene(structure: str, shape: tuple[int, int], rng: Rng) -> NDArray:
    if structure in SCENES:
        return SCENES[structure](shape, rng)
    image = np.zeros(shape)
    if structure == "sharp puncta":
        count = shape[0] * shape[1] // 300
        at = rng.integers(0, shape[0], count), rng.integers(0, shape[1], count)
        image[at] = rng.uniform(0.3, 1, count)
        image = gaussian_filter(image, 0.8)
    elif structure == "fine lines":
        rows, columns = np.indices(shape)
        angle, period = rng.uniform(0, np.pi), rng.uniform(5, 12)
        across = rows * np.cos(angle) + columns * np.sin(angle)
        image = 0.5 + 0.5 * np.cos(2 * np.pi * across / period)
        image *= gaussian_filter(rng.random(shape), 12) > 0.5
        image = gaussian_filter(image, 0.9)
    else:
        image = 1 + 0.2 * gaussian_filter(rng.normal(size=shape), 20) * 20
    return 0.03 + 0.97 * np.clip(image / max(image.max(), 1e-9), 0, None)


def calibration(rng: Rng) -> Recording:
    """Draw a static calibration of a diaphragm, 20 to 60 repeats."""
    kind = str(rng.choice(("scmos", "emccd", "gaussian")))
    peak = float(np.exp(rng.uniform(np.log(30), np.log(1000))))
    shape = tuple(int(side) for side in rng.choice([64, 96, 128], 2))
    count = int(rng.integers(20, 61))
    light = np.repeat(peak * diaphragm(shape)[None], count, axis=0)
    return Recording(_camera(kind, peak, rng), light, kind, "static", "diaphragm")
