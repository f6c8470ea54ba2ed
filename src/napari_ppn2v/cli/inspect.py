"""`inspect`: what a noise model says about the camera, and whether it is right."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.output import show, table
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from napari_ppn2v.core.camera_readout import CameraReadout
    from napari_ppn2v.core.noise_models import NoiseModel
    from napari_ppn2v.pipeline.inspection import Inspection


def inspect(
    file: Annotated[
        str | None,
        typer.Argument(
            help="Noise-model file, a name in the library, or a model (.ppn2v). Leave "
            "it out to read the camera from a calibration alone.",
            show_default=False,
        ),
    ] = None,
    calibration: o.Calibration = None,
    signal: Annotated[
        Path | None,
        typer.Option(help="Clean (or well denoised) image.", metavar="IMAGE"),
    ] = None,
    observation: Annotated[
        Path | None,
        typer.Option(
            help="Noisy frames: with --signal as pairs; alone to check whether the "
            "noise model is still right for them.",
            metavar="IMAGE",
        ),
    ] = None,
    axes: o.Axes = None,
    channel: Annotated[int, typer.Option(help="Channel, from 0.")] = 0,
    dark: Annotated[
        Path | None,
        typer.Option(
            help="Recording without light, which tells offset and read noise.",
            metavar="STACK",
        ),
    ] = None,
    offset: Annotated[
        float | None, typer.Option(help="Grey value without light.", metavar="ADU")
    ] = None,
    read_noise: Annotated[
        float | None, typer.Option(help="Noise without light.", metavar="ADU")
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(help="scmos (also CCD) or emccd, if known.", metavar="NAME"),
    ] = None,
    camera_maps: o.CameraMaps = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            help="Another noise model to compare with; repeat for several.",
            metavar="FILE",
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Also fit new noise models and compare."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON.")
    ] = False,
) -> None:
    """Say what a noise model tells about the camera, and whether it is right.

    Gain, offset, read noise and excess noise factor, each with its uncertainty, and
    what cannot be told without a dark recording. With a calibration, or noisy frames:
    how well the model fits them, range by range, and which model to use.

    For example:

        napari-ppn2v inspect camera.npz

        napari-ppn2v inspect camera.npz --calibration today.tif --dark dark.tif

        napari-ppn2v inspect model.ppn2v --observation new_recording.tif

        napari-ppn2v inspect --calibration today.tif --refit --json
    """
    from napari_ppn2v.cli.noise_model import maps_of, pairs_of
    from napari_ppn2v.pipeline.camera_maps import corrected
    from napari_ppn2v.pipeline.inputs import open_frames
    from napari_ppn2v.pipeline.inspection import (
        InspectionRequest,
        inspect_job,
        known_camera,
    )

    maps = maps_of(camera_maps)
    pairs = frames = None
    if calibration or signal is not None:
        noisy = None if calibration else observation
        pairs = pairs_of(calibration, signal, noisy, axes, channel, maps).histogram()
    elif observation is not None:
        frames = corrected(open_frames(observation, axes, channel), maps)
    lights_off = None if dark is None else open_frames(dark, None, channel)
    model, name = _opened(file)
    request = InspectionRequest(
        model=model,
        name=name,
        pairs=pairs,
        frames=frames,
        known=known_camera(
            dark=None if lights_off is None else corrected(lights_off, maps),
            offset=offset,
            read_noise=read_noise,
            camera=camera,  # type: ignore[arg-type]
        ),
        others=_others(against, name),
        is_refitting=refit,
    )
    found = run_with_progress(inspect_job(request))
    show(found.as_json() if json else in_words(found))


def in_words(found: "Inspection") -> str:
    """Lay everything out for people."""
    parts = []
    if found.name:
        parts.append(f"Noise model: {found.name} ({found.kind})")
    parts.append(camera_in_words(found.camera))
    if found.quality:
        parts.append(_quality_table(found))
    if found.drift is not None:
        outside = found.drift.share_outside
        parts.append(
            found.drift.reason
            + (f" {outside:.1%} lie outside of its signals." if outside > 0.001 else "")
        )
    if found.recommendation is not None:
        parts.append(_ranking(found))
    return "\n\n".join(parts)


def camera_in_words(camera: "CameraReadout") -> str:
    """Return the camera readout as lines."""
    low, high = camera.signal_range
    electrons = camera.read_noise_electrons
    rows = [
        ("Slope of the variance", camera.slope, "grey values (gain x excess noise)"),
        ("Variance reaches zero at", camera.zero, "grey values"),
        ("Gain", camera.gain, "grey values per electron"),
        ("Offset", camera.offset, "grey values"),
        (
            "Read noise",
            camera.read_noise,
            "grey values" + (f", {electrons:.3g} electrons" if electrons else ""),
        ),
        ("Excess noise factor", camera.excess_noise_factor, ""),
    ]
    lines = [f"Camera, read from signals of {low:.5g} to {high:.5g} grey values"]
    for name, value, unit in rows:
        told = "not told" if value is None else f"{value} {unit}".rstrip()
        lines.append(f"  {name + ':':<26}{told}")
    lines += [f"  - {note}" for note in camera.notes]
    lines.append(f"  Convention: {camera.convention}")
    return "\n".join(lines)


def _quality_table(found: "Inspection") -> str:
    head = ("signal", "pixels", "bias", "variance", "KS", "nats/pixel", "fit")
    rows = [
        (
            f"{item.signal_low:.1f} - {item.signal_high:.1f}",
            item.n_pairs,
            f"{item.bias:+.2g}",
            f"{item.variance_ratio:.3f}",
            f"{item.ks:.3f}",
            f"{item.log_likelihood:.4f}",
            item.in_words,
        )
        for item in found.quality
    ]
    return "Fit on pixels kept apart\n" + table(head, rows)


def _ranking(found: "Inspection") -> str:
    assert found.recommendation is not None
    head = ("noise model", "kind", "nats/pixel", "behind", "fit")
    rows = [
        (
            item.name,
            item.kind,
            f"{item.log_likelihood:.4f}",
            f"{item.behind:.4f} ± {item.behind_error:.4f}",
            item.verdict,
        )
        for item in found.recommendation.ranking
    ]
    words = f"Recommended: {found.recommendation.reason}"
    return f"{table(head, rows)}\n{words}"


def _opened(file: str | None) -> tuple[Any, str]:
    """Open a noise model by file or name, or the one of a trained model."""
    if file is None:
        return None, ""
    if Path(file).suffix.lower() == ".ppn2v":
        from napari_ppn2v.files.model_file import load_model
        from napari_ppn2v.pipeline.inspection import noise_model_of

        return noise_model_of(load_model(Path(file))), Path(file).name
    from napari_ppn2v.cli.requests import noise_model_file
    from napari_ppn2v.files.noise_model_files import load_noise_model

    path = noise_model_file(file)
    assert path is not None
    return load_noise_model(path), path.name


def _others(paths: list[Path] | None, name: str) -> "dict[str, NoiseModel]":
    from napari_ppn2v.files.noise_model_files import load_noise_model

    found = {str(path): load_noise_model(path) for path in paths or ()}
    if name in found:
        raise BadSetting(f"{name} is compared with itself. Name another noise model.")
    return found
