"""Noise models are judged by pairs of other images; pages come from the CSV alone."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import cli, data_sets
from evidence.ledger import read_rows
from evidence.noise_models import likelihood, pairs, priors, runs
from evidence.noise_models.averages import likelihood_cell
from evidence.noise_models.kinds import KINDS
from napari_ppn2v.core.noise_models.gmm import GaussianMixtureModel
from napari_ppn2v.core.noise_models.histogram import HistogramModel

SIGNALS = (100.0, 300.0)


def gaussian(variance: float) -> GaussianMixtureModel:
    """One Gaussian of the same variance (ADU²) at all signals."""
    coefficients = np.array([[0.0, 0.0], [math.log(variance), -40.0], [0.0, 0.0]])
    return GaussianMixtureModel(
        coefficients, min_signal=0.0, max_signal=500.0, variance_floor=1e-3
    )


def some_pairs(n_pairs: int = 5000, variance: float = 9.0) -> pairs.PixelPairs:
    rng = np.random.default_rng(0)
    signal = rng.uniform(*SIGNALS, n_pairs).astype(np.float32)
    noise = rng.normal(0, variance**0.5, n_pairs).astype(np.float32)
    return pairs.PixelPairs(signal, signal + noise)


def numbered_images(n_images: int = 8, side: int = 4) -> np.ndarray:
    """Images whose every pixel says which image it is of."""
    return np.broadcast_to(
        np.arange(n_images, dtype=np.float32)[:, None, None], (n_images, side, side)
    ).copy()


# --- Cutting ---------------------------------------------------------------------


@given(share=st.floats(0.01, 1.0))
def test_a_calibration_that_covers_less_keeps_all_pairs_below_its_end(share: float):
    whole = some_pairs(500)
    limit = SIGNALS[0] + share * (SIGNALS[1] - SIGNALS[0])
    kept = pairs.covering(whole, share, SIGNALS)
    assert (kept.signal <= limit).all()
    assert len(kept) == (whole.signal <= limit).sum()


@given(share=st.floats(0.001, 1.0), seed=st.integers(0, 100))
def test_thinning_keeps_the_share_without_repeating_any_pair(share: float, seed: int):
    numbers = np.arange(2000, dtype=np.float32)
    kept = pairs.thinned(pairs.PixelPairs(numbers, numbers + 0.5), share, seed)
    assert len(kept) == max(1, round(share * 2000))
    assert len(np.unique(kept.signal)) == len(kept)
    assert (kept.observation == kept.signal + 0.5).all()


def test_thinning_depends_on_the_seed_alone():
    first, again, other = (
        pairs.thinned(some_pairs(), 0.1, seed).signal for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_the_signal_of_a_repeat_is_the_mean_of_the_others():
    frames = np.array([[[10.0]], [[20.0]], [[60.0]]], np.float32)
    task = replace(
        data_sets.small().tasks("calibrated")[0], calibration=data_sets.Repeats(frames)
    )
    found = pairs.pairs_of(task)
    assert list(found.observation) == [10, 20, 60]
    assert list(found.signal) == [40, 35, 15]


# --- Folds -----------------------------------------------------------------------


def test_no_pair_of_a_fit_comes_from_an_image_of_its_fold():
    images = numbered_images()
    for number, task in enumerate(data_sets.calibrated_folds(images, images, 4)):
        fold = pairs._fold(number, pairs.pairs_of(task), task)
        fitted, judged = (set(p.signal) for p in (fold.calibration, fold.held_out))
        assert not fitted & judged
        assert fitted | judged == set(range(8))


def test_bootstrapped_pairs_come_from_the_images_of_the_other_folds():
    images = numbered_images()
    tasks = data_sets.calibrated_folds(images, images, 4)
    everything = replace(tasks[0], images=tuple(range(8)))
    fold = pairs._fold(1, pairs.pairs_of(tasks[1]), tasks[1])
    data = pairs.NoiseData("small", "", (fold,), (0, 8), (0, 8), everything)
    prepared = priors.Prepared(images + 100, images, images, 0.0)
    found = runs.bootstrapped(data, fold, prepared)
    assert set(found.observation) == {0, 2, 3, 4, 6, 7}
    assert (found.signal == found.observation + 100).all()


def test_uniform_light_takes_its_signal_from_other_frames(tmp_path: Path):
    frames = np.zeros((2, 8, 3, 3), np.uint16)
    frames[:, 2:4] = 90  # the second quarter
    (tmp_path / pairs.LANL).mkdir()
    np.savez(tmp_path / pairs.LANL / "emccd_calibration.npz", em100_samples=frames)
    data = pairs.load_noise_data(tmp_path, pairs.LANL)
    second = data.folds[1]
    assert set(second.held_out.observation) == {90}
    assert set(second.held_out.signal) == {0}
    assert set(data.folds[0].held_out.signal) == {30}  # 90 in 2 of 6 frames


def test_a_data_set_without_calibration_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no calibration"):
        pairs.load_noise_data(tmp_path, "bpae_scmos")


# --- Judging ---------------------------------------------------------------------


def test_the_likelihood_of_a_gaussian_is_that_of_its_formula():
    judged, variance = some_pairs(), 9.0
    residual = judged.observation.astype(float) - judged.signal
    formula = 0.5 * (residual**2 / variance + math.log(2 * math.pi * variance)).mean()
    found = likelihood.held_out(gaussian(variance), judged)
    assert found.nll == pytest.approx(formula, abs=1e-5)
    assert found.impossible == 0
    assert found.nll_possible == found.nll


def test_empty_bins_count_as_impossible_pixels_and_keep_their_floor():
    edges = np.linspace(0, 4, 5)
    mass = np.array([[0.0, 1.0, 0.0, 0.0]] * 4)
    model = HistogramModel(mass, edges, edges, interpolation="lower-edge")
    judged = pairs.PixelPairs(
        np.full(4, 2.0, np.float32), np.array([1.5, 1.5, 1.5, 3.5], np.float32)
    )
    found = likelihood.held_out(model, judged)
    assert found.impossible == 0.25
    assert found.nll_possible == pytest.approx(0, abs=1e-6)
    assert found.nll == pytest.approx(30 * math.log(10) / 4, rel=1e-4)


def test_the_posterior_mean_of_gaussians_is_that_of_their_formula():
    mean, x = np.full((2, 2), 200.0, np.float32), np.full((2, 2), 206.0, np.float32)
    width, variance = 2.0, 9.0
    found = priors._posterior_mean(
        mean, np.full_like(mean, width), x, gaussian(variance)
    )
    weight = width**2 / (width**2 + variance)
    assert found == pytest.approx(200 + weight * 6, abs=1e-2)


def test_too_few_pairs_are_a_result_that_says_so():
    data = pairs.load_noise_data(Path(), "small")
    found = dict(runs._fits(some_pairs(50), runs.CALIBRATED, ["gmm-1x2"], data))
    assert "too few" in str(found["gmm-1x2"])
    judged = runs._judged(found["gmm-1x2"], data.folds[0], denoising=None)
    assert "too few" in judged["failed"]
    key = {"repeat": 0, "fold": 0, "way": runs.POSTERIOR, "model": "gmm-1x2"}
    assert likelihood_cell([{**key, **judged}], model="gmm-1x2") == "fit failed"


def test_published_histograms_keep_all_bootstrapped_signals():
    trims = {name: runs.trim_percent(name, runs.BOOTSTRAPPED) for name in KINDS}
    assert trims.pop("histogram-published") == 0
    assert set(trims.values()) == {0.5}
    assert {runs.trim_percent(name, runs.CALIBRATED) for name in KINDS} == {0}


# --- Experiments -----------------------------------------------------------------

SHORT = ["--n2v-steps", "2", "--pn2v-steps", "2"]
MODELS = ("gmm-1x2", "gmm-3x2", "histogram-published", "histogram-ours")
TWO_FOLDS = ["--folds", "0", "1", "--models", *MODELS, "--refinement-steps", "1"]
NOT_REFINED = [*TWO_FOLDS, "--refined-data-sets"]
EXPERIMENTS = {
    "table2": [*TWO_FOLDS, "--refined-data-sets", "small"],
    "table3": [*NOT_REFINED, "--coverages", "1", "0.25"],
    "fig3b": [*NOT_REFINED, "--shares", "1", "0.1"],
    "fig4": ["--share", "0.1", "--coverage", "0.25"],
}


def run_experiment(name: str, folder: Path) -> None:
    cli.main(
        [name, str(folder), "--data-sets", "small", "--workers", "0"]
        + ["--out", str(folder / "out"), "--work", str(folder / "work")]
        + SHORT
        + EXPERIMENTS[name]
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All experiments, run once on a small simulation."""
    place = tmp_path_factory.mktemp("evidence")
    for name in EXPERIMENTS:
        run_experiment(name, place)
    return place


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_leaves_its_files(folder: Path, name: str):
    for ending in ("csv", "md", "png"):
        assert (folder / "out" / f"{name}.{ending}").stat().st_size > 500


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_pages_and_pictures_come_from_the_csv_file_alone(
    folder: Path, name: str, tmp_path: Path
):
    there = folder / "out"
    (tmp_path / f"{name}.csv").write_bytes((there / f"{name}.csv").read_bytes())
    cli.main(["report", name, "--out", str(tmp_path)])
    for ending in ("md", "png"):
        file = f"{name}.{ending}"
        assert (tmp_path / file).read_bytes() == (there / file).read_bytes()


