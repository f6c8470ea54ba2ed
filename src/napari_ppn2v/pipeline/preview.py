"""A look at one frame while training goes on.

`Preview` is the part that two threads share: the viewer says what it shows, the
training asks. Nothing here imports torch before a picture is due.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.events import Notice, PreviewReady

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.many_samples import LikelihoodRows
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

MOST_PIXELS = 2**20
MOST_SAMPLES = 2**26  # pixels times prior samples: hundreds of samples take long
FIRST_STEP = 3  # of a stage, after which the first preview is due
SHARE_OF_TIME = 0.05
# what sources raise that cannot be read, and torch where memory runs out
_UNREADABLE = (
    PPN2VError,
    OSError,
    ValueError,
    IndexError,
    RuntimeError,
    MemoryError,
)
TILE = 256  # pixels; between tiles a stop is looked for


@dataclass(frozen=True, slots=True)
class Target:
    """What is looked at; `number` tells two targets apart."""

    number: int
    frame: int
    rows: slice
    columns: slice


class Preview:
    """What the user looks at, for a training in another thread to denoise.

    Parameters
    ----------
    frames : of the stack on screen, whole
    seconds_between : least time between two previews of the same target
    """

    def __init__(self, frames: Frames, seconds_between: float = 2.0) -> None:
        self.frames, self.seconds_between = frames, seconds_between
        self._lock = threading.Lock()
        self._target = Target(0, 0, slice(None), slice(None))

    def look_at(
        self, frame: int, rows: slice | None = None, columns: slice | None = None
    ) -> None:
        """Look at a part of a frame from now on; safe to call from any thread.

        Parameters
        ----------
        frame : from 0
        rows, columns : None for all; cut at the borders of the frame
        """
        wanted = (frame, rows or slice(None), columns or slice(None))
        with self._lock:
            now = self._target
            if wanted != (now.frame, now.rows, now.columns):
                self._target = Target(now.number + 1, *wanted)

    @property
    def target(self) -> Target:
        """What is looked at now."""
        with self._lock:
            return self._target


@dataclass(frozen=True, slots=True)
class _View:
    """Pixels of one target: `seen` is read with its surroundings, `inner` is shown."""

    target: Target
    rows: slice
    columns: slice
    seen: NDArray[np.float32]
    inner: tuple[slice, slice]

    def shown(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cut the surroundings off."""
        return image[self.inner].copy()


