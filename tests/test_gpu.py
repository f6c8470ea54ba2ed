"""On a GPU: the same estimates as on the CPU, and a whole run. Run with -m gpu."""

import numpy as np
import pytest
import torch

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_stack

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def stack():
    camera = Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3)
    return simulate_stack(camera, n_frames=3, size=128, peak_electrons=80, seed=0)


@pytest.fixture(scope="module", params=["pn2v", "refined"])
def run(request, stack):
    return ppn2v.train(
        stack.observation, axes="TYX", steps=200, method=request.param, device="auto"
    )


def test_a_run_on_the_gpu_denoises(stack, run):
    assert run.denoiser.model.device.type != "cpu"
    result = ppn2v.apply(run.denoiser, stack.observation, axes="TYX").image
    noisy = stack.observation.astype(np.float32)
    gain = np.mean((noisy - stack.signal) ** 2) / np.mean((result - stack.signal) ** 2)
    assert gain > 2


def test_estimates_on_gpu_and_cpu_agree(stack, run):
    there = ppn2v.apply(run.denoiser, stack.observation, axes="TYX", device="auto")
    here = ppn2v.apply(
        run.denoiser.to(torch.device("cpu")),
        stack.observation,
        axes="TYX",
        device="cpu",
    )
    # bfloat16 on either side: a small part of the noise of several grey values
    assert np.abs(there.image - here.image).mean() < 0.5