def test_what_is_done_is_not_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch):
    def must_not_run(**arguments: object) -> None:
        raise AssertionError("run again")

    monkeypatch.setattr(runs, "study", must_not_run)
    monkeypatch.setattr(runs, "pictures", must_not_run)
    before = (folder / "out" / "table3.csv").read_bytes()
    for name in ("table3", "fig4"):
        run_experiment(name, folder)
    assert (folder / "out" / "table3.csv").read_bytes() == before


def test_the_whole_calibration_is_run_once_for_all_experiments(folder: Path):
    def whole(name: str) -> list[dict]:
        rows = read_rows(folder / "out" / f"{name}.csv")
        whole = {"coverage": 1, "share": 1, "source": "calibrated", "fold": 0}
        return [
            row
            for row in rows
            if row["way"] == runs.POSTERIOR
            and all(row[key] == value for key, value in whole.items())
        ]

    assert len(whole("table2")) == len(MODELS)
    # the seconds of a run are never the same twice
    assert whole("table2") == whole("table3") == whole("fig3b")


def test_a_calibration_cut_short_is_told_by_its_share_outside(folder: Path):
    rows = read_rows(folder / "out" / "table3.csv")
    outside = {row["coverage"]: row["outside"] for row in rows}
    assert outside[1] == 0
    assert 0.05 < outside[0.25] < 0.6


