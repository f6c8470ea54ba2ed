import numpy as np
import pytest
import torch
from simulated import BRIGHT_8_BIT, EMCCD, SCMOS, fitted, histogram_of

from napari_ppn2v.core.camera import Camera
from napari_ppn2v.core.noise_models import PoissonGammaModel, PoissonGaussianModel
from napari_ppn2v.core.noise_models.tabulated import TabulatedLikelihood
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadSetting, FitFailed
from napari_ppn2v.events import drain

CASES = pytest.mark.parametrize(
    ("kind", "camera"),
    [
        pytest.param("poisson-gaussian", SCMOS, id="scmos"),
        pytest.param("poisson-gamma", EMCCD, id="emccd"),
    ],
)


@CASES
def test_fit_recovers_the_camera(kind, camera):
    model = fitted(kind, camera)
    assert model.gain == pytest.approx(camera.gain, rel=0.03)
    assert model.offset == pytest.approx(camera.offset, abs=0.5)
    assert model.read_noise == pytest.approx(camera.read_noise, rel=0.08)


@CASES
def test_what_a_dark_recording_tells_stays_as_it_is(kind, camera):
    model = fitted(kind, camera, offset=100.0, read_noise=camera.read_noise)
    assert model.offset == 100.0
    assert model.read_noise == pytest.approx(camera.read_noise, rel=1e-12)
    assert model.gain == pytest.approx(camera.gain, rel=0.02)


@pytest.mark.parametrize(
    ("model_type", "kind"),
    [(PoissonGaussianModel, "scmos"), (PoissonGammaModel, "emccd")],
)
@pytest.mark.parametrize(
    ("gain", "read_noise"), [(2.2, 3.3), (6.5, 4.0), (0.5, 1.0), (30.0, 25.0)]
)
def test_table_equals_the_exact_likelihood(model_type, kind, gain, read_noise):
    camera = Camera(kind, gain=gain, offset=100, read_noise=read_noise)
    model = model_type(
        gain=gain,
        offset=100.0,
        read_noise=read_noise,
        signal_range=(100 + 0.05 * gain, 100 + 60 * gain),
    )
    rng = np.random.default_rng(0)
    signal = 100 + gain * np.geomspace(0.05, 60, 2000)
    observation = camera.expose(signal, rng).astype(float)
    exact = camera.log_probability(observation, signal)
    found = model.log_likelihood(
        torch.tensor(observation, dtype=torch.float32),
        torch.tensor(signal, dtype=torch.float32),
    )
    error = np.abs(found.double().numpy() - exact)
    assert np.mean(error) < 1e-3
    assert np.quantile(error, 0.98) < 4e-3


@CASES
def test_below_the_dark_level_the_shape_moves_with_the_signal(kind, camera):
    model = fitted(kind, camera)
    s = torch.tensor([model.offset - 20.0, model.offset - 5.0])
    x = torch.arange(0.0, 400.0)[:, None]
    p = model.log_likelihood(x, s).exp()
    assert p.sum(0).tolist() == pytest.approx([1, 1], abs=3e-3)
    assert (p * x).sum(0).tolist() == pytest.approx(s.tolist(), abs=0.3)


def test_atom_is_the_probability_of_reaching_the_limit():
    model = fitted("poisson-gaussian", BRIGHT_8_BIT, peak_electrons=168.0)
    for signal in (225.0, 240.0, 252.0):
        camera = Camera(
            "scmos", model.gain, model.offset, model.read_noise, bit_depth=8
        )
        exact = float(camera.pmf(255, signal))
        found = model.log_likelihood(torch.tensor(255.0), torch.tensor(signal)).exp()
        assert float(found) == pytest.approx(exact, rel=0.02)


def test_noise_that_does_not_grow_is_no_photon_counting_camera():
    from napari_ppn2v.core.noise_models.camera_fit import fit_camera

    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 500, (2, 96, 96))
    noisy = signal + rng.normal(0, np.linspace(9, 8, 500)[signal.astype(int)])
    pairs = SignalObservationPairs.from_pseudo_ground_truth(signal, noisy)
    with pytest.raises(FitFailed, match="does not grow"):
        drain(fit_camera(PoissonGaussianModel, pairs.histogram()))


def test_impossible_cameras_are_refused():
    with pytest.raises(BadSetting, match="gain"):
        PoissonGammaModel(gain=0, offset=1, read_noise=1, signal_range=(0, 1))


def test_any_model_can_be_tabulated_within_tolerance():
    model = fitted("gmm", SCMOS)
    table = TabulatedLikelihood.from_model(model, step=0.05)
    low, high = model.signal_range
    s = torch.linspace(low, high, 3000)
    x = model.sample(s, torch.Generator().manual_seed(0))
    s.requires_grad_(True)
    values, gradients = [], []
    for candidate in (model, table):
        value = candidate.log_likelihood(x, s)
        gradients.append(torch.autograd.grad(value.sum(), s)[0])
        values.append(value.detach())
    error = (values[0] - values[1]).abs()
    assert error.mean() < 1e-3
    assert error.max() < 1e-2  # in the far tails
    sd = model.moments(s.detach())[1].sqrt()
    # In noise standard deviations, like the step of the table.
    error = (gradients[0] - gradients[1]).abs() * sd
    assert error.quantile(0.99) < 0.05


def test_pairs_too_few_are_a_named_error():
    from napari_ppn2v.core.noise_models.shared import check_pairs
    from napari_ppn2v.core.pairs import PairCells

    pairs = histogram_of(SCMOS)
    few = PairCells(*(a[:5] for a in vars(pairs.training).values()))
    spoilt = PairCells(
        pairs.training.signal * np.nan,
        pairs.training.observation,
        pairs.training.weight,
    )
    for cells, message in ((few, "too few"), (spoilt, "not finite")):
        changed = type(pairs)(**{**vars(pairs), "training": cells})
        with pytest.raises(FitFailed, match=message):
            check_pairs(changed, "camera model")
