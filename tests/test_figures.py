"""Figures show the numbers they were given, and leave nothing behind."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.image import imread

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.pair_histogram import PairCells
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadData, BadSetting, CannotWrite
from napari_ppn2v.events import drain
from napari_ppn2v.figures import (
    before_after_figure,
    noise_model_figure,
    save_figure,
    training_curves_figure,
)


class KnownCamera:
    """Gaussian noise of variance 4 + 2·signal."""

    kind = "known"
    signal_range = (10.0, 200.0)
    limits = (None, None)

    def moments(self, signal):
        return signal.clone(), 4 + 2 * signal

    def log_likelihood(self, observation, signal):
        variance = 4 + 2 * signal
        log_norm = 0.5 * torch.log(2 * torch.pi * variance)
        return -0.5 * (observation - signal) ** 2 / variance - log_norm


@pytest.fixture(scope="module")
def pairs():
    stack = simulate_calibration(
        Camera(), n_repeats=20, size=64, peak_electrons=200, seed=3
    )
    return SignalObservationPairs.from_calibration(stack.observation).histogram()


@pytest.fixture(scope="module")
def mixture(pairs):
    config = NoiseModelConfig(kind="gmm")
    return drain(fit_noise_model(pairs, config)).model


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def line_named(axes, label):
    (line,) = [line for line in axes.lines if line.get_label() == label]
    return line


def slices_of(figure):
    return [a for a in figure.axes if a.get_title().startswith("Noise-free signal")]


def test_model_alone_shows_its_mean_and_variance():
    figure = noise_model_figure(KnownCamera())
    heat_map, variance = figure.axes[:2]
    signal, mean = line_named(heat_map, "mean of the model").get_data()
    np.testing.assert_allclose(mean, signal)
    signal, drawn = line_named(variance, "model").get_data()
    np.testing.assert_allclose(drawn, 4 + 2 * signal)


def test_slices_show_the_density_per_grey_value():
    for axes in slices_of(noise_model_figure(KnownCamera())):
        values, density = line_named(axes, "model").get_data()
        assert np.trapezoid(density, values) == pytest.approx(1, abs=2e-4)


def test_four_slices_run_from_dark_to_bright(mixture, pairs):
    figure = noise_model_figure(mixture, pairs, "mixture")
    signals = [float(axes.get_title().split()[-1]) for axes in slices_of(figure)]
    assert len(signals) == 4
    assert signals == sorted(signals)
    assert "mixture" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("label", "shown"),
    [("poisson-gamma", "EMCCD"), ("my camera", "my camera"), ("", "each signal")],
)
def test_the_title_names_the_kind_in_words(label, shown):
    assert shown in noise_model_figure(KnownCamera(), None, label).get_suptitle()


def test_measured_slices_enclose_unit_area(mixture, pairs):
    for axes in slices_of(noise_model_figure(mixture, pairs)):
        (steps,) = [p for p in axes.patches if p.get_label() == "measured"]
        density, edges, _ = steps.get_data()
        assert np.sum(density * np.diff(edges)) == pytest.approx(1, abs=0.02)


def test_each_gaussian_of_a_mixture_is_drawn_dashed(mixture, pairs):
    axes = slices_of(noise_model_figure(mixture, pairs))[0]
    parts = [p for p in axes.lines if p.get_label() == "Gaussians of the model"]
    assert len(parts) == mixture.n_components
    total = sum(part.get_ydata() for part in parts)
    model = line_named(axes, "model").get_ydata()
    np.testing.assert_allclose(total, model, atol=1e-3 * model.max())


def test_measured_variance_lies_on_the_photon_transfer_line(mixture, pairs):
    axes = noise_model_figure(mixture, pairs).axes[1]
    signal, measured = line_named(axes, "measured").get_data()
    expected = pairs.transfer.variance(signal)
    assert np.median(np.abs(measured / expected - 1)) < 0.1


def test_plain_arrays_of_weighted_pairs_are_enough():
    rng = np.random.default_rng(0)
    signal = rng.uniform(10, 200, 20_000)
    observation = signal + np.sqrt(4 + 2 * signal) * rng.standard_normal(20_000)
    cells = PairCells(signal, observation, np.ones(20_000))
    figure = noise_model_figure(KnownCamera(), cells)
    assert line_named(figure.axes[1], "photon-transfer line") is not None


def test_too_few_pairs_leave_the_model_alone_in_its_slices():
    cells = PairCells(np.array([50.0, 60.0]), np.array([51.0, 58.0]), np.ones(2))
    for axes in slices_of(noise_model_figure(KnownCamera(), cells)):
        assert [p for p in axes.patches if p.get_label() == "measured"] == []


def frames(shape=(300, 400)):
    rng = np.random.default_rng(1)
    truth = np.zeros(shape)
    truth[180:260, 280:380] = 100 * rng.random((80, 100))
    return truth + 10 * rng.standard_normal(shape), truth + 1, truth


def test_before_and_after_show_one_region_with_one_contrast():
    observation, result, truth = frames()
    figure = before_after_figure(observation, result, truth)
    images = [axes.images[0] for axes in figure.axes[:3]]
    assert len({image.get_clim() for image in images}) == 1
    noisy, denoised, clean = (np.asarray(image.get_array()) for image in images)
    np.testing.assert_allclose(denoised, clean + 1)
    assert noisy.shape == clean.shape == (256, 256)


def test_the_region_shown_holds_the_structure():
    observation, result, truth = frames()
    shown = before_after_figure(observation, result, truth).axes[2].images[0]
    assert np.count_nonzero(shown.get_array()) == np.count_nonzero(truth)


def test_psnr_is_stated_where_it_is_known():
    observation, result, truth = frames()
    figure = before_after_figure(
        observation, result, truth, psnr_before=21.26, psnr_after=29.04
    )
    assert "PSNR 21.3 dB" in titles(figure)[0]
    assert "PSNR 29.0 dB" in titles(figure)[1]
    assert "PSNR" not in " ".join(titles(before_after_figure(observation, result)))


def test_uncertainty_has_a_scale_of_its_own():
    observation, result, _ = frames()
    figure = before_after_figure(observation, result, posterior_std=0 * result + 3)
    shown = figure.axes[2].images[0]
    assert shown.get_clim() == (0.0, 3.0)


@pytest.mark.parametrize(
    ("pixel_size", "text"), [(0.1, "5 µm"), (1.0, "50 µm"), (0.003, "0.1 µm")]
)
def test_scale_bar_has_a_round_length(pixel_size, text):
    observation, result, _ = frames()
    figure = before_after_figure(observation, result, pixel_size=pixel_size)
    assert [label.get_text() for label in figure.axes[0].texts] == [text]
    (bar,) = figure.axes[0].lines
    length = np.ptp(bar.get_xdata()) * pixel_size
    assert length == pytest.approx(float(text.split()[0]))


@pytest.mark.parametrize("shape", [(40, 300), (7, 5)], ids=str)
def test_small_and_narrow_frames_are_shown(shape):
    image = np.arange(np.prod(shape), dtype=float).reshape(shape)
    assert before_after_figure(image, image).axes[0].images


def test_constant_frames_are_shown(tmp_path):
    image = np.full((50, 60), 7, np.uint16)
    figure = before_after_figure(image, image, posterior_std=0 * image)
    assert save_figure(figure, tmp_path / "flat.png").exists()


def test_frames_of_different_shapes_are_refused_with_their_shapes():
    with pytest.raises(BadData, match=r"\(4, 5\).*\(5, 4\)"):
        before_after_figure(np.zeros((4, 5)), np.zeros((5, 4)))


CURVE = [(50, 9.0, 8.0), (100, 2.0, 2.5), (150, 1.5, 2.0), (200, 1.2, 2.2)]


def test_curves_mark_the_best_step_of_each_stage():
    figure = training_curves_figure({"n2v": CURVE, "pn2v": CURVE[:2]})
    first, second = figure.axes
    assert line_named(first, "best: step 150, kept").get_ydata() == [2.0]
    assert line_named(second, "best: step 100, kept").get_ydata() == [2.5]


def test_losses_carry_their_units():
    first, second = training_curves_figure({"n2v": CURVE, "pn2v": CURVE}).axes
    assert first.get_ylabel().startswith("squared error")
    assert "nats per pixel" in second.get_ylabel()


def test_stages_are_named_in_words():
    names = ["care", "n2n, longer", "n2v, longer 2", "refinement 3"]
    titles = [
        axes.get_title()
        for axes in training_curves_figure(dict.fromkeys(names, CURVE)).axes
    ]
    assert titles == [
        "With clean targets (CARE)",
        "With second noisy images (Noise2Noise), longer",
        "Without a noise model (Noise2Void), longer 2",
        "Refinement on synthetic observations, round 3",
    ]


def test_the_steep_start_does_not_flatten_the_curve():
    steps = np.arange(1, 41)
    losses = 1 + 1000.0 * np.exp(-steps)
    curve = list(zip(steps.tolist(), losses, losses, strict=True))
    low, high = training_curves_figure({"n2v": curve}).axes[0].get_ylim()
    assert low < 1 < high < 2


@pytest.mark.parametrize(
    "curve", [CURVE[:1], [(1, np.nan, np.nan)], []], ids=["one", "nan", "empty"]
)
def test_shortest_curves_are_drawn(curve, tmp_path):
    figure = training_curves_figure({"n2v": curve})
    assert save_figure(figure, tmp_path / "curves.png").exists()


def test_no_curves_at_all_is_an_error():
    with pytest.raises(BadData, match="nothing was trained"):
        training_curves_figure({})


@pytest.mark.parametrize(
    ("style", "is_bright"), [("light", True), ("dark", False)], ids=["light", "dark"]
)
def test_styles_differ_in_their_background(style, is_bright, tmp_path):
    path = save_figure(
        training_curves_figure({"n2v": CURVE}, style=style), tmp_path / "curves.png"
    )
    assert (imread(path)[0, 0, :3].mean() > 0.5) == is_bright


def test_unknown_style_is_refused():
    with pytest.raises(BadSetting, match="light, dark"):
        training_curves_figure({"n2v": CURVE}, style="sepia")


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_figures_are_written_by_their_ending(ending, tmp_path, mixture, pairs):
    path = save_figure(noise_model_figure(mixture, pairs), tmp_path / f"m.{ending}")
    assert path.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_ending_names_those_that_work(tmp_path):
    with pytest.raises(BadSetting, match=r"\.png, \.pdf or \.svg"):
        save_figure(training_curves_figure({"n2v": CURVE}), tmp_path / "curves.xyz")


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(CannotWrite):
        save_figure(
            training_curves_figure({"n2v": CURVE}), tmp_path / "nowhere" / "curves.png"
        )


def test_global_plot_settings_stay_as_they_are(mixture, pairs):
    before = dict(matplotlib.rcParams)
    noise_model_figure(mixture, pairs, style="dark")
    assert dict(matplotlib.rcParams) == before
