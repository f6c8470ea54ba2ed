"""Hot and dead pixels: single ones that stand out in all frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.checks.findings import Finding, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.checks.findings import Verdict
    from napari_ppn2v.core.checks.sample import Floats, Sample

TOLD = 1e-4
"""Share of the pixels above which it is told."""
_FEWEST = 3  # pixels
_SPREADS = 8.0  # robust standard deviations
_TAIL = (0.98, 2.5)  # quantile of the excess of all pixels, and times that
_TAIL_OF_FEW = (0.999, 3.0)  # the same where the median is of less than five frames
_ENOUGH_FRAMES = 5
_ALONE = 0.32  # of its height, that its four neighbours may have on average
_STAYS = 0.5  # of its excess
_SIDE = 16  # pixels, of squares that share a spread
_MAD = 1.4826
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
_BESIDE = [(-1, 0), (1, 0), (0, -1), (0, 1)]
_RING = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if max(abs(y), abs(x)) == 2]


@dataclass(frozen=True)
class OddPixels:
    """Masks (Y, X) of pixels that are too bright and too dark in every frame."""

    hot: NDArray[np.bool_]
    dead: NDArray[np.bool_]

    @property
    def share(self) -> float:
        """Of all pixels."""
        return float((self.hot | self.dead).mean())


def odd_pixels(sample: Sample) -> OddPixels:
    """Find pixels that stand out from their neighbours in most frames.

    The excess of a pixel is its value in the median over frames less the median of
    its eight neighbours there. It is hot if

    - the excess is above 8 robust standard deviations (1.4826 times the median
      absolute excess in squares of 16 pixels) and above 2.5 times the 98 % quantile of
      all excesses (of less than five frames, 3 times the 99.9 % quantile), which
      keeps the tails of EMCCD noise out;
    - it stands alone: above the lower quartile of the 16 pixels at a distance of two,
      its four neighbours have on average less than 0.32 of its height, where the
      image of a point through a lens has 0.46 (a Gaussian of 0.8 pixels) and more;
    - it stays: in three of four frames it exceeds its neighbours by half of that.

    Dead pixels are the same with the sign changed. (EMVA Standard 1288 leaves the
    criterion of a defect pixel to the application.)
    """
    middle = np.median(sample.frames, axis=0).astype(np.float32)
    tail = _TAIL if len(sample) >= _ENOUGH_FRAMES else _TAIL_OF_FEW
    return OddPixels(
        _standing_out(sample.frames, middle, 1, tail),
        _standing_out(sample.frames, middle, -1, tail),
    )


def _standing_out(
    frames: Floats, middle: Floats, sign: int, tail: tuple[float, float]
) -> NDArray[np.bool_]:
    image = sign * middle
    around = np.stack([np.roll(image, place, (0, 1)) for place in _AROUND])
    excess = image - np.median(around, axis=0).astype(np.float32)
    limit = np.maximum(
        _SPREADS * _spread(excess), tail[1] * np.quantile(excess, tail[0])
    )
    rows, columns = np.nonzero(excess > limit)
    ring = _values_at(image[None], rows, columns, _RING)[:, 0]
    base = np.quantile(ring, 0.25, axis=0)
    beside = _values_at(image[None], rows, columns, _BESIDE)[:, 0].mean(axis=0)
    is_alone = beside - base < _ALONE * (image[rows, columns] - base)
    usual = np.median(_values_at(frames, rows, columns, _AROUND), axis=0)
    each = sign * (frames[:, rows, columns] - usual)  # (frames, pixels)
    stays = np.quantile(each, 0.25, axis=0) > _STAYS * excess[rows, columns]
    chosen = is_alone & stays
    found = np.zeros(image.shape, bool)
    found[rows[chosen], columns[chosen]] = True
    # neighbours of the border would be on the other side
    found[[0, -1]] = False
    found[:, [0, -1]] = False
    return found


def _values_at(
    frames: Floats,
    rows: NDArray[np.int_],
    columns: NDArray[np.int_],
    places: list[tuple[int, int]],
) -> Floats:
    """Values at some distances from given pixels, (places, frames, pixels)."""
    height, width = frames.shape[1:]
    return np.stack(
        [frames[:, (rows + dy) % height, (columns + dx) % width] for dy, dx in places]
    )


def _spread(excess: Floats) -> Floats:
    side = min(_SIDE, *excess.shape)
    rows, columns = (length // side for length in excess.shape)
    cut = np.abs(excess[: rows * side, : columns * side])
    squares = cut.reshape(rows, side, columns, side)
    spread = _MAD * np.median(squares, axis=(1, 3))
    grown = spread.repeat(side, 0).repeat(side, 1)
    height, width = excess.shape
    return np.pad(
        grown, ((0, height - rows * side), (0, width - columns * side)), mode="edge"
    )


def without(sample: Sample, odd: OddPixels) -> Sample:
    """Replace odd pixels by the median of their neighbours, for further checks."""
    where = np.nonzero(odd.hot | odd.dead)
    if len(where[0]) == 0:
        return sample
    rows, columns = where
    around = _values_at(sample.frames, rows, columns, _AROUND)
    frames = sample.frames.copy()
    frames[:, rows, columns] = np.median(around, axis=0)
    return sample.with_frames(frames)


def outlier_findings(odd: OddPixels, n_frames: int) -> list[Finding]:
    """Judge how many pixels are hot or dead."""
    n_hot, n_dead = int(odd.hot.sum()), int(odd.dead.sum())
    figures = {
        "hot pixels": float(n_hot),
        "dead pixels": float(n_dead),
        "share": odd.share,
    }
    is_told = odd.share > TOLD and n_hot + n_dead >= _FEWEST
    verdict: Verdict = "careful" if is_told else "fine"
    sentence = (
        f"{n_hot} hot and {n_dead} dead pixels ({share(odd.share)} of those looked at)"
    )
    if verdict == "fine":
        return [Finding("hot pixels", verdict, figures, f"{sentence}.")]
    source = "all frames" if n_frames > 1 else "the one frame"
    return [
        Finding(
            "hot pixels",
            verdict,
            figures,
            f"{sentence} stand out from their neighbours in {source}. They cannot be "
            "told from a bright point, and dim or brighten what is around them.",
            "Replace them by the median of their neighbours before denoising, or turn "
            "on the correction of defect pixels in the camera.",
        )
    ]
