"""One training on several devices is that training on one.

The devices are stand-ins: copies of the network on the processor, each with its thread,
as it would have its graphics card. `tests/test_gpu.py` has the same for real cards.
"""

from __future__ import annotations

import gc
import re
import threading
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core import prior_network
from napari_ppn2v.core.batches import Batch
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.core.noise_models.gmm import GaussianMixtureModel
from napari_ppn2v.core.objectives import (
    mean_and_width,
    negative_log_likelihood,
    squared_error,
)
from napari_ppn2v.errors import OutOfMemory
from napari_ppn2v.events import Notice, StepDone, collect, drain
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.pipeline import apply_job, file_jobs, stack_job
from napari_ppn2v.pipeline.apply_job import ApplyRequest, apply_files
from napari_ppn2v.pipeline.budget import time_steps
from napari_ppn2v.pipeline.config import InferenceConfig, PriorConfig
from napari_ppn2v.pipeline.file_jobs import denoise_files
from napari_ppn2v.pipeline.file_request import DenoiseRequest
from napari_ppn2v.pipeline.journeys import (
    new_model,
    train_denoiser,
    train_longer,
    training_batches,
)
from napari_ppn2v.pipeline.training import Trainer
from napari_ppn2v.stop import StopToken
from tests.pipeline.trainings import (
    CPU,
    losses_of,
    resumed_from,
    same_weights,
    stopped_at,
    training,
)

TOO_MUCH = 2**45  # floats; more than programs of today can address
SECONDS = 60  # that threads wait for each other, at most


@pytest.fixture
def single_precision(monkeypatch):
    """Leave half precision off: in it, the order of sums shows in the third digit."""
    monkeypatch.setattr(prior_network, "mixed_precision", lambda _: nullcontext())


@pytest.fixture
def few_steps(quick):
    training = replace(quick.pretraining, n_steps=18, steps_per_validation=6)
    return replace(quick, pretraining=training)


def broad_noise():
    coefficients = torch.zeros(9, 2)
    coefficients[3:6, 0] = 4.0
    coefficients[3:6, 1] = torch.tensor([1.0, 2.0, 3.0])
    return GaussianMixtureModel(
        coefficients, min_signal=100.0, max_signal=190.0, variance_floor=1.0
    )


# prior, samples and objective of: Noise2Void, PN2V with a Gaussian prior and with so
# many free samples that the loss comes with its gradient in chunks, refinement
KINDS = {
    "n2v": ("free", 1, squared_error),
    "pn2v": ("gaussian", 8, lambda _: negative_log_likelihood(broad_noise())),
    "800 samples": ("free", 800, lambda _: negative_log_likelihood(broad_noise())),
    "refinement": ("gaussian", 8, mean_and_width),
}


def trainer_of(stack, config, n_devices, *, kind="n2v", n_parts=None, n_patches=None):
    """Return a trainer on so many devices, with so many patches in each batch."""
    prior, n_samples, objective = KINDS[kind]
    model = new_model(stack, config, CPU, prior, n_samples, 0)
    training = config.pretraining
    if n_patches is not None:
        training = replace(training, batch_size=n_patches)
    trainer = Trainer(
        model,
        training_batches(stack, config, training),
        objective(model.normalisation.std),
        training,
        1,
        [CPU] * (n_devices - 1),
    )
    model.train()
    if n_parts is not None:
        trainer.parts.count = n_parts
    return trainer


def gradient_of(trainer, batch=None):
    """Return the mean loss of a batch and its gradient as one vector."""
    if batch is None:
        batch = trainer.source.draw(np.random.default_rng(2))
    loss = float(trainer._gradient(batch))
    return loss, torch.cat([p.grad.reshape(-1) for p in trainer.model.parameters()])


def assert_close(one, other):
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert float((one[1] - other[1]).norm()) < 1e-5 * float(one[1].norm())


