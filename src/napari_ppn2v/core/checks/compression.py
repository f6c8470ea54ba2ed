"""Traces of JPEG compression, which works in squares of 8 x 8 pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.checks.findings import Finding, graded, worst

if TYPE_CHECKING:
    from napari_ppn2v.core.checks.sample import Floats, Sample

EDGES = (0.03, 0.25)
"""Excess of the steps between squares over those within: careful, will not work."""
ROUNDED = (0.35, np.inf)
"""Excess (natural logarithm) of frequencies rounded to zero: careful."""
_SIDE = 8  # pixels
_FEWEST = 48  # pixels
_PIXELS = 1 << 17  # whose frequencies are looked at
_FINE = 3  # frequencies in each direction from which on they are fine
_FEW = 20.0  # coefficients added to each count, against chance


def block_edges(images: Floats) -> tuple[float, float]:
    """Excess of the steps at every eighth pixel, and its standard error.

    For each step between neighbours, |x_i - x_(i+1)| less the mean of the steps before
    and after it, over the mean step; averaged over all pixels for each of the eight
    places of a step in a period of 8 pixels. The largest of the eight less the median
    of the others, in the weaker one of both directions, is returned: squares show at
    the same distance along both. Where frames show the same, their differences are
    looked at. (After Wang, Sheikh and Bovik 2002, "No-reference perceptual quality
    assessment of JPEG compressed images".)
    """
    along = [_edges(images), _edges(images.transpose(0, 2, 1))]
    return min(along, key=lambda found: found[0])


def _edges(images: Floats) -> tuple[float, float]:
    steps = np.abs(np.diff(images, axis=2))
    size = float(steps.mean())
    if size == 0:
        return 0.0, np.inf
    # steps are compared with their neighbours, so that structure does not count
    excess = steps[..., 1:-1] - 0.5 * (steps[..., :-2] + steps[..., 2:])
    columns = excess.mean(axis=1, dtype=np.float64) / size
    phases = np.arange(columns.shape[1]) % _SIDE
    means = np.array([columns[:, phases == phase].mean() for phase in range(_SIDE)])
    strongest = int(means.argmax())
    chosen = columns[:, phases == strongest]
    error = float(columns[:, phases != strongest].std() / chosen.size**0.5)
    others = np.delete(means, strongest)
    return float(means[strongest] - np.median(others)), error


def rounded_frequencies(images: Floats) -> float:
    """Excess of the fine frequencies of 8 x 8 squares that are rounded to zero.

    JPEG rounds the cosine transform of each square to multiples of a step, so that
    coefficients within 1 grey value of zero abound and those of 1 to 2 are rare (Fan
    and de Queiroz 2003, "Identification of bitmap compression history: JPEG detection
    and quantizer estimation"). The logarithm of the ratio of both counts, for the grid
    of squares (of the 64 possible ones) where it is largest, less the median over all
    grids, which knows no squares.
    """
    height, width = images.shape[1:]
    side = int(min(height, width, 256))
    some = images[: max(1, _PIXELS // side**2), :side, :side]
    found = [
        _log_ratio(_square_frequencies(some[:, y:, x:]))
        for y in range(_SIDE)
        for x in range(_SIDE)
    ]
    return float(max(found) - np.median(found))


def _square_frequencies(images: Floats) -> Floats:
    """Fine cosine frequencies of all whole squares, (squares, frequencies)."""
    n, height, width = images.shape
    rows, columns = height // _SIDE, width // _SIDE
    cut = images[:, : rows * _SIDE, : columns * _SIDE]
    squares = cut.reshape(n, rows, _SIDE, columns, _SIDE)
    waves = _COSINES[_FINE:]
    return np.einsum("nrycx,uy,vx->uvnrc", squares, waves, waves, optimize=True)


def _log_ratio(values: Floats) -> float:
    size = np.abs(values)
    at_zero = np.count_nonzero(size < 1)
    beside = np.count_nonzero(size < 2) - at_zero
    return float(np.log((at_zero + _FEW) / (beside + _FEW)))


def _cosines() -> Floats:
    """Rows of the orthonormal cosine transform (type II) of 8 values."""
    place = np.arange(_SIDE)
    rows = np.cos(np.pi / _SIDE * (place[None] + 0.5) * place[:, None])
    rows[0] /= 2**0.5
    return (rows / 2).astype(np.float32)


_COSINES = _cosines()


def compression_findings(sample: Sample) -> list[Finding]:
    """Judge whether the images were compressed with loss.

    Frequencies are looked at in images of 8 bit alone, as JPEG has them; edges of
    squares outlast a change of the grey values.
    """
    if min(sample.frames.shape[1:]) < _FEWEST:
        return []
    value, error = block_edges(sample.noise)
    rounded = 0.0
    if sample.dtype == np.uint8:
        rounded = rounded_frequencies(sample.frames)
    verdict = worst((graded(value, error, EDGES), graded(rounded, 0.0, ROUNDED)))
    figures = {
        "steps between squares": value,
        "standard error": error,
        "frequencies rounded to zero": rounded,
    }
    if verdict == "fine":
        text = "There are no traces of JPEG compression."
        return [Finding("compression", verdict, figures, text)]
    return [
        Finding(
            "compression",
            verdict,
            figures,
            f"Squares of 8 x 8 pixels show: the steps between them are "
            f"{100 * value:.0f} % larger than those within, and frequencies rounded to "
            f"zero are {np.exp(rounded):.1f} times as frequent. The images were "
            "compressed as JPEG, which changed their noise.",
            "Use the files as the camera wrote them. Denoising keeps the squares.",
        )
    ]
