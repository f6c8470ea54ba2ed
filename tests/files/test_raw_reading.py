"""Uncompressed pixels are read piece by piece, as numpy would index them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files import lazy
from napari_ppn2v.files.lazy import RawArray

SHAPE = (5, 7, 11)
INDICES = st.tuples(
    *(
        st.one_of(
            st.integers(-size, size - 1),
            st.slices(size).filter(lambda part: part.step != 0),
        )
        for size in SHAPE
    )
)


def raw(path, array, order="C", offset=13):
    path.write_bytes(bytes(offset) + array.tobytes(order=order))
    return RawArray(
        path,
        shape=array.shape,
        dtype=array.dtype,
        offset=offset,
        is_fortran=order == "F",
    )


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    plain = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(">i2")
    return plain, {o: raw(folder / f"{o}.raw", plain, o) for o in "CF"}


@given(index=INDICES)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("along", [1_000_000, 0], ids=["read along", "piece by piece"])
def test_any_index_gives_what_numpy_gives(arrays, order, along, index):
    plain, files = arrays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy, "_READ_ALONG", along)
        patch.setattr(lazy, "_LITTLE", along)
        found = files[order][index]
    np.testing.assert_array_equal(found, plain[index])
    assert found.dtype == plain.dtype


def test_missing_axes_and_an_ellipsis_mean_everything(arrays):
    plain, files = arrays
    for index in (..., 2, (..., 3), (1, ..., 3), slice(1, 3)):
        np.testing.assert_array_equal(files["C"][index], plain[index])
    np.testing.assert_array_equal(np.asarray(files["F"]), plain)


@pytest.mark.parametrize("index", [5, (0, -8), (0, 0, 0, 0)])
def test_an_index_outside_is_an_error(arrays, index):
    with pytest.raises(IndexError):
        arrays[1]["C"][index]


def test_a_file_that_is_cut_off_later_is_an_error_and_no_crash(tmp_path):
    pixels = np.zeros((4, 64, 64), np.float32)
    array = raw(tmp_path / "a.raw", pixels)
    with (tmp_path / "a.raw").open("r+b") as file:
        file.truncate(pixels.nbytes // 2)
    assert array[0].shape == (64, 64)
    with pytest.raises(BadFile, match="ended 13 bytes too early"):
        array[1]


def test_a_file_that_vanishes_later_is_named(tmp_path):
    array = raw(tmp_path / "a.raw", np.zeros((4, 4)))
    (tmp_path / "a.raw").unlink()
    with pytest.raises(BadFile, match=r"a\.raw is no longer there"):
        array[0]
