"""The layer that shows the frame on screen being denoised while training goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QRadioButton, QWidget
from superqt.utils import qthrottled

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.widgets.layers.placing import (
    LayerData,
    add_preview,
    update_preview,
    visible_region,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_ppn2v.events import PreviewReady
    from napari_ppn2v.pipeline.preview import Preview

LOOK_MS = 300  # least time between two questions for another part


class PreviewControl(QWidget):
    """Check box and choice of the estimate, and the layer they govern.

    `begin` adds the layer, `show_event` fills it, `end` takes it out again. Whether the
    user removes it meanwhile, scrolls or zooms, the training never waits for it.
    """

    switched = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._preview: Preview | None = None
        self._data: LayerData | None = None
        self._channel = 0
        self._layer: Image | None = None
        self._event: PreviewReady | None = None
        self.wanted = QCheckBox("Live preview")
        self.wanted.setChecked(True)
        self.wanted.setToolTip(
            "<qt>Shows the part of the frame on screen as the network would denoise it "
            "now. Takes at most a twentieth of the training time.</qt>"
        )
        self.prior_mean, self.mmse = QRadioButton("prior mean"), QRadioButton("MMSE")
        self.prior_mean.setToolTip(
            "<qt>What the network expects from the surroundings alone.</qt>"
        )
        self.mmse.setToolTip(
            "<qt>Surroundings and the observed value together; there as soon as there "
            "is a noise model.</qt>"
        )
        self.mmse.setChecked(True)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        for part in (self.wanted, self.prior_mean, self.mmse):
            row.addWidget(part)
        row.addStretch(1)
        self.wanted.toggled.connect(self._on_wanted)
        self.mmse.toggled.connect(lambda _: self._draw())
        self._look = qthrottled(self._look_now, timeout=LOOK_MS)

    @property
    def layer(self) -> Image | None:
        """The layer, None where there is none."""
        return self._layer

    def begin(self, data: LayerData, channel: int, preview: Preview) -> None:
        """Add the layer and follow what the viewer shows."""
        self.end()
        self._data, self._channel, self._preview = data, channel, preview
        self._event = None
        self._viewer.dims.events.point.connect(self._on_moved)
        _camera(self._viewer).events.connect(self._on_moved)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._look_now()
        if self.wanted.isChecked():
            self._add()

    def show_event(self, event: PreviewReady) -> None:
        """Show a new preview."""
        self._event = event
        self.mmse.setEnabled(event.mmse is not None)
        self._draw()

    def end(self) -> None:
        """Take the layer out and listen no more."""
        if self._preview is None:
            return
        self._preview = None
        self._viewer.dims.events.point.disconnect(self._on_moved)
        _camera(self._viewer).events.disconnect(self._on_moved)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._remove()
        self._data, self._event = None, None

    def _add(self) -> None:
        """Show the observation at first: adding a layer is slow, changing it is not."""
        if self._preview is None or self._data is None or self._layer is not None:
            return
        target = self._preview.target
        try:
            seen = self._preview.frames.region(
                target.frame, target.rows, target.columns
            )
        except PPN2VError:
            return  # the run says what is wrong with it
        rows, columns = (_begun(part) for part in (target.rows, target.columns))
        selected = list(self._viewer.layers.selection)
        self._layer = add_preview(
            self._viewer,
            self._data,
            target.frame,
            rows,
            columns,
            seen,
            channel=self._channel,
        )
        self._viewer.layers.selection = selected  # what the user works on stays active
        self._draw()

    def _remove(self) -> None:
        layer, self._layer = self._layer, None
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _draw(self) -> None:
        event = self._event
        if event is None or self._layer is None or self._data is None:
            return
        image = event.prior_mean
        if self.mmse.isChecked() and event.mmse is not None:
            image = event.mmse
        update_preview(
            self._layer,
            self._data,
            event.frame,
            event.rows,
            event.columns,
            image,
            channel=self._channel,
        )

    def _look_now(self) -> None:
        """Tell the training what is on screen."""
        data, preview = self._data, self._preview
        if data is None or preview is None:
            return
        if data.layer is None or data.layer not in self._viewer.layers:
            return  # the source is gone: what was looked at last stays
        frame, rows, columns = visible_region(self._viewer, data.layer, data.axes)
        preview.look_at(frame, rows, columns)

    def _on_moved(self, event: Any = None) -> None:
        self._look()

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:  # by the user, who does not want it any more
            self._layer = None
            self.wanted.setChecked(False)

    def _on_wanted(self, is_wanted: bool) -> None:
        if is_wanted:
            self._add()
        else:
            self._remove()


def _camera(viewer: Any) -> Any:
    """Return the camera, which moved into the scene with napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def _begun(part: slice) -> slice:
    return slice(part.start or 0, part.stop)
