"""Several files as one stack, of which only a few are open at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.lazy import JoinedArray, LazyArray
from napari_ppn2v.files.name_patterns import named_grid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_ppn2v.files.source import ImageSource

OPEN_AT_A_TIME = 16
"""Files of a stack that are kept open: systems allow some hundreds per process."""

_NAMED = 3


def stack_of_files(
    paths: Sequence[Path],
    open_one: Callable[[Path], ImageSource],
    *,
    folder: str = "",
) -> ImageSource:
    """Join files to one stack; each is opened once, for its shape, and closed again.

    Parameters
    ----------
    paths : in the order of the stack
    open_one : opens a file without reading pixels
    folder : name of the folder that they are all the images of, else empty

    Raises
    ------
    BadFile  If files do not match, or names of a folder's files tell of an incomplete
        grid or of channels that could be mixed up.
    """
    first = open_one(paths[0])
    _, axes = _joint_axis(first)
    grid = named_grid([path.name for path in paths]) if folder else None
    if grid is not None and set(grid.axes) & set(first.axes or "TZC"):
        grid = None  # files that are stacks themselves along such an axis
    parts = _parts(paths, first, open_one, None if grid else _joint_axis(first)[0])
    data: LazyArray
    if grid is not None:
        data = _nested([parts[at] for at in grid.order], grid.sizes)
        axes = grid.axes + (first.axes or "YX")
        note = grid.describe()
    else:
        data = JoinedArray(parts, _joint_axis(first)[0])
        along = f"along {axes[_joint_axis(first)[0] or 0]}" if axes else "one by one"
        note = f"{len(paths)} files joined {along}, in the order of their names"
    return replace(
        first,
        data=data,
        axes=axes,
        name=folder or f"{first.name} and {len(paths) - 1} more",
        metadata={
            **first.metadata,
            "files": tuple(path.name for path in paths),
            "stack": note,
        },
    )


class _OpenFiles:
    """The files of one stack that were read last, for any thread."""

    def __init__(self, open_one: Callable[[Path], ImageSource]) -> None:
        self._open_one = open_one
        self._open: OrderedDict[Path, LazyArray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path) -> LazyArray:
        with self._lock:
            if path not in self._open:
                self._open[path] = self._open_one(path).data
            self._open.move_to_end(path)
            while len(self._open) > OPEN_AT_A_TIME:
                self._open.popitem(last=False)  # closes with its last reader
            return self._open[path]


class _FileOfStack(LazyArray):
    """One file of a stack, opened when it is read."""

    def __init__(self, path: Path, source: ImageSource, files: _OpenFiles) -> None:
        self.path, self.shape = path, tuple(source.shape)
        self.dtype = np.dtype(source.dtype)
        self._files = files

    def __getitem__(self, index: Any) -> np.ndarray:
        found = self._files.get(self.path)
        if found.shape != self.shape or found.dtype != self.dtype:
            raise BadFile(
                f"The file {self.path} has changed since its stack was opened. Open "
                "the stack again when all files are written."
            )
        return found[index]


def _parts(
    paths: Sequence[Path],
    first: ImageSource,
    open_one: Callable[[Path], ImageSource],
    axis: int | None,
) -> list[LazyArray]:
    """Check that all files match the first one, and let go of them again."""
    files = _OpenFiles(open_one)
    expected = _signature(first, axis)
    parts: list[LazyArray] = [_FileOfStack(paths[0], first, files)]
    others = []
    for path in paths[1:]:
        source = open_one(path)
        parts.append(_FileOfStack(path, source, files))
        if _signature(source, axis) != expected:
            others.append((path, source))
    if not others:
        return parts
    listed = ", ".join(f"{p.name} is {_summary(s)}" for p, s in others[:_NAMED])
    more = f", and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    raise BadFile(
        f"These files cannot be joined to one stack: {paths[0].name} is "
        f"{_summary(first)}, but {listed}{more}. Give only files of the same kind."
    )


def _nested(parts: Sequence[LazyArray], sizes: tuple[int, ...]) -> LazyArray:
    """Join files along several new axes, the last of them fastest."""
    if len(sizes) == 1:
        return JoinedArray(parts, None)
    count = len(parts) // sizes[0]
    rows = [
        _nested(parts[at * count : (at + 1) * count], sizes[1:])
        for at in range(sizes[0])
    ]
    return JoinedArray(rows, None)


def _joint_axis(source: ImageSource) -> tuple[int | None, str | None]:
    """Axis along which files are joined (None: a new one), and the axes then."""
    if source.axes is None:
        return 0, None
    if "T" in source.axes:
        return source.axes.index("T"), source.axes
    return None, "T" + source.axes


def _signature(source: ImageSource, axis: int | None) -> tuple[Any, ...]:
    shape = tuple(size for at, size in enumerate(source.shape) if at != axis)
    return shape, source.axes, np.dtype(source.dtype).newbyteorder("=")


def _summary(source: ImageSource) -> str:
    sizes = " x ".join(str(size) for size in source.shape)
    return f"{sizes} ({source.axes or 'axes unknown'}, {source.dtype})"
