from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.core.added_scenes import (
    SPOT_HEIGHT,
    SPOTS_SHARE,
    UNIFORM_SHARE,
    AddedScenes,
)
from napari_ppn2v.core.batches import Crops, SyntheticObservations
from napari_ppn2v.core.noise_models.camera_models import PoissonGaussianModel
from napari_ppn2v.core.training_stack import TrainingStack

NOISE = 10.0
SIDE = 64


@pytest.fixture
def scenes():
    return AddedScenes((100.0, 500.0), even_noise(2000.0))


def even_noise(highest):
    return PoissonGaussianModel(
        gain=0.01, offset=0.0, read_noise=NOISE, signal_range=(0.0, highest)
    )


def added_to(scenes, patches, n_batches=400):
    nothing = np.zeros(patches.shape, bool)
    rng = np.random.default_rng(0)
    return np.concatenate(
        [scenes.into(patches, nothing, rng)[0] for _ in range(n_batches)]
    )


def ramps(n=8):
    ramp = np.linspace(100, 300, SIDE * SIDE, dtype=np.float32)
    return np.broadcast_to(ramp.reshape(SIDE, SIDE), (n, SIDE, SIDE))


def is_uniform(patches):
    return np.ptp(patches, axis=(1, 2)) == 0


def test_most_patches_stay_as_they_are_and_a_tenth_shows_uniform_light(scenes):
    patches = added_to(scenes, ramps())
    unchanged = (patches == ramps(1)).all(axis=(1, 2)).mean()
    assert unchanged == pytest.approx((1 - UNIFORM_SHARE) * (1 - SPOTS_SHARE), abs=0.02)
    uniform = is_uniform(patches).mean()
    assert uniform == pytest.approx(UNIFORM_SHARE * (1 - SPOTS_SHARE), abs=0.02)


def test_uniform_light_is_as_bright_as_any_part_of_the_images(scenes):
    patches = added_to(scenes, ramps())
    levels = patches[is_uniform(patches), 0, 0]
    assert levels.min() == pytest.approx(100, abs=15)
    assert levels.max() == pytest.approx(500, abs=15)


def test_the_levels_are_those_of_the_images_without_single_brightest_pixels():
    image = np.tile(np.linspace(100, 300, 200, dtype=np.float32), (200, 1))
    image[0, :20] = 60_000
    low, high = AddedScenes.like([image, image], even_noise(60_000)).levels
    assert low == pytest.approx(100, abs=2)
    assert high == pytest.approx(300, abs=4)


def test_spots_are_small_and_as_high_as_their_noise_demands(scenes):
    added = added_to(scenes, ramps()) - ramps(1)
    spots = added[(added != 0).any(axis=(1, 2)) & ~is_uniform(added + ramps(1))]
    spots = spots[np.median(spots, axis=(1, 2)) == 0]
    assert (spots >= -1e-3).all()
    height = spots.max(axis=(1, 2))
    assert height.max() < 1.5 * SPOT_HEIGHT[1] * NOISE  # two may lie on each other
    assert np.median(height) > SPOT_HEIGHT[0] * NOISE
    covered = (spots > 0.5 * height[:, None, None]).sum(axis=(1, 2))
    assert np.median(covered) < 30


def test_no_spot_is_brighter_than_what_the_noise_model_covers():
    scenes = AddedScenes((100.0, 300.0), even_noise(310.0))
    assert added_to(scenes, ramps()).max() < 310 + 0.01 * SPOT_HEIGHT[1] * NOISE


def test_a_bright_place_keeps_no_spot_from_the_rest_of_its_patch():
    patches = np.full((8, SIDE, SIDE), 100, np.float32)
    patches[:, :3, :3] = 400
    scenes = AddedScenes((100.0, 300.0), even_noise(310.0))
    rises = added_to(scenes, patches)[:, 20:, 20:].max(axis=(1, 2)) - 100
    assert (rises > SPOT_HEIGHT[0] * NOISE).mean() > 0.3 * SPOTS_SHARE


def test_images_brighter_than_the_noise_model_covers_get_no_darker():
    scenes = AddedScenes((100.0, 300.0), even_noise(50.0))
    added = added_to(scenes, ramps())
    assert (added[~is_uniform(added)] == ramps(1)).all()


def test_nothing_is_held_out_of_uniform_light_and_all_that_was_elsewhere(scenes):
    held_out = np.zeros((200, SIDE, SIDE), bool)
    held_out[:, :20] = True
    patches, held = scenes.into(ramps(200), held_out, np.random.default_rng(0))
    uniform = is_uniform(patches)
    assert uniform.any()
    assert not held[uniform].any()
    spotless = (patches == ramps(1)).all(axis=(1, 2))
    assert (held[spotless] == held_out[spotless]).all()


def test_the_images_themselves_are_not_touched(scenes):
    image = np.full((SIDE, SIDE), 200, np.float32)
    before, nowhere = image.copy(), np.zeros(image.shape, bool)
    crops = Crops(TrainingStack([image], [nowhere]), SIDE, 8)
    source = SyntheticObservations(crops, scenes.noise_model, seed=0, added=scenes)
    rng = np.random.default_rng(0)
    for _ in range(50):
        source.draw(rng)
    assert (image == before).all()
    assert not nowhere.any()


def test_validation_is_on_the_images_alone(scenes):
    image, held = np.full((SIDE, SIDE), 200, np.float32), np.ones((SIDE, SIDE), bool)
    crops = Crops(TrainingStack([image], [held]), SIDE, 8)
    make = partial(SyntheticObservations, crops, scenes.noise_model, seed=0)
    for with_them, without in zip(
        make(added=scenes).validation(), make().validation(), strict=True
    ):
        assert (with_them.inputs == without.inputs).all()
        assert (with_them.targets == without.targets).all()


def test_targets_show_the_scenes_and_inputs_their_noise(scenes):
    image = np.full((SIDE, SIDE), 200, np.float32)
    crops = Crops(TrainingStack([image], [np.zeros(image.shape, bool)]), SIDE, 8)
    source = SyntheticObservations(crops, scenes.noise_model, seed=0, added=scenes)
    rng = np.random.default_rng(1)
    batches = [source.draw(rng) for _ in range(40)]
    targets = np.concatenate([batch.targets for batch in batches])
    inputs = np.concatenate([batch.inputs.ravel() for batch in batches])
    assert 0.02 < (np.abs(targets - 200) > 5).mean() < 0.25
    assert (inputs - targets).std() == pytest.approx(NOISE, rel=0.03)


@given(
    side=st.tuples(st.integers(4, 80), st.integers(4, 80)),
    seed=st.integers(0, 2**31),
    signal=st.floats(-1e4, 1e5),
)
def test_whatever_the_patches_all_stays_finite_and_of_its_shape(side, seed, signal):
    scenes = AddedScenes((signal, signal), even_noise(2000.0))
    patches = np.full((5, *side), signal, np.float32)
    held_out = np.zeros(patches.shape, bool)
    made, held = scenes.into(patches, held_out, np.random.default_rng(seed))
    assert made.shape == held.shape == patches.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    assert (made >= patches).all()


def test_the_same_seed_makes_the_same_scenes(scenes):
    nothing = np.zeros(ramps().shape, bool)
    first, second = (
        scenes.into(ramps(), nothing, np.random.default_rng(7))[0] for _ in range(2)
    )
    assert (first == second).all()
