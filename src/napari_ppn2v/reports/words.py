"""What the report of a run says in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.checks.findings import worst

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_ppn2v.pipeline.run_summary import ChannelSummary, RunSummary

METHODS = {
    "n2v": "Noise2Void",
    "pn2v": "Probabilistic Noise2Void",
    "refined": "Probabilistic Noise2Void with refinement on synthetic observations",
    "care": "supervised training with clean targets (CARE)",
    "n2n": "Noise2Noise",
}
NOISE_MODELS = {
    "gmm": "a mixture of Gaussians",
    "histogram": "a histogram",
    "poisson-gaussian": "a Poisson-Gaussian (sCMOS) camera model",
    "poisson-gamma": "a Poisson-gamma (EMCCD) camera model",
    "tabulated": "a tabulated likelihood",
}
ESTIMATES = {
    "refined": "the posterior mean learnt by the refined network",
    "mmse": "the posterior mean (MMSE)",
    "prior-mean": "the mean of the prior",
}
REFERENCES = {
    "n2v": "Krull, Buchholz & Jug, Noise2Void, CVPR 2019",
    "pn2v": "Krull et al., Probabilistic Noise2Void, Front. Comput. Sci. 2020",
    "ppn2v": "Prakash et al., Fully Unsupervised Probabilistic Noise2Void, ISBI 2020",
    "care": "Weigert et al., Nature Methods 2018",
    "n2n": "Lehtinen et al., Noise2Noise, ICML 2018",
}
_REFERENCES_OF = {
    "n2v": ("n2v",),
    "pn2v": ("n2v", "pn2v", "ppn2v"),
    "refined": ("n2v", "pn2v", "ppn2v"),
    "care": ("care",),
    "n2n": ("n2n",),
}


def methods_paragraph(run: RunSummary, channel: ChannelSummary) -> str:
    """Describe a run as the methods section of a paper does."""
    record = run.record
    settings, software = record["settings"], record["software"]
    method = channel.denoiser.method
    parts = [
        f"{_data(record)} were denoised with napari-ppn2v {software['napari-ppn2v']} "
        f"(PyTorch {software['torch']}, {software['device']}) by "
        f"{METHODS.get(method, method)}.",
        _noise(record, channel),
        f"The networks were trained for {record['steps']} steps in all (preset "
        f"'{settings['preset']}', seed {settings['seed']}); the weights of lowest "
        "validation loss were kept.",
        f"The result is {ESTIMATES[channel.denoiser.estimate]}"
        f"{', computed blind' if channel.denoiser.is_blind else ''}.",
        _error(channel),
        f"References: {'; '.join(REFERENCES[key] for key in _REFERENCES_OF[method])}.",
    ]
    return " ".join(part for part in parts if part)


def summary_lines(channel: ChannelSummary) -> list[tuple[str, str, str]]:
    """Return (question, verdict, answer) for the reader in a hurry."""
    lines: list[tuple[str, str, str]] = []
    if channel.data:
        flawed = [each for each in channel.data if each.verdict != "fine"]
        answer = (
            "; ".join(f"{each.name}: {each.sentence}" for each in flawed)
            or "Nothing in the data speaks against the method."
        )
        verdict = worst(each.verdict for each in channel.data)
        lines.append(("Were the data fit for it?", verdict, answer))
    check = channel.check
    if check is None:
        return [*lines, ("Can the result be believed?", "", channel.why_not)]
    told = [each for each in check.findings if each.name != "expected error"]
    flawed = [each for each in told if each.verdict != "fine"]
    answer = (
        " ".join(each.sentence for each in flawed)
        or "What was taken away looks like noise and nothing else."
    )
    lines.append(
        ("Can the result be believed?", worst(f.verdict for f in told), answer)
    )
    error = next(each for each in check.findings if each.name == "expected error")
    mark = "" if check.errors.told else error.verdict
    lines.append(("How far is it from the truth?", mark, error.sentence))
    return lines


def settings_table(run: RunSummary) -> list[tuple[str, Any]]:
    """Return all settings in use, nested ones with a point in their name."""
    return [
        (name, value)
        for name, value in _flat(run.record["settings"])
        if value not in (None, "", [])
    ]


def data_table(run: RunSummary) -> list[tuple[str, str]]:
    """Return name, shape and checksum of each input."""
    return [
        (
            item["file"],
            f"{'x'.join(str(n) for n in item['shape'])} ({item['axes']}), "
            f"{item['type']}, SHA-256 of the pixels {item['sha256']}",
        )
        for item in (*run.record["data"], *run.record.get("targets", []))
    ]


def _data(record: dict[str, Any]) -> str:
    names = [item["file"] for item in record["data"]]
    first = record["data"][0]
    shape = " x ".join(str(n) for n in first["shape"])
    if len(names) == 1:
        return f"Images ({shape} pixels, {first['axes']}, {first['type']})"
    return f"{len(names)} recordings (the first of {shape} pixels, {first['axes']})"


def _noise(record: dict[str, Any], channel: ChannelSummary) -> str:
    model = channel.denoiser.noise_model
    if model is None:
        return ""
    request = record["request"]
    if request["noise_model"]:
        source = "had been fitted before"
    elif request["calibration"]:
        source = "was fitted to a calibration recording of a static scene"
    else:
        source = "was fitted to the noisy images themselves (bootstrapped)"
    low, high = model.signal_range
    kind = NOISE_MODELS.get(model.kind, model.kind)
    return (
        f"The noise model, {kind} for signals of {low:.4g} to {high:.4g} grey values, "
        f"{source}."
    )


def _error(channel: ChannelSummary) -> str:
    check = channel.check
    if check is None or check.errors.rmse is None:
        return ""
    return (
        f"Without ground truth, the root mean squared error is estimated at "
        f"{check.errors.rmse:.3g} grey values ({check.errors.psnr:.1f} dB over the "
        f"range of the denoised images; {len(check.images)} images)."
    )


def _flat(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
