"""Whatever a file holds, it is read or refused in words; nothing else ever happens."""

from __future__ import annotations

import pickle
import random
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ppn2v.errors import BadFile, PPN2VError
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.noise_model_files import load_noise_model

from .mutations import as_npy, mutated_file, npy_header, zipped
from .readers import MAPS, READERS, STACK, fault_of

_SLOW_EXAMPLES, _EXAMPLES = 2000, 6
SEEDS = st.integers(0, 2**62)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One folder, and the bytes of one valid file, for each reader."""
    made = {}
    for number, (name, reader) in enumerate(READERS.items()):
        folder = tmp_path_factory.mktemp(f"reader{number}")
        reader.write(folder / reader.name)
        made[name] = folder, (folder / reader.name).read_bytes()
    return made


def check(written, name, seed):
    """Mutate the valid file of a reader once or twice, and read it."""
    folder, content = written[name]
    rng = random.Random(seed)
    for _ in range(rng.choice([1, 1, 1, 2])):
        content = mutated_file(READERS[name].name, content, rng)
    fault = fault_of(READERS[name], content, folder)
    if fault is not None:
        raise AssertionError(f"{name} met with {type(fault).__name__}") from fault


@pytest.mark.parametrize("name", READERS)
def test_the_valid_file_is_read(written, name):
    folder, content = written[name]
    assert fault_of(READERS[name], content, folder) is None


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=_EXAMPLES)
@given(seed=SEEDS)
def test_a_damaged_file_is_read_or_refused_in_words(written, name, seed):
    check(written, name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@settings(max_examples=_SLOW_EXAMPLES)
@given(seed=SEEDS)
def test_thousands_of_damaged_files_are_read_or_refused(written, name, seed):
    check(written, name, seed)


class _Marks:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self):
        return Path.touch, (self._path,)


@pytest.mark.parametrize("name", READERS)
def test_no_pickle_in_a_file_is_run(written, name, tmp_path):
    marker = tmp_path / "it ran"
    payload = pickle.dumps(_Marks(marker))
    pickle.loads(payload)
    assert marker.exists()  # the payload works where it is run
    marker.unlink()
    folder, content = written[name]
    as_object = npy_header((), "|O") + payload
    tries = [payload, as_object]
    if content.startswith(b"PK"):
        from .mutations import unzipped

        members = unzipped(content)
        for member in members:
            tries.append(zipped({**members, member: payload}))
            tries.append(zipped({**members, member: as_object}))
    for hostile in tries:
        assert fault_of(READERS[name], hostile, folder) is None
    assert not marker.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="names as on Unix")
@pytest.mark.parametrize(
    "name", ["../../noisy.tif", "/tmp/x/noisy.tif", "a/../noisy.tif"]
)
def test_an_archive_unpacks_into_the_chosen_folder_alone(tmp_path, name):
    home = tmp_path / "one" / "two"
    home.mkdir(parents=True)
    hostile = zipped([(name, b"1"), ("../outside.txt", b"2"), ("..", b"3")])
    assert fault_of(READERS["download, archive"], hostile, home) is None
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {
        "one/two/sample.zip",
        "one/two/unpacked/noisy.tif",
        "one/two/unpacked/archive.json",
    }


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((10**15,), "|V0"), ((2**62, 4), "<f8"), ((10**6,), "|O"), ((-3,), "<f4")],
    ids=["endless and empty", "overflowing", "objects", "negative"],
)
def test_arrays_of_impossible_shape_are_refused_at_once(tmp_path, shape, kind):
    hostile = npy_header(shape, kind) + bytes(64)
    (tmp_path / "m.npz").write_bytes(zipped({"header.npy": hostile}))
    (tmp_path / "m.npy").write_bytes(hostile)
    for path in tmp_path.iterdir():
        with pytest.raises(BadFile, match="damaged"):
            load_noise_model(path)


@pytest.mark.parametrize("shape", [(-1,), (3,), (10**15,)])
def test_elements_without_a_size_do_not_end_the_program(tmp_path, shape):
    (tmp_path / "a.npy").write_bytes(npy_header(shape, "|S0", True) + bytes(9))
    with pytest.raises(BadFile, match="cannot be read"):
        open_image(tmp_path / "a.npy")


def test_two_parts_of_the_same_name_are_refused(tmp_path):
    part = ("offset.npy", as_npy(MAPS["offset"]))
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zipped([part, part, ("gain.npy", as_npy(MAPS["gain"]))])
    assert fault_of(READERS["camera maps"], content, tmp_path) is None
    with pytest.raises(PPN2VError, match="same name"):
        READERS["camera maps"].read(tmp_path / "maps.npz")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    reader = READERS["model file"]
    reader.write(tmp_path / reader.name)
    with np.load(tmp_path / reader.name) as archive:
        arrays = dict(archive)
    arrays["weight/prior.linear.bias"][0] = np.nan
    with (tmp_path / reader.name).open("wb") as file:
        np.savez(file, **arrays)
    with pytest.raises(BadFile, match=r"prior\.linear\.bias"):
        reader.read(tmp_path / reader.name)


def directories(content: bytes) -> list[int]:
    """Offsets of the directories of a small TIFF, and of the links behind each."""
    (at,) = struct.unpack_from("<I", content, 4)
    found = []
    while at:
        (count,) = struct.unpack_from("<H", content, at)
        found.append(at)
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * count)
    return found


@pytest.mark.parametrize(("last", "back_to"), [(0, 0), (2, 0), (2, 1), (1, 1)])
def test_a_list_of_pages_that_goes_round_in_circles_is_refused(tmp_path, last, back_to):
    path = tmp_path / "circle.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in (STACK[0], STACK[1], STACK[0] + 1):
            writer.write(frame, photometric="minisblack", metadata=None)
    content = bytearray(path.read_bytes())
    places = directories(bytes(content))
    (count,) = struct.unpack_from("<H", content, places[last])
    struct.pack_into("<I", content, places[last] + 2 + 12 * count, places[back_to])
    path.write_bytes(content)
    with pytest.raises(BadFile, match="incomplete"):
        open_image(path)


def test_a_missing_decoder_is_named(tmp_path):
    path = tmp_path / "zstd.tif"
    tifffile.imwrite(path, STACK[0], photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages.first.tags["Compression"].overwrite(50000)
    with pytest.raises(BadFile, match=r"imagecodecs|cannot be read"):
        open_image(path)
