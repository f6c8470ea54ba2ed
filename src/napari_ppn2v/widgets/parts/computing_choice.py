"""Where to compute: device, and threads of the processor."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QSpinBox, QWidget

_DEVICES = {
    "auto": "automatic",
    "cpu": "processor (CPU)",
    "cuda": "NVIDIA GPU (CUDA)",
    "mps": "Apple GPU (MPS)",
}
_MOST_THREADS = 256


class ComputingChoice(QWidget):
    """Choice of the device and the number of threads.

    Signals
    -------
    changed
        Another device or number is chosen.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.device, self.threads = QComboBox(), QSpinBox()
        for name, label in _DEVICES.items():
            self.device.addItem(label, name)
        self.device.setAccessibleName("Device")
        self.device.setToolTip(
            "<qt>Automatic: an NVIDIA GPU, else an Apple GPU, else the processor.</qt>"
        )
        self.threads.setRange(0, _MOST_THREADS)
        self.threads.setSpecialValueText("automatic")
        self.threads.setToolTip(
            "<qt>Threads of the processor. Automatic: all but one, so that the viewer "
            "stays responsive.</qt>"
        )
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Device", self.device)
        rows.addRow("Threads", self.threads)
        self.device.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.threads.valueChanged.connect(lambda _: self.changed.emit())

    @property
    def device_name(self) -> str:
        """Device chosen: "auto", "cpu", "cuda" or "mps"."""
        return str(self.device.currentData())

    @property
    def n_threads(self) -> int | None:
        """Threads of the processor, None for the default."""
        return self.threads.value() or None
