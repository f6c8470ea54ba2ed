"""Priors of the signal, by name. A new prior is one file and one line here."""

from napari_ppn2v.core.priors.base import Prior
from napari_ppn2v.core.priors.free_samples import FreeSamples
from napari_ppn2v.core.priors.gaussian import GaussianPrior

PRIORS = {"free": FreeSamples, "gaussian": GaussianPrior}

__all__ = ["PRIORS", "FreeSamples", "GaussianPrior", "Prior"]
