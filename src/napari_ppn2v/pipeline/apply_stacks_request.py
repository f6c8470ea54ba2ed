"""What applying a trained model is told. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from napari_ppn2v.core.frames import channel_count
from napari_ppn2v.errors import BadAxes, BadSetting
from napari_ppn2v.events import Event
from napari_ppn2v.files.zarr_reading import is_zarr
from napari_ppn2v.pipeline.config import InferenceConfig
from napari_ppn2v.pipeline.inputs import check_threads, find_images, open_noisy
from napari_ppn2v.pipeline.run_folder import RunFolder, without_suffix
from napari_ppn2v.pipeline.stack_request import DTYPES, Stack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.pipeline.stack_results import StackResult


class TrainedModel(Protocol):
    """A trained model under a name, with one denoiser for each of its channels."""

    @property
    def name(self) -> str:
        """For messages and results."""
        ...

    @property
    def denoisers(self) -> tuple[Denoiser, ...]:
        """One for each channel, in the order of `channels`."""
        ...

    @property
    def channels(self) -> tuple[int, ...]:
        """Numbers of the channels that it was trained on."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChosenStack:
    """A stack, and which of its channels are denoised.

    Attributes
    ----------
    is_put_together : whether the result has a channel axis
    """

    stack: Stack
    channels: tuple[int, ...] = (0,)
    is_put_together: bool = False

    @property
    def n_channels(self) -> int:
        """Number of channels that the stack has."""
        return channel_count(self.stack.data, self.stack.axes)


@dataclass(frozen=True, kw_only=True)
class ApplyStacksRequest:
    """A trained model and the stacks that it is applied to.

    Attributes
    ----------
    inference : estimate and blindness "auto" mean what was chosen in training
    device, threads : where to compute
    dtype : of the results, "float32" or "same" as each stack
    with_residual : also give observation - result
    """

    model: TrainedModel
    stacks: tuple[ChosenStack, ...]
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    device: str = "auto"
    threads: int | None = None
    dtype: str = "float32"
    with_residual: bool = False

    def denoisers(self, chosen: ChosenStack) -> tuple[Denoiser, ...]:
        """Return the denoiser of each channel chosen, set to what is asked for.

        Raises
        ------
        BadAxes  If the model has none for one of them.
        BadSetting  If one of them cannot give what is asked for.
        """
        found = denoisers_for(
            self.model, chosen.channels, chosen.n_channels, chosen.stack.name
        )
        return tuple(settled(denoiser, self.inference) for denoiser in found)

    def check(self) -> None:
        """Refuse what would fail later, without reading pixels.

        Raises
        ------
        BadAxes, BadData, BadSetting
        """
        _check_how(self.dtype, self.threads)
        if not self.stacks:
            raise BadSetting("No image is chosen. Choose at least one.")
        for chosen in self.stacks:
            if not chosen.channels:
                raise BadSetting(
                    f"No channel of “{chosen.stack.name}” is chosen. Choose at least "
                    "one."
                )
            self.denoisers(chosen)
            for channel in chosen.channels:
                chosen.stack.frames(channel)


@dataclass(frozen=True, kw_only=True)
class ApplyFilesRequest:
    """A trained model and the image files that it is applied to.

    Attributes
    ----------
    images : files, folders of images, or patterns in a folder
    out : folder of the results; made where it is missing
    axes : of every file, None for what the files say
    channel : a number, "all", or None where there is but one
    is_replacing : whether results that are there already are replaced
    others : as for `ApplyStacksRequest`
    """

    model: TrainedModel
    images: tuple[Path, ...]
    out: Path
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    axes: str | None = None
    channel: int | str | None = None
    device: str = "auto"
    threads: int | None = None
    dtype: str = "float32"
    is_replacing: bool = False

    def results(self) -> tuple[Path, ...]:
        """Return the files that will be written, uncertainties included.

        Raises
        ------
        BadFile  If there is no image.
        BadSetting  If the output cannot be written to as it is named.
        """
        if self.out.is_file() or is_zarr(self.out):
            raise BadSetting(
                f"The output {self.out.name} is an image. Choose a folder for the "
                "results."
            )
        names = [without_suffix(path.name) for path in find_images(self.images)]
        files = RunFolder.for_output(self.out, names)
        if not self.inference.posterior_std:
            return files.results
        return (*files.results, *(files.posterior_std(r) for r in files.results))

    def check(self) -> None:
        """Refuse what would fail later; only the first image is opened, and not read.

        Raises
        ------
        BadAxes, BadData, BadFile, BadSetting
        """
        _check_how(self.dtype, self.threads)
        for denoiser in self.model.denoisers:
            settled(denoiser, self.inference)
        first = find_images(self.images)[:1]
        (image,) = open_noisy(first, self.axes, self.channel, "")
        count = channel_count(image.source.data, image.source.axes)
        denoisers_for(self.model, image.channels, count, image.path.name)
        there = [path for path in self.results() if path.exists()]
        if there and not self.is_replacing:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            verb = "are" if len(there) > 1 else "is"
            raise BadSetting(
                f"{there[0].name}{more} {verb} in “{self.out.name}” already. Tick "
                "“Replace results that are there”, or choose another output folder."
            )


