"""The paper's own recordings: fetched, split and set up as published."""

from __future__ import annotations

import io
import sys
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import cli, data_sets, methods, papers_data
from evidence.ledger import read_rows
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.errors import CannotDownload
from napari_ppn2v.files.downloads import Archive

NAME = "mouse_skull_nuclei"


def recordings() -> tuple[np.ndarray, np.ndarray]:
    """Static repeats of one scene and a calibration, both tiny."""
    camera = Camera(gain=2.0, offset=100, read_noise=3.0)
    scene = simulate_stack(camera, n_frames=1, size=(64, 384), psnr=24.0, seed=0)
    rng = np.random.default_rng(1)
    noisy = np.stack([camera.expose(scene.signal[0], rng) for _ in range(12)])
    calibration = simulate_calibration(
        camera, n_repeats=10, size=48, peak_electrons=80.0
    )
    return noisy, calibration.observation


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An archive of the tiny recordings on a server of this computer."""
    noisy, calibration = recordings()
    sample = papers_data.SAMPLES[NAME]
    folder = tmp_path / "served"
    folder.mkdir()
    with zipfile.ZipFile(folder / "set.zip", "w") as archive:
        for member, data in zip(
            sample.archive.members, (noisy, calibration), strict=True
        ):
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, data)
            archive.writestr(f"inside/{member}", buffer.getvalue())
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/set.zip"
    local = replace(sample, archive=Archive(url, sample.archive.members))
    monkeypatch.setitem(papers_data.SAMPLES, NAME, local)
    yield tmp_path / "data"
    server.shutdown()
    thread.join()
    server.server_close()


def test_supervised_training_never_sees_the_scored_crop():
    noisy, calibration = recordings()
    source = papers_data.data_set(NAME, "nuclei", noisy, calibration)
    task = source.tasks("supervised")[0]
    assert task.scored.shape == (12, 64, 256)
    assert task.training.shape == (12, 64, 384 - 256)
    assert np.array_equal(task.training, noisy[:, :, 256:])
    assert np.allclose(task.targets[0], noisy[:, :, 256:].mean(axis=0), rtol=1e-5)


def test_published_noise_models_have_the_settings_of_their_recording():
    noisy, calibration = recordings()
    source = papers_data.data_set(NAME, "nuclei", noisy, calibration)
    task = source.tasks("calibrated")[0]
    for kind in ("histogram", "gmm"):
        method = methods.METHODS[f"{kind}-calibrated-published"]
        config = methods.settings(
            method, 0, task.training, methods.FULL_SIZE, task.noise_models
        )
        if kind == "histogram":
            assert config.noise_model.n_bins == 400
            assert config.noise_model.data_range == (2000, 22000)
        else:
            assert config.noise_model.variance_floor == 50
        assert config.network.n_filters == 64
        assert (config.training.batch_size, config.training.patch_size) == (20, 100)
        whole = methods.with_steps(method, config, methods.full_steps(method))
        assert whole.training.n_steps == 1000
        assert whole.training.steps_per_validation == 5
        assert whole.training.patience == 10


def test_the_command_downloads_runs_and_compares_with_the_paper(served, tmp_path):
    out = tmp_path / "results"
    command = ["table1", str(served), "--data-sets", NAME, "--out", str(out)]
    command += ["--work", str(tmp_path / "work"), "--workers", "0"]
    command += ["--seconds", "1", "--repeats", "1"]
    cli.main([*command, "--methods", "noisy", "n2v-published"])
    rows = read_rows(out / "table1.csv")
    assert {row["method"] for row in rows} == {"noisy", "n2v-published"}
    assert len(rows) == 24
    page = (out / "table1.md").read_text(encoding="utf-8")
    (line,) = [x for x in page.splitlines() if x.startswith("| Noise2Void, as pub")][:1]
    assert line.endswith("| 35.84 |")


def test_without_a_network_the_error_says_so(tmp_path, monkeypatch):
    sample = papers_data.SAMPLES[NAME]
    nowhere = Archive("http://127.0.0.1:9/set.zip", sample.archive.members)
    monkeypatch.setitem(papers_data.SAMPLES, NAME, replace(sample, archive=nowhere))
    with pytest.raises(CannotDownload):
        data_sets.load(tmp_path, NAME)
