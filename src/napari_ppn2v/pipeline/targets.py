"""Checks of the targets of CARE and Noise2Noise: do they belong to the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import Notice
from napari_ppn2v.pipeline.config import UNSUPERVISED

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.training_stack import TrainingStack
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig

_NEEDED = {
    "care": "a clean image of the same scene for each noisy one",
    "n2n": "a second noisy image of the same scene for each one",
}


def check_use_of_targets(
    config: RunConfig, *, has_targets: bool, has_noise_model: bool
) -> None:
    """Refuse targets that a method does not use, and what its targets leave unused.

    Parameters
    ----------
    has_noise_model : whether a noise model, or what it is made from, is given

    Raises
    ------
    BadSetting
    """
    method = config.method
    if has_targets and not config.needs_targets:
        raise BadSetting(
            f"A target is given, but method '{method}' learns from the noisy images "
            "alone. Choose method care (the target is clean) or n2n (it is a second "
            "noisy image), or leave the target out."
        )
    if config.needs_targets and not has_targets:
        raise BadSetting(
            f"Method '{method}' needs targets, {_NEEDED[method]}, and none is given. "
            "Name them with --target (target= in Python), or choose one of the methods "
            f"{', '.join(UNSUPERVISED)}, which need noisy images alone."
        )
    if config.needs_targets and has_noise_model:
        raise BadSetting(
            f"Method '{method}' uses no noise model, but a calibration, a noise model, "
            "a dark recording or an offset is given. Leave it out, or choose the "
            "method refined or pn2v."
        )


def check_targets(sources: Sequence[Frames], targets: Sequence[Frames]) -> None:
    """Refuse targets that are not, frame by frame, of the same scenes.

    Reads the first frame of each.

    Raises
    ------
    BadData  Naming what differs and both numbers.
    """
    check_counts(len(sources), len(targets))
    for source, target in zip(sources, targets, strict=True):
        _check_pair(source, target)


def check_counts(n_images: int, n_targets: int) -> None:
    """Refuse targets that are more or fewer than the images; raises BadData."""
    if n_images != n_targets:
        verb = "is" if n_images == 1 else "are"
        raise BadData(
            f"There {verb} {_count(n_images, 'noisy image')}, but "
            f"{_count(n_targets, 'target')}. Give one target for each noisy image, in "
            "the same order."
        )


def warn_of_scale(stack: TrainingStack, method: str) -> Generator[Event, None, None]:
    """Say so where the targets are not on the scale of the noisy images."""
    targets = stack.targets
    if targets is None:
        return
    normal = stack.normalisation()
    mean = sum(float(t.sum(dtype=np.float64)) for t in targets) / stack.n_pixels
    if abs(mean - normal.mean) <= normal.std:
        return
    advice = {
        "care": "The result will be on the scale of the targets.",
        "n2n": "Noise2Noise takes each for the other, so both must be recorded with "
        "the same settings.",
    }
    yield Notice(
        f"The noisy images have a mean of {normal.mean:.4g} ± {normal.std:.3g} grey "
        f"values, the targets one of {mean:.4g}. Check that they belong together. "
        f"{advice[method]}",
        is_warning=True,
    )


def _check_pair(source: Frames, target: Frames) -> None:
    ours, theirs = _named("the noisy image", source), _named("the target", target)
    if len(source) != len(target):
        raise BadData(
            f"There are {_count(len(source), 'frame')} in {ours}, but {len(target)} in "
            f"{theirs}. Each noisy frame needs a target of the same scene; choose the "
            "frames that belong together."
        )
    if source.shape != target.shape:
        raise BadData(
            f"The frames of {ours} are {_size(source)} pixels, those of {theirs} "
            f"{_size(target)}. They must show the same scene, pixel by pixel; crop or "
            "register them first."
        )
    if _runs_through(source) != _runs_through(target):
        raise BadData(
            f"The axes of {ours} are {source.layout.axes} (shape "
            f"{source.layout.shape}), those of {theirs} {target.layout.axes} (shape "
            f"{target.layout.shape}), so that their frames are not in the same order. "
            "Name the axes of both."
        )
    first = source.frame(0)
    if first.min() < first.max() and np.array_equal(first, target.frame(0)):
        raise BadData(
            f"The first frames of {ours} and of {theirs} are equal in every pixel, so "
            "the network would learn to change nothing. Choose another target."
        )


def _runs_through(frames: Frames) -> tuple[tuple[int, ...], str]:
    """Sizes of the axes that hold more than one frame, and their order where TZ."""
    layout = frames.layout
    axes = [axis for axis in layout.frame_axes if layout.size(axis) > 1]
    order = "".join(axes) if len(axes) > 1 else ""
    return tuple(layout.size(axis) for axis in axes), order


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _size(frames: Frames) -> str:
    return " x ".join(str(length) for length in frames.shape)


def _named(what: str, frames: Frames) -> str:
    return f"{what} {frames.name}" if frames.name else what
