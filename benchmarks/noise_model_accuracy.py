"""How close fitted noise models come to cameras whose p(x|s) is known exactly.

Run `python benchmarks/noise_model_accuracy.py`. For each camera and model it prints,
over the central 99 % of the signals, median and largest error of the standard deviation
and mean and largest Kullback-Leibler divergence from the exact p(x|s), in nats.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models import (
    NoiseModel,
    NoiseModelConfig,
    fit_noise_model,
)
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.events import drain

CAMERAS = {
    "sCMOS, up to 400 e-": (Camera("scmos", 2.2, 100, 3.3), 400.0),
    "sCMOS, up to 30 e-": (Camera("scmos", 2.2, 100, 3.3), 30.0),
    "EMCCD, up to 60 e-": (Camera("emccd", 6.5, 100, 2.0), 60.0),
    "EMCCD, up to 15 e-": (Camera("emccd", 6.5, 100, 2.0), 15.0),
    "sCMOS, 8 bit, clipped": (Camera("scmos", 1.5, 8, 2.0, bit_depth=8), 168.0),
}
CONFIGS = {
    "camera": NoiseModelConfig(kind="camera"),
    "gmm 3 x 2": NoiseModelConfig(kind="gmm"),
    "gmm 3 x 3": NoiseModelConfig(kind="gmm", n_coefficients=3),
    "gmm 5 x 3": NoiseModelConfig(kind="gmm", n_components=5, n_coefficients=3),
    "gmm 8 x 4": NoiseModelConfig(kind="gmm", n_components=8, n_coefficients=4),
    "histogram": NoiseModelConfig(kind="histogram"),
    "histogram, 256 plain": NoiseModelConfig(
        kind="histogram", n_bins=256, is_plain_histogram=True
    ),
    "auto": NoiseModelConfig(kind="auto"),
}


def compare(
    camera: Camera, model: NoiseModel, signals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Relative errors of the standard deviation, and divergences, per signal."""
    errors, divergences = [], []
    for signal in signals:
        sd = float(camera.moments(signal)[1]) ** 0.5
        low, high = camera.limits
        first = max(int(signal - 9 * sd - 5), int(low or 0))
        last = min(int(signal + 14 * sd + 60), int(high or 0))
        x = np.arange(first, last + 1)
        exact = camera.pmf(x, signal)
        with torch.no_grad():
            log_q = model.log_likelihood(
                torch.tensor(x, dtype=torch.float32),
                torch.tensor([signal], dtype=torch.float32),
            )
        q = log_q.double().exp().numpy()
        q_normal = q / q.sum()
        exact_sd = np.sqrt(exact @ x**2 - (exact @ x) ** 2)
        errors.append(np.sqrt(q_normal @ x**2 - (q_normal @ x) ** 2) / exact_sd - 1)
        kept = exact > 0
        log_ratio = np.log(exact[kept]) - log_q.double().numpy()[kept]
        # Generalised divergence: charges a model that does not sum to one.
        divergences.append(exact[kept] @ log_ratio - exact.sum() + q.sum())
    return np.array(errors), np.array(divergences)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--signals", type=int, default=60)
    parser.add_argument("--only", help="run configurations whose name contains this")
    options = parser.parse_args()
    print(
        "| camera | model | sd error, median | max | KL mean | max | CPU-s of fit |\n"
        "|---|---|---|---|---|---|---|"
    )
    for camera_name, (camera, peak) in CAMERAS.items():
        calibration = simulate_calibration(
            camera,
            n_repeats=options.repeats,
            size=options.size,
            peak_electrons=peak,
            seed=7,
        )
        pairs = SignalObservationPairs.from_calibration(calibration.observation)
        histogram = pairs.within_percentiles(0.5, 99.5).histogram()
        signals = np.quantile(
            calibration.signal, np.linspace(0.005, 0.995, options.signals)
        )
        # Averages of clipped repeats are no signals; no method can learn from them.
        mean, variance = camera.moments(signals)
        signals = signals[mean + 2 * variance**0.5 < (camera.limits[1] or np.inf)]
        for name, config in CONFIGS.items():
            if options.only and options.only not in name:
                continue
            start = time.process_time()
            fit = drain(fit_noise_model(histogram, config))
            seconds = time.process_time() - start
            errors, divergences = compare(camera, fit.model, signals)
            print(
                f"| {camera_name} | {name}: {fit.name} | "
                f"{100 * np.median(np.abs(errors)):.2f} % | "
                f"{100 * np.abs(errors).max():.1f} % | {divergences.mean():.4f} | "
                f"{divergences.max():.4f} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
