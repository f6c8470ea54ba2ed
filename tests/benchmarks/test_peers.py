"""Peers run in a process of their own and answer by a small protocol.

The peer of these tests is a Gaussian filter written where it is needed; the real ones
are not installed. Its driver uses the same `protocol` as theirs.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

# The benchmarks are scripts beside the package, not part of it. Drivers find each other
# as scripts do, so their folder is searched too.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks" / "peers"))

from peers.runner import HERE, Peer, PeerCurve, PeerFailed, PeerOptions, run_peer

DRIVER = f"""
import os, sys, time
sys.path.insert(0, {str(HERE)!r})
import numpy as np
from protocol import BudgetSpent, Estimates, Trained, protocol_parser, run_driver

def smooth(frames, times):
    for _ in range(times):
        padded = np.pad(frames, ((0, 0), (1, 1), (1, 1)), mode="edge")
        frames = (frames + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
                  + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]) / 5
    return frames

def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

def train(job):
    print("a peer that talks")
    steps = 0
    def predict(frames):
        burn(job.options.slow_scoring)
        return Estimates(prior_mean=smooth(frames, steps))
    try:
        while job.options.steps is None or steps < job.options.steps:
            burn(0.01)
            steps += 1
            job.curve.after(steps, "smoothing", predict)
            job.budget.check()
    except BudgetSpent:
        pass
    notes = {{"omp": os.environ["OMP_NUM_THREADS"], "seed": job.options.seed,
              "random": float(np.random.random()), "flag": job.options.flag}}
    return Trained(predict, steps, notes)

