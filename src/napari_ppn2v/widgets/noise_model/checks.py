"""Check what a noise model is fitted to, compare two, see if one covers an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.pipeline.noise_model_job import check_coverage, compare_noise_models
from napari_ppn2v.pipeline.stack_checks import check_observation, check_recording
from napari_ppn2v.widgets.noise_model.source import (
    CALIBRATION,
    NoiseModelSource,
    stack_of,
)
from napari_ppn2v.widgets.noise_model.words import comparison_words, coverage_words
from napari_ppn2v.widgets.parts.basics import ExplainedButton, MessageLine
from napari_ppn2v.widgets.parts.data_check import DataCheckPart
from napari_ppn2v.widgets.parts.layer_choice import LayerChoice
from napari_ppn2v.widgets.parts.noise_model_choice import (
    NoiseModelChoice,
    NoiseModelRef,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.data_check import DataCheck
    from napari_ppn2v.session.session import NamedNoiseModel, Session
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.workers import Job

    # job, title, what is done with its result, where an error is shown
    Launch = Callable[[Job, str, Callable[[Any], str], MessageLine], None]


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
        self._session = session
        self.models = NoiseModelChoice(session)
        super().__init__(
            "Compare the model shown with",
            self.models,
            "Compare on held-out pixels",
            "Both models are asked how probable they find pixels that were kept apart "
            "from the fit. The one that finds them more probable is better.",
        )
        self.models.list.setAccessibleName("Noise model to compare with")

    def why_not(self, shown: NoiseModelRef | None, own: PairHistogram | None) -> str:
        """Say why a model cannot be compared, empty if it can.

        Parameters
        ----------
        shown : the model
        own : pairs that it is judged by
        """
        ref = self.models.value
        if ref is None or ref == shown:
            return "Choose another noise model to compare with."
        if self._pairs(ref, own) is None:
            return (
                "Neither of the two comes with pixel pairs to compare on. Fit a noise "
                "model to a recording first; its pairs serve for all."
            )
        return ""

    def begin(
        self, shown: NamedNoiseModel, own: PairHistogram | None, launch: Launch
    ) -> None:
        """Compare a model with the one chosen, on pairs of either of them."""
        ref = self.models.value
        pairs = None if ref is None else self._pairs(ref, own)
        if ref is None or pairs is None:
            return
        one = (shown.name, shown.model)

        def job(stop: StopToken) -> Any:
            return compare_noise_models(one, (ref.name, ref.load()), pairs, stop)

        def done(result: Any) -> str:
            self.message.show_info(comparison_words(result))
            return ""

        launch(job, "comparison of noise models", done, self.message)

    def _pairs(
        self, ref: NoiseModelRef, own: PairHistogram | None
    ) -> PairHistogram | None:
        if own is not None:
            return own
        other = self._session.noise_models.get(ref.name)
        return None if other is None else other.pairs


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

    def begin(self, shown: NamedNoiseModel, channel: int, launch: Launch) -> None:
        """Look whether a model covers the image chosen."""
        layer = self.layer.value
        if layer is None:
            return
        name = str(layer.name)
        try:
            stack = stack_of(layer)
        except PPN2VError as error:
            self.message.show_error(str(error))
            return

        def done(report: Any) -> str:
            text = coverage_words(report.coverage, name)
            is_poor = report.coverage.is_worth_a_warning
            self.message.show_message(text, "warning" if is_poor else "info")
            return ""

        launch(
            lambda stop: check_coverage(stack, channel, shown.model, stop),
            f"range of {name}",
            done,
            self.message,
        )


class PairsCheck(QWidget):
    """The data check of the recording chosen, against the image if one is named."""

    def __init__(self, viewer: Any, source: NoiseModelSource, *, theme: str) -> None:
        super().__init__()
        self._source = source
        self.image = LayerChoice(viewer, is_optional=True)
        self.image.combo.setAccessibleName("Image to compare the recording with")
        self.image.setToolTip(
            "<qt>The image that is to be denoised: are its dark and bright places in "
            "the recording too?</qt>"
        )
        self.check = DataCheckPart("Check data", theme=theme)
        self._label = QLabel("Compare it with the image to be denoised (optional)")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for part in (self._label, self.image, self.check):
            column.addWidget(part)
        source.changed.connect(self.refresh)
        self.image.changed.connect(self.refresh)
        self.check.asked.connect(self._begin)
        self.refresh()

    @property
    def _is_recording(self) -> bool:
        return self._source.kind == CALIBRATION

    def refresh(self, *_: object) -> None:
        """Drop findings on what is no longer chosen."""
        layers = [self._source.observation.value]
        layers += [self.image.value] if self._is_recording else []
        arrays = tuple(None if la is None else la.data for la in layers)
        channel = self._source.channel.value()
        self.check.set_subject(arrays, (self._source.kind, channel))
        words = "Check the recording" if self._is_recording else "Check data"
        self.check.button.button.setText(words)
        for part in (self._label, self.image):
            part.setVisible(self._is_recording)
        self.setVisible(layers[0] is not None)

    def _begin(self) -> None:
        channel, image = self._source.channel.value(), self.image.value
        is_recording = self._is_recording
        try:
            stack = stack_of(self._source.observation.value)
            other = None if image is None else stack_of(image)
        except PPN2VError as error:
            self.check.message.show_error(str(error))
            return

        def job(stop: StopToken) -> Generator[Event, None, DataCheck]:
            if is_recording:
                return check_recording(stack, channel, stop, observation=other)
            return check_observation(stack, (channel,), stop)

        self.check.begin(job, stack.name)
