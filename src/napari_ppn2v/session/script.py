"""Runs as Python scripts: what "Copy as Python" puts on the clipboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.session.script_text import (
    INDENT,
    ArraySource,
    Script,
    config_options,
    range_text,
    slice_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_ppn2v.pipeline.stack_request import StackRequest

__all__ = ["ArraySource", "apply_script", "python_script"]


def python_script(
    request: StackRequest,
    source: ArraySource,
    *,
    calibration: Sequence[ArraySource] = (),
    noise_model: str | Path = "",
    times_longer: int = 0,
    notes: Sequence[str] = (),
) -> str:
    """Write a script that trains on a stack and denoises it, as a request says.

    Parameters
    ----------
    request : what was done
    source : where `request.observation` comes from
    calibration : where each of `request.calibration` comes from
    noise_model : file of `request.noise_model`; without one, the script asks for it
    times_longer : how often the model was trained longer afterwards
    notes : sentences for its beginning

    Returns
    -------
    str
        Run, it leaves the result in `image`, and in files beside it.
    """
    script = Script(
        f"Denoise '{source.layer}' by itself (Probabilistic Noise2Void).", notes
    )
    script.load("observation", source)
    call = _common_options(request, source)
    for number, recording in enumerate(calibration):
        script.load(_recording_name(number, len(calibration)), recording)
    call |= _noise_options(script, request, calibration, noise_model)
    call |= _training_options(request)
    call |= config_options(script, request.config)
    if times_longer:
        call["times_longer"] = str(times_longer)
    if request.config.inference.posterior_std:
        call["posterior_std"] = "True"
    _denoise(script, request, source, "ppn2v.denoise", ["observation"], call)
    _save(script, request, source, has_model=True)
    return script.text()


def apply_script(
    request: StackRequest,
    source: ArraySource,
    *,
    models: Sequence[str | Path],
    notes: Sequence[str] = (),
) -> str:
    """Write a script that denoises a stack with trained models.

    Parameters
    ----------
    request : what was done; of its settings those of the inference
    source : where `request.observation` comes from
    models : file of the trained model, or one file for each channel

    Returns
    -------
    str
        Run, it leaves the result in `image`, and in files beside it.
    """
    script = Script(f"Denoise '{source.layer}' with a trained model.", notes)
    script.load("observation", source)
    call = _common_options(request, source)
    call["tile_size"] = str(request.config.inference.tile_size)
    if request.config.inference.posterior_std:
        call["posterior_std"] = "True"
    if len(models) == 1:
        script.add(f"denoiser = ppn2v.load_model({str(models[0])!r})")
        first = "denoiser"
    else:
        files = [str(path) for path in models]
        pairs = dict(zip(request.channels, files, strict=True))
        script.add(f"models = {pairs!r}  # one for each channel")
        first = "ppn2v.load_model(models[channel])"
    _denoise(script, request, source, "ppn2v.apply", [first, "observation"], call)
    _save(script, request, source, has_model=False)
    return script.text()


def _common_options(request: StackRequest, source: ArraySource) -> dict[str, str]:
    options = {"axes": repr(source.axes)}
    if "C" in source.axes:
        options["channel"] = str(request.channels[0])
    if request.device != "auto":
        options["device"] = repr(request.device)
    if request.threads is not None:
        options["threads"] = str(request.threads)
    return options


def _training_options(request: StackRequest) -> dict[str, str]:
    options = {}
    if request.training_frames is not None:
        options["training_frames"] = range_text(request.training_frames)
    if request.region is not None:
        rows, columns = (slice_text(part) for part in request.region)
        options["region"] = f"({rows}, {columns})"
    return options


def _noise_options(
    script: Script,
    request: StackRequest,
    calibration: Sequence[ArraySource],
    path: str | Path,
) -> dict[str, str]:
    if request.noise_model is not None or path:
        missing = "" if path else "  # save the noise model of the viewer first"
        name = str(path or "noise model.npz")
        script.add(f"noise_model = ppn2v.load_noise_model({name!r}){missing}")
        return {"noise_model": "noise_model"}
    if not calibration:
        return {}
    axes = {recording.axes for recording in calibration}
    if len(axes) > 1:
        raise BadSetting(
            f"The calibration recordings have different axes ({', '.join(axes)}). "
            "From Python they need the same; use recordings of the same axes."
        )
    names = [_recording_name(n, len(calibration)) for n in range(len(calibration))]
    value = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
    return {"calibration": value, "calibration_axes": repr(axes.pop())}


def _recording_name(number: int, count: int) -> str:
    return "calibration" if count == 1 else f"calibration_{number + 1}"


def _denoise(
    script: Script,
    request: StackRequest,
    source: ArraySource,
    function: str,
    arguments: Sequence[str],
    options: dict[str, str],
) -> None:
    """Add the call, for each channel where several are put together."""
    if request.dtype == "same" and not request.with_residual:
        options = {**options, "dtype": "'same'"}
    lines = [*arguments, *(f"{name}={value}" for name, value in options.items())]
    if not _has_several(request, source):
        script.add("", f"result = {function}(")
        script.add(*(f"{INDENT}{line}," for line in lines), ")")
        script.add("image = result.image")
        _add_residual(script, request, source, request.channels[0])
        return
    lines = [line if "channel=" not in line else "channel=channel" for line in lines]
    axis = source.axes.index("C")
    script.need("import numpy as np")
    script.add("", "results = [", f"{INDENT}{function}(")
    script.add(*(f"{INDENT * 2}{line}," for line in lines), f"{INDENT})")
    script.add(f"{INDENT}for channel in {range_text(request.channels)}", "]")
    script.add(f"image = np.stack([result.image for result in results], axis={axis})")
    _add_residual(script, request, source, None)


def _has_several(request: StackRequest, source: ArraySource) -> bool:
    """Whether the result has a channel axis that one call does not give."""
    if not request.is_put_together or "C" not in source.axes:
        return False
    n_channels = request.observation.data.shape[source.axes.index("C")]
    return bool(n_channels > 1)


def _add_residual(
    script: Script, request: StackRequest, source: ArraySource, channel: int | None
) -> None:
    if not request.with_residual:
        return
    script.need("import numpy as np")
    script.add("seen = np.asarray(observation, np.float32)")
    if "C" in source.axes:
        axis = source.axes.index("C")
        if channel is None:
            chosen = f"{list(request.channels)!r}"
            script.add(f"seen = np.take(seen, {chosen}, axis={axis})")
        else:
            script.add(f"seen = np.take(seen, {channel}, axis={axis})")
            script.add("seen = seen.reshape(image.shape)")
    script.add("residual = seen - image")
    if request.dtype == "same":
        script.need("from napari_ppn2v.core.conversion import as_dtype")
        script.add("image, _, _ = as_dtype(image, observation.dtype)")


def _save(
    script: Script, request: StackRequest, source: ArraySource, *, has_model: bool
) -> None:
    several = _has_several(request, source)
    stem = _file_stem(source)
    axes = source.axes
    sizes = request.observation.data.shape
    if "C" in axes and not several and sizes[axes.index("C")] > 1:
        axes = axes.replace("C", "")
    script.need("import tifffile")
    script.add("")
    script.add(_imwrite(f"{stem}_denoised.tif", "image", axes))
    if request.config.inference.posterior_std:
        value = "result.posterior_std"
        if several:
            value = "posterior_std"
            axis = axes.index("C")
            script.add(
                "posterior_std = np.stack(",
                f"{INDENT}[result.posterior_std for result in results], axis={axis}",
                ")",
            )
        script.add(_imwrite(f"{stem}_posterior_std.tif", value, axes))
    if request.with_residual:
        script.add(_imwrite(f"{stem}_residual.tif", "residual", axes))
    if not has_model:
        return
    if several:
        chosen = range_text(request.channels)
        name = f'f"{stem}_c{{channel}}.ppn2v"'
        script.add(f"for channel, result in zip({chosen}, results, strict=True):")
        script.add(f"{INDENT}ppn2v.save_model({name}, result.denoiser)")
    else:
        script.add(f"ppn2v.save_model({f'{stem}.ppn2v'!r}, result.denoiser)")


def _imwrite(name: str, value: str, axes: str) -> str:
    options = f"photometric='minisblack', metadata={{'axes': {axes!r}}}"
    return f"tifffile.imwrite({name!r}, {value}, {options})"


def _file_stem(source: ArraySource) -> str:
    """Return a name that every file system allows."""
    name = Path(source.path).stem if source.is_read_from_file() else source.layer
    kept = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    return kept.strip("_") or "image"
