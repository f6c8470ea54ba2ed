"""Training states in memory, so that a stopped run can go on in the same viewer.

With a `Recovery` they are kept on the disk too, so that it can go on after a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_ppn2v.pipeline.recovery import Recovery, RecoveryCheckpoint

    OnDisk = Callable[[str], RecoveryCheckpoint]


class MemoryCheckpoints:
    """Gives the place where the training of each stage keeps its state.

    States are kept at a stop and at the end of each stage, and whenever one is due on
    the disk. A run that is given the object of a stopped one, with equal data and
    settings, ends with the bits of a run never stopped; what was trained with other
    data or settings needs another object.

    Parameters
    ----------
    on_disk : gives the file of a stage, None to keep states in memory alone
    """

    def __init__(self, on_disk: OnDisk | None = None) -> None:
        self._on_disk = on_disk
        self._stages: dict[str, _MemoryCheckpoint] = {}

    def __call__(self, stage: str) -> _MemoryCheckpoint:
        """Return the place of a stage, the same at every call."""
        if stage not in self._stages:
            file = None if self._on_disk is None else self._on_disk(stage)
            self._stages[stage] = _MemoryCheckpoint(file)
        return self._stages[stage]

    def clear(self) -> None:
        """Forget all states in memory."""
        self._stages.clear()


class KeptTrainings:
    """Gives the `MemoryCheckpoints` of each channel of a run.

    Parameters
    ----------
    recovery : where they are kept on the disk too
    """

    def __init__(self, recovery: Recovery | None = None) -> None:
        self._recovery = recovery
        self._channels: dict[int, MemoryCheckpoints] = {}

    def __call__(self, channel: int) -> MemoryCheckpoints:
        """Return those of a channel, the same at every call."""
        if channel not in self._channels:
            self._channels[channel] = MemoryCheckpoints(self._files_of(channel))
        return self._channels[channel]

    def _files_of(self, channel: int) -> OnDisk | None:
        recovery = self._recovery
        if recovery is None:
            return None
        return lambda stage: recovery.checkpoint(channel, stage)


class _MemoryCheckpoint:
    """One training state; see `CheckpointStore`."""

    def __init__(self, file: RecoveryCheckpoint | None) -> None:
        self._file = file
        self._state: dict[str, Any] | None = None

    @property
    def is_due(self) -> bool:
        """Whether the disk is to be given a state; memory alone waits for the end."""
        return self._file is not None and self._file.is_due

    def save(self, state: dict[str, Any]) -> None:
        """Keep a copy of this state in place of the last one."""
        self._state = _copied(state)
        if self._file is not None:
            self._file.save(self._state)

    def load(self) -> dict[str, Any] | None:
        """Return a copy: a training goes on with the very tensors it is given."""
        if self._state is None and self._file is not None:
            self._state = self._file.load()
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
