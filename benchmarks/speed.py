"""Ratios of speed: noise-model fit, PN2V step and inference against the published ones.

Run one of:

    python benchmarks/speed.py gmm-fit FOLDER
    python benchmarks/speed.py pn2v-step
    python benchmarks/speed.py inference --threads 2

Both sides of a ratio run in the same process, in turn. What is reported is measured,
never asserted.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from common import (
    BENCHMARKS,
    Benchmark,
    Seconds,
    add_shared_options,
    load_benchmark,
    report,
    seconds_of,
)
from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.devices import describe_device
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness, estimate_image
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.noise_models import (
    GaussianMixtureModel,
    NoiseModel,
    NoiseModelConfig,
    TabulatedLikelihood,
    fit_noise_model,
    held_out_nll,
)
from napari_ppn2v.core.objectives import negative_log_likelihood
from napari_ppn2v.core.pairs import PairCells, SignalObservationPairs
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork, pixels
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.journeys import new_model, training_batches
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.pipeline.training import Trainer
from published import (
    LIKELIHOOD_FLOOR,
    PublishedGmm,
    fit_gmm_published,
    make_trainer,
    photon_transfer_gmm,
    pn2v_loss_loop,
    predict_tile,
    synthetic_frames,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

PUBLISHED_FIT_STEPS = 2000
PUBLISHED_PATCHES = 20
HELD_OUT_FRAMES = 5
CPU = torch.device("cpu")

Row = dict[str, Any]


# --- Fit of the mixture ----------------------------------------------------------


def compare_gmm_fits(
    benchmark: Benchmark, n_steps: int, *, batch_size: int = 250_000, repeats: int = 3
) -> list[Row]:
    """Fit (truth, observation) pairs of all but the last five frames in both ways.

    The likelihood of both is computed by one function on every pair of the last five
    frames, and on those of them whose signal lies in the central 99 %. Ours is timed
    before and after the published fit, pairs and histogram included.
    """
    fitted, kept = slice(0, -HELD_OUT_FRAMES), slice(-HELD_OUT_FRAMES, None)
    signal, observation = benchmark.truth[fitted], benchmark.noisy[fitted]
    config = NoiseModelConfig(kind="gmm", n_components=3, n_coefficients=2)
    models: dict[str, NoiseModel] = {}

    def ours() -> None:
        pairs = SignalObservationPairs.from_pseudo_ground_truth(signal, observation)
        models["ours"] = drain(fit_noise_model(pairs, config)).model

    def published() -> None:
        model = fit_gmm_published(
            signal, observation, n_iterations=n_steps, batch_size=batch_size
        )
        models["published"] = as_our_model(model)

    before = [seconds_of(ours) for _ in range(repeats)]
    slow = _scaled(seconds_of(published), PUBLISHED_FIT_STEPS / n_steps)
    fast = _median(before + [seconds_of(ours) for _ in range(repeats)])
    cells = [
        _pairs_as_cells(benchmark, kept, 0.0),
        _pairs_as_cells(benchmark, kept, 0.5),
    ]
    is_whole = n_steps == PUBLISHED_FIT_STEPS
    how = "" if is_whole else f" ({n_steps} steps, time scaled to 2000)"
    rows = []
    for name, taken in (("published" + how, slow), ("ours", fast)):
        model = models[name.split()[0]]
        nll = [f"{held_out_nll(model, c):.5f}" for c in cells]
        rows.append(
            {
                "fit": name,
                "wall s": taken.wall,
                "CPU s": taken.cpu,
                "NLL, all pairs held out": nll[0],
                "NLL, central 99 %": nll[1],
                "times faster (CPU)": slow.cpu / taken.cpu,
            }
        )
    return rows


def as_our_model(model: PublishedGmm) -> GaussianMixtureModel:
    """Return the same density, computed in the log domain by our class."""
    return GaussianMixtureModel(
        model.weight.detach(),
        min_signal=model.min_signal,
        max_signal=model.max_signal,
        variance_floor=model.variance_floor,
        likelihood_floor=LIKELIHOOD_FLOOR,
        is_clamped=False,
    )


def _pairs_as_cells(benchmark: Benchmark, frames: slice, trim: float) -> PairCells:
    """Every pair as a cell of its own, so that no binning touches the comparison."""
    signal = benchmark.truth[frames].ravel().astype(float)
    observation = benchmark.noisy[frames].ravel().astype(float)
    low, high = np.percentile(signal, [trim, 100 - trim])
    inside = (signal >= low) & (signal <= high)
    return PairCells(signal[inside], observation[inside], np.ones(inside.sum()))


# --- PN2V step -------------------------------------------------------------------


def compare_pn2v_steps(
    *,
    n_filters: int = 64,
    n_samples: int = 800,
    patch: int = 100,
    published_patches: int = PUBLISHED_PATCHES,
    repeats: int = 3,
    loop_pixels: int = 200,
) -> list[Row]:
    """Time optimizer steps of both, in turn, and check our loss by explicit loops.

    Parameters
    ----------
    published_patches
        Patches of the published step that are really done; the time is scaled to 20.
    loop_pixels
        Masked pixels whose loss is also computed by float64 loops over all samples.
    """
    frames = synthetic_frames(6, 512)
    noise = photon_transfer_gmm(
        float(frames.min()), float(frames.max()), intercept=-210.0, slope=2.2
    )
    published = make_trainer(
        frames, noise, n_samples=n_samples, n_filters=n_filters, patch_size=patch
    )
    ours = _our_trainer(frames, noise, n_filters, n_samples, patch)
    published.n_patches = 1  # the first patch pays for gigabytes of fresh memory
    published.step()
    ours.step()
    published.n_patches = published_patches
    runs = [(seconds_of(published.step), seconds_of(ours.step)) for _ in range(repeats)]
    scale = PUBLISHED_PATCHES / published_patches
    slow = _scaled(_median([run[0] for run in runs]), scale)
    fast = _median([run[1] for run in runs])
    ratios = [scale * first.cpu / second.cpu for first, second in runs]
    how = "" if scale == 1 else f" ({published_patches} patches, time scaled to 20)"
    difference = relative_loss_difference(ours, noise, loop_pixels)
    return [
        {
            "step": f"{name}, {n_filters} filters, {n_samples} samples",
            "wall s": taken.wall,
            "CPU s": taken.cpu,
            "times faster (CPU)": slow.cpu / taken.cpu,
            "range": span,
            "loss against float64 loop": checked,
        }
        for name, taken, span, checked in (
            (f"published{how}", slow, "", ""),
            (
                "ours",
                fast,
                f"{min(ratios):.1f} to {max(ratios):.1f}",
                f"{difference:.1e}",
            ),
        )
    ]


def _our_trainer(
    frames: NDArray[np.float32],
    noise: PublishedGmm,
    n_filters: int,
    n_samples: int,
    patch: int,
) -> Trainer:
    """Return the training of the preset `paper-ppn2v`, with the given sizes."""
    config = preset("paper-ppn2v")
    config = replace(
        config,
        network=replace(config.network, n_filters=n_filters),
        prior=replace(config.prior, n_samples=n_samples),
        training=replace(config.training, patch_size=patch),
    )
    stack = collect_training_stack(
        [as_frames(frames, "TYX")],
        patch_size=patch,
        held_out_share=config.training.held_out_share,
        rng=np.random.default_rng(0),
    )
    model = new_model(stack, config, CPU, config.prior.kind, n_samples, 0)
    return Trainer(
        model,
        training_batches(stack, config, config.training),
        negative_log_likelihood(as_our_model(noise)),
        config.training,
        seed=0,
    )


def relative_loss_difference(
    trainer: Trainer, noise: PublishedGmm, n_pixels: int
) -> float:
    """Our loss against float64 loops on the same samples and observations."""
    batch = trainer.source.draw(np.random.default_rng(1))
    model, normal = trainer.model, trainer.model.normalisation
    with torch.no_grad():
        inputs = torch.from_numpy((batch.inputs - normal.mean) / normal.std)
        features = pixels(
            model.features(inputs.float()[:, None]), torch.from_numpy(batch.where)
        )
        samples, log_weights = model.samples(features[:n_pixels])
        seen = torch.from_numpy(batch.targets[:n_pixels])
        loss = trainer.objective(samples, log_weights, seen).mean()
    exact = pn2v_loss_loop(samples.numpy(), seen.numpy(), noise.to_npz())
    return abs(float(loss) / exact - 1)


# --- Inference -------------------------------------------------------------------


def time_inference(
    *, size: int = 1024, wide_size: int = 512, published_size: int = 128
) -> list[Row]:
    """Seconds per megapixel of untrained networks, whose time is that of trained ones.

    Parameters
    ----------
    size, wide_size, published_size
        Sides (pixels) of the images for the default network, the one of 64 filters
        and 800 samples, and the published prediction.
    """
    models = timing_noise_models()
    rows = _default_inference(models, size)
    rows += _wide_inference(models["gmm"], wide_size)
    return [*rows, _published_inference(published_size)]


def timing_noise_models() -> dict[str, NoiseModel]:
    """One fitted model of each kind for images of `synthetic_frames`."""
    calibration = simulate_calibration(
        Camera("scmos", 2.2, 100, 3.3), n_repeats=20, size=128, peak_electrons=140
    )
    pairs = SignalObservationPairs.from_calibration(calibration.observation)
    histogram = pairs.histogram()
    return {
        kind: drain(fit_noise_model(histogram, NoiseModelConfig(kind=kind))).model
        for kind in ("gmm", "histogram", "poisson-gaussian", "poisson-gamma")
    }


def _default_inference(models: dict[str, NoiseModel], size: int) -> list[Row]:
    image = synthetic_frames(1, size)[0]
    network = untrained_network(UNetConfig(), "gaussian", 8)
    rows = []
    for kind, noise in models.items():
        one_pass = _denoiser(network, noise)
        blind = replace(one_pass, is_blind=True)
        ways = (("MMSE in one pass", one_pass, 3), ("blind MMSE", blind, 1))
        for way, denoiser, repeats in ways:
            taken = _best_of(lambda d=denoiser: d.estimate_image(image), repeats)
            rows.append(_inference_row("default", way, kind, taken, image.size))
    refined = replace(_denoiser(network, None), refined=network, estimate="refined")
    taken = _best_of(lambda: refined.estimate_image(image), 3)
    return [*rows, _inference_row("default", "refined", "none", taken, image.size)]


def _wide_inference(gmm: NoiseModel, size: int) -> list[Row]:
    """Time 800 samples: as the program does it, and with all likelihoods computed."""
    image = synthetic_frames(1, size)[0]
    config = UNetConfig(n_filters=64)
    network, alone = (
        untrained_network(config, "free", 800),
        untrained_network(config, "free", 1),
    )
    table = TabulatedLikelihood.from_model(gmm)
    ways: list[tuple[str, str, Callable[[], object]]] = [
        (
            "MMSE, likelihoods looked up (as the program does)",
            "gmm",
            lambda: _denoiser(network, gmm).estimate_image(image),
        ),
        (
            "MMSE, every likelihood computed",
            "gmm",
            lambda: estimate_image(network, gmm, image, None),
        ),
        (
            "MMSE, every likelihood computed",
            "gmm as a table",
            lambda: estimate_image(network, table, image, None),
        ),
        (
            "network alone, 1 sample",
            "none",
            lambda: estimate_image(alone, None, image, None),
        ),
    ]
    name = "64 filters, 800 samples"
    return [
        _inference_row(name, way, kind, _best_of(procedure, 2), image.size)
        for way, kind, procedure in ways
    ]


def _denoiser(network: PriorNetwork, noise: NoiseModel | None) -> Denoiser:
    return Denoiser(network, noise, Blindness(4, "mean"), "mmse", is_blind=False)


def _published_inference(size: int) -> Row:
    frames = synthetic_frames(1, size)
    noise = photon_transfer_gmm(float(frames.min()), float(frames.max()), -210.0, 2.2)
    trainer = make_trainer(frames, noise, patch_size=size)
    taken = _best_of(lambda: predict_tile(frames[0], trainer), 2)
    way = f"MMSE, tile of {size}²"
    return _inference_row("published", way, "gmm", taken, size * size)


def untrained_network(config: UNetConfig, prior: str, n_samples: int) -> PriorNetwork:
    """Build a network whose passes take the time of a trained one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = PriorNetwork(config, prior, n_samples, Normalisation(260.0, 90.0))
    return model.eval()


