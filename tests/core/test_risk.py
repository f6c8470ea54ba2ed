"""The estimated risk equals the true error, without knowing the truth."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.risk import estimated_risk


def shrunk(observation):
    """Pull observations towards 100: uses the pixel itself, and is biased."""
    return 100 + 0.3 * (observation - 100)


def smoothed(observation):
    return gaussian_filter(observation, 1.2)


def observed(observation):
    return observation


@pytest.mark.parametrize("estimator", [shrunk, smoothed, observed])
def test_the_risk_of_any_estimator_equals_its_true_mean_squared_error(estimator):
    rng = np.random.default_rng(0)
    signal = 100 + 8 * gaussian_filter(rng.normal(size=(700, 700)), 4) * 20
    gain, read = 2.0, 4.0
    electrons = (signal - 20) / gain

    def observe():
        noise = rng.normal(0, read, signal.shape)
        return 20 + gain * rng.poisson(electrons) + noise

    observation, simulated = observe(), observe()
    variance = gain**2 * electrons + read**2
    risk = estimated_risk(
        estimator(observation),
        observation,
        estimator(simulated),
        simulated,
        signal,
        variance,
    )
    truth = np.mean((estimator(observation) - signal) ** 2)
    assert abs(risk.mean_squared_error - truth) < 4 * risk.standard_error
    assert risk.standard_error < 0.02 * variance.mean()


def test_a_first_estimate_in_place_of_the_signal_ranks_estimators_rightly():
    rng = np.random.default_rng(1)
    signal = 100 + 30 * gaussian_filter(rng.normal(size=(500, 500)), 3) * 10
    observation = signal + rng.normal(0, 12, signal.shape)
    first = gaussian_filter(observation, 1.5)
    simulated = first + rng.normal(0, 12, signal.shape)
    variance = np.full(signal.shape, 144.0)
    widths = (0.5, 1.0, 1.5, 3.0, 6.0)
    risks = [
        estimated_risk(
            gaussian_filter(observation, w),
            observation,
            gaussian_filter(simulated, w),
            simulated,
            first,
            variance,
        ).mean_squared_error
        for w in widths
    ]
    truths = [np.mean((gaussian_filter(observation, w) - signal) ** 2) for w in widths]
    assert np.argmin(risks) == np.argmin(truths)
