"""The check of data from Python, from files, and as notices before a training."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.frames import Frames, as_frames
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Notice, drain
from napari_ppn2v.pipeline.arrays import scenes_of
from napari_ppn2v.pipeline.data_check import DataCheck, check_calibration, check_stack
from napari_ppn2v.pipeline.data_sample import BRIEF, FULL, Budget
from napari_ppn2v.pipeline.inputs import find_images, open_frames, open_noisy
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.inputs import OpenedImage


def check_data(
    observation: Any = None,
    *,
    calibration: Any | Sequence[Any] | None = None,
    axes: str | None = None,
    channel: int | None = None,
    calibration_axes: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    stop: StopToken | None = None,
) -> DataCheck:
    """Say before training whether data are fit for denoising without clean data.

    A part of the data is read, which takes seconds; nothing is trained and torch is
    not loaded. Each question has an answer with figures, a verdict ("fine",
    "careful", "will not work"), a sentence, and what to do.

    Parameters
    ----------
    observation
        Noisy images as for `denoise`: an array, or the path of a file, folder or
        pattern; or a list of several, which are to be trained on together.
    calibration
        Recording of a static scene, array or path, or a list of several. With
        `observation` it is also checked whether it covers the signals of the data.
    axes, channel, calibration_axes : as for `denoise`
    on_event : called with each event
    stop : ends the check early, with the findings so far

    Returns
    -------
    DataCheck
        Of the images, with that of the calibration in `calibration`; of the
        calibration alone where no images are given.

    Raises
    ------
    PPN2VError  One of its kinds, if data cannot be read or hold values that are not
        finite.

    Examples
    --------
    >>> import napari_ppn2v as ppn2v
    >>> for finding in ppn2v.check_data(stack).important:  # doctest: +SKIP
    ...     finding.verdict, finding.sentence, finding.advice
    """
    stop = stop or StopToken()
    if observation is None and calibration is None:
        raise BadSetting(
            "There is nothing to check. Give noisy images, a calibration, or both."
        )
    sources = _opened(observation, axes, channel)
    number = sources[0].channel if sources else channel or 0
    scenes = _opened_scenes(calibration, calibration_axes, number)
    return drain(check_opened(sources, scenes, stop), on_event)


def check_opened(
    sources: Sequence[Frames],
    scenes: Sequence[Frames],
    stop: StopToken,
    budget: Budget = FULL,
) -> Generator[Event, None, DataCheck]:
    """Check images, calibration scenes, or both together; one may be empty."""
    if not sources:
        return (yield from check_calibration(scenes, stop=stop, budget=budget))
    found = yield from check_stack(sources, stop=stop, budget=budget)
    if not scenes or stop.is_stopped:
        return found
    known = yield from check_calibration(scenes, sources, stop=stop, budget=budget)
    return replace(found, calibration=known, is_stopped=known.is_stopped)


def glance(
    sources: Sequence[Frames], stop: StopToken | None = None
) -> Generator[Event, None, None]:
    """Tell what is important about images before a training, as notices alone.

    Less is read than for `check_data`: a fraction of a second.
    """
    job = check_stack(sources, stop=stop or StopToken(), budget=BRIEF)
    for finding in drain(job).important:
        yield Notice(
            f"Data check, {finding.name}: {finding.verdict}. {finding.in_words}",
            is_warning=True,
        )


def glance_at_files(
    images: Sequence[OpenedImage], stop: StopToken
) -> Generator[Event, None, None]:
    """Do as `glance` for each channel of the images of a run."""
    for number in range(len(images[0].channels)):
        yield from glance([image.frames[number] for image in images], stop)


def _opened(data: Any, axes: str | None, channel: int | None) -> list[Frames]:
    if data is None:
        return []
    found: list[Frames] = []
    for item in _several(data):
        if isinstance(item, str | os.PathLike):
            paths = find_images([Path(item)])
            opened = open_noisy(paths, axes, channel, "")
            found += [image.frames[0] for image in opened]
        else:
            found.append(as_frames(item, axes, channel))
    return found


def _opened_scenes(data: Any, axes: str | None, channel: int) -> list[Frames]:
    found: list[Frames] = []
    for item in [] if data is None else _several(data):
        if isinstance(item, str | os.PathLike):
            found.append(open_frames(Path(item), axes, channel))
        else:
            found += scenes_of(item, axes, channel)
    return found


def _several(data: Any) -> list[Any]:
    """Take a list of paths or images apart; a list of plain numbers is one image."""
    if not isinstance(data, list | tuple) or not data:
        return [data]
    is_list = all(
        isinstance(item, str | os.PathLike) or len(getattr(item, "shape", ())) > 1
        for item in data
    )
    return list(data) if is_list else [data]
