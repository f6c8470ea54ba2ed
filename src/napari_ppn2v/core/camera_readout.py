"""What the noise says about the camera: gain, offset, read noise, excess noise.

The photon-transfer line has two numbers, slope = gain · F² and zero = offset -
read_noise² / slope (F² is the excess noise factor, 1 for sCMOS, 2 for an EMCCD). Four
quantities cannot be told from two. What separates them here, in this order: what is
known (a dark recording, an offset); the shape of the distribution, through the
likelihood of the two camera models; and where neither tells, the readout says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.core.camera_fits import (
    EITHER,
    EXCESS,
    CameraFit,
    CameraKind,
    KnownCamera,
    Measured,
    camera_fits,
    camera_of,
    read_noise_by_shape,
)
from napari_ppn2v.core.photon_transfer import (
    SignalRows,
    TransferLine,
    signal_rows,
    transfer_line,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event


__all__ = [
    "CONVENTION",
    "CameraKind",
    "CameraReadout",
    "KnownCamera",
    "Measured",
    "readout_of_model",
    "readout_of_pairs",
]

CONVENTION = (
    "Variances are those of single observations. Where the signal is the mean of m "
    "repeats, which contains the observation, residuals are stretched by "
    "sqrt(m / (m - 1)), as with ddof 1; with ddof 0 slope and gain would be "
    "(m - 1) / m of these."
)
_MOST_UNSURE = 0.15  # of the read noise; beyond, it counts as not told
_MODEL_ROWS = 60


@dataclass(frozen=True)
class CameraReadout:
    """The camera, as far as the noise tells it.

    Attributes
    ----------
    slope : ADU; gain times excess noise factor, the slope of the photon-transfer line
    zero : ADU; signal at which the line reaches zero, offset - read_noise² / slope
    gain : ADU per electron; of an EMCCD with its multiplication; None if not told
    offset, read_noise : ADU; None if not told
    excess_noise_factor : 1 or 2; None if not told
    camera : "scmos", "emccd", or None if not told
    read_noise_electrons : read noise over gain
    misfit : part of the variance by which the line is wrong beyond chance
    signal_range : ADU, of what it was read from
    notes : sentences on what could not be separated, and what would
    convention : how finite repeats are counted
    """

    slope: Measured
    zero: Measured
    gain: Measured | None
    offset: Measured | None
    read_noise: Measured | None
    excess_noise_factor: float | None
    camera: CameraKind | None
    misfit: float
    signal_range: tuple[float, float]
    notes: tuple[str, ...] = ()
    convention: str = field(default=CONVENTION, repr=False)

    @property
    def read_noise_electrons(self) -> float | None:
        """Read noise over gain, electrons."""
        if self.read_noise is None or self.gain is None:
            return None
        return self.read_noise.value / self.gain.value


def readout_of_pairs(
    pairs: PairHistogram, known: KnownCamera | None = None
) -> Generator[Event, None, CameraReadout]:
    """Read the camera from pairs of signal and observation.

    The gain is that of the photon-transfer line; offset and read noise, if not known,
    are those of the camera model of highest likelihood, with standard errors from its
    curvature (observed information) and from their distance to the line.

    Yields
    ------
    FitProgress of the two camera models.

    Raises
    ------
    BadData  If there is no line to be fitted.
    """
    known = known or KnownCamera()
    rows = signal_rows(pairs)
    line = _line(rows, known, pairs.cell)
    notes = _notes_of_line(line, rows)
    fits = yield from camera_fits(pairs, known)
    camera, reason = camera_of(fits, pairs, known)
    notes += [reason] if reason else []
    line_gain = _gain(line, camera)
    offset: Measured | None
    if known.offset is not None:
        offset = Measured(known.offset, 0.0)
        read_noise = _read_noise_on_line(line, known, pairs.cell)
        fit = None if camera is None else fits.get(camera)
        if fit is not None and known.read_noise is None:
            by_shape = read_noise_by_shape(fit, line, pairs.cell)
            if read_noise is None or by_shape.error < read_noise.error:
                read_noise = by_shape
        if read_noise is not None and read_noise.error > _MOST_UNSURE * (
            read_noise.value
        ):
            read_noise = None
        if read_noise is None:
            notes.append(
                "The read noise is too small beside the photon noise to be told. A "
                "recording without light gives it."
            )
    else:
        offset, read_noise, more = _by_shape(fits, camera, line, known, pairs.cell)
        notes += more
    return _readout(
        line, line_gain, (offset, read_noise), camera, pairs.signal_range, notes
    )


def readout_of_model(
    model: NoiseModel, known: KnownCamera | None = None
) -> CameraReadout:
    """Read the camera from a noise model alone, without pairs.

    Camera models hold their numbers. Of any other kind there is the line through its
    variances, whose error is the scatter about it; offset and read noise then take a
    dark recording or an offset.

    Raises
    ------
    BadData  If the variance does not grow with the signal.
    """
    known = known or KnownCamera()
    rows = _rows_of_model(model)
    cell = float(getattr(model, "cell", 1.0))
    if hasattr(model, "read_noise") and hasattr(model, "excess_noise_factor"):
        return _readout_of_camera(model, known)
    line = _line(rows, known, cell)
    notes = _notes_of_line(line, rows)
    if known.camera is None:
        notes.append(EITHER.format(slope=line.slope, half=line.slope / 2))
    offset = read_noise = None
    if known.offset is not None:
        offset = Measured(known.offset, 0.0)
        read_noise = _read_noise_on_line(line, known, cell)
    else:
        notes.append(_INSEPARABLE.format(zero=line.zero))
    return _readout(
        line,
        _gain(line, known.camera),
        (offset, read_noise),
        known.camera,
        model.signal_range,
        notes,
    )


_INSEPARABLE = (
    "Offset and read noise cannot be separated: only offset - read_noise² / slope = "
    "{zero:.5g} grey values is known. A recording without light, or the offset, "
    "separates them."
)


def _line(rows: SignalRows, known: KnownCamera, cell: float) -> TransferLine:
    """Fit the line; a known dark point is used where it makes the slope surer."""
    free = transfer_line(rows)
    if known.offset is None or known.read_noise is None:
        return free
    dark = (known.offset, known.read_noise**2 + cell**2 / 12)
    fixed = transfer_line(rows, dark)
    return fixed if fixed.slope_error < free.slope_error else free


def _notes_of_line(line: TransferLine, rows: SignalRows) -> list[str]:
    notes = []
    if rows.n_clipped:
        notes.append(
            f"{rows.n_clipped} ranges of signal with clipped observations were left "
            "out of the line."
        )
    if line.has_odd_dark_rows:
        notes.append(
            "The darkest signals lie off the line of the others and were left out. "
            "That is so where offset or read noise differ from pixel to pixel, or "
            "where few repeats leave the signal unsure; more repeats, or camera maps, "
            "may help."
        )
    if line.n_bent:
        notes.append(
            f"The brightest {line.n_bent} ranges of signal bend down, as near "
            "saturation, and were left out."
        )
    if line.misfit > 0.05:
        notes.append(
            f"The variance is off a straight line by {line.misfit:.0%}, so this is no "
            "plain photon-counting camera, or the signals are not right."
        )
    return notes


def _gain(line: TransferLine, camera: CameraKind | None) -> Measured | None:
    if camera is None:
        return None
    factor = EXCESS[camera]
    return Measured(line.slope / factor, line.slope_error / factor)


def _read_noise_on_line(
    line: TransferLine, known: KnownCamera, cell: float
) -> Measured | None:
    """Read noise that the line has at a known offset, or the one that is given."""
    assert known.offset is not None
    if known.read_noise is not None:
        return Measured(known.read_noise, 0.0)
    square = line.at(known.offset) - cell**2 / 12
    error = line.error_at(known.offset)
    if square <= 2 * error:
        return None
    read_noise = math.sqrt(square)
    return Measured(read_noise, error / (2 * read_noise))


def _by_shape(
    fits: dict[CameraKind, CameraFit],
    camera: CameraKind | None,
    line: TransferLine,
    known: KnownCamera,
    cell: float,
) -> tuple[Measured | None, Measured | None, list[str]]:
    """Separate offset and read noise by the shape of the distribution, if possible."""
    unknown = _INSEPARABLE.format(zero=line.zero)
    if known.read_noise is not None:
        square = known.read_noise**2 + cell**2 / 12
        offset = Measured(line.zero + square / line.slope, line.zero_error)
        return offset, Measured(known.read_noise, 0.0), []
    fit = None if camera is None else fits.get(camera)
    if fit is None:
        return None, None, [unknown]
    model, errors = fit.model, fit.errors
    read_noise = read_noise_by_shape(fit, line, cell)
    if not read_noise.error < _MOST_UNSURE * model.read_noise:
        return None, None, [unknown]
    note = (
        "Offset and read noise are separated by the shape of the noise alone, which "
        "holds if all pixels are alike. A recording without light makes them sure."
    )
    on_line = line.zero + (model.read_noise**2 + cell**2 / 12) / line.slope
    apart = abs(on_line - model.offset)
    unsure = math.hypot(errors["offset"], max(apart - 2 * line.zero_error, 0.0))
    offset = Measured(model.offset, unsure)
    return offset, read_noise, [note]


def _readout(
    line: TransferLine,
    gain: Measured | None,
    dark: tuple[Measured | None, Measured | None],
    camera: CameraKind | None,
    signal_range: tuple[float, float],
    notes: list[str],
) -> CameraReadout:
    return CameraReadout(
        slope=Measured(line.slope, line.slope_error),
        zero=Measured(line.zero, line.zero_error),
        gain=gain,
        offset=dark[0],
        read_noise=dark[1],
        excess_noise_factor=None if camera is None else EXCESS[camera],
        camera=camera,
        misfit=line.misfit,
        signal_range=(float(signal_range[0]), float(signal_range[1])),
        notes=tuple(notes),
    )


def _readout_of_camera(model: Any, known: KnownCamera) -> CameraReadout:
    """Return the numbers that a camera model was saved with."""
    unsure = math.nan
    transfer, factor = model.transfer, float(model.excess_noise_factor)
    notes = [
        "These are the numbers that the camera model was fitted with; its file holds "
        "no uncertainties. Give the calibration to have them."
    ]
    if known.offset is not None and abs(known.offset - model.offset) > 0.5:
        notes.append(
            f"The offset given is {known.offset:.5g}, that of the model "
            f"{model.offset:.5g} grey values. Fit it again with the offset."
        )
    return CameraReadout(
        slope=Measured(transfer.slope, unsure),
        zero=Measured(-transfer.intercept / transfer.slope, unsure),
        gain=Measured(model.gain, unsure),
        offset=Measured(model.offset, unsure),
        read_noise=Measured(model.read_noise, unsure),
        excess_noise_factor=factor,
        camera="emccd" if factor > 1.5 else "scmos",
        misfit=0.0,
        signal_range=model.signal_range,
        notes=tuple(notes),
    )


def _rows_of_model(model: NoiseModel) -> SignalRows:
    """Variances of a model at signals even in its range; each trusted to 1 %."""
    import torch

    signals = np.linspace(*model.signal_range, _MODEL_ROWS)
    with torch.no_grad():
        _, variance = model.to("cpu").moments(torch.from_numpy(signals))
    values = np.maximum(variance.double().numpy(), 1e-12)
    return SignalRows(signals, values, 0.01 * values, np.full(len(signals), 1e3))
