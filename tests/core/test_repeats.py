"""Scores against repeats of a static scene."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.repeats import MOST_MOVEMENT, movement, score_against_repeats
from napari_ppn2v.errors import BadData


def scene(side=128):
    rng = np.random.default_rng(1234)
    smooth = gaussian_filter(rng.normal(size=(side, side)), 4)
    return 100 + 900 * smooth


def repeats(n_frames, seed, noise=20.0):
    rng = np.random.default_rng(seed)
    return scene() + rng.normal(0, noise, (n_frames, 128, 128))


def smoothed(frames):
    return np.stack([gaussian_filter(each, 1.5) for each in frames])


@pytest.mark.parametrize("n_reference", [2, 5, 40])
def test_the_noise_of_the_reference_is_taken_out(n_reference):
    noisy, reference = repeats(4, 1), repeats(n_reference, 2)
    denoised = smoothed(noisy)
    truth = np.sqrt(np.mean((denoised - scene()) ** 2))
    score = score_against_repeats(denoised, noisy, reference)
    assert abs(score.rmse - truth) < 4 * score.standard_error
    assert score.rmse == pytest.approx(truth, rel=0.08)
    assert score.noisy_rmse == pytest.approx(20, rel=0.05)
    assert score.reference_rmse == pytest.approx(20 / np.sqrt(n_reference), rel=0.05)


def test_the_error_bar_holds_the_scatter_of_the_score():
    found = [
        score_against_repeats(smoothed(noisy), noisy, repeats(4, 100 + seed))
        for seed in range(12)
        for noisy in [repeats(2, seed)]
    ]
    scatter = np.std([each.rmse for each in found], ddof=1)
    told = np.mean([each.standard_error for each in found])
    assert 0.4 < scatter / told < 1.5


def test_frames_that_were_trained_on_give_no_estimate():
    noisy, reference = repeats(3, 1), repeats(3, 2)
    denoised = smoothed(noisy)
    numbers = {"scored": [0, 2, 4], "referred": [1, 3, 5]}
    honest = score_against_repeats(
        denoised, noisy, reference, **numbers, trained_on=[0, 2, 4]
    )
    not_so = score_against_repeats(
        denoised, noisy, reference, **numbers, trained_on=range(6)
    )
    assert honest.is_estimate
    assert not not_so.is_estimate


def test_a_frame_is_never_scored_against_itself():
    noisy = repeats(4, 1)
    with pytest.raises(BadData, match="number 2"):
        score_against_repeats(
            smoothed(noisy), noisy, noisy, scored=[0, 1, 2], referred=[2, 3]
        )


def test_an_error_below_that_of_the_reference_is_not_zero():
    reference = repeats(2, 3, noise=200.0)
    nearly = np.broadcast_to(scene(), (2, 128, 128))
    scores = [
        score_against_repeats(nearly, nearly, repeats(2, seed, noise=200.0))
        for seed in range(6)
    ]
    assert any(np.isnan(each.rmse) for each in scores)
    assert all(np.isnan(s.rmse) or s.rmse > 0 for s in scores)
    assert len(reference) == 2


def test_movement_is_one_for_a_static_scene_and_more_for_a_drifting_one():
    assert movement(repeats(10, 0)) == pytest.approx(1, abs=0.1)
    drifting = np.stack([np.roll(f, k, 1) for k, f in enumerate(repeats(10, 0))])
    assert movement(drifting) > MOST_MOVEMENT
    fading = np.stack([0.97**k * f for k, f in enumerate(repeats(10, 0))])
    assert movement(fading) > MOST_MOVEMENT


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((2, 32, 32), (2, 32, 32), (1, 32, 32)), "at least 2"),
        (((2, 32, 32), (3, 32, 32), (4, 32, 32)), "do not fit"),
        (((2, 4, 4), (2, 4, 4), (4, 4, 4)), "pixels"),
    ],
)
def test_what_cannot_be_scored_is_refused(shapes, words):
    with pytest.raises(BadData, match=words):
        score_against_repeats(*(np.ones(shape) for shape in shapes))
