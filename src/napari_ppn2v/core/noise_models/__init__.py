"""Noise models: the distribution p(x|s) of an observation given its signal.

A new kind is one file that follows `base.NoiseModel`, and one line in `NOISE_MODELS`.
"""

from __future__ import annotations

from typing import Any

from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models.base import NoiseModel
from napari_ppn2v.core.noise_models.camera_models import (
    PoissonGammaModel,
    PoissonGaussianModel,
)
from napari_ppn2v.core.noise_models.fitting import (
    FittedNoiseModel,
    fit_noise_model,
)
from napari_ppn2v.core.noise_models.gmm import GaussianMixtureModel
from napari_ppn2v.core.noise_models.histogram import HistogramModel
from napari_ppn2v.core.noise_models.shared import check_usable, held_out_nll
from napari_ppn2v.core.noise_models.tabulated import TabulatedLikelihood
from napari_ppn2v.errors import BadFile

__all__ = [
    "NOISE_MODELS",
    "FittedNoiseModel",
    "GaussianMixtureModel",
    "HistogramModel",
    "NoiseModel",
    "NoiseModelConfig",
    "PoissonGammaModel",
    "PoissonGaussianModel",
    "TabulatedLikelihood",
    "check_usable",
    "fit_noise_model",
    "held_out_nll",
    "model_from_state",
]

NOISE_MODELS: dict[str, type[NoiseModel]] = {
    GaussianMixtureModel.kind: GaussianMixtureModel,
    HistogramModel.kind: HistogramModel,
    PoissonGaussianModel.kind: PoissonGaussianModel,
    PoissonGammaModel.kind: PoissonGammaModel,
    TabulatedLikelihood.kind: TabulatedLikelihood,
}


def model_from_state(kind: str, state: dict[str, Any]) -> NoiseModel:
    """Rebuild a noise model of any registered kind.

    Raises
    ------
    BadFile  If the kind is not known or the state is incomplete.
    BadSetting  If what it describes is no noise model, see `check_usable`.
    """
    if kind not in NOISE_MODELS:
        raise BadFile(
            f"The noise model is of the kind {kind!r}, which this version does not "
            f"know. Known are {', '.join(NOISE_MODELS)}; a newer version may read it."
        )
    model = NOISE_MODELS[kind].from_state(state)
    # a camera is checked by its few numbers; its table would take seconds to make
    if not isinstance(model, (PoissonGaussianModel, PoissonGammaModel)):
        check_usable(model)
    return model
