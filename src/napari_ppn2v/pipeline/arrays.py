"""Arrays of the Python interface as what the long jobs take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.frames import Frames, as_frames, channel_count
from napari_ppn2v.errors import BadAxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.pipeline.noise_sources import NoiseSource


def noise_source(
    scenes: tuple[Frames, ...], noise_model: NoiseModel | None
) -> NoiseSource:
    """Return where the noise model comes from: given, calibrated or bootstrapped."""
    # they load torch, which the check of data does without
    from napari_ppn2v.pipeline.noise_sources import (
        Bootstrap,
        Calibration,
        GivenNoiseModel,
    )

    if noise_model is not None:
        return GivenNoiseModel(noise_model)
    return Calibration(scenes) if scenes else Bootstrap()


def scenes_of(calibration: Any, axes: str | None, channel: int) -> tuple[Frames, ...]:
    """Read calibration recordings; one of a single channel serves for all channels."""
    if calibration is None:
        return ()
    several = calibration if isinstance(calibration, list | tuple) else [calibration]
    return tuple(
        as_frames(
            scene,
            axes,
            channel if axes is not None and channel_count(scene, axes) > 1 else None,
        )
        for scene in several
    )


def target_frames(target: Any, axes: str | None, source: Frames) -> Frames:
    """Read the target of a stack; one of a single channel serves the one denoised."""
    count, known = channel_count(target, axes), source.layout.n_channels
    if count not in (1, known):
        raise BadAxes(
            f"The target has {count} channels, the observation {known}. Give a target "
            "of the channel that is denoised alone, or name its axes (target_axes)."
        )
    return as_frames(target, axes, source.channel if count > 1 else None)


def part_of(
    frames: Frames,
    chosen: Sequence[int] | range | None,
    region: tuple[slice, slice] | None,
) -> Frames:
    """Return the frames and the region to train on."""
    if chosen is not None:
        frames = frames.select(chosen)
    return frames if region is None else frames.crop(*region)
