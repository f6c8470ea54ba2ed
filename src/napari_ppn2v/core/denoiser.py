"""A trained denoiser: what a model file holds and what denoising needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from napari_ppn2v.core.inference import Blindness, RegionEstimate
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.prior_network import PriorNetwork


@dataclass(frozen=True)
class Denoiser:
    """Everything needed to denoise further images of the same camera and structures.

    Attributes
    ----------
    model : network, prior and normalisation
    noise_model : None for plain Noise2Void
    training_blindness : how pixels were hidden in training
    estimate : "mmse" or "prior-mean", what `result` returns
    is_blind : whether the network is kept from seeing the pixel it predicts
    reason : why these two were chosen, one sentence
    provenance : settings, data and versions, as JSON can hold them
    """

    model: PriorNetwork
    noise_model: NoiseModel | None
    training_blindness: Blindness
    estimate: str
    is_blind: bool
    reason: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def blindness(self) -> Blindness | None:
        """How pixels are hidden at inference, or None."""
        return self.training_blindness if self.is_blind else None

    def to(self, device: torch.device) -> Denoiser:
        """Return the same denoiser with weights and noise model on `device`."""
        noise_model = self.noise_model
        return replace(
            self,
            model=self.model.to(device),
            noise_model=None if noise_model is None else noise_model.to(device),
        )

    def result(self, estimate: RegionEstimate) -> NDArray[np.float32]:
        """Return the part of an estimate that is the denoised image."""
        if self.estimate == "mmse" and estimate.mmse is not None:
            return estimate.mmse
        return estimate.prior_mean


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