@dataclass(frozen=True, slots=True)
class StackDenoised(Event):
    """One of the stacks is done.

    Attributes
    ----------
    index : of the stack in the request
    denoisers : that made it, one for each channel
    provenance : how it was made, as JSON can hold it
    """

    index: int
    result: StackResult
    denoisers: tuple[Denoiser, ...]
    provenance: dict[str, Any]


def usual_channels(
    model: TrainedModel, n_channels: int, name: str
) -> tuple[tuple[int, ...], bool]:
    """Return which channels of an image a model is meant for.

    Parameters
    ----------
    n_channels : that the image has
    name : of the image, for messages

    Returns
    -------
    channels : tuple of int
    is_put_together : bool
        Whether the result has a channel axis.

    Raises
    ------
    BadAxes  If that cannot be told from the numbers of channels.
    """
    if n_channels == 1 and len(model.denoisers) == 1:
        return (0,), False
    if n_channels > 1 and tuple(sorted(model.channels)) == tuple(range(n_channels)):
        return tuple(range(n_channels)), True
    raise _mismatch(model, n_channels, name)


def denoisers_for(
    model: TrainedModel, channels: Sequence[int], n_channels: int, name: str
) -> tuple[Denoiser, ...]:
    """Return the denoisers for some of the `n_channels` channels of an image.

    A model of one channel may be applied to any one channel of an image.

    Raises
    ------
    BadAxes  If there is none for one of them.
    """
    if len(channels) == 1 and len(model.denoisers) == 1:
        return model.denoisers
    if n_channels == 1:
        raise _mismatch(model, n_channels, name)
    known = dict(zip(model.channels, model.denoisers, strict=False))
    if len(model.denoisers) == 1 or any(channel not in known for channel in channels):
        raise _mismatch(model, n_channels, name, chosen=tuple(channels))
    return tuple(known[channel] for channel in channels)


def settled(denoiser: Denoiser, wanted: InferenceConfig) -> Denoiser:
    """Return a denoiser that gives the estimate asked for, in the way asked for.

    Raises
    ------
    BadSetting  If it cannot.
    """
    if wanted.estimate != "auto":
        denoiser.require(wanted.estimate)
        denoiser = replace(
            denoiser,
            estimate=wanted.estimate,
            reason=f"{wanted.estimate}, as asked for",
        )
    if wanted.blind == "yes":
        denoiser.require_blind()
    if wanted.blind != "auto":
        how = "blind" if wanted.blind == "yes" else "in one pass"
        denoiser = replace(
            denoiser,
            is_blind=wanted.blind == "yes",
            reason=f"{denoiser.estimate} {how}, as asked for",
        )
    if wanted.posterior_std:
        denoiser.require_posterior_std()
    if wanted.average_orientations:
        denoiser = replace(denoiser, averages_orientations=True)
    return denoiser


def _check_how(dtype: str, threads: int | None) -> None:
    check_threads(threads)
    if dtype not in DTYPES:
        raise BadSetting(
            f"The type of the result is '{dtype}'. Choose one of: {', '.join(DTYPES)}."
        )


def _mismatch(
    model: TrainedModel,
    n_channels: int,
    name: str,
    *,
    chosen: tuple[int, ...] | None = None,
) -> BadAxes:
    """Say how channels of image and model differ, and what to do."""
    count = len(model.denoisers)
    trained = "1 channel" if count == 1 else f"{count} channels"
    if count > 1:
        trained += f" ({', '.join(str(channel) for channel in model.channels)})"
    if chosen is not None and len(chosen) == 1:
        what = f"channel {chosen[0]} of “{name}” is chosen"
    elif chosen is not None:
        what = f"{len(chosen)} channels of “{name}” are chosen"
    else:
        what = f"“{name}” has {n_channels} channel{'s' * (n_channels != 1)}"
    if n_channels == 1:
        advice = "Choose a model of one channel."
    elif count > 1:
        advice = "Choose a model that was trained on the channels of this image."
    elif chosen is None:
        advice = (
            "Apply it to this image by itself, where one of its channels can be chosen."
        )
    else:
        advice = "Choose one of them, or a model that was trained on them all."
    return BadAxes(f"The model “{model.name}” is for {trained}, but {what}. {advice}")
