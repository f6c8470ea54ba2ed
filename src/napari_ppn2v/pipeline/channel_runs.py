"""Training of one channel with everything it leaves on the disk."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.events import Notice
from napari_ppn2v.files.atomic import write_text_atomically
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.files.noise_model_files import save_noise_model
from napari_ppn2v.pipeline.journeys import TrainedRun, train_denoiser
from napari_ppn2v.pipeline.training import CurvePoint

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    import torch

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.pairs import SignalObservationPairs
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import RunConfig
    from napari_ppn2v.pipeline.noise_sources import NoiseSource
    from napari_ppn2v.pipeline.run_folder import RunFolder
    from napari_ppn2v.stop import StopToken

Curves = dict[str, tuple[CurvePoint, ...]]

NOISE_MODEL_SUFFIX = ".npz"
CURVE_COLUMNS = (
    "stage",
    "step",
    "train_loss",
    "validation_loss",
    "learning_rate",
    "seconds",
)


@dataclass(frozen=True)
class ChannelReport:
    """One trained channel.

    Attributes
    ----------
    tag : tells the files of channels apart, empty where there is only one
    model : the model file
    noise_model : the file of the fitted noise model, None where none was fitted
    pairs : what it was fitted to; None where that is no longer at hand
    plain : the part of the record
    """

    tag: str
    denoiser: Denoiser
    model: Path
    noise_model: Path | None
    curves: Curves
    pairs: SignalObservationPairs | None
    seconds: dict[str, float]
    is_stopped: bool
    plain: dict[str, Any]


@dataclass(frozen=True)
class ChannelRun:
    """The training of one channel in a run's folder.

    Attributes
    ----------
    provenance : goes into the model file
    earlier : what the record holds of this channel, None if it was not begun
    """

    files: RunFolder
    tag: str
    config: RunConfig
    provenance: dict[str, Any]
    earlier: dict[str, Any] | None

    def train(
        self,
        sources: Sequence[Frames],
        noise_source: NoiseSource,
        *,
        device: torch.device,
        stop: StopToken,
        targets: Sequence[Frames] | None = None,
        other_devices: Sequence[torch.device] = (),
    ) -> Generator[Event, None, ChannelReport]:
        """Train, or take up the training where it was, and write what came of it."""
        if self.earlier is not None and self.earlier["is_trained"]:
            yield Notice("The training was complete already.")
            return self._loaded()
        run = yield from train_denoiser(
            sources,
            self.config,
            noise_source,
            device=device,
            stop=stop,
            targets=targets,
            checkpoints=self._checkpoint,
            other_devices=other_devices,
        )
        return self._written(run)

    def _checkpoint(self, stage: str) -> FileCheckpoint:
        path = self.files.checkpoint(stage, self.tag)
        return FileCheckpoint(path, is_resumed=True)

    def _written(self, run: TrainedRun) -> ChannelReport:
        noise_model = run.denoiser.noise_model
        fitted = None
        if run.noise_fit is not None and noise_model is not None:
            fitted = self._noise_model_file
            save_noise_model(fitted, noise_model.to("cpu"))
        curves = self.files.file("curves", ".csv", self.tag)
        write_text_atomically(curves, curves_csv(run.curves))
        plain = self._plain(run)
        denoiser = replace(
            run.denoiser,
            provenance={
                **run.denoiser.provenance,
                **self.provenance,
                "training": plain,
            },
        )
        model = self.files.model_file(self.tag)
        save_model(model, denoiser)
        return ChannelReport(
            tag=self.tag,
            denoiser=denoiser,
            model=model,
            noise_model=fitted,
            curves=run.curves,
            pairs=run.pairs,
            seconds=run.seconds,
            is_stopped=run.is_stopped,
            plain=plain,
        )

    def _loaded(self) -> ChannelReport:
        assert self.earlier is not None
        fitted = self._noise_model_file
        return ChannelReport(
            tag=self.tag,
            denoiser=load_model(self.files.model_file(self.tag)),
            model=self.files.model_file(self.tag),
            noise_model=fitted if fitted.exists() else None,
            curves={
                stage: tuple(CurvePoint(**point) for point in points)
                for stage, points in self.earlier["curves"].items()
            },
            pairs=None,
            seconds={},  # counted when it was trained
            is_stopped=False,
            plain=self.earlier,
        )

    @property
    def _noise_model_file(self) -> Path:
        return self.files.file("noise_model", NOISE_MODEL_SUFFIX, self.tag)

    def _plain(self, run: TrainedRun) -> dict[str, Any]:
        """Return what the record keeps of a training."""
        denoiser, fit = run.denoiser, run.noise_fit
        noise_model: dict[str, Any] | None = None
        if denoiser.noise_model is not None:
            low, high = denoiser.noise_model.signal_range
            noise_model = {
                "kind": denoiser.noise_model.kind,
                "signal_range": [float(low), float(high)],
            }
        if fit is not None and noise_model is not None:
            noise_model |= {
                "name": fit.name,
                "held_out_nll": fit.held_out_nll,
                "reason": fit.reason,
                "candidates": {c.name: c.held_out_nll for c in fit.candidates},
                "failed": list(fit.failed),
            }
        return {
            "is_trained": not run.is_stopped,
            "noise_model": noise_model,
            "estimate": denoiser.estimate,
            "blind": denoiser.is_blind,
            "reason": denoiser.reason,
            "seconds": run.seconds,
            "curves": {
                stage: [asdict(point) for point in points]
                for stage, points in run.curves.items()
            },
        }


def curves_csv(curves: Curves) -> str:
    """Return the validations of all stages as a table."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(CURVE_COLUMNS)
    for stage, points in curves.items():
        for point in points:
            table.writerow([stage, *(repr(value) for value in asdict(point).values())])
    return text.getvalue()
