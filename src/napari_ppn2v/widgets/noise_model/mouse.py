"""The signal of the pixel under the mouse in the viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QLabel, QVBoxLayout, QWidget

from napari_ppn2v.widgets.parts.layer_choice import LayerChoice

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

_DELAY_MS = 40  # between two answers
_HALF_SIDE = 2  # pixels; a mean over 5 x 5 stands for the signal of a noisy image


class MouseSignal(QObject):
    """Tells the signal under the mouse while it is switched on.

    Parameters
    ----------
    viewer
        Not a proxy.
    layers
        Returns the denoised layer, or None, and the noisy one, or None.

    Signals
    -------
    signal_changed(float)
        Grey values: of the denoised layer, or the local mean of the noisy one.
    """

    signal_changed = Signal(float)

    def __init__(
        self,
        viewer: Any,
        layers: Callable[[], tuple[Image | None, Image | None]],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._layers = viewer, layers
        self._is_on = False
        self._position: tuple[float, ...] = ()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY_MS)
        self._timer.timeout.connect(self._tell)

    @property
    def is_on(self) -> bool:
        """Whether the mouse is followed."""
        return self._is_on

    def switch(self, is_on: bool) -> None:
        """Follow the mouse, or no more."""
        if is_on == self._is_on:
            return
        self._is_on = is_on
        callbacks = self._viewer.mouse_move_callbacks
        if is_on:
            callbacks.append(self._on_move)
            return
        self._timer.stop()
        if self._on_move in callbacks:
            callbacks.remove(self._on_move)

    def _on_move(self, viewer: Any, event: Any) -> None:
        self._position = tuple(event.position)
        if not self._timer.isActive():
            self._timer.start()

    def _tell(self) -> None:
        denoised, noisy = self._layers()
        signal = None
        if denoised is not None:
            signal = value_at(denoised, self._position)
        elif noisy is not None:
            signal = mean_around(noisy, self._position)
        if signal is not None:
            self.signal_changed.emit(signal)


class MouseFollowing(QWidget):
    """Whether the cursor follows the mouse, and which denoised image tells the signal.

    Parameters
    ----------
    viewer : not a proxy
    noisy : returns the noisy layer, or None

    Signals
    -------
    signal_changed(float)
        See `MouseSignal`.
    """

    signal_changed = Signal(float)

    def __init__(self, viewer: Any, noisy: Callable[[], Image | None]) -> None:
        super().__init__()
        self.box = QCheckBox("Cursor follows the mouse over the image")
        self.box.setToolTip(
            "<qt>The pixel under the mouse in the viewer sets the signal of the "
            "cursor: the value of the denoised image if one is chosen, else a mean "
            "over 5 x 5 pixels of the noisy one.</qt>"
        )
        self.denoised = LayerChoice(viewer, is_optional=True)
        self.denoised.setToolTip("Denoised image whose values set the cursor.")
        self._label = QLabel("Denoised image (if there is one)")
        self._mouse = MouseSignal(
            viewer, lambda: (self.denoised.value, noisy()), parent=self
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self.box, self._label, self.denoised):
            column.addWidget(part)
        self.box.toggled.connect(self._on_toggled)
        self._mouse.signal_changed.connect(self.signal_changed)
        self._on_toggled(False)

    def reset_choices(self, event: Any = None) -> None:
        """List the layers anew."""
        self.denoised.reset_choices(event)

    def end(self) -> None:
        """Follow no more; for when the dock is closed."""
        self._mouse.switch(False)

    def _on_toggled(self, is_on: bool) -> None:
        self._mouse.switch(is_on)
        for part in (self._label, self.denoised):
            part.setVisible(is_on)


def value_at(layer: Image, position: tuple[float, ...]) -> float | None:
    """Value of a layer at a place of the world; None outside, or where it has several.

    It is that of what is on screen, so nothing lazy is read.
    """
    value: Any = layer.get_value(position, world=True)
    if layer.multiscale and isinstance(value, tuple):
        value = value[1]
    if value is None or np.ndim(value) != 0 or not np.isfinite(value):
        return None
    return float(value)


def mean_around(layer: Image, position: tuple[float, ...]) -> float | None:
    """Mean of the pixels around a place of the world; None where there are none."""
    centre = np.array(layer.world_to_data(position))
    shifts = np.arange(-_HALF_SIDE, _HALF_SIDE + 1)
    values = []
    displayed = list(layer._slice_input.displayed)[-2:]
    for down in shifts:
        for right in shifts:
            place = centre.copy()
            place[displayed] += (down, right)
            found = value_at(layer, tuple(layer.data_to_world(place)))
            if found is not None:
                values.append(found)
    return float(np.mean(values)) if values else None
