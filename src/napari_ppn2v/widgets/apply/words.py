"""Trained models in words for the user; nothing here loads torch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from napari_ppn2v.widgets.forms.words import choice_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_ppn2v.pipeline.apply_stacks_request import TrainedModel

ESTIMATES = {
    "auto": "automatic",
    "refined": "MMSE, refined",
    "mmse": "MMSE",
    "prior-mean": "prior mean",
}
_METHODS = {
    "n2v": "Noise2Void",
    "pn2v": "Probabilistic Noise2Void (PN2V)",
    "refined": "Probabilistic Noise2Void (PN2V), refined",
    "care": "CARE (trained with clean targets)",
    "n2n": "Noise2Noise (trained with second noisy images)",
}
_VERSIONS = ("napari-ppn2v", "torch")
_MOST_DATA = 2  # of the images trained on, named one by one


def model_words(model: TrainedModel, origin: str = "") -> str:
    """Say in a few lines what a trained model is and where it comes from.

    Parameters
    ----------
    origin : in words, "file cells.ppn2v of 3 May 2025"
    """
    first = model.denoisers[0]
    count = len(model.denoisers)
    lines = [_METHODS[first.method] + (f", {count} channels" if count > 1 else "")]
    estimates = dict.fromkeys(ESTIMATES[d.estimate] for d in model.denoisers)
    lines.append(f"Estimate: {' / '.join(estimates)}")
    lines.append(_signals(model))
    made = first.provenance
    lines.append(_labelled("Trained on", _data_words(made.get("data"))))
    lines.append(_labelled("Made with", _software_words(made.get("software"))))
    lines.append(_labelled("From", origin))
    return "\n".join(line for line in lines if line)


def why_words(model: TrainedModel) -> str:
    """Say why each estimate was chosen in training."""
    reasons = dict.fromkeys(d.reason for d in model.denoisers if d.reason)
    return "\n".join(reasons)


def file_words(path: Path) -> str:
    """Name a file with the day it was written: "cells.ppn2v, written 2025-05-03"."""
    from datetime import datetime

    day = datetime.fromtimestamp(path.stat().st_mtime).astimezone().date()
    return f"{path.name}, written {day.isoformat()}"


def model_name(paths: Sequence[Path]) -> str:
    """Name a model after its file, or after what the names of its files share."""
    names = [path.name.removesuffix(".ppn2v") for path in paths]
    if len(names) == 1:
        return names[0]
    shared = {re.sub(r"_c\d+$", "", name) for name in names}
    return shared.pop() if len(shared) == 1 else f"{names[0]} and {len(names) - 1} more"


def model_channels(paths: Sequence[Path]) -> tuple[int, ...]:
    """Return the channels that files of models are for: those of "_c0", or in order."""
    tags = [re.search(r"_c(\d+)\.ppn2v$", path.name) for path in paths]
    numbers = [int(tag[1]) for tag in tags if tag is not None]
    if len(numbers) == len(set(numbers)) == len(paths):
        return tuple(numbers)
    return tuple(range(len(paths)))


def _signals(model: TrainedModel) -> str:
    known = [d.noise_model for d in model.denoisers if d.noise_model is not None]
    if not known:
        normal = model.denoisers[0].model.normalisation
        return (
            f"No noise model; grey values of the training: {normal.mean:.4g} "
            f"± {normal.std:.3g}"
        )
    ranges = dict.fromkeys("{:.4g} to {:.4g}".format(*m.signal_range) for m in known)
    kinds = dict.fromkeys(choice_text(m.kind) for m in known)
    return (
        f"Signals: {' / '.join(ranges)} grey values\nNoise model: {' / '.join(kinds)}"
    )


def _data_words(data: Any) -> str:
    """Name what was trained on, from a provenance of ours."""
    items = data if isinstance(data, list) else [data]
    known = [item for item in items if isinstance(item, dict)]
    words = [_one_image(item) for item in known[:_MOST_DATA]]
    if len(known) > _MOST_DATA:
        words.append(f"and {len(known) - _MOST_DATA} more")
    return "; ".join(words)


def _one_image(item: Mapping[str, Any]) -> str:
    name = str(item.get("file") or item.get("name") or "an image")
    sizes = " × ".join(str(size) for size in item.get("shape") or ())
    parts = [f"{sizes} ({item.get('axes')})" if sizes else "", item.get("type", "")]
    return ", ".join([name, *(str(part) for part in parts if part)])


def _software_words(software: Any) -> str:
    if not isinstance(software, dict):
        return ""
    return ", ".join(
        f"{name} {software[name]}" for name in _VERSIONS if name in software
    )


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if text else ""
