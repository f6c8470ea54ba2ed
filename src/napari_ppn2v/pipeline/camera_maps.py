"""Camera maps in runs: frames corrected, remembered with the model, asked for again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.camera_maps import CameraMaps, CommonCamera, CorrectedFrames
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.pipeline.inputs import OpenedImage

CAMERA_MAPS = "camera_maps"  # in the provenance of a denoiser


def corrected(
    frames: Frames, maps: CameraMaps | None, to: CommonCamera | None = None
) -> Frames:
    """Return frames corrected with the maps, or as they are without."""
    return frames if maps is None else maps.correct(frames, to)


def corrected_images(
    images: tuple[OpenedImage, ...],
    maps: CameraMaps | None,
    to: CommonCamera | None = None,
) -> tuple[OpenedImage, ...]:
    """Return opened images whose frames are corrected."""
    if maps is None:
        return images
    return tuple(
        replace(image, frames=tuple(maps.correct(part, to) for part in image.frames))
        for image in images
    )


def trained_camera(provenance: Mapping[str, Any]) -> CommonCamera | None:
    """Offset and gain that a model was trained on; None if without camera maps."""
    known = provenance.get(CAMERA_MAPS)
    if not known:
        return None
    return CommonCamera(float(known["common_offset"]), float(known["common_gain"]))


def required_camera(
    provenance: Mapping[str, Any], maps: CameraMaps | None
) -> CommonCamera | None:
    """Check that a model trained with camera maps is given some, and only then.

    Returns
    -------
    Offset and gain to correct to.

    Raises
    ------
    BadSetting
    """
    trained = trained_camera(provenance)
    if trained is not None and maps is None:
        raise BadSetting(_asks_for_maps(provenance))
    if trained is None and maps is not None:
        raise BadSetting(
            "This model was trained on frames as the camera wrote them, without "
            "camera maps. Leave the maps out, or train a model with them."
        )
    return trained


def check_corrected(provenance: Mapping[str, Any], frames: Any) -> None:
    """Refuse frames as the camera wrote them where a model was trained with maps.

    Raises
    ------
    BadSetting
    """
    if trained_camera(provenance) is not None and not isinstance(
        frames, CorrectedFrames
    ):
        raise BadSetting(_asks_for_maps(provenance))


def _asks_for_maps(provenance: Mapping[str, Any]) -> str:
    known = provenance[CAMERA_MAPS]
    name = known.get("name") or "maps of its camera"
    return (
        f"This model was trained on frames corrected with camera maps ({name}). Give "
        "the maps of the camera that recorded these frames: --camera-maps on the "
        "command line, camera_maps in Python."
    )