class TestGradients:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("n_devices", [2, 3])
    def test_of_the_devices_add_up_to_that_of_the_batch(
        self, stack, quick, single_precision, kind, n_devices
    ):
        one, several = (
            gradient_of(trainer_of(stack, quick, n, kind=kind, n_patches=8))
            for n in (1, n_devices)
        )
        assert_close(several, one)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("n_devices", [2, 3])
    def test_have_the_bits_of_one_device_that_takes_the_parts_in_turn(
        self, stack, quick, kind, n_devices
    ):
        at_once = trainer_of(stack, quick, n_devices, kind=kind, n_patches=8)
        in_turn = trainer_of(stack, quick, 1, kind=kind, n_patches=8, n_parts=n_devices)
        (loss, gradient), (expected, whole) = map(gradient_of, (at_once, in_turn))
        assert loss == expected
        assert torch.equal(gradient, whole)

    @pytest.mark.parametrize(
        ("n_patches", "n_devices"), [(3, 2), (5, 3), (2, 3), (1, 2)]
    )
    def test_of_patches_that_cannot_be_shared_equally_count_by_their_pixels(
        self, stack, quick, single_precision, n_patches, n_devices
    ):
        one, several = (
            gradient_of(trainer_of(stack, quick, n, n_patches=n_patches))
            for n in (1, n_devices)
        )
        assert_close(several, one)

    def test_of_patches_without_a_pixel_that_counts_are_nothing(
        self, stack, quick, single_precision
    ):
        trainers = [trainer_of(stack, quick, n, n_patches=4) for n in (1, 2)]
        batch = trainers[0].source.draw(np.random.default_rng(2))
        chosen = batch.where < 2 * 32**2  # of the first two patches, the first share
        batch = Batch(batch.inputs, batch.where[chosen], batch.targets[chosen])
        one, several = (gradient_of(trainer, batch) for trainer in trainers)
        assert_close(several, one)

    def test_on_one_device_are_those_of_the_plain_computation(self, stack, quick):
        trainer = trainer_of(stack, quick, 1)
        batch = trainer.source.draw(np.random.default_rng(2))
        loss, gradient = gradient_of(trainer, batch)
        model, normal = trainer.model, trainer.model.normalisation
        model.zero_grad()
        inputs = (batch.inputs - np.float32(normal.mean)) / np.float32(normal.std)
        features = model.features(torch.from_numpy(inputs)[:, None])
        rows = prior_network.pixels(features, torch.from_numpy(batch.where))
        targets = torch.from_numpy(batch.targets)
        plain = squared_error(normal.std)(*model.samples(rows), targets).mean()
        plain.backward()
        assert loss == float(plain.detach())
        vector = torch.cat([p.grad.reshape(-1) for p in model.parameters()])
        assert torch.equal(gradient, vector)
        assert not any(replica_threads())

    def test_of_the_validation_loss_are_none(self, stack, quick):
        trainer = trainer_of(stack, quick, 2)
        expected = trainer_of(stack, quick, 1, n_parts=2).validation_loss()
        assert trainer.validation_loss() == expected
        for replica in (trainer.replicas.first, *trainer.replicas.others):
            assert all(p.grad is None for p in replica.model.parameters())


def test_all_devices_have_the_weights_of_the_first(stack, quick):
    trainer = trainer_of(stack, quick, 3)
    in_turn = trainer_of(stack, quick, 1, n_parts=3)
    for _ in range(3):
        trainer.step()
        in_turn.step()
    assert same_weights(trainer.model, in_turn.model)
    trainer.validation_loss()
    for replica in trainer.replicas.others:
        assert same_weights(replica.model, trainer.model)


def test_the_devices_compute_at_the_same_time(stack, quick):
    trainer = trainer_of(stack, quick, 3)
    meeting = threading.Barrier(3, timeout=SECONDS)  # breaks if they came in turn

    def meet(network, inputs):
        meeting.wait()

    for replica in (trainer.replicas.first, *trainer.replicas.others):
        replica.model.network.register_forward_pre_hook(meet)
    trainer.step()
    assert not meeting.broken


