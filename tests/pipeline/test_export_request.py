"""What is exported of a model at hand, and what is refused before."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.errors import BadAxes, BadSetting
from napari_ppn2v.events import drain
from napari_ppn2v.files.bioimage_card import ModelCard
from napari_ppn2v.files.bioimage_model import read_description
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.pipeline.export_job import export_model
from napari_ppn2v.pipeline.export_request import ExportModelRequest
from napari_ppn2v.pipeline.stack_request import Stack
from napari_ppn2v.stop import StopToken


def denoiser(mean):
    """Untrained Noise2Void, told apart by the brightness it was trained on."""
    torch.manual_seed(0)
    config = UNetConfig(n_filters=4, n_levels=2)
    model = PriorNetwork(config, "free", 1, Normalisation(mean, 50.0))
    return Denoiser(model.eval(), None, None, "prior-mean", False)


@dataclass(frozen=True)
class Model:
    """A trained model of two channels."""

    name: str = "cells"
    denoisers: tuple = (denoiser(100.0), denoiser(200.0))
    channels: tuple = (0, 2)


def request(**options):
    return ExportModelRequest(
        **{"model": Model(), "card": ModelCard(name="Cells"), **options}
    )


def test_the_model_of_the_channel_is_exported_and_stays_as_it_is(tmp_path):
    model = Model()
    before = [each.data_ptr() for each in model.denoisers[1].model.parameters()]
    wanted = request(model=model, channel=2, threads=1)
    wanted.check()
    report = drain(export_model(wanted, tmp_path / "a.zip", StopToken()))
    ours = read_description(report.path)["config"]["napari_ppn2v"]
    assert ours["mean"] == 200
    after = [each.data_ptr() for each in model.denoisers[1].model.parameters()]
    assert after == before
    assert model.denoisers[1].model.normalisation.mean == 200


def test_of_an_image_the_channel_of_the_model_is_taken():
    pixels = np.arange(3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8)
    wanted = request(channel=2, image=Stack(data=pixels, axes="CYX"))
    assert wanted.image_channel == 2
    np.testing.assert_array_equal(wanted.frames().frame(0), pixels[2])
    alone = request(channel=2, image=Stack(data=pixels[0], axes="YX"))
    assert alone.image_channel is None
    np.testing.assert_array_equal(alone.frames().frame(0), pixels[0])
    short = request(channel=2, image=Stack(data=pixels[:2], axes="CYX"))
    with pytest.raises(BadAxes, match="channel 2"):
        short.check()


def test_what_would_fail_later_is_refused_before():
    with pytest.raises(BadSetting, match="posterior standard deviation"):
        request(inference=InferenceConfig(posterior_std=True)).check()
    with pytest.raises(BadSetting, match="noise model"):
        request(inference=InferenceConfig(estimate="mmse")).check()
    maps = {"common_offset": 100.0, "common_gain": 2.0, "name": "maps.tif"}
    mapped = replace(denoiser(100.0), provenance={"camera_maps": maps})
    with pytest.raises(BadSetting, match="camera maps"):
        request(model=Model(denoisers=(mapped,), channels=(0,))).check()
