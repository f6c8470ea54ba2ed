"""Tiles cover each pixel once, and denoising in tiles equals denoising whole."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.core.inference import Blindness, estimate_image
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.core.tiling import tiles
from tests.core.test_posterior import KnownGaussian


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(1, 64),
    st.integers(0, 30),
    st.sampled_from([1, 2, 4, 8]),
)
def test_tiles_keep_each_pixel_exactly_once(shape, tile, halo, stride):
    count = np.zeros(shape, int)
    for rows, columns in tiles(shape, tile, halo, stride):
        count[rows.keep, columns.keep] += 1
        for span, length in zip((rows, columns), shape, strict=True):
            assert span.start % stride == 0
            assert span.start == 0 or span.keep_start - span.start >= halo
            assert span.stop == length or span.stop - span.keep_stop >= halo
            kept = np.arange(length)[span.read][span.inner]
            np.testing.assert_array_equal(kept, np.arange(length)[span.keep])
    np.testing.assert_array_equal(count, 1)


@given(st.data(), st.integers(1, 64), st.integers(0, 30), st.sampled_from([1, 2, 4]))
def test_a_part_has_the_tiles_of_the_whole(data, tile, halo, stride):
    """Parts from one multiple of the tiles to another are whole tiles."""
    step = max(stride, tile // stride * stride)
    shape = tuple(data.draw(st.integers(1, 200)) for _ in "YX")
    part = tuple(
        slice(
            step * (n := data.draw(st.integers(0, (size - 1) // step))),
            min(size, step * (n + data.draw(st.integers(1, 3)))),
        )
        for size in shape
    )
    inside = [
        both
        for both in tiles(shape, tile, halo, stride)
        if all(
            p.start <= span.keep_start < p.stop
            for p, span in zip(part, both, strict=True)
        )
    ]
    assert list(tiles(shape, tile, halo, stride, part)) == inside


@pytest.fixture
def model(monkeypatch):
    # bfloat16 rounds alike only where the same instructions see the same shapes
    monkeypatch.setattr(
        "napari_ppn2v.core.devices.has_fast_bfloat16", lambda device: False
    )
    torch.manual_seed(1)
    config = UNetConfig(n_filters=4)
    return PriorNetwork(config, "gaussian", 5, Normalisation(100.0, 20.0)).eval()


BLINDNESS = [
    pytest.param(None, id="one pass"),
    pytest.param(Blindness(4, "mean"), id="blind, mean"),
    pytest.param(Blindness(3, "random"), id="blind, random neighbour"),
]


@pytest.mark.parametrize("blindness", BLINDNESS)
@pytest.mark.parametrize("shape", [(70, 61), (33, 96), (5, 7)])
def test_tiled_equals_whole(model, blindness, shape):
    image = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    whole = estimate_image(model, KnownGaussian(), image, blindness, 4096)
    tiled = estimate_image(model, KnownGaussian(), image, blindness, 16)
    for one, other in zip(
        (whole.prior_mean, whole.mmse, whole.posterior_std),
        (tiled.prior_mean, tiled.mmse, tiled.posterior_std),
        strict=True,
    ):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


def test_a_blind_prior_mean_does_not_depend_on_the_pixel_itself(model):
    image = np.random.default_rng(0).normal(100, 20, (24, 24)).astype(np.float32)
    for blindness in (Blindness(4, "mean"), Blindness(4, "random")):
        before = estimate_image(model, None, image, blindness)
        changed = image.copy()
        changed[11, 13] += 500
        after = estimate_image(model, None, changed, blindness)
        assert after.prior_mean[11, 13] == before.prior_mean[11, 13]
        assert np.any(after.prior_mean != before.prior_mean)


def test_without_a_noise_model_there_is_only_the_prior(model):
    image = np.random.default_rng(0).normal(100, 20, (24, 24)).astype(np.float32)
    for blindness in (None, Blindness(4, "mean")):
        estimate = estimate_image(model, None, image, blindness)
        assert estimate.mmse is None
        assert (estimate.posterior_std > 0).all()
        assert np.isfinite(estimate.prior_mean).all()
