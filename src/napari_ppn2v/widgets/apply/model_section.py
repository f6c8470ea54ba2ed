"""Choice of a trained model: one of this session, or of a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.files.images import natural_order
from napari_ppn2v.session.session import NamedDenoiser
from napari_ppn2v.widgets.apply.words import (
    file_words,
    model_channels,
    model_name,
    model_words,
    why_words,
)
from napari_ppn2v.widgets.parts.basics import MessageLine, WrappedLabel
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from napari_ppn2v.errors import PPN2VError
    from napari_ppn2v.events import Event
    from napari_ppn2v.session.session import Session
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.workers import Run

FILES = "Trained models (*.ppn2v)"
_NOTHING = "none yet: load a file, or train one"
_SHORTEST = 10  # letters of a name that are always shown


class ModelSection(QWidget):
    """A list of the models at hand, a button that loads more, and what the model is.

    Signals
    -------
    changed
        Another model is chosen, or the list has changed.
    """

    changed = Signal()

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.run: Run | None = None
        self.list = QComboBox()
        self.list.setAccessibleName("Trained model")
        self.list.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.list.setMinimumContentsLength(_SHORTEST)
        self.load_button = QPushButton("Load file…")
        self.described, self.message = WrappedLabel(), MessageLine()
        self.setAcceptDrops(True)
        self._lay_out()
        self.list.currentIndexChanged.connect(lambda _: self._on_chosen())
        self.load_button.clicked.connect(self._ask)
        session.denoisers_changed.connect(self.refresh)
        self.refresh()
        self.show_busy()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.list, stretch=1)
        row.addWidget(self.load_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.described)
        column.addWidget(self.message)

    @property
    def value(self) -> NamedDenoiser | None:
        """The model chosen, None where there is none."""
        return self._session.denoisers.get(str(self.list.currentData()))

    def choose(self, name: str) -> None:
        """Choose a model by its name."""
        self.list.setCurrentIndex(self.list.findData(name))

    def refresh(self) -> None:
        """List anew what there is; the newest is chosen where the choice is gone."""
        before, names = self.value, list(self._session.denoisers)
        self.list.blockSignals(True)
        self.list.clear()
        for name in reversed(names):
            self.list.addItem(name, name)
        if not names:
            self.list.addItem(_NOTHING, None)
        if before is not None and before.name in names:
            self.choose(before.name)
        self.list.setEnabled(bool(names))
        self.list.blockSignals(False)
        self._on_chosen()

    def show_busy(self) -> None:
        """Let files be loaded only while no run goes on."""
        why = self._session.why_busy
        self.load_button.setEnabled(not why)
        self.load_button.setToolTip(
            why
            or "<qt>Load a trained model (.ppn2v). Choose several files at once to "
            "denoise several channels, one model for each.</qt>"
        )

    def load(self, paths: Sequence[Path]) -> None:
        """Load a model in the background, one file for each channel, and choose it.

        Raises
        ------
        Busy  If a run goes on.
        """
        ordered = sorted(paths, key=natural_order)
        names = ", ".join(path.name for path in ordered)

        def job(stop: StopToken) -> Generator[Event, None, NamedDenoiser]:
            yield from ()
            return _loaded(ordered)

        self.message.show_info(f"Loading {names}…")
        self.run = launch(
            self._session,
            job,
            title=f"Loading the model {names}",
            on_done=self._on_loaded,
            on_failed=self._on_failed,
        )

    def disconnect_session(self) -> None:
        """Listen to the session no more, and ignore what is being loaded."""
        self._session.denoisers_changed.disconnect(self.refresh)
        if self.run is not None:
            self.run.abandon()

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept model files."""
        if event is not None and _dropped(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Load the model files dropped, unless a run goes on."""
        paths = _dropped(event) if event is not None else []
        if paths and not self._session.is_busy:
            self.load(paths)

    def _ask(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(
            self, "Load a trained model", "", FILES
        )
        if chosen:
            self.load([Path(path) for path in chosen])

    def _on_loaded(self, named: NamedDenoiser) -> str:
        self.message.clear()
        kept = self._session.add_denoiser(named)
        self.choose(kept.name)
        return f"The model “{kept.name}” is loaded."

    def _on_failed(self, error: PPN2VError) -> None:
        self.message.show_error(str(error))

    def _on_chosen(self) -> None:
        model = self.value
        self.list.setToolTip(model.name if model is not None else _NOTHING)
        self.described.setVisible(model is not None)
        if model is not None:
            self.described.setText(model_words(model, model.origin))
            self.described.setToolTip(why_words(model))
        self.changed.emit()


def _loaded(paths: Sequence[Path]) -> NamedDenoiser:
    """Read model files; raises BadFile."""
    from napari_ppn2v.files.model_file import load_model

    denoisers = tuple(load_model(path) for path in paths)
    origin = "; ".join(file_words(path) for path in paths)
    return NamedDenoiser(
        model_name(paths), denoisers, model_channels(paths), origin, tuple(paths)
    )


def _dropped(event: Any) -> list[Path]:
    data = event.mimeData()
    urls = data.urls() if data is not None else []
    paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
    return [path for path in paths if path.suffix.lower() == ".ppn2v"]
