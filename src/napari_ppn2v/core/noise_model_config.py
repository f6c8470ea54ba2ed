"""Settings of a noise-model fit, readable without loading torch (forms show them)."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ppn2v.settings import check_settings, setting

KINDS = ("auto", "gmm", "histogram", "camera", "poisson-gaussian", "poisson-gamma")


@dataclass(frozen=True)
class NoiseModelConfig:
    """Which noise model to fit, and how."""

    kind: str = setting(
        "auto",
        label="Noise model",
        help="'auto' fits several and keeps the one of highest held-out likelihood; "
        "'camera' the better of the two camera types.",
        choices=KINDS,
    )
    n_components: int = setting(
        3,
        label="Gaussians",
        help="Number of Gaussians in the mixture.",
        minimum=1,
        maximum=20,
    )
    n_coefficients: int = setting(
        2,
        label="Coefficients",
        help="Coefficients of each polynomial of the signal; 2 is a straight line.",
        minimum=1,
        maximum=8,
    )
    n_bins: int | None = setting(
        None,
        label="Histogram bins",
        help="Equal bins along signal and observation, as published; by default bins "
        "that follow the noise.",
        minimum=2,
        maximum=4096,
        suggestion=256,
    )
    data_range: tuple[float, float] | None = setting(
        None,
        label="Histogram range",
        help="Lowest and highest grey value of the data to be denoised.",
        unit="ADU",
        suggestion=(0.0, 65535.0),
    )
    is_plain_histogram: bool = setting(
        False,
        label="Plain histogram",
        help="Leave empty bins empty, as published.",
    )
    trim_percent: float = setting(
        0.5,
        label="Trim",
        help="Share of the pairs with the lowest and highest signals left out.",
        unit="%",
        minimum=0,
        maximum=40,
    )
    variance_floor: float | None = setting(
        None,
        label="Variance floor",
        help="Smallest variance of a Gaussian; by default a small part of the data's.",
        unit="ADU²",
        minimum=0,
        suggestion=1.0,
    )
    likelihood_floor: float = setting(
        0.0,
        label="Likelihood floor",
        help="Density added to the mixture, so that outliers keep the prior mean.",
        unit="1/ADU",
        minimum=0,
    )
    offset: float | None = setting(
        None,
        label="Offset",
        help="Grey value without light, if known from a dark recording.",
        unit="ADU",
        suggestion=100.0,
    )
    read_noise: float | None = setting(
        None,
        label="Read noise",
        help="Noise without light, if known from a dark recording.",
        unit="ADU",
        minimum=1e-6,
        suggestion=2.0,
    )

    def __post_init__(self) -> None:
        check_settings(self)
