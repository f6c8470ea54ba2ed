"""Which noise model is recommended, and what the quality of a fit says besides."""

import numpy as np
import pytest
import torch
from simulated import EMCCD, SCMOS, fitted, histogram_of

from napari_ppn2v.core.noise_models import held_out_nll
from napari_ppn2v.core.noise_models.quality import fit_quality
from napari_ppn2v.core.noise_models.recommendation import recommend
from napari_ppn2v.errors import BadData


class Louder:
    """A model whose likelihood is too large everywhere by a factor."""

    def __init__(self, model, factor):
        self._model, self._log = model, np.log(factor)
        self.kind, self.limits = model.kind, model.limits
        self.signal_range, self.moments = model.signal_range, model.moments

    def log_likelihood(self, observation, signal):
        return self._model.log_likelihood(observation, signal) + self._log


def test_the_camera_is_recommended_where_it_is_as_good_as_the_rest():
    models = {kind: fitted(kind) for kind in ("gmm", "histogram", "camera")}
    found = recommend(models, histogram_of(SCMOS))
    assert found.name == "camera"
    assert found.ranking[0].behind == 0
    assert "pixels kept apart is good" in found.reason


def test_one_gaussian_is_not_recommended_for_an_emccd():
    models = {
        "one Gaussian": fitted("gmm", EMCCD, 5.0, n_components=1),
        "histogram": fitted("histogram", EMCCD, 5.0),
    }
    found = recommend(models, histogram_of(EMCCD, 5.0))
    assert found.name == "histogram"
    worst = found.ranking[-1]
    assert (worst.name, worst.verdict) == ("one Gaussian", "poor")
    assert worst.behind > 10 * worst.behind_error


def test_likelihoods_are_comparable_though_one_is_not_normalised():
    model, pairs = fitted("histogram"), histogram_of(SCMOS)
    found = recommend({"a": model, "b": Louder(model, 1.3)}, pairs)
    first, second = (item.log_likelihood for item in found.ranking)
    assert first == pytest.approx(second, abs=1e-4)
    assert first == pytest.approx(-held_out_nll(model, pairs.held_out), abs=0.01)


def test_nothing_to_compare_is_refused():
    with pytest.raises(BadData, match="nothing to compare"):
        recommend({}, histogram_of(SCMOS))


def test_a_true_model_has_an_even_pit_histogram():
    for item in fit_quality(fitted("camera"), histogram_of(SCMOS)):
        assert len(item.pit) == 10
        assert np.mean(item.pit) == pytest.approx(1)
        assert np.abs(np.array(item.pit) - 1).max() < 6 * np.sqrt(10 / item.n_pairs)


def test_a_model_of_too_little_noise_has_a_pit_histogram_high_at_both_ends():
    state = fitted("camera").state()
    quiet = type(fitted("camera")).from_state({**state, "gain": 0.7 * state["gain"]})
    pit = fit_quality(quiet, histogram_of(SCMOS))[-1].pit
    assert min(pit[0], pit[-1]) > 1.15 > max(pit[4], pit[5])


def test_the_likelihood_of_a_range_is_that_of_its_pixels():
    model, pairs = fitted("camera"), histogram_of(SCMOS)
    ranges = fit_quality(model, pairs)
    mean = np.average(
        [item.log_likelihood for item in ranges],
        weights=[item.n_pairs for item in ranges],
    )
    assert mean == pytest.approx(-held_out_nll(model, pairs.held_out), abs=2e-3)
    assert torch.is_grad_enabled()
