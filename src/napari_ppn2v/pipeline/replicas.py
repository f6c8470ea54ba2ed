"""Copies of a network on several devices, which share the work of each batch.

One process, and one thread for each device: torch lets go of Python while it computes,
so the devices work at the same time. Each makes the gradient of some parts of a batch;
added up, in the order of the devices, they are that of the batch. The optimizer and all
else of a training know one network alone, on the first device. What the others hold is
taken from it anew in every step, and is no state of the training.

Of torch's own means, `DataParallel` makes new copies and threads in every step, and is
for graphics cards alone, so that no test without cards could reach it.
`DistributedDataParallel` is faster where Python keeps the cards waiting, but wants a
process for each device: data, stop, checkpoints, previews and the answer to a lack of
memory, here plain parts of one generator, would have to be sent between them.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from napari_ppn2v.core.objectives import on_device
from napari_ppn2v.events import Notice

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_ppn2v.core.batches import Batch
    from napari_ppn2v.core.objectives import Objective
    from napari_ppn2v.core.prior_network import PriorNetwork


@dataclass(frozen=True, slots=True)
class Replica:
    """A network with its objective, both on one device."""

    model: PriorNetwork
    objective: Objective


Work = Callable[[Replica, "list[Batch]"], Tensor]
"""What a device does with its parts of a batch; returns what is to be added up."""


class Replicas:
    """A network and its copies on other devices.

    Parameters
    ----------
    model, objective : on the first device; they are used as they are
    other_devices
        One copy is made for each. The same device may come several times, which gains
        nothing but tests.

    Raises
    ------
    RuntimeError  If the copies do not fit into memory.
    """

    def __init__(
        self,
        model: PriorNetwork,
        objective: Objective,
        other_devices: Sequence[torch.device] = (),
    ) -> None:
        self.first = Replica(model, objective)
        self.others = tuple(
            Replica(copy.deepcopy(model).to(device), on_device(objective, device))
            for device in other_devices
        )
        # always the same thread for a device: libraries of cards keep memory for each
        self._threads = [ThreadPoolExecutor(1, "replica") for _ in self.others]
        for thread in self._threads:
            # and not at the end of a training, whose generator may just be dropped
            weakref.finalize(self, thread.shutdown, wait=False)

    def __len__(self) -> int:
        """Return the number of devices."""
        return 1 + len(self.others)

    def total(self, parts: list[Batch], work: Work) -> Tensor:
        """Do some work on the parts of a batch, on all devices at once.

        The copies get the weights of the first device before. Where gradients are made,
        those of the copies are added to those of the first device after, and statistics
        of batch normalisation become the mean over all patches.

        Parameters
        ----------
        work : called in a thread of its own for each device but the first

        Returns
        -------
        Tensor  The sum of what is returned for each device, on the first.

        Raises
        ------
        RuntimeError  As `work` does on any device; all have ended by then.
        """
        shares = _shares(parts, len(self))
        if len(shares) == 1:
            return work(self.first, shares[0])
        busy = self.others[: len(shares) - 1]
        for replica in busy:
            _take_over(self.first.model, replica.model)
        teaches = torch.is_grad_enabled()
        running = [
            thread.submit(_with_gradients, work, replica, share, teaches)
            for thread, replica, share in zip(
                self._threads, busy, shares[1:], strict=False
            )
        ]
        total = self._first_and(running, work, shares[0])
        if teaches:
            sizes = [sum(len(part.inputs) for part in share) for share in shares]
            self._collect(busy, sizes)
        return total

    def _first_and(
        self, running: Sequence[Future[Tensor]], work: Work, share: list[Batch]
    ) -> Tensor:
        """Do the first device's share in this thread, then wait for the others."""
        try:
            total = work(self.first, share)
        finally:
            wait(running)
        for future in running:
            total = total + future.result().to(total.device)
        return total

    @torch.no_grad()
    def _collect(self, busy: Sequence[Replica], sizes: Sequence[int]) -> None:
        """Add the gradients of the copies, and average what networks keep of batches.

        `sizes` are the patches that each device has seen. A buffer that is no
        statistic is alike on all devices, and keeps its bits.
        """
        model, n_patches = self.first.model, sum(sizes)
        for replica in busy:
            pairs = zip(model.parameters(), replica.model.parameters(), strict=True)
            for mine, theirs in pairs:
                _add_gradient(mine, theirs)
        for name, kept in model.named_buffers():
            if not kept.is_floating_point():
                continue
            start = kept.clone()
            for replica, size in zip(busy, sizes[1:], strict=True):
                other = replica.model.get_buffer(name).to(kept.device)
                kept += (size / n_patches) * (other - start)

    def clear(self) -> None:
        """Let go of what half-done work has left on the copies."""
        for replica in self.others:
            replica.model.zero_grad(set_to_none=True)

    def news(self, batch_size: int) -> Iterator[Notice]:
        """Yield what the user should know of several devices."""
        if not self.others:
            return
        n_devices = len(self)
        if batch_size < n_devices:
            yield Notice(
                f"A batch has {batch_size} patches, so only {batch_size} of the "
                f"{n_devices} devices are used in training. Larger batches use more."
            )
        norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        if any(isinstance(module, norms) for module in self.first.model.modules()):
            yield Notice(
                f"Batch normalisation on {n_devices} devices: each normalises its own "
                "part of a batch, as is usual, so the training differs a little from "
                "that on one device."
            )


def _shares(parts: list[Batch], n_devices: int) -> list[list[Batch]]:
    """Return the parts of each device that gets any; neighbours stay together."""
    numbers = np.array_split(np.arange(len(parts)), n_devices)
    return [[parts[n] for n in share] for share in numbers if len(share)]


def _with_gradients(
    work: Work, replica: Replica, share: list[Batch], teaches: bool
) -> Tensor:
    """Do some work; whether gradients are made is a setting of each thread."""
    with torch.set_grad_enabled(teaches):
        return work(replica, share)


@torch.no_grad()
def _take_over(source: PriorNetwork, copied: PriorNetwork) -> None:
    """Give a copy the weights, buffers and mode of the original, and no gradients."""
    copied.zero_grad(set_to_none=True)
    if copied.training != source.training:
        copied.train(source.training)
    for theirs, mine in zip(_tensors(source), _tensors(copied), strict=True):
        mine.copy_(theirs)


def _tensors(model: PriorNetwork) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _add_gradient(mine: nn.Parameter, theirs: nn.Parameter) -> None:
    if theirs.grad is None:
        return
    gradient = theirs.grad.to(mine.device)
    mine.grad = gradient if mine.grad is None else mine.grad.add_(gradient)
