"""Recordings and fitted noise models that several tests of docks share."""

from functools import cache

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.events import collect

SCMOS = Camera("scmos", gain=2.2, offset=100, read_noise=3.3)


@cache
def recording(n_repeats=20, seed=3):
    """Repeats of a static scene, (T, Y, X)."""
    return simulate_calibration(
        SCMOS, n_repeats=n_repeats, size=48, peak_electrons=60, seed=seed
    ).observation


@cache
def pairs():
    """Pairs of the recording, as the fit sees them."""
    made = SignalObservationPairs.from_calibration(recording())
    return made.within_percentiles(0.5, 99.5).histogram()


@cache
def fit(kind="gmm", **settings):
    """Events and result of a fit to these pairs."""
    return collect(fit_noise_model(pairs(), NoiseModelConfig(kind=kind, **settings)))


def model(kind="gmm", **settings):
    """A fitted noise model."""
    return fit(kind, **settings)[1].model
