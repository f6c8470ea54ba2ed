"""The training of a run in the viewer kept on the disk, to go on with after a crash.

Each run has a folder of its own, with a record and the training states of its stages:
the same names and files as in the folder of a run on files. It lives as long as the
run could be resumed in its viewer, and outlives a crash of it. Importing this loads no
torch.
"""

from __future__ import annotations

import shutil
import time
import uuid
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.events import Notice, PartStarted, StageStarted
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.files.locks import FileLock
from napari_ppn2v.pipeline.recovery_folders import (
    LOCK,
    PREFIX,
    check_room,
    clean_up,
    is_in_use,
    recovery_root,
    run_folders,
)
from napari_ppn2v.pipeline.recovery_record import (
    FAILED,
    Given,
    KnownStack,
    Progress,
    RecoveryRecord,
    with_paths,
)
from napari_ppn2v.pipeline.run_folder import (
    FINISHED,
    RUNNING,
    STOPPED,
    RunFolder,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.stack_job import StackReport
    from napari_ppn2v.pipeline.stack_request import StackRequest

R = TypeVar("R")

SECONDS_BETWEEN = 20.0  # of two states kept; so much training is lost at most
MOST_TIME = 0.02  # share of the time of a run that keeping states may take
_NOISE_MODEL = "noise_model.npz"


class Recovery:
    """The state of one run on the disk; nothing is written before `begin`.

    What cannot be written never ends a run: it goes on without, and says so once.

    Attributes
    ----------
    record : what is written down, None before `begin`
    noise_model : of a run taken up again, once it was loaded
    """

    def __init__(self, root: Path | None = None, given: Given | None = None) -> None:
        self._root = root or recovery_root()
        self._given = given or Given()
        self.folder = self._root / f"{PREFIX}{uuid.uuid4().hex[:12]}"
        self._lock = FileLock(self.folder / LOCK)
        self.record: RecoveryRecord | None = None
        self.noise_model: NoiseModel | None = None
        self._trained: StackReport | None = None
        self._trouble, self._has_told = "", False
        self._is_running = self._is_to_be_released = False

    # -- on the disk ------------------------------------------------------------------

    @property
    def files(self) -> RunFolder:
        """The names in the folder."""
        return RunFolder(self.folder, (), self.folder / "model.ppn2v")

    @property
    def is_kept(self) -> bool:
        """Whether states are written: the run has begun, and nothing failed yet."""
        return self._lock.is_held and self.record is not None and not self._trouble

    def begin(self, request: StackRequest, stacks: Sequence[KnownStack]) -> None:
        """Make the folder and write down what the run is; old ones are taken away."""
        if self.record is not None and _digests(self.record.stacks) == _digests(stacks):
            return  # it goes on
        record = RecoveryRecord.of(
            request,
            with_paths(stacks, self._given.paths),
            noise_model=self._given.noise_model,
            noise_model_path=self._given.noise_model_path,
            began=_now(),
        )
        with self._going_on_without():
            self._open(record)
            if request.noise_model is not None:
                from napari_ppn2v.files.noise_model_files import save_noise_model

                save_noise_model(
                    self.folder / _NOISE_MODEL, request.noise_model.to("cpu")
                )
            self._write()

    def begin_longer(self, before: Recovery, report: StackReport, times: int) -> None:
        """Make the folder of a training that goes on from trained models.

        Parameters
        ----------
        before : of the run that they come from
        times : how often they were trained longer before this
        """
        from napari_ppn2v.pipeline.recovery_models import save_trained

        if self.record is not None or before.record is None:
            return
        self._given = before._given
        record = replace(
            before.record,
            channels=report.request.channels,  # fewer than were asked for, if stopped
            began=_now(),
            is_longer=True,
            times_longer=times,
            status=RUNNING,
            progress=Progress(),
        )
        with self._going_on_without():
            self._open(record)
            save_trained(self.files, report)
            self._write()

    def _open(self, record: RecoveryRecord) -> None:
        """Make the folder where it is missing, and take its lock."""
        self._root.mkdir(parents=True, exist_ok=True)
        clean_up(self._root)
        self.folder.mkdir(exist_ok=True)
        if not self._lock.acquire():
            raise OSError(f"{self.folder} is in use.")
        self.record = record

    def _write(self) -> None:
        assert self.record is not None
        self.files.write_record(self.record.as_plain())

    def remove(self) -> None:
        """Delete what was kept; the run is finished, or nobody wants it."""
        self._lock.release()
        if self.record is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def release(self) -> None:
        """Let others take the run up, as soon as it has ended here."""
        self._is_to_be_released = True
        if not self._is_running:
            self._lock.release()

    # -- while the run goes on --------------------------------------------------------

    def checkpoint(self, channel: int, stage: str) -> RecoveryCheckpoint:
        """Return the place of the training of one stage of one channel."""
        return RecoveryCheckpoint(self, self.files.checkpoint(stage, f"_c{channel}"))

    def watch(self, job: Generator[Event, None, R]) -> Generator[Event, None, R]:
        """Run a job and note where it is; says once if that cannot be written."""
        self._is_running = True
        self._set_status(RUNNING)
        status = FAILED
        try:
            while True:
                try:
                    event = next(job)
                except StopIteration as end:
                    is_stopped = getattr(end.value, "is_stopped", False)
                    status = STOPPED if is_stopped else FINISHED
                    if self._trouble and not self._has_told:
                        yield self._notice()
                    return end.value
                self._note(event)
                yield event
                if self._trouble and not self._has_told:
                    yield self._notice()
        except GeneratorExit:  # its thread is taken away, as a crash does it
            status = RUNNING
            raise
        finally:
            self._set_status(status)
            self._is_running = False
            if self._is_to_be_released:
                self._lock.release()

    def _notice(self) -> Notice:
        self._has_told = True
        return Notice(
            "The run goes on, but it could not be resumed after a crash, because its "
            f"state cannot be kept: {self._trouble}",
            is_warning=True,
        )

    def _note(self, event: Event) -> None:
        """Take note of where the run is."""
        if self.record is None:
            return
        now = self.record.progress
        if isinstance(event, PartStarted):
            self.record = replace(self.record, progress=replace(now, part=event.name))
        if isinstance(event, StageStarted):
            self._show(replace(now, stage=event.stage, step=0, total=event.total))

    def _set_status(self, status: str) -> None:
        if self.record is not None and self.record.status != status:
            self.record = replace(self.record, status=status)
            self._show(self.record.progress)

    def _show(self, progress: Progress) -> None:
        """Write how far the run is."""
        if self.record is None:
            return
        step = progress.steps.get(self._name_of(progress), progress.step)
        self.record = replace(self.record, progress=replace(progress, step=step))
        if self.is_kept:
            with self._going_on_without():
                self._write()

    def _name_of(self, progress: Progress) -> str:
        """Name of the file that the stage's state is kept in."""
        assert self.record is not None
        channel = progress.part.rpartition(" ")[2] or self.record.channels[0]
        return self.files.checkpoint(progress.stage, f"_c{channel}").name

    def _going_on_without(self) -> _GoingOnWithout:
        return _GoingOnWithout(self)

    def _kept(self, path: Path, state: dict[str, Any]) -> None:
        """Write down that a training state was kept."""
        assert self.record is not None
        now = self.record.progress
        steps = {**now.steps, path.name: int(state["step"])}
        self._show(replace(now, steps=steps, saved=_now()))

    # -- taken up again ---------------------------------------------------------------

    @classmethod
    def of_folder(cls, folder: Path) -> Recovery:
        """Open the folder of an earlier run; raises BadFile if it cannot be used."""
        recovery = cls(folder.parent)
        recovery.folder = folder
        recovery._lock = FileLock(folder / LOCK)
        content = recovery.files.read_record()
        if content is not None:
            recovery.record = RecoveryRecord.from_plain(content)
            paths = tuple(stack.path for stack in recovery.record.stacks)
            names = recovery.record.noise_model, recovery.record.noise_model_path
            recovery._given = Given(paths, *names)
        return recovery

    def claim(self) -> bool:
        """Take the run over; returns whether no other viewer has it.

        Raises
        ------
        CannotWrite  If the folder cannot be written to any more.
        """
        return self.folder.is_dir() and self._lock.acquire()

    def load_noise_model(self) -> NoiseModel | None:
        """Return the noise model that the run was given, None if there is none here.

        Raises
        ------
        BadFile  If it cannot be read.
        """
        from napari_ppn2v.files.noise_model_files import load_noise_model

        path = self.folder / _NOISE_MODEL
        if self.noise_model is None and path.exists():
            self.noise_model = load_noise_model(path)
        return self.noise_model

    def load_trained(self, request: StackRequest) -> StackReport:
        """Return the models that were trained longer, with their curves.

        Raises
        ------
        BadFile  If they cannot be read.
        """
        from napari_ppn2v.pipeline.recovery_models import load_trained

        if self._trained is None:
            self._trained = load_trained(self.files, request)
        return self._trained


class RecoveryCheckpoint:
    """One training state on the disk that never ends a run; see `CheckpointStore`."""

    def __init__(self, recovery: Recovery, path: Path) -> None:
        self._recovery = recovery
        self._file = FileCheckpoint(
            path, is_resumed=True, seconds_between=SECONDS_BETWEEN
        )

    @property
    def is_due(self) -> bool:
        """Whether enough time has passed; the slower the drive, the more."""
        return self._recovery.is_kept and self._file.is_due

    def save(self, state: dict[str, Any]) -> None:
        """Keep this state in place of the last one, if that can be done."""
        recovery = self._recovery
        if not recovery.is_kept:
            return
        began = time.monotonic()
        with recovery._going_on_without():
            check_room(recovery.folder)
            self._file.save(state)
            recovery._kept(self._file.path, state)
        took = time.monotonic() - began
        self._file.seconds_between = max(SECONDS_BETWEEN, took / MOST_TIME)

    def load(self) -> dict[str, Any] | None:
        """Return the state that was kept, None if there is none."""
        return self._file.load() if self._recovery.record is not None else None


class _GoingOnWithout:
    """Takes note of what cannot be written; the run goes on without."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        # a full disk makes torch raise a RuntimeError
        known = (PPN2VError, OSError, RuntimeError, MemoryError)
        if not isinstance(error, known):
            return False
        self._recovery._trouble = _words(error)
        return True


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror} ({error.filename or 'no name'})."
    return str(error) or type(error).__name__


def _digests(stacks: Sequence[KnownStack]) -> list[str]:
    return [stack.sha256 for stack in stacks]


# -- all of them ----------------------------------------------------------------------


def unfinished_runs(root: Path | None = None) -> list[Recovery]:
    """List the runs that can be taken up again, the newest first.

    Those that go on in a viewer, this one or another, are left out, and so are those
    of which nothing was kept yet.
    """
    found = []
    for folder in run_folders(root or recovery_root()):
        try:
            recovery = Recovery.of_folder(folder)
        except PPN2VError:
            continue  # damaged, or of another version
        record = recovery.record
        is_of_use = record is not None and (record.progress.saved or record.is_longer)
        if is_of_use and not is_in_use(folder):
            found.append(recovery)
    return sorted(found, key=_saved, reverse=True)


def _saved(recovery: Recovery) -> str:
    record = recovery.record
    assert record is not None
    return record.progress.saved or record.began


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
