"""Zarr in all the ways that programs chunk, compress and order it."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from numcodecs import Blosc, Zlib

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.files.images import open_image


def noisy(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(90, 4000, shape).astype(dtype)


ARRAYS = {
    "sharded": {"zarr_format": 3, "chunks": (1, 8, 8), "shards": (2, 24, 16)},
    "one shard": {"zarr_format": 3, "chunks": (3, 5, 5), "shards": (6, 25, 35)},
    "uncompressed": {"zarr_format": 3, "compressors": None},
    "gzip": {"zarr_format": 3, "compressors": zarr.codecs.GzipCodec()},
    "zstd": {"zarr_format": 3, "compressors": zarr.codecs.ZstdCodec()},
    "v2 blosc": {"zarr_format": 2, "compressors": Blosc("lz4")},
    "v2 zlib": {"zarr_format": 2, "compressors": Zlib()},
    "v2 columns first": {"zarr_format": 2, "order": "F"},
    "v2 dots": {
        "zarr_format": 2,
        "chunk_key_encoding": {"name": "v2", "separator": "."},
    },
}


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<f4", ">f8", "i1"])
@pytest.mark.parametrize("options", ARRAYS.values(), ids=ARRAYS)
def test_pixels_are_those_that_were_written(tmp_path, options, dtype):
    image = noisy(5, 23, 31, dtype=dtype)
    options = {"chunks": (2, 9, 16), **options}
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=image.shape, dtype=image.dtype, **options
    )
    array[...] = image
    source = open_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(source.data, image)
    frames = as_frames(source.data, "TYX")
    part = frames.region(3, slice(7, 20), slice(10, 29))
    assert part.dtype == np.float32
    np.testing.assert_array_equal(part, image[3, 7:20, 10:29])


def test_five_axes_of_a_sharded_ome_zarr_are_read_frame_by_frame(tmp_path):
    image = noisy(2, 2, 3, 24, 32)
    group = zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=3)
    array = group.create_array(
        "0", shape=image.shape, dtype="uint16", chunks=(1, 1, 1, 12, 16),
        shards=(1, 1, 3, 24, 32), dimension_names=list("tczyx"),
    )  # fmt: skip
    array[...] = image
    level = {
        "path": "0",
        "coordinateTransformations": [{"type": "scale", "scale": [1.0] * 5}],
    }
    kinds = ["time", "channel", "space", "space", "space"]
    axes = [{"name": n, "type": k} for n, k in zip("tczyx", kinds, strict=True)]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": [level]}],
    }
    source = open_image(tmp_path / "a.zarr")
    assert (source.axes, source.metadata["format"]) == ("TCZYX", "OME-Zarr 0.5")
    frames = as_frames(source.data, source.axes, channel=1)
    assert len(frames) == 6
    np.testing.assert_array_equal(frames.frame(4), image[1, 1, 1])
