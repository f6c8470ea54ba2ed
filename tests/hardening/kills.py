"""What a killed run may leave behind, and how two runs are compared."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib.image
import numpy as np
import torch

from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.model_file import load_model
from napari_ppn2v.files.noise_model_files import load_noise_model
from napari_ppn2v.pipeline.channel_runs import CURVE_COLUMNS
from napari_ppn2v.pipeline.run_folder import read_record

KILLED = -9


class KillServer:
    """The process of `kill_server`; a context manager."""

    def __enter__(self):
        script = Path(__file__).with_name("kill_server.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, arguments, folder, *, seconds=None, operation=None):
        """Run a command line, to its end or until it is killed."""
        order = {
            "arguments": [str(word) for word in arguments],
            "folder": str(folder),
            "seconds": seconds,
            "operation": operation,
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@dataclass
class Tally:
    """What a series of kills has come to."""

    lives: int = 0
    kills: int = 0
    resumes: int = 0


def check_whole(folder):
    """Open every file under a final name; hidden ones are temporary by our rule."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and path.suffix != ".zarr":
            check_whole(path)
            continue
        READERS[path.suffix](path)


def hidden(folder):
    """Return the names of what is left over from writing."""
    return sorted(path.name for path in folder.rglob(".*"))


def _image(path):
    image = open_image(path)
    pixels = np.asarray(image.data[...])
    # the writing begins with a file full of zeros
    assert np.isfinite(pixels).all()
    assert (pixels.reshape(-1, *pixels.shape[-2:]).std(axis=(1, 2)) > 0).all()
    assert image.metadata["provenance"]


def _curves(path):
    rows = list(csv.reader(path.read_text().splitlines()))
    assert tuple(rows[0]) == CURVE_COLUMNS
    assert all(len(row) == len(CURVE_COLUMNS) for row in rows)


READERS = {
    ".tif": _image,
    ".zarr": _image,
    ".ppn2v": load_model,
    ".npz": load_noise_model,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".json": lambda path: (
        read_record(path) if path.stem == "run" else json.loads(path.read_text())
    ),
    ".csv": _curves,
    ".png": matplotlib.image.imread,
    ".html": lambda path: path.read_text().rstrip().index("</html>"),
}


def contents(folder):
    """Return what two runs must have in common, bit for bit: all but times.

    Pictures are drawn from the rest; that they are there and whole is all that counts.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in (".tif", ".zarr"):
            image = open_image(path)
            found[name] = np.asarray(image.data[...])
            found[f"{name} provenance"] = _timeless(image.metadata["provenance"])
        elif path.suffix == ".ppn2v":
            with np.load(path) as archive:
                for key in archive.files:
                    found[f"{name} {key}"] = archive[key]
            header = json.loads(found.pop(f"{name} header").tobytes())
            found[f"{name} header"] = _timeless(header)
        elif path.suffix == ".npz":
            with np.load(path) as archive:
                found |= {f"{name} {key}": archive[key] for key in archive.files}
        elif path.suffix == ".csv":
            rows = csv.DictReader(path.read_text().splitlines())
            found[name] = _timeless(list(rows))
        elif path.suffix in (".png", ".html", ".json"):
            found[name] = "there"
    return found


def differences(found, expected):
    """Return the names of what is missing, unexpected or different."""
    names = set(found) ^ set(expected)
    for name in set(found) & set(expected):
        first, second = found[name], expected[name]
        is_equal = (
            # bytes, as NaN is no equal of itself
            first.tobytes() == second.tobytes() and first.dtype == second.dtype
            if isinstance(second, np.ndarray)
            else first == second
        )
        if not is_equal:
            names.add(name)
    return sorted(names)


def _timeless(content):
    """Leave the seconds out, which no two runs have in common."""
    if isinstance(content, dict):
        return {k: _timeless(v) for k, v in content.items() if k != "seconds"}
    if isinstance(content, list):
        return [_timeless(item) for item in content]
    return content
