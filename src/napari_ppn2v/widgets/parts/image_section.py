"""Which image is denoised: layer or file, axes, channels, what is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.widgets.layers.placing import (
    LayerData,
    describe,
    read_layer,
    rectangle_of,
    visible_region,
)
from napari_ppn2v.widgets.parts.basics import FrameRangeEdit, MessageLine, WrappedLabel
from napari_ppn2v.widgets.parts.layer_or_file import LayerOrFile
from napari_ppn2v.widgets.parts.section import Section

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

_COLOURS = 3  # red, green, blue; a fourth is their transparency
_NO_ALPHA = "Their transparency (alpha) is left out. "
WHOLE, VISIBLE = "whole frames", "the part on screen"
ALL_CHANNELS = "all channels"
_AXES_HELP = (
    "<qt>One letter for each axis, in order: T for time or any series of frames, Z for "
    "depth, C for channels, Y and X. Each T and Z is a frame of its own.</qt>"
)


class ImageSection(QWidget):
    """Choice of the image and of what of it is used.

    Signals
    -------
    changed
        Anything about the choice has changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._data: LayerData | None = None
        self._watched: Image | None = None
        self._regions: list[str | Layer] = []
        self._drawn_on: Layer | None = None
        self._error = ""
        self.layer = LayerOrFile(viewer)
        self.axes = QLineEdit()
        self.axes.setMaxLength(5)
        self.axes.setToolTip(_AXES_HELP)
        self.axes.setAccessibleName("Axes")
        self.channels = QComboBox()
        self.channels.setAccessibleName("Channels")
        self.frames = FrameRangeEdit()
        self.region = QComboBox()
        self.region.setAccessibleName("Region to train on")
        self.understood, self.problem = WrappedLabel(), MessageLine()
        self._lay_out()
        self._connect()
        self._on_layer()

    def _lay_out(self) -> None:
        self._form = QFormLayout()
        self._form.addRow("Axes", self.axes)
        self._form.addRow("Channel", self.channels)
        training = QWidget()
        form = QFormLayout(training)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Frames", self.frames)
        form.addRow("Region", self.region)
        self.part = Section("Train on a part of it")
        self.part.addWidget(training)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.layer)
        column.addWidget(self.understood)
        column.addWidget(self.problem)
        column.addLayout(self._form)
        column.addWidget(self.part)

    def _connect(self) -> None:
        self.layer.changed.connect(self._on_layer)
        self.axes.textEdited.connect(lambda _: self._on_axes())
        self.channels.currentIndexChanged.connect(lambda _: self._on_choice())
        self.frames.edit.textChanged.connect(lambda _: self._on_choice())
        self.region.currentIndexChanged.connect(lambda _: self._on_region())

    # -- what is chosen ---------------------------------------------------------------

    @property
    def data(self) -> LayerData | None:
        """The layer as it is read with the axes given; None where that failed."""
        return self._data

    @property
    def chosen_channels(self) -> tuple[int, ...]:
        """Numbers of the channels to denoise."""
        count = 1 if self._data is None else self._data.layout.n_channels
        if self.is_put_together:
            return tuple(range(count - self._has_alpha))
        return (min(max(0, self.channels.currentIndex()), count - 1),)

    @property
    def is_put_together(self) -> bool:
        """Whether all channels are denoised into one result."""
        return self.channels.currentText() == ALL_CHANNELS

    @property
    def _has_alpha(self) -> bool:
        """Whether the last channel says how transparent a colour is, not how bright."""
        data = self._data
        return data is not None and data.is_rgb and data.layout.n_channels > _COLOURS

    def problem_text(self) -> str:
        """Say what keeps the image from being denoised, empty where nothing does."""
        if self.layer.value is None:
            return "Choose an image: drop a file into the viewer, or open a sample."
        return self._error or self.frames.error()

    def stack(self) -> Stack:
        """Return the array with its axes, as it is now.

        Raises
        ------
        BadAxes, BadData  If the layer's data were replaced by what does not fit.
        """
        layer = self.layer.value
        assert self._data is not None
        assert layer is not None
        self._data = read_layer(layer).with_axes(self._data.axes)
        return Stack(data=self._data.data, axes=self._data.axes, name=self._data.name)

    def training_frames(self) -> tuple[int, ...] | None:
        """Return the frames to train on, None for all; raises BadSetting."""
        return self.frames.frames() if self.frames.text() else None

    def training_region(self) -> tuple[slice, slice] | None:
        """Return rows and columns to train on, None for all; raises BadData."""
        chosen, data, layer = self._region, self._data, self.layer.value
        if data is None or layer is None:
            return None
        if not isinstance(chosen, str):
            return rectangle_of(chosen, layer, data.axes)
        if chosen == WHOLE:
            return None
        _, rows, columns = visible_region(self._viewer, layer, data.axes)
        return rows, columns

    def choose(self, layer: Image) -> None:
        """Choose a layer, as the user would."""
        self.layer.choose(layer)

    def close_down(self) -> None:
        """Listen to no layer any more; for when the dock is closed."""
        self._watch(None)
        self._watch_drawing(None)

    # -- what happens -----------------------------------------------------------------

    def reset_choices(self, event: Any = None) -> None:
        """List layers anew, shapes layers for the region included."""
        self.layer.reset_choices(event)
        self._list_regions()

    def _watch(self, layer: Image | None) -> None:
        """Listen to the layer chosen, and no more to the one before."""
        before, self._watched = self._watched, layer
        if before is layer:
            return
        if before is not None:
            before.events.data.disconnect(self._on_data)
        if layer is not None:
            layer.events.data.connect(self._on_data)

    def _on_data(self, event: Any = None) -> None:
        """Read the layer anew; the axes that the user has named stay, if they fit."""
        before = self._data
        self._on_layer()
        data = self._data
        if before is None or data is None or before.axes == data.axes:
            return
        if len(before.axes) == len(data.axes) and before.is_rgb == data.is_rgb:
            self.axes.setText(before.axes)
            self._on_axes()

    def _on_layer(self) -> None:
        layer = self.layer.value
        self._watch(layer)
        self._data, self._error = None, ""
        if layer is not None:
            try:
                self._data = read_layer(layer)
            except PPN2VError as error:
                self._error = str(error)
        self.axes.setText("" if self._data is None else self._data.axes)
        self._list_channels()
        self._list_regions()
        self._show()

    def _on_axes(self) -> None:
        layer = self.layer.value
        if layer is None:
            return
        self._error = ""
        try:
            self._data = read_layer(layer).with_axes(self.axes.text())
        except PPN2VError as error:
            self._data, self._error = None, str(error)
        self._list_channels()
        self._show()

    def _on_choice(self) -> None:
        self._show()

    def _on_region(self) -> None:
        chosen = self._region
        self._watch_drawing(None if isinstance(chosen, str) else chosen)
        self._show()

    @property
    def _region(self) -> str | Layer:
        """The region chosen: whole frames, what is on screen, or a shapes layer."""
        return self._regions[max(0, self.region.currentIndex())]

    def _watch_drawing(self, layer: Layer | None) -> None:
        """Notice what is drawn into the shapes layer chosen, and into no other."""
        before, self._drawn_on = self._drawn_on, layer
        if before is layer:
            return
        if before is not None:
            before.events.data.disconnect(self._on_drawn)
        if layer is not None:
            layer.events.data.connect(self._on_drawn)

    def _on_drawn(self, event: Any = None) -> None:
        self.changed.emit()

    def _show(self) -> None:
        data = self._data
        has_layer = self.layer.value is not None
        self.problem.show_error(self._error)
        for part in (self.axes, self.part):
            part.setEnabled(has_layer)
        if data is None:
            self.understood.setText("")
        else:
            channel = None if self.is_put_together else self.chosen_channels[0]
            text = describe(data, channel=channel)
            alpha = _NO_ALPHA if self._has_alpha and self.is_put_together else ""
            self.understood.setText(f"{text}. {alpha}{data.notice}".strip(" "))
            if self.frames.edit.placeholderText() != f"all ({data.layout.n_frames})":
                self.frames.set_n_frames(data.layout.n_frames)
        self.understood.setVisible(data is not None)
        self.changed.emit()

    def _list_channels(self) -> None:
        count = 0 if self._data is None else self._data.layout.n_channels
        names = [f"channel {number}" for number in range(count)]
        if count > 1:
            names.append(ALL_CHANNELS)
        if names != [self.channels.itemText(i) for i in range(self.channels.count())]:
            self.channels.blockSignals(True)
            self.channels.clear()
            self.channels.addItems(names)
            self.channels.blockSignals(False)
        self._form.setRowVisible(self.channels, count > 1)

    def _list_regions(self) -> None:
        before = self._region if self._regions else WHOLE
        shapes = [la for la in self._viewer.layers if type(la).__name__ == "Shapes"]
        self._regions = [WHOLE, VISIBLE, *shapes]
        # by identity: layers are renamed, and may be called "whole frames" too
        places = [n for n, region in enumerate(self._regions) if region is before]
        self.region.blockSignals(True)
        self.region.clear()
        self.region.addItems([getattr(r, "name", str(r)) for r in self._regions])
        self.region.setCurrentIndex(places[0] if places else 0)
        self.region.blockSignals(False)
        if not places:
            self._on_region()
