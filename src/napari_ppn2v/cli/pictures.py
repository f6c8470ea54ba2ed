"""Pictures of a run, drawn from its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.pairs import SignalObservationPairs
    from napari_ppn2v.pipeline.channel_runs import ChannelReport
    from napari_ppn2v.pipeline.file_jobs import FileReport


def draw_pictures(report: FileReport, truth: Path | None = None) -> None:
    """Draw what a run has: curves, noise model, and one frame before and after.

    Parameters
    ----------
    truth : the frames without noise, for demonstrations
    """
    from napari_ppn2v.figures import save_figure, training_curves_figure

    for number, channel in enumerate(report.channels):
        curves = {
            stage: [(p.step, p.train_loss, p.validation_loss) for p in points]
            for stage, points in channel.curves.items()
            if points
        }
        if curves:
            path = report.files.file("curves", ".png", channel.tag)
            save_figure(training_curves_figure(curves), path)
        model = channel.denoiser.noise_model
        if model is not None:
            path = report.files.file("noise_model", ".png", channel.tag)
            # resumed after training, a run has no pairs to draw it over any more
            if channel.pairs is not None or not _is_newer(path, channel.model):
                draw_noise_model(path, model.to("cpu"), channel.pairs)
        if report.results:
            _draw_before_after(report, channel, number, truth)


def _is_newer(path: Path, than: Path) -> bool:
    return path.exists() and path.stat().st_mtime >= than.stat().st_mtime


def draw_noise_model(
    path: Path, model: NoiseModel, pairs: SignalObservationPairs | None
) -> None:
    """Draw a noise model over the pairs that it was fitted to, where they are there."""
    from napari_ppn2v.figures import noise_model_figure, save_figure

    shown = None if pairs is None else pairs.histogram()
    save_figure(noise_model_figure(model, shown, model.kind), path)


def _draw_before_after(
    report: FileReport, channel: ChannelReport, number: int, truth: Path | None
) -> None:
    """Show the middle frame of the first image."""
    from napari_ppn2v.core.metrics import psnr
    from napari_ppn2v.figures import before_after_figure, save_figure
    from napari_ppn2v.files.units import micrometres

    image, target = report.images[0], report.results[0].target
    noisy = image.frames[number]
    index = len(noisy) // 2
    part = number if image.n_result_channels else 0
    after = _frames(target.result, part).frame(index)
    before = noisy.frame(index)
    clean = None if truth is None else _frames(truth, 0).frame(index)
    std = target.posterior_std
    spacing = image.source.pixel_size.get("X")
    figure = before_after_figure(
        before,
        after,
        truth=clean,
        posterior_std=None if std is None else _frames(std, part).frame(index),
        psnr_before=None if clean is None else psnr(before, clean).mean,
        psnr_after=None if clean is None else psnr(after, clean).mean,
        pixel_size=None if spacing is None else micrometres(spacing),
    )
    save_figure(figure, report.files.file("before_after", ".png", channel.tag))


def _frames(path: Path, channel: int) -> Frames:
    from napari_ppn2v.pipeline.inputs import open_frames

    return open_frames(path, None, channel)
