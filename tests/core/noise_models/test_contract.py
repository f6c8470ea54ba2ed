"""What every registered noise model promises."""

import numpy as np
import pytest
import torch
from simulated import BRIGHT_8_BIT, EMCCD, SCMOS, fitted, grey_values

from napari_ppn2v.core.noise_models import (
    NOISE_MODELS,
    NoiseModel,
    model_from_state,
)
from napari_ppn2v.errors import BadFile

ALL = pytest.mark.parametrize("kind", list(NOISE_MODELS))


def signals_of(model, n=7):
    low, high = model.signal_range
    return np.linspace(low + 0.02 * (high - low), high - 0.02 * (high - low), n)


def probabilities(model, signal):
    x = grey_values(model, signal)
    with torch.no_grad():
        log_p = model.log_likelihood(
            torch.tensor(x, dtype=torch.float32),
            torch.tensor([signal], dtype=torch.float32),
        )
    return x, log_p.double().exp().numpy()


@ALL
def test_follows_the_protocol(kind):
    model = fitted(kind)
    assert isinstance(model, NoiseModel)
    assert model.kind == kind


@ALL
def test_probability_sums_to_one_over_the_grey_values(kind):
    model = fitted(kind)
    for signal in signals_of(model):
        _, p = probabilities(model, signal)
        assert p.sum() == pytest.approx(1, abs=3e-3)


@ALL
def test_probability_sums_to_one_with_atoms_at_both_limits(kind):
    model = fitted(kind, BRIGHT_8_BIT, peak_electrons=168.0)
    assert model.limits == (None, 255.0)
    for signal in signals_of(model):
        _, p = probabilities(model, signal)
        assert p.sum() == pytest.approx(1, abs=6e-3)


@ALL
@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["scmos", "emccd"])
def test_mean_of_the_observation_is_the_signal(kind, camera):
    model = fitted(kind, camera)
    for signal in signals_of(model):
        x, p = probabilities(model, signal)
        sd = float(camera.moments(signal)[1]) ** 0.5
        assert (p * x).sum() / p.sum() == pytest.approx(signal, abs=0.05 * sd)


@ALL
def test_samples_agree_with_the_stated_moments(kind):
    model = fitted(kind)
    n = 20_000
    for signal in signals_of(model, 3):
        level = torch.full((n,), float(signal))
        drawn = model.sample(level, torch.Generator().manual_seed(0)).double()
        mean, variance = (float(v[0]) for v in model.moments(level[:1]))
        assert float(drawn.mean()) == pytest.approx(mean, abs=4 * (variance / n) ** 0.5)
        assert float(drawn.var()) == pytest.approx(variance, rel=0.06)


@ALL
def test_moments_agree_with_the_likelihood(kind):
    model = fitted(kind)
    for signal in signals_of(model, 4):
        x, p = probabilities(model, signal)
        mean, variance = (float(v) for v in model.moments(torch.tensor(float(signal))))
        found = (p * x).sum() / p.sum()
        spread = (p * (x - found) ** 2).sum() / p.sum()
        assert found == pytest.approx(mean, abs=0.02 * variance**0.5)
        assert spread == pytest.approx(variance, rel=0.03)


@ALL
def test_likelihood_and_gradient_are_finite_for_outliers_and_any_signal(kind):
    for camera, peak in ((SCMOS, 60.0), (BRIGHT_8_BIT, 168.0)):
        model = fitted(kind, camera, peak)
        x = torch.tensor([-500.0, 0.0, 60.0, 101.0, 254.0, 255.0, 3e3, 65535.0])
        s = torch.tensor([-1e4, -50.0, 0.0, 99.0, 100.0, 130.0, 400.0, 1e5])
        s = s.requires_grad_(True)
        value = model.log_likelihood(x[:, None], s[None, :])
        (gradient,) = torch.autograd.grad(value.sum(), s)
        assert torch.isfinite(value).all()
        assert torch.isfinite(gradient).all()


@ALL
def test_pixels_and_samples_broadcast(kind):
    model = fitted(kind)
    x = torch.tensor([105.0, 120.0, 160.0])
    s = torch.tensor([[103.0, 110.0], [118.0, 150.0], [170.0, 125.0]])
    together = model.log_likelihood(x[:, None], s)
    assert together.shape == (3, 2)
    for i in range(3):
        for k in range(2):
            alone = model.log_likelihood(x[i], s[i, k])
            assert float(together[i, k]) == pytest.approx(float(alone), abs=1e-5)


@ALL
def test_gradient_equals_the_difference_quotient(kind):
    model = fitted(kind)
    generator = torch.Generator().manual_seed(3)
    low, high = model.signal_range
    s = low + (high - low) * torch.rand(400, generator=generator)
    x = model.sample(s, generator)
    s.requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.log_likelihood(x, s).sum(), s)
    step = 0.02
    with torch.no_grad():
        up, down = (model.log_likelihood(x, s + d) for d in (step, -step))
    numeric = (up - down) / (2 * step)
    # Bilinear tables have kinks at their nodes, where the two sides differ.
    close = (numeric - gradient).abs() < 0.02 * (1 + gradient.abs())
    assert close.float().mean() > 0.9


@ALL
def test_saved_and_rebuilt_likelihoods_are_identical(kind):
    model = fitted(kind, BRIGHT_8_BIT, peak_electrons=168.0)
    again = model_from_state(kind, model.state())
    x = torch.linspace(0, 255, 60)[:, None]
    s = torch.linspace(0, 300, 45)[None, :]
    assert torch.equal(model.log_likelihood(x, s), again.log_likelihood(x, s))
    assert again.signal_range == model.signal_range
    assert again.limits == model.limits


@ALL
def test_state_holds_only_arrays_numbers_and_strings(kind):
    for value in fitted(kind).state().values():
        assert isinstance(value, (np.ndarray, int, float, str))


@ALL
def test_a_state_without_an_entry_is_a_named_error(kind):
    state = fitted(kind).state()
    state.pop("limits")
    with pytest.raises(BadFile, match="limits"):
        model_from_state(kind, state)


@ALL
def test_move_to_the_same_device_changes_nothing(kind):
    model = fitted(kind)
    x, s = torch.tensor(120.0), torch.tensor(118.0)
    moved = model.to("cpu")
    assert torch.equal(model.log_likelihood(x, s), moved.log_likelihood(x, s))


def test_an_unknown_kind_is_a_named_error():
    with pytest.raises(BadFile, match="'novel'"):
        model_from_state("novel", {})
