import math

import numpy as np
import pytest
import torch
from simulated import EMCCD, SCMOS, histogram_of

from napari_ppn2v.core.noise_models import GaussianMixtureModel, held_out_nll
from napari_ppn2v.core.noise_models.gmm_fit import GaussianMixtureSettings, fit_gmm
from napari_ppn2v.core.noise_models.shared import log_normal_tail
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import FitProgress, collect

WEIGHTS = np.array(
    [[-3.0, 4.0], [5.0, -1.0], [3.5, 5.0], [4.2, 5.5], [0.3, -0.2], [-0.1, 0.4]]
)


def model_of(weights=WEIGHTS, **options):
    arguments = {"min_signal": 100.0, "max_signal": 900.0, "variance_floor": 20.0}
    return GaussianMixtureModel(weights, **{**arguments, **options})


def loop_log_likelihood(x, s, floor=20.0):
    """Equations 1 and 2 written out, in Python floats."""
    z = (s - 100) / 800
    rows = [sum(c * z**i for i, c in enumerate(row)) for row in WEIGHTS[[0, 1, 4, 5]]]
    variances = [
        max(sum(math.exp(c) * z**i for i, c in enumerate(row)), floor)
        for row in WEIGHTS[2:4]
    ]
    alpha = np.exp(rows[2:]) / np.exp(rows[2:]).sum()
    means = [s + g - alpha @ rows[:2] for g in rows[:2]]
    p = sum(
        a * math.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
        for a, m, v in zip(alpha, means, variances, strict=True)
    )
    return math.log(p)


def test_likelihood_equals_the_published_equations():
    model = model_of()
    for s in (100.0, 333.0, 900.0):
        for x in (s - 40, s, s + 70):
            found = model.log_likelihood(torch.tensor(x), torch.tensor(s))
            assert float(found) == pytest.approx(loop_log_likelihood(x, s), abs=1e-4)


def test_gmm_mean_equals_signal():
    mean, _ = model_of().moments(torch.tensor([50.0, 120.0, 2000.0]))
    assert mean.tolist() == [50.0, 120.0, 2000.0]
    log_weights, means, _ = model_of().components(torch.tensor([400.0]))
    assert float((log_weights.exp() * means).sum()) == pytest.approx(400.0, abs=1e-3)


def test_polynomials_go_on_outside_only_where_files_define_them_so():
    s = torch.tensor([20.0, 100.0, 900.0, 1500.0])
    held = model_of().moments(s)[1].tolist()
    free = model_of(is_clamped=False).moments(s)[1].tolist()
    assert held[0] == pytest.approx(held[1])
    assert held[3] == pytest.approx(held[2])
    assert free[3] > 1.3 * free[2]


def test_likelihood_floor_bounds_outliers_from_below():
    floored = model_of(likelihood_floor=1e-10)
    found = floored.log_likelihood(torch.tensor(1e5), torch.tensor(200.0))
    assert float(found) == pytest.approx(math.log(1e-10), abs=1e-4)


def test_gradient_equals_finite_differences_in_float64():
    s = torch.linspace(110, 890, 25, dtype=torch.float64).requires_grad_(True)
    x = torch.linspace(90, 1000, 25, dtype=torch.float64)
    for options in ({}, {"limits": (None, 600.0)}):
        model = model_of(**options)
        assert torch.autograd.gradcheck(lambda v: model.log_likelihood(x, v), (s,))  # noqa: B023


def test_normal_tail_is_exact_and_finite_far_out():
    z = torch.tensor([-1e6, -30.0, -8.1, -7.9, 0.0, 9.0], dtype=torch.float64)
    expected = torch.special.log_ndtr(z)
    torch.testing.assert_close(log_normal_tail(z), expected, rtol=1e-5, atol=1e-9)
    far = torch.tensor([-1e9, -1e5, 3e4], requires_grad=True)
    (gradient,) = torch.autograd.grad(log_normal_tail(far).sum(), far)
    assert torch.isfinite(gradient).all()


def test_one_gaussian_recovers_the_photon_transfer_line():
    rng = np.random.default_rng(0)
    from napari_ppn2v.core.pairs import SignalObservationPairs

    signal = rng.uniform(100, 800, (6, 128, 128))
    observation = signal + rng.normal(size=signal.shape) * np.sqrt(60 + 1.7 * signal)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(signal, observation)
    _, model = collect(fit_gmm(pairs.histogram(), GaussianMixtureSettings(1, 2)))
    variance = model.moments(torch.tensor([150.0, 750.0]))[1]
    assert variance.tolist() == pytest.approx(
        [60 + 1.7 * 150, 60 + 1.7 * 750], rel=0.03
    )


@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["scmos", "emccd"])
def test_fit_comes_close_to_the_exact_likelihood(camera):
    pairs = histogram_of(camera)
    cells = pairs.held_out
    exact = -cells.mean_of(camera.log_probability(cells.observation, cells.signal))
    events, model = collect(fit_gmm(pairs, GaussianMixtureSettings(5, 3)))
    assert held_out_nll(model, cells) - exact < 0.006
    nll = [event.nll for event in events]
    assert all(isinstance(event, FitProgress) for event in events)
    assert nll == sorted(nll, reverse=True)


def test_fit_is_repeatable():
    fits = [collect(fit_gmm(histogram_of(SCMOS)))[1].coefficients for _ in range(2)]
    assert torch.equal(*fits)


def test_coefficients_of_a_wrong_shape_are_refused():
    with pytest.raises(BadSetting, match=r"\(4, 2\)"):
        model_of(np.zeros((4, 2)))


def test_an_absurd_variance_coefficient_leaves_likelihoods_finite():
    # seen in fits to the pseudo ground truth of a hardly trained network
    rows = [[0.0, 3.0], [0.0, 2.0], [3.0, 165.0], [2.0, 1.0], [0.0, 1.0], [0.0, -2.0]]
    model = GaussianMixtureModel(
        np.array(rows), min_signal=100, max_signal=300, variance_floor=1.0
    )
    signal = torch.linspace(90, 310, 50, requires_grad=True)
    values = model.log_likelihood(torch.linspace(50, 400, 70)[:, None], signal)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert torch.isfinite(signal.grad).all()


def test_a_mixture_keeps_its_variance_to_the_ends_of_the_range():
    # A tail of bright pixels in the darkest row alone, whose mean signal lies well
    # above the end of the range: nothing there would hold a mixture of three.
    random, n = np.random.default_rng(3), 400_000
    is_dark = random.random(n) < 0.4
    signal = np.where(
        is_dark, random.normal(100.29, 0.03, n), 100.35 + random.exponential(0.5, n)
    )
    signal[random.random(n) < 0.0055] = 100.15
    tail = np.where(signal < 100.33, 3.0 * (random.random(n) < 0.02) - 0.06, 0)
    electrons = (signal - 100) / SCMOS.gain + tail.clip(-0.05)
    x = 100 + SCMOS.gain * random.poisson(electrons) + random.normal(0, 3.2, n)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        signal.reshape(1, -1, 100), np.rint(x).reshape(1, -1, 100)
    )
    cells = pairs.within_percentiles(0.5, 99.5).histogram()
    _, model = collect(fit_gmm(cells))
    low, _ = model.signal_range
    levels = torch.tensor([low, low + 0.15])
    at_end, in_row = model.moments(levels)[1].tolist()
    assert at_end == pytest.approx(in_row, rel=0.12)
