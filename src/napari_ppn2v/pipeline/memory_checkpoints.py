"""Training states in memory, so that a stopped run can go on in the same viewer."""

from __future__ import annotations

from typing import Any


class MemoryCheckpoints:
    """Gives the place where the training of each stage keeps its state.

    States are kept at a stop and at the end of each stage alone, which costs no time
    during training. A run that is given the object of a stopped one, with equal data
    and settings, ends with the bits of a run never stopped; what was trained with
    other data or settings needs another object.
    """

    def __init__(self) -> None:
        self._stages: dict[str, _MemoryCheckpoint] = {}

    def __call__(self, stage: str) -> _MemoryCheckpoint:
        """Return the place of a stage, the same at every call."""
        return self._stages.setdefault(stage, _MemoryCheckpoint())

    def clear(self) -> None:
        """Forget all states."""
        self._stages.clear()


class _MemoryCheckpoint:
    """One training state; see `CheckpointStore`."""

    is_due = False

    def __init__(self) -> None:
        self._state: dict[str, Any] | None = None

    def save(self, state: dict[str, Any]) -> None:
        """Keep a copy of this state in place of the last one."""
        self._state = _copied(state)

    def load(self) -> dict[str, Any] | None:
        """Return a copy: a training goes on with the very tensors it is given."""
        return None if self._state is None else _copied(self._state)


def _copied(value: Any) -> Any:
    """Copy nested containers; tensors come to the CPU, whose memory is larger."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    if hasattr(value, "detach"):
        return value.detach().cpu().clone()
    return value
