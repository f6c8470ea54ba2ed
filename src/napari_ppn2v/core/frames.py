"""Image data of any axes and source as a lazily read sequence of 2-D frames.

Everything after this module sees frames of (Y, X) float32 in ADU. Which axes the
user's array has, in which order, and how results return into exactly that order is
known to `AxisLayout` alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_ppn2v.core.axes import AxisLayout, channel_question, layout_for
from napari_ppn2v.errors import BadAxes, BadData

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "ArrayLike",
    "AxisLayout",
    "Frames",
    "as_frames",
    "channel_count",
    "check_grey_values",
    "check_trainable",
    "evenly_spread",
]


# what lazy arrays raise when the file, the network or the computation behind fails
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError)


_FAINTEST, _STRONGEST = 1e-9, 1e9  # ADU
_RESOLUTION = 2.0**-20
_MOST_PIXELS = 2**60


class ArrayLike(Protocol):
    """What a source must offer; numpy, dask, Zarr and our file readers all do."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of each axis."""
        ...

    @property
    def dtype(self) -> Any:
        """Type of the elements."""
        ...

    def __getitem__(self, index: Any, /) -> Any:
        """Read a part; integers and slices with step 1 are all that is asked for."""
        ...


class Frames:
    """Frames of one channel, read when asked for, as (Y, X) float32 in ADU.

    Made by `as_frames`. The source is never written to and never read as a whole.
    Integers above 2**24 are rounded to the nearest float32.

    Attributes
    ----------
    shape
        Size (Y, X) of a frame.
    dtype
        Type of the source.
    layout
        Axes of the source (of what `select` has left of it), and the way back.
    channel
        The channel read, 0 where the source has no channel axis.
    name
        Of the file, for messages; empty for arrays.
    """

    def __init__(
        self,
        source: ArrayLike,
        layout: AxisLayout,
        *,
        channel: int = 0,
        indices: tuple[int, ...] | None = None,
        window: tuple[slice, slice] | None = None,
        name: str = "",
    ) -> None:
        self._source = source
        self._source_layout = layout
        self._indices = range(layout.n_frames) if indices is None else indices
        height, width = layout.frame_shape
        self._window = window or (slice(0, height), slice(0, width))
        rows, columns = self._window
        self.shape = (rows.stop - rows.start, columns.stop - columns.start)
        chosen = layout if indices is None else layout.of_selection(indices)
        self.layout = chosen.of_region(self.shape)
        self.channel, self.name = channel, name
        self.dtype: np.dtype = np.dtype(source.dtype)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"<Frames: {self.describe()}>"

    def frame(self, index: int) -> np.ndarray:
        """Read one frame: a new (Y, X) float32 array, ADU.

        Raises
        ------
        BadData  If the frame holds values that are not finite.
        IndexError  If there is no such frame.
        """
        return self.region(index, slice(None), slice(None))

    def region(self, index: int, rows: slice, columns: slice) -> np.ndarray:
        """Read a part of one frame, and only that where the source allows.

        Parameters
        ----------
        rows, columns
            Slices with step 1; they are cut at the border of the frame.

        Returns
        -------
        ndarray, (rows, columns) float32, ADU, independent of the source.

        Raises
        ------
        BadData  If the source fails, or the frame holds values that are not finite.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"There is no frame {index} among {len(self)}.")
        where = self._source_layout.index(
            self._indices[index],
            *self._in_source(rows, columns),
            channel=self.channel,
        )
        block = _read(self._source, where, index, self.name)
        if self._source_layout.is_transposed:
            block = block.T
        with np.errstate(over="ignore"):
            pixels = np.array(block, dtype=np.float32, order="C")
        _check_finite(pixels, index, self.name)
        return pixels

    def select(self, indices: Sequence[int] | range) -> Frames:
        """Return some of the frames, in the order given; nothing is read.

        Raises
        ------
        BadData  If no frame is selected or one does not exist.
        """
        chosen = [int(index) for index in indices]
        wrong = [index for index in chosen if not 0 <= index < len(self)]
        if wrong or not chosen:
            what = f"Frame {wrong[0]} does not exist" if wrong else "No frame is chosen"
            raise BadData(
                f"{what}: the image has {len(self)} frames, numbered 0 to "
                f"{len(self) - 1}. Choose among these."
            )
        return Frames(
            self._source,
            self._source_layout,
            channel=self.channel,
            indices=tuple(self._indices[index] for index in chosen),
            window=self._window,
            name=self.name,
        )

    def crop(self, rows: slice, columns: slice) -> Frames:
        """Return a region of every frame, cut at the border; nothing is read.

        Raises
        ------
        BadData  If the region holds no pixel.
        """
        window = self._in_source(rows, columns)
        if any(part.stop <= part.start for part in window):
            height, width = self.shape
            raise BadData(
                f"The region (rows {_words(rows)}, columns {_words(columns)}) lies "
                f"outside of the frames of {height} x {width} pixels. Choose a region "
                "inside of them."
            )
        return Frames(
            self._source,
            self._source_layout,
            channel=self.channel,
            indices=tuple(self._indices),
            window=window,
            name=self.name,
        )

    def _in_source(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return rows and columns of these frames as those of the source."""
        inside = (
            _plain_slice(part, size)
            for part, size in zip((rows, columns), self.shape, strict=True)
        )
        moved = [
            slice(part.start + kept.start, part.stop + kept.start)
            for part, kept in zip(inside, self._window, strict=True)
        ]
        return moved[0], moved[1]

    def describe(self) -> str:
        """Say in one line what is read, and whether the axes were guessed."""
        return self.layout.describe(self.dtype, self.channel)


