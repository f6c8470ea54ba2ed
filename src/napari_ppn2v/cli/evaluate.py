"""`evaluate`: scores of a result against the truth."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.output import show, table

SCORES = {
    "psnr": "PSNR (dB)",
    "scale_invariant_psnr": "scale-invariant PSNR (dB)",
    "ssim": "SSIM",
}


def evaluate(
    result: Annotated[Path, typer.Argument(help="Denoised image.", show_default=False)],
    truth: Annotated[
        Path,
        typer.Argument(
            help="The same frames without noise, or one frame for all of them.",
            show_default=False,
        ),
    ],
    noisy: Annotated[
        Path | None,
        typer.Option(help="Noisy image, to score it too.", show_default=False),
    ] = None,
    axes: o.Axes = None,
    channel: o.Channel = None,
    data_range: Annotated[
        float | None,
        typer.Option(
            help="Peak of the PSNR in grey values. Default: the range of each frame's "
            "truth."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a table.")
    ] = False,
) -> None:
    """Score a result against the truth: PSNR, scale-invariant PSNR and SSIM.

    Every score is made per frame and averaged over the frames.

    For example:

        napari-ppn2v evaluate denoised.ome.tif truth.tif --noisy noisy.tif
    """
    from napari_ppn2v.files.atomic import as_json as to_json

    scores = {"result": score_files(result, truth, axes, channel, data_range)}
    if noisy is not None:
        scores["noisy"] = score_files(noisy, truth, axes, channel, data_range)
    if as_json:
        plain = {
            which: {
                name: {"mean": values.mean, "per_frame": values.per_frame}
                for name, values in found.items()
            }
            for which, found in scores.items()
        }
        show(to_json(plain, indent=2))
        return
    show(_as_table(scores))


def score_files(
    image: Path,
    truth: Path,
    axes: str | None = None,
    channel: str | None = None,
    data_range: float | None = None,
) -> dict[str, Any]:
    """Return `Scores` by name; a truth of one frame is repeated for all."""
    from napari_ppn2v.cli.requests import channel_number
    from napari_ppn2v.core import metrics
    from napari_ppn2v.pipeline.inputs import open_noisy

    number = channel_number(channel)
    found = open_noisy((image,), axes, number, "")[0].frames[0]
    true = open_noisy((truth,), axes, number, "")[0].frames[0]
    if len(true) == 1 < len(found):
        true = true.select([0] * len(found))
    return {name: getattr(metrics, name)(found, true, data_range) for name in SCORES}


def _as_table(scores: dict[str, dict[str, Any]]) -> str:
    """One row for each frame, the mean below."""
    columns = [(which, name) for name in SCORES for which in reversed(scores)]
    head = ["frame", *(f"{SCORES[name]} {which}" for which, name in columns)]
    lists = [scores[which][name] for which, name in columns]
    count = len(lists[0].per_frame)
    rows = [
        [index, *(f"{values.per_frame[index]:.3f}" for values in lists)]
        for index in range(count)
    ]
    rows.append(["mean", *(f"{values.mean:.3f}" for values in lists)])
    return table(head, rows)
