"""What the documents tell people to type, press and expect to read is there."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
import typer
import yaml

from napari_ppn2v.cli.app import app
from tests.documents import (
    DOCUMENTS,
    FEW_STEPS,
    ROOT,
    blocks,
    called,
    inline_code,
    named,
    run_blocks,
    train_briefly,
    write_recording,
)

PROGRAM = "napari-ppn2v"
LARGEST_PICTURE = 300_000  # bytes
LARGEST_PICTURE_OF_THE_VIEWER = 250_000
WIDTH_OF_THE_VIEWER = 1400
ADDED_BY_THE_PARSER = {"--help"}


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


def targets(path: Path) -> list[str]:
    """Everything that a document links to or shows, without the addresses."""
    text = path.read_text(encoding="utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    found += re.findall(r'(?:src|srcset)="([^"]+)"', text)
    return [target for target in found if "://" not in target]


def headings(path: Path) -> set[str]:
    """Places in a document that can be linked to, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_and_pictures_are_there(path):
    for target in targets(path):
        name, _, place = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), target
        assert not place or place in headings(found), target


def test_every_document_is_reached_from_the_index():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / t.partition("#")[0]).resolve() for t in targets(index)}
    assert set(ROOT.glob("docs/**/*.md")) - {index} <= linked


def test_pictures_are_small():
    pictures = list((ROOT / "docs" / "pictures").iterdir())
    assert pictures
    assert all(picture.stat().st_size < LARGEST_PICTURE for picture in pictures)


PICTURES_OF_THE_VIEWER = sorted((ROOT / "docs" / "images" / "viewer").glob("*.png"))


@pytest.mark.parametrize("picture", PICTURES_OF_THE_VIEWER, ids=named)
def test_pictures_of_the_viewer_are_small(picture):
    """`docs/make_pictures.py --viewer` makes them so."""
    with picture.open("rb") as file:
        header = file.read(24)
    assert int.from_bytes(header[16:20], "big") == WIDTH_OF_THE_VIEWER
    assert picture.stat().st_size < LARGEST_PICTURE_OF_THE_VIEWER


def test_pictures_of_the_viewer_come_in_both_themes_and_are_shown():
    names = {picture.name for picture in PICTURES_OF_THE_VIEWER}
    shown = {
        Path(t).name for path in DOCUMENTS for t in targets(path) if "viewer/" in t
    }
    assert names
    assert names == {name for name in shown if name.endswith(".png")}
    assert {name.replace("_dark", "_light") for name in names} == {
        name for name in names if "_light" in name
    }


# -- what the viewer shows ------------------------------------------------------------

SOURCE = ROOT / "src" / "napari_ppn2v"
ABOUT_THE_VIEWER = {
    ROOT / "docs" / "tutorials" / "first-denoised-image.md": "",
    ROOT / "docs" / "how-to" / "denoise-in-the-viewer.md": "",
    ROOT / "docs" / "how-to" / "noise-models-in-the-viewer.md": "",
    ROOT / "docs" / "how-to" / "apply-in-the-viewer.md": "",
    ROOT / "docs" / "explanation" / "what-the-viewer-shows.md": "",
    ROOT / "docs" / "reference" / "viewer.md": "",
    ROOT / "docs" / "how-to" / "export-to-the-model-zoo.md": "In the viewer",
    ROOT / "docs" / "how-to" / "messages.md": "In the viewer",
    ROOT / "README.md": "In napari",
}
"""Document -> the section of it that is about the viewer, "" for all of it."""

NAPARIS_OWN = {
    *("File", "Open Sample", "Save Selected Layers…"),
    *("Layers", "Filter", "Plugins", "napari-ppn2v"),
}


def about_the_viewer(path: Path) -> str:
    """Text about the viewer, in one line per paragraph, without code."""
    text = path.read_text(encoding="utf-8")
    section = ABOUT_THE_VIEWER[path]
    if section:
        text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    return re.sub(r"\s+", " ", text)


@cache
def texts_of_the_code() -> frozenset[str]:
    """All texts that the code of the viewer, its settings and its jobs can show.

    The pieces of formatted texts are texts of their own.
    """
    found: set[str] = set()
    for file in SOURCE.rglob("*.py"):
        if "cli" in file.relative_to(SOURCE).parts:
            continue
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        unseen = [node.value for node in nodes if isinstance(node, ast.Expr)]
        for node in nodes:
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and node not in unseen:  # docstrings are not
                found.add(" ".join(node.value.split()))
    manifest = yaml.safe_load((SOURCE / "napari.yaml").read_text(encoding="utf-8"))
    for part in manifest["contributions"].values():
        entries = part if isinstance(part, list) else []
        for entry in entries:
            found |= {str(entry[k]) for k in ("title", "display_name") if k in entry}
    return frozenset(found)


