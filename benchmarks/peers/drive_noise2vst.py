"""Run the published code of Noise2VST (Herbreteau and Unser 2025).

    PEER_PYTHON benchmarks/peers/drive_noise2vst.py --code FOLDER \
        --weights ffdnet_gray.pth --input noisy.npy --output result.npz --seconds 120

Its own `fit` learns a variance-stabilising transform around a network that was trained,
by others and on clean natural images, to remove Gaussian noise; so it is no method
without clean data, but one without clean data of the user. One transform serves all
frames. Its settings are those of its demo: FFDNet, 128 knots, 2000 steps of four
patches of 64². A budget in seconds is filled with as many steps as it holds, 2000 at
most, so that the learning rate falls as it should; a trial of a few steps times them.

The demo estimates with a larger network, DRUNet, instead. Give its weights with
`--final-weights` for that; without, FFDNet estimates too.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from protocol import (
    BudgetSpent,
    Estimates,
    Job,
    Trained,
    code_version,
    protocol_parser,
    run_driver,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

PUBLISHED_STEPS = 2000
TRIAL_STEPS = 5
FRAMES_AT_ONCE = 8


def load_published(code: Path) -> tuple[Any, Any, Any]:
    """Import `Noise2VST`, `FFDNet` and `DRUNet` from the published code."""
    source = code / "src"
    if not (source / "noise2vst").is_dir():
        raise SystemExit(f"{code} holds no src/noise2vst. Clone sherbret/Noise2VST.")
    sys.path.insert(0, str(source))
    models = [
        importlib.import_module(f"noise2vst.models.{name}")
        for name in ("noise2vst", "ffdnet", "drunet")
    ]
    return models[0].Noise2VST, models[1].FFDNet, models[2].DRUNet


def load_denoiser(kind: Any, weights: Path) -> Any:
    """Make a denoiser of grey images with its published weights, which stay."""
    network = kind(color=False).requires_grad_(False)
    network.load_state_dict(torch.load(weights, weights_only=True), strict=True)
    return network.eval()


def train(job: Job) -> Trained:
    """Learn the transform within the budget."""
    options = job.options
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    transform, ffdnet, drunet = load_published(options.code)
    denoiser = load_denoiser(ffdnet, options.weights)
    final = denoiser
    if options.final_weights:
        final = load_denoiser(drunet, options.final_weights)
    frames = torch.from_numpy(job.noisy)[:, np.newaxis]
    fit = _Fit(job, transform(nb_knots=options.knots, inverse=True), denoiser)
    n_steps = options.steps or fit.steps_that_fit(transform, frames)
    fit.run(frames, n_steps)

    def predict(part: np.ndarray) -> Estimates:
        return Estimates(mmse=fit.estimate(frames, final, part))

    notes = {
        "planned_steps": n_steps,
        "fitted with": "FFDNet",
        "estimated with": "DRUNet" if options.final_weights else "FFDNet",
    }
    return Trained(predict, fit.steps, notes)


class _Fit:
    """The published `fit`, counted, scored and ended between two steps."""

    def __init__(self, job: Job, model: Any, denoiser: Any) -> None:
        self.job, self.model, self.denoiser = job, model, denoiser
        self.steps = 0

    def steps_that_fit(self, transform: Any, frames: torch.Tensor) -> int:
        """Time a trial on a transform that is thrown away; it counts as used time."""
        budget = self.job.budget
        trial = transform(nb_knots=self.job.options.knots, inverse=True)
        self._call(trial, frames, TRIAL_STEPS, None)  # the first steps are slower
        start = budget.used
        self._call(trial, frames, TRIAL_STEPS, None)
        seconds = (budget.used - start) / TRIAL_STEPS
        fitting = int((budget.seconds - budget.used) / seconds)
        return max(1, min(PUBLISHED_STEPS, fitting))

    def run(self, frames: torch.Tensor, n_steps: int) -> None:
        """Fit for `n_steps`, or until the budget is used."""

        def count(_: float) -> None:
            self.steps += 1
            self.job.curve.after(self.steps, "noise2vst", self._predict_alone)
            self.job.budget.check()

        with contextlib.suppress(BudgetSpent):
            self._call(self.model, frames, n_steps, count)

    def _call(
        self,
        model: Any,
        frames: torch.Tensor,
        n_steps: int,
        callback: Callable[[float], None] | None,
    ) -> None:
        model.fit(
            frames,
            self.denoiser,
            nb_iterations=n_steps,
            patch_size=self.job.options.patch,
            batch_size=self.job.options.batch,
            progress_callback=callback,
        )

    def _predict_alone(self, part: np.ndarray) -> Estimates:
        frames = torch.from_numpy(self.job.noisy)[:, np.newaxis]
        return Estimates(mmse=self.estimate(frames, self.denoiser, part))

    def estimate(
        self, frames: torch.Tensor, denoiser: Any, part: np.ndarray
    ) -> np.ndarray:
        """Denoise part of the frames, scaled as in the fit.

        The published code scales what it is given by its own extremes, while the
        transform was learnt between those of all frames. A further image that holds
        these two keeps the scale; its estimate is dropped.
        """
        ends = torch.stack((frames.min(), frames.max()))
        height, width = part.shape[1:]
        extremes = ends.repeat(height * width // 2 + 1)[: height * width]
        extremes = extremes.reshape(1, 1, height, width)
        estimates = []
        with torch.no_grad():
            for chunk in np.array_split(part, -(-len(part) // FRAMES_AT_ONCE)):
                observed = torch.from_numpy(np.ascontiguousarray(chunk))[:, np.newaxis]
                batch = torch.cat((observed, extremes))
                estimates.append(self.model(batch, denoiser)[:-1, 0].numpy())
        return np.concatenate(estimates)


def _parser() -> argparse.ArgumentParser:
    parser = protocol_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--weights", type=Path, required=True, help="of FFDNet for grey images, .pth")
    add("--final-weights", type=Path, help="of DRUNet for grey images, .pth")
    add("--knots", type=int, default=128)
    add("--patch", type=int, default=64)
    add("--batch", type=int, default=4)
    return parser


if __name__ == "__main__":
    parser = _parser()
    run_driver(
        parser,
        train,
        lambda: {
            "noise2vst": code_version(parser.parse_args().code),
            "torch": torch.__version__,
        },
    )
