"""The checks of a result from Python, for arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_ppn2v.core.devices import choose_device
from napari_ppn2v.core.devices import threads as with_threads
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Event, drain
from napari_ppn2v.pipeline.arrays import noise_source
from napari_ppn2v.pipeline.presets import preset as _preset
from napari_ppn2v.pipeline.repeats_check import RepeatsCheck, check_with_repeats
from napari_ppn2v.pipeline.result_check import ResultCheck
from napari_ppn2v.pipeline.result_check import check_result as _check_result
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.pipeline.config import RunConfig

OnEvent = Callable[[Event], None]


def check_result(
    denoiser: Denoiser,
    observation: Any,
    *,
    axes: str | None = None,
    channel: int | None = None,
    is_bootstrapped: bool = True,
    on_event: OnEvent | None = None,
    stop: StopToken | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> ResultCheck | None:
    """Say without ground truth whether a denoised stack can be believed.

    Up to 24 frames are denoised, as they are and once more with simulated noise.

    Parameters
    ----------
    denoiser : from `train`, `denoise` or `load_model`; needs a noise model
    observation : array-like, as for `denoise`
    axes, channel, device, threads : as for `denoise`
    is_bootstrapped : whether the noise model was fitted to the same data
    on_event : called with each event
    stop : ends it early; the frames done by then are judged

    Returns
    -------
    ResultCheck
        `findings` in words, the `residual`, expected `errors` per image, `std_factor`;
        None if stopped before the first frame was done.

    Raises
    ------
    PPN2VError  One of its kinds.

    Examples
    --------
    >>> check = ppn2v.check_result(result.denoiser, stack)  # doctest: +SKIP
    >>> check.errors.rmse, check.errors.psnr  # doctest: +SKIP
    """
    job = _check_result(
        denoiser.to(choose_device(device)),
        [as_frames(observation, axes, channel)],
        stop=stop or StopToken(),
        is_bootstrapped=is_bootstrapped,
    )
    with with_threads(threads):
        return drain(job, on_event)


def check_repeats(
    observation: Any,
    *,
    axes: str | None = None,
    channel: int | None = None,
    noise_model: NoiseModel | None = None,
    preset: str = "balanced",
    method: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    config: RunConfig | None = None,
    on_event: OnEvent | None = None,
    stop: StopToken | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> RepeatsCheck | None:
    """Measure the error of denoising with repeats of a static scene.

    Trains on the odd frames and scores them with the mean of the even ones, whose own
    noise is taken out, and the reverse.

    Parameters
    ----------
    observation : array-like with a T axis, at least 4 frames of one static scene
    noise_model : from other data; bootstrapped from each half by default
    others : as for `train`

    Returns
    -------
    RepeatsCheck  With `rmse`, `standard_error` and `scores`; None if stopped.

    Raises
    ------
    PPN2VError  One of its kinds; BadData if the scene moves or there are few frames.
    """
    settings = config or _preset(preset, method=method, seed=seed)
    if steps is not None:
        settings = settings.with_steps(steps)
    if noise_model is not None and not settings.uses_noise_model:
        raise BadSetting(
            f"The method {settings.method} uses no noise model. Leave it out, or "
            "choose refined or pn2v."
        )
    job = check_with_repeats(
        as_frames(observation, axes, channel),
        settings,
        noise_source((), noise_model),
        device=choose_device(device),
        stop=stop or StopToken(),
    )
    with with_threads(threads):
        return drain(job, on_event)