def _inference_row(
    network: str, way: str, noise: str, taken: Seconds, n_pixels: int
) -> Row:
    megapixels = n_pixels / 1e6
    return {
        "network": network,
        "estimate": way,
        "noise model": noise,
        "wall s per megapixel": taken.wall / megapixels,
        "CPU s per megapixel": taken.cpu / megapixels,
    }


# --- Clocks and command line -----------------------------------------------------


def _best_of(procedure: Callable[[], object], repeats: int) -> Seconds:
    """Shortest of several runs by CPU seconds, the first of which warms up."""
    if repeats > 1:
        procedure()
    return min((seconds_of(procedure) for _ in range(repeats)), key=lambda s: s.cpu)


def _median(runs: Sequence[Seconds]) -> Seconds:
    return Seconds(
        statistics.median(run.wall for run in runs),
        statistics.median(run.cpu for run in runs),
    )


def _scaled(taken: Seconds, factor: float) -> Seconds:
    return Seconds(taken.wall * factor, taken.cpu * factor)


def _run_gmm_fit(options: argparse.Namespace) -> None:
    benchmark = load_benchmark(options.data, options.data_set)
    rows = compare_gmm_fits(benchmark, options.published_steps)
    title = f"Fit of a mixture (3 Gaussians, 2 coefficients) on {benchmark.name}"
    report(title, "gmm-fit", rows, options.out)


