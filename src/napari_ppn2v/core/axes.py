"""The axes of the user's array and the way from frames back into them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadAxes, BadData

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = "TZCYX"
"""Letters an axes string may hold: time, depth, channel, row, column."""


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """The axes of the user's array, and the way back into them.

    Frames are numbered over all axes but C, Y and X, in the user's order, the last of
    them fastest: for "TZCYX" frame 1 is the second plane of the first time point.

    Attributes
    ----------
    axes
        One letter of "TZCYX" per axis, in the order of the user's array.
    shape
        Size of each of those axes.
    guess
        A sentence for the user where the axes were guessed, empty where given.
    """

    axes: str
    shape: tuple[int, ...]
    guess: str = field(default="", compare=False)

    def size(self, axis: str) -> int:
        """Size of one axis by its letter; 1 where the array has no such axis."""
        return self.shape[self.axes.index(axis)] if axis in self.axes else 1

    @property
    def frame_axes(self) -> str:
        """Letters of the axes that are run through frame by frame."""
        return "".join(axis for axis in self.axes if axis not in "CYX")

    @property
    def n_frames(self) -> int:
        """Number of (Y, X) frames in one channel."""
        return math.prod(self.size(axis) for axis in self.frame_axes)

    @property
    def n_channels(self) -> int:
        """Number of channels, 1 without a channel axis."""
        return self.size("C")

    @property
    def frame_shape(self) -> tuple[int, int]:
        """Size (Y, X) of a frame."""
        return self.size("Y"), self.size("X")

    @property
    def is_transposed(self) -> bool:
        """Whether X comes before Y in the user's array."""
        return self.axes.index("X") < self.axes.index("Y")

    def positions(self, frame: int) -> dict[str, int]:
        """Position of a frame along each of the frame axes."""
        sizes = tuple(self.size(axis) for axis in self.frame_axes)
        where = np.unravel_index(frame, sizes) if sizes else ()
        return {a: int(at) for a, at in zip(self.frame_axes, where, strict=True)}

    def index(
        self, frame: int, rows: slice, columns: slice, *, channel: int = 0
    ) -> tuple[int | slice, ...]:
        """Index into the user's array of one part of one frame.

        What is read with it is (Y, X), or (X, Y) where `is_transposed`.
        """
        parts: dict[str, int | slice] = {"C": channel, "Y": rows, "X": columns}
        parts.update(self.positions(frame))
        return tuple(parts[axis] for axis in self.axes)

    def of_result(self, n_channels: int | None = None) -> AxisLayout:
        """Layout of a result, in the user's order.

        Parameters
        ----------
        n_channels
            Number of channels put together. None means a result for one channel; it
            has no channel axis, unless the user's array has one of size 1.
        """
        if "C" not in self.axes:
            if n_channels not in (None, 1):
                raise BadAxes(
                    f"{n_channels} channels cannot be put together: the image (axes "
                    f"{self.axes}) has no channel axis."
                )
            return AxisLayout(self.axes, self.shape)
        if n_channels is None and self.n_channels > 1:
            keep = [i for i, axis in enumerate(self.axes) if axis != "C"]
            axes = "".join(self.axes[i] for i in keep)
            return AxisLayout(axes, tuple(self.shape[i] for i in keep))
        return self._resized({"C": n_channels or 1})

    def of_selection(self, indices: Sequence[int]) -> AxisLayout:
        """Layout of some of the frames.

        A selection that is a grid (whole time points, say) keeps its axes. Of any
        other, the frames lie along the first frame axis and the rest have size 1. A
        single image of which several frames are asked for gains a T axis in front.
        """
        if not self.frame_axes:
            if len(indices) == 1:
                return self
            return AxisLayout("T" + self.axes, (len(indices), *self.shape), self.guess)
        taken = {
            axis: list(dict.fromkeys(self.positions(i)[axis] for i in indices))
            for axis in self.frame_axes
        }
        sizes = [self.size(axis) for axis in self.frame_axes]
        grid = np.arange(self.n_frames).reshape(sizes)[np.ix_(*taken.values())]
        if grid.size == len(indices) and np.array_equal(grid.ravel(), indices):
            return self._resized({axis: len(at) for axis, at in taken.items()})
        first, *others = list(self.frame_axes)
        return self._resized({first: len(indices), **dict.fromkeys(others, 1)})

    def of_region(self, shape: tuple[int, ...]) -> AxisLayout:
        """Layout of a region (Y, X) of the frames."""
        return self._resized({"Y": shape[0], "X": shape[1]})

    def describe(self, dtype: np.dtype, channel: int = 0) -> str:
        """Say in one line what these axes mean, and whether they were guessed."""
        height, width = self.frame_shape
        count = self.n_frames
        parts = [f"{count} frame{'s' if count != 1 else ''} of {height} x {width}"]
        if len(self.frame_axes) > 1:
            sizes = [f"{axis}={self.size(axis)}" for axis in self.frame_axes]
            parts[0] += f" ({', '.join(sizes)})"
        parts.append(np.dtype(dtype).name)  # without the order of its bytes
        if "C" in self.axes:
            parts.append(f"channel {channel} of {self.n_channels}")
        else:
            parts.append("no channel axis")
        return ", ".join(parts) + (" (guessed)" if self.guess else "")

    def restore(self, frames: Any) -> np.ndarray:
        """Put the frames of one channel back into the user's axes and order.

        Parameters
        ----------
        frames : array (N, Y, X) or a sequence of N arrays (Y, X)

        Returns
        -------
        ndarray with the axes of `of_result()`, of the dtype of `frames`.

        Raises
        ------
        BadData  If the number or the size of the frames differs from the layout.
        """
        stack = self._checked_stack(frames)
        result = self.of_result()
        stacked_axes = self.frame_axes + "YX"
        if "C" in result.axes:
            stack, stacked_axes = stack[np.newaxis], "C" + stacked_axes
        return result._arranged(stack, stacked_axes)

    def restore_channels(self, channels: Sequence[Any]) -> np.ndarray:
        """Put the frames of several channels together in the user's axes and order.

        Parameters
        ----------
        channels : sequence of what `restore` takes, one per channel, in order

        Returns
        -------
        ndarray with the axes of `of_result(len(channels))`.
        """
        result = self.of_result(len(channels))
        stack = np.stack([self._checked_stack(frames) for frames in channels])
        if "C" not in result.axes:
            return result._arranged(stack[0], self.frame_axes + "YX")
        return result._arranged(stack, "C" + self.frame_axes + "YX")

    def _resized(self, sizes: dict[str, int]) -> AxisLayout:
        shape = tuple(
            sizes.get(axis, size)
            for axis, size in zip(self.axes, self.shape, strict=True)
        )
        return AxisLayout(self.axes, shape, self.guess)

    def _checked_stack(self, frames: Any) -> np.ndarray:
        stack = np.asarray(frames)
        expected = (self.n_frames, *self.frame_shape)
        if stack.shape != expected:
            raise BadData(
                f"The result has shape {stack.shape}, but {expected[0]} frames of "
                f"{expected[1]} x {expected[2]} belong to this image (axes "
                f"{self.axes}, shape {self.shape})."
            )
        return stack

    def _arranged(self, stack: np.ndarray, stacked_axes: str) -> np.ndarray:
        """Split the frame axis and bring all axes into the order of this layout."""
        stack = stack.reshape([self.size(axis) for axis in stacked_axes])
        order = [stacked_axes.index(axis) for axis in self.axes]
        return np.ascontiguousarray(stack.transpose(order))


