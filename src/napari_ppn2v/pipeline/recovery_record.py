"""What is written down of a run in the viewer, so that it can go on after a crash.

Importing this loads no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadFile
from napari_ppn2v.pipeline.config import RunConfig  # noqa: TC001 - read by from_plain
from napari_ppn2v.pipeline.inputs import read_through
from napari_ppn2v.pipeline.provenance import from_plain
from napari_ppn2v.pipeline.run_folder import RUNNING
from napari_ppn2v.pipeline.stack_request import Stack, StackRequest

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.stop import StopToken

FAILED = "failed"
KEY = "viewer"  # of the record, beside what every run's record has


@dataclass(frozen=True)
class KnownStack:
    """A stack that a run needs, as it was when the run began.

    Attributes
    ----------
    name : of its layer
    path : of the file it was read from, empty if none
    axes, shape, dtype : of the array
    channels : that the fingerprint is of
    sha256 : fingerprint of the frames as float32
    """

    name: str
    path: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    channels: tuple[int, ...]
    sha256: str

    def may_be(self, data: Any) -> bool:
        """Whether an array has the same shape and type; no pixel is read."""
        shape = tuple(int(size) for size in data.shape)
        return (shape, str(data.dtype)) == (self.shape, self.dtype)


@dataclass(frozen=True)
class Given:
    """What a request does not tell of its stacks and its noise model.

    Attributes
    ----------
    paths : file of the image and of each recording, empty where there is none
    noise_model, noise_model_path : name and file of the one that is given
    """

    paths: tuple[str, ...] = ("",)
    noise_model: str = ""
    noise_model_path: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    part : name of the channel, empty where there is but one
    stage, step, total : what goes on; the step is that of the last state kept
    steps : step of the state that is kept in each file
    saved : when the last state was kept, as ISO text; empty if there is none yet
    """

    part: str = ""
    stage: str = ""
    step: int = 0
    total: int = 0
    steps: dict[str, int] = field(default_factory=dict)
    saved: str = ""


@dataclass(frozen=True)
class RecoveryRecord:
    """Everything of a `StackRequest` but the pixels, and how far it is.

    Attributes
    ----------
    region : first and last row and column to train on, see `StackRequest.region`
    noise_model, noise_model_path : name and file of the one that was given
    began : when, as ISO text with the time zone
    is_longer : whether trained models, which lie beside it, are trained longer
    times_longer : how often they were trained longer before
    status : "running" also after a crash: nobody was left to change it
    """

    observation: KnownStack
    config: RunConfig
    channels: tuple[int, ...]
    is_put_together: bool = False
    training_frames: tuple[int, ...] | None = None
    region: tuple[tuple[int | None, ...], ...] | None = None
    calibration: tuple[KnownStack, ...] = ()
    noise_model: str = ""
    noise_model_path: str = ""
    device: str = "auto"
    threads: int | None = None
    dtype: str = "float32"
    with_residual: bool = False
    began: str = ""
    is_longer: bool = False
    times_longer: int = 0
    status: str = RUNNING
    progress: Progress = field(default_factory=Progress)

    @classmethod
    def of(
        cls, request: StackRequest, stacks: Sequence[KnownStack], **more: Any
    ) -> RecoveryRecord:
        """Describe a request whose stacks are known: image, then recordings."""
        region = request.region
        return cls(
            observation=stacks[0],
            calibration=tuple(stacks[1:]),
            config=request.config,
            channels=request.channels,
            is_put_together=request.is_put_together,
            training_frames=request.training_frames,
            region=region and tuple((part.start, part.stop) for part in region),
            device=request.device,
            threads=request.threads,
            dtype=request.dtype,
            with_residual=request.with_residual,
            **more,
        )

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> RecoveryRecord:
        """Restore what `as_plain` gave.

        Raises
        ------
        BadFile  If it is of another version or damaged.
        """
        try:
            record = from_plain(cls, content[KEY])
            # settings have checked themselves; the region is checked here
            record.request(Stack(data=None, axes=""))
        except (KeyError, TypeError, ValueError) as error:
            raise BadFile(
                f"This is no record of a run in the viewer, or it is damaged ({error})."
            ) from error
        return record

    def as_plain(self) -> dict[str, Any]:
        """Return it as values that JSON can hold."""
        return {"status": self.status, KEY: asdict(self)}

    @property
    def stacks(self) -> tuple[KnownStack, ...]:
        """The stacks that the run needs: image, then recordings."""
        return (self.observation, *self.calibration)

    def request(
        self, observation: Stack, calibration: Sequence[Stack] = ()
    ) -> StackRequest:
        """Return the request for stacks with these pixels, without the noise model."""
        rows_and_columns = None
        if self.region is not None:
            rows, columns = (slice(*part) for part in self.region)
            rows_and_columns = rows, columns
        return StackRequest(
            observation=observation,
            calibration=tuple(calibration),
            config=self.config,
            channels=self.channels,
            is_put_together=self.is_put_together,
            training_frames=self.training_frames,
            region=rows_and_columns,
            device=self.device,
            threads=self.threads,
            dtype=self.dtype,
            with_residual=self.with_residual,
        )


def with_paths(stacks: Sequence[KnownStack], paths: Sequence[str]) -> list[KnownStack]:
    """Return stacks with the files that they were read from, where they are known."""
    known = [*paths, *[""] * len(stacks)]
    return [replace(s, path=path) for s, path in zip(stacks, known, strict=False)]


@dataclass(frozen=True)
class _Group:
    """Frames that have one fingerprint."""

    frames: tuple[Frames, ...]


def read_stacks(
    request: StackRequest, stop: StopToken
) -> Generator[Event, None, list[KnownStack]]:
    """Read every frame of a request's stacks once, and take their fingerprints.

    A frame that is broken shows now, not after the training.

    Returns
    -------
    list of KnownStack
        Image, then recordings; incomplete if stopped. Their paths are not known here.

    Raises
    ------
    BadData  If frames hold values that are not finite.
    """
    stacks = [(request.observation, request.channels)]
    for recording in request.calibration:
        count = recording.frames(0).layout.n_channels
        stacks.append((recording, tuple(range(count))))
    groups = [_group(stack, channels) for stack, channels in stacks]
    digests = yield from read_through(groups, stop)
    return [
        KnownStack(
            name=stack.name,
            path="",
            axes=stack.axes,
            shape=tuple(int(size) for size in stack.data.shape),
            dtype=str(stack.data.dtype),
            channels=channels,
            sha256=digest,
        )
        for (stack, channels), digest in zip(stacks, digests, strict=False)
    ]


def same_stack(
    known: KnownStack, candidates: Sequence[Stack], stop: StopToken
) -> Generator[Event, None, int | None]:
    """Find the stack whose pixels have the fingerprint that is known.

    Returns
    -------
    int or None
        Its number; None if it is none of them, or the user stopped.

    Raises
    ------
    BadData  If frames of a candidate hold values that are not finite.
    """
    for number, candidate in enumerate(candidates):
        group = _group(candidate, known.channels)
        digests = yield from read_through([group], stop)
        if digests == [known.sha256]:
            return number
    return None


def _group(stack: Stack, channels: Sequence[int]) -> _Group:
    return _Group(tuple(stack.frames(channel) for channel in channels))
