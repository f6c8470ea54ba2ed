"""Camera maps from archives, folders and single TIFFs."""

import numpy as np
import pytest
import tifffile

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.camera_maps import load_camera_maps

SIZE = (12, 16)
MAPS = {
    "offset": np.full(SIZE, 100, np.uint16),
    "gain": np.full(SIZE, 2.2, np.float32),
    "variance": np.full(SIZE, 9.0),
}


def check(maps):
    assert maps.shape == SIZE
    assert maps.common.gain == pytest.approx(2.2)
    assert (maps.offset == 100).all()
    assert (maps.variance == 9).all()


@pytest.mark.parametrize("prefix", ["", "storm_"])
def test_an_archive_is_read(tmp_path, prefix):
    path = tmp_path / "maps.npz"
    np.savez(path, **{prefix + key: values for key, values in MAPS.items()})
    check(load_camera_maps(path))
    assert load_camera_maps([path]).name == "maps.npz"


def test_of_two_sets_the_complete_one_is_taken(tmp_path):
    path = tmp_path / "maps.npz"
    other = {f"other_{key}": MAPS[key][:6] for key in ("gain", "variance")}
    np.savez(path, **{f"a_{key}": values for key, values in MAPS.items()}, **other)
    check(load_camera_maps(path))


def test_a_folder_of_tiffs_and_single_tiffs_are_read(tmp_path):
    paths = []
    for name, key in (("dark", "offset"), ("gain", "gain"), ("var", "variance")):
        paths.append(tmp_path / f"{name}.tif")
        tifffile.imwrite(paths[-1], MAPS[key])
    check(load_camera_maps(tmp_path))
    check(load_camera_maps(paths))


def test_the_variance_may_be_missing(tmp_path):
    path = tmp_path / "maps.npz"
    np.savez(path, offset=MAPS["offset"], gain=MAPS["gain"])
    assert load_camera_maps(path).variance is None


def test_files_that_hold_no_maps_are_refused(tmp_path):
    path = tmp_path / "maps.npz"
    np.savez(path, image=MAPS["gain"])
    with pytest.raises(BadFile, match="no map of offset and of gain"):
        load_camera_maps(path)
    np.savez(path, **{f"{p}_{k}": MAPS[k] for p in "ab" for k in ("offset", "gain")})
    with pytest.raises(BadFile, match="several sets"):
        load_camera_maps(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BadFile, match="cannot be read as camera maps"):
        load_camera_maps(path)
    with pytest.raises(BadFile, match="no file of camera maps"):
        load_camera_maps(tmp_path / "missing.npz")
