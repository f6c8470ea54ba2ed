import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from simulated import EMCCD, SCMOS, fitted, histogram_of, whole_fit

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.noise_models.fitting import spread_of_samples
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadData, BadSetting, FitFailed
from napari_ppn2v.events import (
    FitProgress,
    NoiseModelFitted,
    Notice,
    PairsReady,
    collect,
    drain,
)
from napari_ppn2v.stop import StopToken


@pytest.mark.parametrize(
    ("camera", "kind"),
    [
        pytest.param(SCMOS, "poisson-gaussian", id="scmos"),
        pytest.param(EMCCD, "poisson-gamma", id="emccd"),
    ],
)
def test_auto_recognises_the_camera_and_says_why(camera, kind):
    events, fit = whole_fit("auto", camera)
    assert fit.model.kind == kind
    assert isinstance(events[-1], NoiseModelFitted)
    assert any(isinstance(event, FitProgress) for event in events)
    assert len(fit.candidates) >= 4
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


def camera_pairs():
    repeats = simulate_calibration(SCMOS, n_repeats=60, size=128, peak_electrons=60)
    clean = np.repeat(repeats.signal[None], 60, axis=0)
    return SignalObservationPairs.from_pseudo_ground_truth(clean, repeats.observation)


def test_auto_spares_the_large_mixture_where_camera_and_histogram_agree():
    _, fit = collect(fit_noise_model(camera_pairs()))
    found = {c.model.kind: c.held_out_nll for c in fit.candidates}
    assert not any("5 Gaussians" in c.name for c in fit.candidates)
    assert found["poisson-gaussian"] == pytest.approx(found["histogram"], abs=0.002)


def test_auto_fits_the_large_mixture_where_they_do_not():
    _, fit = collect(fit_noise_model(blurred_edges()))
    assert any("5 Gaussians" in c.name for c in fit.candidates)


def test_the_large_mixture_is_always_fitted_where_it_is_asked_for():
    config = NoiseModelConfig(kind="gmm", n_components=5, n_coefficients=3)
    _, fit = collect(fit_noise_model(camera_pairs(), config))
    assert fit.model.n_components == 5


def blurred_edges():
    """Two levels with edges that the signal does not follow: rare, far outliers."""
    rng = np.random.default_rng(1)
    levels = gaussian_filter(rng.normal(size=(64, 64)), 3) > 0.01
    signal = np.repeat(106 + 90.0 * levels[None], 3, axis=0)
    noisy = rng.poisson(signal - 100) + 100 + rng.normal(0, 3, signal.shape)
    blurred = gaussian_filter(signal, (0, 1, 1))
    return SignalObservationPairs.from_pseudo_ground_truth(blurred, noisy)


def test_auto_passes_over_a_mixture_that_spreads_far_wider_than_the_data():
    _, fit = collect(fit_noise_model(blurred_edges()))
    spreads = {c.name: c.spread for c in fit.candidates}
    assert max(spreads.values()) > 10
    assert spreads[fit.name] < 2
    assert "spreads far too wide" in fit.reason


def test_a_mixture_asked_for_that_spreads_too_wide_is_a_warning():
    config = NoiseModelConfig(kind="gmm", n_components=5, n_coefficients=3)
    events, _ = collect(fit_noise_model(blurred_edges(), config))
    warnings = [e for e in events if isinstance(e, Notice) and e.is_warning]
    assert len(warnings) == 1
    assert "times as wide" in warnings[0].message


@pytest.mark.parametrize("kind", ["poisson-gaussian", "gmm", "histogram"])
@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["scmos", "emccd"])
def test_observations_drawn_from_a_good_fit_spread_like_the_real_ones(camera, kind):
    model, held_out = fitted(kind, camera), histogram_of(camera).held_out
    assert spread_of_samples(model, held_out) == pytest.approx(1, abs=0.05)


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


def test_a_fit_shows_its_pairs_and_each_model_under_the_name_of_its_candidate():
    events, fit = whole_fit("auto", SCMOS)
    assert isinstance(events[0], PairsReady)
    assert events[0].pairs is histogram_of(SCMOS)
    progress = [e for e in events if isinstance(e, FitProgress)]
    for candidate in fit.candidates:
        own = [e for e in progress if e.model == candidate.name]
        assert own[-1].snapshot is not None
        # the likelihoods of different models can be compared
        assert own[-1].nll == pytest.approx(candidate.held_out_nll, abs=0.02)
        assert [e.iteration for e in own] == sorted({e.iteration for e in own})
    assert {e.model for e in progress} == {c.name for c in fit.candidates}


def test_a_mixture_is_shown_from_its_first_iterations_on():
    events, fit = whole_fit("gmm", SCMOS)
    progress = [e for e in events if isinstance(e, FitProgress)]
    assert all(e.snapshot.coefficients.dtype == torch.float32 for e in progress)
    assert torch.equal(progress[-1].snapshot.coefficients, fit.model.coefficients)
    assert not torch.equal(progress[0].snapshot.coefficients, fit.model.coefficients)


def test_a_stopped_fit_chooses_among_what_is_done():
    stop = StopToken()
    job = fit_noise_model(histogram_of(SCMOS), NoiseModelConfig(), stop)

    def watch(event):
        if isinstance(event, FitProgress) and event.model.startswith("mixture"):
            stop.stop()

    fit = drain(job, watch)
    assert [c.model.kind for c in fit.candidates] == ["poisson-gaussian",
                                                      "poisson-gamma"]  # fmt: skip


def test_a_fit_stopped_at_once_ends_without_a_model():
    stop = StopToken()
    stop.stop()
    events, fit = collect(fit_noise_model(histogram_of(SCMOS), None, stop))
    assert fit is None
    assert len(events) == 1
