import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.core.scenes import filaments
from napari_ppn2v.core.smaller_copies import (
    FACTOR,
    share_of_copies,
    with_smaller_copies,
)
from napari_ppn2v.core.training_stack import TrainingStack


def stack_of(*images, held_out=None):
    nowhere = [np.zeros(image.shape, bool) for image in images]
    return TrainingStack(list(images), held_out or nowhere)


def scene(rows, columns):
    image = filaments((rows, columns), np.random.default_rng(0))
    return (100 + 50 * image).astype(np.float32)


def power_of_fine_structures(image):
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2 / image.size
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, image.shape), indexing="ij"))
    return power[(radius > 0.1) & (radius < 0.3)].mean()


def test_every_image_is_there_as_it_was_and_once_more_smaller():
    image = scene(140, 280)
    both = with_smaller_copies(stack_of(image), 64)
    assert both.images[0] is image
    assert [each.shape for each in both.images] == [(140, 280), (100, 200)]
    assert both.images[1].dtype == np.float32
    assert both.images[1].mean() == pytest.approx(image.mean(), rel=0.01)


def test_a_copy_shows_the_scene_with_finer_structures():
    image = scene(256, 256)
    _, copy = with_smaller_copies(stack_of(image), 64).images
    assert power_of_fine_structures(copy) > 1.3 * power_of_fine_structures(image)


def test_a_copy_holds_less_of_the_error_that_was_left():
    error = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    _, copy = with_smaller_copies(stack_of(error), 64).images
    assert copy.std() < 0.9 * error.std() / FACTOR**0.5


def test_a_copy_has_no_value_that_the_image_does_not_reach():
    step = np.zeros((128, 128), np.float32)
    step[:, 40:] = 1000
    _, copy = with_smaller_copies(stack_of(step), 64).images
    assert copy.min() >= 0
    assert copy.max() <= 1000


def test_an_image_too_small_for_a_patch_of_its_copy_stays_alone():
    large, small = scene(128, 128), scene(80, 128)
    both = with_smaller_copies(stack_of(large, small), 64)
    assert [image.shape for image in both.images] == [(128, 128), (80, 128), (91, 91)]


@given(st.integers(0, 120), st.integers(0, 120), st.integers(1, 8))
def test_what_was_held_out_is_held_out_in_the_copy_and_little_else(top, left, side):
    held = np.zeros((128, 128), bool)
    held[top : top + side, left : left + side] = True
    both = with_smaller_copies(stack_of(scene(128, 128), held_out=[held]), 64)
    own, copied = both.held_out
    assert own is held
    rows, columns = np.nonzero(held)
    scale = 91 / 128
    at = np.minimum(((np.stack([rows, columns]) + 0.5) * scale).astype(int), 90)
    assert copied[tuple(at)].all()
    assert copied.sum() <= (side * scale + 5) ** 2


def test_all_images_have_a_copy_where_much_was_lost_and_none_where_nothing_was():
    assert share_of_copies(0.6) == 1
    assert share_of_copies(0.95) == pytest.approx(0.5)
    assert share_of_copies(1.02) == 0
    assert share_of_copies(None) == 1


def test_a_share_of_the_images_has_copies_spread_over_all_of_them():
    images = [np.full((128, 128), value, np.float32) for value in range(9)]
    both = with_smaller_copies(stack_of(*images), 64, 1 / 3)
    assert [image.mean() for image in both.images[9:]] == [0, 4, 8]
    assert len(with_smaller_copies(stack_of(*images), 64, 0).images) == 9
