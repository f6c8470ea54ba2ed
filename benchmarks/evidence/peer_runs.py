"""Runs of the peers' own code, scored like every method of ours."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from evidence.data_sets import load
from evidence.scoring import scores_of
from peers.runner import Peer, PeerCurve, PeerOptions, run_peer

STEPS_BETWEEN_SCORES = 10
CURVE_FRAMES = 8
"""Frames that a curve is scored on, spread over the data set; the end scores all."""


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
) -> dict[str, Any]:
    """Train a peer on all noisy images of a data set and score it.

    Parameters
    ----------
    peer, python, code : which peer, the Python of its environment, its code
    seconds, steps : the budget, one of them
    more : options of the peer's driver

    Returns
    -------
    As `evidence.runs.score`, and `curve`: stage, step, CPU seconds and PSNR on
    `CURVE_FRAMES` frames while it trained.
    """
    source = load(Path(data), data_set)
    task = source.tasks("unsupervised")[0]
    some = np.linspace(0, len(task.scored) - 1, min(CURVE_FRAMES, len(task.scored)))
    with tempfile.TemporaryDirectory() as folder:
        curve = PeerCurve(
            file=Path(folder) / "curve.csv",
            truth=task.truth,
            every=STEPS_BETWEEN_SCORES,
            frames=sorted({int(i) for i in some}),
        )
        result = run_peer(
            Peer(peer, Path(python), code=Path(code) if code else None),
            task.training,
            options=PeerOptions(
                seconds=seconds, steps=steps, seed=repeat, more=more or {}
            ),
            curve=curve,
        )
        points = _points(curve.file)
    estimates = list(result.best)
    megapixels = sum(image.size for image in task.scored) / 1e6
    scores = scores_of(estimates, task, source.data_range)
    return {
        "images": [
            {"image": number, **found}
            for number, found in zip(task.images, scores, strict=True)
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
