"""The two camera models fitted to pairs, and what their likelihoods tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_ppn2v.core.photon_transfer import all_cells
from napari_ppn2v.errors import BadSetting, FitFailed

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.core.noise_models.camera_models import _CountingCamera
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.core.photon_transfer import TransferLine
    from napari_ppn2v.events import Event

CameraKind = Literal["scmos", "emccd"]

EXCESS: dict[CameraKind, float] = {"scmos": 1.0, "emccd": 2.0}
_NAMES: dict[CameraKind, str] = {
    "scmos": "sCMOS or CCD (excess noise factor 1)",
    "emccd": "EMCCD (excess noise factor 2)",
}
_CLEAR = 3.5  # standard errors by which one camera model must be likelier
_CLEAR_NATS = 2e-4  # per pixel, and at least by this
EITHER = (
    "Whether the camera multiplies electrons cannot be told: the gain is {slope:.4g} "
    "grey values per electron for sCMOS and CCD, {half:.4g} for an EMCCD, whose "
    "register doubles the photon noise. Say which it is."
)


@dataclass(frozen=True)
class Measured:
    """A number with its standard error: 0 where it was given, nan where not known."""

    value: float
    error: float

    def __str__(self) -> str:
        if self.error == 0:
            return f"{self.value:.5g} (given)"
        if not math.isfinite(self.error):
            return f"{self.value:.5g}"
        digits = max(0, 1 - math.floor(math.log10(max(self.error, 1e-9))))
        return f"{self.value:.{digits}f} ± {self.error:.{digits}f}"


@dataclass(frozen=True)
class KnownCamera:
    """What is known beforehand; all fields may be None.

    Attributes
    ----------
    offset, read_noise : ADU, of a dark recording or a data sheet
    camera : "scmos" or "emccd"
    """

    offset: float | None = None
    read_noise: float | None = None
    camera: CameraKind | None = None

    def __post_init__(self) -> None:
        if self.camera not in (None, *EXCESS):
            raise BadSetting(
                f"The camera is '{self.camera}'. Choose 'scmos' (also for CCD) or "
                "'emccd', or leave it out."
            )
        if self.read_noise is not None and not self.read_noise > 0:
            raise BadSetting(
                f"The read noise is {self.read_noise:g} grey values. It must be more "
                "than 0; leave it out if it is not known."
            )


@dataclass(frozen=True)
class CameraFit:
    """A camera model, the loss of each cell, and the errors of its numbers."""

    model: _CountingCamera
    losses: Any
    errors: dict[str, float]


def camera_fits(
    pairs: PairHistogram, known: KnownCamera
) -> Generator[Event, None, dict[CameraKind, CameraFit]]:
    """Fit the camera models that may be meant; those that fail are left out."""
    from napari_ppn2v.core.noise_models.camera_errors import (
        parameter_errors,
        pointwise_losses,
    )
    from napari_ppn2v.core.noise_models.camera_fit import CameraFitSettings, fit_camera
    from napari_ppn2v.core.noise_models.camera_models import (
        PoissonGammaModel,
        PoissonGaussianModel,
    )

    types: dict[CameraKind, type[_CountingCamera]] = {
        "scmos": PoissonGaussianModel,
        "emccd": PoissonGammaModel,
    }
    settings = CameraFitSettings(known.offset, known.read_noise)
    names = ("offset", "read_noise")
    fixed = {name for name in names if getattr(known, name) is not None}
    found: dict[CameraKind, CameraFit] = {}
    for camera, model_type in types.items():
        if known.camera not in (None, camera):
            continue
        try:
            model = yield from fit_camera(model_type, pairs, settings)
        except FitFailed:
            continue
        found[camera] = CameraFit(
            model,
            pointwise_losses(model, all_cells(pairs)),
            parameter_errors(model, pairs, fixed),
        )
    return found


def camera_of(
    fits: dict[CameraKind, CameraFit], pairs: PairHistogram, known: KnownCamera
) -> tuple[CameraKind | None, str]:
    """Tell the kind of camera by the likelihood, if one fits and is clearly likelier.

    Returns
    -------
    the camera or None, and a sentence or ""
    """
    from napari_ppn2v.core.noise_models.quality import fit_quality, overall

    if known.camera is not None:
        return known.camera, ""
    line = pairs.transfer.slope
    unknown = EITHER.format(slope=line, half=line / 2)
    if len(fits) < 2:
        return None, unknown
    cells = all_cells(pairs)  # three parameters do not adapt to chance
    apart = fits["scmos"].losses - fits["emccd"].losses
    difference = cells.mean_of(apart)
    spread = cells.mean_of((apart - difference) ** 2)
    error = math.sqrt(spread / float(cells.weight.sum()))
    if abs(difference) < max(_CLEAR * error, _CLEAR_NATS):
        return None, unknown
    likelier: CameraKind = "emccd" if difference > 0 else "scmos"
    if overall(fit_quality(fits[likelier].model, pairs)) == "poor":
        return None, (
            f"{unknown} (By the shape of the noise neither camera model fits: pixels "
            "may differ in offset or read noise.)"
        )
    return likelier, f"By the shape of its noise the camera is {_NAMES[likelier]}."


def read_noise_by_shape(fit: CameraFit, line: TransferLine, cell: float) -> Measured:
    """Read noise of highest likelihood; what it differs from the line by is error."""
    model = fit.model
    square = max(line.at(model.offset) - cell**2 / 12, 0.0)
    apart = abs(math.sqrt(square) - model.read_noise)
    own = line.error_at(model.offset) / (2 * model.read_noise)
    error = math.hypot(fit.errors["read_noise"], max(apart - 2 * own, 0.0))
    return Measured(model.read_noise, error)
