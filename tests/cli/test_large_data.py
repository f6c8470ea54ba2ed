"""Options for large data: folders as stacks, versions of OME-Zarr, clusters."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tifffile

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.model_file import save_model
from napari_ppn2v.pipeline import cluster

APPLY = "--device cpu --threads 1"


@pytest.fixture
def model(tmp_path):
    """Untrained, as what it predicts is of no interest here."""
    network = PriorNetwork(
        UNetConfig(n_filters=4), "gaussian", 2, Normalisation(200.0, 50.0)
    )
    denoiser = Denoiser(network.eval(), None, None, "prior-mean", is_blind=False)
    return save_model(tmp_path / "model.ppn2v", denoiser)


@pytest.fixture
def folder(tmp_path):
    """Two time points of three planes, one file each."""
    planes = np.random.default_rng(0).integers(90, 400, (2, 3, 64, 48), "uint16")
    (tmp_path / "cells").mkdir()
    for time, depth in np.ndindex(2, 3):
        tifffile.imwrite(
            tmp_path / "cells" / f"t{time}_z{depth}.tif", planes[time, depth]
        )
    return tmp_path / "cells"


def test_a_folder_is_one_stack_if_asked_and_several_images_if_not(
    run, model, folder, tmp_path
):
    out = tmp_path / "out.zarr"
    done = run("apply", model, folder, "-o", out, APPLY, "--as-stack")
    assert done.exit_code == 0, done.output
    assert "6 files, by their names T=2, Z=3" in done.output
    source = open_image(out)
    assert (source.axes, source.shape) == ("TZYX", (2, 3, 64, 48))
    done = run("apply", model, folder, "-o", tmp_path / "single", APPLY)
    assert done.exit_code == 0, done.output
    single = open_image(tmp_path / "single" / "t1_z2_denoised.ome.tif")
    np.testing.assert_array_equal(single.data[...], source.data[1, 2])
    assert len(list((tmp_path / "single").iterdir())) == 6


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_version_of_ome_zarr_is_chosen(run, model, folder, tmp_path, version):
    out, image = tmp_path / "out.zarr", folder / "t0_z0.tif"
    done = run("apply", model, image, "-o", out, APPLY, "--ome-zarr-version", version)
    assert done.exit_code == 0, done.output
    assert open_image(out).metadata["format"] == f"OME-Zarr {version}"


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("a.tif", "--ome-zarr-version 0.4", "Name an output in .zarr"),
        ("a.zarr", "--ome-zarr-version 0.6", "Choose 0.5 or 0.4"),
        ("a.zarr", "--dask-workers 2 --dask-scheduler tcp://a:1", "not both"),
        ("a.zarr", "--dask-workers 0", "at least 1"),
        ("a.zarr", "--dask-workers -3", "at least 1"),
    ],
)
@pytest.mark.parametrize("command", ["apply", "denoise"])
def test_what_is_not_possible_is_said_before_any_work(
    run, model, folder, tmp_path, command, out, options, message
):
    pytest.importorskip("distributed")
    start = [command, model] if command == "apply" else [command]
    done = run(*start, folder / "t0_z0.tif", "-o", tmp_path / out, APPLY, options)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("option", ["--dask-workers 2", "--dask-scheduler tcp://a:1"])
def test_a_missing_package_is_named_with_its_remedy(
    run, model, folder, tmp_path, monkeypatch, option
):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        cluster.importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "distributed" else found(name, *rest),
    )
    image = folder / "t0_z0.tif"
    done = run("apply", model, image, "-o", tmp_path / "a.zarr", APPLY, option)
    assert done.exit_code == 2
    assert "pip install 'napari-ppn2v[cluster]'" in done.output
