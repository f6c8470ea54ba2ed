"""A tiny recording, and the real command line."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_ppn2v.cli.app import app
from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack

FAST = (
    "--preset fast --steps 30 --noise-model-kind histogram --estimate mmse --blind no "
    "--device cpu --threads 1"
)

BRIEF = FAST.replace("--steps 30", "--steps 6")


@pytest.fixture(scope="session")
def run():
    """Run the command line on a string or list of arguments."""

    def invoke(*arguments):
        parts = [
            part
            for argument in arguments
            for part in (
                argument.split() if isinstance(argument, str) else [str(argument)]
            )
        ]
        return CliRunner().invoke(app, parts)

    return invoke


def write(path, stack, axes="TYX"):
    """Write a stack with its axes."""
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": axes})
    return path


@pytest.fixture(scope="session")
def stack():
    """Noisy frames with their signal, brightness and camera."""
    return simulate_stack(Camera(), n_frames=2, size=64, peak_electrons=20, seed=3)


@pytest.fixture(scope="session")
def noisy(tmp_path_factory, stack):
    return write(tmp_path_factory.mktemp("data") / "noisy.ome.tif", stack.observation)


@pytest.fixture(scope="session")
def truth(noisy, stack):
    return write(noisy.with_name("truth.ome.tif"), stack.signal)


@pytest.fixture(scope="session")
def calibration(noisy):
    found = simulate_calibration(
        Camera(), n_repeats=20, size=64, peak_electrons=25, seed=4
    )
    return write(noisy.with_name("calibration.ome.tif"), found.observation)


@pytest.fixture(scope="session")
def finished(run, noisy, tmp_path_factory):
    """A whole run into a folder."""
    out = tmp_path_factory.mktemp("finished") / "run"
    result = run("denoise", noisy, "-o", out, FAST)
    assert result.exit_code == 0, result.output
    return out, result


@pytest.fixture
def two_channels(tmp_path, stack):
    """Two channels of different brightness, channels last but for Y and X."""
    other = simulate_stack(
        Camera(offset=200), n_frames=2, size=64, peak_electrons=90, seed=5
    )
    both = np.stack([stack.observation, other.observation], axis=1)
    return write(tmp_path / "two.ome.tif", both, "TCYX")
