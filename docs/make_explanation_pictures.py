"""Make the pictures that explain prior, likelihood, MMSE, noise models, bootstrap.

    python docs/make_explanation_pictures.py            # all of them, five minutes
    python docs/make_explanation_pictures.py likelihood # those that are named

Everything drawn is computed by the package from simulated recordings whose truth is
known. Each picture is written in light and dark to docs/pictures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.patches import Rectangle

import napari_ppn2v as ppn2v
from napari_ppn2v.core.blindspot import replace_by_mean
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models.curves import density_at, moments_at
from napari_ppn2v.core.posterior import posterior_estimate
from napari_ppn2v.core.prior_network import pixels
from napari_ppn2v.figures.common import (
    STYLES,
    Style,
    legend,
    new_figure,
    plain,
    save_figure,
)
from napari_ppn2v.pipeline.config import PriorConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PICTURES = Path(__file__).parent / "pictures"
CAMERA = Camera(gain=2.2, offset=100.0, read_noise=3.3)
PEAK_ELECTRONS = 60
AROUND = 8  # pixels shown on each side of the one that is explained
STEPS = 1600
N_SAMPLES = 300
BLUR = np.array([0.25, 0.5, 0.25])  # what makes neighbours share their noise


def main() -> None:
    """Make all pictures, or those that are named."""
    for name in sys.argv[1:] or PICTURES_BY_NAME:
        for style, figure in zip(STYLES, PICTURES_BY_NAME[name](), strict=True):
            save_figure(figure, PICTURES / f"{name}_{style}.png")


# -- one pixel: prior, likelihood, posterior -----------------------------------------


@dataclass(frozen=True)
class Pixel:
    """One pixel with all that is known of it; values in ADU."""

    title: str
    around: Floats
    truth: float
    observation: float
    samples: Floats
    weights: Floats
    posterior_weights: Floats
    prior_mean: float
    mmse: float
    posterior_std: float


def one_pixel() -> Iterator[Figure]:
    """Three pixels: what the neighbours say, what the camera says, what follows."""
    recording = simulate_stack(
        CAMERA, n_frames=9, size=192, peak_electrons=PEAK_ELECTRONS
    )
    settings = ppn2v.preset("fast", method="pn2v").with_steps(STEPS)
    settings = replace(settings, prior=PriorConfig(kind="free", n_samples=N_SAMPLES))
    run = ppn2v.train(
        recording.observation, axes="TYX", config=settings, device="cpu", threads=1
    )
    frame = 0  # filaments
    noisy, truth = recording.observation[frame], recording.signal[frame]
    shown = [
        explained(title, place, noisy, truth, run.denoiser)
        for title, place in places(noisy, truth).items()
    ]
    model = run.denoiser.noise_model
    for look in STYLES.values():
        figure = new_figure((11.0, 9.6), look)
        grid = figure.add_gridspec(len(shown), 2, width_ratios=(2, 5))
        for row, pixel in enumerate(shown):
            draw_surroundings(figure.add_subplot(grid[row, 0]), pixel, look)
            axes = figure.add_subplot(grid[row, 1])
            draw_densities(axes, pixel, model, look)
            if row == 0:
                legend(axes, look, "upper right")
            if row == len(shown) - 1:
                axes.set_xlabel("signal (grey values)")
        yield figure


def places(noisy: Floats, truth: Floats) -> dict[str, tuple[int, int]]:
    """Choose a pixel of the background, one at an edge, and a bright one.

    Of each kind the one whose observation lies about one standard deviation of the
    noise above its signal, so that prior and likelihood differ as they mostly do.
    """
    slope = np.hypot(*np.gradient(truth))
    _, variance = CAMERA.moments(truth)
    unlikeness = np.abs((noisy - truth) / np.sqrt(variance) - 1.2)
    inner = np.zeros(truth.shape, bool)
    inner[AROUND:-AROUND, AROUND:-AROUND] = True
    low, high = np.quantile(truth, [0.3, 0.985])
    kinds = {
        "Background": (truth < low) & (slope < np.quantile(slope, 0.2)),
        "Edge": slope > np.quantile(slope, 0.985),
        "Bright": truth > high,
    }
    return {
        title: tuple(
            int(i)
            for i in np.unravel_index(
                np.where(inner & chosen, unlikeness, np.inf).argmin(), truth.shape
            )
        )
        for title, chosen in kinds.items()
    }


def explained(
    title: str, place: tuple[int, int], noisy: Floats, truth: Floats, denoiser: Any
) -> Pixel:
    """Ask the network for the prior of one pixel, with that pixel hidden."""
    network, (y, x) = denoiser.model, place
    hidden = np.zeros((1, *noisy.shape), bool)
    hidden[0, y, x] = True
    blind = replace_by_mean(noisy[None].astype(np.float32), hidden)
    scale = network.normalisation
    inputs = torch.from_numpy((blind - scale.mean) / scale.std)[:, None]
    where = torch.tensor([y * noisy.shape[1] + x])
    observation = torch.tensor([float(noisy[y, x])])
    with torch.inference_mode():
        samples, log_weights = network.samples(pixels(network.features(inputs), where))
        estimate = posterior_estimate(
            samples, log_weights, observation, denoiser.noise_model
        )
        log_likelihood = denoiser.noise_model.log_likelihood(
            observation[:, None], samples
        )
    posterior = torch.softmax(log_likelihood + log_weights, 1)
    weights = log_weights.exp().expand_as(samples)
    rows, columns = (slice(i - AROUND, i + AROUND + 1) for i in place)
    return Pixel(
        title,
        noisy[rows, columns].astype(float),
        float(truth[y, x]),
        float(noisy[y, x]),
        samples[0].double().numpy(),
        weights[0].double().numpy(),
        posterior[0].double().numpy(),
        float(estimate.prior_mean[0]),
        float(estimate.mmse[0]),
        float(estimate.posterior_std[0]),
    )


def draw_surroundings(axes: Axes, pixel: Pixel, look: Style) -> None:
    """Show the pixel among its neighbours, as recorded."""
    plain(axes, look)
    axes.imshow(pixel.around, cmap="gray", interpolation="nearest")
    corner = AROUND - 0.5
    frame = Rectangle((corner, corner), 1, 1, fill=False, lw=2, edgecolor=look.model)
    axes.add_patch(frame)
    axes.set_title(pixel.title)
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_densities(axes: Axes, pixel: Pixel, model: Any, look: Style) -> None:
    """Draw samples of the prior, the likelihood, the posterior, and the estimates."""
    spread = float(np.sqrt(moments_at(model, np.array([pixel.truth]))[1][0] ** 2))
    least, most = np.quantile(pixel.samples, [0.05, 0.95])  # some stray far off
    low = min(least, pixel.observation - 2 * spread) - spread / 2
    high = max(most, pixel.observation + 2 * spread) + spread / 2
    edges = np.linspace(low, high, 64)
    signals = np.linspace(low, high, 400)
    prior, posterior = (
        np.histogram(pixel.samples, edges, weights=weights, density=True)[0]
        for weights in (pixel.weights, pixel.posterior_weights)
    )
    likelihood = density_at(model, np.array([pixel.observation]), signals)
    area = float(likelihood.sum() * (signals[1] - signals[0]))
    axes.stairs(
        prior,
        edges,
        color=look.measured,
        fill=True,
        alpha=0.35,
        label=f"prior: {len(pixel.samples)} samples of the network",
    )
    axes.plot(signals, likelihood / area, color=look.accent, lw=1.8, label="likelihood")
    axes.stairs(posterior, edges, color=look.model, lw=1.8, label="posterior")
    top = 1.08 * max(prior.max(), posterior.max(), (likelihood / area).max())
    marks = (
        (pixel.prior_mean, look.measured, "--", "prior mean", 3),
        (pixel.observation, look.accent, "--", "observation", 3),
        (pixel.mmse, look.model, "-", "MMSE", 4),
        (pixel.truth, look.ink, ":", "truth", 5),
    )
    for value, colour, dashes, label, order in marks:
        axes.axvline(value, color=colour, ls=dashes, lw=1.6, label=label, zorder=order)
    plain(axes, look)
    axes.set(xlim=(low, high), ylim=(0, top), yticks=[], ylabel="density")
    axes.set_title(
        f"prior mean {pixel.prior_mean:.0f}, observation {pixel.observation:.0f}, "
        f"MMSE {pixel.mmse:.0f} ± {pixel.posterior_std:.0f}, truth {pixel.truth:.0f}"
    )


# -- the noise model, read in two directions ------------------------------------------


def likelihood() -> Iterator[Figure]:
    """One noise model: a distribution of observations, and a likelihood of signals."""
    calibration = simulate_calibration(
        CAMERA, n_repeats=60, size=128, peak_electrons=PEAK_ELECTRONS
    )
    model = ppn2v.fit_noise_model(calibration=calibration.observation).model
    signals = np.linspace(*model.signal_range, 300)
    low, high = CAMERA.offset - 15, float(signals[-1]) + 60
    observations = np.linspace(low, high, 300)
    density = density_at(model, observations[:, None], signals[None, :])
    signal, observation = 150.0, 180.0
    for look in STYLES.values():
        figure = new_figure((11.0, 4.2), look)
        whole, across, along = figure.subplots(1, 3)
        whole.pcolormesh(
            signals, observations, density**0.5, cmap=look.counts, rasterized=True
        )
        whole.axvline(signal, color=look.model, lw=2)
        whole.axhline(observation, color=look.accent, lw=2)
        whole.set_title("Noise model p(x | s)")
        whole.set(xlabel="signal s (grey values)", ylabel="observation x (grey values)")
        given_signal = density_at(model, observations, np.array([signal]))
        across.fill_between(observations, given_signal, color=look.model, alpha=0.3)
        across.plot(observations, given_signal, color=look.model, lw=1.8)
        across.set_title(f"Downwards: what is observed\nof the signal {signal:.0f}")
        across.set(xlabel="observation x (grey values)", ylabel="density", yticks=[])
        given_value = density_at(model, np.array([observation]), signals)
        along.fill_between(signals, given_value, color=look.accent, alpha=0.3)
        along.plot(signals, given_value, color=look.accent, lw=1.8)
        along.set_title(
            f"Across: the likelihood of each\nsignal, having observed {observation:.0f}"
        )
        along.set(xlabel="signal s (grey values)", ylabel="likelihood", yticks=[])
        for axes in (whole, across, along):
            plain(axes, look)
        yield figure


# -- histogram or GMM -----------------------------------------------------------------


def histogram_or_gmm() -> Iterator[Figure]:
    """Three kinds of noise model from few pairs and from many, at one signal."""
    camera = Camera(kind="emccd", gain=20.0, offset=300.0, read_noise=15.0)
    kinds = {
        "histogram, as published": NoiseModelConfig(
            kind="histogram", n_bins=256, is_plain_histogram=True
        ),
        "mixture of 3 Gaussians": NoiseModelConfig(kind="gmm"),
        "camera (Poisson-gamma)": NoiseModelConfig(kind="poisson-gamma"),
    }
    signal, fits = 520.0, []
    observations = np.arange(200.0, 1300.0)
    for n_repeats, size in ((4, 48), (100, 128)):
        calibration = simulate_calibration(
            camera, n_repeats=n_repeats, size=size, peak_electrons=25
        )
        models = {
            name: ppn2v.fit_noise_model(
                calibration=calibration.observation, config=config
            ).model
            for name, config in kinds.items()
        }
        fits.append((n_repeats * size * size, models))
    exact = camera.pmf(observations, np.array([signal]))
    for look in STYLES.values():
        figure = new_figure((11.0, 6.4), look)
        grid = figure.subplots(2, 3, sharex=True, sharey=True)
        for row, (n_pairs, models) in enumerate(fits):
            for axes, (name, model) in zip(grid[row], models.items(), strict=True):
                density = density_at(model, observations, np.array([signal]))
                axes.fill_between(
                    observations, exact, color=look.measured, alpha=0.3, label="truth"
                )
                axes.plot(
                    observations, density, color=look.model, lw=1.3, label="model"
                )
                axes.set(xlim=(200, 1300), ylim=(0, 1.9 * exact.max()), yticks=[])
                plain(axes, look)
                axes.set_title(
                    f"{name}\n{n_pairs:,} pairs" if row == 0 else f"{n_pairs:,} pairs"
                )
                if row:
                    axes.set_xlabel("observation (grey values)")
        legend(grid[0, 0], look, "upper right")
        yield figure


# -- what the bootstrap finds ----------------------------------------------------------


def bootstrap() -> Iterator[Figure]:
    """Variance of the noise model: true, and bootstrapped from good and bad data."""
    recording = simulate_stack(
        CAMERA, n_frames=9, size=192, peak_electrons=PEAK_ELECTRONS
    )
    blurred = np.apply_along_axis(
        np.convolve, 2, recording.observation.astype(float), BLUR, "same"
    )
    titles = {
        "Raw data: the noise model is right": recording.observation,
        "Neighbours share their noise: it is too narrow": blurred.astype(np.float32),
    }
    found = [
        ppn2v.train(
            stack, axes="TYX", preset="fast", steps=800, device="cpu", threads=1
        ).denoiser.noise_model
        for stack in titles.values()
    ]
    signals = np.linspace(CAMERA.offset + 8, CAMERA.offset + 2.2 * PEAK_ELECTRONS, 200)
    _, exact = CAMERA.moments(signals)
    # noise alone: the scene is subtracted before it is blurred
    left = float((BLUR**2).sum())
    for look in STYLES.values():
        figure = new_figure((11.0, 4.2), look)
        truths = (exact, left * exact)
        for axes, title, model, truth in zip(
            figure.subplots(1, 2, sharey=True), titles, found, truths, strict=True
        ):
            sd = moments_at(model, signals)[1]
            axes.plot(
                signals, truth, color=look.measured, lw=5, alpha=0.45, label="truth"
            )
            axes.plot(signals, sd**2, color=look.model, lw=1.8, label="bootstrapped")
            axes.set(xlabel="signal (grey values)", ylim=(0, 1.25 * exact.max()))
            axes.set_title(title)
            plain(axes, look)
            legend(axes, look, "upper left")
        figure.axes[0].set_ylabel("variance of the noise (grey values²)")
        yield figure


PICTURES_BY_NAME: dict[str, Callable[[], Iterator[Figure]]] = {
    "one_pixel": one_pixel,
    "likelihood": likelihood,
    "histogram_or_gmm": histogram_or_gmm,
    "bootstrap": bootstrap,
}

if __name__ == "__main__":
    main()
