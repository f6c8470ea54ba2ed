"""What all docks share: viewer and session, scrolling, and the end of their runs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtWidgets import (
    QApplication,
    QDockWidget,
    QFrame,
    QLabel,
    QMainWindow,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.session.session import session_of
from napari_ppn2v.widgets.parts.basics import WheelGuard

if TYPE_CHECKING:
    from qtpy.QtGui import QShowEvent

    from napari_ppn2v.workers import Run

NARROWEST = 350  # pixels; three such docks leave a 1280 pixel wide screen its image
USUAL_WIDTH = 400
_LAID_OUT_MS = 50


class _Content(QWidget):
    """What scrolls: as high as its texts need at the width there is, and no higher.

    The least height that Qt asks for is that of all texts wrapped into their narrowest
    columns, which left hundreds of empty pixels at the end of a dock.
    """

    def minimumSizeHint(self) -> QSize:
        """Ask for the width only, where the height follows from it."""
        least = super().minimumSizeHint()
        return QSize(least.width(), 0) if self.hasHeightForWidth() else least


class Dock(QWidget):
    """A dock whose content scrolls, and whose run ends with it.

    Content goes into `self.column`, parts with a heading by `add_part`. Subclasses keep
    the run they have launched in `self.run`, and extend `close_down` by what they
    listen to.
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        # a proxy hides what is needed to place layers, and its layers are proxies too
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = session_of(self.viewer)
        self.run: Run | None = None
        self.is_closed = False
        self._wheel_guard = WheelGuard(self)
        content = _Content()
        self.column = QVBoxLayout(content)
        self.column.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.scroll_area = QScrollArea()
        self.scroll_area.setWidgetResizable(True)
        self.scroll_area.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll_area.setHorizontalScrollBarPolicy(
            Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        )
        self.scroll_area.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.scroll_area)
        self.setMinimumWidth(NARROWEST)
        _close_down_at_the_end(self)
        # a viewer that is closed takes its docks with it, without a word to them
        itself = weakref.ref(self)
        self.destroyed.connect(lambda: _taken_away(itself))

    def add_part(self, title: str, *widgets: QWidget) -> None:
        """Put widgets below each other, under a heading."""
        heading = QLabel(title)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        for widget in (heading, *widgets):
            self.column.addWidget(widget)

    def sizeHint(self) -> QSize:
        """Ask for a width that shows everything, with the scroll bar."""
        return QSize(USUAL_WIDTH, super().sizeHint().height())

    def event(self, event: QEvent | None) -> bool:
        """Notice that the dock was closed: napari then takes the widget out of it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.close_down()
            else:
                self._wheel_guard.guard_all(self)
                QTimer.singleShot(0, self._join_others)
        return bool(super().event(event))

    def showEvent(self, event: QShowEvent | None) -> None:
        """Guard what the wheel passes by, made meanwhile."""
        self._wheel_guard.guard_all(self)
        super().showEvent(event)

    def _join_others(self) -> None:
        """Lie over our other docks as a tab, not below them in half of the height."""
        own = self.parent()
        window = own.parent() if isinstance(own, QDockWidget) else None
        if not isinstance(own, QDockWidget) or not isinstance(window, QMainWindow):
            return
        others = [
            dock
            for dock in window.findChildren(QDockWidget)
            if dock is not own and dock.findChild(Dock) is not None
        ]
        area = window.dockWidgetArea(own)
        beside = [
            dock
            for dock in others
            if not dock.isFloating() and window.dockWidgetArea(dock) == area
        ]
        if beside and own not in window.tabifiedDockWidgets(beside[0]):
            window.tabifyDockWidget(beside[0], own)
            # a tab that is new comes to the front only once it is laid out
            QTimer.singleShot(_LAID_OUT_MS, own.raise_)

    def close_down(self) -> None:
        """End what goes on, and what listens; nothing trains after its dock."""
        if self.is_closed:
            return
        self.is_closed = True
        _forget_choices(self, self.viewer.layers.events)
        if self.run is not None:
            self.run.abandon()


_OPENED: WeakSet[Dock] = WeakSet()
_IS_WATCHED = "napari_ppn2v is told of the end"


def _close_down_at_the_end(dock: Dock) -> None:
    """Have a dock closed down when the program ends.

    One connection serves all docks. One of each would stay with the program, which
    outlives them.
    """
    _OPENED.add(dock)
    app = QApplication.instance()
    if app is not None and not app.property(_IS_WATCHED):
        app.setProperty(_IS_WATCHED, True)
        app.aboutToQuit.connect(_close_down_all)


def _close_down_all() -> None:
    for dock in list(_OPENED):
        dock.close_down()


def _forget_choices(dock: Dock, layer_events: Any) -> None:
    """Undo what napari connects to a dock, and does not undo when it is closed."""
    reset_choices = getattr(dock, "reset_choices", None)
    if reset_choices is None:
        return
    for name in ("inserted", "removed", "reordered", "renamed"):
        emitter = getattr(layer_events, name, None)  # not all in every napari
        if emitter is not None:
            emitter.disconnect(reset_choices)


def _taken_away(dock: weakref.ref[Dock]) -> None:
    known = dock()
    if known is not None:
        known.close_down()
