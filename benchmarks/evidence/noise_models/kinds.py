"""The noise models that are compared, by name."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ppn2v.core.noise_model_config import NoiseModelConfig

CAMERAS = {"bright": "poisson-gaussian", "small": "poisson-gaussian",
           "simulated": "poisson-gaussian", "w2s": "poisson-gamma",
           "lanl_emccd": "poisson-gamma"}  # fmt: skip
"""The camera that each data set was recorded with."""


@dataclass(frozen=True)
class Kind:
    """One noise model.

    Attributes
    ----------
    label : for tables
    kind : of `NoiseModelConfig`
    n_components, n_coefficients : of a mixture
    is_published : a histogram of 256 x 256 plain bins
    """

    label: str
    kind: str
    n_components: int = 3
    n_coefficients: int = 2
    is_published: bool = False

    def config(
        self, data_set: str, observation_range: tuple[float, float]
    ) -> NoiseModelConfig:
        """Return the settings of the fit.

        Parameters
        ----------
        data_set : tells which camera it was
        observation_range : ADU, of the data to be denoised; that of published bins
        """
        return NoiseModelConfig(
            kind=CAMERAS[data_set] if self.kind == "camera" else self.kind,
            n_components=self.n_components,
            n_coefficients=self.n_coefficients,
            n_bins=256 if self.is_published else None,
            data_range=observation_range if self.is_published else None,
            is_plain_histogram=self.is_published,
            trim_percent=0.0,
        )


def _mixture(n_components: int, n_coefficients: int) -> Kind:
    gaussians = f"{n_components} Gaussian{'s' * (n_components > 1)}"
    return Kind(
        f"{gaussians}, {n_coefficients} coefficients",
        "gmm",
        n_components,
        n_coefficients,
    )


MIXTURES = {f"gmm-{k}x{n}": _mixture(k, n) for n in (2, 3) for k in (1, 2, 3)}
PUBLISHED_HISTOGRAM = "histogram-published"
KINDS = {
    **MIXTURES,
    PUBLISHED_HISTOGRAM: Kind(
        "histogram, as published", "histogram", is_published=True
    ),
    "histogram-ours": Kind("histogram, ours", "histogram"),
    "camera": Kind("camera, ours", "camera"),
}
"""Name -> noise model, in the order of the tables."""
