"""Small files that claim, or unpack to, more than any machine has are refused.

Each is read in a process of its own whose memory is limited.
"""

from __future__ import annotations

import bz2
import gzip
import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.archives import read_archive
from napari_ppn2v.files.expansion import check_piece

from .mutations import as_npy, npy_header, zipped
from .readers import READERS, STACK, write_tiff

GIGABYTE = 2**30

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="memory is limited by RLIMIT_AS"
)

READ = """
import resource, sys, time
from pathlib import Path
from tests.hardening.readers import READERS, read_image
import zarr, tifffile, zarr.storage
torch = sys.modules["torch"]
torch.zeros(8).sum()
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]),) * 2)
for name, path in zip(sys.argv[2::2], sys.argv[3::2]):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    try:
        (read_image if name == "image" else READERS[name].read)(Path(path))
        said = "READ"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(Path(path).name, "|", said, "|", grown // 1024, "|",
          time.process_time() - started)
"""


@pytest.fixture(scope="module")
def zeros() -> bytes:
    """Two gigabytes of zeros, deflated without a frame around them."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (2 * GIGABYTE // 2**24) + packer.flush()


def replace_strip(path: Path, content: bytes) -> None:
    """Write a TIFF of one compressed strip, and put other bytes in its place."""
    tifffile.imwrite(
        path, STACK[0], photometric="minisblack", compression="zlib", metadata=None
    )
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages.first.tags
        places = tags["StripOffsets"].valueoffset, tags["StripByteCounts"].valueoffset
    data = bytearray(path.read_bytes())
    kinds = {2: "u2", 4: "u4"}
    start = len(data)
    data += content
    with tifffile.TiffFile(path) as tif:
        for at, tag, number in zip(
            places,
            ("StripOffsets", "StripByteCounts"),
            (start, len(content)),
            strict=True,
        ):
            n_bytes = 2 if tif.pages.first.tags[tag].dtype == 3 else 4
            data[at : at + n_bytes] = np.array(number, kinds[n_bytes]).tobytes()
    path.write_bytes(data)


def replace_chunk(path: Path, version: int, content: bytes) -> Path:
    """Write a Zarr folder compressed by gzip, and another first chunk."""
    import zarr

    options = {"zarr_format": version, "chunks": (1, 24, 20)}
    if version == 3:
        options["compressors"] = zarr.codecs.GzipCodec()
    else:
        from numcodecs import Zlib

        options["compressors"] = Zlib()
    zarr.create_array(str(path), data=STACK, **options)
    chunk = path / ("c/0/0/0" if version == 3 else "0.0.0")
    assert chunk.is_file()
    chunk.write_bytes(content)
    return path


def bombs(folder: Path, zeros: bytes) -> list[tuple[str, Path]]:
    """Make one bomb of each kind; return the readers that get them."""
    made: list[tuple[str, Path]] = []

    def add(name: str, file: str, content: bytes) -> None:
        (folder / file).write_bytes(content)
        made.append((name, folder / file))

    claims = zipped({"header.npy": npy_header((10**12,), "<f8") + bytes(64)})
    for reader in ("noise model, mixture", "model file", "camera maps"):
        add(reader, "claims-" + READERS[reader].name, claims)
    add("noise model of PN2V", "claims.npy", npy_header((3, 10**6, 10**6), "<f8"))
    replace_strip(folder / "strip.tif", b"\x78\x01" + zeros)
    made.append(("image", folder / "strip.tif"))
    write_tiff(folder / "wide.tif", compression="zlib", metadata={"axes": "TYX"})
    wide = (folder / "wide.tif").read_bytes()
    height = np.array(24, "<u4").tobytes()
    add("image", "wide.tif", wide.replace(height, np.array(2**31, "<u4").tobytes()))
    made.append(("image", replace_chunk(folder / "two.zarr", 2, b"\x78\x01" + zeros)))
    packed = gzip.compress(b"")[:10] + zeros + bytes(8)
    made.append(("image", replace_chunk(folder / "three.zarr", 3, packed)))
    (folder / "claims.zarr").mkdir()
    description = json.loads((folder / "two.zarr" / ".zarray").read_text()) | {
        "chunks": [1, 10**6, 10**6],
        "shape": [2, 10**6, 10**6],
    }
    (folder / "claims.zarr" / ".zarray").write_text(json.dumps(description))
    made.append(("image", folder / "claims.zarr"))
    return made


@pytest.mark.slow
def test_bombs_are_refused_in_little_memory_and_time(tmp_path, zeros):
    made = bombs(tmp_path, zeros)
    arguments = [part for name, path in made for part in (name, str(path))]
    done = subprocess.run(
        [sys.executable, "-c", READ, str(2 * GIGABYTE), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    lines = [line.split(" | ") for line in done.stdout.splitlines()]
    assert len(lines) == len(made), done.stderr
    for name, said, megabytes, seconds in lines:
        assert said.startswith(("BadFile: ", "BadData: ")), (name, said)
        assert int(megabytes) < 500, (name, said, megabytes)
        assert float(seconds) < 20, (name, said, seconds)


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress, bz2.compress])
def test_pieces_are_measured_and_honest_ones_pass(tmp_path, pack):
    honest, swollen = pack(bytes(3_000_000)), pack(bytes(80_000_000))
    check_piece(tmp_path, honest, 3_000_000)
    check_piece(tmp_path, honest[:-9], 3_000_000)  # the decoder says what is wrong
    with pytest.raises(BadFile, match="unpack to more than 70 MB"):
        check_piece(tmp_path, swollen, 3_000_000)


def test_zstandard_frames_are_measured_block_by_block(tmp_path):
    from numcodecs import Zstd

    check_piece(tmp_path, Zstd().encode(bytes(3_000_000)), 3_000_000)
    with pytest.raises(BadFile, match="unpack"):
        check_piece(tmp_path, Zstd().encode(bytes(80_000_000)), 3_000_000)
    repeated = (131072 << 3 | 2).to_bytes(3, "little") + b"\0"
    without_size = b"\x28\xb5\x2f\xfd\x00\x58" + repeated * 1000
    with pytest.raises(BadFile, match="unpack"):
        check_piece(tmp_path, without_size, 3_000_000)


def test_arrays_of_more_than_a_reader_needs_are_not_unpacked(tmp_path):
    content = {"a.npy": as_npy(np.zeros(1_000_000))}
    (tmp_path / "a.npz").write_bytes(zipped(content, method=8))
    assert read_archive(tmp_path / "a.npz", largest=9_000_000)["a"].size == 1_000_000
    with pytest.raises(ValueError, match="at most 1000000"):
        read_archive(tmp_path / "a.npz", largest=1_000_000)