def layout_for(shape: tuple[int, ...], dtype: np.dtype, axes: str | None) -> AxisLayout:
    """Fit the axes given to an array, or guess them and state the guess.

    Raises
    ------
    BadAxes  If the axes do not fit, or the number of axes allows no guess.
    """
    if axes is not None:
        return AxisLayout(check_axes(axes, shape), shape)
    layout = AxisLayout(_guessed_axes(shape), shape)
    return AxisLayout(layout.axes, shape, f"{layout.describe(dtype)} (guessed)")


def check_axes(axes: str, shape: tuple[int, ...]) -> str:
    """Return the axes string in capitals if it fits an array of this shape.

    Raises
    ------
    BadAxes  Naming the letter or the number of axes that is wrong.
    """
    letters = axes.strip().upper()
    start = f"The axes '{axes}' do not fit the image of shape {shape}: "
    unknown = sorted(set(letters) - set(AXES))
    if unknown:
        raise BadAxes(
            f"{start}'{unknown[0]}' is none of T (time), Z (depth), C (channel or "
            "colour), Y and X. Use T for any series of frames and C for colours."
        )
    if len(set(letters)) < len(letters):
        twice = next(letter for letter in letters if letters.count(letter) > 1)
        raise BadAxes(f"{start}'{twice}' is there more than once.")
    missing = [letter for letter in "YX" if letter not in letters]
    if missing:
        raise BadAxes(f"{start}'{missing[0]}' is missing; every image has Y and X.")
    if len(letters) != len(shape):
        raise BadAxes(
            f"{start}they name {len(letters)} axes, the image has {len(shape)}. Give "
            "one letter per axis, in the order of the image."
        )
    return letters


def _guessed_axes(shape: tuple[int, ...]) -> str:
    if len(shape) in (3, 4) and shape[-1] in (3, 4):
        return "YXC" if len(shape) == 3 else "TYXC"
    guesses = {2: "YX", 3: "TYX", 4: "TZYX", 5: "TZCYX"}
    if len(shape) not in guesses:
        raise BadAxes(
            f"An image has 2 to 5 axes, this array has {len(shape)} (shape {shape}). "
            "Give it without the axes that are not T, Z, C, Y or X."
        )
    return guesses[len(shape)]


def channel_question(layout: AxisLayout) -> str:
    """Ask the user for a channel where an image has several."""
    count = layout.n_channels
    choice = (
        f"Choose one of channel=0 to channel={count - 1}; each is denoised by itself, "
        "as each has its own noise."
    )
    if not layout.guess:
        has = f"The image has {count} channels"
        return f"{has} (axes {layout.axes}, shape {layout.shape}). {choice}"
    frames = {3: "TYX", 4: "TZYX"}.get(len(layout.shape), "TZCYX")
    return (
        f"The image of shape {layout.shape} looks like {count} channels (axes guessed: "
        f"{layout.axes}). {choice} If this guess is wrong, name the axes, for example "
        f"axes='{frames}'."
    )
