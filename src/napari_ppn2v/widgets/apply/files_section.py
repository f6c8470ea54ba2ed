"""Choice of image files, and of the folder for their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.core.frames import as_frames, channel_count
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.files.images import open_image
from napari_ppn2v.pipeline.inputs import ALL_CHANNELS as ALL
from napari_ppn2v.pipeline.inputs import find_images
from napari_ppn2v.widgets.layers.open_file import FILES
from napari_ppn2v.widgets.parts.basics import (
    ElidedLabel,
    MessageLine,
    PathChoice,
    WrappedLabel,
)
from napari_ppn2v.widgets.parts.image_section import ALL_CHANNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QDragEnterEvent, QDropEvent

_NOTHING = "no files chosen"
_OWN_FOLDER = "denoised"  # made beside the images, unless another one is chosen
_PATTERN_HELP = (
    "<qt>Only files of the folder whose names fit: * stands for any letters, ? for "
    "one. Empty: all images.</qt>"
)
_AXES_HELP = (
    "<qt>One letter for each axis of every file, in order: T for time or any series of "
    "frames, Z for depth, C for channels, Y and X. Empty: as the files say.</qt>"
)


class FilesSection(QWidget):
    """Choice of files or of a folder, of the output folder, and how they are read.

    Signals
    -------
    changed
        Anything about the choice has changed.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._paths: tuple[Path, ...] = ()
        self._error = ""
        self._has_own_out = True  # the output folder follows the images
        self._n_channels = 1
        self._label = ElidedLabel(_NOTHING)
        self.files_button = QPushButton("Files…")
        self.folder_button = QPushButton("Folder…")
        self.pattern, self.axes = QLineEdit(), QLineEdit()
        self.channels = QComboBox()
        self.understood, self.problem = WrappedLabel(), MessageLine()
        self.out = PathChoice("Choose the folder for the results", mode="folder")
        self.is_replacing = QCheckBox("Replace results that are there")
        self.setAcceptDrops(True)
        self._set_words()
        self._lay_out()
        self._connect()
        self._show()

    def _set_words(self) -> None:
        self.files_button.setToolTip("Choose image files to denoise")
        self.folder_button.setToolTip(
            "<qt>Choose a folder; all its images are denoised. A Zarr image is a "
            "folder, too.</qt>"
        )
        self.pattern.setPlaceholderText("all images, or for example *_noisy.tif")
        self.pattern.setToolTip(_PATTERN_HELP)
        self.axes.setPlaceholderText("as the files say")
        self.axes.setToolTip(_AXES_HELP)
        self.axes.setMaxLength(5)
        self.is_replacing.setToolTip(
            "<qt>Otherwise nothing is begun while one of the results is there.</qt>"
        )
        for part, name in (
            (self.pattern, "Pattern of file names"),
            (self.axes, "Axes of the files"),
            (self.channels, "Channel of the files"),
        ):
            part.setAccessibleName(name)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self._label, stretch=1)
        row.addWidget(self.files_button)
        row.addWidget(self.folder_button)
        self._form = QFormLayout()
        self._form.addRow("Pattern", self.pattern)
        self._form.addRow("Axes", self.axes)
        self._form.addRow("Channel", self.channels)
        self._form.addRow("Results to", self.out)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        column.addWidget(self.understood)
        column.addWidget(self.problem)
        column.addLayout(self._form)
        column.addWidget(self.is_replacing)

    def _connect(self) -> None:
        self.files_button.clicked.connect(self._ask_files)
        self.folder_button.clicked.connect(self._ask_folder)
        self.pattern.textEdited.connect(lambda _: self._show())
        self.axes.textEdited.connect(lambda _: self._show())
        self.channels.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.out.path_changed.connect(self._on_out)
        self.is_replacing.toggled.connect(lambda _: self.changed.emit())

    # -- what is chosen ---------------------------------------------------------------

    @property
    def images(self) -> tuple[Path, ...]:
        """Files, a folder, or a pattern in it."""
        pattern = self.pattern.text().strip()
        if self._is_folder and pattern:
            return (self._paths[0] / pattern,)
        return self._paths

    @property
    def axes_text(self) -> str | None:
        """Axes named by the user, None for what the files say."""
        return self.axes.text().strip() or None

    @property
    def channel(self) -> int | str | None:
        """Number of the channel, "all", or None where the first file has but one."""
        if self._n_channels == 1:
            return None
        is_all = self.channels.currentText() == ALL_CHANNELS
        return ALL if is_all else max(0, self.channels.currentIndex())

    @property
    def n_channels(self) -> int:
        """Number of channels of the first file."""
        return self._n_channels

    def problem_text(self) -> str:
        """Say what is missing or wrong, empty where nothing is."""
        if not self._paths:
            return "Choose the files to denoise, or a folder of them."
        if not self._error and self.out.path is None:
            return "Choose a folder for the results."
        return self._error

    def choose(self, paths: Sequence[Path]) -> None:
        """Choose files or one folder, as the user would."""
        self._paths = tuple(paths)
        if self._has_own_out and paths:
            first = paths[0]
            place = first if self._is_folder else first.parent
            self.out.set_path(place / _OWN_FOLDER)
        self._show()

    def choose_out(self, path: Path) -> None:
        """Choose the folder for the results, as the user would."""
        self.out.set_path(path)
        self._on_out()

    # -- what happens -----------------------------------------------------------------

    @property
    def _is_folder(self) -> bool:
        from napari_ppn2v.files.zarr_reading import is_zarr

        paths = self._paths
        return len(paths) == 1 and paths[0].is_dir() and not is_zarr(paths[0])

    def _on_out(self, _: Any = None) -> None:
        self._has_own_out = False
        self.changed.emit()

    def _show(self) -> None:
        """Look at the first file and say what was understood."""
        self._error, words, count = "", "", 1
        if self._paths:
            try:
                words, count = self._look()
            except PPN2VError as error:
                self._error = str(error)
        self._list_channels(count)
        self._label.setText(_paths_words(self._paths) or _NOTHING)
        self._form.setRowVisible(self.pattern, self._is_folder)
        self._form.setRowVisible(self.axes, bool(self._paths))
        self.understood.setText(words)
        self.understood.setVisible(bool(words))
        self.problem.show_error(self._error)
        self.changed.emit()

    def _look(self) -> tuple[str, int]:
        found = find_images(self.images)
        source = open_image(found[0], self.axes_text)
        frames = as_frames(source.data, source.axes, 0, name=found[0].name)
        count = channel_count(source.data, source.axes)
        what = frames.describe().replace(f"channel 0 of {count}", f"{count} channels")
        if len(found) == 1:
            return what, count
        return f"{len(found)} files; the first, {found[0].name}: {what}", count

    def _list_channels(self, count: int) -> None:
        if count != self._n_channels or self.channels.count() == 0:
            self._n_channels = count
            names = [f"channel {number}" for number in range(count)]
            self.channels.blockSignals(True)
            self.channels.clear()
            self.channels.addItems([*names, ALL_CHANNELS] if count > 1 else names)
            self.channels.blockSignals(False)
        self._form.setRowVisible(self.channels, count > 1)

    def _ask_files(self) -> None:
        chosen, _ = QFileDialog.getOpenFileNames(self, "Images to denoise", "", FILES)
        if chosen:
            self.choose([Path(path) for path in chosen])

    def _ask_folder(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "Folder of images to denoise")
        if chosen:
            self.choose([Path(chosen)])

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept files and folders."""
        data = event.mimeData() if event is not None else None
        if event is not None and data is not None and data.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take what was dropped."""
        data = event.mimeData() if event is not None else None
        urls = data.urls() if data is not None else []
        paths = [Path(url.toLocalFile()) for url in urls if url.isLocalFile()]
        if paths:
            self.choose(paths)


def _paths_words(paths: Sequence[Path]) -> str:
    if not paths:
        return ""
    if len(paths) == 1:
        return str(paths[0])
    return f"{len(paths)} files in {paths[0].parent}"
