"""The images of a run: found, opened, checked and fingerprinted before it begins."""

from __future__ import annotations

import glob
import hashlib
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_ppn2v.core.frames import Frames, as_frames, channel_count
from napari_ppn2v.errors import BadAxes, BadData, BadFile, BadSetting
from napari_ppn2v.events import StageFinished, StageStarted, StepDone
from napari_ppn2v.files.images import (
    ImageSource,
    images_in,
    natural_order,
    open_image,
)
from napari_ppn2v.files.zarr_reading import is_zarr
from napari_ppn2v.pipeline.targets import check_counts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence

    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

ALL_CHANNELS = "all"


@dataclass(frozen=True)
class OpenedImage:
    """One input file.

    Attributes
    ----------
    frames : one for each channel to be denoised, of the frames chosen
    channels : their numbers in the file
    is_put_together : whether all channels go into one result
    """

    path: Path
    source: ImageSource
    frames: tuple[Frames, ...]
    channels: tuple[int, ...]
    is_put_together: bool

    @property
    def n_result_channels(self) -> int | None:
        """Number of channels put together, None for a result of one channel."""
        return len(self.channels) if self.is_put_together else None

    def describe(self) -> str:
        """Say in one line what was understood, and whether the axes were guessed."""
        guess = self.frames[0].layout.guess
        asks = "; if that is wrong, give the axes, for example TYX" if guess else ""
        stack = self.source.metadata.get("stack")
        joined = f"; {stack}" if stack else ""
        return f"{self.frames[0].describe()}{asks}{joined}"

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels to be denoised, empty where the file has none."""
        names = tuple(self.source.metadata.get("channel_names", ()))
        if len(names) <= max(self.channels):
            return ()
        return tuple(str(names[channel]) for channel in self.channels)


def check_threads(count: int | None) -> None:
    """Refuse numbers of threads that mean nothing; raises BadSetting."""
    if count is not None and count < 1:
        raise BadSetting(f"The number of threads is {count}. It must be at least 1.")


def find_images(paths: Iterable[Path], *, as_stack: bool = False) -> tuple[Path, ...]:
    """Replace folders by the images in them and patterns (*, ?) by what they match.

    Parameters
    ----------
    as_stack : keep folders, each of which is opened as one stack

    Raises
    ------
    BadFile  If a folder or a pattern yields nothing.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not is_zarr(path) and not as_stack:
            found += images_in(path)
        elif glob.has_magic(str(path)) and not path.exists():
            matches = sorted(path.parent.glob(path.name), key=natural_order)
            if not matches:
                raise BadFile(f"No file matches {path}. Check the pattern.")
            found += matches
        else:
            found.append(path)
    if not found:
        raise BadFile("No image was given. Name at least one file with noisy frames.")
    return tuple(dict.fromkeys(Path(item).resolve() for item in found))


def open_noisy(
    paths: Sequence[Path], axes: str | None, channel: int | str | None, frames: str
) -> tuple[OpenedImage, ...]:
    """Open all images of a run; no pixel is read.

    Parameters
    ----------
    channel : a number, "all", or None where there is only one
    frames : which frames of each file, e.g. "0-9,12"; empty for all

    Raises
    ------
    BadFile, BadAxes, BadData, BadSetting
    """
    opened = tuple(_open_one(path, axes, channel, frames) for path in paths)
    counts = {len(image.channels) for image in opened}
    if len(counts) > 1:
        figures = ", ".join(f"{i.path.name}: {len(i.channels)}" for i in opened)
        raise BadAxes(
            "Files that are trained together need the same number of channels "
            f"({figures}). Denoise them in separate runs, or choose one channel."
        )
    return opened


def open_targets(
    paths: Sequence[Path],
    images: Sequence[OpenedImage],
    axes: str | None,
    channel: int | str | None,
    frames: str,
) -> tuple[OpenedImage, ...]:
    """Open the target of each image, with the same channels and frames.

    A target of one channel serves for the one channel that is denoised.

    Parameters
    ----------
    images : the noisy ones, in the order of their targets
    others : see `open_noisy`

    Raises
    ------
    BadFile, BadAxes, BadData, BadSetting
    """
    check_counts(len(images), len(paths))
    opened = []
    for path, image in zip(paths, images, strict=True):
        source = open_image(path, axes)
        try:
            count = channel_count(source.data, source.axes)
        except (BadAxes, BadData) as error:
            raise _in_file(error, path) from error
        known = image.frames[0].layout.n_channels
        if count != known and (count > 1 or len(image.channels) > 1):
            raise BadAxes(
                f"The target {path.name} has {count} channel{'s' * (count != 1)}, the "
                f"noisy image {image.path.name} has {known}. Choose one channel of the "
                "noisy image and give a target of that channel alone, or name the axes "
                "of the target."
            )
        chosen = channel if count > 1 or isinstance(channel, str) else None
        opened.append(_open_one(path, axes, chosen, frames))
    return tuple(opened)


