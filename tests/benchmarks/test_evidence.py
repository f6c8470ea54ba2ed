"""The harness keeps the rules of an honest comparison, and remembers what was run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import cli, curves, data_sets, jobs, methods, tables, training
from evidence.ledger import Ledger, read_rows, write_rows
from evidence.scoring import scores_of

SMALL = data_sets.small()


def tirf_like() -> data_sets.DataSet:
    """The odd and even frames of a static scene, made in memory."""
    rng = np.random.default_rng(0)
    scene = rng.uniform(100, 200, (32, 48))
    frames = (scene + rng.normal(0, 8, (20, 32, 48))).astype(np.float32)
    return data_sets.odd_and_even(frames)


# --- Which data each method may use ---


@pytest.mark.parametrize("family", ["supervised", "calibrated"])
def test_folds_never_show_the_truth_of_the_images_they_are_scored_on(family):
    rng = np.random.default_rng(1)
    noisy = rng.normal(size=(12, 8, 8)).astype(np.float32)
    truth = rng.normal(size=(12, 8, 8)).astype(np.float32)
    make = {
        "supervised": data_sets.supervised_folds,
        "calibrated": data_sets.calibrated_folds,
    }[family]
    tasks = make(noisy, truth, 4)
    assert sorted(i for task in tasks for i in task.images) == list(range(12))
    for task in tasks:
        seen = task.targets if family == "supervised" else task.calibration.signal
        assert len(seen) == 9
        for scored in task.truth:
            assert not any(np.array_equal(scored, image) for image in seen)


def test_a_static_scene_is_scored_with_frames_that_no_method_sees():
    source = tirf_like()
    for family in ("unsupervised", "calibrated", "noisy pairs"):
        for task in source.tasks(family):
            others = [t for t in source.tasks(family) if t.name != task.name]
            expected = others[0].training.mean(axis=0)
            assert np.allclose(task.truth, expected, rtol=1e-6)
            assert not set(task.images) & set(others[0].images)


def test_supervised_training_on_a_static_scene_sees_the_other_half_of_it_alone():
    tasks = tirf_like().tasks("supervised")
    assert len(tasks) == 4
    for task in tasks:
        columns = np.arange(task.scored.shape[2])[task.region[1]]
        assert len(columns) == 24
        assert task.training.shape[2] == 24
        scored = task.scored[:, :, task.region[1]]
        assert not np.array_equal(scored, task.training)


def test_the_error_of_a_reference_is_the_noise_over_the_root_of_its_frames():
    frames = np.random.default_rng(2).normal(50, 6, (20, 128, 128))
    assert data_sets.reference_error(frames) == pytest.approx(6 / 10**0.5, rel=0.02)


def test_what_is_not_possible_says_why():
    impossible = replace(
        SMALL,
        tasks_of={},
        describe={**SMALL.describe, "noisy pairs": "not possible: one exposure"},
    )
    with pytest.raises(data_sets.NotPossible, match="one exposure"):
        impossible.tasks("noisy pairs")


def test_a_second_noisy_image_has_noise_of_its_own():
    task = SMALL.tasks("noisy pairs")[0]
    first, second = task.training - task.truth, task.targets - task.truth
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


# --- Methods ---


def test_every_probabilistic_method_stands_in_two_rows():
    named = {name.rsplit("-", 1)[0] for name in methods.METHODS if "gmm" in name}
    assert named == {"gmm-calibrated", "gmm-bootstrapped"}
    for kind in ("gmm", "histogram"):
        for source in ("calibrated", "bootstrapped"):
            for way in ("published", "ours"):
                assert f"{kind}-{source}-{way}" in methods.METHODS


def test_as_published_follows_the_paper_but_for_its_size():
    observations = np.linspace(90, 300, 24 * 4, dtype=np.float32).reshape(24, 2, 2)
    method = methods.METHODS["histogram-bootstrapped-published"]
    config = methods.settings(method, 3, observations)
    assert (config.prior.kind, config.prior.n_samples) == ("free", 64)
    assert config.training.replacement == "random"
    assert config.training.schedule == "plateau"
    assert config.training.held_out_frames == 5
    assert config.pseudo_ground_truth == "one-pass"
    assert (config.inference.estimate, config.inference.blind) == ("mmse", "no")
    assert not config.starts_from_n2v
    assert config.noise_model.n_bins == 256
    assert config.noise_model.data_range == (90.0, 300.0)
    assert config.seed == 3


def test_all_methods_have_the_same_network_but_for_the_published_activation():
    observations = SMALL.tasks("unsupervised")[0].training
    networks = {
        (
            replace(config.network, activation="relu"),
            config.network.activation == "relu",
            method.way == methods.PUBLISHED,
        )
        for method in methods.METHODS.values()
        if method.family != "classical"
        for config in [methods.settings(method, 0, observations)]
    }
    assert len({shape for shape, _, _ in networks}) == 1
    assert {(relu, published) for _, relu, published in networks} == {
        (True, True),
        (False, False),
    }


def test_published_steps_keep_their_number_of_validations():
    method = methods.METHODS["gmm-bootstrapped-published"]
    config = methods.settings(method, 0, SMALL.tasks("unsupervised")[0].training)
    config = methods.with_steps(method, config, 800)
    assert config.training.n_steps == 400
    assert config.training.steps_per_validation == 400 // methods.VALIDATIONS


# --- Training ---


def test_equal_arguments_give_equal_bits_with_and_without_shared_networks(tmp_path):
    method = methods.METHODS["gmm-bootstrapped-ours"]
    task = SMALL.tasks("unsupervised")[0]
    runs = [
        training.train(method, task, seed=1, n_steps=12, shared=folder)
        for folder in (None, tmp_path / "shared", tmp_path / "shared")
    ]
    results = [training.predict(run.denoiser, task.scored[:1])[0][0] for run in runs]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    # what was trained before counts with the seconds that it took then
    assert runs[2].seconds["n2v"] == pytest.approx(runs[1].seconds["n2v"], abs=1e-6)


def test_another_seed_or_another_width_trains_another_shared_network(tmp_path):
    method = methods.METHODS["n2v-ours"]
    task = SMALL.tasks("unsupervised")[0]
    small = methods.Size(n_filters=4)
    for seed, size in ((0, small), (1, small), (1, methods.Size(n_filters=6))):
        training.train(method, task, seed=seed, n_steps=2, size=size, shared=tmp_path)
    assert len(list(tmp_path.glob("n2v-*.pt"))) == 3


def test_the_truth_of_scored_images_changes_no_unsupervised_result():
    method = methods.METHODS["n2v-ours"]
    task = SMALL.tasks("unsupervised")[0]
    blinded = replace(task, truth=np.zeros_like(task.truth))
    first, second = (
        training.predict(
            training.train(method, t, seed=0, n_steps=3).denoiser, t.scored[:1]
        )[0][0]
        for t in (task, blinded)
    )
    assert np.array_equal(first, second)


# --- Scores, ledger, tables ---


def test_the_peak_is_that_of_the_whole_truth_where_a_region_is_scored():
    truth = np.zeros((1, 32, 32), np.float32)
    truth[0, 0, 0] = 100.0  # outside of the region
    noisy = truth + 1.0
    task = data_sets.Task(
        "all", noisy, noisy, truth, (0,), region=(slice(16, 32), slice(16, 32))
    )
    found = scores_of([noisy[0]], task, None)[0]
    assert found["psnr"] == pytest.approx(40.0)


def test_a_ledger_remembers_finished_runs_and_nothing_else(tmp_path):
    path = tmp_path / "runs.csv"
    ledger = Ledger(path, ("method", "repeat"))
    ledger.add([{"method": "a", "repeat": 0, "psnr": 30.123456789}])
    with pytest.raises(ValueError, match="repeat"):
        ledger.add([{"method": "b", "psnr": 1.0}])
    again = Ledger(path, ("method", "repeat"))
    assert again.has(method="a", repeat=0)
    assert not again.has(method="a", repeat=1)
    assert again.rows == ledger.rows == [{"method": "a", "repeat": 0, "psnr": 30.1235}]


def test_only_repeats_that_scored_every_image_count():
    rows = [
        {"part": "all", "image": image, "repeat": repeat, "psnr": 10.0 * repeat + image}
        for repeat, images in ((0, (0, 1)), (1, (0, 1)), (2, (0,)))
        for image in images
    ]
    assert tables.repeat_means(rows, "psnr") == {0: 0.5, 1: 10.5}


def test_means_carry_their_standard_error():
    mean = tables.Mean.of([1.0, 2.0, 3.0])
    assert (mean.mean, mean.error) == (2.0, pytest.approx(1 / 3**0.5))
    assert mean.shown(2) == "2.00 ± 0.58"
    assert tables.Mean.of([1.5]).shown(2) == "1.50 (n = 1)"


def test_differences_are_paired_by_repeat():
    difference = tables.paired({0: 31.0, 1: 33.0, 2: 30.0}, {0: 30.0, 1: 32.0})
    assert (difference.mean, difference.error, difference.n) == (1.0, 0.0, 2)
    assert tables.paired({0: 1.0}, {1: 1.0}) is None


def test_the_noise2void_that_a_pn2v_begins_with_is_no_point_of_its_curve():
    def row(system, stage):
        return {"system": system, "stage": stage}

    code = [row("code: PN2V, GMM", stage) for stage in ("n2v", "pn2v", "end")]
    assert [r["stage"] for r in curves.last_stage(code)] == ["pn2v", "end"]
    alone = [row("code: Noise2Void", stage) for stage in ("n2v", "end")]
    assert curves.last_stage(alone) == alone


# --- Whole experiments, in seconds ---


def test_a_run_that_fails_is_told_and_the_others_go_on():
    chain = [
        jobs.Job("score", {"data": ".", "data_set": "none", "method": "noisy",
                           "part": "all", "repeat": 0}),
        jobs.Job("score", {"data": ".", "data_set": "small", "method": "noisy",
                           "part": "all", "repeat": 0}),
    ]  # fmt: skip
    (_, first), (_, second) = jobs.run_all([chain], 1)
    assert isinstance(first, jobs.RunFailed)
    assert "'none' is no data set" in str(first)
    assert len(second["images"]) == 4


def test_table_1_is_filled_resumed_and_made_again_from_its_rows_alone(tmp_path, capsys):
    out, work = tmp_path / "results", tmp_path / "work"
    common = ["--out", str(out), "--work", str(work), "--data-sets", "small"]
    cli.main(["table0", ".", "--out", str(out), "--data-sets", "small"])
    command = ["table1", ".", *common, "--workers", "0", "--seconds", "1"]
    command += ["--repeats", "1"]
    cli.main([*command, "--methods", "noisy", "median"])
    capsys.readouterr()
    cli.main([*command, "--methods", "noisy", "median", "n2v-ours"])
    told = capsys.readouterr().out
    assert "method=n2v-ours" in told
    assert "method=noisy" not in told  # done before
    rows = read_rows(out / "table1.csv")
    assert {row["method"] for row in rows} == {"noisy", "median", "n2v-ours"}
    page = (out / "table1.md").read_text(encoding="utf-8")
    assert "| CARE (supervised) | not run |" in page
    (out / "table1.md").unlink()
    cli.main(["report", "table1", "--out", str(out)])
    assert (out / "table1.md").read_text(encoding="utf-8") == page


def point(system, amount, repeat, psnr, seconds, stage="end"):
    return {
        "data set": "small",
        "system": system,
        "comparison": "time",
        "amount": amount,
        "repeat": repeat,
        "stage": stage,
        "CPU s": seconds,
        "steps": 1,
        "psnr": psnr,
    }


def test_a_budget_shows_the_runs_made_for_it_and_no_shorter_ones(tmp_path):
    rows = [
        point("n2v-ours", 80, 0, 31.0, 80),
        point("n2v-ours", 80, 1, 32.0, 81),
        point("n2v-ours", 160, 0, 33.0, 150),
        point("care", 80, 0, 34.0, 79),
        point("auto-bootstrapped-ours", 80, 0, 31.5, 120),
        point("a peer", 160, 0, 20.0, 40, stage="training"),
        point("a peer", 160, 0, 25.0, 160),
    ]
    write_rows(tmp_path / "convergence.csv", rows)
    cli.experiment("convergence").report(tmp_path)
    page = (tmp_path / "convergence.md").read_text(encoding="utf-8")
    cells = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:4]]
        for line in page.splitlines()
        if line.startswith("|")
    }
    assert cells["Noise2Void, ours"] == ["31.50 ± 0.50", "33.00 (n = 1)"]
    assert cells["CARE (supervised)"] == ["34.00 (n = 1)", "not run"]
    assert cells["a peer"] == ["20.00 (n = 1)", "25.00 (n = 1)"]
    ours = cells["PN2V, noise model chosen, bootstrapped, ours"]
    assert ours == ["takes longer", "not run"]


def test_convergence_has_a_point_for_each_budget(tmp_path):
    out = tmp_path / "results"
    command = ["convergence", ".", "--data-set", "small", "--out", str(out)]
    command += ["--workers", "0"]
    cli.main([*command, "--budgets", "2", "5", "--methods", "n2v-ours"])
    rows = read_rows(out / "convergence.csv")
    # of one second a busy machine leaves nothing to train in
    assert [row["amount"] for row in rows] == [2, 5]
    assert rows[0]["steps"] < rows[1]["steps"]
    page = (out / "convergence.md").read_text(encoding="utf-8")
    assert f"| Noise2Void, ours | {rows[0]['psnr']:.2f} (n = 1) |" in page
    assert (out / "convergence-small.png").stat().st_size > 10_000
