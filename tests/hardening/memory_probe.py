"""Train and denoise within a limit of memory; run in a process of its own.

    python memory_probe.py MEGABYTES TASK

The limit counts from what the process holds with everything imported. Prints one line
of JSON. Tasks: "stack" trains on a recording that is made frame by frame and denoises
it; "batch" trains with large batches; "tile" denoises with large tiles.
"""

from __future__ import annotations

import json
import resource
import sys

import numpy as np
import psutil
import torch

from napari_ppn2v.core.batches import Crops, MaskedObservations
from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.objectives import squared_error
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.events import Notice, collect
from napari_ppn2v.files.lazy import LazyArray, full_index
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.pipeline.denoising import denoise_frames
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.training import train_prior
from napari_ppn2v.stop import StopToken

SIDE, N_FRAMES = 1024, 100
CPU = torch.device("cpu")


class MadeFrameByFrame(LazyArray):
    """A recording of (N, Y, X) float64 that lies nowhere; 8 MB for each frame."""

    shape, dtype = (N_FRAMES, SIDE, SIDE), np.dtype(np.float64)
    y = np.arange(SIDE)
    waves = 20 + 10 * np.sin(y / 30)[:, None] * np.cos(y / 40)
    noisy = np.random.default_rng(0).poisson(waves) * 2.2 + 100

    def __getitem__(self, index):
        frame, *place = full_index(index, self.shape)
        return np.roll(self.noisy, 37 * frame, axis=0)[tuple(place)]


def stack() -> dict:
    """Train on a recording larger than the limit and denoise every frame of it."""
    recording = MadeFrameByFrame()
    frames = as_frames(recording, "TYX")
    training = TrainingConfig(n_steps=10, batch_size=8, patch_size=64)
    config = RunConfig(
        method="n2v", network=UNetConfig(n_filters=4, n_levels=2), pretraining=training
    )
    events, run = collect(
        train_denoiser([frames], config, device=CPU, stop=StopToken())
    )
    seen = np.zeros(len(frames))

    def sink(index, rows, columns, estimate):
        seen[index] += estimate.prior_mean.size
        assert np.isfinite(estimate.prior_mean).all()

    job = denoise_frames(run.denoiser, frames, sink, tile_size=1024, stop=StopToken())
    more, done = collect(job)
    assert done == len(frames)
    assert (seen == SIDE**2).all()
    return {"stack_mb": recording.nbytes / 1e6, "notices": said(events + more)}


def batch() -> dict:
    """Train with batches whose activations take hundreds of megabytes."""
    images = MadeFrameByFrame()[0]
    held = collect_training_stack(
        [as_frames(images, "YX")],
        patch_size=128,
        held_out_share=0.05,
        rng=np.random.default_rng(0),
    )
    config = TrainingConfig(
        n_steps=3, batch_size=32, patch_size=128, steps_per_validation=3
    )
    source = MaskedObservations(Crops(held, 128, 32), 4, "mean", 0)
    job = train_prior(
        model(16),
        source,
        squared_error(10.0),
        config,
        stage="n2v",
        seed=1,
        stop=StopToken(),
    )
    events, trained = collect(job)
    return {"loss": trained.curve[-1].validation_loss, "notices": said(events)}


def tile() -> dict:
    """Denoise a frame in one tile whose features take hundreds of megabytes."""
    frames = as_frames(MadeFrameByFrame()[0], "YX")
    denoiser = Denoiser(model(32), None, None, "prior-mean", is_blind=False, reason="")
    found = np.empty(frames.shape, np.float32)

    def sink(index, rows, columns, estimate):
        found[rows, columns] = estimate.prior_mean

    job = denoise_frames(denoiser, frames, sink, tile_size=1024, stop=StopToken())
    events, _ = collect(job)
    return {
        "rows": found.mean(axis=1).tolist(),
        "columns": found.mean(axis=0).tolist(),
        "notices": said(events),
    }


def model(n_filters: int) -> PriorNetwork:
    """Return an untrained network, always the same."""
    torch.manual_seed(0)
    config = UNetConfig(n_filters=n_filters, n_levels=2)
    return PriorNetwork(config, "free", 1, Normalisation(144.0, 12.0)).eval()


def said(events: list) -> list[str]:
    """Return what a user is told."""
    return [event.message for event in events if isinstance(event, Notice)]


def main() -> None:
    """Set the limit, do the task and print what came of it."""
    megabytes, task = float(sys.argv[1]), sys.argv[2]
    # a first use of everything, as libraries set themselves up once
    with torch.no_grad():
        model(4).features(torch.zeros(1, 1, 64, 64))
    held = psutil.Process().memory_info()
    most = int(held.vms + megabytes * 1e6)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    result = {"stack": stack, "batch": batch, "tile": tile}[task]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    result["grown_mb"] = (peak - held.rss) / 1e6
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
