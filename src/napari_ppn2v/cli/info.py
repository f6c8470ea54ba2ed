"""`info`: what a file is and what was understood of it."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.output import show
from napari_ppn2v.cli.package_info import package_info
from napari_ppn2v.errors import BadFile
from napari_ppn2v.files.bioimage_model import is_bioimage_model


def info(
    file: Annotated[
        Path,
        typer.Argument(
            help="Image, model (.ppn2v), noise model, or folder of a run.",
            show_default=False,
        ),
    ],
    axes: o.Axes = None,
) -> None:
    """Say what a file is: an image, a model, a noise model or a run.

    For example:

        napari-ppn2v info noisy.tif

        napari-ppn2v info results/model.ppn2v
    """
    show(describe(file, axes))


def describe(file: Path, axes: str | None = None) -> str:
    """Say what a file is, in lines.

    Raises
    ------
    BadFile  If it is none of ours, damaged, or lacks what it should tell.
    """
    from napari_ppn2v.files.lazy import DAMAGED

    try:
        return _described(file, axes)
    except DAMAGED as error:
        raise BadFile(
            f"{file.name} is of a kind that is known here, but what it says about "
            f"itself is damaged or incomplete ({type(error).__name__}: {error}). Use "
            "another copy, or make it again."
        ) from error


def _described(file: Path, axes: str | None) -> str:
    from napari_ppn2v.pipeline.run_folder import RECORD

    if (file / RECORD).is_file() or file.name == RECORD:
        return _run(file if file.name == RECORD else file / RECORD)
    if file.suffix.lower() == ".ppn2v":
        return _model(file)
    if file.suffix.lower() in (".npz", ".npy") and _is_noise_model(file):
        return _noise_model(file)
    if file.suffix.lower() == ".zip" and is_bioimage_model(file):
        return package_info(file)
    return _image(file, axes)


def _image(path: Path, axes: str | None) -> str:
    from napari_ppn2v.core.frames import as_frames, channel_count
    from napari_ppn2v.files.images import open_image

    source = open_image(path, axes)
    count = channel_count(source.data, source.axes)
    frames = as_frames(source.data, source.axes, 0 if count > 1 else None)
    lines = [
        f"Image: {source.name} ({source.metadata.get('format', 'unknown format')})",
        f"Shape: {' x '.join(str(n) for n in source.shape)}, {source.dtype}",
        f"Axes: {frames.layout.axes}"
        + (" (guessed; name them with --axes if wrong)" if source.axes is None else ""),
        f"Understood as: {frames.describe()}",
    ]
    if count > 1:
        names = source.metadata.get("channel_names", ())
        lines.append(f"Channels: {count} {', '.join(str(name) for name in names)}")
    for axis, spacing in source.pixel_size.items():
        lines.append(f"Pixel size {axis}: {spacing.size:g} {spacing.unit}")
    provenance = source.metadata.get("provenance")
    if isinstance(provenance, dict):
        lines += ["Made by:", *_indented(provenance)]
    return "\n".join(lines)


def _model(path: Path) -> str:
    from napari_ppn2v.files.model_file import read_model_header

    header = read_model_header(path)
    noise_model = header.get("noise_model")
    parts = {"Network": header.get("model"), "Refined": header.get("refined")}
    lines = [
        f"Model: {path.name} (schema {header['schema']})",
        *(f"{name}: {_network(part)}" for name, part in parts.items() if part),
        f"Noise model: {noise_model['kind'] if noise_model else 'none'}",
        f"Trained with: {_training(header)}",
        f"Estimate: {header['estimate']}, "
        f"{'blind' if header['is_blind'] else 'in one pass'}",
        f"Reason: {header['reason']}",
        "Made by:",
        *_indented(header.get("provenance") or {}),
    ]
    return "\n".join(lines)


def _training(header: dict) -> str:
    """Say what a network learnt from."""
    from napari_ppn2v.core.denoiser import TARGET_WORDS

    target = header.get("target")
    if target:
        return TARGET_WORDS.get(target, target)
    if header.get("noise_model"):
        return "noisy images alone (Probabilistic Noise2Void)"
    return "noisy images alone (Noise2Void)"


def _network(part: dict) -> str:
    """Say what one network of a model file is."""
    flat = {**part, **part.get("network", {})}
    return ", ".join(
        f"{name} {value}" for name, value in flat.items() if not isinstance(value, dict)
    )


def _noise_model(path: Path) -> str:
    from napari_ppn2v.cli.noise_model import describe_noise_model
    from napari_ppn2v.files.noise_model_files import load_noise_model, read_provenance

    origin = read_provenance(path)
    known = {
        "Name": origin.name,
        "Camera": origin.camera,
        "Gain setting": origin.gain,
        "Date": origin.date,
        "Made from": origin.source,
    }
    lines = [f"{name}: {value}" for name, value in known.items() if value]
    return "\n".join([*lines, describe_noise_model(load_noise_model(path))])


def _is_noise_model(path: Path) -> bool:
    from napari_ppn2v.files.noise_model_files import read_provenance

    if path.suffix.lower() == ".npz":
        return True  # no image of ours, so let the reader say what is wrong
    from napari_ppn2v.files.archives import read_array_header
    from napari_ppn2v.files.noise_model_files import load_noise_model

    try:
        read_provenance(path)
        header = read_array_header(path)
        is_triple = len(header.shape) == 3 and header.shape[0] == 3
        if not is_triple or header.dtype.kind != "f":
            return False
        load_noise_model(path)
    except (BadFile, ValueError, OSError):
        return False
    return True


def _run(path: Path) -> str:
    from napari_ppn2v.pipeline.run_folder import read_record

    record = read_record(path)
    config = record["request"]["config"]
    lines = [
        f"Run: {path.parent} ({record['status']})",
        f"Method: {config['method']}, preset {config['preset']}, "
        f"{record.get('steps')} steps, seed {config['seed']}",
        f"Device: {record.get('software', {}).get('device', 'unknown')}",
    ]
    for item in record["data"]:
        sizes = " x ".join(str(n) for n in item["shape"])
        lines.append(f"Input: {item['file']}, {item['axes']} {sizes}, {item['type']}")
    for item in record.get("targets", []):
        lines.append(f"Target: {item['file']}")
    for channel, found in record["channels"].items():
        noise_model = found.get("noise_model") or {}
        lines.append(
            f"Channel {channel}: estimate {found['estimate']}"
            f"{' (blind)' if found['blind'] else ''}; noise model "
            f"{noise_model.get('name') or noise_model.get('kind') or 'none'}"
        )
        lines += [
            f"  {text}" for text in (noise_model.get("reason"), found["reason"]) if text
        ]
    for stage, seconds in record.get("seconds", {}).items():
        lines.append(f"Time for {stage}: {seconds:.1f} s")
    for item in record.get("results", []):
        lines.append(f"Result: {item['file']}")
    return "\n".join(lines)


def _indented(plain: dict) -> list[str]:
    """Return the first level of a provenance; settings and curves are long."""
    short = {
        key: value
        for key, value in plain.items()
        if not isinstance(value, dict | list) or key in ("software", "data", "targets")
    }
    lines = []
    for key, value in short.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {item}" for name, item in value.items())
        if isinstance(value, list):
            value = ", ".join(str(item.get("file", item)) for item in value)
        lines.append(f"  {key}: {value}")
    return lines