def as_frames(
    data: Any, axes: str | None = None, channel: int | None = None, *, name: str = ""
) -> Frames:
    """Read any array as a sequence of 2-D frames, without loading it.

    Parameters
    ----------
    data
        numpy array, memmap, dask or Zarr array, a reader of `files.images`, or
        anything else with `shape`, `dtype` and indexing; any integer or real type.
    axes
        One letter of "TZCYX" per axis of the array, in its order. None guesses from
        the number of axes (YX, TYX, TZYX, TZCYX) and says so in `layout.guess`.
    channel
        Which channel to read, from 0. Needed where there are several: every channel
        has its own detector and so its own noise.
    name
        Of the file, for messages about its pixels.

    Raises
    ------
    BadAxes  If the axes do not fit the array, or a channel has to be chosen.
    BadData  If the array is empty or not of integers or real numbers.
    """
    source = _as_array(data)
    layout = _layout_of(source, axes)
    if channel is None and layout.n_channels > 1:
        raise BadAxes(channel_question(layout))
    channel = 0 if channel is None else int(channel)
    if not 0 <= channel < layout.n_channels:
        has = "1 channel" if layout.n_channels == 1 else f"{layout.n_channels} channels"
        raise BadAxes(
            f"There is no channel {channel}: the image (shape {layout.shape}, axes "
            f"{layout.axes}{' guessed' if layout.guess else ''}) has {has}, counted "
            "from 0. Choose another channel, or say which axis is the channel, for "
            "example axes='TCYX'."
        )
    return Frames(source, layout, channel=channel, name=name)


def channel_count(data: Any, axes: str | None = None) -> int:
    """Count the channels of an array: `as_frames(data, axes, channel)` for each works.

    Without axes, a last axis of size 3 or 4 counts as colour channels.
    """
    return _layout_of(_as_array(data), axes).n_channels


def evenly_spread(n: int, count: int) -> list[int]:
    """Return `count` of the numbers 0 to n - 1, evenly spread; all if there are less.

    One alone is the first.
    """
    places = np.linspace(0, n - 1, max(0, min(n, count)))
    return [int(place) for place in places.round()]


def check_trainable(frames: Frames, minimum_side: int) -> None:
    """Refuse frames from which nothing can be learned, reading no more than needed.

    Parameters
    ----------
    minimum_side
        Smallest height and width, in pixels, that the network can be trained on.

    Raises
    ------
    BadData  If the frames are smaller than that, if every frame is constant, or the
        grey values are beyond what is computed with, see `check_grey_values`.
    """
    height, width = frames.shape
    if min(height, width) < minimum_side:
        raise BadData(
            f"{_of_file(frames.name)}The frames are {height} x {width} pixels, but "
            f"training needs at least {minimum_side} x {minimum_side}. Use larger "
            "frames, or a larger region of them."
        )
    value = 0.0
    for frame in frames:
        value = float(frame.flat[0])
        if (frame != value).any():
            pixels = frame.astype(np.float64)
            check_grey_values(float(pixels.mean()), float(pixels.std()), frames.name)
            return
    which = "the image" if len(frames) == 1 else f"each of the {len(frames)} frames"
    if frames.layout.n_channels > 1:
        which = f"channel {frames.channel} of {which}"
    raise BadData(
        f"{_of_file(frames.name)}Every pixel of {which} has the same value ({value:g} "
        "in the last one), so there is nothing to learn from. Check that the right "
        "file, channel and frames were chosen."
    )