def test_beyond_its_calibration_only_the_published_histogram_gives_up(folder: Path):
    rows = [r for r in read_rows(folder / "out" / "table3.csv") if r["coverage"] < 1]
    worst = {row["model"]: row["impossible"] for row in rows}
    assert worst["histogram-published"] > 0.05
    assert worst["gmm-3x2"] == worst["gmm-1x2"] == worst["histogram-ours"] == 0


def test_networks_refined_with_a_noise_model_are_scored(folder: Path):
    rows = [
        r for r in read_rows(folder / "out" / "table2.csv") if r["way"] == "refined"
    ]
    assert {row["model"] for row in rows} == set(MODELS) - {"histogram-published"}
    assert all(5 < row["psnr"] < 40 for row in rows)


def test_nothing_is_reported_of_what_was_not_run(tmp_path: Path):
    cli.main(["report", *EXPERIMENTS, "--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_results_can_be_handed_from_one_process_to_another():
    arguments = {
        "data": "",
        "data_set": "small",
        "cut": {},
        "models": ["gmm-1x2"],
        "way": runs.POSTERIOR,
        "folds": [0],
        "repeat": 0,
        "steps": {},
        "shared": "",
        "prior": None,
    }
    handed = json.loads(json.dumps(arguments))
    result = runs.study(**handed)
    assert json.loads(json.dumps(result)) == result
