"""`simulate`: noisy stacks of a camera whose noise is known exactly."""

# No future annotations here: typer reads the types themselves.

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_ppn2v.cli.output import say, show
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    import numpy as np

    from napari_ppn2v.core.camera import Camera

CAMERAS = {
    "scmos": {"gain": 2.2, "offset": 100.0, "read_noise": 3.3},
    "emccd": {"gain": 25.0, "offset": 400.0, "read_noise": 12.0},
}
DEFAULT_PHOTONS = 100.0
FILES = ("observation.tif", "truth.tif", "calibration.tif", "camera.json")


def simulate(
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the files.", show_default=False),
    ],
    camera: Annotated[
        str, typer.Option(help="scmos or emccd.", metavar="scmos|emccd")
    ] = "scmos",
    frames: Annotated[int, typer.Option(help="Noisy frames.")] = 8,
    size: Annotated[int, typer.Option(help="Side of the frames, pixels.")] = 256,
    photons: Annotated[
        float | None,
        typer.Option(
            help="Electrons in the brightest pixel. Default: 100, without --psnr.",
        ),
    ] = None,
    psnr: Annotated[
        float | None,
        typer.Option(help="PSNR of the noisy frames in dB, in place of --photons."),
    ] = None,
    gain: Annotated[
        float | None,
        typer.Option(help="Grey values per electron. Default: 2.2 (emccd: 25)."),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(help="Grey value without light. Default: 100 (emccd: 400)."),
    ] = None,
    read_noise: Annotated[
        float | None,
        typer.Option(
            help="Noise without light, grey values. Default: 3.3 (emccd: 12)."
        ),
    ] = None,
    calibration_frames: Annotated[
        int, typer.Option(help="Repeats of the calibration scene; 0 for none.")
    ] = 50,
    seed: Annotated[int, typer.Option(help="Same seed, same files.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier files.")
    ] = False,
) -> None:
    """Simulate a camera: noisy frames, their truth, and a calibration recording.

    Writes observation.tif, truth.tif, calibration.tif and camera.json.

    For example:

        napari-ppn2v simulate -o sample --camera scmos --frames 10 --psnr 25

        napari-ppn2v simulate -o dim --camera emccd --photons 5
    """
    given = {"gain": gain, "offset": offset, "read_noise": read_noise}
    if psnr is None and photons is None:
        photons = DEFAULT_PHOTONS
    write_sample(
        out,
        make_camera(camera, **given),
        n_frames=frames,
        size=size,
        photons=photons,
        psnr=psnr,
        n_calibration=calibration_frames,
        seed=seed,
        is_overwriting=overwrite,
    )
    say(
        f"Denoise it with:  napari-ppn2v denoise {out / FILES[0]} -o {out / 'denoised'}"
    )


def make_camera(kind: str, **values: float | None) -> "Camera":
    """Return a typical camera of a kind, with the values given in place of its own."""
    from napari_ppn2v.core.camera import Camera

    if kind not in CAMERAS:
        raise BadSetting(f"The camera is '{kind}'. Choose scmos or emccd.")
    known = CAMERAS[kind] | {k: v for k, v in values.items() if v is not None}
    return Camera(
        kind=kind,
        gain=known["gain"],
        offset=known["offset"],
        read_noise=known["read_noise"],
    )


def write_sample(
    folder: Path,
    camera: "Camera",
    *,
    n_frames: int,
    size: int,
    photons: float | None,
    psnr: float | None,
    n_calibration: int,
    seed: int,
    is_overwriting: bool,
) -> None:
    """Simulate and write all files, and print their names."""
    from napari_ppn2v.core.camera import simulate_calibration, simulate_stack
    from napari_ppn2v.files.atomic import write_json_atomically
    from napari_ppn2v.pipeline.run_folder import check_writable

    for name, value, least in (
        ("--frames", n_frames, 1),
        ("--size", size, 16),
        ("--calibration-frames", n_calibration, 0),
    ):
        if value < least:
            raise BadSetting(f"{name} is {value}. It must be at least {least}.")
    there = [folder / name for name in FILES if (folder / name).exists()]
    if there and not is_overwriting:
        raise BadSetting(
            f"{there[0]} is there already. Replace it with --overwrite, or choose "
            "another folder."
        )
    check_writable(folder)
    stack = simulate_stack(
        camera,
        n_frames=n_frames,
        size=size,
        peak_electrons=photons,
        psnr=psnr,
        seed=seed,
    )
    _write_stack(folder / FILES[0], stack.observation)
    _write_stack(folder / FILES[1], stack.signal)
    peak = float((stack.signal.max() - camera.offset) / camera.gain)
    if n_calibration:
        calibration = simulate_calibration(
            camera,
            n_repeats=n_calibration,
            size=size,
            # a little brighter than the image, so that it covers all of its signals
            peak_electrons=1.2 * peak,
            seed=seed + 1,
        )
        _write_stack(folder / FILES[2], calibration.observation)
    settings = {"frames": n_frames, "size": size, "psnr": psnr, "photons": photons}
    plain = {"camera": asdict(camera), "simulation": {**settings, "seed": seed}}
    write_json_atomically(folder / FILES[3], plain)
    for name in FILES:
        if (folder / name).exists():
            show(str(folder / name))


def _write_stack(path: Path, stack: "np.ndarray") -> None:
    from napari_ppn2v.core.axes import AxisLayout
    from napari_ppn2v.files.results import ResultWriter

    layout = AxisLayout("TYX", stack.shape)
    with ResultWriter(path, layout, dtype=stack.dtype) as writer:
        for index, frame in enumerate(stack):
            writer.write_frame(index, frame)
