"""Small parts that the docks share: messages, explained buttons, paths, frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QStyle,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.inputs import parse_frames

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

_ICON_SIDE = 18  # pixels
_NARROWEST = 60  # pixels, below which a text is no use

Kind = Literal["info", "warning", "error"]
_ICONS = {
    "info": QStyle.StandardPixmap.SP_MessageBoxInformation,
    "warning": QStyle.StandardPixmap.SP_MessageBoxWarning,
    "error": QStyle.StandardPixmap.SP_MessageBoxCritical,
}


class WheelGuard(QObject):
    """Keeps the wheel from changing lists and numbers that it passes by.

    Who scrolls through a dock does not want another device or channel. With the
    keyboard in it, or after a click, a widget follows the wheel as ever.
    """

    def guard_all(self, parent: QWidget) -> None:
        """Guard all lists and numbers of a widget that there are by now."""
        for kind in (QComboBox, QAbstractSpinBox):
            for widget in parent.findChildren(kind):
                # the wheel alone shall not give them the keyboard either
                widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Pass the wheel on to what scrolls around."""
        if (
            event is not None
            and event.type() == QEvent.Type.Wheel
            and isinstance(watched, QWidget)
            and not watched.hasFocus()
        ):
            event.ignore()
            return True
        return False


class WrappedLabel(QLabel):
    """Text over as many lines as it needs, which can be selected and copied."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setWordWrap(True)
        self.setMinimumWidth(_NARROWEST)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Minimum)


class ElidedLabel(QElidingLabel):
    """One line, cut in the middle where it is too long; the tooltip has all of it."""

    def __init__(self, text: str = "", parent: QWidget | None = None) -> None:
        super().__init__(text, parent)
        self.setElideMode(Qt.TextElideMode.ElideMiddle)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(_NARROWEST)
        self.setToolTip(text)

    def setText(self, text: str | None) -> None:
        """Show another text, and the whole of it as the tooltip."""
        super().setText(text or "")
        self.setToolTip(text or "")


class MessageLine(QWidget):
    """A sentence for the user beside an icon whose shape tells its kind.

    Hidden while there is nothing to say.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._icon, self._label = QLabel(), WrappedLabel()
        self._kind: Kind = "info"
        self._icon.setFixedWidth(_ICON_SIDE)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._icon, alignment=Qt.AlignmentFlag.AlignTop)
        row.addWidget(self._label, stretch=1)
        self.hide()

    def show_message(self, text: str, kind: Kind = "info") -> None:
        """Show a message; an empty one hides the line."""
        self._kind = kind
        self._label.setText(text)
        self._label.setAccessibleName(f"{kind}: {text}" if text else "")
        style = self.style()
        if text and style is not None:
            icon = style.standardIcon(_ICONS[kind])
            self._icon.setPixmap(icon.pixmap(QSize(_ICON_SIDE, _ICON_SIDE)))
        self.setVisible(bool(text))

    def show_info(self, text: str) -> None:
        """Show something good to know."""
        self.show_message(text, "info")

    def show_warning(self, text: str) -> None:
        """Show what may spoil the result."""
        self.show_message(text, "warning")

    def show_error(self, text: str) -> None:
        """Show what went wrong and what to do."""
        self.show_message(text, "error")

    def clear(self) -> None:
        """Hide the line."""
        self.show_message("")

    def text(self) -> str:
        """Return the message shown."""
        return self._label.text()

    @property
    def kind(self) -> Kind:
        """Kind of the message: "info", "warning" or "error"."""
        return self._kind


class ExplainedButton(QWidget):
    """A button that says why it cannot be pressed.

    Attributes
    ----------
    button : the QPushButton
    clicked : its signal
    """

    clicked = Signal()

    def __init__(self, text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.button = QPushButton(text)
        self.button.clicked.connect(lambda: self.clicked.emit())
        self._help = ""
        self._reason = WrappedLabel()
        self._reason.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.button)
        column.addWidget(self._reason)
        self._reason.hide()

    def set_help(self, text: str) -> None:
        """Set the tooltip of the button while it can be pressed."""
        self._help = text
        self.set_reason(self.reason())

    def set_reason(self, reason: str) -> None:
        """Disable the button for a reason, or enable it with an empty one."""
        self.button.setEnabled(not reason)
        self.button.setToolTip(reason or self._help)
        self.button.setAccessibleDescription(reason or self._help)
        self._reason.setText(reason)
        self._reason.setVisible(bool(reason))

    def reason(self) -> str:
        """Return why the button cannot be pressed, empty where it can."""
        return self._reason.text()


