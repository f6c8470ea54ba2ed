"""Write the report of a run, as a page and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.events import Event, drain
from napari_ppn2v.files.atomic import write_json_atomically, write_text_atomically
from napari_ppn2v.pipeline.run_summary import summarise_run
from napari_ppn2v.reports import html, words
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from matplotlib.figure import Figure

    from napari_ppn2v.figures import StyleName
    from napari_ppn2v.pipeline.run_summary import ChannelSummary, RunSummary

PAGE = "report.html"
SCHEMA = 1
_MOST_LISTED = 200


def report(
    run: str | PathLike[str],
    *,
    on_event: Callable[[Event], None] | None = None,
    stop: StopToken | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Path | None:
    """Write a report of a finished run into its folder: one page, and JSON.

    The noisy images are read again, some of them denoised again, and the result is
    checked against the noise model; see `docs/how-to/report.md`.

    Parameters
    ----------
    run : folder of the run, or its result, or its model
    on_event : called with each event
    stop : ends it early, without a report
    device, threads : where to compute

    Returns
    -------
    Path of the page, None if stopped.

    Raises
    ------
    PPN2VError  One of its kinds, if there is no finished run, or a folder cannot be
        written to.
    """
    job = summarise_run(
        Path(run), stop or StopToken(), device=device, n_threads=threads
    )
    summary = drain(job, on_event)
    return None if summary is None else write_report(summary)


def write_report(run: RunSummary, name: str = PAGE) -> Path:
    """Write what was gathered of a run into its folder; return the page's path.

    Parameters
    ----------
    name : of the page, in the folder; the JSON beside it is called likewise
    """
    path = run.folder / name
    write_json_atomically(path.with_suffix(".json"), as_plain(run))
    write_text_atomically(path, as_page(run))
    return path


def as_page(run: RunSummary) -> str:
    """Return the report as one page of HTML that loads nothing."""
    names = ", ".join(item["file"] for item in run.record["data"][:3])
    title = f"Denoising of {names}"
    parts = [html.heading(title, 1), html.paragraph(_made_with(run))]
    for channel in run.channels:
        if len(run.channels) > 1:
            parts.append(html.heading(f"Channel {channel.number}"))
        parts += _channel(run, channel)
    software = [(k, v) for k, v in run.record["software"].items()]
    parts += [
        html.heading("How it was made"),
        html.folded("Data", html.pairs_table(words.data_table(run)[:_MOST_LISTED])),
        html.folded("Settings", html.pairs_table(words.settings_table(run))),
        html.folded("Software", html.pairs_table(software)),
    ]
    return html.page(title, parts)


def as_plain(run: RunSummary) -> dict[str, Any]:
    """Return the report as dictionaries, lists, numbers and texts."""
    channels = {}
    for channel in run.channels:
        check = channel.check
        channels[str(channel.number)] = {
            "method": channel.denoiser.method,
            "methods_paragraph": words.methods_paragraph(run, channel),
            "data_findings": [_finding(each) for each in channel.data],
            "why_not_checked": channel.why_not,
            "result_findings": [_finding(f) for f in check.findings] if check else [],
            "residual": asdict(check.residual) if check else None,
            "images_looked_at": check.images if check else [],
            "expected_errors": _errors(channel),
            "posterior_std_factor": check.std_factor if check else None,
            "training": channel.training,
        }
    kept = ("software", "data", "targets", "settings", "steps", "seconds", "results")
    return {
        "format": "napari-ppn2v report",
        "schema": SCHEMA,
        "run": {key: run.record[key] for key in kept if key in run.record},
        "channels": channels,
    }


def _finding(finding: Any) -> dict[str, Any]:
    return {**asdict(finding), "figures": dict(finding.figures)}


def _errors(channel: ChannelSummary) -> dict[str, Any] | None:
    if channel.check is None:
        return None
    errors = channel.check.errors
    return {
        **asdict(errors),
        "rmse": errors.rmse,
        "psnr": errors.psnr,
        "psnr_range": "0.1 % to 99.9 % quantile of each denoised image",
    }


def _made_with(run: RunSummary) -> str:
    software, seconds = run.record["software"], run.record["seconds"]
    return (
        f"napari-ppn2v {software['napari-ppn2v']} on {software['device']}, "
        f"{sum(seconds.values()):.0f} seconds."
    )


def _channel(run: RunSummary, channel: ChannelSummary) -> Iterator[str]:
    yield html.summary(words.summary_lines(channel))
    check = channel.check
    if check is not None:
        yield _before_after(channel)
        yield html.heading("Can the result be believed?")
        yield html.findings_table(check.findings)
        yield from _check_pictures(channel)
    if channel.data:
        yield html.heading("Were the data fit for it?")
        yield html.findings_table(channel.data)
    yield from _training_pictures(channel)
    yield html.heading("For the methods section")
    yield html.quotation(words.methods_paragraph(run, channel))


def _before_after(channel: ChannelSummary) -> str:
    from napari_ppn2v.figures import before_after_figure

    assert channel.check is not None
    shown = channel.check.shown
    return _picture(
        lambda style: before_after_figure(
            shown.observation,
            shown.denoised,
            posterior_std=shown.posterior_std,
            style=style,
        ),
        "Before and after, with the same contrast. Of all images looked at, the one "
        f"with the most structure in what was taken away (frame {shown.frame}).",
    )


def _check_pictures(channel: ChannelSummary) -> Iterator[str]:
    from napari_ppn2v.figures import (
        expected_error_figure,
        residual_figure,
        residual_statistics_figure,
    )

    check = channel.check
    assert check is not None
    yield _picture(
        lambda style: residual_figure(
            check.shown.denoised, check.shown.leftover, style=style
        ),
        "What was taken away should be even noise, without any outline of the image. "
        "Coloured on the right: places where it is more than noise can be. Red: the "
        "result is too dark there, something may be lost. Blue: too bright.",
    )
    yield _picture(
        lambda style: residual_statistics_figure(check.residual, style=style),
        "The same in figures. The dashed lines are what noise alone gives.",
    )
    if len(check.errors.told) > 1:
        yield _picture(
            lambda style: expected_error_figure(check.errors, style=style),
            "The expected error of each image looked at, with its uncertainty.",
        )


def _training_pictures(channel: ChannelSummary) -> Iterator[str]:
    from napari_ppn2v.figures import noise_model_figure, training_curves_figure

    model = channel.denoiser.noise_model
    if model is not None:
        on_cpu, pairs = model.to("cpu"), _pairs(channel)
        yield html.heading("Noise model")
        yield _picture(
            lambda style: noise_model_figure(on_cpu, pairs, model.kind, style=style),
            "The noise model. Its curves should follow what was measured"
            + (", here the noisy against the denoised image." if pairs else "."),
        )
    if channel.curves:
        yield html.heading("Training")
        yield _picture(
            lambda style: training_curves_figure(channel.curves, style=style),
            "Losses; lower is better. The weights of the marked step were used.",
        )


def _pairs(channel: ChannelSummary) -> Any:
    from napari_ppn2v.core.frames import as_frames
    from napari_ppn2v.core.pairs import SignalObservationPairs

    if channel.check is None:
        return None
    shown = channel.check.shown
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        as_frames(shown.denoised, "YX"), as_frames(shown.observation, "YX")
    )
    return pairs.histogram()


def _picture(draw: Callable[[StyleName], Figure], caption: str) -> str:
    return html.picture(draw("light"), draw("dark"), caption)