@dataclass
class StagePreview:
    """The previews of one stage; the training asks after every step.

    Attributes
    ----------
    noise_model : for the MMSE estimate, on the device of the training; None without
    start : network that a refinement started from, None elsewhere
        Its estimate is then the prior mean, and that of the trained network the MMSE.
    """

    preview: Preview
    stage: str
    noise_model: NoiseModel | None = None
    start: PriorNetwork | None = None
    _view: _View | None = None
    _prior_mean: NDArray[np.float32] | None = None  # of `start`, for this view
    _likelihood: NoiseModel | LikelihoodRows | None = None
    _refused: set[int] = field(default_factory=set)
    _ended: float = 0.0
    _cost: float = 0.0

    def events(
        self, model: PriorNetwork, step: int, stop: StopToken
    ) -> Iterator[Event]:
        """Yield a preview if one is due; `model` is left in training mode.

        A picture takes no randomness and changes no weight, so that a training with
        previews ends with the bits of one without.
        """
        target = self.preview.target
        if step < FIRST_STEP or target.number in self._refused or stop.is_stopped:
            return
        if not self._is_due(target):
            return
        began = time.perf_counter()
        try:
            picture = self._picture(model, target, stop)
        except _UNREADABLE as error:
            yield from self._refuse(target, error)
            return
        finally:
            model.train()
            self._ended = time.perf_counter()
            self._cost = self._ended - began
        if picture is not None:
            yield picture

    def _is_due(self, target: Target) -> bool:
        waited = time.perf_counter() - self._ended
        if self._view is None or self._view.target.number != target.number:
            # at once; but who scrolls through frames shall not bring training to rest
            return waited >= self._cost
        pause = self._cost * (1 - SHARE_OF_TIME) / SHARE_OF_TIME
        return waited >= max(self.preview.seconds_between, pause)

    def _refuse(self, target: Target, error: Exception) -> Iterator[Event]:
        """Say once that a target cannot be shown, and leave it alone."""
        is_first = not self._refused
        self._refused.add(target.number)
        if is_first:
            yield Notice(
                f"There is no preview of frame {target.frame}: {error} Training goes "
                "on; look at another frame to see it denoised.",
                is_warning=True,
            )

    def _picture(
        self, model: PriorNetwork, target: Target, stop: StopToken
    ) -> PreviewReady | None:
        view = self._view_of(target, model)
        model.eval()
        mean, mmse = _estimate(model, self._likelihood_of(model), view, stop)
        if mean is not None and self.start is not None:
            if self._prior_mean is None:
                self._prior_mean, _ = _estimate(self.start, None, view, stop)
            mean, mmse = self._prior_mean, mean
        if mean is None:
            return None
        return PreviewReady(
            stage=self.stage,
            frame=target.frame,
            rows=view.rows,
            columns=view.columns,
            observation=view.shown(view.seen),
            prior_mean=mean,
            mmse=mmse,
        )

    def _likelihood_of(self, model: PriorNetwork) -> NoiseModel | LikelihoodRows | None:
        """Return the noise model, tabulated where there are many samples per pixel."""
        if self.noise_model is None or model.n_samples == 1 or self.start is not None:
            return None
        if self._likelihood is None:
            from napari_ppn2v.core.many_samples import (
                WORTHWHILE_SAMPLES,
                LikelihoodRows,
            )

            is_many = model.n_samples >= WORTHWHILE_SAMPLES
            tabulated = is_many and model.prior_kind == "free"
            self._likelihood = (
                LikelihoodRows(self.noise_model) if tabulated else self.noise_model
            )
        return self._likelihood

    def _view_of(self, target: Target, model: PriorNetwork) -> _View:
        """Read the pixels of a target once."""
        if self._view is None or self._view.target.number != target.number:
            most = min(MOST_PIXELS, MOST_SAMPLES // max(1, model.n_samples))
            self._view, self._prior_mean = None, None
            self._view = _read(self.preview.frames, target, model, most)
        return self._view


def _read(frames: Frames, target: Target, model: PriorNetwork, most: int) -> _View:
    """Read a target, and around it what the network's estimate depends on."""
    network = model.network
    height, width = frames.shape
    shown = _centre(_plain(target.rows, height), _plain(target.columns, width), most)
    read, inner = [], []
    for part, length in zip(shown, (height, width), strict=True):
        first = max(0, (part.start - network.halo) // network.stride * network.stride)
        read.append(slice(first, min(length, part.stop + network.halo)))
        inner.append(slice(part.start - first, part.stop - first))
    seen = frames.region(target.frame, read[0], read[1])
    return _View(target, shown[0], shown[1], seen, (inner[0], inner[1]))


def _plain(part: slice, length: int) -> slice:
    """Cut a slice at the borders; what lies outside as a whole becomes all of it."""
    start, stop, _ = part.indices(length)
    return slice(start, stop) if start < stop else slice(0, length)


def _centre(rows: slice, columns: slice, most: int) -> tuple[slice, slice]:
    """Keep at most about `most` pixels in the middle of a region."""
    sizes = [rows.stop - rows.start, columns.stop - columns.start]
    side = int(most**0.5)
    if sizes[0] * sizes[1] <= most:
        return rows, columns
    # a narrow region keeps its width and loses length alone
    short = min(*sizes, side)
    kept = [min(size, max(side, most // short)) for size in sizes]
    if kept[0] * kept[1] > most:
        kept = [min(size, side) for size in sizes]
    first, second = (
        slice(part.start + (size - keep) // 2, part.start + (size - keep) // 2 + keep)
        for part, size, keep in zip((rows, columns), sizes, kept, strict=True)
    )
    return first, second


def _estimate(
    model: PriorNetwork,
    likelihood: NoiseModel | LikelihoodRows | None,
    view: _View,
    stop: StopToken,
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    """Prior mean and MMSE of what is shown in one pass, None twice if stopped."""
    import numpy as np

    from napari_ppn2v.core.inference import estimate_tiles

    mean = np.empty_like(view.seen)
    mmse = None if likelihood is None else np.empty_like(view.seen)
    for rows, columns, block in estimate_tiles(
        model, likelihood, view.seen, None, TILE
    ):
        mean[rows.keep, columns.keep] = block.prior_mean
        if mmse is not None and block.mmse is not None:
            mmse[rows.keep, columns.keep] = block.mmse
        if stop.is_stopped:
            return None, None
    return view.shown(mean), None if mmse is None else view.shown(mmse)
