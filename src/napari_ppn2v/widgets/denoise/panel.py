"""The main dock: choose an image, press one button, watch, get the denoised layer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.pipeline.stack_checks import check_observation
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
from napari_ppn2v.session.state import Status
from napari_ppn2v.widgets.denoise.noise_section import BOOTSTRAP, SAVED, NoiseSection
from napari_ppn2v.widgets.denoise.order import Order
from napari_ppn2v.widgets.denoise.recovery import RecoverySection
from napari_ppn2v.widgets.denoise.run import DenoiseRun
from napari_ppn2v.widgets.denoise.settings_section import SettingsSection
from napari_ppn2v.widgets.denoise.time_estimates import TimeEstimates
from napari_ppn2v.widgets.denoise.time_section import CHOICES, TimeSection
from napari_ppn2v.widgets.dock import Dock
from napari_ppn2v.widgets.layers.placing import read_layer
from napari_ppn2v.widgets.parts.basics import ExplainedButton
from napari_ppn2v.widgets.parts.data_check import DataCheckPart
from napari_ppn2v.widgets.parts.image_section import ImageSection
from napari_ppn2v.widgets.parts.result_options import ResultOptions
from napari_ppn2v.widgets.parts.section import Section

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.layers import Image

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.pipeline.data_check import DataCheck
    from napari_ppn2v.pipeline.recovery import Recovery
    from napari_ppn2v.session.state import RunState
    from napari_ppn2v.stop import StopToken

_SETTLED_MS = 50  # after which what is shown anew has its place in the dock


class DenoisePanel(Dock):
    """The dock "Denoise (PPN2V)".

    Parameters
    ----------
    napari_viewer : given by napari
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:  # type: ignore[name-defined] # noqa: F821, UP037
        super().__init__(napari_viewer)
        self.recovery = RecoverySection(self.viewer, self.session)
        self.image = ImageSection(self.viewer)
        self.data_check = DataCheckPart("Check data", theme=str(self.viewer.theme))
        self.noise = NoiseSection(self.viewer, self.session)
        self.time = TimeSection()
        self.settings = SettingsSection()
        self.results = ResultOptions()
        self.start = ExplainedButton("Denoise")
        self.denoising = DenoiseRun(self.viewer, self.session)
        self.estimates = TimeEstimates(self)
        self._scroller = QTimer(self)
        self._lay_out()
        self._connect()
        self._on_time()

    # -- building ---------------------------------------------------------------------

    def _lay_out(self) -> None:
        self.column.addWidget(self.recovery)
        self.add_part("1 · Image", self.image, self.data_check)
        self.add_part("2 · Noise model", self.noise)
        self.add_part("3 · Time", self.time)
        self.column.addWidget(Section("Further layers", self.results))
        self.column.addWidget(self.settings)
        self.start.button.setMinimumHeight(34)
        self.column.addWidget(self.start)
        self.column.addWidget(self.denoising)

    def _connect(self) -> None:
        self.image.changed.connect(self._on_changed)
        self.noise.changed.connect(self._on_changed)
        self.settings.changed.connect(self._on_changed)
        self.time.changed.connect(self._on_time)
        self.start.clicked.connect(self._on_start)
        self.recovery.resumed.connect(self._on_resumed)
        self.data_check.asked.connect(self._check_data)
        self.estimates.began.connect(self.time.show_measuring)
        self.estimates.measured.connect(self._show_times)
        self.estimates.failed.connect(self.time.show_unknown)
        self.session.state_changed.connect(self._on_state)
        self.viewer.events.theme.connect(self._on_theme)
        self._scroller.setSingleShot(True)
        self._scroller.setInterval(_SETTLED_MS)
        self._scroller.timeout.connect(self._show_monitor)

    def close_down(self) -> None:
        """Stop the run and listen no more."""
        if self.is_closed:
            return
        super().close_down()
        self.estimates.cancel()
        self.data_check.cancel()
        self.recovery.cancel()
        self.viewer.events.theme.disconnect(self._on_theme)
        self.image.close_down()
        self.denoising.close_down()
        self.session.state_changed.disconnect(self._on_state)
        self.noise.saved.disconnect_session()

    # -- choosing ---------------------------------------------------------------------

    def choose_layer(self, layer: Image) -> None:
        """Choose a layer, as the user would."""
        self.image.choose(layer)

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew; napari calls this when they change."""
        self.image.reset_choices(event)
        self.noise.reset_choices(event)
        self.denoising.export.reset_choices(event)
        self.recovery.refresh()

    def request(self) -> StackRequest:
        """Return what is to be done, as it is chosen now.

        The array is that of this moment: what happens to the layer afterwards does
        not matter, unless pixels are changed in place.

        Raises
        ------
        PPN2VError  If something does not fit.
        """
        config = self._config(self.time.preset)
        recording = self.noise.recording_layer
        has_recording = recording is not None and config.method != "n2v"
        calibration = (_recording(recording),) if has_recording else ()
        request = StackRequest(
            observation=self.image.stack(),
            config=config,
            channels=self.image.chosen_channels,
            is_put_together=self.image.is_put_together,
            training_frames=self.image.training_frames(),
            region=self.image.training_region(),
            calibration=calibration,
            device=self.settings.computing.device_name,
            threads=self.settings.computing.n_threads,
            dtype=self.results.dtype,
            with_residual=self.results.has_residual,
        )
        request.check()
        return request

    def _config(self, name: str) -> RunConfig:
        config = self.settings.config_of(name)
        has_std = self.results.has_std and config.method != "n2v"
        return replace(
            config, inference=replace(config.inference, posterior_std=has_std)
        )

    def _on_time(self) -> None:
        self.settings.use_preset(self.time.preset)
        self._on_changed()

    def _on_changed(self) -> None:
        """Say whether and why not the run can begin, and have its time measured."""
        self.noise.show_image(self.image.layer.value)
        self._show_data_check()
        self._show_reason()
        if self._reason():
            self.estimates.cancel()
            self.time.show_unknown()
            return
        try:
            request = self.request()
        except PPN2VError as error:
            self.start.set_reason(str(error))
            self.time.show_unknown()
            return
        self.estimates.want(request)
        self._show_times()

    def _reason(self) -> str:
        """Say why the run cannot begin, empty if it can."""
        reasons = (
            self.session.why_busy,
            self.image.problem_text(),
            "" if self._is_n2v else self.noise.missing(),
            self.settings.problem_text(),
        )
        return next((reason for reason in reasons if reason), "")

    @property
    def _is_n2v(self) -> bool:
        return self.settings.config.method == "n2v"

    def _show_reason(self) -> None:
        self.start.set_reason(self._reason())
        self.noise.setEnabled(not self._is_n2v)
        # what it is the uncertainty of comes from a noise model
        self.results.std.setEnabled(not self._is_n2v)

    def _show_times(self) -> None:
        timing, data = self.estimates.timing, self.image.data
        if timing is None or data is None:
            return
        seconds = {
            name: sum(self._expected(name).values()) * len(self.image.chosen_channels)
            for name in CHOICES
        }
        self.time.show_seconds(seconds)

    def _expected(self, name: str) -> dict[str, float]:
        """Seconds of each stage for one channel, empty while they are not known."""
        timing, data = self.estimates.timing, self.image.data
        if timing is None or data is None:
            return {}
        config = self._config(name)
        layout = data.layout
        pixels = layout.n_frames * layout.frame_shape[0] * layout.frame_shape[1]
        source = "given" if self.noise.kind == SAVED else self.noise.kind
        needs_n2v = (
            config.method != "pn2v"
            or config.starts_from_n2v
            or self.noise.kind == BOOTSTRAP
        )
        return timing.stages_for(config, pixels, needs_n2v, noise_source=source)

    # -- checking ---------------------------------------------------------------------

    def _show_data_check(self) -> None:
        """Drop findings on what is no longer chosen."""
        layer, recording = self.image.layer.value, self.noise.recording_layer
        data = self.image.data
        arrays = tuple(None if la is None else la.data for la in (layer, recording))
        axes = "" if data is None else data.axes
        self.data_check.set_subject(arrays, (axes, self.image.chosen_channels))
        is_ready = layer is not None and not self.image.problem_text()
        self.data_check.setVisible(is_ready)

    def _check_data(self) -> None:
        recording = self.noise.recording_layer
        channels = self.image.chosen_channels
        try:
            stack = self.image.stack()
            scene = None if recording is None else _recording(recording)
        except PPN2VError as error:
            self.data_check.message.show_error(str(error))
            return

        def job(stop: StopToken) -> Generator[Event, None, DataCheck]:
            return check_observation(stack, channels, stop, recording=scene)

        self.data_check.begin(job, stack.name)

    def _on_theme(self, event: Any = None) -> None:
        self.data_check.set_theme(str(self.viewer.theme))

    # -- running ----------------------------------------------------------------------

    def _on_start(self) -> None:
        try:
            request = self.request()
        except PPN2VError as error:
            self.start.set_reason(str(error))
            return
        data = self.image.data
        assert data is not None
        expected = self._expected(self.time.preset)
        self.estimates.cancel()
        recording = self.noise.recording_layer
        order = Order(
            request=request,
            data=data,
            recording=None if recording is None else read_layer(recording),
            saved=self.noise.saved_model,
            expected=expected,
            is_checked=self.data_check.is_told,
        )
        self.denoising.start(order)
        self._watch_run()

    def _on_resumed(self, order: Order, recovery: Recovery) -> None:
        """Go on with a run that was interrupted, and show what it is."""
        config = order.request.config
        self.choose_layer(order.data.layer)
        if config.preset in CHOICES:
            self.time.choose(config.preset)
        self.settings.set_config(config)
        self.estimates.cancel()
        self.denoising.take_up(order, recovery)
        self._watch_run()

    def _watch_run(self) -> None:
        self.run = self.denoising.run
        self._scroller.start()

    def _show_monitor(self) -> None:
        """Scroll to progress and Stop, or to what went wrong, if out of sight."""
        self.scroll_area.ensureWidgetVisible(self.denoising.monitor)

    def _on_state(self, state: RunState) -> None:
        if state.status.is_busy:
            self.recovery.hide()
            self._show_reason()
            return
        self.recovery.rescan()
        self._on_changed()
        if state.status is Status.FAILED and self.session.run is self.run:
            self._scroller.start()


def _recording(layer: Any) -> Stack:
    data = read_layer(layer)
    return Stack(data=data.data, axes=data.axes, name=data.name)
