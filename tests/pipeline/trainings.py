"""Short trainings of Noise2Void: run, stopped at a step, compared bit by bit."""

from __future__ import annotations

import torch

from napari_ppn2v.core.objectives import squared_error
from napari_ppn2v.events import StepDone, drain
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.pipeline.journeys import new_model, training_batches
from napari_ppn2v.pipeline.training import train_prior
from napari_ppn2v.stop import StopToken

CPU = torch.device("cpu")


def training(
    stack, config, n_devices=1, *, seed=0, stop=None, checkpoint=None, model=None
):
    """Return the training of a new model on so many devices, of a given one or new."""
    model = model or new_model(stack, config, CPU, "free", 1, seed)
    return train_prior(
        model,
        training_batches(stack, config, config.pretraining),
        squared_error(model.normalisation.std),
        config.pretraining,
        stage="n2v",
        seed=seed,
        stop=stop or StopToken(),
        checkpoint=checkpoint,
        other_devices=[CPU] * (n_devices - 1),
    )


def stopping_at(step, stop):
    """Return a watcher of events that stops in time."""

    def watch(event):
        if isinstance(event, StepDone) and event.step == step:
            stop.stop()

    return watch


def stopped_at(step, stack, config, path, n_devices=1):
    """Train up to a step, and keep the state; returns what there is by then."""
    stop, checkpoint = StopToken(), FileCheckpoint(path, is_resumed=False)
    job = training(stack, config, n_devices, stop=stop, checkpoint=checkpoint)
    part = drain(job, stopping_at(step, stop))
    assert part.is_stopped
    assert part.n_steps == step
    return part


def resumed_from(path, stack, config, n_devices=1):
    """Go on from the state that was kept to the end."""
    checkpoint = FileCheckpoint(path, is_resumed=True)
    return drain(training(stack, config, n_devices, checkpoint=checkpoint))


def losses_of(trained):
    """Return the losses of a training, in their order."""
    return [[point.train_loss, point.validation_loss] for point in trained.curve]


def same_weights(one, other):
    """Whether two models have the same weights, bit by bit."""
    return all(
        torch.equal(value, other.state_dict()[name])
        for name, value in one.state_dict().items()
    )
