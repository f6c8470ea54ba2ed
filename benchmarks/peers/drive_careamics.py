"""Run Noise2Void of CAREamics as it is installed in the Python that runs this file.

    PEER_PYTHON benchmarks/peers/drive_careamics.py --input noisy.npy \
        --output result.npz --seconds 600

Its own configuration, data module, Lightning trainer and prediction are used. A
callback counts optimizer steps and asks the trainer to stop. Where an option here is
left out, so is the argument, and CAREamics decides; patch and batch size it leaves to
its users. Epochs are as long as it makes them, and only the budget limits their number.
It predicts complete frames, without tiles.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback
from protocol import Estimates, Job, Trained, protocol_parser, run_driver
from torchvision_stand_in import ensure_torchvision

os.environ.setdefault("MPLBACKEND", "Agg")
# After lightning, which would use a torchvision that it finds for its own metrics.
TORCHVISION = ensure_torchvision()

import careamics  # noqa: E402
from careamics.config.factories.n2v_factory import (  # noqa: E402
    create_advanced_n2v_config,
)

if TYPE_CHECKING:
    import argparse

ENDLESS = 10**6


class StopAtBudget(Callback):
    """Count and score steps; ask the trainer to stop when the budget is used."""

    def __init__(self, job: Job) -> None:
        self.job, self.steps = job, 0

    def on_train_batch_end(self, trainer: Any, module: Any, *_: object) -> None:
        """Run after each step of the optimizer."""
        self.steps += 1
        self.job.curve.after(
            self.steps, "n2v", lambda frames: self._predict(trainer, module, frames)
        )
        n_steps = self.job.options.steps
        if self.job.budget.is_spent() or (n_steps and self.steps >= n_steps):
            trainer.should_stop = True
            trainer.limit_val_batches = 0

    @staticmethod
    def _predict(trainer: Any, module: Any, frames: np.ndarray) -> Estimates:
        """Estimate in the middle of training, where the trainer cannot predict."""
        normalization = trainer.datamodule.train_dataset.normalization
        results = []
        module.eval()
        with torch.no_grad():
            for frame in frames:
                normalised, _ = normalization(frame[np.newaxis])
                output = module.model(torch.from_numpy(normalised)[np.newaxis])
                results.append(normalization.denormalize(output)[0, 0].numpy())
        module.train()
        return Estimates(prior_mean=np.stack(results))


def configuration(options: argparse.Namespace) -> Any:
    """Make its configuration: only what was asked for differs from its defaults."""
    network = {
        name: value
        for name, value in {
            "depth": options.depth,
            "num_channels_init": options.filters,
            "use_batch_norm": False if options.no_batch_norm else None,
        }.items()
        if value is not None
    }
    optional = {
        name: value
        for name, value in {
            "roi_size": options.roi_size,
            "masked_pixel_percentage": options.masked_percentage,
            "model_params": network or None,
            "optimizer_params": {"lr": options.learning_rate}
            if options.learning_rate
            else None,
        }.items()
        if value is not None
    }
    return create_advanced_n2v_config(
        experiment_name="peer",
        data_type="array",
        axes="SYX",
        patch_size=[options.patch, options.patch],
        batch_size=options.batch,
        num_epochs=ENDLESS,
        use_n2v2=options.n2v2,
        num_workers=0,  # so that all CPU seconds are those of this process
        trainer_params={"accelerator": "cpu"},
        seed=options.seed + 1,  # it takes no 0
        **optional,
    )


def train(job: Job) -> Trained:
    """Train Noise2Void of CAREamics within the budget."""
    options = job.options
    torch.set_num_threads(options.threads)
    folder = Path(tempfile.mkdtemp(prefix="careamics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    callback = StopAtBudget(job)
    careamist = careamics.CAREamist(
        configuration(options),
        work_dir=folder,
        callbacks=[callback],
        enable_progress_bar=False,
    )
    careamist.train(train_data=job.noisy)
    # Its own last checkpoint is that of the last complete epoch.
    checkpoint = folder / "stopped.ckpt"
    careamist.trainer.save_checkpoint(checkpoint)

    def predict(frames: np.ndarray) -> Estimates:
        predicted, _ = careamist.predict(
            frames, batch_size=1, num_workers=0, checkpoint=checkpoint
        )
        return Estimates(prior_mean=np.concatenate(predicted).reshape(frames.shape))

    n_weights = sum(weight.numel() for weight in careamist.model.parameters())
    notes = {"weights": n_weights, "epochs": careamist.trainer.current_epoch}
    return Trained(predict, callback.steps, notes)


def _parser() -> argparse.ArgumentParser:
    parser = protocol_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--patch", type=int, default=64)
    add("--batch", type=int, default=8)
    add("--filters", type=int, help="default: its own")
    add("--depth", type=int, help="poolings; default: its own")
    add("--no-batch-norm", action="store_true")
    add("--masked-percentage", type=float, help="of all pixels; default: its own")
    add("--roi-size", type=int, help="replacements come from; default: its own")
    add("--learning-rate", type=float, help="default: its own")
    add("--n2v2", action="store_true", help="its N2V2 instead of N2V")
    return parser


if __name__ == "__main__":
    run_driver(
        _parser(),
        train,
        lambda: {
            "careamics": careamics.__version__,
            "lightning": lightning.__version__,
            "torch": torch.__version__,
            "torchvision": TORCHVISION,
        },
    )
