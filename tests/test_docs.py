"""What the documents tell people to type works: commands, options, Python, links."""

from __future__ import annotations

import re
import shlex
import textwrap
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer

from napari_ppn2v.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PROGRAM = "napari-ppn2v"
LARGEST_PICTURE = 300_000  # bytes
FEW_STEPS = 8
ADDED_BY_THE_PARSER = {"--help"}


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


def commands(path: Path) -> list[str]:
    """Whole calls of the program, of blocks and of the running text."""
    lines = [
        line for block in blocks(path, "bash") for line in block.splitlines()
    ] + inline_code(path)
    return [
        line
        for line in lines
        if line.startswith(f"{PROGRAM} ") and "COMMAND" not in line
    ]


EVERY_COMMAND = [(path, line) for path in DOCUMENTS for line in commands(path)]


@cache
def program():
    return typer.main.get_command(app)


def parse(command, words: list[str], parent=None) -> None:
    """Let each command take its options, without running anything."""
    with command.make_context(PROGRAM, list(words), parent=parent) as context:
        if not hasattr(command, "commands"):
            return
        name, below, rest = command.resolve_command(
            context, [*getattr(context, "_protected_args", ()), *context.args]
        )
        assert below is not None, name
        parse(below, rest, context)


@pytest.mark.parametrize(
    ("path", "line"), EVERY_COMMAND, ids=[f"{named(p)}: {c}" for p, c in EVERY_COMMAND]
)
def test_every_command_is_understood_by_the_program(path, line):
    parse(program(), shlex.split(line, comments=True)[1:])


def test_a_command_that_does_not_exist_is_noticed():
    with pytest.raises(Exception, match="--quick"):
        parse(program(), ["denoise", "noisy.tif", "-o", "x.tif", "--quick"])


def options_of(command) -> set[str]:
    below = getattr(command, "commands", {}).values()
    here = {opt for item in command.params for opt in item.opts}
    return here.union(*(options_of(each) for each in below))


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_every_option_in_the_text_exists(path):
    named_options = {
        word
        for code in inline_code(path)
        if code.startswith("--")
        for word in re.findall(r"--[a-z][a-z-]*", code)
    }
    assert named_options - ADDED_BY_THE_PARSER <= options_of(program())


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_and_pictures_are_there(path):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    assert all(picture.stat().st_size < LARGEST_PICTURE for picture in pictures)


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """A folder with the files that the examples read."""
    import zarr

    from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack

    monkeypatch.chdir(tmp_path)
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


@pytest.fixture
def brief_training(monkeypatch):
    """All settings as they are, but hardly any steps."""
    from napari_ppn2v.pipeline.config import RunConfig

    with_steps = RunConfig.with_steps
    monkeypatch.setattr(
        RunConfig,
        "with_steps",
        lambda config, n_steps: with_steps(config, min(n_steps, FEW_STEPS)),
    )


WITH_PYTHON = [path for path in DOCUMENTS if blocks(path, "python")]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=named)
def test_python_examples_run(path, recording, brief_training):
    from napari_ppn2v.core.devices import threads

    names: dict = {}
    with threads(1):
        for block in blocks(path, "python"):
            exec(compile(block, named(path), "exec"), names)
    if "result" in names:
        assert names["result"].image.shape == names["stack"].shape
        assert np.isfinite(names["result"].image).all()
