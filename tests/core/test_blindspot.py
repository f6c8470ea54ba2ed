"""No trace of a hidden pixel reaches the network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.core.batches import REPLACEMENTS
from napari_ppn2v.core.blindspot import (
    lattice_mask,
    position_lottery,
    replace_by_lottery,
    replace_by_mean,
    stratified_mask,
)

sizes = st.tuples(st.integers(1, 3), st.integers(5, 24), st.integers(5, 24))


@given(
    sizes, st.integers(2, 6), st.sampled_from(["mean", "random"]), st.integers(0, 99)
)
def test_changing_a_hidden_pixel_never_changes_the_input_anywhere(
    shape, box, replacement, seed
):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=shape).astype(np.float32)
    mask = stratified_mask(shape, box, rng)
    changed = images.copy()
    changed[mask] = rng.normal(size=int(mask.sum())) * 1e6
    replace = REPLACEMENTS[replacement]
    one = replace(images, mask, np.random.default_rng(1))
    other = replace(changed, mask, np.random.default_rng(1))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[~mask], images[~mask])


@given(sizes, st.integers(2, 6), st.integers(0, 99))
def test_one_pixel_is_hidden_in_every_whole_box(shape, box, seed):
    mask = stratified_mask(shape, box, np.random.default_rng(seed))
    for image in mask:
        for y in range(0, shape[1] - box + 1, box):
            for x in range(0, shape[2] - box + 1, box):
                assert image[y : y + box, x : x + box].sum() == 1


def test_every_pixel_is_hidden_equally_often_borders_included():
    rng = np.random.default_rng(0)
    shape, repeats = (200, 10, 11), 40
    count = sum(stratified_mask(shape, 4, rng).sum(axis=0) for _ in range(repeats))
    expected = 200 * repeats / 16
    # five standard deviations of a binomial count
    assert np.abs(count - expected).max() < 5 * np.sqrt(expected)


def test_the_lattice_phases_together_hide_each_pixel_once():
    total = sum(
        lattice_mask((9, 14), 4, (py, px)).astype(int)
        for py in range(4)
        for px in range(4)
    )
    np.testing.assert_array_equal(total, 1)


def test_the_mean_weighs_edge_neighbours_twice_as_much_as_corners():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3) ** 2
    mask = np.zeros((1, 3, 3), bool)
    mask[0, 1, 1] = True
    edges, corners = (1 + 9 + 25 + 49), (0 + 4 + 36 + 64)
    expected = (edges + 0.5 * corners) / 6
    assert replace_by_mean(image, mask)[0, 1, 1] == pytest.approx(expected, rel=1e-6)


def test_at_a_corner_only_neighbours_inside_the_image_count():
    image = np.full((1, 6, 6), 7, np.float32)
    mask = np.zeros((1, 6, 6), bool)
    mask[0, 0, 0] = mask[0, 5, 5] = True
    np.testing.assert_array_equal(replace_by_mean(image, mask), image)


@pytest.mark.parametrize("replacement", ["mean", "random"])
def test_a_pixel_whose_neighbours_are_all_hidden_takes_the_mean_of_the_rest(
    replacement,
):
    image = np.arange(144, dtype=np.float32).reshape(1, 12, 12)
    mask = np.zeros((1, 12, 12), bool)
    mask[0, :5, :5] = True
    result = REPLACEMENTS[replacement](image, mask, np.random.default_rng(0))
    assert result[0, 0, 0] == pytest.approx(image[~mask].mean())


def test_random_replacement_uses_every_place_of_the_window_but_the_centre():
    image = np.arange(25, dtype=np.float32).reshape(1, 5, 5)
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 2, 2] = True
    rng = np.random.default_rng(0)
    seen = {
        float(REPLACEMENTS["random"](image, mask, rng)[0, 2, 2]) for _ in range(600)
    }
    assert seen == set(range(25)) - {12}


def test_the_lottery_of_a_place_is_even_and_depends_on_the_place_alone():
    y, x = np.divmod(np.arange(4000), 63)
    numbers = position_lottery(y, x, 25)
    np.testing.assert_array_equal(numbers[100:], position_lottery(y[100:], x[100:], 25))
    winners = np.bincount(numbers.argmax(axis=1), minlength=25)
    assert np.abs(winners - 160).max() < 5 * np.sqrt(160)
    assert 0 <= numbers.min() < numbers.max() < 1


def test_the_highest_number_that_is_not_hidden_wins():
    image = np.arange(25, dtype=np.float32).reshape(1, 5, 5)
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 2, 2] = mask[0, 2, 3] = True
    lottery = np.zeros((2, 25), np.float32)
    lottery[:, 13] = 0.9  # the right neighbour, itself hidden for the first pixel
    lottery[:, 6] = 0.5
    result = replace_by_lottery(image, mask, lottery, 2)
    assert result[0, 2, 2] == 6
    assert result[0, 2, 3] == 14
