"""Runs of the peers' own code, scored like every method of ours."""

from __future__ import annotations

import csv
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence.data_sets import load
from evidence.scoring import scores_of
from peers.runner import Peer, PeerCurve, PeerOptions, run_peer


def run(
    data: str,
    data_set: str,
    peer: str,
    python: str,
    repeat: int,
    code: str | None = None,
    seconds: float | None = None,
    steps: int | None = None,
    more: dict[str, Any] | None = None,
    frames: list[int] | None = None,
    every: int = 40,
) -> dict[str, Any]:
    """Train a peer on all noisy images of a data set and score it.

    Parameters
    ----------
    peer, python, code : which peer, the Python of its environment, its code
    seconds, steps : the budget, one of them
    more : options of the peer's driver; patches are no larger than the frames
    frames : that are predicted and scored; all by default
    every : steps between two scores of the curve

    Returns
    -------
    As `evidence.runs.score`, and `curve`: stage, step, CPU seconds and PSNR while it
    trained.
    """
    source = load(Path(data), data_set)
    task = source.tasks("unsupervised")[0]
    chosen = frames or list(range(len(task.scored)))
    more = dict(more or {})
    if "patch" in more:
        more["patch"] = min(more["patch"], *task.training.shape[1:])
    with tempfile.TemporaryDirectory() as folder:
        curve = PeerCurve(
            file=Path(folder) / "curve.csv",
            truth=task.truth,
            every=every,
            frames=chosen,
        )
        result = run_peer(
            Peer(peer, Path(python), code=Path(code) if code else None),
            task.training,
            options=PeerOptions(
                seconds=seconds,
                steps=steps,
                seed=repeat,
                predicted_frames=chosen,
                more=more,
            ),
            curve=curve,
        )
        points = _points(curve.file)
    part = replace(
        task,
        scored=task.scored[chosen],
        truth=task.truth[chosen],
        images=tuple(task.images[i] for i in chosen),
    )
    megapixels = sum(image.size for image in part.scored) / 1e6
    scores = scores_of(list(result.best[chosen]), part, source.data_range)
    return {
        "images": [
            {"image": number, **found}
            for number, found in zip(part.images, scores, strict=True)
        ],
        "costs": {
            "train CPU s": result.cpu_seconds_training,
            "predict CPU s per megapixel": result.cpu_seconds_prediction / megapixels,
            "steps": result.steps,
            "estimate": "mmse" if result.mmse is not None else "prior-mean",
            "peak MB": result.peak_mb,
        },
        "curve": points,
    }


def _points(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                "stage": row["stage"],
                "step": int(row["step"]),
                "cpu_seconds": float(row["cpu_seconds"]),
                "psnr": float(row["psnr"]),
            }
            for row in csv.DictReader(file)
        ]
