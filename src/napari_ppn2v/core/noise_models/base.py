"""What a noise model is: the protocol every kind follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@runtime_checkable
class NoiseModel(Protocol):
    """The distribution p(x|s) of an observation x given the signal s of its pixel.

    All values are in ADU (grey values) and all likelihoods are densities: nats per
    ADU, so that different kinds of model can be compared. At the limits of the
    camera's range (`limits`) the observation is an atom: the log-likelihood there is
    the log of the probability of reaching the limit or beyond, per ADU of one grey
    value.

    Attributes
    ----------
    kind
        Name in the registry, e.g. "gmm".
    signal_range
        Lowest and highest signal (ADU) covered by the fit. Outside, each model says
        in its documentation how it extrapolates; `log_likelihood` stays finite and
        its gradient too.
    limits
        Lowest and highest value (ADU) that an observation can take, None where the
        data show no clipping at that end.
    """

    kind: ClassVar[str]
    signal_range: tuple[float, float]
    limits: tuple[float | None, float | None]

    def log_likelihood(self, observation: Tensor, signal: Tensor) -> Tensor:
        """Log p(x|s) in nats per ADU; broadcasts, finite gradient in `signal`."""
        ...

    def sample(
        self, signal: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw one observation per element of `signal`, without rounding."""
        ...

    def moments(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (ADU) and variance (ADU²) of the observation for each signal."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Return the same model with its tensors on another device."""
        ...

    def state(self) -> dict[str, Any]:
        """Return numpy arrays, numbers and strings that describe the model fully."""
        ...

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Rebuild the model; likelihoods are identical to those before saving."""
        ...
