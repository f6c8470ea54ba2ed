"""The parts of the journey from files to files."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.errors import BadFile, BadSetting
from napari_ppn2v.events import drain
from napari_ppn2v.files.atomic import as_json
from napari_ppn2v.files.model_file import save_model
from napari_ppn2v.pipeline.apply_job import ApplyRequest, apply_files
from napari_ppn2v.pipeline.channel_runs import curves_csv
from napari_ppn2v.pipeline.config import METHODS, InferenceConfig
from napari_ppn2v.pipeline.file_request import DenoiseRequest
from napari_ppn2v.pipeline.inputs import (
    dark_level,
    find_images,
    open_noisy,
    parse_frames,
    read_through,
)
from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset
from napari_ppn2v.pipeline.provenance import from_plain
from napari_ppn2v.pipeline.run_folder import RunFolder, unique_names
from napari_ppn2v.pipeline.training import CurvePoint
from napari_ppn2v.stop import StopToken


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_stored_request_comes_back_as_it_was(name):
    request = DenoiseRequest(
        noisy=(Path("/a/b.tif"), Path("/a/c.tif")),
        out=Path("/a/out"),
        config=preset(name, seed=7).with_steps(321),
        calibration=(Path("/d.tif"),),
        channel="all",
        frames="0-3",
        minutes=2.5,
        threads=2,
    )
    stored = json.loads(as_json(asdict(request)))
    assert from_plain(DenoiseRequest, stored) == request


@pytest.mark.parametrize("method", METHODS)
@given(n_steps=st.integers(min_value=3, max_value=100_000))
@settings(max_examples=50, deadline=None)
def test_a_number_of_steps_is_kept_exactly_and_repeats_the_run(method, n_steps):
    config = preset("balanced", method=method).with_steps(n_steps)
    assert config.n_steps == n_steps
    assert config.with_steps(n_steps) == config


def test_a_stored_request_of_another_version_is_refused():
    with pytest.raises(BadFile, match="version"):
        from_plain(DenoiseRequest, {"noisy": [], "colour": "red"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", (3,)),
        ("0-2", (0, 1, 2)),
        ("8-", (8, 9)),
        ("0-1, 5,1", (0, 1, 5)),
    ],
)
def test_frames_are_numbers_and_ranges(text, expected):
    assert parse_frames(text, 10) == expected


@given(st.lists(st.integers(0, 99), min_size=1, unique=True))
def test_any_list_of_frames_is_understood(numbers):
    assert parse_frames(",".join(map(str, numbers)), 100) == tuple(numbers)


@pytest.mark.parametrize("text", ["10", "5-2", "0-10", "-3", "a", "", "1,,2"])
def test_frames_that_are_not_there_are_refused(text):
    with pytest.raises(BadSetting, match="frames"):
        parse_frames(text, 10)


def test_dark_level_is_offset_and_noise_between_frames():
    rng = np.random.default_rng(0)
    pattern = rng.normal(0, 5, (64, 64))
    dark = 100 + pattern + rng.normal(0, 2, (40, 64, 64))
    offset, noise = dark_level(as_frames(dark.astype(np.float32)))
    assert offset == pytest.approx(100, abs=0.3)
    assert noise == pytest.approx(2, rel=0.02)


def test_one_dark_frame_gives_the_noise_between_pixels():
    dark = np.random.default_rng(0).normal(100, 3, (1, 64, 64))
    offset, noise = dark_level(as_frames(dark))
    assert (offset, noise) == pytest.approx((100, 3), rel=0.05)


def test_folders_and_patterns_become_images_in_the_order_of_their_numbers(tmp_path):
    for name in ("a10.tif", "a9.tif", "b.tif", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in find_images([tmp_path])] == ["a9.tif", "a10.tif", "b.tif"]
    assert [p.name for p in find_images([tmp_path / "a*.tif"])] == [
        "a9.tif",
        "a10.tif",
    ]
    with pytest.raises(BadFile, match="No file matches"):
        find_images([tmp_path / "c*.tif"])


@given(st.lists(st.sampled_from(["a", "b", "a_2"]), max_size=8))
def test_results_never_share_a_name(names):
    unique = unique_names(names)
    assert len(set(unique)) == len(names)


@pytest.mark.parametrize(
    ("out", "folder", "result", "model"),
    [
        ("o", "o", "o/x_denoised.ome.tif", "o/model.ppn2v"),
        ("r.ome.tif", "r.ppn2v-run", "r.ome.tif", "r.ppn2v-run/model.ppn2v"),
        ("r.zarr", "r.ppn2v-run", "r.zarr", "r.ppn2v-run/model.ppn2v"),
        ("m.ppn2v", "m.ppn2v-run", None, "m.ppn2v"),
    ],
)
def test_names_of_a_run_follow_the_name_of_its_output(out, folder, result, model):
    files = RunFolder.for_output(Path(out), ["x"])
    assert files.folder == Path(folder)
    assert files.results == (() if result is None else (Path(result),))
    assert files.model == Path(model)


def test_the_hash_sees_one_changed_pixel(tmp_path):
    image = np.arange(2 * 32 * 32, dtype=np.uint16).reshape(2, 32, 32)
    hashes = []
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="minisblack")
        images = open_noisy((tmp_path / f"{name}.tif",), "TYX", None, "")
        hashes += drain(read_through(images, StopToken()))
        image[1, 5, 5] += 1
    assert hashes[0] != hashes[1]


def test_the_table_of_curves_keeps_every_digit():
    point = CurvePoint(10, 1 / 3, 0.1, 1e-3, 2.5)
    rows = curves_csv({"n2v": (point,)}).splitlines()
    assert rows[0].startswith("stage,step")
    assert float(rows[1].split(",")[2]) == 1 / 3


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    torch.manual_seed(0)
    config = UNetConfig(n_levels=1, n_filters=4)
    model = PriorNetwork(config, "free", 1, Normalisation(100.0, 10.0)).eval()
    denoiser = Denoiser(model, None, Blindness(4, "mean"), "prior-mean", False)
    save_model(tmp_path / "m.ppn2v", denoiser)

    def peak(count):
        name = tmp_path / f"{count}.tif"
        frames = np.full((count, 256, 256), 100, np.uint16)
        tifffile.imwrite(name, frames, photometric="minisblack")
        del frames
        request = ApplyRequest(
            model=tmp_path / "m.ppn2v",
            images=(name,),
            out=tmp_path / f"{count}_out.tif",
            inference=InferenceConfig(tile_size=128),
            axes="TYX",
        )
        tracemalloc.start()
        report = drain(apply_files(request, StopToken()))
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        written = tifffile.imread(report.results[0].target.result)
        assert written.size == count * 256 * 256
        return highest

    peak(1)  # imports
    frame_bytes = 256 * 256 * 4
    assert peak(24) - peak(2) < 2 * frame_bytes


def test_a_stop_while_denoising_leaves_no_result(tmp_path):
    config = UNetConfig(n_levels=1, n_filters=4)
    model = PriorNetwork(config, "free", 1, Normalisation(100.0, 10.0)).eval()
    denoiser = Denoiser(model, None, Blindness(4, "mean"), "prior-mean", False)
    save_model(tmp_path / "m.ppn2v", denoiser)
    image = np.zeros((4, 64, 64), np.float32)
    np.save(tmp_path / "x.npy", image)
    request = ApplyRequest(
        model=tmp_path / "m.ppn2v",
        images=(tmp_path / "x.npy",),
        out=tmp_path / "out.tif",
        inference=InferenceConfig(),
        axes="TYX",
    )
    stop = StopToken()
    stop.stop()
    report = drain(apply_files(request, stop))
    assert report.is_stopped
    assert {p.name for p in tmp_path.iterdir()} == {"m.ppn2v", "x.npy"}
    assert not drain(apply_files(replace(request), StopToken())).is_stopped
