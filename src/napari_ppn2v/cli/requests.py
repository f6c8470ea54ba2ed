"""From the options of the command line to the requests of the jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.files.ome_zarr import VERSIONS
from napari_ppn2v.pipeline.cluster import ClusterChoice, require_distributed
from napari_ppn2v.pipeline.file_request import DenoiseRequest, stored_request
from napari_ppn2v.pipeline.inputs import find_images
from napari_ppn2v.pipeline.presets import preset

if TYPE_CHECKING:
    from napari_ppn2v.pipeline.config import RunConfig

DEFAULT_PRESET = "balanced"
_FREE_ON_RESUME = {
    *("out", "resume", "noisy", "target"),
    *("device", "threads", "dask_scheduler", "dask_workers"),
}


def denoise_request(given: dict[str, Any]) -> DenoiseRequest:
    """Make the request from the options given (and no others).

    Raises
    ------
    BadSetting  If options contradict each other, or those of the run to be resumed.
    """
    if given.get("resume"):
        return _resumed(given)
    if not given.get("noisy"):
        raise BadSetting(
            "No noisy image is given. Name at least one, for example: napari-ppn2v "
            "denoise noisy.tif -o denoised.ome.tif"
        )
    if "minutes" in given and "steps" in given:
        raise BadSetting(
            "--minutes and --steps are both given. Minutes are turned into steps, so "
            "give one of the two."
        )
    return DenoiseRequest(
        noisy=tuple(given["noisy"]),
        out=given["out"],
        config=_config(given),
        calibration=tuple(given.get("calibration", ())),
        noise_model=noise_model_file(given.get("noise_model")),
        dark=given.get("dark"),
        camera_maps=tuple(given.get("camera_maps", ())),
        target=tuple(given.get("target", ())),
        target_axes=given.get("target_axes"),
        axes=given.get("axes"),
        calibration_axes=given.get("calibration_axes"),
        channel=channel_number(given.get("channel")),
        frames=given.get("frames", ""),
        minutes=given.get("minutes"),
        device=given.get("device", "auto"),
        threads=given.get("threads"),
        dtype=given.get("dtype", "float32"),
        ome_zarr_version=given.get("ome_zarr_version", VERSIONS[0]),
        as_stack=given.get("as_stack", False),
        cluster=cluster_choice(given.get("dask_scheduler"), given.get("dask_workers")),
        is_overwriting=given.get("overwrite", False),
    )


def channel_number(text: str | None) -> int | str | None:
    """Turn "0", "1"... into numbers and leave "all" and None as they are.

    Raises
    ------
    BadSetting  For anything else.
    """
    if text is None or text.lower() == "all":
        return text and text.lower()
    if not text.isdecimal():
        raise BadSetting(f"The channel is '{text}'. Give a number from 0, or 'all'.")
    return int(text)


def cluster_choice(scheduler: str | None, workers: int | None) -> ClusterChoice | None:
    """Return the Dask cluster that is asked for, None if there is none.

    Raises
    ------
    BadSetting  If both are given, or the package for it is missing.
    """
    if scheduler is None and workers is None:
        return None
    require_distributed()
    if workers == 0:
        raise BadSetting("--dask-workers is 0. It must be at least 1.")
    return ClusterChoice(scheduler=scheduler or "", n_workers=workers or 0)


def noise_model_file(text: str | None) -> Path | None:
    """Return the file of that name or, where there is none, the library's.

    Raises
    ------
    BadSetting  If neither is there.
    """
    if text is None or Path(text).exists():
        return text and Path(text)  # type: ignore[return-value]
    from napari_ppn2v.files.library import NoiseModelLibrary

    library = NoiseModelLibrary()
    entries = library.entries()
    for entry in entries:
        if text in (entry.provenance.name, entry.path.stem):
            return entry.path
    names = ", ".join(f"'{entry.provenance.name}'" for entry in entries) or "none yet"
    raise BadSetting(
        f"There is no noise-model file '{text}', and none of that name in the library "
        f"(it holds {names}). Check the spelling, or fit one with 'noise-model fit'."
    )


def _config(given: dict[str, Any]) -> RunConfig:
    """Start from the preset and change what was asked for."""
    # the computed MMSE estimate is what method pn2v is for
    implied = "pn2v" if given.get("estimate") == "mmse" else None
    config = preset(
        given.get("preset", DEFAULT_PRESET),
        method=given.get("method", implied),
        seed=given.get("seed", 0),
    )
    if "steps" in given:
        if given["steps"] < 2:
            raise BadSetting(f"--steps is {given['steps']}. It must be at least 2.")
        config = config.with_steps(given["steps"])
    if config.needs_targets and "noise_model_kind" in given:
        raise BadSetting(
            f"Method '{config.method}' uses no noise model, but --noise-model-kind is "
            "given. Leave it out, or choose the method refined or pn2v."
        )
    noise_model = _changed(
        config.noise_model, given, kind="noise_model_kind", offset="offset"
    )
    inference = _changed(
        config.inference,
        given,
        estimate="estimate",
        blind="blind",
        tile_size="tile_size",
        posterior_std="posterior_std",
        average_orientations="average_orientations",
    )
    return replace(config, noise_model=noise_model, inference=inference)


def _changed(config: Any, given: dict[str, Any], **names: str) -> Any:
    """Replace fields by the options given; `names` maps fields to options."""
    changes = {field: given[name] for field, name in names.items() if name in given}
    return replace(config, **changes)


def _resumed(given: dict[str, Any]) -> DenoiseRequest:
    """Take the stored request; options given must agree with it."""
    if given.get("overwrite"):
        raise BadSetting(
            "--resume goes on with a run and --overwrite begins it again. Give one."
        )
    if "noise_model" in given:
        given = {**given, "noise_model": noise_model_file(given["noise_model"])}
    stored = stored_request(given["out"])
    conflicts = [
        f"--{name.replace('_', '-')} (given {_shown(value)}, the run has "
        f"{_shown(_stored_value(stored, name))})"
        for name, value in given.items()
        if name not in _FREE_ON_RESUME
        and value is not False
        and _comparable(value) != _comparable(_stored_value(stored, name))
    ]
    noisy = given.get("noisy")
    if noisy and find_images(noisy, as_stack=stored.as_stack) != stored.noisy:
        conflicts.append("the noisy images")
    target = given.get("target")
    if target and find_images(target, as_stack=stored.as_stack) != stored.target:
        conflicts.append("the targets")
    if conflicts:
        raise BadSetting(
            "A resumed run keeps its settings, but these differ: "
            f"{'; '.join(conflicts)}. Leave them out, or begin again with --overwrite."
        )
    chosen = cluster_choice(given.get("dask_scheduler"), given.get("dask_workers"))
    return replace(
        stored,
        cluster=chosen or stored.cluster,
        device=given.get("device", stored.device),
        threads=given.get("threads", stored.threads),
    )


def _stored_value(stored: DenoiseRequest, name: str) -> Any:
    """Return what a stored run has for an option of the command line."""
    config = stored.config
    values = {
        "channel": stored.channel,
        "method": config.method,
        "preset": config.preset,
        "steps": config.n_steps,
        "seed": config.seed,
        "noise_model_kind": config.noise_model.kind,
        "offset": config.noise_model.offset,
        "estimate": config.inference.estimate,
        "blind": config.inference.blind,
        "tile_size": config.inference.tile_size,
        "posterior_std": config.inference.posterior_std,
        "average_orientations": config.inference.average_orientations,
    }
    return values[name] if name in values else getattr(stored, name)


def _comparable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_comparable(item) for item in value]
    return str(value.resolve()) if isinstance(value, Path) else str(value)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)
