"""Offset, gain and read noise of each pixel of a camera, and frames corrected by them.

The pixels of an sCMOS camera have amplifiers of their own, so that p(x|s) differs from
pixel to pixel (Huang et al. 2013, Nat Methods 10:653). A corrected observation
(x - offset of the pixel) · common gain / gain of the pixel + common offset has the same
mean and the same photon noise everywhere; only the read noise keeps differing. All that
comes after then sees one camera.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.core.frames import Frames
from napari_ppn2v.errors import BadData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

_MOST_DEFECTIVE = 0.01  # share of the pixels
_WIDEST_GAIN = 5.0  # times the median gain, and one over it
_LARGEST_VALUE = 1e15  # ADU, ADU per electron, ADU²
_SIDE = 5  # pixels; structure finer than this belongs to the camera, not the sample
_MOST_FRAMES = 200  # read for the fixed pattern


@dataclass(frozen=True)
class CommonCamera:
    """Offset (ADU) and gain (ADU per electron) that all pixels are brought to."""

    offset: float
    gain: float


@dataclass(frozen=True, eq=False)
class CameraMaps:
    """Per-pixel calibration of a camera.

    Attributes
    ----------
    offset : (Y, X) float32, ADU; mean without light
    gain : (Y, X) float32, ADU per electron, or relative to 1
    variance : (Y, X) float32, ADU²; variance without light, or None
    name : where they come from, for messages and provenance
    n_defective : pixels without a usable calibration, which took the medians

    Raises
    ------
    BadData  If shapes differ or more than 1 % of the pixels are unusable.
    """

    offset: NDArray[np.float32]
    gain: NDArray[np.float32]
    variance: NDArray[np.float32] | None = None
    name: str = ""
    n_defective: int = 0

    @classmethod
    def from_arrays(
        cls,
        offset: ArrayLike,
        gain: ArrayLike,
        variance: ArrayLike | None = None,
        *,
        name: str = "",
    ) -> CameraMaps:
        """Check maps of any number type and repair single defective pixels.

        A pixel is defective if a value is not finite, its gain is not within a factor
        of 5 of the median, or its variance is negative.
        """
        given = {"offset": offset, "gain": gain}
        if variance is not None:
            given["variance"] = variance
        maps = {key: _numbers(values, key, name) for key, values in given.items()}
        _check_shapes(maps, name)
        usable = np.logical_and.reduce(
            [np.abs(values) < _LARGEST_VALUE for values in maps.values()]
        )
        middle = float(np.median(maps["gain"][usable])) if usable.any() else 0.0
        if middle > 0:
            usable &= maps["gain"] > max(middle / _WIDEST_GAIN, 1 / _LARGEST_VALUE)
            usable &= maps["gain"] < middle * _WIDEST_GAIN
            usable &= maps["variance"] >= 0 if "variance" in maps else True
        n_defective = int(usable.size - usable.sum()) if middle > 0 else usable.size
        if n_defective > _MOST_DEFECTIVE * usable.size:
            raise BadData(
                f"{_of(name)}{n_defective} of {usable.size} pixels have no usable "
                "calibration (a value that is not finite, a gain that is negative or "
                "beyond five times the median, or a negative variance). Check which "
                "array is which: offset and variance in grey values, gain in grey "
                "values per electron."
            )
        for values in maps.values():
            values[~usable] = np.median(values[usable])
        plain = {key: values.astype(np.float32) for key, values in maps.items()}
        return cls(**plain, name=name, n_defective=n_defective)

    @property
    def shape(self) -> tuple[int, int]:
        """Size (Y, X), pixels."""
        height, width = self.offset.shape
        return int(height), int(width)

    @cached_property
    def common(self) -> CommonCamera:
        """Medians of offset and gain, which frames are corrected to by default."""
        return CommonCamera(float(np.median(self.offset)), float(np.median(self.gain)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of offset and gain."""
        digest = hashlib.sha256(self.offset.tobytes())
        digest.update(self.gain.tobytes())
        return digest.hexdigest()

    def crop(self, rows: slice, columns: slice) -> CameraMaps:
        """Return the maps of a region of the sensor, for recordings of it alone."""
        variance = self.variance
        return replace(
            self,
            offset=self.offset[rows, columns],
            gain=self.gain[rows, columns],
            variance=None if variance is None else variance[rows, columns],
        )

    def correct(self, frames: Frames, to: CommonCamera | None = None) -> Frames:
        """Bring all pixels of frames to one offset and gain, frame by frame when read.

        Parameters
        ----------
        to
            Offset and gain to bring them to; by default the medians of these maps. A
            trained model needs those that it was trained on.

        Raises
        ------
        BadData  If the frames have another size, or are corrected already.
        """
        if isinstance(frames, CorrectedFrames):
            raise BadData(
                f"{_of(frames.name)}These frames are corrected with camera maps "
                "already. Give them as the camera wrote them."
            )
        if frames.shape != self.shape:
            raise BadData(
                f"{_of(frames.name)}The frames are {frames.shape[0]} x "
                f"{frames.shape[1]} pixels, but the camera maps "
                f"{self.shape[0]} x {self.shape[1]}. Give the maps of the region of "
                "the sensor that was recorded (CameraMaps.crop in Python)."
            )
        return CorrectedFrames(frames, self, to or self.common)

    def read_noise(self, to: CommonCamera | None = None) -> NDArray[np.float32] | None:
        """Read noise (ADU) of each pixel after the correction; None if not known."""
        if self.variance is None:
            return None
        common = to or self.common
        return np.sqrt(self.variance) * np.float32(common.gain) / self.gain

    def summary(self, to: CommonCamera | None = None) -> dict[str, Any]:
        """Describe what was done with them, as JSON can hold it."""
        common = to or self.common
        return {
            "name": self.name,
            "shape": list(self.shape),
            "sha256": self.fingerprint,
            "common_offset": common.offset,
            "common_gain": common.gain,
            "n_defective": self.n_defective,
        }


