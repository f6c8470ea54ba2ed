"""Bad inputs, how each is made, and the error that has to come out.

`test_messages.py` makes every one and holds the error to it; `docs/make_messages.py`
writes the page of messages from the same list.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile

import napari_ppn2v as ppn2v
from napari_ppn2v import errors
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.camera_maps import CameraMaps
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models import GaussianMixtureModel
from napari_ppn2v.files.camera_maps import load_camera_maps
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.library import NoiseModelLibrary
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.files.noise_model_files import (
    Provenance,
    load_noise_model,
    save_noise_model,
)
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.pipeline.file_request import stored_request
from napari_ppn2v.pipeline.run_folder import RECORD

from .mutations import npy_header, zipped
from .readers import (
    COEFFICIENTS,
    MAPS,
    STACK,
    denoiser,
    mixture,
    unpack,
    write_record,
    write_tiff,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGE = simulate_stack(
    Camera(), n_frames=2, size=32, peak_electrons=40, seed=0
).observation
ODD = np.zeros(IMAGE.shape, bool)
ODD[1, 3, 4] = True


@dataclass(frozen=True)
class BadInput:
    """One bad input.

    Attributes
    ----------
    group, what : heading and words of the page
    cause : makes the input in an empty folder and gives it to what shall refuse it
    error : class of the refusal
    figures : a pattern that the message has to show, figures or names
    """

    group: str
    what: str
    cause: Callable[[Path], Any]
    error: type[errors.PPN2VError]
    figures: str


def message_of(case: BadInput, folder: Path) -> str:
    """Make a bad input in a folder and return what is said, without that folder."""
    try:
        case.cause(folder)
    except case.error as error:
        text = str(error).replace(f"{folder}/", "").replace(str(folder), "folder")
        return re.sub(r"\s+", " ", text)
    raise AssertionError(f"{case.what} was not refused with {case.error.__name__}")


def _train(image: Any, **options: Any) -> None:
    options = {"axes": "TYX", "steps": 3, "method": "n2v", **options}
    ppn2v.train(image, device="cpu", threads=1, **options)


def _file(name: str, content: bytes, read: Callable[[Path], Any]) -> Any:
    def cause(folder: Path) -> None:
        (folder / name).write_bytes(content)
        read(folder / name)

    return cause


def _cut_tiff(folder: Path) -> None:
    tifffile.imwrite(folder / "cut.tif", STACK[0], photometric="minisblack")
    content = (folder / "cut.tif").read_bytes()
    (folder / "cut.tif").write_bytes(content[:-500])
    open_image(folder / "cut.tif")


def _swollen_tiff(folder: Path) -> None:
    write_tiff(folder / "huge.tif", compression="zlib", metadata=None)
    content = (folder / "huge.tif").read_bytes()
    rows, many = (np.array(n, "<u4").tobytes() for n in (24, 2**30))
    (folder / "huge.tif").write_bytes(content.replace(rows, many))
    open_image(folder / "huge.tif")


def _outside_tiff(folder: Path) -> None:
    path = folder / "far.ome.tif"
    write_tiff(path, ome=True)
    with tifffile.TiffFile(path) as tif:
        xml = tif.ome_metadata
    elsewhere = '<UUID FileName="../other/b.ome.tif">urn:uuid:1</UUID></TiffData>'
    xml = re.sub(r"<TiffData ([^>/]*)/>", rf"<TiffData \1>{elsewhere}", xml, count=1)
    tifffile.imwrite(path, STACK, photometric="minisblack", description=xml)
    open_image(path)


def _pickled_zarr(folder: Path) -> None:
    (folder / "a.zarr").mkdir()
    plain = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "|O", "order": "C"}
    plain |= {"fill_value": 0, "compressor": None, "filters": [{"id": "pickle"}]}
    (folder / "a.zarr" / ".zarray").write_text(json.dumps(plain))
    open_image(folder / "a.zarr")


def _mixture_file(**changes: Any) -> Callable[[Path], Any]:
    def cause(folder: Path) -> None:
        content = {"trained_weight": COEFFICIENTS, "min_signal": 90.0}
        content |= {"max_signal": 300.0, "min_sigma": 2.5, **changes}
        np.savez(folder / "mixture.npz", **content)
        load_noise_model(folder / "mixture.npz")

    return cause


def _model_file(change: Callable[[dict[str, Any], dict[str, Any]], Any]) -> Any:
    """Save a model, change its header and arrays, and load it."""

    def cause(folder: Path) -> None:
        path = save_model(folder / "model.ppn2v", denoiser())
        with np.load(path) as archive:
            arrays = dict(archive)
        header = json.loads(arrays["header"].tobytes())
        change(header, arrays)
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez(file, **arrays)
        load_model(path)

    return cause


def _record(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def cause(folder: Path) -> None:
        write_record(folder / RECORD)
        plain = json.loads((folder / RECORD).read_text())
        change(plain)
        (folder / RECORD).write_text(json.dumps(plain))
        stored_request(folder)

    return cause


def _taken_name(folder: Path) -> None:
    library = NoiseModelLibrary(folder)
    library.save(mixture(), Provenance("Evolve"))
    library.save(mixture(), Provenance("Evolve"))


def _few_pairs(folder: Path) -> None:
    signal = np.arange(20.0).reshape(4, 5)
    ppn2v.fit_noise_model(signal=signal, observation=signal + signal % 3)


_DAMAGED_ZIP = _file("d.zip", b"<html>not found</html>", unpack)
_ENDLESS = zipped({"header.npy": npy_header((10**12,), "<f8") + bytes(64)})
_IMAGES, _PIXELS, _NOISE = "Image files", "Pixels", "Noise models"
_MODELS, _RUNS, _SETTINGS = "Models and camera maps", "Runs and downloads", "Settings"
_F, _D, _S = errors.BadFile, errors.BadData, errors.BadSetting

CASES = [
    BadInput(
        _IMAGES,
        "a file that is not there",
        lambda f: open_image(f / "a.tif"),
        _F,
        "a.tif",
    ),
    BadInput(_IMAGES, "an empty file", _file("a.tif", b"", open_image), _F, "0 bytes"),
    BadInput(_IMAGES, "a TIFF that was cut off", _cut_tiff, _F, r"at least 500 bytes"),
    BadInput(
        _IMAGES,
        "a TIFF without an image",
        _file("a.tif", b"II*\0" + bytes(60), open_image),
        _F,
        "without an image",
    ),
    BadInput(
        _IMAGES,
        "a TIFF whose strips claim gigabytes",
        _swollen_tiff,
        _F,
        r"pieces of \d+\.\d GB",
    ),
    BadInput(
        _IMAGES,
        "an OME-TIFF whose pixels are in a file elsewhere",
        _outside_tiff,
        _F,
        r"\.\./other/b\.ome\.tif",
    ),
    BadInput(
        _IMAGES,
        "a file of a microscope's own format",
        _file("a.czi", b"ZISRAWFILE" + bytes(60), open_image),
        _F,
        "Zeiss CZI",
    ),
    BadInput(_IMAGES, "a folder without images", lambda f: open_image(f), _F, r"\.tif"),
    BadInput(_IMAGES, "a Zarr array of pickled objects", _pickled_zarr, _F, "foreign"),
    BadInput(
        _IMAGES,
        "an array file of pickled objects",
        _file("a.npy", npy_header((2,), "|O") + b"cos\nsystem", open_image),
        _F,
        "a.npy",
    ),
    BadInput(
        _PIXELS,
        "values that are not a number",
        lambda _: _train(np.where(ODD, np.nan, IMAGE)),
        _D,
        "Frame 1 holds 1 values",
    ),
    BadInput(
        _PIXELS,
        "infinite values",
        lambda _: _train(np.where(ODD, np.inf, IMAGE)),
        _D,
        "1 that are infinite",
    ),
    BadInput(
        _PIXELS,
        "the same value everywhere",
        lambda _: _train(IMAGE * 0 + 7),
        _D,
        "7 in",
    ),
    BadInput(_PIXELS, "values of 1e30", lambda _: _train(IMAGE * 1e30), _D, r"e\+3\d"),
    BadInput(_PIXELS, "values of 1e-30", lambda _: _train(IMAGE * 1e-30), _D, r"e-2\d"),
    BadInput(
        _PIXELS,
        "one pixel of 1e30",
        lambda _: _train(np.where(ODD, 1e30, IMAGE)),
        _D,
        r"e\+2\d",
    ),
    BadInput(
        _PIXELS,
        "small differences of large values",
        lambda _: _train(IMAGE + 1e9),
        _D,
        r"1e\+09",
    ),
    BadInput(_PIXELS, "a mask", lambda _: _train(IMAGE > 120), _D, "bool"),
    BadInput(_PIXELS, "complex values", lambda _: _train(IMAGE + 1j), _D, "complex128"),
    BadInput(_PIXELS, "objects", lambda _: _train(IMAGE.astype(object)), _D, "object"),
    BadInput(_PIXELS, "no frame", lambda _: _train(IMAGE[:0]), _D, r"\(0, 32, 32\)"),
    BadInput(
        _PIXELS, "frames too small", lambda _: _train(IMAGE[:, :9, :9]), _D, "9 x 9"
    ),
    BadInput(
        _PIXELS,
        "axes that do not fit",
        lambda _: as_frames(IMAGE, "TCYX"),
        errors.BadAxes,
        "4 axes, the image has 3",
    ),
    BadInput(
        _PIXELS,
        "an image far from what a model knows",
        lambda _: ppn2v.apply(
            denoiser(), IMAGE[0].astype(np.float32) * 1e35, device="cpu"
        ),
        _D,
        "200 ± 50",
    ),
    BadInput(
        _NOISE,
        "a file of text",
        _file("m.npz", b"gain: 2", load_noise_model),
        _F,
        "neither .npz nor .npy",
    ),
    BadInput(
        _NOISE,
        "an array that claims terabytes",
        _file("m.npz", _ENDLESS, load_noise_model),
        _F,
        "8000000000000 bytes",
    ),
    BadInput(
        _NOISE,
        "an archive of other arrays",
        lambda f: (np.savez(f / "m.npz", a=STACK), load_noise_model(f / "m.npz")),
        _F,
        "it holds a",
    ),
    BadInput(
        _NOISE,
        "coefficients of another number",
        _mixture_file(trained_weight=np.zeros((4, 2))),
        _F,
        r"\(4, 2\)",
    ),
    BadInput(
        _NOISE,
        "values that are not finite",
        _mixture_file(min_signal=np.nan),
        _F,
        "not finite",
    ),
    BadInput(
        _NOISE, "a range turned round", _mixture_file(max_signal=1.0), _F, "90 to 1"
    ),
    BadInput(
        _NOISE,
        "a kind that the dialect cannot hold",
        lambda f: save_noise_model(f / "m", mixture(), dialect="pn2v-histogram"),
        _S,
        "'gmm'",
    ),
    BadInput(_NOISE, "a name that is taken", _taken_name, _S, "'Evolve'"),
    BadInput(
        _NOISE,
        "too few pixels to fit to",
        _few_pairs,
        errors.FitFailed,
        r"only \d+ pairs",
    ),
    BadInput(
        _NOISE,
        "a mixture without a range",
        lambda _: GaussianMixtureModel(
            COEFFICIENTS, min_signal=5, max_signal=5, variance_floor=1
        ),
        _S,
        "5 to 5",
    ),
    BadInput(
        _MODELS,
        "a file that is no model",
        _file("a.ppn2v", b"PK\3\4 damaged", load_model),
        _F,
        r"a\.ppn2v",
    ),
    BadInput(
        _MODELS,
        "a model of a newer version",
        _model_file(lambda header, _: header.update(schema=99)),
        _F,
        "99",
    ),
    BadInput(
        _MODELS,
        "weights that are not finite",
        _model_file(lambda _, arrays: arrays["weight/prior.linear.bias"].fill(np.nan)),
        _F,
        r"prior\.linear\.bias",
    ),
    BadInput(
        _MODELS,
        "settings of another network than the weights",
        _model_file(lambda header, _: header["model"]["network"].update(n_filters=256)),
        _F,
        "shape",
    ),
    BadInput(
        _MODELS,
        "a damaged training state",
        _file(
            "checkpoint_n2v.pt",
            b"no state",
            lambda p: FileCheckpoint(p, is_resumed=True).load(),
        ),
        _F,
        "checkpoint_n2v.pt",
    ),
    BadInput(
        _MODELS,
        "camera maps without a gain",
        lambda f: (np.savez(f / "m.npz", offset=STACK), load_camera_maps(f / "m.npz")),
        _F,
        "found: offset",
    ),
    BadInput(
        _MODELS,
        "camera maps of different sizes",
        lambda _: CameraMaps.from_arrays(MAPS["offset"], MAPS["gain"][1:]),
        _D,
        r"\(8, 6\).*\(7, 6\)",
    ),
    BadInput(
        _MODELS,
        "camera maps of another region",
        lambda _: CameraMaps.from_arrays(**MAPS).correct(as_frames(IMAGE, "TYX")),
        _D,
        "32 x 32.*8 x 6",
    ),
    BadInput(
        _RUNS,
        "a record that is no record",
        _file(RECORD, b"not a record", lambda p: stored_request(p.parent)),
        _F,
        RECORD,
    ),
    BadInput(
        _RUNS,
        "a record of a newer version",
        _record(lambda plain: plain.update(schema=7)),
        _F,
        "schema 7",
    ),
    BadInput(
        _RUNS,
        "a stored setting of another type",
        _record(lambda plain: plain["request"]["config"].update(seed="one")),
        _F,
        "seed is 'one'",
    ),
    BadInput(
        _RUNS,
        "a stored setting outside of its range",
        _record(lambda plain: plain["request"]["config"].update(seed=-1)),
        _S,
        "at least 0",
    ),
    BadInput(
        _RUNS,
        "nothing to resume",
        lambda f: stored_request(f / "results"),
        _S,
        "nothing to resume",
    ),
    BadInput(
        _RUNS,
        "a download that is no archive",
        _DAMAGED_ZIP,
        errors.CannotDownload,
        "zip",
    ),
    BadInput(
        _RUNS,
        "an archive without the wanted file",
        _file("d.zip", zipped({"readme.txt": b"hi"}), unpack),
        errors.CannotDownload,
        r"noisy\.tif",
    ),
    BadInput(
        _SETTINGS, "no training steps", lambda _: TrainingConfig(n_steps=0), _S, "is 0"
    ),
    BadInput(
        _SETTINGS,
        "a learning rate that is not a number",
        lambda _: TrainingConfig(learning_rate=np.nan),
        _S,
        "is nan",
    ),
    BadInput(
        _SETTINGS,
        "an unknown method",
        lambda _: RunConfig(method="n3v"),
        _S,
        "n2v, pn2v",
    ),
    BadInput(
        _SETTINGS,
        "an MMSE estimate without a noise model",
        lambda _: replace(denoiser(), noise_model=None).require("mmse"),
        _S,
        "n2v",
    ),
]
