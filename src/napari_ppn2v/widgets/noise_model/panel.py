"""The dock of noise models: fit, look at, judge, compare, save."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.camera_readout import KnownCamera
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.noise_model_job import (
    NoiseModelReport,
    NoiseModelRequest,
    fit_to_request,
    load_from_file,
)
from napari_ppn2v.session.session import NamedNoiseModel
from napari_ppn2v.stop import StopToken
from napari_ppn2v.widgets.dock import Dock
from napari_ppn2v.widgets.noise_model.camera_card import CameraCard
from napari_ppn2v.widgets.noise_model.checks import (
    ComparisonCheck,
    CoverageCheck,
    PairsCheck,
)
from napari_ppn2v.widgets.noise_model.mouse import MouseFollowing
from napari_ppn2v.widgets.noise_model.pairs_choice import PairsChoice
from napari_ppn2v.widgets.noise_model.quality_table import QualityTable
from napari_ppn2v.widgets.noise_model.saving import NoiseModelSaving
from napari_ppn2v.widgets.noise_model.settings import NoiseModelSettings
from napari_ppn2v.widgets.noise_model.source import NoiseModelSource
from napari_ppn2v.widgets.noise_model.view import NoiseModelView
from napari_ppn2v.widgets.noise_model.words import kind_words
from napari_ppn2v.widgets.parts.basics import ExplainedButton, MessageLine
from napari_ppn2v.widgets.parts.noise_model_choice import (
    NoiseModelChoice,
    NoiseModelRef,
)
from napari_ppn2v.widgets.parts.run_monitor import RunMonitor
from napari_ppn2v.widgets.parts.section import Section
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.layers import Image

    from napari_ppn2v.core.noise_models.quality import RangeQuality
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.session.state import RunState
    from napari_ppn2v.workers import Job

    _Judged = tuple[object, object, tuple[RangeQuality, ...]]


class NoiseModelPanel(Dock):
    """The dock "Noise model (PPN2V)".

    Parameters
    ----------
    napari_viewer : given by napari
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        super().__init__(napari_viewer)
        theme = str(self.viewer.theme)
        self.source = NoiseModelSource(self.viewer)
        self.settings = NoiseModelSettings()
        self.pairs_check = PairsCheck(self.viewer, self.source, theme=theme)
        self.fit_button = ExplainedButton("Fit the noise model")
        self.monitor = RunMonitor(self.session, self)
        self.models = NoiseModelChoice(self.session)
        self.pairs_of = PairsChoice(self.session)
        self.message = MessageLine()
        self.view = NoiseModelView(theme=theme)
        self.quality = QualityTable(theme=theme)
        self.camera = CameraCard(self.session)
        self.follow = MouseFollowing(self.viewer, lambda: self.source.observation.value)
        self.saving = NoiseModelSaving()
        self.comparison = ComparisonCheck(self.session)
        self.coverage = CoverageCheck(self.viewer)
        self._shown: NamedNoiseModel | None = None
        self._shown_ref: NoiseModelRef | None = None
        self._files: dict[Path, NamedNoiseModel] = {}
        # by model and pairs, which are kept here too: numbers of objects are reused
        self._judged: dict[tuple[int, int], _Judged] = {}
        self._traces: dict[str, tuple[dict[str, Any], float]] = {}
        self._lay_out()
        self._connect()
        self._start_with_newest()

    # -- building ---------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.add_part("1 · Pixel pairs", self.source, self.pairs_check)
        self.add_part("2 · Noise model", self.settings, self.fit_button, self.monitor)
        self.add_part(
            "3 · Look at it",
            self.models,
            self.pairs_of,
            self.message,
            self.view,
            self.follow,
            self.quality,
            self.camera,
        )
        self.add_part("4 · Keep it", self.saving)
        for title, part in (
            ("Compare two noise models", self.comparison),
            ("Check an image against it", self.coverage),
        ):
            self.column.addWidget(Section(title, part))
        self.fit_button.button.setMinimumHeight(34)

    def _connect(self) -> None:
        self.source.changed.connect(self._refresh)
        self.settings.changed.connect(self._refresh)
        self.fit_button.clicked.connect(self.fit)
        self.models.changed.connect(self._on_chosen)
        self.models.list.activated.connect(self._on_activated)
        self.pairs_of.changed.connect(self._show_shown)
        self.follow.signal_changed.connect(self.view.set_cursor)
        self.quality.signal_chosen.connect(self.view.set_cursor)
        self.saving.library_changed.connect(self._on_library)
        self.comparison.asked.connect(self.compare)
        self.comparison.models.changed.connect(self._refresh)
        self.coverage.asked.connect(self.check_coverage)
        self.coverage.layer.changed.connect(self._refresh)
        self.session.state_changed.connect(self._on_state)
        self.session.noise_models_changed.connect(self._on_models)
        self.viewer.events.theme.connect(self._on_theme)

    def close_down(self) -> None:
        """Stop the run and listen no more."""
        if self.is_closed:
            return
        super().close_down()
        self.follow.end()
        self.pairs_check.check.cancel()
        self.camera.cancel()
        self.session.state_changed.disconnect(self._on_state)
        self.session.noise_models_changed.disconnect(self._on_models)
        self.monitor.disconnect_session()
        self.models.disconnect_session()
        self.comparison.models.disconnect_session()
        self.viewer.events.theme.disconnect(self._on_theme)

    # -- choosing ---------------------------------------------------------------------

    def choose_layer(self, layer: Image) -> None:
        """Choose a layer as recording or noisy image, as the user would."""
        self.source.observation.choose(layer)

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew; napari calls this when they change."""
        self.source.reset_choices(event)
        self.follow.reset_choices(event)
        self.pairs_check.image.reset_choices(event)
        self.coverage.layer.reset_choices(event)

    def request(self) -> NoiseModelRequest:
        """Return what would be fitted now.

        Raises
        ------
        PPN2VError  If something does not fit.
        """
        request = NoiseModelRequest(config=self.settings.value(), **self.source.parts())
        request.check()
        return request

    @property
    def shown(self) -> NamedNoiseModel | None:
        """The noise model that is looked at."""
        return self._shown

    # -- fitting ----------------------------------------------------------------------

    def fit(self) -> None:
        """Fit a noise model to what is chosen."""
        try:
            request = self.request()
        except PPN2VError as error:
            self.message.show_error(str(error))
            return
        self.message.clear()
        name, origin = self.source.name(), self.source.origin()
        self._launch(
            lambda stop: fit_to_request(request, stop),
            f"noise model of {name}",
            lambda report: self._on_fitted(report, name, origin),
        )

    def _on_fitted(self, report: NoiseModelReport, name: str, origin: str) -> str:
        fit, pairs = report.fit, report.pairs
        if fit is None or pairs is None:
            return "Stopped before there was a noise model."
        key = id(fit.model), id(pairs)
        self._judged[key] = fit.model, pairs, report.quality
        named = NamedNoiseModel(
            f"{name} · {kind_words(fit.model)}",
            fit.model,
            pairs,
            origin,
            fit.held_out_nll,
        )
        kept = self.session.add_noise_model(named)
        traces = {model: list(trace) for model, trace in self.session.state.fit.traces}
        self._traces[kept.name] = (traces, fit.held_out_nll)
        self.models.choose(kept.name)
        self._show(kept)
        return fit.reason

    # -- looking ----------------------------------------------------------------------

    def _start_with_newest(self) -> None:
        """Show what this session has fitted last; files wait until they are chosen."""
        names = list(self.session.noise_models)
        self._shown_ref = self.models.value
        if names:
            self.models.choose(names[-1])
            self._show(self.session.noise_models[names[-1]])
        self.pairs_of.refresh()
        self._refresh()

    def _on_models(self) -> None:
        self._forget()
        self.pairs_of.refresh()
        self._refresh()

    def _forget(self) -> None:
        """Keep nothing of models that are neither shown nor to be had any more."""
        known = [*self.session.noise_models.values(), *self._files.values()]
        if self._shown is not None:
            known.append(self._shown)
        names = {named.name for named in known}
        parts = {id(part) for named in known for part in (named.model, named.pairs)}
        self._traces = {n: found for n, found in self._traces.items() if n in names}
        self._judged = {
            key: found for key, found in self._judged.items() if parts.issuperset(key)
        }

    def _on_activated(self) -> None:
        """Show the model, though it may be the one that was first in the list."""
        ref = self.models.value
        if ref is not None and (self._shown is None or ref != self._shown_ref):
            self._shown_ref = None
            self._on_chosen()

    def _on_chosen(self) -> None:
        ref = self.models.value
        if ref is None or ref == self._shown_ref or self.is_closed:
            return
        self._shown_ref = ref
        if ref.path is None:
            named = self.session.noise_models.get(ref.name)
            if named is not None and not self._is_fitting():
                self._show(named)
        elif ref.path in self._files:
            self._show(self._files[ref.path])
        else:
            self._load(ref.path)

    def _load(self, path: Path) -> None:
        if self.session.is_busy:  # then torch is there already, and this is fast
            try:
                self._on_loaded(path, drain(load_from_file(path, StopToken())))
            except PPN2VError as error:
                self.message.show_error(str(error))
            return
        self._launch(
            lambda stop: load_from_file(path, stop),
            f"noise model of {path.name}",
            lambda loaded: self._on_loaded(path, loaded),
        )

    def _on_loaded(self, path: Path, loaded: Any) -> str:
        named = NamedNoiseModel(loaded.name, loaded.model, None, loaded.origin)
        self._files[path] = named
        self._show(named)
        return ""

    def _show(self, named: NamedNoiseModel) -> None:
        self._shown = named
        self.pairs_of.show_model(named)
        self._show_shown()

    def _show_shown(self) -> None:
        named = self._shown
        if named is None or self._is_fitting():
            return
        pairs = self.pairs_of.value
        self.view.show_model(named.model, pairs, named.name)
        self.view.show_traces(*self._traces.get(named.name, ({}, None)))
        self.quality.show_quality(self._quality(named, pairs))
        self.camera.show_model(named, pairs, self._known_camera())
        self.saving.show_model(named.model, named.name, named.origin)
        self._refresh()

    def _quality(
        self, named: NamedNoiseModel, pairs: PairHistogram | None
    ) -> tuple[RangeQuality, ...]:
        if pairs is None:
            return ()
        key = id(named.model), id(pairs)
        if key not in self._judged:
            from napari_ppn2v.core.noise_models.quality import fit_quality

            quality = fit_quality(named.model, pairs)
            self._judged[key] = named.model, pairs, quality
        return self._judged[key][-1]

    def _known_camera(self) -> KnownCamera:
        """Return what the settings say of the camera."""
        try:
            config = self.settings.value()
            return KnownCamera(config.offset, config.read_noise)
        except PPN2VError:
            return KnownCamera()

    # -- checking ---------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the model shown with the other one chosen."""
        if self._shown is not None:
            self.comparison.begin(self._shown, self.pairs_of.value, self._launch)

    def check_coverage(self) -> None:
        """Look whether the model shown covers the image chosen."""
        if self._shown is not None:
            channel = self.source.channel.value()
            self.coverage.begin(self._shown, channel, self._launch)

    # -- the run ----------------------------------------------------------------------

    def _launch(
        self,
        job: Job,
        title: str,
        done: Callable[[Any], str],
        message: MessageLine | None = None,
    ) -> None:
        def failed(error: PPN2VError) -> None:
            (message or self.message).show_error(str(error))

        try:
            self.run = launch(
                self.session, job, title=title, on_done=done, on_failed=failed
            )
        except PPN2VError as error:
            (message or self.message).show_error(str(error))

    def _is_fitting(self) -> bool:
        """Whether the view shows a fit that goes on, of this dock or another one."""
        fit = self.session.state.fit
        return self.session.is_busy and fit.pairs is not None and fit.model is None

    def _on_state(self, state: RunState) -> None:
        if self.is_closed:
            return
        if state.fit.pairs is not None and state.status.is_busy:
            self.view.show_fit_state(state.fit)
        self._refresh()

    # -- small things -----------------------------------------------------------------

    def _refresh(self, *_: object) -> None:
        """Say of each button why it cannot be pressed."""
        busy, shown = self.session.why_busy, self._shown is not None
        error = self.settings.error()
        self.fit_button.set_reason(busy or self.source.missing() or error)
        nothing = "" if shown else "Fit a noise model first, or choose a saved one."
        why_not = self.comparison.why_not(self._shown_ref, self.pairs_of.value)
        self.comparison.button.set_reason(busy or nothing or why_not)
        no_layer = "" if self.coverage.layer.value is not None else "Open an image."
        self.coverage.button.set_reason(busy or nothing or no_layer)

    def _on_library(self) -> None:
        self.models.refresh()
        self.comparison.models.refresh()

    def _on_theme(self, event: Any = None) -> None:
        theme = str(self.viewer.theme)
        self.view.set_theme(theme)
        self.quality.set_theme(theme)
        self.pairs_check.check.set_theme(theme)