def open_frames(path: Path, axes: str | None, channel: int) -> Frames:
    """Open one channel of a recording; a recording of one channel serves for all."""
    source = open_image(path, axes)
    try:
        count = channel_count(source.data, source.axes)
        chosen = channel if count > 1 else None
        return as_frames(source.data, source.axes, chosen, name=path.name)
    except (BadAxes, BadData) as error:
        raise _in_file(error, path) from error


def parse_frames(text: str, count: int) -> tuple[int, ...]:
    """Turn "0-9,12" into numbers of frames, counted from 0.

    Raises
    ------
    BadSetting  If the text is not understood or names a frame that does not exist.
    """
    chosen: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d*)\s*)?", part)
        if match is None:
            raise BadSetting(
                f"The frames '{text}' are not understood at '{part}'. Write numbers "
                "and ranges counted from 0, for example 0-9,12 or 5- for all from 5."
            )
        first = int(match[1])
        last = first if match[2] is None else int(match[2] or count - 1)
        if max(first, last) >= count or last < first:
            raise BadSetting(
                f"The frames '{part.strip()}' are not there: the image has {count} "
                f"frame{'s' * (count != 1)}, numbered 0 to {count - 1}."
            )
        chosen += range(first, last + 1)
    return tuple(dict.fromkeys(chosen))


class HasFrames(Protocol):
    """What is read as one, an `OpenedImage` or an array."""

    @property
    def frames(self) -> tuple[Frames, ...]:
        """Frames of each channel."""
        ...


def read_through(
    images: Sequence[HasFrames], stop: StopToken
) -> Generator[Event, None, list[str]]:
    """Read every frame once: all must be finite, and the run remembers their hash.

    A broken frame shows before hours of training, not after.

    Returns
    -------
    list of str
        SHA-256 of the frames of each image as float32; incomplete if stopped.

    Raises
    ------
    BadData, BadFile
    """
    began = time.perf_counter()
    total = sum(len(f) for image in images for f in image.frames)
    yield StageStarted("reading", total)
    done = 0
    hashes: list[str] = []
    for image in images:
        digest = hashlib.sha256()
        for frames in image.frames:
            digest.update(f"{frames.shape} {frames.dtype}".encode())
            for index in range(len(frames)):
                if stop.is_stopped:
                    return hashes
                digest.update(frames.frame(index).tobytes())
                done += 1
                yield StepDone("reading", done, total)
        hashes.append(digest.hexdigest())
    yield StageFinished("reading", time.perf_counter() - began)
    return hashes


def dark_level(frames: Frames) -> tuple[float, float]:
    """Offset and read noise (ADU) of a recording without light.

    The noise is that between frames, so that a fixed pattern does not count; with one
    frame it is that between its pixels.
    """
    total = np.zeros(frames.shape)
    squares = np.zeros(frames.shape)
    base = float(frames.frame(0).mean())
    for frame in frames:
        total += frame - base
        squares += np.square(frame - base, dtype=np.float64)
    count = len(frames)
    offset = base + float(total.mean()) / count
    if count == 1:
        return offset, float(total.std())
    variance = (squares - total**2 / count) / (count - 1)
    return offset, math.sqrt(max(float(variance.mean()), 0.0))


def _open_one(
    path: Path, axes: str | None, channel: int | str | None, frames: str
) -> OpenedImage:
    if isinstance(channel, str) and channel != ALL_CHANNELS:
        raise BadSetting(f"The channel is '{channel}'. Give a number from 0, or 'all'.")
    source = open_image(path, axes)
    try:
        count = channel_count(source.data, source.axes)
        is_all = isinstance(channel, str)
        numbers = range(count) if isinstance(channel, str) else [channel]
        opened = tuple(
            as_frames(source.data, source.axes, n, name=path.name) for n in numbers
        )
    except (BadAxes, BadData) as error:
        raise _in_file(error, path) from error
    if frames:
        chosen = _frames_in_file(frames, len(opened[0]), path)
        opened = tuple(part.select(chosen) for part in opened)
    channels = tuple(part.channel for part in opened)
    return OpenedImage(path, source, opened, channels, is_all)


def _frames_in_file(frames: str, count: int, path: Path) -> tuple[int, ...]:
    try:
        return parse_frames(frames, count)
    except BadSetting as error:
        raise BadSetting(f"{path.name}: {error}") from error


def _in_file(error: BadAxes | BadData, path: Path) -> BadAxes | BadData:
    """Say of which file an error is, and name the options of the command line."""
    text = f"{path.name}: {error}"
    if "channel=" in text:
        text += " On the command line: --channel 0, or --channel all for all of them."
    return type(error)(text)