def check_grey_values(mean: float, std: float, name: str = "") -> None:
    """Refuse grey values that computations in float32 cannot tell apart, or overflow.

    Parameters
    ----------
    mean, std : of the pixels, ADU, computed in float64

    Raises
    ------
    BadData  Unless the standard deviation is within 1e-9 and 1e9 ADU, and above a
        millionth (2^-20) of the mean: 16 steps of float32.
    """
    if not _FAINTEST <= std <= _STRONGEST:
        raise BadData(
            f"{_of_file(name)}The grey values have the mean {mean:.3g} and a standard "
            f"deviation {std:.3g}; noise is computed for standard deviations of "
            f"{_FAINTEST:g} to {_STRONGEST:g}. Check that the pixel type was read "
            "correctly and look for single pixels of an extreme value; else multiply "
            "the image by a constant."
        )
    if std < abs(mean) * _RESOLUTION:
        raise BadData(
            f"{_of_file(name)}The grey values are about {mean:.6g}, but differ by only "
            f"{std:.3g} (standard deviation), which float32 numbers cannot hold. "
            "Subtract a constant from the image, for example its smallest value."
        )


def _as_array(data: Any) -> ArrayLike:
    """Return the data as something with a numpy dtype, loading only plain lists."""
    if not (
        hasattr(data, "shape") and isinstance(getattr(data, "dtype", None), np.dtype)
    ):
        try:
            data = np.asarray(data)
        except (TypeError, ValueError) as error:
            raise BadData(
                f"The data ({type(data).__name__}) cannot be read as one array: "
                f"{error}. Give an array, or images that all have the same size."
            ) from error
    _check_dtype(data.dtype)
    if any(size < 1 for size in data.shape):
        raise BadData(
            f"The image is empty (shape {tuple(data.shape)}). Check the file and the "
            "range of frames chosen."
        )
    if math.prod(int(size) for size in data.shape) > _MOST_PIXELS:
        raise BadData(
            f"The image claims to have the shape {tuple(data.shape)}, which no drive "
            "holds. What it says about itself is damaged; export it once more."
        )
    return data


def _check_dtype(dtype: np.dtype) -> None:
    advice = {
        "b": "It looks like a mask. Choose the image as the camera recorded it.",
        "c": "Give its magnitude or its real part, whichever is the measured image.",
    }
    if dtype.kind not in "iuf":
        hint = advice.get(dtype.kind, "Give an array of integers or real numbers.")
        raise BadData(
            f"The image is of type {dtype}, which holds no grey values. {hint}"
        )


def _layout_of(source: ArrayLike, axes: str | None) -> AxisLayout:
    shape = tuple(int(size) for size in source.shape)
    return layout_for(shape, np.dtype(source.dtype), axes)


def _plain_slice(part: slice, size: int) -> slice:
    start, stop, step = part.indices(size)
    if step != 1:
        raise ValueError(f"A region is read with step 1, not {step}.")
    return slice(start, max(start, stop))


def _read(source: ArrayLike, where: Any, index: int, name: str) -> np.ndarray:
    """Read from a source that may be lazy: then anything may fail here.

    Raises
    ------
    BadData
    """
    try:
        return np.asarray(source[where])
    except _UNREADABLE as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BadData(
            f"{_of_file(name)}Frame {index} cannot be read ({lines[0]}). Check that "
            "what the image comes from, a file or a drive, is still there; then try "
            "again."
        ) from error


def _words(part: slice) -> str:
    start = "the first" if part.start is None else part.start
    return f"{start} to {'the last' if part.stop is None else part.stop}"


def _check_finite(pixels: np.ndarray, index: int, name: str) -> None:
    finite = np.isfinite(pixels)
    if finite.all():
        return
    n_nan = int(np.isnan(pixels).sum())
    n_infinite = int(pixels.size - finite.sum()) - n_nan
    raise BadData(
        f"{_of_file(name)}Frame {index} holds {n_nan} values that are not a number "
        f"(NaN) and {n_infinite} that are infinite or beyond 3.4e38, of {pixels.size} "
        "read. Use the recording as the camera wrote it, or replace these pixels, for "
        "example by the median of their neighbours."
    )


def _of_file(name: str) -> str:
    return f"{name}: " if name else ""
