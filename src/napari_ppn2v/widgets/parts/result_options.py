"""What a result holds beside the denoised image, and its number type."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

STD_HELP = "A further layer or file with the uncertainty of each pixel, in grey values."


class ResultOptions(QWidget):
    """Check boxes for further layers and the number type.

    Signals
    -------
    changed
        Any of them was changed.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.std = QCheckBox("posterior standard deviation")
        self.residual = QCheckBox("residual")
        self.dtype_box = QCheckBox("keep the image's number type")
        self.std.setToolTip(f"<qt>{STD_HELP}</qt>")
        self.residual.setToolTip(
            "<qt>A further layer with observation minus result. It should look like "
            "pure noise.</qt>"
        )
        self.dtype_box.setToolTip(
            "<qt>Round the result to the number type of the image. Otherwise it is "
            "float32, which keeps fractions of grey values.</qt>"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for box in (self.std, self.residual, self.dtype_box):
            column.addWidget(box)
            box.toggled.connect(lambda _: self.changed.emit())

    @property
    def has_std(self) -> bool:
        """Whether the uncertainty is wanted, and can be had."""
        return self.std.isEnabled() and self.std.isChecked()

    @property
    def has_residual(self) -> bool:
        """Whether observation - result is wanted, and can be had."""
        return self.residual.isEnabled() and self.residual.isChecked()

    @property
    def dtype(self) -> str:
        """Type of the result: "float32" or "same"."""
        return "same" if self.dtype_box.isChecked() else "float32"
