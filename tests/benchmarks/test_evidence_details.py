"""Measures of what denoising invents, loses and resolves, on cases known exactly."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import cli, data_sets, details_bars, details_runs, details_scenes, spectra
from evidence.ledger import read_rows
from napari_ppn2v.core.camera import Camera

CAMERAS = [
    Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3, rounded=False),
    Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3),
    Camera(kind="emccd", gain=6.5, offset=100, read_noise=2.3),
]


def noise(seed: int, size: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 9, (size, size))


def stripes(period: float, size: int = 100) -> np.ndarray:
    return np.tile(np.sin(2 * np.pi * np.arange(size) / period), (size, 1))


# --- Rings of spatial frequency ---


def test_equal_images_agree_at_every_frequency():
    curve = spectra.fourier_ring_correlation(noise(0), 3 * noise(0) + 20)
    assert curve.correlation == pytest.approx(1, abs=1e-12)
    assert curve.falls_to(0.5) == spectra.FINEST


def test_independent_noise_agrees_at_no_frequency():
    curve = spectra.mean_curve(
        [
            spectra.fourier_ring_correlation(noise(seed), noise(seed + 100), 16)
            for seed in range(20)
        ]
    )
    # the smallest of these rings has about 80 independent frequencies: 4 sd of 20 pairs
    assert np.abs(curve.correlation[3:]).max() < 0.1
    assert abs(np.mean(curve.correlation[3:])) < 0.02


def test_a_blur_alone_does_not_lower_the_agreement():
    scene = noise(0)
    blurred = gaussian_filter(scene, 1.0, mode="wrap")
    assert blurred.std() < 0.4 * scene.std()
    curve = spectra.fourier_ring_correlation(blurred, scene)
    assert curve.correlation.min() > 0.97


def test_noise_of_equal_power_halves_the_power_that_is_shared():
    # truth and truth + noise of equal power: correlation 1 / sqrt(2) everywhere
    truth, other = noise(0, 256), noise(1, 256)
    curve = spectra.fourier_ring_correlation(truth + other, truth, 8)
    assert curve.correlation == pytest.approx(0.5**0.5, abs=0.04)


def test_the_crossing_lies_on_the_line_between_two_rings():
    curve = spectra.RingCurve(np.array([0.1, 0.2, 0.3]), np.array([0.9, 0.6, 0.2]))
    assert curve.falls_to(0.5) == pytest.approx(0.225)
    assert curve.falls_to(0.95) == pytest.approx(0.05)  # from 1 at frequency 0
    assert curve.falls_to(0.1) == spectra.FINEST


def test_detail_that_is_lost_is_wrong_in_its_band_alone():
    coarse, fine = stripes(20), stripes(100 / 35)
    errors = spectra.band_errors(coarse, coarse + fine)
    assert errors[3] == pytest.approx(1, abs=1e-3)  # 0.35 cycles per pixel
    assert errors[0] < 1e-3
    errors = spectra.band_errors(coarse + 0.5 * fine + 30, coarse + fine)
    assert errors[3] == pytest.approx(0.25, abs=1e-3)  # brightness does not count


def test_a_constant_image_shows_no_detail():
    flat = np.full((64, 64), 7.0)
    assert spectra.fourier_ring_correlation(flat, noise(0, 64)).falls_to() < 0.1
    assert spectra.band_errors(flat, noise(0, 64)) == pytest.approx(1, abs=1e-9)


# --- Flat fields ---


def test_what_is_left_of_uniform_light_is_counted_within_images():
    rng = np.random.default_rng(0)
    outputs = 200 + rng.normal(0, 2.0, (3, 64, 64))
    left, bias = details_scenes.left_of_noise(outputs + 5, 200, 20.0)
    assert left == pytest.approx(0.1, rel=0.02)
    assert bias == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize("camera", CAMERAS, ids=["exact", "rounded", "emccd"])
def test_flat_fields_hold_the_noise_of_the_camera(camera):
    rng = np.random.default_rng(1)
    flats = details_scenes.flat_fields(camera, 150.0, n=2, size=128, rng=rng)
    sd = float(np.sqrt(camera.moments(150.0)[1]))
    left, bias = details_scenes.left_of_noise(flats, 150.0, sd)
    assert left == pytest.approx(1, abs=0.02)
    assert abs(bias) < 0.02


def test_the_camera_of_the_small_simulation_is_the_one_that_made_it():
    camera = Camera(**details_runs.fit_camera(".", "small"))
    task = data_sets.small().tasks("unsupervised")[0]
    mean, variance = camera.moments(task.truth)
    scaled = (task.scored - mean) / np.sqrt(variance)
    assert np.var(scaled) == pytest.approx(1, abs=0.03)


# --- Peaks ---


def some_peaks(width: float, camera: Camera = CAMERAS[0], side: int = 192):
    signal = np.full((2, side, side), 160.0)
    rng = np.random.default_rng(2)
    return signal, details_scenes.add_peaks(signal, camera, width, rng)


@pytest.mark.parametrize("width", [0.0, 1.0], ids=["pixel", "point source"])
def test_peaks_are_as_high_as_the_noise_says_and_far_from_each_other(width):
    _, peaks = some_peaks(width)
    at = tuple(peaks.places.T)
    sd = np.sqrt(CAMERAS[0].moments(160.0)[1])
    assert peaks.light[at] == pytest.approx(peaks.factors * sd)
    counts = [int(np.sum(peaks.factors == f)) for f in details_scenes.HEIGHTS]
    assert counts == [24, 24, 24]
    rows, columns = peaks.places[peaks.places[:, 0] == 0][:, 1:].T
    apart = np.maximum(np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns))
    assert apart[~np.eye(len(rows), dtype=bool)].min() >= 2 * details_scenes.MARGIN
    beside = peaks.light[at[0], at[1], at[2] + 1]
    expected = 0 if width == 0 else np.exp(-0.5)
    assert beside / peaks.light[at] == pytest.approx(expected)


def test_images_too_small_for_a_peak_are_refused():
    with pytest.raises(ValueError, match="16 x 16"):
        some_peaks(0.0, side=16)


def test_recovered_heights_are_the_shares_that_were_kept():
    signal, peaks = some_peaks(1.0)
    blurred = signal + 0.3 * peaks.light + 7
    found = details_scenes.recovered_heights(blurred, signal + 7, peaks)
    assert found == pytest.approx([0.3] * 3)
    assert details_scenes.recovered_heights(signal, signal, peaks) == [0, 0, 0]


@pytest.mark.parametrize("camera", CAMERAS, ids=["exact", "rounded", "emccd"])
def test_added_light_changes_nothing_where_there_is_none(camera):
    signal, peaks = some_peaks(0.0, camera, side=256)
    without, (exposed,) = details_scenes.expose_with_and_without(
        camera, signal, [peaks.light], np.random.default_rng(3)
    )
    dark = peaks.light == 0
    assert np.array_equal(without[dark], exposed[dark])
    found = details_scenes.recovered_heights(exposed, without, peaks)
    assert found[2] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("camera", CAMERAS, ids=["exact", "rounded", "emccd"])
def test_an_exposure_with_added_light_has_the_noise_of_all_its_light(camera):
    signal = np.full((1, 200, 200), 160.0)
    light = np.full_like(signal, 90.0)
    _, (exposed,) = details_scenes.expose_with_and_without(
        camera, signal, [light], np.random.default_rng(4)
    )
    mean, variance = camera.moments(250.0)
    assert exposed.mean() == pytest.approx(float(mean), abs=0.6)
    assert exposed.var() == pytest.approx(float(variance), rel=0.04)


# --- Bars ---


def rows_of(method: str, values: list[float], measure="flat noise left", at=10):
    return [
        {"data set": "small", "method": method, "repeat": repeat, "seconds": 4.0,
         "measure": measure, "at": at, "value": value}
        for repeat, value in enumerate(values)
    ]  # fmt: skip


LEFT = details_bars.Bar("less", "flat noise left", (10,), -1, limit=0.1)
NO_MORE = details_bars.Bar("no more", "flat noise left", (10,), -1, place_words="{} %")
WITHIN = details_bars.Bar("within", "ssim", ("all",), 1, slack=1.0)


def test_a_fixed_bar_is_met_up_to_its_value():
    for value, expected in ((0.10, "**met**"), (0.11, "not met")):
        rows = rows_of(details_bars.OURS, [value, value])
        assert details_bars.verdict(rows, "small", LEFT, "n2v-ours").short == expected


def test_a_comparison_is_paired_and_says_by_how_much_it_was_missed():
    rows = rows_of(details_bars.OURS, [0.12, 0.32]) + rows_of("n2v-ours", [0.1, 0.3])
    found = details_bars.verdict(rows, "small", NO_MORE, "n2v-ours")
    assert found.full == "not met (10 %: +2.0 ± 0.0 points)"
    assert details_bars.verdict(rows, "small", NO_MORE, "n2v-published").n == 0


def test_one_standard_error_is_allowed_where_the_bar_says_so():
    theirs = rows_of("n2v-ours", [0.9, 0.9], "ssim", "all")
    for values, expected in (([0.90, 0.89], "**met**"), ([0.89, 0.88], "not met")):
        rows = rows_of(details_bars.OURS, values, "ssim", "all") + theirs
        assert details_bars.verdict(rows, "small", WITHIN, "n2v-ours").short == expected


def test_only_the_longest_trainings_are_reported():
    short = [{**row, "seconds": 2.0} for row in rows_of("n2v-ours", [0.5])]
    noisy = [{**row, "seconds": 0} for row in rows_of("noisy", [1.0])]
    kept = details_bars.longest([*short, *noisy, *rows_of("n2v-ours", [0.4])])
    assert [row["value"] for row in kept] == [1.0, 0.4]


# --- The whole experiment, in seconds ---


def test_a_page_of_what_was_not_run_says_so_and_states_the_bars(tmp_path):
    cli.main(["report", "details", "--out", str(tmp_path)])
    page = (tmp_path / "details.md").read_text(encoding="utf-8")
    assert "No method was run yet" in page
    assert "at most 10 % of the noise is left |  | not run | not run |" in page
    assert "**met**" not in page
    assert "png" not in page


def test_details_are_measured_resumed_and_reported_from_their_rows(tmp_path, capsys):
    out = tmp_path / "results"
    command = ["details", ".", "--data-sets", "small", "--out", str(out)]
    command += ["--workers", "0", "--seconds", "0.5", "--methods", "care"]
    cli.main([*command, "--repeats", "1"])
    capsys.readouterr()
    cli.main([*command, "--repeats", "2"])
    told = capsys.readouterr().out
    assert "'care', 'repeat': 1" in told
    assert "'repeat': 0" not in told  # done before
    rows = read_rows(out / "details.csv")
    noisy = details_bars.by_repeat(rows, "small", "noisy", "flat noise left", 95)
    assert noisy[0] == pytest.approx(1, abs=0.05)
    left = details_bars.by_repeat(rows, "small", "care", "flat noise left", 10)
    assert sorted(left) == [0, 1]
    assert left[0] != left[1]
    assert all(0 < value < 1 for value in left.values())
    page = (out / "details.md").read_text(encoding="utf-8")
    assert "| PN2V, noise model chosen, bootstrapped, **ours** | not run |" in page
    for name in ("details.png", "details-small.png"):
        assert (out / name).stat().st_size > 10_000
    (out / "details.md").unlink()
    cli.main(["report", "details", "--out", str(out)])
    assert (out / "details.md").read_text(encoding="utf-8") == page
