"""With too little memory, work goes on in smaller pieces, to the same result."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ppn2v.core import prior_network
from napari_ppn2v.core.batches import Crops, ImagePairs, MaskedObservations
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness, estimate_image
from napari_ppn2v.core.memory import is_out_of_memory, named_memory_errors
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.objectives import squared_error
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.core.training_stack import collect_training_stack
from napari_ppn2v.errors import OutOfMemory
from napari_ppn2v.events import Notice, collect
from napari_ppn2v.pipeline.config import TrainingConfig
from napari_ppn2v.pipeline.denoising import denoise_frames
from napari_ppn2v.pipeline.training import Trainer, train_prior
from napari_ppn2v.stop import StopToken

TOO_MUCH = 2**45  # floats; more than programs of today can address


@pytest.fixture(scope="module")
def frames():
    stack = simulate_stack(
        Camera(), n_frames=2, size=160, peak_electrons=20, seed=3
    ).observation
    return as_frames(stack, "TYX")


def new_model(n_samples=4, kind="gaussian"):
    torch.manual_seed(0)
    config = UNetConfig(n_filters=4, n_levels=2)
    return PriorNetwork(config, kind, n_samples, Normalisation(130.0, 20.0)).eval()


def short_of_memory(model, most):
    """Let the network ask for more memory than there is for more than `most` pixels.

    The error is that of torch's allocator, at the place where it comes in earnest.
    """

    def check(network, inputs):
        if inputs[0].numel() > most:
            torch.empty(TOO_MUCH)

    model.network.register_forward_pre_hook(check)
    return model


class TestWhatIsALackOfMemory:
    def test_errors_of_torch_and_numpy_are(self):
        for ask in (lambda: torch.empty(TOO_MUCH), lambda: np.empty(TOO_MUCH)):
            with pytest.raises((RuntimeError, MemoryError)) as caught:
                ask()
            assert is_out_of_memory(caught.value)

    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried..."),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
            RuntimeError("could not create a primitive"),
            OSError(12, "Cannot allocate memory"),
        ],
    )
    def test_those_of_other_systems_are(self, error):
        assert is_out_of_memory(error)

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("shapes cannot be multiplied"),
            RuntimeError("could not create a primitive descriptor iterator"),
            ValueError("out of memory"),
            OSError(28, "No space left on device"),
        ],
    )
    def test_others_are_not(self, error):
        assert not is_out_of_memory(error)


class TestDenoising:
    def denoise(self, model, frames, tile_size=128, **way):
        denoiser = Denoiser(
            model=model,
            noise_model=None,
            training_blindness=Blindness(4, "mean"),
            estimate="prior-mean",
            is_blind=way.get("is_blind", False),
            reason="",
        )
        found = np.full((len(frames), *frames.shape), np.nan, np.float32)

        def sink(index, rows, columns, estimate):
            # each pixel once
            assert np.isnan(found[index, rows, columns]).all()
            found[index, rows, columns] = denoiser.result(estimate)

        job = denoise_frames(
            denoiser, frames, sink, tile_size=tile_size, stop=StopToken()
        )
        events, done = collect(job)
        assert done == len(frames)
        return found, [e.message for e in events if isinstance(e, Notice)]

    @pytest.mark.parametrize("is_blind", [False, True], ids=["one pass", "blind"])
    def test_smaller_tiles_give_the_same_result_and_are_told(self, frames, is_blind):
        expected, said = self.denoise(new_model(), frames, is_blind=is_blind)
        assert said == []
        small = short_of_memory(new_model(), 90**2)
        found, said = self.denoise(small, frames, is_blind=is_blind)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        # told once, and kept for the frames that follow
        assert len(said) <= 2
        assert "Memory ran out. Going on with tiles of " in said[0]

    def test_too_little_for_the_smallest_tiles_is_said_with_advice(self, frames):
        with pytest.raises(OutOfMemory, match=r"tiles of 32 pixels\. Close other"):
            self.denoise(short_of_memory(new_model(), 100), frames)

    def test_other_errors_are_not_taken_for_a_lack_of_memory(self, frames):
        model = new_model()

        def fail(network, inputs):
            raise RuntimeError("shapes cannot be multiplied")

        model.network.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="shapes"):
            self.denoise(model, frames)

    def test_images_within_a_training_are_cut_into_smaller_tiles_too(
        self, frames, caplog
    ):
        image, blindness = frames.frame(0), Blindness(4, "mean")
        expected = estimate_image(new_model(), None, image, blindness)
        small = short_of_memory(new_model(), 90**2)
        found = estimate_image(small, None, image, blindness)
        np.testing.assert_allclose(found.prior_mean, expected.prior_mean, rtol=1e-5)
        assert "Memory ran out" in caplog.text


class TestTraining:
    CONFIG = TrainingConfig(
        n_steps=6, batch_size=6, patch_size=32, steps_per_validation=3
    )

    def source(self, frames, kind="masked"):
        stack = collect_training_stack(
            [frames],
            patch_size=32,
            held_out_share=0.1,
            rng=np.random.default_rng(0),
            targets=None if kind == "masked" else [frames],
        )
        crops = Crops(stack, 32, self.CONFIG.batch_size)
        if kind == "pairs":
            return ImagePairs(crops, 0)
        return MaskedObservations(crops, 4, "mean", 0)

    def trainer(self, frames, kind="masked"):
        source = self.source(frames, kind)
        return Trainer(new_model(), source, squared_error(20.0), self.CONFIG, 1)

    @pytest.mark.parametrize("kind", ["masked", "pairs"])
    @pytest.mark.parametrize("count", [2, 4, 6])
    def test_gradients_of_the_parts_add_up_to_that_of_the_batch(
        self, frames, kind, count, monkeypatch
    ):
        # in half precision, the order of sums shows in the third digit
        monkeypatch.setattr(prior_network, "mixed_precision", lambda _: nullcontext())
        gradients, losses = [], []
        for parts in (1, count):
            trainer = self.trainer(frames, kind)
            trainer.parts.count = parts
            batch = trainer.source.draw(np.random.default_rng(2))
            losses.append(float(trainer._gradient(batch)))
            gradients.append(
                torch.cat([p.grad.reshape(-1) for p in trainer.model.parameters()])
            )
        assert losses[1] == pytest.approx(losses[0], rel=1e-5)
        size = float(gradients[0].norm())
        assert float((gradients[0] - gradients[1]).norm()) < 1e-5 * size

    def train(self, frames, most=None, checkpoint=None):
        model = new_model()
        if most is not None:
            short_of_memory(model, most)
        job = train_prior(
            model,
            self.source(frames),
            squared_error(20.0),
            self.CONFIG,
            stage="n2v",
            seed=1,
            stop=StopToken(),
            checkpoint=checkpoint,
        )
        events, trained = collect(job)
        return trained, [e.message for e in events if isinstance(e, Notice)]

    def test_smaller_parts_train_the_same_way_and_are_told_once(self, frames):
        expected, said = self.train(frames)
        assert said == []
        found, said = self.train(frames, most=2 * 32**2)
        parts = [re.search(r"6 patches in (\d) parts", text)[1] for text in said]
        assert parts == ["2", "4"]
        for one, other in zip(found.curve, expected.curve, strict=True):
            assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-3)

    def test_a_resumed_training_knows_in_how_many_parts(self, frames):
        trainer = self.trainer(frames)
        trainer.parts.count = 4
        again = self.trainer(frames)
        again.restore(trainer.state())
        assert again.parts.count == 4

    def test_too_little_for_a_single_patch_is_said_with_advice(self, frames):
        with pytest.raises(OutOfMemory, match=r"one patch of 32 x 32 pixels.*smaller"):
            self.train(frames, most=100)


def read_more_than_there_is():
    with named_memory_errors("in this run"):
        np.empty(TOO_MUCH)


def test_where_nothing_smaller_helps_the_lack_is_said_with_advice():
    with pytest.raises(OutOfMemory, match=r"ran out in this run\. Close other"):
        read_more_than_there_is()


def test_other_errors_pass_as_they_are():
    with pytest.raises(OSError, match="gone"), named_memory_errors("in this run"):
        raise OSError(5, "gone")


def probe(megabytes, task):
    """Run a task of `memory_probe` with so much memory above what imports take."""
    script = Path(__file__).with_name("memory_probe.py")
    done = subprocess.run(
        [sys.executable, str(script), str(megabytes), task],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="such limits are of Linux")
class TestALimitOnTheProcess:
    """The operating system refuses memory; nothing is made up."""

    def test_training_goes_on_in_parts_and_learns_the_same(self):
        plenty, little = probe(4000, "batch"), probe(220, "batch")
        assert plenty["notices"] == []
        assert "Memory ran out" in little["notices"][0]
        assert little["loss"] == pytest.approx(plenty["loss"], rel=1e-3)

    def test_denoising_goes_on_with_smaller_tiles_to_the_same_result(self):
        plenty, little = probe(4000, "tile"), probe(150, "tile")
        assert plenty["notices"] == []
        assert "Memory ran out" in little["notices"][0]
        for part in ("rows", "columns"):
            np.testing.assert_allclose(little[part], plenty[part], rtol=1e-6)

    def test_a_stack_larger_than_memory_is_trained_on_and_denoised(self):
        found = probe(300, "stack")
        assert found["stack_mb"] > 2 * 300
        assert found["grown_mb"] < 310
        assert any("crops of all frames" in text for text in found["notices"])
