"""What a package of the BioImage Model Zoo shows people: its page and its picture."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.files.bioimage_model import PAPERS, smallest_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.files.bioimage_card import ModelCard

_COVER_SIDE = 256  # pixels of each half


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was exported, in words and numbers.

    Attributes
    ----------
    method : "n2v", "pn2v", "refined", "care" or "n2n"
    estimate : "refined", "mmse" or "prior-mean"
    passes : how often the network sees an image
    noise_model : its kind, empty where none is used
    signal_range : lowest and highest signal of the noise model, ADU, or None
    mean, std : normalisation of the training data, ADU
    difference : largest from napari-ppn2v on the test image, ADU
    residual : root mean square of observation less estimate there, ADU
    is_simulated : whether the test image was simulated
    has_std : whether there is a second output
    """

    version: str
    method: str
    estimate: str
    passes: int
    noise_model: str
    signal_range: tuple[float, float] | None
    mean: float
    std: float
    stride: int
    halo: int
    difference: float
    residual: float
    is_simulated: bool
    has_std: bool


ESTIMATES = {
    "refined": "posterior mean, learnt by a second network (refinement)",
    "mmse": "posterior mean of each pixel given its surroundings and its observation "
    "(MMSE)",
    "prior-mean": "mean of what the network predicts for each pixel",
}


def readme(card: ModelCard, facts: Facts) -> str:
    """Return the page of a model in Markdown."""
    parts = [
        f"# {card.name}",
        card.description,
        _what(facts),
        _use(facts),
        _limits(facts),
        _validation(facts),
        _citation(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _what(facts: Facts) -> str:
    lines = [
        "This model denoises 2-D microscopy images. It was trained and exported with "
        f"napari-ppn2v {facts.version}, method `{facts.method}`.",
        "",
        f"- Result: {ESTIMATES[facts.estimate]}.",
    ]
    if facts.noise_model:
        place = "in the weights" if facts.estimate == "mmse" else "used in training"
        lines.append(
            f"- Noise model: {facts.noise_model}, {place}; attached as "
            "`noise_model.npz`."
        )
    if facts.has_std:
        lines.append(
            "- Second output: the posterior standard deviation of each pixel, in grey "
            "values."
        )
    lines.append(
        "- Normalisation is part of the weights: mean "
        f"{facts.mean:.6g}, standard deviation {facts.std:.6g} grey values."
    )
    if facts.passes > 1:
        lines.append(
            f"- Each image passes the network {facts.passes} times, so it takes that "
            "much longer."
        )
    return "\n".join(lines)


def _use(facts: Facts) -> str:
    side = smallest_side(facts.stride, facts.halo)
    return "\n".join(
        [
            "## How to use it",
            "",
            "Give it raw grey values as the camera wrote them: no background "
            "subtraction, no normalisation, no rescaling to 0..1, no 8-bit conversion. "
            "The result is in the same grey values.",
            "",
            "Axes are batch, channel (one), y, x. Denoise channels, time points and "
            "z-planes one by one. Sides of tiles should be "
            f"{side}, {side + facts.stride}, {side + 2 * facts.stride}, ... pixels, "
            f"with a halo of {facts.halo} pixels; other sizes are padded inside.",
        ]
    )


def _limits(facts: Facts) -> str:
    lines = [
        "## When not to use it",
        "",
        "- On images of another camera, gain, exposure mode or kind of sample: train a "
        "model on them, which needs no clean images.",
        "- On images that were filtered, compressed, rescaled or deconvolved before: "
        "the noise of a pixel must not depend on its neighbours.",
    ]
    if facts.signal_range is not None:
        low, high = facts.signal_range
        lines.append(
            f"- Where signals lie outside {low:.4g} to {high:.4g} grey values: the "
            "noise model does not know them."
        )
    return "\n".join(lines)


def _validation(facts: Facts) -> str:
    image = (
        "The test image is simulated: no image was given at export, so the picture "
        "shows nothing of your sample."
        if facts.is_simulated
        else "The test image is a part of a recording."
    )
    return "\n".join(
        [
            "## Validation",
            "",
            f"{image} On it the largest difference between this package and "
            f"napari-ppn2v itself is {facts.difference:.2g} grey values, where "
            "observation and estimate differ by "
            f"{facts.residual:.3g} (root mean square).",
            "",
            "To validate it on your own data, denoise frames of a static scene one by "
            "one and compare each with the mean of the others, and look at the "
            "residual, the observation less the estimate: it should show noise and no "
            "structure. No PSNR on unseen data is claimed here.",
        ]
    )


def _citation() -> str:
    lines = ["## Citation", ""]
    lines += [f"- {paper['text']} doi:{paper['doi']}" for paper in PAPERS]
    return "\n".join(lines)


def cover_picture(
    observation: NDArray[np.float32], estimate: NDArray[np.float32]
) -> bytes:
    """Return a PNG with a part before (left) and after (right), twice as wide as high.

    Parameters
    ----------
    observation, estimate : (Y, X), ADU; both with the contrast of the estimate
    """
    side = min(_COVER_SIDE, *estimate.shape)
    low, high = (float(value) for value in np.quantile(estimate, [0.002, 0.998]))
    span = max(high - low, 1e-6)
    larger = max(1, _COVER_SIDE // side)
    halves = []
    for image in (observation, estimate):
        grey = np.clip((image[:side, :side] - low) / span, 0, 1)
        halves.append(np.kron(grey, np.ones((larger, larger))))
    return _grey_png(np.rint(255 * np.concatenate(halves, axis=1)).astype(np.uint8))


def _grey_png(image: NDArray[np.uint8]) -> bytes:
    """Return an image (Y, X) as a PNG file (W3C recommendation of 2003).

    To import matplotlib for this held the window of the viewer up for 0.7 s.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    height, width = image.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits of grey
    rows = np.insert(image, 0, 0, axis=1)  # each begins with its filter: none
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
