"""Averaging over orientations: nothing moves, and tiled equals whole."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.orientations import N_ORIENTATIONS, turned, turned_back
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.core.tiling import tiles


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(0)
    model = PriorNetwork(
        UNetConfig(n_levels=2, n_filters=4), "gaussian", 8, Normalisation(100.0, 20.0)
    ).eval()
    return Denoiser(
        model,
        None,
        Blindness(3, "mean"),
        "prior-mean",
        is_blind=False,
        averages_orientations=True,
    )


def image_of(height, width, seed=0):
    noise = np.random.default_rng(seed).normal(100, 20, (height, width))
    return noise.astype(np.float32)


@given(st.integers(0, 7), st.integers(1, 9), st.integers(1, 9))
def test_turning_back_undoes_turning(number, height, width):
    image = image_of(height, width)
    assert np.array_equal(turned_back(turned(image, number), number), image)


def test_the_eight_orientations_differ():
    image = image_of(5, 5)
    found = {turned(image, number).tobytes() for number in range(N_ORIENTATIONS)}
    assert len(found) == N_ORIENTATIONS


@pytest.mark.parametrize("number", range(1, 8))
def test_a_turned_image_gives_the_turned_estimate(denoiser, number):
    """Which a network alone does not."""
    image = image_of(24, 32)
    upright = denoiser.estimate_image(image)
    other = denoiser.estimate_image(turned(image, number))
    back = turned_back(other.prior_mean, number)
    assert back == pytest.approx(upright.prior_mean, abs=0.3)  # bfloat16
    single = replace(denoiser, averages_orientations=False)
    alone = single.estimate_image(turned(image, number)).prior_mean
    away = np.abs(turned_back(alone, number) - single.estimate_image(image).prior_mean)
    assert away.max() > 3 * np.abs(back - upright.prior_mean).max()


def test_the_estimate_is_the_mean_of_those_of_all_orientations(denoiser):
    image = image_of(16, 24)
    single = replace(denoiser, averages_orientations=False)
    parts = [
        turned_back(single.estimate_image(turned(image, k)).prior_mean, k)
        for k in range(N_ORIENTATIONS)
    ]
    found = denoiser.estimate_image(image).prior_mean
    assert found == pytest.approx(np.mean(parts, axis=0), abs=0.3)


@pytest.mark.parametrize("shape", [(40, 56), (37, 51)])
def test_tiled_equals_whole(denoiser, shape):
    image = image_of(*shape)
    whole = denoiser.estimate_image(image)
    network = denoiser.network
    for rows, columns in tiles(shape, 16, network.halo, network.stride):
        tile = denoiser.estimate_tile(image[rows.read, columns.read], rows, columns)
        expected = whole.prior_mean[rows.keep, columns.keep]
        assert tile.prior_mean == pytest.approx(expected, abs=0.3)
        assert tile.posterior_std == pytest.approx(
            whole.posterior_std[rows.keep, columns.keep], abs=0.3
        )


def test_blind_estimates_are_not_averaged(denoiser):
    blind = replace(denoiser, is_blind=True)
    single = replace(blind, averages_orientations=False)
    image = image_of(20, 28)
    assert np.array_equal(
        blind.estimate_image(image).prior_mean, single.estimate_image(image).prior_mean
    )
