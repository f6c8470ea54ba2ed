"""What the tests of the documentation share: pages, their code, and files for it."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.glob("**/*.md")])
FEW_STEPS = 8


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    """Fenced blocks of a language, without the indentation of their list."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.M | re.S)
    return [textwrap.dedent(body) for _, body in found]


def inline_code(path: Path) -> list[str]:
    text = re.sub(
        r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def write_recording() -> None:
    """Write the files that the examples read, into the working directory."""
    import zarr

    from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack

    noisy = simulate_stack(Camera(), n_frames=2, size=64, peak_electrons=20)
    repeats = simulate_calibration(
        Camera(), n_repeats=10, size=64, peak_electrons=25, seed=1
    )
    tifffile.imwrite("noisy.tif", noisy.observation)
    tifffile.imwrite("calibration.tif", repeats.observation)
    store = zarr.open(
        "noisy.zarr", mode="w", shape=noisy.observation.shape, dtype="uint16"
    )
    store[:] = noisy.observation


def write_all_that_pages_name() -> None:
    """Write, under every name that commands read, a small image of that kind."""
    from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack

    write_recording()
    noisy, repeats = tifffile.imread("noisy.tif"), tifffile.imread("calibration.tif")
    again = Camera().expose(
        simulate_stack(Camera(), n_frames=2, size=64, peak_electrons=20).signal,
        np.random.default_rng(1),
    )
    static = simulate_calibration(Camera(), n_repeats=8, size=64, peak_electrons=25)
    dark = Camera().expose(np.full((20, 64, 64), 100.0), np.random.default_rng(2))
    for folder in ("day1", "day2"):
        Path(folder).mkdir()
    for name, image in {
        "diaphragm.tif": repeats,
        "today.tif": repeats,
        "camera_2.tif": repeats,
        "dark.tif": dark,
        "movie.tif": np.concatenate([noisy] * 30),
        "movie.ome.tif": noisy,
        "cells.tif": noisy,
        "clean.tif": noisy[::-1].copy(),
        "others.tif": noisy,
        "first.tif": noisy,
        "second.tif": again,
        "next.tif": noisy,
        "new.tif": noisy,
        "more.tif": noisy,
        "new_recording.tif": noisy,
        "truth.tif": noisy,
        "fixed_cell.tif": static.observation,
        "position_1.tif": noisy,
        "position_2.tif": again,
        "day1/first.tif": np.concatenate([noisy] * 10),
        "day1/second.tif": np.concatenate([again] * 10),
        "day2/first.tif": noisy,
    }.items():
        tifffile.imwrite(name, image)
    tifffile.imwrite("two_colours.tif", np.stack([noisy, again], axis=1))
    maps = np.full((2, 64, 64), 1.0)
    np.savez(
        "maps.npz", offset=100 * maps[0], gain=2.2 * maps[1], variance=11 * maps[0]
    )


def train_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave all settings as they are, but take hardly any steps."""
    from napari_ppn2v.pipeline.config import RunConfig

    with_steps = RunConfig.with_steps
    monkeypatch.setattr(
        RunConfig,
        "with_steps",
        lambda config, n_steps: with_steps(config, min(n_steps, FEW_STEPS)),
    )


def run_blocks(path: Path, names: dict) -> dict:
    """Run the Python of a page from top to bottom; its names are returned."""
    from napari_ppn2v.core.devices import threads

    with threads(1):
        for block in blocks(path, "python"):
            exec(compile(block, named(path), "exec", dont_inherit=True), names)
    return names


def called(tree_nodes: Iterator) -> Iterator[tuple[str, list[str]]]:
    """Yield (function of ours, its keywords) of every `ppn2v.function(...)`."""
    import ast

    for node in tree_nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if isinstance(owner, ast.Name) and owner.id in ("ppn2v", "napari_ppn2v"):
            yield node.func.attr, [k.arg for k in node.keywords if k.arg]
