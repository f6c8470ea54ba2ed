"""What leaves the house: wheel, source distribution, citation, templates, workflows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
METADATA = PROJECT["project"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
LARGEST_WHEEL, LARGEST_SOURCE = 5_000_000, 30_000_000  # bytes


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both distributions, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-W", "ignore", "-m", "build", "--no-isolation"]
    command += ["--sdist", "--wheel", "--outdir", str(folder), str(ROOT)]
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def source(built):
    (path,) = built.glob("*.tar.gz")
    return path


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.split("/")[0] for name in names}
    version = METADATA["version"]
    assert roots == {"napari_ppn2v", f"napari_ppn2v-{version}.dist-info"}
    kinds = {Path(name).suffix for name in names if name.startswith("napari_ppn2v/")}
    assert kinds == {".py", ".yaml", ".typed", ".tif", ".txt", ".md"}
    assert wheel.stat().st_size < LARGEST_WHEEL


def test_every_module_of_the_source_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    source = ROOT / "src"
    there = {str(p.relative_to(source).as_posix()) for p in source.rglob("*.py")}
    assert packed == there


def test_the_wheel_says_who_may_use_it_and_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        text = archive.read(name).decode()
        licences = [n for n in archive.namelist() if "/licenses/" in n]
    assert "License-Expression: BSD-3-Clause\n" in text
    assert "Classifier: Framework :: napari\n" in text
    assert "Classifier: License" not in text  # contradicts the expression
    assert "Description-Content-Type: text/markdown" in text
    assert [Path(n).name for n in licences] == ["LICENSE"]


def test_the_source_holds_what_its_tests_read(source):
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        "mkdocs.yml",
        "napari.yaml",
        ".ci/run",
        ".github/workflows/ci.yml",
        "docs/architecture.md",
        "scripts/smoke_test_install.py",
        "tests/conftest.py",
        "tests/test_packaging.py",
    ):
        assert needed in names, needed
    assert source.stat().st_size < LARGEST_SOURCE


def test_neither_holds_what_machines_leave_behind(wheel, source):
    with zipfile.ZipFile(wheel) as archive, tarfile.open(source) as other:
        names = [*archive.namelist(), *other.getnames()]
    left = re.compile(r"__pycache__|\.pyc$|\.(pytest|mypy|ruff)_cache|\.venv/|\.git/")
    assert not [name for name in names if left.search(name)]


def test_every_dependency_has_a_floor_and_none_a_ceiling():
    for item in METADATA["dependencies"]:
        assert re.fullmatch(r"[A-Za-z0-9._-]+>=[0-9.]+", item), item


def test_no_address_is_named_that_does_not_exist():
    """There is no public repository yet; addresses come with it."""
    assert "urls" not in METADATA


def test_classifiers_name_the_pythons_that_are_tested():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    tested = set(re.findall(r'"(3\.\d+)"', text))
    named = {
        item.rsplit(" ", 1)[1]
        for item in METADATA["classifiers"]
        if re.search(r":: 3\.\d+$", item)
    }
    assert named >= {METADATA["requires-python"].removeprefix(">=")}
    assert tested & named


def test_the_citation_names_the_software_and_both_papers():
    plain = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert plain["cff-version"] == "1.2.0"
    assert str(plain["version"]) == METADATA["version"]
    assert plain["license"] == METADATA["license"]
    papers = {item["doi"]: item["title"] for item in plain["references"]}
    assert set(papers) == {"10.1109/ISBI45749.2020.9098612", "10.1109/CVPR.2019.00223"}


def test_packages_of_the_model_zoo_cite_the_same_papers():
    from napari_ppn2v.files.bioimage_model import PAPERS

    plain = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {p["doi"] for p in PAPERS} == {item["doi"] for item in plain["references"]}


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_for_issues_can_be_read_and_ask_for_something(path):
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert plain == {"blank_issues_enabled": True}
        return
    assert plain["name"]
    assert plain["description"]
    questions = [item for item in plain["body"] if item["type"] != "markdown"]
    assert any(item.get("validations", {}).get("required") for item in questions)
    names = [item["id"] for item in questions]
    assert len(names) == len(set(names))


def test_the_forms_ask_for_what_the_command_line_gives():
    from napari_ppn2v.cli.app import app

    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    text = "".join(path.read_text(encoding="utf-8") for path in FORMS)
    named = set(re.findall(r"`napari-ppn2v ([a-z]+)", text))
    assert {"info", "report", "check"} <= named
    assert named <= commands


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_can_be_read_and_call_scripts_that_are_there(path):
    text = path.read_text(encoding="utf-8")
    plain = yaml.safe_load(text)
    assert plain["permissions"] == {"contents": "read"}
    for job in plain["jobs"].values():
        assert "timeout-minutes" in job or job.get("needs")
    for script in re.findall(r"scripts/\w+\.py", text):
        assert (ROOT / script).is_file(), script
    for target in re.findall(r"^\s*run: make ([a-z-]+)", text, re.MULTILINE):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_only_the_publishing_job_may_prove_who_it_is():
    """Trusted publishing needs an identity; no password is stored anywhere."""
    path = ROOT / ".github" / "workflows" / "release.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    with_identity = [
        name for name, job in jobs.items() if "id-token" in job.get("permissions", {})
    ]
    assert with_identity == ["publish"]
    assert jobs["publish"]["needs"] == "build"
    assert "secrets." not in path.read_text(encoding="utf-8")
