"""What the viewer learns about the plugin; an invalid manifest hides it silently."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from npe2 import PluginManifest

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = ROOT / "src" / "napari_ppn2v" / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def test_npe2_finds_no_fault_with_the_installed_manifest():
    command = [sys.executable, "-W", "ignore", "-m", "npe2", "validate", "napari-ppn2v"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_command_leads_to_something_that_can_be_called(manifest):
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), command.id


def test_the_three_docks_are_offered(manifest):
    assert [item.display_name for item in manifest.contributions.widgets] == [
        "Denoise (PPN2V)",
        "Noise model (PPN2V)",
        "Apply a model (PPN2V)",
    ]


def test_names_of_docks_are_those_that_the_context_menu_opens(manifest):
    from napari_ppn2v.widgets import commands

    offered = {item.display_name for item in manifest.contributions.widgets}
    assert {commands.DENOISE, commands.NOISE_MODEL, commands.APPLY} == offered


def test_the_menu_and_the_command_line_of_napari_name_a_dock_alike(manifest):
    assert manifest.display_name == manifest.name


def test_actions_on_a_layer_are_in_its_filter_menu_and_need_an_image(manifest):
    menu = manifest.contributions.menus["napari/layers/filter"]
    commands = {item.id: item for item in manifest.contributions.commands}
    assert len(menu) == 3
    for item in menu:
        assert commands[item.command].enablement == "active_layer_type == 'image'"


def test_the_wheel_holds_manifest_samples_and_their_licence(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "build", "--wheel"]
    command += ["--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("napari_ppn2v/napari.yaml") == MANIFEST.read_bytes()
    samples = {p.name for p in (MANIFEST.parent / "samples").iterdir() if p.is_file()}
    assert samples
    assert {f"napari_ppn2v/samples/{name}" for name in samples} <= names
    assert "napari_ppn2v/py.typed" in names
