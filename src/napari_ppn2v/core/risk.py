"""Mean squared error of estimates, judged from the noisy data and the noise model.

For any estimate f(x) of the signal s from observations x with E[x|s] = s

    E (f - s)²  =  E (f - x)²  +  2 E cov(x, f(x))  -  E var(x|s)

pixel by pixel. The first term is measured on the real data; the others come from the
noise model: the variance directly, the covariance from a second, simulated set of
observations x' drawn around a first estimate of the signal. For Gaussian noise this
is Stein's unbiased risk estimate with a Monte-Carlo divergence (Ramani, Blu & Unser
2008); drawing x' from p(x|s) carries it to any noise model.

The variance is common to all estimates: their ranking does not depend on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Risk:
    """Estimated mean squared error of one estimate, in ADU².

    `standard_error` is that of the mean over the pixels looked at.
    """

    mean_squared_error: float
    standard_error: float


def estimated_risk(
    estimate: NDArray[np.float32],
    observation: NDArray[np.float32],
    simulated_estimate: NDArray[np.float32],
    simulated_observation: NDArray[np.float32],
    signal: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> Risk:
    """Estimate the mean squared error of `estimate` without ground truth.

    Parameters
    ----------
    estimate, observation : f(x) and x, the same shape, ADU
    simulated_estimate, simulated_observation : f(x') and x', ADU
    signal : around which x' was drawn, ADU
    variance : of x given `signal`, ADU²
    """
    misfit = np.square(estimate.astype(np.float64) - observation)
    covariance = (simulated_observation.astype(np.float64) - signal) * (
        simulated_estimate - signal
    )
    risk = misfit + 2 * covariance - variance
    return Risk(float(risk.mean()), float(risk.std() / np.sqrt(risk.size)))
