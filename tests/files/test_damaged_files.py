"""Whatever happens to a file, it is read or refused with a message."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import tifffile

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models import PoissonGaussianModel
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.model_file import load_model
from napari_ppn2v.files.noise_model_files import load_noise_model, save_noise_model

STACK = np.random.default_rng(0).integers(90, 300, (4, 24, 24)).astype(np.uint16)


def read_image(path):
    source = open_image(path)
    for frame in as_frames(source.data, source.axes, 0):
        assert np.isfinite(frame).all()


def write_tiff(path, **options):
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)


def write_camera(path):
    camera = {"gain": 2.0, "offset": 100.0, "read_noise": 3.0}
    save_noise_model(path, PoissonGaussianModel(**camera, signal_range=(100, 300)))


def write_foreign_archive(path):
    np.savez_compressed(path.with_suffix(".npz"), header=STACK, weights=STACK)
    path.with_suffix(".npz").rename(path)


FILES = {
    "plain.tif": (lambda p: write_tiff(p, metadata={"axes": "TYX"}), read_image),
    "zlib.tif": (lambda p: write_tiff(p, compression="zlib"), read_image),
    "ome.tif": (lambda p: write_tiff(p, ome=True, compression="zlib"), read_image),
    "imagej.tif": (lambda p: write_tiff(p, imagej=True), read_image),
    "plain.npy": (lambda p: np.save(p, STACK), read_image),
    "camera.npz": (write_camera, load_noise_model),
    "histogram.npy": (lambda p: np.save(p, np.ones((3, 8, 8))), load_noise_model),
    "foreign.ppn2v": (write_foreign_archive, load_model),
}


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Cut a file off, change bytes anywhere or at its beginning, or blank a part."""
    data, way = bytearray(content), rng.randrange(4)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    if way == 3:
        start, size = rng.randrange(len(data)), rng.randrange(400)
        data[start : start + size] = bytes(size)
        return bytes(data)
    end = len(data) if way == 1 else min(len(data), 600)
    for _ in range(rng.choice([1, 4, 30])):
        data[rng.randrange(end)] = rng.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_read_or_refused_in_words(tmp_path, name):
    write, read = FILES[name]
    path = tmp_path / name
    write(path)
    content, rng = path.read_bytes(), random.Random(name)
    refused = 0
    for _ in range(100):
        path.write_bytes(damaged(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except PPN2VError:
                refused += 1
    assert refused > 10


def test_a_tiff_without_an_image_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(range(256)) * 4)
    with pytest.raises(PPN2VError, match="without an image"):
        open_image(tmp_path / "a.tif")
