"""One session for each viewer: the run that goes on, and the models made so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_ppn2v.session import state as states
from napari_ppn2v.session.state import RunState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event


@dataclass(frozen=True)
class NamedNoiseModel:
    """A noise model at hand.

    Attributes
    ----------
    name : unique in the session
    model : on the CPU
    pairs : what it was fitted to, None where that is not known
    origin : what it was made from, in words
    held_out_nll : nats per pixel and ADU, None where it was not measured
    """

    name: str
    model: NoiseModel
    pairs: PairHistogram | None = None
    origin: str = ""
    held_out_nll: float | None = None


@dataclass(frozen=True)
class NamedDenoiser:
    """A trained model at hand.

    Attributes
    ----------
    name : unique in the session
    denoisers : one for each channel it was trained for
    channels : their numbers
    origin : where it comes from, in words
    paths : files that hold the denoisers, empty where they are not saved
    """

    name: str
    denoisers: tuple[Denoiser, ...]
    channels: tuple[int, ...] = (0,)
    origin: str = ""
    paths: tuple[Path, ...] = ()


class Controls(Protocol):
    """What can be done to a run that goes on; `workers.Run` is one."""

    def stop(self) -> None:
        """End with the best so far."""
        ...

    def pause(self) -> None:
        """Wait."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...


class Session:
    """What the docks of one viewer share.

    Its signals are emitted on the thread that calls; `workers.launch` sees to it that
    this is the thread of the window.

    Attributes
    ----------
    state : of the run that goes on or of the last one
    run : that run, whichever dock began it; None before the first one
    noise_models, denoisers : by name, the newest last
    """

    state_changed = Signal(object)
    noise_models_changed = Signal()
    denoisers_changed = Signal()

    def __init__(self) -> None:
        self.state = RunState()
        self.run: Controls | None = None
        self.noise_models: dict[str, NamedNoiseModel] = {}
        self.denoisers: dict[str, NamedDenoiser] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a run is going on."""
        return self.state.status.is_busy

    @property
    def why_busy(self) -> str:
        """Say what is going on, for a disabled button; empty if nothing is."""
        return (
            f"{self.state.title} goes on. Wait for its end, or stop it."
            if self.is_busy
            else ""
        )

    # -- the run ----------------------------------------------------------------------

    def begin(
        self,
        title: str,
        planned: Sequence[tuple[str, int]] = (),
        expected: Mapping[str, float] | None = None,
    ) -> None:
        """Begin a run; see `state.begun`."""
        self._show(states.begun(title, planned, time.monotonic(), expected))

    def apply(self, event: Event) -> None:
        """Take note of an event of the run."""
        self.apply_all([event])

    def apply_all(self, events: Sequence[Event]) -> None:
        """Take note of several events at once; the views draw once."""
        now, state = time.monotonic(), self.state
        for event in events:
            state = states.advance(state, event, now)
        self._show(state)

    def pause(self) -> None:
        """Take note that the run pauses."""
        self._show(states.paused(self.state, time.monotonic()))

    def resume(self) -> None:
        """Take note that the run goes on."""
        self._show(states.resumed(self.state, time.monotonic()))

    def stopping(self) -> None:
        """Take note that the run was asked to stop."""
        self._show(states.stopping(self.state, time.monotonic()))

    def finish(self, message: str = "", *, is_stopped: bool = False) -> None:
        """Take note that the run is over."""
        now = time.monotonic()
        self._show(states.finished(self.state, now, message, is_stopped=is_stopped))

    def fail(self, message: str) -> None:
        """Take note that an error has ended the run."""
        self._show(states.failed(self.state, time.monotonic(), message))

    def _show(self, state: RunState) -> None:
        if state is not self.state:
            self.state = state
            self.state_changed.emit(state)

    # -- the models -------------------------------------------------------------------

    def add_noise_model(self, named: NamedNoiseModel) -> NamedNoiseModel:
        """Keep a noise model, under a name of its own; returns it as it is kept."""
        kept = _renamed(named, _free_name(named.name, self.noise_models))
        self.noise_models[kept.name] = kept
        self.noise_models_changed.emit()
        return kept

    def remove_noise_model(self, name: str) -> None:
        """Forget a noise model."""
        if self.noise_models.pop(name, None) is not None:
            self.noise_models_changed.emit()

    def add_denoiser(
        self, named: NamedDenoiser, *, replacing: bool = False
    ) -> NamedDenoiser:
        """Keep a trained model; returns it as it is kept."""
        name = named.name if replacing else _free_name(named.name, self.denoisers)
        kept = _renamed(named, name)
        self.denoisers.pop(name, None)
        self.denoisers[name] = kept
        self.denoisers_changed.emit()
        return kept


def _renamed(named: Any, name: str) -> Any:
    return replace(named, name=name)


def _free_name(name: str, taken: dict[str, Any]) -> str:
    """Return the name, numbered where it is taken."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name} ({number})", number + 1
    return free


_SESSIONS: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()


def session_of(viewer: Any) -> Session:
    """Return the session of a viewer; all docks of one viewer share one."""
    # napari hands docks a proxy that shows public names only
    real = getattr(viewer, "__wrapped__", viewer)
    if real not in _SESSIONS:
        _SESSIONS[real] = Session()
    return _SESSIONS[real]
