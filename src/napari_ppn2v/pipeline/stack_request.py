"""What a run on arrays in memory is told. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.frames import Frames, as_frames
from napari_ppn2v.errors import BadData, BadSetting

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.pipeline.config import RunConfig

DTYPES = ("float32", "same")


@dataclass(frozen=True, kw_only=True)
class Stack:
    """An array with the names of its axes.

    Attributes
    ----------
    data : array-like; never written to, read piece by piece where it is lazy
    axes : one letter of "TZCYX" for each axis
    name : for messages
    """

    data: Any
    axes: str
    name: str = ""

    def frames(self, channel: int | None = None) -> Frames:
        """Read one channel as frames; raises BadAxes or BadData."""
        return as_frames(self.data, self.axes, channel, name=self.name)

    def recording(self, channel: int) -> Frames:
        """Read a calibration recording; one of a single channel serves for all."""
        count = as_frames(self.data, self.axes, 0, name=self.name).layout.n_channels
        return self.frames(channel if count > 1 else None)


@dataclass(frozen=True, kw_only=True)
class StackRequest:
    """Everything that a run on arrays in memory is told.

    Attributes
    ----------
    observation : noisy frames
    channels : to be denoised, each by itself
    is_put_together : whether the result has a channel axis
    training_frames : numbers of the frames to train on, None for all
    region : rows and columns to train on, None for all
    calibration : recordings of static scenes, each with repeats of one
    noise_model : to use as it is; None and no calibration: bootstrapped
    config : settings
    device, threads : where to compute
    dtype : of the result, "float32" or "same" as the observation
    with_residual : also give observation - result
    """

    observation: Stack
    config: RunConfig
    channels: tuple[int, ...] = (0,)
    is_put_together: bool = False
    training_frames: tuple[int, ...] | None = None
    region: tuple[slice, slice] | None = None
    calibration: tuple[Stack, ...] = ()
    noise_model: NoiseModel | None = None
    device: str = "auto"
    threads: int | None = None
    dtype: str = "float32"
    with_residual: bool = False

    def training_source(self, channel: int) -> Frames:
        """Return what is trained on: the chosen frames and region of one channel.

        Raises
        ------
        BadData  If nothing is chosen.
        """
        frames = self.observation.frames(channel)
        if self.training_frames is not None:
            frames = frames.select(self.training_frames)
        return frames if self.region is None else frames.crop(*self.region)

    def check(self) -> None:
        """Refuse what would fail later, without reading pixels.

        Raises
        ------
        BadAxes, BadData, BadSetting
        """
        if not self.channels:
            raise BadSetting("No channel is chosen. Choose at least one.")
        if self.dtype not in DTYPES:
            raise BadSetting(
                f"The type of the result is '{self.dtype}'. Choose one of: "
                f"{', '.join(DTYPES)}."
            )
        if self.calibration and self.noise_model is not None:
            raise BadSetting(
                "A calibration and a noise model are both given. Give one of the two."
            )
        for channel in self.channels:
            self.training_source(channel)
            for recording in self.calibration:
                check_recording(recording.recording(channel))


def check_recording(frames: Frames) -> None:
    """Refuse a calibration recording without repeats; raises BadData."""
    if len(frames) < 2:
        name = f" '{frames.name}'" if frames.name else ""
        raise BadData(
            f"The calibration recording{name} has {len(frames)} frame, but at least 2 "
            "exposures of the same static scene are needed (better 50 or more). Check "
            "its axes, or choose another recording."
        )
