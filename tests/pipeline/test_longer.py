"""Going on with a training: never worse by validation loss, curves that continue."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig
from napari_ppn2v.events import StepDone, collect, drain
from napari_ppn2v.pipeline.journeys import train_denoiser, train_longer
from napari_ppn2v.pipeline.noise_sources import Bootstrap
from napari_ppn2v.stop import StopToken
from tests.pipeline.trainings import CPU, stopping_at


@pytest.fixture(scope="module")
def brief(quick):
    steps = replace(quick.training, n_steps=40, learning_rate=1.5e-3)
    return replace(
        quick,
        pretraining=steps,
        training=steps,
        refinement=steps,
        noise_model=NoiseModelConfig(kind="gmm", n_components=1),
    )


def first(sample, config, stop=None):
    return train_denoiser(
        [sample.frames], config, Bootstrap(), device=CPU, stop=stop or StopToken()
    )


@pytest.fixture(scope="module")
def once(sample, brief):
    """Return what a method has trained, once: going on leaves it as it was."""

    @cache
    def trained(method):
        return drain(first(sample, replace(brief, method=method)))

    return trained


def longer(run, sample, config, stop=None, **options):
    return train_longer(
        run, [sample.frames], config, device=CPU, stop=stop or StopToken(), **options
    )


def error(denoiser, sample):
    images = [im.astype(np.float32) for im in sample.observation]
    results = [denoiser.result(denoiser.estimate_image(image)) for image in images]
    return np.mean((np.stack(results) - sample.truth) ** 2)


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        ("n2v", ["n2v", "n2v, longer", "n2v, longer 2"]),
        ("pn2v", ["n2v", "pn2v", "pn2v, longer", "pn2v, longer 2"]),
        ("refined", ["n2v", *(f"refinement {n}" for n in (1, 2, 3, 4))]),
    ],
)
def test_longer_and_longer_comes_closer_to_the_truth(
    sample, brief, once, method, stages
):
    config = replace(brief, method=method)
    one = once(method)
    image = sample.observation[0].astype(np.float32)
    before = one.denoiser.result(one.denoiser.estimate_image(image))
    two = drain(longer(one, sample, config))
    three = drain(longer(two, sample, config))
    assert list(three.curves) == stages
    assert set(three.seconds) >= set(stages)
    assert error(three.denoiser, sample) < error(one.denoiser, sample)
    assert three.denoiser.noise_model is one.denoiser.noise_model
    assert three.noise_fit is one.noise_fit
    # what was there before stays as it was
    after = one.denoiser.result(one.denoiser.estimate_image(image))
    np.testing.assert_array_equal(before, after)


def test_a_number_of_steps_becomes_whole_rounds_of_refinement(sample, brief):
    config = replace(brief, method="refined", n_refinements=1)
    run = drain(first(sample, config))
    events, more = collect(longer(run, sample, config, n_steps=90))
    assert list(more.curves)[2:] == ["refinement 2", "refinement 3"]
    steps = [e for e in events if isinstance(e, StepDone) and e.stage == "refinement 3"]
    assert steps[-1].step == 45


def test_weights_that_training_longer_spoils_are_not_kept(sample, brief, once):
    config, run = replace(brief, method="n2v"), once("n2v")
    wild = replace(config, pretraining=replace(brief.pretraining, learning_rate=5.0))
    image = sample.observation[0].astype(np.float32)
    one, other = (
        done.denoiser.result(done.denoiser.estimate_image(image))
        for done in (run, drain(longer(run, sample, wild, n_steps=5)))
    )
    np.testing.assert_array_equal(one, other)


def test_a_run_stopped_in_noise2void_goes_through_what_it_lacks(sample, brief):
    config, stop = replace(brief, method="refined"), StopToken()
    part = drain(first(sample, config, stop), stopping_at(20, stop))
    assert part.denoiser.noise_model is None
    whole = drain(longer(part, sample, config))
    assert list(whole.curves) == ["n2v", "n2v, longer", "refinement 1", "refinement 2"]
    assert whole.noise_fit is not None
    assert not whole.is_stopped


def test_stopping_again_keeps_a_denoiser(sample, brief, once):
    for method in ("n2v", "pn2v", "refined"):
        config, run = replace(brief, method=method), once(method)
        stop = StopToken()
        stop.stop()
        again = drain(longer(run, sample, config, stop))
        assert again.is_stopped
        assert error(again.denoiser, sample) <= 1.5 * error(run.denoiser, sample)
