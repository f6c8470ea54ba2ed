"""Run the published code of Prakash et al. 2020 (PPN2V): Noise2Void and PN2V.

    PEER_PYTHON benchmarks/peers/drive_ppn2v.py --code FOLDER --input noisy.npy \
        --output result.npz --method pn2v --noise-model gmm --seconds 600

Its own `trainNetwork` runs from the first step to the last with its network, data
loader, losses, optimizer, schedule and validation; a hook of torch ends it between two
steps. Settings that are not options are those of its notebooks for Convallaria: the
last five frames are for validation (one of six where there are fewer than 20), learning
rate 1e-3, 10 steps to an epoch of Noise2Void and 5 to one of PN2V, the last network.
What is not as published, and why, stands in the README beside this file.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import tempfile
from dataclasses import dataclass
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
from torch.optim.optimizer import register_optimizer_step_post_hook
from torchvision_stand_in import ensure_torchvision

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator
    from pathlib import Path

STEPS_PER_EPOCH = {"n2v": 10, "pn2v": 5}
TILE = {"n2v": 256, "pn2v": 192}
TILE_OVERLAP = 48
ENDLESS = 10**9
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Published:
    """The modules of the published code that are used."""

    UNet: Any
    training: Any
    prediction: Any
    gmm: Any
    histogram: Any


def load_published(code: Path) -> Published:
    """Import the code from its folder, with what it needs of older libraries restored.

    Raises
    ------
    SystemExit  If the folder does not hold it.
    """
    source = code / "src"
    if not (source / "ppn2v").is_dir():
        raise SystemExit(f"{code} holds no src/ppn2v. Clone juglab/PPN2V there.")
    _restore_older_libraries()
    sys.path.insert(0, str(source))
    of = importlib.import_module
    return Published(
        UNet=of("ppn2v.unet").UNet,
        training=of("ppn2v.pn2v.training"),
        prediction=of("ppn2v.pn2v.prediction"),
        gmm=of("ppn2v.pn2v.gaussianMixtureNoiseModel"),
        histogram=of("ppn2v.pn2v.histNoiseModel"),
    )


def _restore_older_libraries() -> None:
    """Give back the three names that the code uses and newer libraries took away."""
    if not hasattr(np, "int"):
        np.int = int  # noqa: NPY001
    schedulers = torch.optim.lr_scheduler
    plateau = schedulers.ReduceLROnPlateau
    if "verbose" not in plateau.__init__.__annotations__:

        class QuietPlateau(plateau):
            def __init__(self, *arguments: Any, verbose: bool = False, **more: Any):
                super().__init__(*arguments, **more)

        schedulers.ReduceLROnPlateau = QuietPlateau
    ensure_torchvision()


@contextlib.contextmanager
def after_each_step(action: Callable[[], None]) -> Iterator[None]:
    """Call `action` after each step of any optimizer; `BudgetSpent` ends the block."""
    handle = register_optimizer_step_post_hook(lambda *_: action())
    try:
        yield
    except BudgetSpent:
        pass
    finally:
        handle.remove()


class PublishedRun:
    """One run of the published code, stage by stage."""

    def __init__(self, job: Job, published: Published) -> None:
        self.job, self.published, self.options = job, published, job.options
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note the CPU seconds of a stage."""
        start = self.job.budget.used
        yield
        self.seconds[name] = round(self.job.budget.used - start, 3)

    def train(
        self, stage: str, noise_model: Any, n_steps: int | None, share: float = 1.0
    ) -> tuple[Any, int]:
        """Run `trainNetwork`; returns the network and the steps that were done."""
        n_outputs = 1 if stage == "n2v" else self.options.samples
        network = self.published.UNet(
            n_outputs, depth=self.options.depth, start_filts=self.options.filters
        )
        training, validation = self._split(shuffled=stage == "pn2v")
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            with torch.no_grad():
                self.job.curve.after(done, stage, self.predictor(network, noise_model))
            if n_steps is not None and done >= n_steps:
                raise BudgetSpent
            self.job.budget.check(share)

        with (
            self.stage(stage),
            tempfile.TemporaryDirectory() as folder,
            after_each_step(count),
        ):
            self.published.training.trainNetwork(
                net=network,
                trainData=training,
                valData=validation,
                postfix=stage,
                directory=folder,
                noiseModel=noise_model,
                device=CPU,
                numOfEpochs=ENDLESS,
                stepsPerEpoch=STEPS_PER_EPOCH[stage],
                virtualBatchSize=self.options.batch,
                batchSize=1,
                patchSize=self.options.patch,
                numMaskedPixels=self.options.patch**2 / 32.0,
                learningRate=self.options.learning_rate,
            )
        return network, done

    def _split(self, *, shuffled: bool) -> tuple[np.ndarray, np.ndarray]:
        noisy = self.job.noisy
        n_validation = 5 if len(noisy) >= 20 else max(1, len(noisy) // 6)
        if len(noisy) < 2:
            raise SystemExit("The published code needs two frames: one to validate.")
        parts = noisy[:-n_validation].copy(), noisy[-n_validation:].copy()
        if shuffled:  # as the notebook of PN2V does, not that of N2V
            for part in parts:
                np.random.shuffle(part)  # noqa: NPY002
        return parts

    def predictor(
        self, network: Any, noise_model: Any
    ) -> Callable[[np.ndarray], Estimates]:
        """Return `tiledPredict` for stacks; tiles shrink where frames are smaller."""
        published_tile = TILE["n2v" if noise_model is None else "pn2v"]

        def predict(frames: np.ndarray) -> Estimates:
            tile = min(published_tile, *(side - side % 4 for side in frames.shape[1:]))
            results = [
                self.published.prediction.tiledPredict(
                    frame,
                    network,
                    ps=tile,
                    overlap=min(TILE_OVERLAP, tile // 2),
                    device=CPU,
                    noiseModel=noise_model,
                )
                for frame in frames
            ]
            if noise_model is None:
                return Estimates(prior_mean=np.stack(results))
            means, mmse = zip(*results, strict=True)
            return Estimates(mmse=np.stack(mmse), prior_mean=np.stack(means))

        return predict

    # --- Noise models ------------------------------------------------------------

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Signal and observation, from a file or by Noise2Void as pseudo truth."""
        source = self.options.noise_source
        if source != "bootstrap":
            with np.load(source) as file:
                signal, observation = file["signal"], file["observation"]
            if signal.ndim == 1:
                signal, observation = signal[np.newaxis], observation[np.newaxis]
            return signal, observation
        n_steps = self.options.n2v_steps
        if n_steps is None and self.options.steps is not None:
            n_steps = 2 * self.options.steps  # 200 epochs of 10 against 200 of 5
        network, self.n2v_steps = self.train(
            "n2v", None, n_steps, self.options.n2v_share
        )
        observation = self.job.noisy[: self.options.bootstrap_frames]
        with self.stage("pseudo_ground_truth"):
            signal = self.predictor(network, None)(observation.copy()).prior_mean
        return signal, observation

    def noise_model(self, signal: np.ndarray, observation: np.ndarray) -> Any:
        """Fit the published noise model of the chosen kind."""
        with self.stage("noise_model"):
            if self.options.noise_model == "histogram":
                return self._histogram(signal, observation)
            return self._mixture(signal, observation)

    def _histogram(self, signal: np.ndarray, observation: np.ndarray) -> Any:
        module, noisy = self.published.histogram, self.job.noisy
        # The notebooks ask for a range that holds the images to be denoised.
        counts = module.createHistogram(
            self.options.bins, noisy.min(), noisy.max(), observation, signal
        )
        return module.NoiseModel(counts, device=CPU)

    def _mixture(self, signal: np.ndarray, observation: np.ndarray) -> Any:
        options, budget = self.options, self.job.budget
        trimmed = 0.5 if options.noise_source == "bootstrap" else 0.0
        low, high = np.percentile(signal, (trimmed, 100 - trimmed))
        share = options.noise_model_share
        if budget.seconds is not None:
            share += budget.used / budget.seconds
        self.gmm_iterations = 0

        def count() -> None:
            self.gmm_iterations += 1
            budget.check(share)

        with tempfile.TemporaryDirectory() as folder:
            model = self.published.gmm.GaussianMixtureNoiseModel(
                min_signal=low,
                max_signal=high,
                path=f"{folder}/",
                weight=None,
                n_gaussian=options.gaussians,
                n_coeff=options.coefficients,
                min_sigma=options.min_sigma,
                device=CPU,
            )
            with after_each_step(count):
                model.train(
                    signal,
                    observation,
                    batchSize=250_000,
                    n_epochs=options.gmm_iterations,
                    learning_rate=0.1,
                    lowerClip=trimmed,
                    upperClip=100 - trimmed,
                )
        # Read from a file, as published, the weights are constants too.
        model.weight = model.weight.detach()
        return model


def train(job: Job) -> Trained:
    """Run the stages of the chosen method within the budget."""
    options = job.options
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    run = PublishedRun(job, load_published(options.code))
    if options.method == "n2v":
        network, steps = run.train("n2v", None, options.steps)
        return Trained(run.predictor(network, None), steps, {"seconds": run.seconds})
    noise_model = run.noise_model(*run.pairs())
    if job.budget.is_spent():
        raise SystemExit(
            f"The {options.seconds:g} CPU seconds were spent before PN2V began: "
            f"{run.seconds}. Give more seconds, or fewer --bootstrap-frames."
        )
    network, steps = run.train("pn2v", noise_model, options.steps)
    notes = {"seconds": run.seconds, "n2v_steps": getattr(run, "n2v_steps", 0)}
    if options.noise_model == "gmm":
        notes["gmm_iterations"] = run.gmm_iterations
    return Trained(run.predictor(network, noise_model), steps, notes)


def _parser() -> argparse.ArgumentParser:
    parser = protocol_parser(__doc__.splitlines()[0])
    add = parser.add_argument
    add("--method", choices=("n2v", "pn2v"), default="n2v")
    add("--noise-model", choices=("histogram", "gmm"), default="gmm")
    add("--noise-source", default="bootstrap", help="or .npz with signal, observation")
    add("--filters", type=int, default=64)
    add("--depth", type=int, default=3, help="resolution levels")
    add("--samples", type=int, default=800)
    add("--patch", type=int, default=100)
    add("--batch", type=int, default=20, help="patches that a step accumulates")
    add("--learning-rate", type=float, default=1e-3)
    add("--n2v-steps", type=int, help="of the bootstrap; default: twice --steps")
    add("--n2v-share", type=float, default=0.4, help="of --seconds, for the bootstrap")
    add("--bootstrap-frames", type=int, help="frames for pairs; default: all")
    add("--noise-model-share", type=float, default=0.2, help="of --seconds, at most")
    add("--gmm-iterations", type=int, default=2000)
    add("--gaussians", type=int, default=3)
    add("--coefficients", type=int, default=2)
    add("--min-sigma", type=float, default=50.0, help="floor of the variance, ADU²")
    add("--bins", type=int, default=256)
    return parser


if __name__ == "__main__":
    parser = _parser()
    run_driver(
        parser,
        train,
        lambda: {
            "ppn2v": code_version(parser.parse_args().code),
            "torch": torch.__version__,
        },
    )
