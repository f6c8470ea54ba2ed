"""Cameras, pairs and fitted models that several tests share."""

import inspect
from functools import cache, wraps

import numpy as np

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.noise_models.tabulated import TabulatedLikelihood
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.events import collect

SCMOS = Camera("scmos", gain=2.2, offset=100, read_noise=3.3)
EMCCD = Camera("emccd", gain=6.5, offset=100, read_noise=2.0)
BRIGHT_8_BIT = Camera("scmos", gain=1.5, offset=8, read_noise=2.0, bit_depth=8)


def remembered(function):
    """Call once for the same arguments, whether they are given or left out."""
    signature, cached = inspect.signature(function), cache(function)

    @wraps(function)
    def call(*given, **named):
        arguments = signature.bind(*given, **named)
        arguments.apply_defaults()
        return cached(*arguments.args, **arguments.kwargs)

    return call


@remembered
def histogram_of(camera, peak_electrons=60.0, n_repeats=40, size=96):
    """Pairs with the true signal."""
    calibration = simulate_calibration(
        camera, n_repeats=n_repeats, size=size, peak_electrons=peak_electrons, seed=1
    )
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        calibration.signal[None], calibration.observation
    )
    return pairs.within_percentiles(0.5, 99.5).histogram()


@remembered
def whole_fit(kind="auto", camera=SCMOS, peak_electrons=60.0, **config):
    """Events and result of one fit to the simulated pairs of a camera; to read only."""
    pairs = histogram_of(camera, peak_electrons)
    return collect(fit_noise_model(pairs, NoiseModelConfig(kind=kind, **config)))


@remembered
def fitted(kind, camera=SCMOS, peak_electrons=60.0, **config):
    """Fit one kind of model to the simulated pairs of a camera."""
    if kind == "tabulated":
        model = fitted("gmm", camera, peak_electrons)
        return TabulatedLikelihood.from_model(model, step=0.05)
    return whole_fit(kind, camera, peak_electrons, **config)[1].model


def grey_values(model, signal):
    """Return all grey values that matter at one signal, cut at the limits."""
    low, high = model.limits
    first = 0 if low is None else int(low)
    last = int(signal + 900) if high is None else int(high)
    return np.arange(min(first, int(signal) - 200) if low is None else first, last + 1)