def _run_pn2v_step(options: argparse.Namespace) -> None:
    rows = compare_pn2v_steps(
        published_patches=options.published_patches,
        repeats=options.repeats,
        loop_pixels=options.loop_pixels,
    )
    title = "PN2V optimizer step of 20 patches of 100²"
    report(title, "pn2v-step", rows, options.out)


def _run_inference(options: argparse.Namespace) -> None:
    rows = time_inference(
        size=options.size,
        wide_size=options.wide_size,
        published_size=options.published_size,
    )
    title = f"Inference on {describe_device(CPU)}"
    report(title, "inference", rows, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    commands = parser.add_subparsers(required=True)
    fit = commands.add_parser("gmm-fit", help="fit of a Gaussian mixture")
    fit.set_defaults(run=_run_gmm_fit)
    fit.add_argument("data", help="folder of the data sets")
    fit.add_argument("--data-set", choices=BENCHMARKS, default="w2s")
    fit.add_argument(
        "--published-steps",
        type=int,
        default=PUBLISHED_FIT_STEPS,
        help="fewer scale the time; compare the NLL of the full 2000 only",
    )
    step = commands.add_parser("pn2v-step", help="optimizer step")
    step.set_defaults(run=_run_pn2v_step)
    step.add_argument(
        "--published-patches",
        type=int,
        default=PUBLISHED_PATCHES,
        help="fewer of the 20 scale the time",
    )
    step.add_argument("--repeats", type=int, default=3)
    step.add_argument("--loop-pixels", type=int, default=200)
    inference = commands.add_parser("inference", help="seconds per megapixel")
    inference.set_defaults(run=_run_inference)
    inference.add_argument("--size", type=int, default=1024)
    inference.add_argument("--wide-size", type=int, default=512)
    inference.add_argument("--published-size", type=int, default=128)
    for command in (fit, step, inference):
        add_shared_options(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one of the sub-commands."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
