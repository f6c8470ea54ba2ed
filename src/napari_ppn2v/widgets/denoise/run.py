"""A denoising run in the dock: begun, watched, stopped, gone on with, taken over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from napari_ppn2v.errors import Busy, PPN2VError
from napari_ppn2v.events import PairsReady, PreviewReady
from napari_ppn2v.pipeline.memory_checkpoints import KeptTrainings
from napari_ppn2v.pipeline.preview import Preview
from napari_ppn2v.pipeline.recovery import Recovery
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.denoise.followups import RunActions
from napari_ppn2v.widgets.denoise.preview import PreviewControl
from napari_ppn2v.widgets.denoise.result_check import ResultCheckPart
from napari_ppn2v.widgets.denoise.trained_models import TrainedModels
from napari_ppn2v.widgets.denoise.words import closing_words
from napari_ppn2v.widgets.export.section import ExportSection
from napari_ppn2v.widgets.layers.results import add_leftover, add_results
from napari_ppn2v.widgets.parts.clipboard import copy_script
from napari_ppn2v.widgets.parts.file_names import file_stem
from napari_ppn2v.widgets.parts.run_monitor import RunMonitor
from napari_ppn2v.widgets.parts.section import Section
from napari_ppn2v.widgets.plots import LossPlot
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.result_check import ResultCheck
    from napari_ppn2v.pipeline.stack_job import StackReport
    from napari_ppn2v.session.session import Session
    from napari_ppn2v.session.state import RunState
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.widgets.denoise.order import Order
    from napari_ppn2v.widgets.noise_model.view import NoiseModelView
    from napari_ppn2v.workers import Run

    Job = Callable[[StopToken], Generator[Event, None, StackReport]]

MODEL_FILES = "Models (*.ppn2v)"
_OVER = (Status.FINISHED, Status.STOPPED, Status.FAILED)


class DenoiseRun(QWidget):
    """Everything below the button: stages, plots, preview, and what can follow."""

    def __init__(self, viewer: ViewerModel, session: Session) -> None:
        super().__init__()
        self._viewer, self._session = viewer, session
        self.preview = PreviewControl(viewer)
        self.losses = LossPlot(theme=viewer.theme)
        self.noise_plots = Section("Noise model")
        self.followups = RunActions()
        self.export = ExportSection(viewer, session)
        self.result_check = ResultCheckPart(theme=str(viewer.theme))
        self.run: Run | None = None
        self.monitor = RunMonitor(session, self)
        self.report: StackReport | None = None
        self.denoised: Image | None = None
        self._leftover: Image | None = None
        self.order: Order | None = None
        self._kept = KeptTrainings()
        self._recovery: Recovery | None = None
        self._pairs: list[PairHistogram] = []
        self._trained = TrainedModels(session)
        self._longer_from: Callable[[], StackReport] | None = None
        self._n_before = self._n_longer = 0
        self._view: NoiseModelView | None = None
        self._lay_out()
        self._connect()

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.monitor)
        below = (self.preview, self.losses, self.noise_plots)
        for part in (self.followups, self.export, self.result_check, *below):
            column.addWidget(part)
            part.hide()

    def _connect(self) -> None:
        self.followups.denoise.clicked.connect(self.denoise_with_kept)
        self.followups.resume.clicked.connect(self.resume)
        self.followups.longer.clicked.connect(self.train_longer)
        self.followups.save.clicked.connect(self._ask_where)
        self.followups.script.clicked.connect(lambda: copy_script(self.script))
        self.result_check.leftover_wanted.connect(self._show_leftover)
        self._session.state_changed.connect(self._on_state)
        self._viewer.events.theme.connect(self._on_theme)

    def close_down(self) -> None:
        """Stop the run, take the preview out, listen no more.

        What was trained can be taken up again from the disk.
        """
        if self.run is not None:
            self.run.abandon()
        if self._recovery is not None:
            self._recovery.release()
        self.export.close_down()
        self.result_check.cancel()
        self.preview.end()
        self.monitor.disconnect_session()
        self._session.state_changed.disconnect(self._on_state)
        self._viewer.events.theme.disconnect(self._on_theme)

    # -- runs -------------------------------------------------------------------------

    def start(self, order: Order) -> None:
        """Begin a run; raises Busy where another one goes on."""
        self._prepare(order, Recovery(given=order.given))
        self.go_on()

    def take_up(self, order: Order, recovery: Recovery) -> None:
        """Go on with a run that was interrupted; raises Busy where another goes on."""
        record = recovery.record
        self._prepare(order, recovery)
        if record is None or not record.is_longer:
            self.go_on()
            return
        self._n_before = self._n_longer = record.times_longer
        self._go_on_longer(lambda: recovery.load_trained(order.request))

    def _prepare(self, order: Order, recovery: Recovery) -> None:
        """Forget the run before, of which nothing can be resumed any more."""
        if self._session.is_busy:
            raise Busy(self._session.why_busy)
        self.order, self.report = order, None
        self.export.set_model(None)
        self._longer_from, self._trained = None, TrainedModels(self._session)
        self._n_before = self._n_longer = 0
        self._keep_in(recovery)

    def _keep_in(self, recovery: Recovery) -> Recovery | None:
        """Keep trainings here from now on; returns where they were before."""
        before, self._recovery = self._recovery, recovery
        if before is not None:
            before.remove()
        self._kept = KeptTrainings(recovery)
        return before

    def go_on(self) -> None:
        """Do what was ordered; trainings go on where they were stopped."""
        order, kept, recovery = self._ordered(), self._kept, self._recovery
        request, preview = order.request, self._begin_preview()
        assert recovery is not None

        def job(stop: StopToken) -> Generator[Event, None, StackReport]:
            from napari_ppn2v.pipeline.stack_job import denoise_stack

            wanted = request
            if order.saved is not None and request.config.method != "n2v":
                model = recovery.load_noise_model() or order.saved.load()
                wanted = replace(request, noise_model=model)
            trained = denoise_stack(
                wanted,
                stop,
                preview=preview,
                checkpoints=kept,
                recovery=recovery,
                is_checked=order.is_checked,
                is_read=order.is_read,
            )
            return recovery.watch(trained)

        self._launch(job, f"Denoising {order.title}", self._planned(order))

    def resume(self) -> None:
        """Go on where the run was stopped, be it the first one or a longer training."""
        if self._longer_from is None:
            self.go_on()
        else:
            self._go_on_longer(self._longer_from)

    def denoise_with_kept(self) -> None:
        """Denoise with the best weights that a stopped run has left."""
        report, recovery = self._reported(), self._recovery
        assert recovery is not None

        def job(stop: StopToken) -> Generator[Event, None, StackReport]:
            from napari_ppn2v.pipeline.stack_job import denoise_trained

            return recovery.watch(denoise_trained(report, stop))

        self._launch(job, f"Denoising {self._ordered().title}", [])

    def train_longer(self) -> None:
        """Go on from the trained weights, and denoise again."""
        report, self._n_before = self._reported(), self._n_longer
        recovery, times = Recovery(), self._n_before
        before = self._keep_in(recovery)

        def trained() -> StackReport:
            if before is not None:
                recovery.begin_longer(before, report, times)
            return report

        self._go_on_longer(trained)

    def _go_on_longer(self, trained: Callable[[], StackReport]) -> None:
        """Train longer what `trained` gives, which is called in the thread."""
        self._longer_from = trained
        preview, kept, recovery = self._begin_preview(), self._kept, self._recovery
        assert recovery is not None

        def job(stop: StopToken) -> Generator[Event, None, StackReport]:
            from napari_ppn2v.pipeline.stack_job import train_stack_longer

            longer = train_stack_longer(
                trained(), stop, preview=preview, checkpoints=kept
            )
            return recovery.watch(longer)

        self._launch(job, f"Training {self._ordered().title} longer", [])

    def _ordered(self) -> Order:
        assert self.order is not None
        return self.order

    def _reported(self) -> StackReport:
        assert self.report is not None
        return self.report

    def _launch(self, job: Job, title: str, planned: list[tuple[str, int]]) -> None:
        self._pairs = []
        self.result_check.forget()
        self.run = launch(
            self._session,
            job,
            title=title,
            planned=planned,
            expected=self._ordered().expected if planned else {},
            on_event=self._on_event,
            on_done=self._on_done,
            on_failed=lambda _: self.preview.end(),
        )

    def _begin_preview(self) -> Preview:
        order = self._ordered()
        channel = order.request.channels[0]
        preview = Preview(order.request.observation.frames(channel))
        self.preview.begin(order.data, channel, preview)
        return preview

    def _planned(self, order: Order) -> list[tuple[str, int]]:
        """Stages to come, in their order, with their numbers of steps."""
        request = order.request
        counts = {n: t.n_steps for n, t in request.config.stages.items()}
        names = list(order.expected) or [*counts, "denoise"]
        counts["denoise"] = len(request.observation.frames(request.channels[0]))
        return [(name, counts.get(name, 0)) for name in names]

    # -- watching ---------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, PreviewReady):
            self.preview.show_event(event)
        if isinstance(event, PairsReady):
            self._pairs.append(event.pairs)
            self.noise_plots.expand(animate=False)

    def _noise_model_view(self) -> NoiseModelView:
        if self._view is None:
            from napari_ppn2v.widgets.noise_model.view import NoiseModelView

            self._view = NoiseModelView(theme=self._viewer.theme)
            self.noise_plots.addWidget(self._view)
        return self._view

    def _on_state(self, state: RunState) -> None:
        self.followups.setEnabled(not state.status.is_busy)
        self.followups.setToolTip(self._session.why_busy)
        if self._session.run is not self.run:
            return  # a run of another dock
        curves = {
            stage: [(p.step, p.train_loss, p.validation_loss) for p in curve]
            for stage, curve in state.curves
        }
        self.losses.draw(curves)
        self.losses.setVisible(bool(curves))
        self.preview.setVisible(state.status.is_busy)
        has_fit = state.fit.pairs is not None
        self.noise_plots.setVisible(has_fit)
        if has_fit:
            self._noise_model_view().show_fit_state(state.fit)
        self._show_followups(state)

    def _show_followups(self, state: RunState) -> None:
        report, buttons = self.report, self.followups
        has_model = report is not None and bool(report.runs)
        has_result = report is not None and report.result is not None
        is_partial = self.order is not None and not has_result
        buttons.setVisible(state.status in _OVER and (has_model or is_partial))
        buttons.denoise.setVisible(has_model and not has_result)
        buttons.resume.setVisible(is_partial)
        buttons.longer.setVisible(has_result)
        buttons.save.setVisible(has_model)
        buttons.script.setVisible(has_model)

    def _on_theme(self, event: Any = None) -> None:
        self.losses.set_theme(self._viewer.theme)
        self.result_check.set_theme(str(self._viewer.theme))
        if self._view is not None:
            self._view.set_theme(self._viewer.theme)

    # -- results ----------------------------------------------------------------------

    def _on_done(self, report: StackReport) -> str:
        """Take the result over; returns what the monitor says about it."""
        self.report = report
        if self._longer_from is not None:
            self._n_longer = self._n_before + 1
        self.preview.end()
        self._keep_models(report)
        order = self._ordered()
        if report.result is not None:
            provenance = {**report.provenance, "seconds": report.seconds}
            self.denoised = add_results(
                self._viewer, order.data, report.result, report.denoisers, provenance
            )
            self.result_check.show_run(report)
            if self._recovery is not None:
                self._recovery.remove()
        return closing_words(report)

    def _keep_models(self, report: StackReport) -> None:
        kept = self._trained.keep(report, self._pairs)
        if kept is not None:
            data = self._ordered().data
            self.export.image.offer(data.layer, data.axes)
            self.export.set_model(kept)

    def _show_leftover(self, channel: int, check: ResultCheck) -> None:
        layer, data = self.denoised, self._ordered().data
        if layer is None or layer not in self._viewer.layers:
            layer = data.layer
        if self._leftover in self._viewer.layers:
            self._viewer.layers.remove(self._leftover)
        self._leftover = add_leftover(
            self._viewer, data, layer, check.shown, channel=channel
        )

    def _ask_where(self) -> None:
        name = file_stem(self._reported().request.observation.name)
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the trained model", f"{name}.ppn2v", MODEL_FILES
        )
        if chosen:
            self.save_model(Path(chosen))

    def save_model(self, path: Path) -> None:
        """Save the trained model, a file for each channel; errors are shown."""
        channels = self._reported().request.channels
        try:
            saved = self._trained.save(path, channels)
        except PPN2VError as error:
            show_error(str(error))
            return
        self.export.set_model(saved)
        show_info(f"Saved {', '.join(file.name for file in saved.paths)}.")

    def script(self) -> str:
        """Return a Python script of exactly what was done."""
        order, recovery = self._ordered(), self._recovery
        saved = order.saved
        if saved is not None and recovery is not None and recovery.noise_model:
            # of a run taken up again, whose file may be gone
            saved = replace(saved, model=recovery.noise_model)
        return replace(order, saved=saved).script(self._n_longer)
