"""What the documents promise is what the files hold."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import napari_ppn2v

ROOT = Path(__file__).resolve().parents[1]

# Addresses that tie the project to one place. Written in parts, so that this file
# does not hold them itself.
REGISTRY_HOSTS = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "download." + "pytorch.org",
    "registry." + "npmjs.org",
    "deb." + "debian.org",
    "conda." + "anaconda.org",
]
MACHINE_PATHS = ["/" + "work/", "/" + "root/", "/" + "opt/wheels", "/" + "tmp/bash_"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def metadata() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))


def tracked_files() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode != 0:
        pytest.skip("no git checkout here")
    names = [name for name in listing.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run"])
def test_the_commands_that_documents_name_are_make_targets(document):
    lines = re.findall(r"^\s*make ([a-z -]+)", read(document), re.MULTILINE)
    words = [word for line in lines for word in line.split()]
    named = {word for word in words if word.replace("-", "").isalpha()}
    assert named
    assert named <= make_targets()


def test_readme_gives_the_two_commands_of_a_fresh_machine():
    assert re.search(r"^make demo", read("README.md"), re.MULTILINE)
    assert re.search(r"^make test", read("README.md"), re.MULTILINE)


def test_one_version_everywhere():
    version = metadata()["version"]
    assert napari_ppn2v.__version__ == version
    assert f"\nversion: {version}\n" in read("CITATION.cff")
    assert f"## [{version}]" in read("CHANGELOG.md")


def test_both_places_of_the_napari_manifest_hold_the_same():
    assert read("napari.yaml") == read("src/napari_ppn2v/napari.yaml")
    assert metadata()["entry-points"]["napari.manifest"] == {
        "napari-ppn2v": "napari_ppn2v:napari.yaml"
    }


def test_no_qt_binding_in_the_base_dependencies():
    names = {re.split(r"[<>=~! ]", d.lower())[0] for d in metadata()["dependencies"]}
    assert not [name for name in names if name.startswith(("pyqt5", "pyqt6", "pyside"))]
    assert not [name for name in names if name.startswith(("napari", "vispy"))]


def test_a_plain_install_into_a_viewer_brings_all_that_the_docks_import():
    """As napari's plugin manager does it; the viewer itself brings napari and Qt."""
    names = {re.split(r"[<>=~! ]", d.lower())[0] for d in metadata()["dependencies"]}
    assert {"magicgui", "pooch", "psygnal", "pyqtgraph", "qtpy", "superqt"} <= names


def test_constraints_pin_a_torch_that_the_package_allows():
    pinned = re.search(r"^torch==(\d+)\.(\d+)", read("constraints.txt"), re.MULTILINE)
    (wanted,) = [d for d in metadata()["dependencies"] if d.startswith("torch")]
    oldest = re.fullmatch(r"torch>=(\d+)\.(\d+)", wanted)
    assert pinned is not None
    assert oldest is not None
    assert tuple(map(int, pinned.groups())) >= tuple(map(int, oldest.groups()))


def test_links_between_documents_lead_somewhere():
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    documents += sorted((ROOT / "docs").rglob("*.md"))
    broken = []
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            is_address = "://" in target
            if not is_address and not (document.parent / target).exists():
                broken.append(f"{document.relative_to(ROOT)}: {target}")
    assert not broken


def test_nothing_names_a_registry_host_or_a_path_of_one_machine():
    banned = re.compile(
        "|".join(re.escape(word) for word in REGISTRY_HOSTS + MACHINE_PATHS)
    )
    found = []
    for path in tracked_files():
        text = path.read_text(encoding="utf-8", errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {hit}" for hit in banned.findall(text)]
    assert not found
