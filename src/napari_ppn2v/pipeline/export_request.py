"""What exporting a model at hand is told. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_ppn2v.core.frames import channel_count
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.camera_maps import trained_camera
from napari_ppn2v.pipeline.config import InferenceConfig

if TYPE_CHECKING:
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.files.bioimage_card import ModelCard
    from napari_ppn2v.pipeline.apply_stacks_request import TrainedModel
    from napari_ppn2v.pipeline.stack_request import Stack


@dataclass(frozen=True, kw_only=True)
class ExportModelRequest:
    """A trained model at hand, and what others are told of it.

    Attributes
    ----------
    model : of which one channel is exported
    card : what others read of it
    channel : number of that channel, one of `model.channels`
    inference : estimate, blindness, orientations and uncertainty; "auto" means what was
        chosen in training
    image : a recording like those it is for; a part of its first frame, of that channel
        where it has several, becomes the test image. None: one is simulated
    threads : to compute with
    """

    model: TrainedModel
    card: ModelCard
    channel: int = 0
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    image: Stack | None = None
    threads: int | None = None

    def denoiser(self) -> Denoiser:
        """Return the denoiser of the channel, set to what is asked for.

        Raises
        ------
        BadSetting  If it cannot give that.
        """
        known = dict(zip(self.model.channels, self.model.denoisers, strict=False))
        return settled(known[self.channel], self.inference)

    @property
    def image_channel(self) -> int | None:
        """The channel of the image that is used; None where it has but one."""
        image = self.image
        if image is None or channel_count(image.data, image.axes) == 1:
            return None
        return self.channel

    def frames(self) -> Frames | None:
        """Return the frames of the image, unread; raises BadAxes or BadData."""
        return None if self.image is None else self.image.frames(self.image_channel)

    def check(self) -> None:
        """Refuse what would fail later, without reading pixels.

        Raises
        ------
        BadAxes, BadData, BadSetting
        """
        with_std = self.inference.posterior_std
        check_can_leave(self.denoiser(), with_std=with_std)
        self.frames()


def check_can_leave(denoiser: Denoiser, *, with_std: bool) -> None:
    """Refuse a model that would be wrong, or could not run, in other programs.

    Raises
    ------
    BadSetting
    """
    if with_std:
        denoiser.require_posterior_std()
    if trained_camera(denoiser.provenance) is not None:
        raise BadSetting(
            "This model was trained on frames corrected with camera maps. Other "
            "programs do not correct frames, so it would be wrong there. Denoise with "
            "napari-ppn2v apply --camera-maps, or train a model without maps and "
            "export that."
        )