class PathChoice(QWidget):
    """A file or folder: its path, cut where too long, and a button to choose it.

    Files can be dropped on it too. `path_changed` is emitted with a Path or None
    when the user chooses another one, not by `set_path`.

    Parameters
    ----------
    caption : title of the dialog, "Choose a noise model"
    filters : of the dialog, "Noise models (*.npz *.npy)"; unused for folders
    mode : "open", "save" or "folder"
    nothing : shown while no path is chosen
    """

    path_changed = Signal(object)

    def __init__(
        self,
        caption: str,
        *,
        filters: str = "",
        mode: Literal["open", "save", "folder"] = "open",
        nothing: str = "none chosen",
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._caption, self._filters, self._mode = caption, filters, mode
        self._nothing = nothing
        self._path: Path | None = None
        self._label = ElidedLabel(nothing)
        self.button = QPushButton("Choose…")
        self.button.setToolTip(caption)
        self.button.setAccessibleName(caption)
        self.button.clicked.connect(self._choose)
        self.setAcceptDrops(True)
        self.setFocusProxy(self.button)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._label, stretch=1)
        row.addWidget(self.button)

    @property
    def path(self) -> Path | None:
        """The path chosen."""
        return self._path

    def set_path(self, path: Path | str | None) -> None:
        """Show a path without telling of a change."""
        self._path = None if path is None else Path(path)
        self._label.setText(self._nothing if path is None else str(path))

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Accept files."""
        data = event.mimeData() if event is not None else None
        if event is not None and data is not None and data.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Take the first file dropped."""
        data = event.mimeData() if event is not None else None
        urls = data.urls() if data is not None else []
        if urls and urls[0].isLocalFile():
            self._take(urls[0].toLocalFile())

    def _choose(self) -> None:
        start = "" if self._path is None else str(self._path)
        if self._mode == "folder":
            chosen = QFileDialog.getExistingDirectory(self, self._caption, start)
        elif self._mode == "save":
            answer = QFileDialog.getSaveFileName(
                self, self._caption, start, self._filters
            )
            chosen = answer[0]
        else:
            answer = QFileDialog.getOpenFileName(
                self, self._caption, start, self._filters
            )
            chosen = answer[0]
        if chosen:
            self._take(chosen)

    def _take(self, chosen: str) -> None:
        if Path(chosen) == self._path:
            return
        self.set_path(chosen)
        self.path_changed.emit(self._path)


class FrameRangeEdit(QWidget):
    """Frames written as "0-9,12", or all where nothing is written.

    `frames_changed` is emitted with each edit that is understood.
    """

    frames_changed = Signal()

    def __init__(self, n_frames: int = 1, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._n_frames = n_frames
        self.edit = QLineEdit()
        self.edit.setClearButtonEnabled(True)
        self.edit.setAccessibleName("Frames")
        self._message = MessageLine()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.edit)
        column.addWidget(self._message)
        self.setFocusProxy(self.edit)
        self.edit.textChanged.connect(self._on_text)
        self.set_n_frames(n_frames)

    def set_n_frames(self, n_frames: int) -> None:
        """Say how many frames there are to choose from."""
        self._n_frames = n_frames
        last = n_frames - 1
        self.edit.setPlaceholderText(f"all ({n_frames} frames)")
        self.edit.setToolTip(
            f"<qt>Numbers and ranges from 0 to {last}, for example 0-9,12. "
            "Empty: all frames.</qt>"
        )
        self._message.show_error(self.error())

    def text(self) -> str:
        """Return what is written, without spaces around it."""
        return self.edit.text().strip()

    def set_text(self, text: str) -> None:
        """Write frames; tells of a change like an edit by the user."""
        self.edit.setText(text)

    def frames(self) -> tuple[int, ...]:
        """Return the numbers of the frames, counted from 0.

        Raises
        ------
        BadSetting  If the text is not understood or a frame does not exist.
        """
        if not self.text():
            return tuple(range(self._n_frames))
        return parse_frames(self.text(), self._n_frames)

    def error(self) -> str:
        """Return why the text is no list of frames, empty where it is one."""
        try:
            self.frames()
        except BadSetting as error:
            return str(error)
        return ""

    def _on_text(self) -> None:
        self._message.show_error(self.error())
        if not self.error():
            self.frames_changed.emit()
