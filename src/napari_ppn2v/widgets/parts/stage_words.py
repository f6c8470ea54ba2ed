"""How stages and durations are worded for the user."""

from __future__ import annotations

_STAGES = {
    "dry run": "Measuring the speed",
    "reading": "Reading the image",
    "n2v": "Noise2Void training",
    "pseudo ground truth": "Pseudo ground truth",
    "noise model": "Noise model",
    "pn2v": "PN2V training",
    "inference choice": "Choice of the estimate",
    "denoise": "Denoising",
    "coverage": "Comparing signal ranges",
}


def stage_words(name: str) -> str:
    """Return a stage as the user reads it."""
    if name in _STAGES:
        return _STAGES[name]
    first, _, rest = name.partition(",")
    if first in _STAGES and rest:
        return f"{_STAGES[first]},{rest}"
    return name[:1].upper() + name[1:]


def duration_words(seconds: float) -> str:
    """Return a duration as people say it: "8 s", "3 min", "1 h 20 min"."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def clock_words(seconds: float) -> str:
    """Return a running time: "0:08", "12:30", "1:02:03"."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}"
