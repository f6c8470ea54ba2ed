"""Commands of the documents are typed as they stand, from the top of a page to its end.

In the default suite those that train nothing; with `-m slow` all of them, with hardly
any steps.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from napari_ppn2v.cli.app import app
from tests.documents import (
    DOCS,
    DOCUMENTS,
    ROOT,
    blocks,
    named,
    run_blocks,
    train_briefly,
    write_all_that_pages_name,
    write_recording,
)

PROGRAM = "napari-ppn2v"
NOT_RUN = {
    "--resume": "there is nothing to resume: tests/hardening interrupts runs",
    "--dask-": "needs a cluster: tests/pipeline/test_cluster.py makes one",
    " export ": "tests/files/test_bioimage_model.py",
    "theirs.npz": "files of other programs: tests/files/test_noise_model_files.py",
    "mine.npz": "files of other programs: tests/files/test_noise_model_files.py",
    "inspect cells": "a noise model after 8 steps covers nothing: test_noise_drift.py",
    " a.npz": "several noise models: tests/pipeline/test_inspection.py",
}
"""What a command holds that is not run here -> why."""

WITHOUT_TRAINING = ("info", "check", "simulate")
PAGES = [
    path
    for path in DOCUMENTS
    if path.relative_to(ROOT).parts[:2] in {("docs", "tutorials"), ("docs", "how-to")}
]


def commands(path: Path) -> list[str]:
    lines = [line for block in blocks(path, "bash") for line in block.splitlines()]
    return [
        line
        for line in lines
        if line.startswith(f"{PROGRAM} ") and not any(part in line for part in NOT_RUN)
    ]


def arguments(line: str) -> list[str]:
    """Words of a command, with patterns replaced by names, as a shell does."""
    words: list[str] = []
    for word in shlex.split(line, comments=True)[1:]:
        found = sorted(map(str, Path().glob(word))) if "*" in word else []
        words += found or [word]
    return words


def type_in(line: str) -> None:
    """Run one command as a person whose earlier results are no longer of use."""
    words = arguments(line)
    overwriting = words[0] in ("denoise", "train", "apply") or "-o" in words
    if overwriting and words[0] not in ("inspect", "demo"):
        words += ["--overwrite"]
    done = CliRunner().invoke(app, words)
    allowed = (0, 1) if words[0] == "check" else (0,)
    assert done.exit_code in allowed, f"{line}\n{done.output}"


WITH_COMMANDS = [path for path in PAGES if commands(path)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all the files that pages name, and hardly any steps."""
    monkeypatch.chdir(tmp_path)
    train_briefly(monkeypatch)
    write_all_that_pages_name()
    return tmp_path


def trains_nothing(line: str) -> bool:
    return line.split()[1] in WITHOUT_TRAINING


LIGHT = [
    (path, [line for line in commands(path) if trains_nothing(line)])
    for path in WITH_COMMANDS
]


@pytest.mark.parametrize(
    ("path", "lines"),
    [(path, lines) for path, lines in LIGHT if lines],
    ids=[named(path) for path, lines in LIGHT if lines],
)
def test_commands_that_train_nothing_run(path, lines, folder):
    for line in lines:
        if all(Path(word).exists() for word in arguments(line) if "." in word):
            type_in(line)


@pytest.mark.slow
@pytest.mark.parametrize("path", WITH_COMMANDS, ids=named)
def test_every_command_of_a_page_runs(path, folder):
    """Models and noise models that a page takes for granted are made first."""
    lines = commands(path)
    wanted = " ".join(lines)
    calibrated = "--calibration diaphragm.tif --noise-model-kind camera"
    for model in ("cells.ppn2v", "model.ppn2v"):
        if model in wanted and f"-o {model}" not in wanted:
            type_in(f"{PROGRAM} train noisy.tif -o {model} {calibrated}")
    if "camera.npz" in wanted and "-o camera.npz" not in wanted:
        fit = "noise-model fit --calibration diaphragm.tif -o camera.npz"
        type_in(f"{PROGRAM} {fit} --kind camera")
    if "report results" in wanted and "-o results" not in wanted.split("report")[0]:
        type_in(f"{PROGRAM} denoise noisy.tif -o results --preset fast")
    for line in lines:
        type_in(line)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run, as `run.json` describes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        train_briefly(patch)
        write_recording()
        type_in(f"{PROGRAM} denoise noisy.tif -o results --noise-model-kind camera")
        yield Path("results")


@pytest.mark.slow
def test_the_methods_section_is_filled_from_the_record(run, capsys):
    run_blocks(DOCS / "how-to" / "write-the-methods-section.md", {})
    text = capsys.readouterr().out
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert "2 x 64 x 64 pixels, uint16" in text
    assert f"for {record['steps']} steps" in text
    assert record["channels"]["0"]["noise_model"]["name"] in text
    assert "{" not in text


@pytest.mark.slow
def test_every_entry_of_a_record_is_in_the_page_on_formats(run):
    text = (DOCS / "reference" / "file-formats.md").read_text(encoding="utf-8")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert not [name for name in record if f"`{name}`" not in text]
    columns = (run / "curves.csv").read_text(encoding="utf-8").splitlines()[0]
    assert not [name for name in columns.split(",") if f"`{name}`" not in text]
