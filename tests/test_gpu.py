"""On a GPU: the same estimates as on the CPU, and a whole run. Run with -m gpu."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

import napari_ppn2v as ppn2v
from napari_ppn2v.core import prior_network
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models.gmm import GaussianMixtureModel
from napari_ppn2v.core.objectives import negative_log_likelihood
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.events import Notice, collect
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.pipeline.journeys import new_model, training_batches
from napari_ppn2v.pipeline.training import Trainer, train_prior
from napari_ppn2v.stop import StopToken

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def stack():
    camera = Camera(kind="scmos", gain=2.2, offset=100, read_noise=3.3)
    return simulate_stack(camera, n_frames=3, size=128, peak_electrons=80, seed=0)


@pytest.fixture(scope="module", params=["pn2v", "refined"])
def run(request, stack):
    return ppn2v.train(
        stack.observation, axes="TYX", steps=200, method=request.param, device="auto"
    )


def test_a_run_on_the_gpu_denoises(stack, run):
    assert run.denoiser.model.device.type != "cpu"
    result = ppn2v.apply(run.denoiser, stack.observation, axes="TYX").image
    noisy = stack.observation.astype(np.float32)
    gain = np.mean((noisy - stack.signal) ** 2) / np.mean((result - stack.signal) ** 2)
    assert gain > 2


def test_estimates_on_gpu_and_cpu_agree(stack, run):
    there = ppn2v.apply(run.denoiser, stack.observation, axes="TYX", device="auto")
    here = ppn2v.apply(
        run.denoiser.to(torch.device("cpu")),
        stack.observation,
        axes="TYX",
        device="cpu",
    )
    # bfloat16 on either side: a small part of the noise of several grey values
    assert np.abs(there.image - here.image).mean() < 0.5


@pytest.mark.skipif(
    torch.cuda.device_count() < 2, reason="needs two CUDA graphics cards"
)
class TestTwoCards:
    CARDS = (torch.device("cuda", 0), torch.device("cuda", 1))

    @pytest.fixture
    def config(self):
        training = TrainingConfig(n_steps=20, batch_size=9, steps_per_validation=10)
        return RunConfig(pretraining=training)

    @pytest.fixture
    def images(self, stack):
        return collect_training_stack(
            [as_frames(stack.observation, "TYX")],
            patch_size=64,
            held_out_share=0.1,
            rng=np.random.default_rng(0),
        )

    def parts_of(self, images, config):
        """Return model, batches and the likelihood of a noise model, on the first."""
        first = self.CARDS[0]
        model = new_model(images, config, first, "gaussian", 8, 0)
        coefficients = torch.zeros(3, 2)
        coefficients[1] = 4.0
        noise_model = GaussianMixtureModel(
            coefficients, min_signal=100.0, max_signal=300.0, variance_floor=1.0
        )
        objective = negative_log_likelihood(noise_model.to(first))
        batches = training_batches(images, config, config.pretraining)
        return model, batches, objective

    def test_give_the_gradient_of_one(self, images, config, monkeypatch):
        monkeypatch.setattr(prior_network, "mixed_precision", lambda _: nullcontext())
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        found = []
        for others in ((), self.CARDS[1:]):
            model, batches, objective = self.parts_of(images, config)
            trainer = Trainer(
                model.train(), batches, objective, config.pretraining, 1, others
            )
            batch = batches.draw(np.random.default_rng(2))
            loss = float(trainer._gradient(batch))
            gradients = [p.grad.reshape(-1) for p in model.parameters()]
            found.append((loss, torch.cat(gradients)))
        (one, whole), (both, added) = found
        assert both == pytest.approx(one, rel=1e-4)
        assert float((added - whole).norm()) < 1e-3 * float(whole.norm())

    def test_train_with_weights_that_stay_alike(self, images, config):
        model, batches, objective = self.parts_of(images, config)
        others = self.CARDS[1:]
        trainer = Trainer(
            model.train(), batches, objective, config.pretraining, 1, others
        )
        for _ in range(3):
            trainer.step()
        trainer.validation_loss()
        (copied,) = trainer.replicas.others
        assert copied.model.device == self.CARDS[1]
        pairs = zip(model.parameters(), copied.model.parameters(), strict=True)
        assert all(torch.equal(mine.cpu(), theirs.cpu()) for mine, theirs in pairs)

    def test_go_on_in_smaller_parts_when_one_is_short_of_memory(self, images, config):
        model, batches, objective = self.parts_of(images, config)

        def check(network, inputs):
            (image,) = inputs
            if image.device == self.CARDS[1] and len(image) > 2:
                torch.empty(2**45, device=image.device)  # more than any card has

        model.network.register_forward_pre_hook(check)
        events, trained = collect(
            train_prior(
                model,
                batches,
                objective,
                config.pretraining,
                stage="pn2v",
                seed=0,
                stop=StopToken(),
                other_devices=self.CARDS[1:],
            )
        )
        said = [event.message for event in events if isinstance(event, Notice)]
        assert "Memory ran out" in said[0]
        assert np.isfinite(trained.curve[-1].validation_loss)

    @pytest.mark.parametrize("name", ["cuda:0,cuda:1", "cuda:all"])
    def test_make_a_run_that_denoises(self, stack, name):
        torch.cuda.reset_peak_memory_stats(self.CARDS[1])
        result = ppn2v.denoise(stack.observation, axes="TYX", steps=200, device=name)
        assert torch.cuda.max_memory_allocated(self.CARDS[1]) > 0
        noisy = stack.observation.astype(np.float32)
        errors = [np.mean((x - stack.signal) ** 2) for x in (noisy, result.image)]
        assert errors[0] / errors[1] > 2
