"""Faults for the data check: what is done to a clean recording, in several strengths.

Each fault states the questions of the check of which one has to notice it.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter, shift

from data_check_stacks import Recording, Rng
from napari_ppn2v.core.scenes import SCENES, diaphragm

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Fault:
    """A fault with its strengths, and the questions of which one must not be "fine".

    `make(recording, strength, rng)` gives the frames: those of the images, of the
    calibration, or of a calibration for the images that the recording exposes.
    """

    name: str
    questions: tuple[str, ...]
    strengths: tuple[float, ...]
    unit: str
    make: Callable[[Recording, float, Rng], NDArray]
    motion: str | None = None
    subject: Literal["images", "calibration", "range"] = "images"


def _clipped_low(recording: Recording, strength: float, rng: Rng) -> NDArray:
    frames = recording.expose(rng).astype(np.float64)
    limit = np.quantile(frames, strength)
    return np.maximum(np.rint(frames), np.rint(limit)).astype(np.float32)


def _clipped_high(recording: Recording, strength: float, rng: Rng) -> NDArray:
    frames = recording.expose(rng).astype(np.float64)
    limit = np.quantile(frames, 1 - strength)
    return np.minimum(np.rint(frames), np.rint(limit)).astype(np.float32)


def _smoothed(recording: Recording, strength: float, rng: Rng) -> NDArray:
    frames = recording.expose(rng).astype(np.float64)
    done = gaussian_filter(frames, (0, strength, strength))
    return np.rint(done).astype(np.uint16)


def _median_filtered(recording: Recording, strength: float, rng: Rng) -> NDArray:
    frames = recording.expose(rng)
    return median_filter(frames, (1, int(strength), int(strength)))


def _correlated(axis: int) -> Callable[[Recording, float, Rng], NDArray]:
    def make(recording: Recording, strength: float, rng: Rng) -> NDArray:
        """Mix the noise of each pixel with its neighbour's, to a correlation."""
        signal = recording.camera.offset + recording.camera.gain * recording.light
        noise = recording.expose(rng) - signal
        # (a, b) with a² + b² = 1 and a·b the correlation wanted
        angle = 0.5 * np.arcsin(2 * strength)
        mixed = np.cos(angle) * noise + np.sin(angle) * np.roll(noise, 1, axis)
        return (signal + mixed).astype(np.float32)

    return make


def _stretched(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Stretch every image between its own percentiles to 8 bit, as for display."""
    frames = np.rint(recording.expose(rng).astype(np.float64))
    done = []
    for frame in frames:
        low, high = np.quantile(frame, [strength / 100, 1 - strength / 100])
        scaled = np.clip((frame - low) / max(high - low, 1), 0, 1)
        done.append(np.rint(255 * scaled).astype(np.uint8))
    return np.stack(done)


def _normalised(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Scale to 0 ... 1: each frame by itself (1) or all alike (0)."""
    frames = recording.expose(rng).astype(np.float32)
    axis = (1, 2) if strength else None
    low = frames.min(axis=axis, keepdims=True)
    return (frames - low) / (frames.max(axis=axis, keepdims=True) - low)


def _compressed(recording: Recording, strength: float, rng: Rng) -> NDArray:
    from PIL import Image

    frames = recording.expose(rng).astype(np.float64)
    low, high = frames.min(), frames.max()
    eight = np.rint(255 * (frames - low) / (high - low)).astype(np.uint8)
    done = []
    for frame in eight:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=int(strength))
        done.append(np.asarray(Image.open(file)))
    return np.stack(done)


