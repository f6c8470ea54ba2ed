"""A script of layers without files runs in the viewer that has them."""

from __future__ import annotations

import runpy
from dataclasses import replace

import numpy as np

import napari_ppn2v as ppn2v
from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.stack_job import denoise_stack
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest
from napari_ppn2v.session.script import python_script
from napari_ppn2v.stop import StopToken
from napari_ppn2v.widgets.layers.placing import array_source, read_layer


def test_a_multiscale_layer_is_denoised_to_the_same_pixels(
    make_napari_viewer, tmp_path, monkeypatch
):
    viewer = make_napari_viewer()
    fine = np.random.default_rng(0).poisson(50, (3, 48, 48)).astype(np.float32)
    layer = viewer.add_image([fine, fine[:, ::2, ::2]], name="a 'pyramid'")
    config = ppn2v.preset("fast", method="n2v").with_steps(4)
    training = replace(config.pretraining, patch_size=16)
    network = UNetConfig(n_levels=1, n_filters=4)
    config = replace(config, pretraining=training, network=network)
    data = read_layer(layer)
    request = StackRequest(
        observation=Stack(data=data.data, axes=data.axes), config=config, threads=1
    )
    script = tmp_path / "script.py"
    script.write_text(python_script(request, array_source(data)), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = runpy.run_path(str(script))
    result = drain(denoise_stack(request, StopToken())).result
    np.testing.assert_array_equal(found["image"], result.image)
