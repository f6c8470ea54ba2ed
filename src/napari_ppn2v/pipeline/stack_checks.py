"""The data check for arrays in memory: what the viewer asks before a training.

Importing this loads no torch, and neither do its jobs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_ppn2v.core.checks.findings import worst_of_each
from napari_ppn2v.pipeline.checking import check_opened
from napari_ppn2v.pipeline.data_check import DataCheck, check_calibration

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.stack_request import Stack
    from napari_ppn2v.stop import StopToken


def check_observation(
    observation: Stack,
    channels: Sequence[int],
    stop: StopToken,
    *,
    recording: Stack | None = None,
) -> Generator[Event, None, DataCheck]:
    """Check a noisy image, channel by channel, with its calibration if there is one.

    Parameters
    ----------
    channels : numbers of those that are to be denoised
    recording : calibration recording, checked too and compared with the image

    Returns
    -------
    DataCheck
        Of several channels the worst answer to each question, which then begins with
        the number of its channel.

    Raises
    ------
    BadAxes, BadData
    """
    done: list[DataCheck] = []
    for channel in channels:
        scenes = () if recording is None else (recording.recording(channel),)
        sources = (observation.frames(channel),)
        found = yield from check_opened(sources, scenes, stop)
        done.append(found if len(channels) == 1 else _of_channel(found, channel))
        if stop.is_stopped:
            break
    return _joined(done)


def check_recording(
    recording: Stack,
    channel: int,
    stop: StopToken,
    *,
    observation: Stack | None = None,
) -> Generator[Event, None, DataCheck]:
    """Check a calibration recording.

    Parameters
    ----------
    channel : of the recording and the image, where they have several
    observation : image that its signals are compared with

    Raises
    ------
    BadAxes, BadData
    """
    frames = None if observation is None else observation.recording(channel)
    return (
        yield from check_calibration(recording.recording(channel), frames, stop=stop)
    )


def _of_channel(check: DataCheck, channel: int) -> DataCheck:
    known = check.calibration
    return replace(
        check,
        findings=tuple(
            replace(each, sentence=f"Channel {channel}: {each.sentence}")
            for each in check.findings
        ),
        calibration=None if known is None else _of_channel(known, channel),
    )


def _joined(checks: Sequence[DataCheck]) -> DataCheck:
    """Join the checks of several channels; of each question the worst answer stays."""
    if len(checks) == 1:
        return checks[0]
    known = [each.calibration for each in checks if each.calibration is not None]
    return replace(
        checks[-1],
        findings=worst_of_each(f for each in checks for f in each.findings),
        read=tuple(part for each in checks for part in each.read),
        seconds=sum(each.seconds for each in checks),
        calibration=_joined(known) if known else None,
    )
