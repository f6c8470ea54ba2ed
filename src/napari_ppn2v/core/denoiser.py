"""A trained denoiser: what a model file holds and what denoising needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.inference import (
    Blindness,
    Passes,
    RegionEstimate,
    drained,
    image_passes,
    tile_passes,
)
from napari_ppn2v.core.many_samples import WORTHWHILE_SAMPLES, LikelihoodRows
from napari_ppn2v.core.orientations import N_ORIENTATIONS, averaged_passes
from napari_ppn2v.core.tiling import Span
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from napari_ppn2v.core.networks import UNet
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.core.std_calibration import StdCalibration

TARGET_WORDS = {
    "clean": "clean targets (CARE)",
    "noisy": "second noisy images as targets (Noise2Noise)",
}


@dataclass(frozen=True)
class Denoiser:
    """Everything needed to denoise further images of the same camera and structures.

    Attributes
    ----------
    model : network, prior and normalisation
    noise_model : None for plain Noise2Void
    training_blindness : how pixels were hidden in training; None where none were
    estimate : "refined", "mmse" or "prior-mean", what `result` returns
    is_blind : whether the network is kept from seeing the pixel it predicts
    reason : why these two were chosen, one sentence
    provenance : settings, data and versions, as JSON can hold them
    refined : network that gives the MMSE estimate by itself, or None
        Taught on synthetic observations of the denoised images; it sees every pixel
        and needs no noise model at inference.
    std_calibration : of the posterior standard deviation, or None; used where estimate
        and blindness are those it was fitted for
    target : "clean" (CARE) or "noisy" (Noise2Noise), what a network that was trained
        on pairs of images had as targets; empty where it had noisy images alone
    averages_orientations : whether estimates in one pass are averaged over the eight
        orientations of the image, at eight times the cost; blind ones never are
    """

    model: PriorNetwork
    noise_model: NoiseModel | None
    training_blindness: Blindness | None
    estimate: str
    is_blind: bool
    reason: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    refined: PriorNetwork | None = None
    target: str = ""
    std_calibration: StdCalibration | None = None
    averages_orientations: bool = False

    @property
    def method(self) -> str:
        """What it was trained with: "n2v", "pn2v", "refined", "care" or "n2n"."""
        if self.target:
            return {"clean": "care", "noisy": "n2n"}[self.target]
        if self.refined is not None:
            return "refined"
        return "n2v" if self.noise_model is None else "pn2v"

    @property
    def blindness(self) -> Blindness | None:
        """How pixels are hidden at inference, or None."""
        return self.training_blindness if self.is_blind else None

    @property
    def n_passes(self) -> int:
        """How often the network sees each image."""
        blindness = self._blindness_in_use
        if blindness is not None:
            return int(blindness.box**2)
        return N_ORIENTATIONS if self.averages_orientations else 1

    @property
    def n_samples(self) -> int:
        """How many samples of the prior each pixel is estimated from."""
        model = self.refined if self.estimate == "refined" else self.model
        assert model is not None
        return model.n_samples

    def to(self, device: torch.device) -> Denoiser:
        """Return the same denoiser with weights and noise model on `device`."""
        noise_model = self.noise_model
        return replace(
            self,
            model=self.model.to(device),
            refined=None if self.refined is None else self.refined.to(device),
            noise_model=None if noise_model is None else noise_model.to(device),
        )

    @cached_property
    def likelihood(self) -> NoiseModel | LikelihoodRows | None:
        """The noise model, or its rows where there are many samples per pixel."""
        is_many = self.model.n_samples >= WORTHWHILE_SAMPLES
        if self.noise_model is None or not is_many or self.model.prior_kind != "free":
            return self.noise_model
        return LikelihoodRows(self.noise_model)

    @property
    def network(self) -> UNet:
        """The feature network in use; its stride and halo drive the tiling."""
        model = self.refined if self.estimate == "refined" else self.model
        assert model is not None
        return model.network

    def estimate_tile(
        self, observation: NDArray[np.float32], rows: Span, columns: Span
    ) -> RegionEstimate:
        """Denoise one tile; see `napari_ppn2v.core.inference.estimate_tile`."""
        return drained(self.tile_passes(observation, rows, columns))

    def estimate_image(self, image: NDArray[np.float32]) -> RegionEstimate:
        """Denoise a whole image (Y, X) in memory; ADU."""
        return drained(self.image_passes(image))

    def tile_passes(
        self,
        observation: NDArray[np.float32],
        rows: Span,
        columns: Span,
        *,
        share: float = 1.0,
    ) -> Passes:
        """Denoise one tile, pausing after every pass of the network.

        With a smaller `share` less memory is used at once; the estimate is the same.
        """
        model, likelihood = self._in_use
        if self.averages_orientations and self._blindness_in_use is None:
            found = yield from averaged_passes(
                partial(_in_one_pass, model, likelihood, share),
                observation,
                rows,
                columns,
                model.network.stride,
            )
            return self._named(found)
        found = yield from tile_passes(
            model,
            likelihood,
            observation,
            rows,
            columns,
            self._blindness_in_use,
            share=share,
        )
        return self._named(found)

    def image_passes(self, image: NDArray[np.float32]) -> Passes:
        """Denoise a whole image, pausing after every pass of the network."""
        if self.averages_orientations:
            spans = [Span(0, size, 0, size) for size in image.shape]
            return (yield from self.tile_passes(image, *spans))
        model, likelihood = self._in_use
        found = yield from image_passes(
            model, likelihood, image, self._blindness_in_use
        )
        return self._named(found)

    @property
    def _in_use(self) -> tuple[PriorNetwork, NoiseModel | LikelihoodRows | None]:
        if self.estimate != "refined":
            return self.model, self.likelihood
        assert self.refined is not None
        return self.refined, None

    @property
    def _blindness_in_use(self) -> Blindness | None:
        return None if self.estimate == "refined" else self.blindness

    def _named(self, found: RegionEstimate) -> RegionEstimate:
        """Call the mean of a refined network what it is, and calibrate the std."""
        known, std = self.std_calibration, found.posterior_std
        in_use = (self.estimate, self.is_blind)
        if known is not None and (known.estimate, known.is_blind) == in_use:
            std = None if std is None else known(std)
            found = replace(found, posterior_std=std)
        if self.estimate != "refined":
            return found
        return replace(found, mmse=found.prior_mean)

    def require(self, estimate: str) -> None:
        """Check that an estimate can be given.

        Raises
        ------
        BadSetting  If what it needs is missing in this model.
        """
        if self.target and estimate != "prior-mean":
            raise BadSetting(
                f"This model was {self._training_words}. It has one estimate, the "
                "output of its network ('prior-mean'); choose that or 'auto'."
            )
        require_estimate(estimate, self.noise_model)
        if estimate == "mmse" and self.model.n_samples == 1:
            raise BadSetting(
                "This model predicts one value per pixel, not the samples that the "
                "MMSE estimate is computed from. Choose 'refined' or 'prior-mean', or "
                "train with method pn2v."
            )
        if estimate == "refined" and self.refined is None:
            raise BadSetting(
                "This model was trained without refinement. Choose 'mmse' or "
                "'prior-mean', or train again with refinement rounds."
            )

    def require_blind(self) -> None:
        """Check that the network can be kept from seeing the pixel it predicts.

        Raises
        ------
        BadSetting  If it was trained to see every pixel.
        """
        if self.training_blindness is None:
            raise BadSetting(
                f"This model was {self._training_words} and to see every pixel, so it "
                "cannot denoise blind. Choose blind 'auto' or 'no'."
            )

    @property
    def _training_words(self) -> str:
        words = TARGET_WORDS.get(self.target, "noisy images alone")
        return f"trained with {words}"

    @property
    def gives_posterior_std(self) -> bool:
        """Whether the estimate in use comes with an uncertainty."""
        is_computed = self.noise_model is not None and self.model.n_samples > 1
        return self.estimate == "refined" or is_computed

    def require_posterior_std(self) -> None:
        """Check that the estimate in use comes with an uncertainty.

        Raises
        ------
        BadSetting  If it does not.
        """
        if self.target:
            raise BadSetting(
                "The posterior standard deviation needs a model trained with method "
                f"refined or pn2v; this one was {self._training_words}."
            )
        if not self.gives_posterior_std:
            raise BadSetting(
                "The posterior standard deviation needs a model trained with method "
                "pn2v, or the estimate 'refined'; this one has the "
                f"{self.estimate.replace('-', ' ')} of Noise2Void alone."
            )

    def result(self, estimate: RegionEstimate) -> NDArray[np.float32]:
        """Return the part of an estimate that is the denoised image."""
        if self.estimate != "prior-mean" and estimate.mmse is not None:
            return estimate.mmse
        return estimate.prior_mean


def _in_one_pass(
    model: PriorNetwork,
    likelihood: NoiseModel | LikelihoodRows | None,
    share: float,
    observation: NDArray[np.float32],
    rows: Span,
    columns: Span,
) -> Passes:
    return tile_passes(model, likelihood, observation, rows, columns, None, share=share)


def require_estimate(estimate: str, noise_model: NoiseModel | None) -> None:
    """Check that an estimate can be computed with what there is.

    Raises
    ------
    BadSetting  If MMSE is asked for and there is no noise model.
    """
    if estimate == "mmse" and noise_model is None:
        raise BadSetting(
            "The MMSE estimate needs a noise model, and this model has none "
            "(method n2v). Choose the prior mean, or train with method pn2v."
        )
