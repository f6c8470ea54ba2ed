"""Scores against a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.metrics import psnr, scale_invariant_psnr, ssim
from napari_ppn2v.errors import BadData

SCORES = [psnr, scale_invariant_psnr, ssim]


@pytest.fixture
def truth():
    return np.random.default_rng(0).uniform(100, 300, (3, 20, 24))


def test_psnr_equals_its_closed_form():
    truth = np.array([[0.0, 10.0], [4.0, 6.0]])
    result = truth + np.array([1.0, -1.0])
    assert psnr(result, truth).mean == pytest.approx(20.0)
    assert psnr(result, truth, data_range=100).mean == pytest.approx(40.0)


def test_the_mean_is_over_frames_each_with_its_own_range(truth):
    truth = truth * [[[1.0]], [[10.0]], [[0.1]]]
    result = truth + 2
    expected = [20 * np.log10(np.ptp(frame) / 2) for frame in truth]
    scores = psnr(result, truth)
    assert scores.per_frame == pytest.approx(expected)
    assert scores.mean == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("score", SCORES)
def test_frames_read_lazily_score_the_same(score, truth):
    truth = truth.astype(np.float32)
    result = truth + np.random.default_rng(1).normal(0, 5, truth.shape)
    result = result.astype(np.float32)
    lazy = score(as_frames(result), as_frames(truth))
    assert lazy.per_frame == score(result, truth).per_frame
    assert len(lazy.per_frame) == 3


def test_scale_invariant_psnr_ignores_a_straight_line_but_psnr_does_not(truth):
    noisy = truth + np.random.default_rng(1).normal(0, 5, truth.shape)
    reference = scale_invariant_psnr(noisy, truth).per_frame
    changed = 3.5 * noisy - 700
    assert scale_invariant_psnr(changed, truth).per_frame == pytest.approx(reference)
    assert psnr(changed, truth).mean < psnr(noisy, truth).mean - 10


def test_scale_invariant_psnr_is_that_of_the_least_squares_line(truth):
    noisy = truth + np.random.default_rng(1).normal(0, 50, truth.shape)
    slope, offset = np.polyfit(noisy[0].ravel(), truth[0].ravel(), 1)
    expected = psnr(slope * noisy[0] + offset, truth[0]).mean
    assert scale_invariant_psnr(noisy[0], truth[0]).mean == pytest.approx(expected)


def test_equal_images_score_infinity_and_one(truth):
    assert psnr(truth, truth).mean == np.inf
    assert ssim(truth, truth).mean == pytest.approx(1.0)


def test_a_constant_result_still_has_a_scale_invariant_psnr(truth):
    expected = 20 * np.log10(np.ptp(truth[0]) / truth[0].std())
    assert scale_invariant_psnr(np.ones((20, 24)), truth[0]).mean == pytest.approx(
        expected
    )


def test_integer_results_do_not_wrap_around():
    truth = np.array([[0, 200]], np.uint8)
    result = np.array([[10, 190]], np.uint8)
    assert psnr(result, truth).mean == pytest.approx(20 * np.log10(200 / 10))


@pytest.mark.parametrize("score", SCORES)
class TestBadInput:
    def test_shapes_that_differ_are_refused(self, score, truth):
        with pytest.raises(BadData, match=r"2 frames of 20 x 24.* 3 of 20 x 24"):
            score(truth[:2], truth)

    def test_a_constant_truth_needs_a_data_range(self, score, truth):
        with pytest.raises(BadData, match=r"frame 1 is constant \(7\)"):
            score(truth, np.stack([truth[0], np.full((20, 24), 7.0), truth[2]]))
        score(truth, np.full((3, 20, 24), 7.0), data_range=100)

    @pytest.mark.parametrize("data_range", [0, -1, np.nan, np.inf])
    def test_a_range_that_is_not_positive_is_refused(self, score, truth, data_range):
        with pytest.raises(BadData, match="positive"):
            score(truth, truth, data_range)

    def test_values_not_finite_are_refused(self, score, truth):
        result = truth.copy()
        result[2, 0, :3] = np.nan
        with pytest.raises(BadData, match="Frame 2 of the result holds 3 values"):
            score(result, truth)

    @pytest.mark.parametrize("image", [np.ones(5), np.ones((2, 3), complex)])
    def test_what_is_no_image_is_refused(self, score, image):
        with pytest.raises(BadData, match="cannot be scored"):
            score(image, image)


def test_ssim_of_frames_smaller_than_its_window_is_refused():
    with pytest.raises(BadData, match="11 x 11"):
        ssim(np.eye(10), np.eye(10))
