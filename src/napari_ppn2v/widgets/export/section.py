"""The form, the button and the run that export a trained model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.errors import BadSetting, PPN2VError
from napari_ppn2v.events import Notice
from napari_ppn2v.files.bioimage_model import PACKAGE_SUFFIX
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.pipeline.export_request import ExportModelRequest
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.session.export_script import export_script
from napari_ppn2v.widgets.export import words
from napari_ppn2v.widgets.export.card_form import CardForm
from napari_ppn2v.widgets.export.image_choice import ImageChoice
from napari_ppn2v.widgets.forms.config_form import ConfigForm
from napari_ppn2v.widgets.layers.data import array_source
from napari_ppn2v.widgets.parts.basics import MessageLine, WrappedLabel
from napari_ppn2v.widgets.parts.clipboard import copy_script
from napari_ppn2v.widgets.parts.file_names import file_stem
from napari_ppn2v.widgets.parts.section import Section
from napari_ppn2v.widgets.parts.side_run import SideRun

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.components import ViewerModel

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.export_job import ExportReport
    from napari_ppn2v.session.session import NamedDenoiser, Session
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.widgets.layers.data import LayerData

PACKAGES = f"Packages of the BioImage Model Zoo (*{PACKAGE_SUFFIX})"
_ADVANCED = ("estimate", "blind", "average_orientations")


class ExportSection(Section):
    """Asks what the package shall say, and writes it beside everything else.

    Hidden where there is neither a model nor anything to say.

    Parameters
    ----------
    viewer : whose layers can become the test image
    session : whose runs the button waits for
    """

    def __init__(
        self, viewer: ViewerModel, session: Session, parent: QWidget | None = None
    ) -> None:
        super().__init__(words.TITLE, parent=parent)
        self._session = session
        self._model: NamedDenoiser | None = None
        self._described = ""  # name of the model that the form is about
        self._notices: list[Notice] = []
        self._taken: Path | None = None  # a name that was chosen and is in use
        self.out: Path | None = None
        self.card, self.image = CardForm(), ImageChoice(viewer)
        self.channels = QComboBox()
        self.channels.setAccessibleName("Channel to export")
        self.std = QCheckBox(words.STD)
        self.inference = ConfigForm(InferenceConfig, fields=_ADVANCED)
        self.exporting = SideRun("Export…", words.BUTTON_HELP)
        self.replace_button = QPushButton("Replace it")
        self.warning = MessageLine()
        self.script_button = QPushButton("Copy export as Python")
        self._lay_out()
        self._connect()
        self.set_model(None)

    def _lay_out(self) -> None:
        self.script_button.setToolTip(
            "<qt>Put a Python script that exports the same on the clipboard.</qt>"
        )
        self._channel_row = QWidget()
        row = QFormLayout(self._channel_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addRow("Channel", self.channels)
        advanced = Section("Advanced", self.inference)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (
            WrappedLabel(words.ABOUT),
            self._channel_row,
            self.card,
            self.image,
            self.std,
            advanced,
            self.exporting,
            self.replace_button,
            self.warning,
            self.script_button,
        ):
            column.addWidget(part)
        self.replace_button.hide()
        self.addWidget(content)

    def _connect(self) -> None:
        self.card.changed.connect(self._on_changed)
        self.image.changed.connect(self._on_changed)
        self.std.toggled.connect(lambda _: self._on_changed())
        self.inference.value_changed.connect(lambda _: self._on_changed())
        self.channels.currentIndexChanged.connect(lambda _: self._on_channel())
        self.exporting.asked.connect(self._ask_where)
        self.replace_button.clicked.connect(self._replace)
        self.script_button.clicked.connect(lambda: copy_script(self.script))
        self._session.state_changed.connect(self._on_state)

    def close_down(self) -> None:
        """Give up what goes on, and listen no more."""
        self.exporting.cancel()
        self._session.state_changed.disconnect(self._on_state)

    # -- what is exported -------------------------------------------------------------

    def set_model(self, model: NamedDenoiser | None) -> None:
        """Take the model at hand, None for none."""
        self._model = model
        if model is None and not self.exporting.is_busy:
            self._forget_messages()
        if model is not None:
            self._list_channels(model)
            if model.name != self._described:
                self._described = model.name
                self.card.describe_another(self._name)
                self._forget_messages()
        self._on_changed()

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        self.image.reset_choices(event)

    @property
    def channel(self) -> int:
        """Number of the channel that is exported."""
        chosen = self.channels.currentData()
        return 0 if chosen is None else int(chosen)

    @property
    def _name(self) -> str:
        """The model, and its channel where it has several."""
        several = self.channels.count() > 1
        return self._described + (f"_c{self.channel}" if several else "")

    def request(self) -> ExportModelRequest:
        """Return what is to be exported, as it is entered now.

        Raises
        ------
        PPN2VError  If something does not fit.
        """
        if self._model is None:
            raise BadSetting(words.NO_MODEL)
        data = self.image.data()
        request = ExportModelRequest(
            model=self._model,
            card=self.card.card(),
            channel=self.channel,
            inference=self._inference,
            image=None if data is None else _stack(data),
        )
        request.check()
        return request

    @property
    def _inference(self) -> InferenceConfig:
        has_std = self.std.isEnabled() and self.std.isChecked()
        config: InferenceConfig = self.inference.value()
        return replace(config, posterior_std=has_std)

    # -- what happens -----------------------------------------------------------------

    def _list_channels(self, model: NamedDenoiser) -> None:
        before, known = self.channel, model.channels[: len(model.denoisers)]
        self.channels.blockSignals(True)
        self.channels.clear()
        for channel in known:
            self.channels.addItem(f"channel {channel}", channel)
        self.channels.setCurrentIndex(known.index(before) if before in known else 0)
        self.channels.blockSignals(False)
        self._channel_row.setVisible(self.channels.count() > 1)

    def _on_channel(self) -> None:
        self._forget_messages()
        self.card.suggest_name(self._name)
        self._on_changed()

    def _on_changed(self, *_: Any) -> None:
        """Say whether and why not it can be exported."""
        if self._taken is not None:
            self._taken = None
            self.exporting.message.clear()
        self.replace_button.hide()
        self._offer_std()
        self._show_reason()
        is_told = bool(self.exporting.message.text())
        self.setVisible(self._model is not None or self.exporting.is_busy or is_told)

    def _on_state(self, state: Any) -> None:
        self._show_reason()

    def _show_reason(self) -> None:
        reason = self._session.why_busy
        if not reason:
            try:
                self.image.show_channel(self.request().image_channel)
            except PPN2VError as error:
                reason = str(error)
        self.exporting.button.set_reason(reason)
        self.script_button.setEnabled(not reason)

    def _offer_std(self) -> None:
        """Offer the uncertainty where the estimate chosen has one."""
        refusal, model = "", self._model
        if model is not None:
            known = dict(zip(model.channels, model.denoisers, strict=False))
            wanted = replace(self.inference.value(), posterior_std=True)
            try:
                settled(known[self.channel], wanted)
            except BadSetting as error:
                refusal = str(error)
        self.std.setEnabled(not refusal)
        self.std.setToolTip(f"<qt>{refusal or words.STD_HELP}</qt>")

    def _forget_messages(self) -> None:
        """Say nothing of what is not chosen any more."""
        self.out = None
        self.warning.clear()
        self.exporting.message.clear()

    # -- exporting --------------------------------------------------------------------

    def _ask_where(self) -> None:
        self._show_reason()  # pixels of the layer may be others than they were
        if self.exporting.button.reason():
            return
        start = str(self.out or f"{file_stem(self._name, 'model')}{PACKAGE_SUFFIX}")
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Export the trained model", start, PACKAGES
        )
        if not chosen:
            return
        path = Path(chosen)
        if path.suffix.lower() == PACKAGE_SUFFIX:
            self.export_to(path)  # the dialog has asked whether to replace it
            return
        path = path.with_name(f"{path.name}{PACKAGE_SUFFIX}")
        if not path.exists():
            self.export_to(path)
            return
        self.warning.clear()
        self.exporting.message.show_warning(words.taken_words(path))
        self._taken = path
        self.replace_button.show()

    def _replace(self) -> None:
        path = self._taken
        if path is not None:
            self.export_to(path)

    def export_to(self, path: Path) -> None:
        """Write the package, replacing a file of this name; what goes wrong is shown.

        Parameters
        ----------
        path : that ends in .zip
        """
        self._taken = None
        self.replace_button.hide()
        self.warning.clear()
        try:
            request = self.request()
        except PPN2VError as error:
            self.exporting.button.set_reason(str(error))
            return

        def job(stop: StopToken) -> Generator[Event, None, ExportReport]:
            from napari_ppn2v.pipeline.export_job import export_model

            return export_model(request, path, stop)

        self._notices, name = [], self._name
        self.exporting.start(
            job,
            f"Exporting “{name}”",
            lambda report: self._on_done(report, name),
            on_event=self._on_event,
        )

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Notice):
            self._notices.append(event)

    def _on_done(self, report: ExportReport, name: str) -> None:
        if report.path is None:
            self.exporting.message.show_info(words.STOPPED)
            return
        if name == self._name:  # nothing else was chosen meanwhile
            self.out = report.path
        self.exporting.message.show_info(words.done_words(report.path, self._notices))
        self.warning.show_warning(words.warning_words(self._notices))

    # -- as Python --------------------------------------------------------------------

    def script(self) -> str:
        """Return a Python script that exports the same; raises PPN2VError."""
        request, data = self.request(), self.image.data()
        stem = file_stem(self._name, "model")
        return export_script(
            request,
            self.out or Path(f"{stem}{PACKAGE_SUFFIX}"),
            image=None if data is None else array_source(data),
            models=() if self._model is None else self._model.paths,
            overwrite=self.out is not None,
        )


def _stack(data: LayerData) -> Stack:
    return Stack(data=data.data, axes=data.axes, name=data.name)