parser = protocol_parser("smooths")
parser.add_argument("--flag", action="store_true")
parser.add_argument("--slow-scoring", type=float, default=0.0)
run_driver(parser, train, lambda: {{"smoother": "1.0"}})
"""

REPORT = json.dumps(
    {
        "cpu_seconds_training": 1.0,
        "cpu_seconds_prediction": 2.0,
        "peak_mb": 3.0,
        "steps": 4,
        "versions": {"python": "3"},
    }
)


def make_peer(folder: Path, script: str) -> Peer:
    driver = folder / "driver.py"
    driver.write_text(script, encoding="utf-8")
    return Peer("smoother", Path(sys.executable), driver=driver)


def peer_that_answers(folder: Path, answer: str) -> Peer:
    """Writes its input as both estimates, then runs `answer`."""
    return make_peer(
        folder,
        "import sys, numpy as np\n"
        "options = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "noisy = np.load(options['--input'])\n"
        "write = lambda **arrays: np.savez(options['--output'], **arrays)\n" + answer,
    )


@pytest.fixture
def smoother(tmp_path: Path) -> Peer:
    return make_peer(tmp_path, DRIVER)


@pytest.fixture
def truth() -> np.ndarray:
    rows, columns = np.mgrid[:24, :20] / 6.0
    frame = 100 + 50 * np.sin(rows) * np.cos(columns)
    return np.stack([frame, frame + 20, frame.T.reshape(24, 20)]).astype(np.float32)


@pytest.fixture
def noisy(truth: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(truth, 15).astype(np.float32)


# --- A run -----------------------------------------------------------------------


def test_a_peer_denoises_and_says_what_it_took(smoother, noisy, truth):
    result = run_peer(smoother, noisy, options=PeerOptions(steps=2))
    assert result.mmse is None
    assert result.best is result.prior_mean
    assert result.prior_mean.dtype == np.float32
    assert np.abs(result.best - truth).mean() < 0.7 * np.abs(noisy - truth).mean()
    assert result.steps == 2
    assert 0.02 <= result.cpu_seconds_training < 1
    assert 10 < result.peak_mb < 2000
    assert result.versions["smoother"] == "1.0"
    assert result.versions["numpy"]


def test_seconds_end_the_training(smoother, noisy):
    result = run_peer(smoother, noisy, options=PeerOptions(seconds=0.2))
    assert 0.2 <= result.cpu_seconds_training < 0.4
    assert 2 <= result.steps <= 21


def test_settings_reach_the_peer(smoother, noisy):
    options = PeerOptions(steps=1, seed=7, threads=2, more={"flag": True})
    notes = run_peer(smoother, noisy, options=options).notes
    assert notes["seed"] == 7
    assert notes["omp"] == "2"
    assert notes["flag"] is True
    off = PeerOptions(steps=1, seed=7, more={"flag": False})
    again = run_peer(smoother, noisy, options=off).notes
    assert again["flag"] is False
    assert again["omp"] == "1"
    assert again["random"] == notes["random"]


def test_frames_that_were_not_asked_for_are_nan(smoother, noisy):
    options = PeerOptions(steps=1, predicted_frames=[2])
    estimate = run_peer(smoother, noisy, options=options).best
    assert np.isnan(estimate[:2]).all()
    complete = run_peer(smoother, noisy, options=PeerOptions(steps=1)).best
    np.testing.assert_array_equal(estimate[2], complete[2])


def test_our_python_path_does_not_reach_the_peer(tmp_path, noisy, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    answer = f"import os\nassert 'PYTHONPATH' not in os.environ\nprint({REPORT!r})\n"
    peer = peer_that_answers(tmp_path, f"write(mmse=noisy)\n{answer}")
    assert run_peer(peer, noisy, options=PeerOptions(steps=1)).mmse is not None


# --- Curves ----------------------------------------------------------------------


def test_the_curve_scores_as_the_other_benchmarks_do(smoother, noisy, truth, tmp_path):
    from common import mean_psnr

    curve = PeerCurve(tmp_path / "curve.csv", truth, every=2, frames=[0, 2])
    result = run_peer(smoother, noisy, options=PeerOptions(steps=4), curve=curve)
    with curve.file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert {row["stage"] for row in rows} == {"smoothing"}
    expected = mean_psnr(result.best[[0, 2]], truth[[0, 2]])
    assert float(rows[-1]["psnr"]) == pytest.approx(expected, abs=2e-4)


def test_a_scored_region_keeps_the_peak_of_the_complete_truth(
    smoother, noisy, truth, tmp_path
):
    from common import psnr

    file = tmp_path / "curve.csv"
    curve = PeerCurve(file, truth, every=1, frames=[1], region=(4, 12, 0, 20))
    run_peer(smoother, noisy, options=PeerOptions(steps=1), curve=curve)
    score = float(file.read_text(encoding="utf-8").splitlines()[-1].split(",")[-1])
    part = run_peer(smoother, noisy[:, 4:12], options=PeerOptions(steps=1)).best[1]
    expected = psnr(part, truth[1, 4:12], peak=float(np.ptp(truth[1])))
    assert score == pytest.approx(expected, abs=2e-4)


def test_scoring_does_not_count_against_the_budget(smoother, noisy, truth, tmp_path):
    curve = PeerCurve(tmp_path / "curve.csv", truth, every=1)
    options = PeerOptions(steps=3, more={"slow_scoring": 0.1})
    result = run_peer(smoother, noisy, options=options, curve=curve)
    assert result.cpu_seconds_training < 0.1
    last = (tmp_path / "curve.csv").read_text(encoding="utf-8").splitlines()[-1]
    assert float(last.split(",")[2]) < 0.1


# --- What peers say, and when they fail ------------------------------------------


def test_noise_on_stdout_is_no_report(tmp_path, noisy):
    noise = "print('{}'); print('[1, 2]'); print('Epoch 1')"
    peer = peer_that_answers(
        tmp_path,
        f"write(mmse=noisy + 1, prior_mean=noisy)\n{noise}\nprint({REPORT!r})\n{noise}",
    )
    result = run_peer(peer, noisy, options=PeerOptions(steps=4))
    assert result.steps == 4
    np.testing.assert_array_equal(result.best, noisy + 1)
    np.testing.assert_array_equal(result.prior_mean, noisy)


def test_a_failure_shows_the_end_of_what_the_peer_said(tmp_path, noisy):
    peer = make_peer(
        tmp_path,
        "import sys\n"
        "for line in range(99): print('line', line, file=sys.stderr)\n"
        "raise SystemExit('no network of that width')\n",
    )
    with pytest.raises(PeerFailed, match="smoother ended with exit status 1") as error:
        run_peer(peer, noisy, options=PeerOptions(steps=1))
    assert "no network of that width" in str(error.value)
    assert "line 98" in str(error.value)
    assert "line 9\n" not in str(error.value)


def test_an_unknown_option_is_refused_by_the_driver(smoother, noisy):
    options = PeerOptions(steps=1, more={"colour": "red"})
    with pytest.raises(PeerFailed, match="unrecognized arguments: --colour red"):
        run_peer(smoother, noisy, options=options)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("write(mmse=noisy)\nprint('done')", "without its report"),
        (f"print({REPORT!r})", "wrote no result"),
        (f"write(mmse=noisy[:1])\nprint({REPORT!r})", r"\(1, 24, 20\)"),
        (f"write(other=noisy)\nprint({REPORT!r})", "returned nothing"),
    ],
    ids=["no report", "no file", "wrong shape", "no estimate"],
)
def test_answers_against_the_protocol_are_refused(tmp_path, noisy, answer, message):
    peer = peer_that_answers(tmp_path, answer)
    with pytest.raises(PeerFailed, match=message):
        run_peer(peer, noisy, options=PeerOptions(steps=1))


def test_a_peer_that_hangs_is_ended(tmp_path, noisy):
    peer = make_peer(tmp_path, "import time\ntime.sleep(60)\n")
    start = time.monotonic()
    with pytest.raises(PeerFailed, match=r"was ended after 0\.5 s"):
        run_peer(peer, noisy, options=PeerOptions(steps=1), time_limit=0.5)
    assert time.monotonic() - start < 20


def test_a_peer_that_is_not_there_is_named(tmp_path, noisy):
    nowhere = Peer("ppn2v", tmp_path / "bin" / "python", code=tmp_path)
    with pytest.raises(PeerFailed, match="ppn2v: there is no Python at"):
        run_peer(nowhere, noisy, options=PeerOptions(steps=1))
    no_code = Peer("ppn2v", Path(sys.executable), code=tmp_path / "PPN2V")
    with pytest.raises(PeerFailed, match="ppn2v: there is no code at"):
        run_peer(no_code, noisy, options=PeerOptions(steps=1))
    unknown = Peer("topaz", Path(sys.executable))
    with pytest.raises(PeerFailed, match="topaz: there is no driver at"):
        run_peer(unknown, noisy, options=PeerOptions(steps=1))


@pytest.mark.parametrize("limits", [{}, {"seconds": 1.0, "steps": 1}])
def test_exactly_one_limit_is_asked_for(smoother, noisy, limits):
    with pytest.raises(ValueError, match="either seconds or steps"):
        run_peer(smoother, noisy, options=PeerOptions(**limits))


def test_single_images_are_refused_with_their_shape(smoother, noisy):
    with pytest.raises(ValueError, match=r"\(24, 20\)"):
        run_peer(smoother, noisy[0], options=PeerOptions(steps=1))


# --- Parts of the drivers --------------------------------------------------------


def test_a_training_loop_of_others_ends_after_exactly_so_many_steps():
    from drive_ppn2v import after_each_step
    from protocol import BudgetSpent

    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=1.0)
    seen = []

    def count() -> None:
        seen.append(weight.item())
        if len(seen) == 3:
            raise BudgetSpent

    with after_each_step(count):
        while True:
            weight.grad = torch.full_like(weight, -1.0)
            optimizer.step()
    assert seen == [1.0, 2.0, 3.0]
    optimizer.step()  # the hook is gone
    assert len(seen) == 3


def test_errors_of_others_are_not_taken_for_the_end():
    from drive_ppn2v import after_each_step

    with pytest.raises(ZeroDivisionError), after_each_step(lambda: None):
        raise ZeroDivisionError


def test_pauses_do_not_count():
    from protocol import Budget, BudgetSpent

    def burn(seconds: float) -> None:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    budget = Budget(0.05)
    with budget.paused():
        burn(0.1)
    budget.check()
    burn(0.06)
    assert 0.06 <= budget.used < 0.1
    with pytest.raises(BudgetSpent):
        budget.check()
    budget.check(share=100.0)
    Budget().check()  # without a limit nothing is ever spent


def matlab_sub_images(images: np.ndarray) -> np.ndarray:
    """(B, C, 2Y, 2X) to (B, 4C, Y, X), the rows of each 2 x 2 block running fastest."""
    parts = [images[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
    return np.stack(parts, axis=2).reshape(len(images), -1, *parts[0].shape[2:])


def test_weights_of_ffdnet_are_put_in_the_order_of_pytorch():
    from ffdnet_weights import state_dict
    from torch.nn.functional import conv2d, pixel_unshuffle

    rng = np.random.default_rng(0)
    first = rng.normal(size=(6, 5, 3, 3)), rng.normal(size=6)
    last = rng.normal(size=(4, 6, 3, 3)), rng.normal(size=4)
    images = rng.normal(size=(2, 1, 8, 6)).astype(np.float32)
    level = np.full((2, 1, 4, 3), 0.1, np.float32)

    def network(sub_images: np.ndarray, weights: list[torch.Tensor]) -> torch.Tensor:
        x = torch.from_numpy(np.concatenate((sub_images, level), axis=1))
        x = conv2d(x, weights[0], weights[1], padding=1).relu()
        return conv2d(x, weights[2], weights[3], padding=1)

    original = [torch.from_numpy(w.astype(np.float32)) for w in (*first, *last)]
    expected = network(matlab_sub_images(images), original).numpy()
    ours = state_dict([first, last])
    assert list(ours) == [f"model.{i}.{w}" for i in (0, 2) for w in ("weight", "bias")]
    unshuffled = pixel_unshuffle(torch.from_numpy(images), 2).numpy()
    result = torch.pixel_shuffle(network(unshuffled, list(ours.values())), 2).numpy()
    np.testing.assert_allclose(matlab_sub_images(result), expected, atol=1e-4)


def test_the_stand_in_for_torchvision_moves_channels_only():
    from torchvision_stand_in import _to_tensor

    image = np.arange(6, dtype=np.float32).reshape(2, 3, 1) * 100
    assert torch.equal(_to_tensor(image)[0], torch.from_numpy(image[..., 0]))
    with pytest.raises(TypeError, match="float images"):
        _to_tensor(image.astype(np.uint8))  # these the original would rescale