class TestWhereTheWorkIsDone:
    """torch's device "meta" holds shapes without values, and mixes with no other."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_all_of_it_is_on_the_device_of_the_replica(
        self, stack, quick, single_precision, kind
    ):
        prior, n_samples, objective = KINDS[kind]
        model = new_model(stack, quick, CPU, prior, n_samples, 0)
        trainer = Trainer(
            model,
            training_batches(stack, quick, quick.pretraining),
            objective(model.normalisation.std),
            quick.pretraining,
            1,
            [torch.device("meta")],
        )
        batch = trainer.source.draw(np.random.default_rng(2))
        (there,) = trainer.replicas.others
        loss = trainer.loss(batch, there)
        loss.backward()
        assert loss.device.type == "meta"
        gradients = [p.grad for p in there.model.parameters()]
        assert {gradient.device.type for gradient in gradients} == {"meta"}
        if kind in ("pn2v", "800 samples"):
            # kept there, not brought there anew in every step
            kept = there.objective.noise_model.coefficients
            assert kept.device.type == "meta"
        assert trainer.loss(batch, trainer.replicas.first).device == CPU


class TestStopAndResume:
    @pytest.mark.parametrize("batch_norm", [False, True])
    @pytest.mark.parametrize("n_devices", [2, 3])
    def test_give_the_bits_of_a_training_never_interrupted(
        self, stack, few_steps, tmp_path, n_devices, batch_norm
    ):
        network = replace(few_steps.network, batch_norm=batch_norm)
        config = replace(few_steps, network=network)
        whole = drain(training(stack, config, n_devices))
        for step in (5, 12):  # before a validation, and right after one
            path = tmp_path / f"{step}.checkpoint"
            stopped_at(step, stack, config, path, n_devices)
            resumed = resumed_from(path, stack, config, n_devices)
            assert same_weights(resumed.model, whole.model)
            assert losses_of(resumed) == losses_of(whole)

    def test_on_one_device_goes_on_in_the_same_parts_to_the_same_bits(
        self, stack, few_steps, tmp_path
    ):
        whole = drain(training(stack, few_steps, 2))
        path = tmp_path / "n2v.checkpoint"
        stopped_at(5, stack, few_steps, path, n_devices=2)
        resumed = resumed_from(path, stack, few_steps)
        assert same_weights(resumed.model, whole.model)

    def test_on_more_devices_than_before_uses_them_all(
        self, stack, few_steps, tmp_path
    ):
        path = tmp_path / "n2v.checkpoint"
        stopped_at(5, stack, few_steps, path)
        trainer = trainer_of(stack, few_steps, 3)
        trainer.restore(FileCheckpoint(path, is_resumed=True).load())
        calls = []
        for replica in trainer.replicas.others:
            replica.model.network.register_forward_pre_hook(lambda *_: calls.append(1))
        trainer.step()
        assert len(calls) == 2


class TestLackOfMemory:
    def short(self, model, most):
        """Let the copies ask for more memory than there is for too many pixels."""

        def check(network, inputs):
            is_copy = threading.current_thread() is not threading.main_thread()
            if is_copy and inputs[0].numel() > most:
                torch.empty(TOO_MUCH)

        model.network.register_forward_pre_hook(check)
        return model

    @pytest.fixture
    def config(self, few_steps):
        eight = replace(few_steps.pretraining, batch_size=8)
        return replace(few_steps, pretraining=eight)

    def test_of_one_device_makes_the_parts_of_all_smaller(
        self, stack, config, single_precision
    ):
        expected = drain(training(stack, config, 2))
        model = self.short(new_model(stack, config, CPU, "free", 1, 0), 2 * 32**2)
        events, found = collect(training(stack, config, 2, model=model))
        (said,) = [event.message for event in events if isinstance(event, Notice)]
        assert re.search(r"Memory ran out.*8 patches in 4 parts", said)
        for one, other in zip(found.curve, expected.curve, strict=True):
            assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-3)

    def test_for_a_single_patch_is_said_with_advice(self, stack, config):
        model = self.short(new_model(stack, config, CPU, "free", 1, 0), 100)
        with pytest.raises(OutOfMemory, match=r"one patch of 32 x 32 pixels.*smaller"):
            drain(training(stack, config, 2, model=model))

    def test_leaves_no_gradients_behind(self, stack, quick):
        trainer = trainer_of(stack, quick, 2)
        gradient_of(trainer)
        (copied,) = trainer.replicas.others
        assert any(p.grad is not None for p in copied.model.parameters())
        trainer.replicas.clear()
        assert all(p.grad is None for p in copied.model.parameters())

    def test_is_not_what_other_errors_of_a_device_are_taken_for(self, stack, quick):
        trainer = trainer_of(stack, quick, 2)

        def fail(network, inputs):
            raise RuntimeError("shapes cannot be multiplied")

        trainer.replicas.others[0].model.network.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="shapes"):
            trainer.step()


class TestBatchNormalisation:
    @pytest.fixture
    def config(self, few_steps):
        return replace(few_steps, network=replace(few_steps.network, batch_norm=True))

    def test_keeps_the_mean_statistics_of_all_patches(
        self, stack, config, single_precision
    ):
        several = trainer_of(stack, config, 2, n_patches=3)
        one = trainer_of(stack, config, 1, n_patches=3)
        batch = several.source.draw(np.random.default_rng(2))
        gradient_of(several, batch)
        gradient_of(one, batch)
        # of the first layer, whose input is that of both: the mean over three patches
        name = "network.down.0.1.running_mean"
        np.testing.assert_allclose(
            several.model.get_buffer(name), one.model.get_buffer(name), rtol=1e-5
        )

    def test_judges_by_the_statistics_that_are_kept(
        self, stack, config, single_precision
    ):
        several, one = (trainer_of(stack, config, n) for n in (2, 1))
        for _ in range(3):
            several.step()
        one.model.load_state_dict(several.model.state_dict())
        expected = one.validation_loss()
        assert several.validation_loss() == pytest.approx(expected, rel=1e-5)
        before = several.state()["weights"]
        several.validation_loss()
        after = several.state()["weights"]
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_on_several_devices_is_told(self, stack, config, few_steps):
        told = {}
        for name, settings in (("with", config), ("without", few_steps)):
            events, _ = collect(training(stack, settings, 2))
            told[name] = [e.message for e in events if isinstance(e, Notice)]
        assert told["without"] == []
        assert len(told["with"]) == 1
        assert "each normalises its own part" in told["with"][0]

    def test_is_not_told_on_one_device(self, stack, config):
        events, _ = collect(training(stack, config, 1))
        assert not any(isinstance(event, Notice) for event in events)

    def test_leaves_buffers_that_are_no_statistics_as_they_are(self, stack, config):
        trainer = trainer_of(stack, config, 3, kind="refinement", n_patches=7)
        before = trainer.model.prior.nodes.clone()
        gradient_of(trainer)
        assert torch.equal(trainer.model.prior.nodes, before)


def test_more_devices_than_patches_are_told(stack, few_steps):
    two = replace(few_steps.pretraining, batch_size=2)
    events, _ = collect(training(stack, replace(few_steps, pretraining=two), 3))
    (said,) = [e.message for e in events if isinstance(e, Notice)]
    assert "only 2 of the 3 devices" in said


def replica_threads():
    return [t for t in threading.enumerate() if t.name.startswith("replica")]


class TestThreads:
    def ended(self, threads):
        gc.collect()
        for thread in threads:
            thread.join(SECONDS)
        return not any(thread.is_alive() for thread in threads)

    def test_are_as_many_as_there_are_other_devices_and_end_with_it(
        self, stack, few_steps
    ):
        seen = set()
        job = training(stack, few_steps, 3)
        drain(job, lambda event: seen.update(replica_threads()))
        del job
        assert len(seen) == 2
        assert self.ended(seen)

    def test_end_when_a_training_is_dropped_midway(self, stack, few_steps):
        job = training(stack, few_steps, 2)
        next(job)
        seen = replica_threads()
        assert len(seen) == 1
        job.close()
        del job
        assert self.ended(seen)

    def test_end_after_an_error(self, stack, quick):
        trainer = trainer_of(stack, quick, 2)
        trainer.step()
        seen = replica_threads()

        def fail(network, inputs):
            raise RuntimeError("shapes cannot be multiplied")

        for replica in (trainer.replicas.first, *trainer.replicas.others):
            replica.model.network.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="shapes"):
            trainer.step()
        del trainer, replica
        assert self.ended(seen)


class TestJourneys:
    def stages_with_threads(self, job):
        """Run a job; return its result and the stages during which copies worked."""
        stages = set()

        def watch(event):
            if isinstance(event, StepDone) and event.step and replica_threads():
                stages.add(event.stage)

        return drain(job, watch), stages

    @pytest.fixture
    def short(self, few_steps):
        few = replace(few_steps.pretraining, n_steps=8, steps_per_validation=4)
        return replace(
            few_steps,
            pretraining=few,
            training=few,
            refinement=few,
            prior=PriorConfig(kind="gaussian", n_samples=8),
            noise_model=NoiseModelConfig(kind="gmm", n_components=1),
        )

    @pytest.mark.parametrize("method", ["refined", "pn2v"])
    def test_share_all_their_trainings_among_the_devices(
        self, sample, short, single_precision, method
    ):
        config = replace(short, method=method)
        options = {"device": CPU, "stop": StopToken()}
        job = train_denoiser([sample.frames], config, other_devices=[CPU], **options)
        run, stages = self.stages_with_threads(job)
        assert set(config.stages) <= stages
        longer, stages = self.stages_with_threads(
            train_longer(run, [sample.frames], config, other_devices=[CPU], **options)
        )
        assert stages & (set(longer.curves) - set(run.curves))
        alone = drain(train_denoiser([sample.frames], config, **options))
        for stage in config.stages:
            one, other = run.curves[stage][-1], alone.curves[stage][-1]
            assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-3)

    def test_are_timed_with_all_devices(self, sample, short):
        job = time_steps(
            [sample.frames], short, device=CPU, stop=StopToken(), other_devices=[CPU]
        )
        timing, stages = self.stages_with_threads(job)
        assert stages == {"dry run"}
        assert set(timing.steps) == {"n2v", "pn2v", "refinement"}

    def test_from_files_say_and_keep_what_computed(
        self, sample, short, tmp_path, monkeypatch
    ):
        import tifffile

        # the names of graphics cards are checked against what is there
        monkeypatch.setattr(file_jobs, "choose_devices", lambda name: (CPU, CPU))
        noisy, settings = sample.observation[:3], {"photometric": "minisblack"}
        tifffile.imwrite(tmp_path / "noisy.tif", noisy, **settings)
        request = DenoiseRequest(
            noisy=(tmp_path / "noisy.tif",),
            out=tmp_path / "denoised.tif",
            config=replace(short, method="n2v"),
            axes="TYX",
            device="cuda:0,cuda:1",
        )
        events, report = collect(denoise_files(request, StopToken()))
        said = [event.message for event in events if isinstance(event, Notice)]
        assert any(text.startswith("Computing on: 2 x CPU") for text in said)
        assert any("--dask-workers 2" in text for text in said)
        software = report.channels[0].denoiser.provenance["software"]
        assert software["device"].startswith("2 x CPU")
        monkeypatch.setattr(apply_job, "choose_devices", lambda name: (CPU, CPU))
        again = ApplyRequest(
            model=report.channels[0].model,
            images=(tmp_path / "noisy.tif",),
            out=tmp_path / "again.tif",
            inference=InferenceConfig(),
            axes="TYX",
        )
        events, _ = collect(apply_files(again, StopToken()))
        said = [event.message for event in events if isinstance(event, Notice)]
        assert any("on the first of the 2 devices" in text for text in said)

    def test_in_memory_say_what_computes(self, sample, short, monkeypatch):
        from napari_ppn2v.events import DeviceChosen
        from napari_ppn2v.pipeline.stack_job import denoise_stack
        from napari_ppn2v.pipeline.stack_request import Stack, StackRequest

        monkeypatch.setattr(stack_job, "choose_devices", lambda name: (CPU, CPU))
        request = StackRequest(
            observation=Stack(data=sample.observation, axes="TYX", name="noisy"),
            config=replace(short, method="n2v"),
        )
        stages = set()

        def watch(event):
            if isinstance(event, StepDone) and event.step and replica_threads():
                stages.add(event.stage)
            if isinstance(event, DeviceChosen):
                assert event.name.startswith("2 x CPU")

        report = drain(denoise_stack(request, StopToken()), watch)
        assert report.device.startswith("2 x CPU")
        assert "n2v" in stages
