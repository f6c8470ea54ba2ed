"""What the user has ordered from the dock, or a run that is taken up again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppn2v.pipeline.recovery_record import Given
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.widgets.layers.data import array_source
from napari_ppn2v.widgets.parts.noise_model_choice import NoiseModelRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_ppn2v.pipeline.recovery_record import RecoveryRecord
    from napari_ppn2v.pipeline.stack_request import StackRequest
    from napari_ppn2v.widgets.layers.data import LayerData


@dataclass(frozen=True)
class Order:
    """What the user has ordered.

    Attributes
    ----------
    request : with the pixels of the moment when the button was pressed
    data : the layer as it was then
    recording : layer of the calibration recording, None for none
    saved : noise model to load before the run, None for none
    expected : seconds of each stage, empty where they are not known
    is_checked : whether the user has seen what the check of these data has found
    is_read : whether all frames were read before
    """

    request: StackRequest
    data: LayerData
    recording: LayerData | None
    saved: NoiseModelRef | None
    expected: Mapping[str, float]
    is_checked: bool = False
    is_read: bool = False

    @classmethod
    def taken_up(cls, record: RecoveryRecord, layers: Sequence[LayerData]) -> Order:
        """Return the order of an earlier run.

        Parameters
        ----------
        layers : with the pixels of that run: image, then recordings
        """
        stacks = [Stack(data=la.data, axes=la.axes, name=la.name) for la in layers]
        path = record.noise_model_path
        saved = NoiseModelRef(record.noise_model, path=Path(path) if path else None)
        return cls(
            request=record.request(stacks[0], stacks[1:]),
            data=layers[0],
            recording=layers[1] if len(layers) > 1 else None,
            saved=saved if record.noise_model else None,
            expected={},
            is_checked=True,
            is_read=True,
        )

    @property
    def given(self) -> Given:
        """What the request does not tell."""
        layers = (self.data, *(() if self.recording is None else (self.recording,)))
        paths, saved = tuple(layer.path for layer in layers), self.saved
        if saved is None:
            return Given(paths)
        return Given(paths, saved.name, str(saved.path or ""))

    def script(self, times_longer: int = 0) -> str:
        """Return a Python script that does exactly this.

        Parameters
        ----------
        times_longer : how often the model was trained longer afterwards
        """
        from napari_ppn2v.session.script import python_script

        request, path = self.request, ""
        if self.saved is not None and request.config.method != "n2v":
            request = replace(request, noise_model=self.saved.model)
            path = str(self.saved.path or "")
        recordings = () if self.recording is None else (array_source(self.recording),)
        return python_script(
            request,
            array_source(self.data),
            calibration=recordings if request.calibration else (),
            noise_model=path,
            times_longer=times_longer,
        )

    @property
    def title(self) -> str:
        """Name of the image, in quotes."""
        return f"“{self.request.observation.name}”"
