"""The experiments of the Noise2Void paper: what they measure, and that they go on."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import cli, data_sets, filling, measures, pictures, recordings, training
from evidence import failure_scenes as scenes
from evidence import photograph_runs as runs
from evidence.experiments import bsd68, noise_levels, panels
from evidence.jobs import Job
from evidence.ledger import Ledger, read_rows, write_rows
from evidence.methods import METHODS
from evidence.photographs import landscape, photographs, spread
from evidence.worst_parts import keep_worst_parts

TINY = ["--filters", "4", "--workers", "0"]


def photograph(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Soft shapes in all grey values from 0 to 255."""
    image = gaussian_filter(rng.normal(size=shape), 3)
    return (255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stand-ins with the layout of the data sets."""
    home = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    (home / "bsd68").mkdir()
    training_images = np.stack([photograph(rng, (48, 48)) for _ in range(12)])
    np.savez(home / "bsd68" / "train400_180.npz", images=training_images)
    shapes = [(48, 64), (64, 48), (48, 64), (64, 48)]
    tests = {f"t{i}": photograph(rng, shape) for i, shape in enumerate(shapes)}
    np.savez(home / "bsd68" / "test68.npz", **tests)
    (home / "twophoton_structured").mkdir()
    lines = rng.normal(400, 100, (4, 48, 49))
    frames = (lines[..., 1:] + lines[..., :-1]).astype(np.uint16)
    path = home / "twophoton_structured" / "frames.tif"
    tifffile.imwrite(path, frames, photometric="minisblack")
    return home


# --- Measures, on images made by hand ---


def test_recovered_fraction_is_the_share_of_light_that_is_left():
    rng = np.random.default_rng(0)
    background = rng.uniform(100, 200, (3, 16, 16))
    heights = np.zeros((3, 16, 16))
    heights[0, 3, 5], heights[2, 9, 9] = 50, 150
    estimate = background + 0.3 * heights
    estimate[1] += 40  # errors elsewhere do not count
    found = measures.recovered_fraction(estimate, background, heights)
    assert found == pytest.approx(0.3)
    nothing = measures.recovered_fraction(background, background, heights)
    assert nothing == 0
    assert np.isnan(measures.recovered_fraction(estimate, background, 0 * heights))


@pytest.mark.parametrize("left", [0.0, 0.5, 1.0, -0.5])
def test_surviving_share_is_the_square_of_the_factor_that_is_left(left):
    pattern = scenes.checkerboard((16, 24))
    truth = np.random.default_rng(1).uniform(0, 255, (16, 24))
    other_error = np.outer(np.ones(16), np.linspace(-9, 9, 24))  # not like the pattern
    other_error -= pattern * np.sum(other_error * pattern) / np.sum(pattern**2)
    estimate = truth + left * pattern + other_error + 7
    share = measures.surviving_share([estimate], [truth], [pattern])
    assert share == pytest.approx(left**2, abs=1e-12)


def test_neighbours_of_sums_of_two_are_alike_along_their_axis_alone():
    white = np.random.default_rng(2).normal(size=(8, 128, 129))
    lines = white[..., 1:] + white[..., :-1]
    # 131072 values: standard error 0.003
    assert measures.neighbour_correlation(lines, 2) == pytest.approx(0.5, abs=0.015)
    assert measures.neighbour_correlation(lines, 1) == pytest.approx(0.0, abs=0.015)


def test_a_still_scene_does_not_count_as_fluctuation():
    noise = np.random.default_rng(3).normal(size=(6, 16, 16))
    scene = np.random.default_rng(4).uniform(0, 1000, (16, 16))
    left = measures.surviving_fluctuation(scene + noise, scene + 0.1 * noise)
    assert left == pytest.approx(0.01)


def test_worst_pixel_and_worst_part_are_found():
    truths = [np.zeros((20, 30)), np.zeros((30, 20))]
    estimates = [image.copy() for image in truths]
    estimates[0][4, 25] = -50.0
    estimates[1][12:20, 5:13] = 20.0  # more in all than the single pixel
    assert measures.largest_error(estimates, truths) == (0, 4, 25)
    assert measures.worst_part(estimates, truths, 8) == (1, 16, 9)


# --- Scenes ---


def test_bright_pixels_are_single_and_of_known_heights():
    scene = scenes.puncta(size=64, n_training=2, n_scored=3)
    heights = scene.parts["heights"]
    assert heights.shape == (3, 64, 64)
    allowed = [scenes.NOISE_SD * height for height in scenes.HEIGHTS]
    assert set(heights[heights > 0]) <= set(np.float32(allowed))
    for frame in heights:
        places = np.argwhere(frame > 0)
        assert len(places) == 16
        gaps = np.abs(places[:, None] - places[None]).max(-1)
        assert gaps[gaps > 0].min() >= 6
    assert np.allclose(scene.task.truth, scene.parts["background"] + heights)
    assert len(scene.task.training) == 2


def test_the_pattern_has_no_mean_and_begins_elsewhere_in_each_image(folder):
    assert scenes.checkerboard((8, 8)).mean() == 0
    scene = scenes.patterned_photographs(folder, n_training=3, n_scored=4)
    parts = scene.parts["noise"] + scene.parts["pattern"]
    assert np.allclose(scene.task.scored - scene.task.truth, parts, atol=1e-3)
    assert len({pattern.tobytes() for pattern in scene.parts["pattern"]}) > 1


def test_shuffling_frees_neighbours_and_keeps_each_pixel(folder):
    recorded = scenes.two_photon(folder).task.scored
    shuffled = scenes.two_photon_shuffled(folder).task.scored
    assert np.array_equal(np.sort(recorded, axis=0), np.sort(shuffled, axis=0))
    before = measures.neighbour_correlation(measures.frame_differences(recorded), 2)
    after = measures.neighbour_correlation(measures.frame_differences(shuffled), 2)
    assert before > 0.4
    assert abs(after) < 0.1


# --- Photographs ---


def test_noise_is_added_once_unclipped_and_the_same_for_fewer_images(folder):
    all_images = photographs(folder).tasks("unsupervised")[0]
    fewer = photographs(folder, n_images=2).tasks("unsupervised")[0]
    assert fewer.images == (1, 3)
    for number, image in zip(fewer.images, fewer.scored, strict=True):
        assert np.array_equal(image, all_images.scored[number])
    assert min(image.min() for image in all_images.scored) < 0
    again = photographs(folder).tasks("noisy pairs")[0]
    assert np.array_equal(again.training, all_images.training)
    assert not np.array_equal(again.targets, again.training)
    other = photographs(folder, repeat=1).tasks("noisy pairs")[0]
    draws = [again.training, again.targets, other.training, other.targets]
    assert len({draw.tobytes() for draw in draws}) == 4


def test_trained_on_the_test_images_there_are_no_clean_targets(folder):
    source = photographs(folder, train_on="test")
    task = source.tasks("unsupervised")[0]
    assert task.training.shape == (4, 48, 64)
    assert np.array_equal(task.training[1], landscape(task.scored[1]))
    with pytest.raises(data_sets.NotPossible, match="looked for"):
        source.tasks("supervised")


def test_images_are_spread_evenly():
    assert spread(68, 4) == [8, 25, 42, 59]
    assert spread(3, None) == spread(3, 9) == [0, 1, 2]


@pytest.mark.parametrize("name", ["n2v-published", "care", "auto-bootstrapped-ours"])
def test_full_settings_are_those_of_the_paper(name):
    observations = np.zeros((20, 8, 8), np.float32)
    config = runs.paper_settings(METHODS[name], 0, observations)
    assert config.network.n_filters == 96
    assert config.pretraining.batch_size == 128
    assert config.n_steps == 200 * 400
    n2n = runs.paper_settings(METHODS["n2n"], 0, observations)
    assert n2n.pretraining.batch_size == 16
    pn2v = runs.paper_settings(METHODS["gmm-bootstrapped-published"], 0, observations)
    assert (pn2v.method, pn2v.prior.n_samples) == ("pn2v", 800)


# --- Experiments, run in miniature ---


def experiment(name: str, folder: Path, home: Path, *options: str) -> Path:
    out = home / "results"
    words = [name, str(folder), "--out", str(out), "--work", str(home / "work")]
    assert cli.main([*words, *TINY, *options]) == 0
    return out


def assert_report_needs_csv_and_crops_alone(name: str, out: Path, home: Path) -> None:
    alone = home / "alone"
    alone.mkdir()
    for path in out.iterdir():
        if path.suffix in (".csv", ".npz"):
            shutil.copy(path, alone)
    assert cli.main(["report", name, "--out", str(alone)]) == 0
    made = sorted(path.name for path in out.iterdir())
    assert sorted(path.name for path in alone.iterdir()) == made
    page = f"{name}.md"
    assert (alone / page).read_text("utf-8") == (out / page).read_text("utf-8")


def test_photographs_are_scored_beside_the_papers_figures(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "DRY_RUN_STEPS", (2, 2))
    methods = ["noisy", "mean-3", "nlm", "n2v-published", "n2v-ours", "care"]
    options = ["--methods", *methods, "--seconds", "0.1", "--slow-images", "2"]
    out = experiment("bsd68", folder, tmp_path, *options)
    rows = read_rows(out / "bsd68.csv")
    n_images = {name: sum(r["method"] == name for r in rows) for name in methods}
    assert n_images == {**dict.fromkeys(methods, 4), "nlm": 2}
    noisy = np.mean([row["psnr"] for row in rows if row["method"] == "noisy"])
    expected = 20 * np.log10(255 / 25)  # over 12288 pixels, within 0.06 dB
    assert noisy == pytest.approx(expected, abs=0.2)
    page = (out / "bsd68.md").read_text("utf-8")
    assert "| 27.71 |" in page
    assert bsd68.NOT_RUN in page
    assert_report_needs_csv_and_crops_alone("bsd68", out, tmp_path)
    kept = tmp_path / "work" / "bsd68" / "estimates" / "care-train.npz"
    assert [image.shape for image in runs.kept_estimates(kept).values()] == [
        (48, 64),
        (64, 48),
        (48, 64),
        (64, 48),
    ]


def test_finished_runs_are_not_run_again(folder, tmp_path):
    options = ["--sigmas", "10", "40", "--images", "2", "--steps", "2"]
    few = [*options, "--methods", "noisy", "mean-3", "mean-7", "care"]
    out = experiment("noise-levels", folder, tmp_path, *few)
    first = (out / "noise-levels.csv").read_text("utf-8")
    experiment("noise-levels", folder, tmp_path, *few)
    assert (out / "noise-levels.csv").read_text("utf-8") == first
    assert_report_needs_csv_and_crops_alone("noise-levels", out, tmp_path)
    # and the job itself is never looked at
    ledger = Ledger(tmp_path / "ledger.csv", ("a",))
    ledger.add([{"a": 1, "b": 2}])
    impossible = [({"a": 1}, Job("no such kind", {}))]
    assert filling.fill(ledger, impossible, 0, lambda job, result: []) == 0


def test_the_best_window_is_chosen_at_each_noise_level():
    rows = [
        {"method": name, "sigma": sigma, "repeat": 0, "image": 0, "psnr": value}
        for name, sigma, value in (
            ("mean-3", 10, 30.0),
            ("mean-7", 10, 25.0),
            ("mean-3", 60, 20.0),
            ("mean-7", 60, 22.0),
        )
    ]
    found = noise_levels.levels(rows)
    best = {sigma: mean.mean for sigma, mean in found["best mean"].items()}
    assert best == {10: 30.0, 60: 22.0}
    assert "best median" not in found


def test_failures_are_measured_and_shown(folder, tmp_path):
    options = ["--steps", "2", "--methods", "noisy", "n2v-ours"]
    cases = ["--cases", "pattern", "two-photon", "shuffled"]
    out = experiment("failures", folder, tmp_path, *options, *cases)
    rows = read_rows(out / "failures.csv")
    value = {(row["case"], row["method"], row["measure"]): row["value"] for row in rows}
    assert value["pattern", "noisy", "pattern left"] == pytest.approx(1, abs=0.15)
    assert value["pattern", "n2v-ours", "pattern left"] < 0.2
    assert value["two-photon", "noisy", "fluctuation left"] == 1
    assert value["two-photon", "noisy", "correlation along x"] > 0.4
    assert (out / "failures-pattern.png").exists()
    page = (out / "failures.md").read_text("utf-8")
    assert "two-photon frames, Noise2Void, ours:" in page
    # the check of the data finds the noise that neighbours share, where they do
    said = {row["case"]: row["notices"] for row in rows if row["method"] == "noisy"}
    assert "noise correlation, will not work" in said["two-photon"]
    assert "noise correlation" not in said["shuffled"]
    assert said["two-photon"] in page
    assert_report_needs_csv_and_crops_alone("failures", out, tmp_path)


def test_worst_parts_of_photographs_hold_the_worst_pixel(folder, tmp_path):
    source = photographs(folder).tasks("classical")[0]
    for name in ("care", "n2v-ours"):
        images = [image.copy() for image in source.truth]
        images[2][7, 50] += 90 if name == "n2v-ours" else 1
        path = tmp_path / "estimates" / f"{name}-train.npz"
        runs.keep_estimates(path, source.images, images)
    keep_worst_parts(folder, tmp_path / "estimates", tmp_path)
    rows = read_rows(tmp_path / "failures-photographs.csv")
    pixel = {row["method"]: row for row in rows if row["case"] == "pixel"}
    place = [pixel["n2v-ours"][name] for name in ("image", "row", "column")]
    assert place == [2, 7, 50]
    grey = {name: row["grey value"] for name, row in pixel.items()}
    assert grey["n2v-ours"] - grey["truth"] == pytest.approx(90)
    assert grey["care"] - grey["truth"] == pytest.approx(1)
    assert cli.main(["report", "failures", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "failures-photographs.png").exists()


# --- Pictures ---


def test_crops_keep_what_the_eye_can_tell(tmp_path):
    image = np.random.default_rng(5).uniform(100, 5000, (32, 32))
    path = tmp_path / "crops.npz"
    pictures.keep_crops(path, {"first": image})
    pictures.keep_crops(path, {"second": image + 1})
    kept = pictures.read_crops(path)
    assert set(kept) == {"first", "second"}
    assert np.abs(kept["first"] - image).max() <= 4900 / pictures.LEVELS


def test_panels_show_one_part_of_all_kept_estimates(tmp_path):
    source = data_sets.small()
    estimates = tmp_path / "work" / "table1" / "estimates"
    estimates.mkdir(parents=True)
    for method in ("noisy", "care"):
        for task in source.tasks(METHODS[method].family):
            part = task.name.replace(" ", "-")
            images = task.scored if method == "noisy" else task.truth + 1
            path = estimates / f"small-{method}-{part}.npz"
            np.savez(path, images=np.array(task.images), estimates=images)
    out = tmp_path / "results"
    panels.cut_out("small", tmp_path, estimates, out)
    assert cli.main(["report", "panels", "--out", str(out)]) == 0
    rows = {row["method"]: row for row in read_rows(out / "panels.csv")}
    peak = np.ptp(source.tasks("classical")[0].truth[rows["care"]["image"]])
    assert rows["care"]["psnr"] == pytest.approx(20 * np.log10(peak), abs=0.01)
    assert rows["care"]["psnr"] > rows["noisy"]["psnr"]
    assert rows["bm3d"]["missing"] == "not run"
    assert (out / "panels-small.png").exists()


def test_recordings_are_taken_from_a_folder_or_left_out_with_a_reason(tmp_path, capsys):
    home = tmp_path / "mine" / "Fluo-C2DL-MSC"
    rng = np.random.default_rng(6)
    for name, level in (("01", 200), ("01_GT", 3)):
        (home / name).mkdir(parents=True)
        for number in range(2):
            pixels = rng.poisson(level, (40, 44)).astype(np.uint16)
            tifffile.imwrite(home / name / f"t{number:03}.tif", pixels)
    frames = recordings.read_frames(tmp_path / "mine", "Fluo-C2DL-MSC", 5, 32)
    assert frames.shape == (2, 32, 32)
    assert frames.mean() > 150  # no annotations among them
    options = ["--data-sets", "--recordings", str(tmp_path / "mine"), "--steps", "2"]
    with_methods = {"n2v-ours", "noisy"}
    shown = tuple(name for name in recordings.SHOWN if name in with_methods)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "SHOWN", shown)
        out = experiment("panels", tmp_path, tmp_path, *options)
        assert_report_needs_csv_and_crops_alone("panels", out, tmp_path)
    said = capsys.readouterr().out
    assert "Fluo-N2DH-GOWT1) is left out: there are no TIFF files" in said
    rows = read_rows(out / "panels-recordings.csv")
    assert {row["method"] for row in rows} == with_methods
    assert (out / "panels-Fluo-C2DL-MSC.png").exists()


def test_times_are_reported_for_each_size_from_the_file_alone(tmp_path):
    row = {"side": 64, "on": "cpu", "network": "default", "filter": "BM3D"}
    rows = [{**row, "network times faster": 25.0, "machine": "cpu: one"}]
    rows.append({**rows[0], "side": 128, "network times faster": 30.0})
    write_rows(tmp_path / "runtime.csv", rows)
    assert cli.main(["report", "runtime", "--out", str(tmp_path)]) == 0
    page = (tmp_path / "runtime.md").read_text("utf-8")
    assert "## Image of 64²" in page
    assert "## Image of 128²" in page
    assert "| default | BM3D | 25 |" in page


def test_arguments_of_runs_are_plain_values(folder, tmp_path):
    words = ["noise-levels", str(folder), "--out", str(tmp_path)]
    options = cli._parser("noise-levels").parse_args(words)
    _, job = noise_levels._run(25.0, "care", 0, options)
    assert json.loads(json.dumps(job.arguments)) == job.arguments