class CorrectedFrames(Frames):
    """Frames whose pixels are brought to one offset and gain while they are read.

    `dtype` stays that of the source; like those of all frames its values are float32.
    """

    def __init__(self, frames: Frames, maps: CameraMaps, common: CommonCamera) -> None:
        self._frames, self._maps = frames, maps
        self.common = common
        self.shape, self.layout = frames.shape, frames.layout
        self.channel, self.name, self.dtype = frames.channel, frames.name, frames.dtype

    def __len__(self) -> int:
        return len(self._frames)

    def region(self, index: int, rows: slice, columns: slice) -> np.ndarray:
        """Read a part of one frame, corrected; see `Frames.region`."""
        pixels = self._frames.region(index, rows, columns)
        maps, common = self._maps, self.common
        pixels -= maps.offset[rows, columns]
        pixels *= np.float32(common.gain) / maps.gain[rows, columns]
        pixels += np.float32(common.offset)
        return pixels

    def select(self, indices: Sequence[int] | range) -> Frames:
        """Return some of the frames; see `Frames.select`."""
        return CorrectedFrames(self._frames.select(indices), self._maps, self.common)

    def crop(self, rows: slice, columns: slice) -> Frames:
        """Return a region of every frame; see `Frames.crop`."""
        cropped = self._frames.crop(rows, columns)
        return CorrectedFrames(cropped, self._maps.crop(rows, columns), self.common)

    def describe(self) -> str:
        """Say in one line what is read, and that it is corrected."""
        return f"{self._frames.describe()}, corrected with camera maps"


@dataclass(frozen=True)
class FixedPattern:
    """Structure of the camera left in a recording, ADU.

    Attributes
    ----------
    before, after : robust standard deviation of what the mean image holds beyond the
        local median of 5 x 5 pixels, less what noise leaves in a mean
    n_frames : averaged
    """

    before: float
    after: float
    n_frames: int

    @property
    def in_words(self) -> str:
        """Say whether the correction helped."""
        figures = (
            f"The fixed pattern is {self.before:.2g} grey values before and "
            f"{self.after:.2g} after the correction ({self.n_frames} frames)."
        )
        if self.after > 1.05 * self.before:
            return (
                f"{figures} These maps make it worse: they belong to another camera, "
                "region or setting, or the recording was corrected already. Leave "
                "them out."
            )
        if self.after < 0.9 * self.before:
            return f"{figures} The maps help."
        return f"{figures} The maps change little."


def fixed_pattern(frames: Frames, maps: CameraMaps) -> FixedPattern:
    """Measure what a correction does to the fixed pattern of a recording.

    The frames need not be static, but of several; the sample adds the same to both
    figures.

    Raises
    ------
    BadData  As `CameraMaps.correct`.
    """
    corrected = maps.correct(frames)
    chosen = np.unique(
        np.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES)).astype(int)
    )
    figures = []
    for source in (frames, corrected):
        total, squares = np.zeros(frames.shape), np.zeros(frames.shape)
        for index in chosen:
            frame = source.frame(int(index)).astype(float)
            total += frame
            squares += frame**2
        mean = total / len(chosen)
        noise = np.maximum(squares / len(chosen) - mean**2, 0)
        noise /= max(len(chosen) - 1, 1)  # variance of the mean
        figures.append(_pattern(mean, float(np.median(noise))))
    return FixedPattern(figures[0], figures[1], len(chosen))


def _pattern(mean: NDArray, noise: float) -> float:
    from scipy.ndimage import median_filter

    fine = mean - median_filter(mean, _SIDE)
    spread = 1.4826 * float(np.median(np.abs(fine - np.median(fine))))
    return float(np.sqrt(max(spread**2 - noise, 0.0)))


def _numbers(values: ArrayLike, key: str, name: str) -> NDArray[np.float64]:
    """Return a map as numbers; raises BadData if it holds something else."""
    found = np.asarray(values)
    if found.dtype.kind not in "iuf":
        raise BadData(
            f"{_of(name)}The map '{key}' is of type {found.dtype}, which holds no "
            "numbers for the pixels. Give arrays of integers or real numbers."
        )
    return found.astype(np.float64)


def _check_shapes(maps: dict[str, NDArray], name: str) -> None:
    shapes = {key: values.shape for key, values in maps.items()}
    first = shapes["offset"]
    if len(set(shapes.values())) == 1 and len(first) == 2 and 0 not in first:
        return
    words = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
    raise BadData(
        f"{_of(name)}The camera maps have the shapes {words}. Give maps with one "
        "value for each pixel of the frames, (Y, X), all of the same size."
    )


def _of(name: str) -> str:
    return f"{name}: " if name else ""
