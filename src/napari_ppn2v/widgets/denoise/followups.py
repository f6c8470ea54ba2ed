"""What can be done after a run."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget


class RunActions(QWidget):
    """Buttons for it; those that make no sense are hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.denoise = QPushButton("Denoise with the best so far")
        self.resume = QPushButton("Resume")
        self.longer = QPushButton("Train longer")
        self.save = QPushButton("Save model…")
        self.script = QPushButton("Copy as Python")
        self.resume.setToolTip("<qt>Go on where the run was stopped.</qt>")
        self.longer.setToolTip(
            "<qt>Go on from the weights there are, and denoise again. The result is "
            "never worse by validation loss.</qt>"
        )
        self.script.setToolTip(
            "<qt>Put a Python script that repeats exactly this on the clipboard.</qt>"
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.denoise)
        for pair in ((self.resume, self.longer), (self.save, self.script)):
            row = QHBoxLayout()
            for button in pair:
                row.addWidget(button)
            column.addLayout(row)