def _converted(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Convert to 8 bit by dividing all alike, until the noise is `strength` steps."""
    frames = recording.expose(rng).astype(np.float64)
    step = (
        np.std(frames[0] - recording.camera.offset - _electrons(recording)) / strength
    )
    return np.rint(frames / step).astype(np.uint16)


def _electrons(recording: Recording) -> NDArray:
    return recording.camera.gain * recording.light[0]


def _hot(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Make a share of the pixels hot, by 15 to 100 times the noise of the frame."""
    frames = recording.expose(rng).astype(np.float32)
    hot = rng.random(frames.shape[1:]) < strength
    height = rng.uniform(15, 100, hot.sum()) * _noise(recording)
    frames[:, hot] += height.astype(np.float32)
    return frames


def _noise(recording: Recording) -> float:
    camera = recording.camera
    level = float(np.median(camera.offset + camera.gain * recording.light))
    return float(camera.moments(level)[1]) ** 0.5


def _patterned(recording: Recording, strength: float, rng: Rng) -> NDArray:
    frames = recording.expose(rng).astype(np.float32)
    pattern = rng.normal(0, strength * _noise(recording), frames.shape[1:])
    return frames + pattern.astype(np.float32)


def _striped(
    axis: int, *, is_fixed: bool
) -> Callable[[Recording, float, Rng], NDArray]:
    def make(recording: Recording, strength: float, rng: Rng) -> NDArray:
        frames = recording.expose(rng).astype(np.float32)
        shape = [1 if is_fixed else len(frames), 1, 1]
        shape[axis] = frames.shape[axis]
        stripes = rng.normal(0, strength * _noise(recording), shape)
        return frames + stripes.astype(np.float32)

    return make


def _averaged(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Average each frame with the one before, in part."""
    frames = recording.expose(rng).astype(np.float32)
    frames[1:] = (1 - strength) * frames[1:] + strength * frames[:-1].copy()
    return frames[1:]


def _uneven_noise(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Let the read noise differ by pixel: its variance log-normal with this spread."""
    camera = recording.camera
    signal = camera.offset + camera.gain * recording.light
    noise = recording.expose(rng) - signal
    width = np.log1p(strength**2) ** 0.5
    factor = np.exp(0.5 * rng.normal(-0.5 * width**2, width, noise.shape[1:]))
    return (signal + factor * noise).astype(np.float32)


def _bleaching(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Dim the light so that it adds this much to the variance of bright pixels."""
    return _ramped(recording, strength, rng, np.linspace(1, -1, len(recording.light)))


def _flickering(recording: Recording, strength: float, rng: Rng) -> NDArray:
    time = np.arange(len(recording.light))
    return _ramped(recording, strength, rng, np.sin(2 * np.pi * time / len(time)))


def _ramped(
    recording: Recording, strength: float, rng: Rng, course: NDArray
) -> NDArray:
    camera = recording.camera
    peak = float(recording.light.max())
    noise = float(camera.moments(camera.offset + camera.gain * peak)[1])
    depth = (strength * noise / course.var()) ** 0.5 / (camera.gain * peak)
    changed = recording.light * np.clip(1 + depth * course, 0, None)[:, None, None]
    return Recording(camera, changed, "", "", "").expose(rng)


def _moved(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Move a textured scene by this many pixels over the recording."""
    peak = float(recording.light.max())
    height, width = recording.light.shape[1:]
    scene = SCENES["nuclei"]((height + 16, width + 16), rng) * peak
    path = np.linspace(0, strength, len(recording.light))
    light = np.stack(
        [np.clip(shift(scene, (0.6 * at, 0.8 * at), order=3), 0, None) for at in path]
    )[:, 8:-8, 8:-8]
    return Recording(recording.camera, light, "", "", "").expose(rng)


def _narrow(recording: Recording, strength: float, rng: Rng) -> NDArray:
    """Record a calibration that leaves this share of the pixels brighter."""
    return _diaphragm(recording, float(np.quantile(recording.light, 1 - strength)), rng)


def covering(recording: Recording, rng: Rng) -> NDArray:
    """Record a calibration that is brighter than all of the images."""
    return _diaphragm(recording, 1.2 * float(recording.light.max()), rng)


def _diaphragm(recording: Recording, peak: float, rng: Rng) -> NDArray:
    light = np.repeat(peak * diaphragm((96, 96))[None], 30, axis=0)
    return Recording(recording.camera, light, "", "", "").expose(rng)


FAULTS = (
    Fault(
        "cut at the low end",
        ("clipping",),
        (0.003, 0.02, 0.1, 0.3),
        "share",
        _clipped_low,
    ),
    Fault(
        "cut at the high end", ("clipping",), (0.003, 0.02, 0.1), "share", _clipped_high
    ),
    Fault(
        "Gaussian filter",
        ("noise correlation", "rounding"),
        (0.5, 0.7, 1.5),
        "sigma, pixels",
        _smoothed,
    ),
    Fault(
        "median filter",
        ("noise correlation", "rounding"),
        (3, 5),
        "side, pixels",
        _median_filtered,
    ),
    Fault(
        "correlated along x",
        ("noise correlation",),
        (0.15, 0.3, 0.45),
        "coefficient",
        _correlated(2),
    ),
    Fault(
        "correlated along y",
        ("noise correlation",),
        (0.15, 0.3, 0.45),
        "coefficient",
        _correlated(1),
    ),
    Fault(
        "stretched image by image",
        ("grey levels",),
        (0.01, 0.2, 1),
        "percentile",
        _stretched,
        "new scenes",
    ),
    Fault("normalised", ("normalised values",), (0, 1), "1: each frame", _normalised),
    Fault("JPEG", ("compression",), (95, 85, 70, 50), "quality", _compressed),
    Fault("converted to 8 bit", ("rounding",), (0.35, 0.2), "noise, steps", _converted),
    Fault("hot pixels", ("hot pixels",), (5e-4, 2e-3, 1e-2), "share", _hot, "static"),
    Fault(
        "fixed pattern",
        ("fixed pattern",),
        (0.3, 0.5, 1.0),
        "over noise",
        _patterned,
        "static",
    ),
    Fault(
        "fixed pattern, new scenes",
        ("fixed pattern",),
        (0.3, 0.5, 1.0),
        "over noise",
        _patterned,
        "new scenes",
    ),
    Fault(
        "stripes, rows, fixed",
        ("stripes",),
        (0.2, 0.4),
        "over noise",
        _striped(1, is_fixed=True),
    ),
    Fault(
        "stripes, columns, changing",
        ("stripes",),
        (0.2, 0.4),
        "over noise",
        _striped(2, is_fixed=False),
    ),
    Fault(
        "frames averaged",
        ("correlation in time",),
        (0.2, 0.5),
        "weight",
        _averaged,
        "static",
    ),
    Fault(
        "read noise by pixel",
        ("noise by pixel",),
        (0.7, 1.5),
        "spread",
        _uneven_noise,
        "static",
    ),
    Fault(
        "bleaching",
        ("steadiness",),
        (0.15, 0.3, 1.0),
        "added variance",
        _bleaching,
        None,
        "calibration",
    ),
    Fault(
        "flickering lamp",
        ("steadiness",),
        (0.15, 0.3, 1.0),
        "added variance",
        _flickering,
        None,
        "calibration",
    ),
    Fault(
        "motion", ("steadiness",), (0.5, 1, 3), "pixels", _moved, None, "calibration"
    ),
    Fault(
        "calibration of part of the range",
        ("signal range",),
        (0.02, 0.1, 0.3),
        "share of the pixels outside",
        _narrow,
        None,
        "range",
    ),
)
