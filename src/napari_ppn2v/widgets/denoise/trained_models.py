"""What a run has trained: its models in the session, and in files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_ppn2v.session.session import NamedDenoiser, NamedNoiseModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.pipeline.stack_job import StackReport
    from napari_ppn2v.session.session import Session


class TrainedModels:
    """The models of one run; what it trains later takes the place of them."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._name = ""  # of the denoiser, in the session
        self._fitted: dict[int, str] = {}  # names of noise models, by channel

    def keep(
        self, report: StackReport, pairs: Sequence[PairHistogram]
    ) -> NamedDenoiser | None:
        """Keep what was trained in the session; returns it, None if there is nothing.

        Parameters
        ----------
        pairs : that the noise models were fitted to, for each channel
        """
        name, channels = report.request.observation.name, report.request.channels
        if not report.runs:
            return None
        denoisers = tuple(
            replace(denoiser, provenance={**denoiser.provenance, **report.provenance})
            for denoiser in report.denoisers
        )
        named = NamedDenoiser(
            self._name or name,
            denoisers,
            channels[: len(denoisers)],
            f"from {name}",
        )
        # no other model of that name is lost, such as one that was loaded
        is_known = self._name in self._session.denoisers
        kept = self._session.add_denoiser(named, replacing=is_known)
        self._name = kept.name
        self._keep_noise_models(report, pairs)
        return kept

    def _keep_noise_models(
        self, report: StackReport, pairs: Sequence[PairHistogram]
    ) -> None:
        """Keep the noise models that were fitted, with what they were fitted to."""
        name, channels = report.request.observation.name, report.request.channels
        for number, fitted_to in enumerate(pairs[: len(report.runs)]):
            fit = report.runs[number].noise_fit
            if fit is None:
                continue
            tag = f", channel {channels[number]}" if len(channels) > 1 else ""
            # a run that is resumed fits the same model again
            self._session.remove_noise_model(self._fitted.get(number, ""))
            kept = self._session.add_noise_model(
                NamedNoiseModel(
                    f"{name}{tag}: {fit.name}",
                    fit.model,
                    fitted_to,
                    origin=str(report.provenance.get("noise_model_from", "")),
                    held_out_nll=fit.held_out_nll,
                )
            )
            self._fitted[number] = kept.name

    def save(self, path: Path, channels: Sequence[int]) -> NamedDenoiser:
        """Save the denoiser, a file for each channel; returns it with its files.

        Parameters
        ----------
        channels : that the run was about

        Raises
        ------
        PPN2VError  If a file cannot be written.
        """
        from napari_ppn2v.files.model_file import MODEL_SUFFIX, save_model

        model = self._session.denoisers[self._name]
        stem = path.name.removesuffix(MODEL_SUFFIX) or "model"
        tags = [""]
        if len(model.denoisers) > 1:
            tags = [f"_c{channel}" for channel in channels]
        paths = [path.with_name(f"{stem}{tag}{MODEL_SUFFIX}") for tag in tags]
        for file, denoiser in zip(paths, model.denoisers, strict=False):
            save_model(file, denoiser)
        saved = replace(model, paths=tuple(paths))
        self._session.add_denoiser(saved, replacing=True)
        return saved
