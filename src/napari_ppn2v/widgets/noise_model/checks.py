"""Compare two noise models, and see whether one covers an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_ppn2v.widgets.parts.basics import ExplainedButton, MessageLine
from napari_ppn2v.widgets.parts.layer_choice import LayerChoice
from napari_ppn2v.widgets.parts.noise_model_choice import NoiseModelChoice

if TYPE_CHECKING:
    from napari_ppn2v.session.session import Session


class _Check(QWidget):
    """A choice, a button, and what came of it.

    Signals
    -------
    asked
        The button was pressed.
    """

    asked = Signal()

    def __init__(self, label: str, choice: QWidget, button: str, help_: str) -> None:
        super().__init__()
        self.choice = choice
        self.button = ExplainedButton(button)
        self.button.set_help(f"<qt>{help_}</qt>")
        self.message = MessageLine()
        self.button.clicked.connect(self.asked)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (QLabel(label), choice, self.button, self.message):
            column.addWidget(part)


class ComparisonCheck(_Check):
    """Which of two noise models finds the held-out pixels more probable."""

    def __init__(self, session: Session) -> None:
        self.models = NoiseModelChoice(session)
        super().__init__(
            "Compare the model shown with",
            self.models,
            "Compare on held-out pixels",
            "Both models are asked how probable they find pixels that were kept apart "
            "from the fit. The one that finds them more probable is better.",
        )
        self.models.list.setAccessibleName("Noise model to compare with")


class CoverageCheck(_Check):
    """Whether the image has signals that the noise model was not fitted to."""

    def __init__(self, viewer: Any) -> None:
        self.layer = LayerChoice(viewer)
        super().__init__(
            "Does the model shown cover the image",
            self.layer,
            "Check its range of signals",
            "Looks through the image for signals that are darker or brighter than "
            "those that the noise model was fitted to.",
        )
