"""Choice of a saved noise model: of this session, of the library, or of a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QPushButton, QWidget

from napari_ppn2v.files.library import NoiseModelLibrary

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.session.session import Session

FILES = "Noise models (*.npz *.npy)"
_NOTHING = "none yet: load a file, or fit one in the dock “Noise model”"


@dataclass(frozen=True)
class NoiseModelRef:
    """A noise model that can be had; one of a file is read only by `load`.

    Attributes
    ----------
    name : for the user
    model : where it is in memory already
    path : of its file
    """

    name: str
    model: NoiseModel | None = None
    path: Path | None = None

    def load(self) -> NoiseModel:
        """Return the model; raises BadFile. Loads torch, so call it in the worker."""
        if self.model is not None:
            return self.model
        from napari_ppn2v.files.noise_model_files import load_noise_model

        assert self.path is not None
        return load_noise_model(self.path)


class NoiseModelChoice(QWidget):
    """A list of the noise models at hand, and a button that loads another one.

    Signals
    -------
    changed
        Another model is chosen, or the list has changed.
    """

    changed = Signal()

    def __init__(
        self,
        session: Session,
        library: NoiseModelLibrary | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._session, self._library = session, library or NoiseModelLibrary()
        self._files: list[Path] = []
        self._refs: list[NoiseModelRef] = []
        self.list = QComboBox()
        self.list.setAccessibleName("Noise model")
        self.list.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.list.setMinimumContentsLength(12)
        self.load_button = QPushButton("Load file…")
        self.load_button.clicked.connect(self._ask)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.list, stretch=1)
        row.addWidget(self.load_button)
        self.list.currentIndexChanged.connect(lambda: self.changed.emit())
        session.noise_models_changed.connect(self.refresh)
        self.refresh()

    @property
    def value(self) -> NoiseModelRef | None:
        """The model chosen, None where there is none."""
        index = self.list.currentIndex()
        return self._refs[index] if 0 <= index < len(self._refs) else None

    def refresh(self) -> None:
        """List anew what there is; the choice is kept where it still exists."""
        before = self.value
        self._refs = [
            *(NoiseModelRef(n, m.model) for n, m in self._session.noise_models.items()),
            *(
                NoiseModelRef(_library_words(entry), path=entry.path)
                for entry in self._library.entries()
            ),
            *(NoiseModelRef(self._file_words(p), path=p) for p in self._files),
        ]
        self.list.blockSignals(True)
        self.list.clear()
        self.list.addItems([ref.name for ref in self._refs] or [_NOTHING])
        keys = [(ref.path or ref.name) for ref in self._refs]
        if before is not None and (before.path or before.name) in keys:
            self.list.setCurrentIndex(keys.index(before.path or before.name))
        self.list.setEnabled(bool(self._refs))
        self.list.blockSignals(False)
        self.changed.emit()

    def choose(self, name: str) -> None:
        """Choose a model by its name in the list."""
        self.list.setCurrentIndex([ref.name for ref in self._refs].index(name))

    def add_file(self, path: Path) -> None:
        """Put a file into the list and choose it."""
        if path not in self._files:
            self._files.append(path)
        self.refresh()
        self.list.setCurrentIndex([ref.path for ref in self._refs].index(path))

    def _file_words(self, path: Path) -> str:
        """Name a file, with its folder where another one has the same name."""
        is_only = [other.name for other in self._files].count(path.name) == 1
        return path.name if is_only else f"{path.name} in {path.parent}"

    def disconnect_session(self) -> None:
        """Listen to the session no more; for when the dock is closed."""
        self._session.noise_models_changed.disconnect(self.refresh)

    def _ask(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, "Load a noise model", "", FILES)
        if chosen:
            self.add_file(Path(chosen))


def _library_words(entry: object) -> str:
    """Name a model of the library with what tells it apart: camera, gain, date."""
    origin = entry.provenance  # type: ignore[attr-defined]
    more = [part for part in (origin.camera, origin.gain, origin.date) if part]
    return f"{origin.name} ({', '.join(more)})" if more else origin.name
