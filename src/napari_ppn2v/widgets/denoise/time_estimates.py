"""Time estimates of the presets, measured in the worker when the image changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_ppn2v.session.session import Session
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.budget import Timing
    from napari_ppn2v.pipeline.stack_request import StackRequest
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.workers import Run

QUIET_MS = 500  # without a change before something is measured


class TimeEstimates(QObject):
    """Measures once for each image and network; a click on Denoise goes first.

    Its runs have a session of their own, so that no button waits for them.

    Signals
    -------
    measured
        There is a new timing.
    began
        A measurement has begun.
    failed
        Nothing could be measured; the run itself will say why.
    """

    measured = Signal()
    began = Signal()
    failed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = Session()
        self._run: Run | None = None
        self._wanted: tuple[Any, StackRequest] | None = None
        self._key: Any = None
        self.timing: Timing | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(QUIET_MS)
        self._timer.timeout.connect(self._start)

    def want(self, request: StackRequest) -> None:
        """Ask for the timing of a run; nothing happens where it is known."""
        key = _key(request)
        if key == self._key:
            return
        self.cancel()
        self._key, self._wanted = key, (key, request)
        self.timing = None
        self._timer.start()

    def cancel(self) -> None:
        """Measure no more; what was not measured may be asked for again."""
        self._timer.stop()
        if self._run is not None:
            self._run.abandon()
            self._run = None
        if self.timing is None:
            self._key = None

    def _start(self) -> None:
        if self._wanted is None:
            return
        if self._session.is_busy:  # an abandoned one is coming to its end
            self._timer.start()
            return
        key, request = self._wanted
        self._wanted = None

        def job(stop: StopToken) -> Generator[Event, None, Timing]:
            return _measure(request, stop)

        def done(timing: Timing) -> None:
            if key == self._key and not timing.is_stopped:
                self.timing = timing
                self.measured.emit()

        self._run = launch(
            self._session,
            job,
            title="Measuring the speed",
            on_done=done,
            on_failed=lambda _: self.failed.emit(),
            is_quiet=True,  # the run itself will say what is wrong
        )
        self.began.emit()


def _key(request: StackRequest) -> tuple[Any, ...]:
    """Return what a timing depends on."""
    config, frames = request.config, request.training_source(request.channels[0])
    trainings = (config.pretraining, config.training, config.refinement)
    sizes = tuple((t.batch_size, t.patch_size, t.mask_box) for t in trainings)
    return (
        len(frames),
        frames.shape,
        config.network,
        config.prior,
        sizes,
        request.device,
        request.threads,
    )


def _measure(request: StackRequest, stop: StopToken) -> Generator[Event, None, Timing]:
    from napari_ppn2v.core.devices import choose_devices, threads
    from napari_ppn2v.pipeline.budget import time_steps

    device, *others = choose_devices(request.device)
    with threads(request.threads):
        return (
            yield from time_steps(
                [request.training_source(request.channels[0])],
                request.config,
                device=device,
                stop=stop,
                other_devices=others,
            )
        )
