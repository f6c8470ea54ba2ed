"""`noise-model`: fit, show, convert, and the library."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ppn2v.cli import options as o
from napari_ppn2v.cli.output import say, show, table
from napari_ppn2v.cli.progress import run_with_progress
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from napari_ppn2v.core.camera_maps import CameraMaps
    from napari_ppn2v.core.noise_models import NoiseModel
    from napari_ppn2v.core.pairs import SignalObservationPairs

noise_model_app = typer.Typer(
    help="Fit, look at and convert noise models.", no_args_is_help=True
)
library_app = typer.Typer(
    help="Keep noise models by camera, gain and date.", no_args_is_help=True
)

OVERWRITE = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier file.")
]


@noise_model_app.command()
def fit(
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Noise-model file (.npz).", show_default=False
        ),
    ],
    calibration: Annotated[
        list[Path] | None,
        typer.Option(
            help="Recording of a static scene; repeat for several scenes.",
            metavar="STACK",
        ),
    ] = None,
    signal: Annotated[
        Path | None,
        typer.Option(help="Clean (or well denoised) image.", metavar="IMAGE"),
    ] = None,
    observation: Annotated[
        Path | None,
        typer.Option(help="Noisy frames of the same pixels.", metavar="IMAGE"),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(help="Axes of the images, letters of TZCYX.", metavar="LETTERS"),
    ] = None,
    channel: Annotated[int, typer.Option(help="Channel, from 0.")] = 0,
    kind: Annotated[
        str,
        typer.Option(
            help="auto, gmm, histogram, camera, poisson-gaussian or poisson-gamma."
        ),
    ] = "auto",
    components: Annotated[int, typer.Option(help="Gaussians of the mixture.")] = 3,
    coefficients: Annotated[
        int, typer.Option(help="Coefficients of each polynomial of the signal.")
    ] = 2,
    offset: Annotated[
        float | None,
        typer.Option(
            help="Grey value without light, for camera models.", metavar="ADU"
        ),
    ] = None,
    camera_maps: o.CameraMaps = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw it.", metavar="PNG")
    ] = None,
    overwrite: OVERWRITE = False,
) -> None:
    """Fit a noise model to a calibration recording, or to given pairs.

    For example:

        napari-ppn2v noise-model fit --calibration diaphragm.tif -o camera.npz

        napari-ppn2v noise-model fit --signal mean.tif --observation raw.tif -o gmm.npz
    """
    from napari_ppn2v.core.noise_models import NoiseModelConfig, fit_noise_model
    from napari_ppn2v.files.noise_model_files import Provenance, save_noise_model
    from napari_ppn2v.pipeline.run_folder import check_writable

    pairs = pairs_of(
        calibration, signal, observation, axes, channel, maps_of(camera_maps)
    )
    config = NoiseModelConfig(
        kind=kind, n_components=components, n_coefficients=coefficients, offset=offset
    )
    _refuse_existing(out, overwrite)
    check_writable(out.resolve().parent)
    result = run_with_progress(fit_noise_model(pairs, config))
    sources = calibration or [item for item in (signal, observation) if item]
    names = ", ".join(path.name for path in sources)
    if camera_maps:
        names += f", corrected with {', '.join(path.name for path in camera_maps)}"
    origin = Provenance(source=names)
    written = save_noise_model(out, result.model, origin)
    rows = [(c.name, f"{c.held_out_nll:.4f}") for c in result.candidates]
    say(table(("candidate", "held-out nats per pixel"), rows))
    for failure in result.failed:
        say(f"Not possible: {failure}")
    _draw(result.model, plot, pairs)
    show(str(written))


@noise_model_app.command(name="show")
def show_model(
    file: Annotated[
        str,
        typer.Argument(help="Noise-model file, or a name in the library."),
    ],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the likelihoods.", metavar="PNG")
    ] = None,
) -> None:
    """Show what a noise model says: kind, range, variance against signal."""
    from napari_ppn2v.cli.requests import noise_model_file
    from napari_ppn2v.files.noise_model_files import load_noise_model

    path = noise_model_file(file)
    model = load_noise_model(Path(file) if path is None else path)
    show(describe_noise_model(model))
    _draw(model, plot, None)


@noise_model_app.command(name="convert")
def convert_model(
    source: Annotated[Path, typer.Argument(help="Noise-model file of any dialect.")],
    target: Annotated[
        Path, typer.Argument(help="File to write: .npz, or .npy for a PN2V histogram.")
    ],
    dialect: Annotated[
        str | None,
        typer.Option(
            help="own, ppn2v-gmm (PPN2V, DivNoising, CAREamics) or pn2v-histogram. "
            "Default: pn2v-histogram for .npy; for .npz own, or ppn2v-gmm where the "
            "source is our own mixture."
        ),
    ] = None,
    lower_edge: Annotated[
        bool,
        typer.Option(
            "--lower-edge", help="Read a PN2V histogram as its own program does."
        ),
    ] = False,
    overwrite: OVERWRITE = False,
) -> None:
    """Write a noise model for another program, or take one over."""
    from napari_ppn2v.files.noise_model_files import convert

    _refuse_existing(target, overwrite)
    chosen = dialect or _dialect(source, target)
    written = convert(source, target, dialect=chosen, lower_edge=lower_edge)
    say(f"Dialect: {chosen}")
    show(str(written))


@library_app.command(name="list")
def list_library() -> None:
    """List the noise models kept, the newest first."""
    from napari_ppn2v.files.library import NoiseModelLibrary

    library = NoiseModelLibrary()
    rows = [
        (p.name, p.camera, p.gain, p.date, p.source)
        for p in (entry.provenance for entry in library.entries())
    ]
    if not rows:
        say(f"The library {library.folder} is empty.")
        return
    show(table(("name", "camera", "gain", "date", "source"), rows))


@library_app.command(name="save")
def save_in_library(
    file: Annotated[Path, typer.Argument(help="Noise-model file.")],
    name: Annotated[str, typer.Option(help="Name to keep it under.")],
    camera: Annotated[str, typer.Option(help="Camera.")] = "",
    gain: Annotated[str, typer.Option(help="Gain as set on the camera.")] = "",
    date: Annotated[
        str, typer.Option(help="Date of the calibration, YYYY-MM-DD. Default: today.")
    ] = "",
    overwrite: OVERWRITE = False,
) -> None:
    """Keep a noise model, to be used by its name: --noise-model NAME."""
    from dataclasses import replace

    from napari_ppn2v.files.library import NoiseModelLibrary
    from napari_ppn2v.files.noise_model_files import load_noise_model, read_provenance

    model = load_noise_model(file)
    origin = replace(
        read_provenance(file), name=name, camera=camera, gain=gain, date=date
    )
    entry = NoiseModelLibrary().save(model, origin, replacing=overwrite)
    show(str(entry.path))


@library_app.command(name="delete")
def delete_from_library(
    name: Annotated[str, typer.Argument(help="Name of the noise model.")],
) -> None:
    """Remove a noise model from the library."""
    from napari_ppn2v.files.library import NoiseModelLibrary

    NoiseModelLibrary().delete(name)
    say(f"Deleted '{name}'.")


def describe_noise_model(model: "NoiseModel") -> str:
    """Return kind and range, and mean and variance at some signals."""
    import numpy as np
    import torch

    low, high = model.signal_range
    signals = np.linspace(low, high, 7)
    mean, variance = model.moments(torch.as_tensor(signals, dtype=torch.float32))
    rows = [
        (f"{s:.1f}", f"{float(m):.1f}", f"{float(v):.2f}", f"{float(v) ** 0.5:.2f}")
        for s, m, v in zip(signals, mean, variance, strict=True)
    ]
    slope = float(variance[-1] - variance[0]) / max(high - low, 1e-12)
    limits = ["none" if v is None else f"{v:g}" for v in model.limits]
    lines = [
        f"Kind: {model.kind}",
        f"Signals covered: {low:.1f} to {high:.1f} grey values",
        f"Clipping limits: {limits[0]} and {limits[1]}",
        *(f"{name}: {value:.4g} grey values" for name, value in _camera_values(model)),
        f"Growth of the variance: {slope:.3f} grey values (gain, times 2 for EMCCD)",
        "",
        table(("signal", "mean", "variance", "standard deviation"), rows),
    ]
    return "\n".join(lines)


def _camera_values(model: "NoiseModel") -> list[tuple[str, float]]:
    """Return what a camera model knows about the camera."""
    state = model.state()
    names = {"gain": "Gain", "offset": "Offset", "read_noise": "Read noise"}
    return [(names[k], float(state[k])) for k in names if k in state]


def maps_of(paths: list[Path] | None) -> "CameraMaps | None":
    """Read the camera maps that were given, if any."""
    from napari_ppn2v.files.camera_maps import load_camera_maps

    return load_camera_maps(paths) if paths else None


def pairs_of(
    calibration: list[Path] | None,
    signal: Path | None,
    observation: Path | None,
    axes: str | None,
    channel: int,
    maps: "CameraMaps | None" = None,
) -> "SignalObservationPairs":
    """Open what was given as pairs of signal and observation.

    Camera maps correct what the camera wrote; a signal, being a result, is already.
    """
    from napari_ppn2v.core.pairs import SignalObservationPairs
    from napari_ppn2v.pipeline.camera_maps import corrected
    from napari_ppn2v.pipeline.inputs import open_frames

    has_pairs = signal is not None and observation is not None
    if bool(calibration) == has_pairs or (signal is None) != (observation is None):
        raise BadSetting(
            "A noise model is fitted either to --calibration, or to --signal and "
            "--observation together. Give one of the two."
        )
    if calibration:
        return SignalObservationPairs.from_calibration(
            [corrected(open_frames(path, axes, channel), maps) for path in calibration]
        )
    assert signal is not None
    assert observation is not None
    return SignalObservationPairs.from_pseudo_ground_truth(
        open_frames(signal, None, channel),
        corrected(open_frames(observation, axes, channel), maps),
    )


def _dialect(source: Path, target: Path) -> str:
    """Choose the dialect by the ending and by what the source is."""
    if target.suffix.lower() == ".npy":
        return "pn2v-histogram"
    from napari_ppn2v.files.noise_model_files import load_noise_model, read_provenance

    is_foreign = read_provenance(source).name == source.stem
    is_mixture = load_noise_model(source).kind == "gmm"
    return "ppn2v-gmm" if is_mixture and not is_foreign else "own"


def _refuse_existing(path: Path, is_overwriting: bool) -> None:
    if path.exists() and not is_overwriting:
        raise BadSetting(
            f"{path} is there already. Replace it with --overwrite, or choose another "
            "name."
        )


def _draw(
    model: "NoiseModel", plot: Path | None, pairs: "SignalObservationPairs | None"
) -> None:
    if plot is None:
        return
    from napari_ppn2v.cli.pictures import draw_noise_model

    draw_noise_model(plot, model, pairs)
    show(str(plot))
