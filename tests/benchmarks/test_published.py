"""The baseline computes the published arithmetic, its stated faults included."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import common
import published


@pytest.fixture(autouse=True)
def _keep_thread_count():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def numbered_patch(size: int) -> np.ndarray:
    """Every pixel has its own value, so any replacement can be traced."""
    return np.arange(size * size, dtype=np.float32).reshape(size, size)


def random_gmm(seed: int) -> published.PublishedGmm:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((9, 2)).astype(np.float32)
    weight[3:6] += 5.0
    return published.PublishedGmm(torch.from_numpy(weight), 100.0, 400.0, 50.0)


def write_data_folder(folder: Path, size: int = 112) -> None:
    import tifffile

    (folder / "w2s").mkdir()
    clean = np.repeat(published.synthetic_frames(1, size), 7, axis=0)
    noisy = np.random.default_rng(0).normal(clean, 9.0)
    tifffile.imwrite(folder / "w2s" / "gt_counts.tif", clean)
    tifffile.imwrite(
        folder / "w2s" / "noisy_counts.tif", noisy.clip(0).astype(np.uint16)
    )


# --- common ----------------------------------------------------------------------


def test_psnr_uses_the_range_of_the_truth_as_peak():
    truth = np.array([[0.0, 50.0], [100.0, 50.0]])
    assert common.psnr(truth + 1.0, truth) == pytest.approx(40.0)


def test_crops_are_scored_with_the_peak_of_the_complete_truth():
    truth = np.zeros((2, 400, 400), np.float32)
    truth[:, 0, 0] = 100.0  # outside the crop
    benchmark = common.Benchmark("test", truth + 1.0, truth)
    rows, columns = benchmark.scored_region
    score = common.crop_psnr(benchmark, lambda frame, _: frame[rows, columns])
    assert score == pytest.approx(40.0)


def test_truth_of_a_static_scene_leaves_the_frame_itself_out():
    frames = np.array([1.0, 2.0, 6.0], np.float32).reshape(3, 1, 1)
    assert common.mean_of_the_others(frames).ravel().tolist() == [4.0, 3.5, 1.5]


def test_bright_has_the_stated_mean_and_variance():
    structures = np.full((4, 100, 100), 99.8 + 6.4 * 5, np.float32)
    noisy, truth = common.simulate_bright(structures)
    assert truth == pytest.approx(100 + 2.2 * 60, rel=1e-5)
    # 40 000 pixels: standard errors 0.1 of the mean and 0.7 % of the variance
    assert noisy.mean() == pytest.approx(truth.mean(), abs=0.4)
    assert noisy.var() == pytest.approx(2.2**2 * 60 + 3.3**2, rel=0.03)


def test_unknown_benchmark_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="'lena' is no benchmark"):
        common.load_benchmark(tmp_path, "lena")


def test_pair_timing_alternates_and_takes_medians():
    calls: list[str] = []
    now = iter([0, 8, 10, 12, 20, 30, 30, 31, 40, 46, 50, 53])
    timing = common.measure_pair(
        lambda: calls.append("a"),
        lambda: calls.append("b"),
        repeats=3,
        clock=lambda: next(now),
    )
    assert calls == ["a", "b"] * 4
    # 8, 10, 6 against 2, 1, 3
    assert (timing.first_seconds, timing.second_seconds) == (8, 2)
    assert (timing.ratio, timing.ratio_range) == (4, (2, 10))


def test_markdown_table_has_one_line_per_row():
    table = common.markdown_table([{"what": "N2V", "dB": 30.12345}])
    assert table == "| what | dB |\n| --- | --- |\n| N2V | 30.12 |\n"


# --- masking ---------------------------------------------------------------------


def test_stratified_places_are_one_per_box():
    places = published.stratified_places(np.random.default_rng(0), 96, 96 * 96 / 36)
    assert len(places) == 16 * 16
    assert len({(y // 6, x // 6) for y, x in places}) == 16 * 16


def test_published_patch_masks_about_278_of_312_places():
    rng = np.random.default_rng(0)
    counts = [len(published.stratified_places(rng, 100, 312.5)) for _ in range(50)]
    # 16² whole boxes, 32 boxes with 4 of 6 places and one with 4 x 4 of 36 inside
    assert np.mean(counts) == pytest.approx((16 + 4 / 6) ** 2, abs=2)


def mask_one_pixel(seed: int) -> tuple[int, int, bool]:
    """Row and column of the only masked pixel and whether it kept its value."""
    patch = numbered_patch(12)
    masked, mask = published.mask_patch(patch, np.random.default_rng(seed), 1.0)
    ((y, x),) = np.argwhere(mask)
    return int(y), int(x), bool(masked[y, x] == patch[y, x])


def test_pixel_leaks_at_the_near_borders_and_nowhere_else():
    """The published fault, kept on purpose: rows and columns 0 and 1 can leak."""
    masked = [mask_one_pixel(seed) for seed in range(1500)]
    leaks = [(y, x) for y, x, kept in masked if kept]
    assert len({(y, x) for y, x, _ in masked}) == 12 * 12
    assert leaks
    assert all(y < 2 or x < 2 for y, x in leaks)


def test_unmasked_pixels_and_the_given_patch_stay_as_they_are():
    patch = numbered_patch(20)
    masked, mask = published.mask_patch(patch, np.random.default_rng(0), 20.0)
    assert np.array_equal(masked[mask == 0], patch[mask == 0])
    assert np.array_equal(patch, numbered_patch(20))


def test_replacements_come_from_within_two_pixels():
    patch = numbered_patch(30)
    masked, mask = published.mask_patch(patch, np.random.default_rng(3), 1.0)
    ((y, x),) = np.argwhere(mask)
    source_y, source_x = divmod(int(masked[y, x]), 30)
    assert max(abs(source_y - y), abs(source_x - x)) <= 2


# --- network ---------------------------------------------------------------------


def test_network_has_the_published_size():
    network = published.make_network(1, 64)
    convolutions = 9 * (64 + 64**2 + 64 * 128 + 128**2 + 128 * 256 + 256**2)
    convolutions += 9 * 2 * (128**2 + 64**2)
    upsampling = 4 * (256 * 128 + 128 * 64)
    biases = 2 * (64 + 128 + 256) + 3 * (128 + 64) + 1
    total = sum(parameter.numel() for parameter in network.parameters())
    assert total == convolutions + upsampling + 64 + biases


def test_equal_seeds_give_equal_networks():
    image = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    first, second = published.make_network(3, 4, 7), published.make_network(3, 4, 7)
    assert torch.equal(first(image), second(image))


def test_crop_prediction_equals_the_whole_frame():
    frames = published.synthetic_frames(1, 192)
    trainer = published.make_trainer(frames, n_filters=4)
    region = (slice(80, 120), slice(60, 100))
    crop = published.predict_crop(frames[0], trainer, region)
    whole, _ = published.predict_tile(frames[0], trainer)
    # ADU of a few hundred in float32
    assert crop == pytest.approx(whole[region], rel=1e-5)


@pytest.mark.parametrize("shape", [(20, 24), (40, 70), (97, 33)], ids=str)
def test_tiles_cover_frames_of_any_size(shape):
    frame = published.synthetic_frames(1, 100)[0][: shape[0], : shape[1]]
    trainer = published.make_trainer(frame[None], random_gmm(0), n_samples=5)
    prior_mean, mmse = published.predict_tiled(frame, trainer, tile=32, overlap=8)
    assert prior_mean.shape == mmse.shape == shape
    assert np.isfinite(prior_mean).all()
    assert np.isfinite(mmse).all()


def test_mmse_is_the_prior_mean_where_every_sample_is_far_away():
    far = np.full((16, 16), 1e6, np.float32)
    trainer = published.make_trainer(
        published.synthetic_frames(1, 32), random_gmm(0), n_samples=5, n_filters=4
    )
    trainer.std = 1e-3  # all samples at about the mean, a million ADU away
    trainer.network.head.weight.data.zero_()
    trainer.network.head.bias.data.copy_(torch.arange(5.0))
    prior_mean, mmse = published.predict_tile(far, trainer)
    assert mmse == pytest.approx(prior_mean, rel=1e-6)


# --- noise models and losses -----------------------------------------------------


def test_gmm_density_integrates_to_one_around_the_signal():
    params = random_gmm(1).to_npz()
    grid = np.arange(-300.0, 900.0, 0.5)
    density = np.array([published.gmm_density(x, 250.0, params) for x in grid])
    assert density.sum() * 0.5 == pytest.approx(1.0, abs=1e-9)
    assert (density * grid).sum() * 0.5 == pytest.approx(250.0, abs=1e-6)


def test_gmm_likelihood_equals_the_float64_loop():
    model = random_gmm(2)
    signal = torch.linspace(80.0, 420.0, 23)
    observation = signal + torch.linspace(-30.0, 30.0, 23)
    expected = [
        published.gmm_density(float(x), float(s), model.to_npz())
        + published.LIKELIHOOD_FLOOR
        for x, s in zip(observation, signal, strict=True)
    ]
    assert model.likelihood(observation, signal).numpy() == pytest.approx(
        expected, rel=1e-4
    )


def test_gmm_survives_its_file_layout():
    model = random_gmm(3)
    again = published.PublishedGmm.from_npz(model.to_npz())
    pair = torch.tensor(210.0), torch.tensor(200.0)
    assert torch.equal(again.likelihood(*pair), model.likelihood(*pair))
    assert model.to_npz()["min_signal"].shape == (1,)
    assert model.to_npz()["min_sigma"].shape == ()


@pytest.mark.parametrize("seed", range(4))
def test_pn2v_loss_equals_the_float64_loop_over_masked_pixels(seed):
    model = random_gmm(seed)
    rng = np.random.default_rng(seed)
    observation = rng.uniform(120, 380, (1, 6, 7)).astype(np.float32)
    samples = observation + rng.normal(0, 15, (9, 1, 6, 7)).astype(np.float32)
    mask = (rng.random((1, 6, 7)) < 0.4).astype(np.float32)
    tensors = (torch.from_numpy(array) for array in (samples, observation, mask))
    loss = published.pn2v_loss(*tensors, model)
    masked = mask.astype(bool)
    expected = published.pn2v_loss_loop(
        samples[:, masked].T, observation[masked], model.to_npz()
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_loss_loop_equals_the_closed_form_of_one_gaussian():
    params = {
        "trained_weight": np.array([[0.0], [math.log(100.0)], [0.0]]),
        "min_signal": np.array([0.0]),
        "max_signal": np.array([1.0]),
        "min_sigma": np.array(50.0),
    }
    loss = published.pn2v_loss_loop(np.array([[7.0]]), np.array([17.0]), params)
    assert loss == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi * 100), rel=1e-6)


def test_n2v_loss_counts_masked_pixels_only():
    samples = torch.tensor([[[[3.0, 100.0]]]])
    observation, mask = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert published.n2v_loss(samples, observation, mask, 2.0).item() == 1.0


def test_histogram_interpolates_from_the_lower_edge_as_published():
    mass = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    lower = np.repeat([[0.0], [10.0], [20.0]], 3, axis=1)
    model = published.PublishedHistogram(np.stack([mass, lower, lower + 10]))
    at_edge = model.likelihood(torch.tensor(5.0), torch.tensor(10.0))
    between = model.likelihood(torch.tensor(5.0), torch.tensor(5.0))
    assert at_edge.item() == pytest.approx(0.5)
    assert between.item() == pytest.approx(0.75)


def test_histogram_never_reads_its_last_observation_column():
    mass = np.array([[0.0, 1.0], [0.0, 1.0]])
    lower = np.repeat([[0.0], [10.0]], 2, axis=1)
    model = published.PublishedHistogram(np.stack([mass, lower, lower + 10]))
    assert model.likelihood(torch.tensor(19.0), torch.tensor(3.0)).item() < 1e-6


def test_histogram_rows_of_counted_pairs_sum_to_one():
    rng = np.random.default_rng(0)
    signal = rng.uniform(0, 100, 20_000)
    table = published.make_histogram_published(signal, signal, 10, 0.0, 100.0)
    assert table.shape == (3, 10, 10)
    assert table[0].sum(axis=1) == pytest.approx(np.ones(10))
    assert np.diag(table[0]) == pytest.approx(np.ones(10))


def test_gmm_fit_recovers_the_photon_transfer_line():
    rng = np.random.default_rng(0)
    signal = rng.uniform(100.0, 1000.0, 40_000)
    observation = rng.normal(signal, np.sqrt(60 + 1.7 * signal))
    model = published.fit_gmm_published(
        signal,
        observation,
        n_components=1,
        n_iterations=400,
        batch_size=5_000,
        variance_floor=1.0,
    )
    z_coefficients = np.exp(model.weight[1].numpy())
    slope = z_coefficients[1] / (model.max_signal - model.min_signal)
    # standard error of the slope at 40 000 pairs is about 1.5 %
    assert slope == pytest.approx(1.7, rel=0.06)
    exact = np.mean(
        0.5 * np.log(2 * np.pi * (60 + 1.7 * signal))
        + (observation - signal) ** 2 / (2 * (60 + 1.7 * signal))
    )
    assert published.gmm_nll(model, signal, observation) == pytest.approx(
        exact, abs=0.005
    )


# --- training and the command line -----------------------------------------------


def test_step_accumulates_the_sum_of_patch_gradients():
    frames = published.synthetic_frames(1, 32)
    settings = {"n_filters": 4, "patch_size": 16, "seed": 3}
    three = published.make_trainer(frames, n_patches=3, **settings)
    by_hand = published.make_trainer(frames, n_patches=3, **settings)
    three.step()
    sum(by_hand.patch_loss(by_hand.patches) for _ in range(3)).backward()
    for ours, theirs in zip(
        three.network.parameters(), by_hand.network.parameters(), strict=True
    ):
        assert ours.grad.numpy() == pytest.approx(
            theirs.grad.numpy(), rel=1e-3, abs=1e-6
        )


@pytest.mark.parametrize("kind", ["gmm", "histogram"])
def test_pn2v_steps_lower_the_loss(kind):
    frames = published.synthetic_frames(2, 32)
    model = published._timing_noise_model(kind, frames)
    trainer = published.make_trainer(
        frames, model, n_samples=8, n_filters=4, patch_size=16, n_patches=4
    )
    losses = [trainer.step() for _ in range(60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_n2v_training_scores_over_time_and_on_complete_frames(tmp_path):
    write_data_folder(tmp_path)
    out = tmp_path / "curve.csv"
    arguments = (
        f"n2v-train --threads 1 --filters 4 --minutes 0.05 --every 1 --out {out}"
    )
    published.main([*arguments.split(), "--data", str(tmp_path)])
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kinds = [row["what"] for row in rows]
    assert kinds[0] == "noisy crops"
    assert kinds[-2:] == ["complete frames", "complete frames, best validation"]
    crops = [float(row["seconds"]) for row in rows if row["what"] == "crops"]
    assert len(crops) >= 2
    assert crops == sorted(crops)
    assert all(math.isfinite(float(row["psnr"])) for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        "n2v-step --threads 1 --filters 4 --patches 2 --repeats 1",
        "pn2v-step --threads 1 --filters 4 --patches 1 --repeats 1 --samples 8",
        "predict --threads 1 --filters 4 --samples 8 --size 40 --noise-model histogram",
    ],
    ids=lambda text: text.split()[0],
)
def test_timing_commands_print_one_table(arguments, capsys):
    published.main(arguments.split())
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("| ") for line in lines) == 3


def test_gmm_fit_command_writes_a_noise_model_file(tmp_path, capsys):
    write_data_folder(tmp_path)
    out = tmp_path / "gmm.npz"
    arguments = f"gmm-fit --threads 1 --iterations 5 --batch 1000 --out {out}"
    published.main([*arguments.split(), "--data", str(tmp_path)])
    assert "NLL of held-out frames" in capsys.readouterr().out
    with np.load(out) as arrays:
        assert arrays["trained_weight"].shape == (9, 2)
