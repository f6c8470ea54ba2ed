"""The dock that denoises layers and files with a model that is trained already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.pipeline.apply_stacks_request import (
    ApplyFilesRequest,
    ApplyStacksRequest,
    StackDenoised,
)
from napari_ppn2v.widgets.apply.model_section import ModelSection
from napari_ppn2v.widgets.apply.options_section import OptionsSection
from napari_ppn2v.widgets.apply.target_section import FILES, SEVERAL, TargetSection
from napari_ppn2v.widgets.dock import Dock
from napari_ppn2v.widgets.export.section import ExportSection
from napari_ppn2v.widgets.layers.results import add_results
from napari_ppn2v.widgets.parts.basics import ExplainedButton
from napari_ppn2v.widgets.parts.run_monitor import RunMonitor
from napari_ppn2v.widgets.parts.stage_words import duration_words
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.layers import Image

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.apply_job import ApplyReport
    from napari_ppn2v.pipeline.apply_stacks_job import AppliedReport
    from napari_ppn2v.session.session import NamedDenoiser
    from napari_ppn2v.session.state import RunState
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.widgets.layers.placing import LayerData

_SETTLED_MS = 50  # after which the monitor has its place in the dock
_STAGES = [("coverage", 0), ("denoise", 0)]


class ApplyPanel(Dock):
    """The dock "Apply a model (PPN2V)".

    Parameters
    ----------
    napari_viewer : given by napari
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        super().__init__(napari_viewer)
        self.model = ModelSection(self.session)
        self.export = ExportSection(self.viewer, self.session)
        self.target = TargetSection(self.viewer)
        self.options = OptionsSection()
        self.start = ExplainedButton("Apply")
        self.monitor = RunMonitor(self.session, self)
        self._sources: tuple[LayerData, ...] = ()
        self._scroller = QTimer(self)
        self._lay_out()
        self._connect()
        self._on_model()

    # -- building ---------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.add_part("1 · Model", self.model, self.export)
        self.add_part("2 · Apply it to", self.target)
        self.add_part("3 · Result", self.options)
        self.start.button.setMinimumHeight(34)
        self.monitor.stop_button.setToolTip(
            "<qt>End the run. What is finished already is kept.</qt>"
        )
        self.column.addWidget(self.start)
        self.column.addWidget(self.monitor)

    def _connect(self) -> None:
        self.model.changed.connect(self._on_model)
        self.target.changed.connect(self._on_changed)
        self.options.changed.connect(self._on_changed)
        self.start.clicked.connect(self._on_start)
        self.session.state_changed.connect(self._on_state)
        self._scroller.setSingleShot(True)
        self._scroller.setInterval(_SETTLED_MS)
        self._scroller.timeout.connect(self._show_monitor)

    def close_down(self) -> None:
        """Stop the run and listen no more."""
        if self.is_closed:
            return
        super().close_down()
        self.model.disconnect_session()
        self.export.close_down()
        self.monitor.disconnect_session()
        self.session.state_changed.disconnect(self._on_state)

    # -- choosing ---------------------------------------------------------------------

    def choose_layer(self, layer: Image) -> None:
        """Choose a layer, as the user would."""
        self.target.choose_layer(layer)

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew; napari calls this when they change."""
        self.target.reset_choices(event)
        self.export.reset_choices(event)

    def request(self) -> ApplyStacksRequest | ApplyFilesRequest:
        """Return what is to be done, as it is chosen now.

        The pixels are those of this moment: what happens to a layer afterwards does
        not matter.

        Raises
        ------
        PPN2VError  If something does not fit.
        """
        return self._ordered()[0]

    def _ordered(
        self,
    ) -> tuple[ApplyStacksRequest | ApplyFilesRequest, tuple[LayerData, ...]]:
        model, options = self.model.value, self.options
        assert model is not None
        how: dict[str, Any] = {
            "model": model,
            "inference": options.inference,
            "device": options.computing.device_name,
            "threads": options.computing.n_threads,
            "dtype": options.results.dtype,
        }
        if self.target.kind == FILES:
            request = self._files_request(model, how)
            request.check()
            return request, ()
        stacks, sources = self.target.stacks(model)
        wanted = ApplyStacksRequest(
            stacks=stacks, with_residual=options.results.has_residual, **how
        )
        wanted.check()
        return wanted, sources

    def _files_request(
        self, model: NamedDenoiser, how: dict[str, Any]
    ) -> ApplyFilesRequest:
        files = self.target.files
        assert files.out.path is not None
        return ApplyFilesRequest(
            images=files.images,
            out=files.out.path,
            axes=files.axes_text,
            channel=files.channel,
            is_replacing=files.is_replacing.isChecked(),
            **how,
        )

    def _on_model(self) -> None:
        model = self.model.value
        self.export.set_model(model)
        self.target.set_model(model)
        self.options.set_model(model)
        self._on_changed()

    def _on_changed(self) -> None:
        """Say whether and why not the run can begin."""
        self.options.set_for_files(self.target.kind == FILES)
        layer = self.target.first_layer
        if layer is not None:
            self.export.image.offer(layer, self.target.entered_axes)
        self.start.set_reason(self._reason())

    def _reason(self) -> str:
        """Say why the run cannot begin, empty if it can."""
        problems = (
            self.session.why_busy,
            "" if self.model.value is not None else _NO_MODEL,
            self.target.problem_text(),
            self.options.problem_text(),
        )
        found = next((problem for problem in problems if problem), "")
        if found:
            return found
        if self.target.kind == SEVERAL and not self.target.layers.checked():
            return "Check the layers to denoise."
        try:
            self.request()
        except PPN2VError as error:
            return str(error)
        return ""

    # -- running ----------------------------------------------------------------------

    def _on_start(self) -> None:
        try:
            request, self._sources = self._ordered()
        except PPN2VError as error:
            self.start.set_reason(str(error))
            return
        if isinstance(request, ApplyFilesRequest):
            self._begin_files(request)
        else:
            self._begin_stacks(request)
        self._scroller.start()

    def _begin_stacks(self, request: ApplyStacksRequest) -> None:
        def job(stop: StopToken) -> Generator[Event, None, AppliedReport]:
            from napari_ppn2v.pipeline.apply_stacks_job import apply_to_stacks

            return apply_to_stacks(request, stop)

        names = [chosen.stack.name for chosen in request.stacks]
        what = f"“{names[0]}”" if len(names) == 1 else f"{len(names)} layers"
        self.run = launch(
            self.session,
            job,
            title=f"Applying “{request.model.name}” to {what}",
            planned=_STAGES,
            on_event=self._on_event,
            on_done=lambda report: _stacks_words(report, len(names)),
        )

    def _begin_files(self, request: ApplyFilesRequest) -> None:
        def job(stop: StopToken) -> Generator[Event, None, ApplyReport]:
            from napari_ppn2v.pipeline.apply_stacks_job import apply_model_to_files

            return apply_model_to_files(request, stop)

        self.run = launch(
            self.session,
            job,
            title=f"Applying “{request.model.name}” to files",
            planned=_STAGES[1:],
            on_done=lambda report: _files_words(report, request),
        )

    def _show_monitor(self) -> None:
        """Scroll to progress and Stop, which may lie below what is seen."""
        self.scroll_area.ensureWidgetVisible(self.monitor)

    def _on_event(self, event: Event) -> None:
        """Show each result as soon as it is there."""
        if isinstance(event, StackDenoised):
            add_results(
                self.viewer,
                self._sources[event.index],
                event.result,
                event.denoisers,
                event.provenance,
                made_by=str(event.provenance["model"]),
            )

    def _on_state(self, state: RunState) -> None:
        self.model.show_busy()
        if not state.status.is_busy:
            self._on_changed()
        elif self.start.button.isEnabled():
            self.start.set_reason(self.session.why_busy)


_NO_MODEL = (
    "Choose a model: load one from a file (.ppn2v), or train one in the dock “Denoise "
    "(PPN2V)”."
)


def _stacks_words(report: AppliedReport, n_stacks: int) -> str:
    """Say how a run on layers ended."""
    count = len(report.results)
    if n_stacks == 1:
        done = "Denoised" if count else "Stopped; there is no result"
    else:
        done = f"{count} of {n_stacks} layers denoised"
        done = f"Stopped. {done}" if report.is_stopped else done
    return f"{done} in {duration_words(report.seconds)}." if count else f"{done}."


def _files_words(report: ApplyReport, request: ApplyFilesRequest) -> str:
    """Say how a run on files ended, and where the results are."""
    count = len(report.results)
    stopped = "Stopped. " if report.is_stopped else ""
    if not count:
        return f"{stopped}No file was finished."
    noun = "file" if count == 1 else "files"
    return (
        f"{stopped}{count} {noun} denoised in {duration_words(report.seconds)}; the "
        f"results are in {request.out}."
    )
