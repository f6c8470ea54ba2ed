"""Learning-rate schedules that can be saved and resumed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.config import TrainingConfig

WARM_UP_SHARE = 0.1
FIRST_SHARE = 0.04  # of the highest rate
LAST_SHARE = 0.005
LOWEST_RATE = 1e-6
FEW_STEPS = 100
MOST_GAIN = 2.0


def gain_of_few_steps(config: TrainingConfig) -> float:
    """Return by how much a new training of few steps raises its learning rate.

    Muon changes weights by an amount that hangs on the rate alone, so that few steps
    at the usual rate do not lead far. Twice the rate brought Noise2Void of 40 steps
    from 30.1 to 36.0 dB, of 15 steps from 19.9 to 30.1; three times was worse.
    """
    if config.optimizer != "muon" or config.schedule != "one-cycle":
        return 1.0
    return min(MOST_GAIN, max(1.0, FEW_STEPS / config.n_steps))


class Schedule(Protocol):
    """Gives the learning rate of each step."""

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step` (0 is the first)."""
        ...

    def validated(self, loss: float) -> None:
        """Take note of a validation loss."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what must be saved."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        ...


class OneCycle:
    """Linear rise over the first tenth of the steps, then a cosine fall.

    Measured at an equal short budget: 0.5 dB better than a constant rate.
    """

    def __init__(self, highest: float, n_steps: int) -> None:
        self.highest, self.n_steps = highest, n_steps

    def rate(self, step: int) -> float:
        """Return the learning rate of step `step`."""
        warm = max(1, round(WARM_UP_SHARE * self.n_steps))
        if step < warm:
            share = FIRST_SHARE + (1 - FIRST_SHARE) * (step + 1) / warm
        else:
            done = (step - warm) / max(1, self.n_steps - warm)
            cosine = 0.5 * (1 + math.cos(math.pi * done))
            share = LAST_SHARE + (1 - LAST_SHARE) * cosine
        return self.highest * share

    def validated(self, loss: float) -> None:
        """Do nothing: this schedule depends on the step alone."""

    def state(self) -> dict[str, Any]:
        """Return nothing: this schedule depends on the step alone."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Do nothing: this schedule depends on the step alone."""


class Plateau:
    """Halved when the validation loss has not improved for `patience` validations.

    The published schedule (Krull et al. 2019, section 4.1; PPN2V, section 3).
    """

    def __init__(self, highest: float, patience: int) -> None:
        self.highest, self.patience = highest, patience
        self._best, self._since, self._factor = math.inf, 0, 1.0

    def rate(self, step: int) -> float:
        """Return the learning rate that holds now."""
        return max(LOWEST_RATE, self.highest * self._factor)

    def validated(self, loss: float) -> None:
        """Halve the rate when there was no improvement for too long."""
        if loss < self._best:
            self._best, self._since = loss, 0
            return
        self._since += 1
        if self._since > self.patience:
            self._factor, self._since = self._factor / 2, 0

    def state(self) -> dict[str, Any]:
        """Return the best loss, the wait since it, and the factor reached."""
        return {"best": self._best, "since": self._since, "factor": self._factor}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self._best, self._since = state["best"], state["since"]
        self._factor = state["factor"]