def labels(path: Path) -> list[str]:
    """Labels in bold, each step of a way through menus by itself."""
    bold = re.findall(r"\*\*(.+?)\*\*", about_the_viewer(path))
    return [label for each in bold for label in each.split(" > ")]


@pytest.mark.parametrize("path", ABOUT_THE_VIEWER, ids=named)
def test_every_label_that_is_named_is_in_the_viewer(path):
    missing = set(labels(path)) - NAPARIS_OWN - texts_of_the_code()
    assert not missing


@pytest.mark.parametrize("path", ABOUT_THE_VIEWER, ids=named)
def test_everything_that_is_quoted_is_said_by_the_viewer(path):
    """Alt texts and the names of files are not quoted with these marks."""
    texts = texts_of_the_code()
    quoted = re.findall(r"“([^”]+)”", about_the_viewer(path))
    unsaid = [q for q in quoted if not any(q in text for text in texts)]
    assert not unsaid


def test_a_label_that_does_not_exist_is_noticed():
    assert "Denoise quickly" not in texts_of_the_code()
    assert {"Denoise", "Stop", "Train longer", "Trim"} <= texts_of_the_code()


def test_the_thresholds_of_the_table_are_those_of_the_code():
    from napari_ppn2v.core.noise_models.quality import FAIR, GOOD

    text = about_the_viewer(ROOT / "docs" / "how-to" / "noise-models-in-the-viewer.md")
    bias, variance, shape = (
        re.search(rf"\| \*\*{name}\*\* \|.*?\| ([^|]*) \| ([^|]*) \|", text)
        for name in ("bias", "variance", "shape")
    )
    for number, limits in enumerate((GOOD, FAIR), 1):
        assert f"{limits.bias:g}" in bias[number]
        assert f"{100 * limits.variance:g} %" in variance[number]
        assert f"{limits.ks:g}" in shape[number]


@pytest.fixture
def recording(tmp_path, monkeypatch):
    """A folder with the files that the examples read, and hardly any steps."""
    monkeypatch.chdir(tmp_path)
    train_briefly(monkeypatch)
    write_recording()


def viewer_after_a_run():
    """A viewer without a window, with the sample and the model trained on it."""
    from napari.components import ViewerModel

    import napari_ppn2v as ppn2v
    from napari_ppn2v.session.session import NamedDenoiser, session_of

    viewer, stack = ViewerModel(), tifffile.imread("noisy.tif")
    viewer.add_image(stack, name="EMCCD recording")
    trained = ppn2v.train(stack, axes="TYX", steps=FEW_STEPS)
    session = session_of(viewer)
    session.add_denoiser(NamedDenoiser("EMCCD recording", (trained.denoiser,)))
    return viewer


WITH_PYTHON = [path for path in DOCUMENTS if blocks(path, "python")]
LONGER = {
    "docs/how-to/export-to-the-model-zoo.md",
    "docs/how-to/python-arrays.md",
    "docs/tutorials/python.md",
    "docs/how-to/reuse-a-model.md",
    "docs/how-to/time-lapse-channels-z-stacks.md",
    "docs/how-to/write-the-methods-section.md",
}
"""Pages whose examples train several times; they are run with -m slow."""

RUN_ELSEWHERE = {
    "docs/architecture.md": "test_worked_examples.py",
    "docs/how-to/write-the-methods-section.md": "test_commands_of_the_docs.py",
}


def pages_to_run():
    for path in WITH_PYTHON:
        if named(path) not in RUN_ELSEWHERE:
            marks = pytest.mark.slow if named(path) in LONGER else ()
            yield pytest.param(path, marks=marks, id=named(path))


@pytest.mark.parametrize("path", list(pages_to_run()))
def test_python_examples_run(path, recording):
    names: dict = {}
    if any("viewer." in block for block in blocks(path, "python")):
        names["viewer"] = viewer_after_a_run()
    run_blocks(path, names)
    if "result" in names and "stack" in names:
        assert names["result"].image.shape == names["stack"].shape
        assert np.isfinite(names["result"].image).all()


@pytest.mark.parametrize("path", WITH_PYTHON, ids=named)
def test_python_examples_call_what_there_is(path):
    """Without running them: every function of ours exists and takes these keywords."""
    import napari_ppn2v as ppn2v

    for block in blocks(path, "python"):
        for name, keywords in called(ast.walk(ast.parse(block))):
            function = getattr(ppn2v, name)
            if inspect.isfunction(function):
                inspect.signature(function).bind_partial(**dict.fromkeys(keywords))


def test_a_function_or_keyword_that_does_not_exist_is_noticed():
    import napari_ppn2v as ppn2v

    (found,) = called(ast.walk(ast.parse("ppn2v.preset('fast', speed=3)")))
    assert found == ("preset", ["speed"])
    with pytest.raises(TypeError, match="speed"):
        inspect.signature(ppn2v.preset).bind_partial(speed=3)
