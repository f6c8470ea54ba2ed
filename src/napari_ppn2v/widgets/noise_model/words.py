"""Noise models in words for the user."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.noise_models.curves import Slice
    from napari_ppn2v.core.noise_models.quality import RangeQuality, Verdict
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.pipeline.coverage import Coverage
    from napari_ppn2v.pipeline.noise_model_job import Comparison

_KINDS = {
    "histogram": "histogram",
    "poisson-gaussian": "sCMOS camera",
    "poisson-gamma": "EMCCD camera",
    "tabulated": "table",
}
_DEGREES = ((0.05, "clearly better"), (0.005, "better"), (0.0, "slightly better"))
_EXCESS = {"poisson-gaussian": 1.0, "poisson-gamma": 2.0}


def kind_words(model: NoiseModel) -> str:
    """Name the kind of a model: "mixture of 3 Gaussians"."""
    if model.kind == "gmm":
        count = getattr(model, "n_components", 0)
        return f"mixture of {count} Gaussian{'s' * (count != 1)}"
    return _KINDS.get(model.kind, model.kind)


def model_words(model: NoiseModel, pairs: PairHistogram | None, name: str = "") -> str:
    """Say in a few lines what a model is, what it covers, and its camera."""
    low, high = model.signal_range
    kind = kind_words(model)
    if name and kind not in name:
        name = f"{name} ({kind})"
    covered = f"Signals from {_grey(low)} to {_grey(high)} grey values"
    if pairs is not None:
        covered += f", {pairs.n_pairs:,} pixel pairs"
    lines = (name or kind, f"{covered}.", _camera_words(model, pairs))
    return "\n".join(line for line in lines if line)


def _camera_words(model: NoiseModel, pairs: PairHistogram | None) -> str:
    """Gain, offset and read noise, as far as they can be told."""
    if model.kind in _EXCESS:
        gain, offset, noise = (
            float(getattr(model, name)) for name in ("gain", "offset", "read_noise")
        )
        return (
            f"Gain {gain:.3g} grey values per electron, offset {_grey(offset)}, read "
            f"noise {noise:.3g} grey values ({noise / gain:.2g} electrons)."
        )
    if pairs is None or pairs.transfer.slope <= 0:
        return ""
    line = pairs.transfer
    return (
        f"Photon-transfer line: the variance grows by {line.slope:.3g} per grey value "
        f"(the gain, or twice the gain of an EMCCD); noise without light about "
        f"{line.floor**0.5:.3g} grey values."
    )


def cursor_words(shown: Slice, *, has_pairs: bool = True) -> str:
    """Say what the model says at the signal of the cursor."""
    text = (
        f"At a signal of {_grey(shown.signal)} the model reads {_grey(shown.mean)} "
        f"± {shown.sd:.3g} grey values (mean ± standard deviation)"
    )
    if not has_pairs:
        return f"{text}."
    if shown.measured is None:
        return f"{text}; too few pixel pairs are near."
    return f"{text}; {shown.n_pairs:,.0f} pixel pairs are near."


def overall_words(verdict: Verdict, ranges: tuple[RangeQuality, ...]) -> str:
    """Say how good a fit is, and where it is not."""
    weak = [item for item in ranges if item.verdict != "good"]
    if not ranges:
        return "No pixels were kept apart to judge the fit by."
    sentences = {
        "good": "The noise model describes the pixels kept apart well.",
        "fair": "The noise model describes the pixels kept apart fairly.",
        "poor": "The noise model describes the pixels kept apart poorly: try another "
        "kind, more Gaussians or coefficients, or better pairs.",
    }
    if not weak:
        return sentences[verdict]
    places = f"{len(weak)} of {len(ranges)} ranges of signal deviate."
    return f"{sentences[verdict]} {places}"


def comparison_words(result: Comparison) -> str:
    """Say which of two models is better on held-out pixels, and by how much."""
    first, second = result.first, result.second
    better, worse = (first, second) if result.difference <= 0 else (second, first)
    size = abs(result.difference)
    figures = (
        f"{better.nll:.4f} against {worse.nll:.4f} nats per pixel (lower is better), "
        f"on {result.n_pairs:,} held-out pixel pairs."
    )
    if not result.is_clear:
        return (
            f"No real difference between “{better.name}” and “{worse.name}”: {figures} "
            "Prefer the simpler one."
        )
    degree = next(words for least, words in _DEGREES if size >= least)
    return f"“{better.name}” is {degree} than “{worse.name}”: {figures}"


def _grey(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def coverage_words(coverage: Coverage, image: str) -> str:
    """Say how much of an image lies outside of the signals of a model."""
    ends = [_grey(value) for value in (*coverage.data_range, *coverage.model_range)]
    share = coverage.share_outside
    ranges = (
        f"“{image}” reaches from {ends[0]} to {ends[1]}, the noise model covers "
        f"{ends[2]} to {ends[3]} grey values."
    )
    if share <= 0:
        return f"All pixels lie within the model's signals: {ranges}"
    text = f"{_percent(share)} of the pixels lie outside of the model's signals: "
    if not coverage.is_worth_a_warning:
        return f"{text}{ranges}"
    return (
        f"{text}{ranges} There the noise model is extrapolated. Record a calibration "
        "that covers the image, or estimate the noise model from the image itself."
    )


def _percent(share: float) -> str:
    return "less than 0.01 %" if share < 1e-4 else f"{100 * share:.2g} %"
