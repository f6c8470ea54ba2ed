import numpy as np
import pytest
import torch
from simulated import EMCCD, SCMOS, fitted, histogram_of

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadData, BadSetting, FitFailed
from napari_ppn2v.events import FitProgress, NoiseModelFitted, collect


@pytest.mark.parametrize(
    ("camera", "kind"),
    [
        pytest.param(SCMOS, "poisson-gaussian", id="scmos"),
        pytest.param(EMCCD, "poisson-gamma", id="emccd"),
    ],
)
def test_auto_recognises_the_camera_and_says_why(camera, kind):
    events, fit = collect(fit_noise_model(histogram_of(camera), NoiseModelConfig()))
    assert fit.model.kind == kind
    assert isinstance(events[-1], NoiseModelFitted)
    assert any(isinstance(event, FitProgress) for event in events)
    assert len(fit.candidates) == 5
    assert f"{fit.held_out_nll:.4f}" in fit.reason
    assert "histogram" in fit.reason


def test_auto_describes_noise_that_no_camera_makes():
    rng = np.random.default_rng(0)
    signal = rng.uniform(100, 300, (6, 128, 128))
    two_sided = rng.choice([-12.0, 12.0], signal.shape)
    noisy = signal + two_sided + rng.normal(0, 3, signal.shape)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(signal, noisy)
    _, fit = collect(fit_noise_model(pairs))
    assert fit.model.kind in ("gmm", "histogram")
    exact = 0.5 * np.log(2 * np.pi * np.e * 9) + np.log(2)
    assert fit.held_out_nll == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("kind", ["poisson-gaussian", "gmm", "histogram"])
def test_every_family_reaches_the_true_distribution(kind):
    camera = SCMOS
    model = fitted(kind)
    for signal in np.linspace(110, 220, 8):
        x = np.arange(50, 420)
        exact = camera.pmf(x, signal)
        with torch.no_grad():
            log_q = model.log_likelihood(
                torch.tensor(x, dtype=torch.float32),
                torch.tensor([signal], dtype=torch.float32),
            ).double()
        seen = exact > 0
        ratio = np.log(exact[seen]) - log_q.numpy()[seen]
        assert exact[seen] @ ratio < 0.01


def test_pairs_are_trimmed_as_configured():
    repeats = simulate_calibration(SCMOS, n_repeats=10, size=64, peak_electrons=60)
    pairs = SignalObservationPairs.from_calibration(repeats.observation)
    ranges = []
    for trim in (0.0, 5.0):
        config = NoiseModelConfig(kind="gmm", n_components=1, trim_percent=trim)
        ranges.append(collect(fit_noise_model(pairs, config))[1].model.signal_range)
    assert ranges[0][0] < ranges[1][0]
    assert ranges[0][1] > ranges[1][1]


def test_published_bins_cover_the_range_of_the_data():
    config = NoiseModelConfig(
        kind="histogram", n_bins=64, data_range=(80.0, 272.0), is_plain_histogram=True
    )
    _, fit = collect(fit_noise_model(histogram_of(SCMOS), config))
    assert fit.model.mass.shape == (64, 64)
    assert fit.model.signal_range == (80.0, 272.0)
    s = torch.tensor([130.0, 180.0])
    variance = fit.model.moments(s)[1].numpy()
    assert variance == pytest.approx(SCMOS.moments(s.numpy())[1], rel=0.12)


@pytest.mark.parametrize("scale", [1e-4, 100.0])
def test_fits_do_not_depend_on_the_unit_of_the_data(scale):
    camera = Camera("gaussian", 2.0, 100, 3.0, rounded=False)
    repeats = simulate_calibration(camera, n_repeats=20, size=96, peak_electrons=100)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        scale * repeats.signal[None], scale * repeats.observation
    )
    _, fit = collect(fit_noise_model(pairs, NoiseModelConfig(kind="gmm")))
    signal = torch.tensor([150.0, 250.0])
    variance = fit.model.moments(scale * signal)[1] / scale**2
    assert variance.numpy() == pytest.approx(
        camera.moments(signal.numpy())[1], rel=0.04
    )


def test_a_setting_out_of_range_is_refused():
    with pytest.raises(BadSetting, match="Noise model"):
        NoiseModelConfig(kind="guess")
    with pytest.raises(BadSetting, match="Trim"):
        NoiseModelConfig(trim_percent=60)


@pytest.mark.parametrize("kind", ["gmm", "histogram", "camera"])
def test_a_handful_of_pairs_is_a_named_error(kind):
    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 100, (1, 5, 5))
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        signal, signal + rng.normal(size=signal.shape)
    )
    with pytest.raises((FitFailed, BadData)):
        collect(fit_noise_model(pairs, NoiseModelConfig(kind=kind)))
