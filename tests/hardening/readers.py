"""Everything of ours that reads files of strangers, with a valid file for each.

Folders (Zarr) are packed into one archive, so that each reader's input is bytes.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import torch

from napari_ppn2v.api import apply
from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_models import (
    GaussianMixtureModel,
    HistogramModel,
    PoissonGaussianModel,
    TabulatedLikelihood,
)
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.files import downloads
from napari_ppn2v.files.camera_maps import load_camera_maps
from napari_ppn2v.files.checkpoints import FileCheckpoint
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.library import NoiseModelLibrary
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.files.noise_model_files import (
    load_noise_model,
    read_provenance,
    save_noise_model,
)
from napari_ppn2v.pipeline.config import RunConfig, TrainingConfig
from napari_ppn2v.pipeline.file_request import DenoiseRequest, stored_request
from napari_ppn2v.pipeline.run_folder import FORMAT, RECORD, SCHEMA
from napari_ppn2v.settings import as_plain

from .mutations import zipped

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = np.random.default_rng(0).integers(90, 300, (2, 24, 20)).astype(np.uint16)
MAPS = {"offset": np.full((8, 6), 100.0), "gain": np.full((8, 6), 2.0)}
COEFFICIENTS = np.array(
    [[-3.0, 4.0], [5.0, -1.0], [3.5, 5.0], [4.2, 5.5], [0.3, -0.2], [-0.1, 0.4]],
    np.float32,
)


@dataclass(frozen=True)
class Reader:
    """One reader and one file that it reads.

    Attributes
    ----------
    name : of the file; its ending says what it is made of
    write : a valid file to a path
    read : it, and all that is needed to trust what was read
    """

    name: str
    write: Callable[[Path], Any]
    read: Callable[[Path], Any]


def mixture() -> GaussianMixtureModel:
    return GaussianMixtureModel(
        COEFFICIENTS, min_signal=90, max_signal=300, variance_floor=2.5
    )


def histogram(n_bins: int = 8) -> HistogramModel:
    edges = np.linspace(90, 300, n_bins + 1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    mass = np.exp(-0.5 * ((centres - centres[:, None]) / 30) ** 2)
    return HistogramModel(mass / mass.sum(1, keepdims=True), edges, edges)


def camera() -> PoissonGaussianModel:
    values = {"gain": 2.0, "offset": 100.0, "read_noise": 3.0}
    return PoissonGaussianModel(**values, signal_range=(100.0, 300.0))


@cache
def table() -> TabulatedLikelihood:
    return TabulatedLikelihood.from_model(mixture(), step=1.0)


def denoiser(*, is_refined: bool = False) -> Denoiser:
    torch.manual_seed(0)
    network = UNetConfig(n_levels=1, n_filters=2)
    scale = Normalisation(200.0, 50.0)
    return Denoiser(
        model=PriorNetwork(network, "gaussian", 4, scale),
        noise_model=mixture(),
        training_blindness=Blindness(3, "mean"),
        estimate="refined" if is_refined else "mmse",
        is_blind=False,
        reason="It has the lowest expected error.",
        provenance={"software": {"numpy": "2"}, "data": [{"file": "a.tif"}]},
        refined=PriorNetwork(network, "gaussian", 4, scale) if is_refined else None,
    )


def write_checkpoint(path: Path) -> None:
    model = PriorNetwork(
        UNetConfig(n_levels=1, n_filters=2), "free", 1, Normalisation(200.0, 50.0)
    )
    optimizer = torch.optim.Adam(model.parameters())
    state = {
        "step": 3,
        "best_loss": 0.5,
        "weights": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": json.dumps(np.random.default_rng(0).bit_generator.state),
        "curve": [[1, 0.5, 0.6, 1e-3, 0.1]],
    }
    FileCheckpoint(path, is_resumed=True).save(state)


def write_record(path: Path) -> None:
    training = TrainingConfig(n_steps=3)
    config = RunConfig(pretraining=training, training=training, refinement=training)
    request = DenoiseRequest(noisy=(Path("a.tif"),), out=path.parent, config=config)
    plain = {
        "format": FORMAT,
        "schema": SCHEMA,
        "status": "stopped",
        "request": as_plain(request),
        "data": [{"file": "a.tif", "axes": "TYX", "shape": [2, 24, 20], "type": "u2"}],
        "channels": {},
    }
    path.write_text(json.dumps(plain, default=str), encoding="utf-8")


def write_zarr(path: Path, version: int, *, is_ome: bool = True) -> None:
    """Write a small Zarr image and pack it."""
    import zarr

    folder = path.with_suffix(".folder")
    options = {"zarr_format": version, "chunks": (1, 24, 20)}
    if not is_ome:
        zarr.create_array(str(folder), data=STACK, **options)
    else:
        group = zarr.open_group(str(folder), mode="w", zarr_format=version)
        group.create_array("0", data=STACK, chunks=(1, 24, 20))
        axes = [{"name": "t", "unit": "second"}, {"name": "y"}, {"name": "x"}]
        scale = [{"type": "scale", "scale": [1.0, 0.1, 0.1]}]
        level = {"path": "0", "coordinateTransformations": scale}
        ome = {"multiscales": [{"axes": axes, "datasets": [level]}], "version": "0.4"}
        ome["omero"] = {"channels": [{"label": "GFP"}]}
        group.attrs.update(ome if version == 2 else {"ome": ome})
    files = sorted(item for item in folder.rglob("*") if item.is_file())
    pairs = {str(item.relative_to(folder)): item.read_bytes() for item in files}
    path.write_bytes(zipped(pairs))
    shutil.rmtree(folder)


def read_zarr(path: Path) -> None:
    """Unpack beside the file, never elsewhere, and read as an image."""
    import zipfile

    with tempfile.TemporaryDirectory(dir=path.parent, suffix=".zarr") as name:
        folder = Path(name).resolve()
        try:
            with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
                for info in archive.infolist():
                    if info.file_size < 10_000_000:
                        archive.extract(info, folder)
        except Exception as error:
            raise PPN2VError("the packing is damaged, which no reader sees") from error
        read_image(folder)


def read_image(path: Path) -> None:
    """Read what is shown of an image, and its first frames."""
    source = open_image(path)
    assert isinstance(source.name, str)
    for spacing in source.pixel_size.values():
        assert np.isfinite(spacing.size)
    frames = as_frames(source.data, source.axes, 0)
    if frames.shape[0] * frames.shape[1] > 10_000_000:
        return
    for index in range(min(len(frames), 2)):
        assert np.isfinite(frames.frame(index)).all()


def use(model: Any) -> None:
    """Hold a noise model to its contract: finite likelihoods, near and far."""
    low, high = model.signal_range
    assert np.isfinite([low, high]).all()
    assert low < high
    signal = torch.linspace(low - 5, high + 5, 7, dtype=torch.float32)
    near = model.log_likelihood(signal + 3, signal)
    assert torch.isfinite(near).all(), "not finite near the signal"
    far = model.log_likelihood(torch.full((7,), 65535.0), signal)
    assert torch.isfinite(far).all(), "not finite far from the signal"
    variance = model.moments(signal)[1]
    assert torch.isfinite(variance).all(), "variance not finite"


def read_noise_model(path: Path) -> None:
    read_provenance(path)
    use(load_noise_model(path))


def read_library(path: Path) -> None:
    """List and load by name, with the file lying in the library."""
    library = NoiseModelLibrary(path.parent)
    for entry in library.entries():
        try:
            library.load(entry.provenance.name)
        except PPN2VError:
            continue


def read_model(path: Path) -> None:
    """Load a model and denoise with it; what is not finite has to be refused."""
    found = apply(load_model(path), STACK[0], posterior_std=True, device="cpu")
    assert np.isfinite(found.image).all()
    assert np.isfinite(found.posterior_std).all()


def read_maps(path: Path) -> None:
    maps = load_camera_maps(path)
    assert np.isfinite(maps.offset).all()
    assert (maps.gain > 0).all()
    assert np.isfinite(maps.common.gain)


def read_checkpoint(path: Path) -> None:
    state = FileCheckpoint(path, is_resumed=True).load()
    assert isinstance(state, dict)


def read_request(path: Path) -> None:
    stored_request(path.parent)


def read_record_aloud(path: Path) -> None:
    from napari_ppn2v.cli.info import describe

    assert isinstance(describe(path), str)


ARCHIVE = downloads.Archive("file:sample.zip", ("noisy.tif",), checksum=None)


def unpack(path: Path) -> None:
    """Take the wanted file out of a downloaded archive."""
    folder = path.parent / "unpacked"
    folder.mkdir(exist_ok=True)
    downloads._unpack(ARCHIVE, path, folder)
    assert {item.name for item in folder.iterdir()} <= {"noisy.tif", downloads.RECORD}


def kept(path: Path) -> None:
    """Ask for files that may be there already, by what is kept about them."""
    (path.parent / "noisy.tif").write_bytes(b"1234")
    wanted = downloads._kept(ARCHIVE, path.parent)
    assert wanted is None or wanted[0].is_file()


def write_tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack", **options)


def write_archive(path: Path) -> None:
    path.write_bytes(zipped({"data/noisy.tif": STACK.tobytes(), "readme.txt": b"hi"}))


def write_careamics(path: Path) -> None:
    np.savez(
        path,
        trained_weight=COEFFICIENTS,
        min_signal=np.float32(90),
        max_signal=np.float32(300),
        min_sigma=np.float64(2.5),
    )


def write_pn2v_histogram(path: Path) -> None:
    save_noise_model(path, histogram(), dialect="pn2v-histogram")


READERS = {
    "noise model, mixture": Reader(
        "mixture.npz", lambda p: save_noise_model(p, mixture()), read_noise_model
    ),
    "noise model, histogram": Reader(
        "histogram.npz", lambda p: save_noise_model(p, histogram()), read_noise_model
    ),
    "noise model, camera": Reader(
        "camera.npz", lambda p: save_noise_model(p, camera()), load_noise_model
    ),
    "noise model, table": Reader(
        "table.npz", lambda p: save_noise_model(p, table()), read_noise_model
    ),
    "noise model of PPN2V": Reader(
        "ppn2v.npz",
        lambda p: save_noise_model(p, mixture(), dialect="ppn2v-gmm"),
        read_noise_model,
    ),
    "noise model of CAREamics": Reader(
        "careamics.npz", write_careamics, read_noise_model
    ),
    "noise model of PN2V": Reader("pn2v.npy", write_pn2v_histogram, read_noise_model),
    "library of noise models": Reader(
        "entry.npz", lambda p: save_noise_model(p, mixture()), read_library
    ),
    "model file": Reader(
        "model.ppn2v", lambda p: save_model(p, denoiser()), read_model
    ),
    "model file, refined": Reader(
        "refined.ppn2v", lambda p: save_model(p, denoiser(is_refined=True)), read_model
    ),
    "model file, described": Reader(
        "described.ppn2v", lambda p: save_model(p, denoiser()), read_record_aloud
    ),
    "camera maps": Reader("maps.npz", lambda p: np.savez(p, **MAPS), read_maps),
    "training state": Reader("checkpoint_n2v.pt", write_checkpoint, read_checkpoint),
    "run record": Reader(RECORD, write_record, read_request),
    "run record, described": Reader(RECORD, write_record, read_record_aloud),
    "download, archive": Reader("sample.zip", write_archive, unpack),
    "download, record": Reader(
        downloads.RECORD,
        lambda p: p.write_text('{"checksum": "md5:0", "members": {"noisy.tif": 4}}'),
        kept,
    ),
    "NumPy image": Reader("image.npy", lambda p: np.save(p, STACK), read_image),
    "TIFF": Reader(
        "plain.tif", lambda p: write_tiff(p, metadata={"axes": "TYX"}), read_image
    ),
    "TIFF, compressed": Reader(
        "zlib.tif", lambda p: write_tiff(p, compression="zlib"), read_image
    ),
    "TIFF, ImageJ": Reader(
        "imagej.tif",
        lambda p: write_tiff(p, imagej=True, metadata={"unit": "um"}),
        read_image,
    ),
    "TIFF, OME": Reader(
        "ome.ome.tif",
        lambda p: write_tiff(p, ome=True, metadata={"PhysicalSizeX": 0.1}),
        read_image,
    ),
    "TIFF, OME, tiled": Reader(
        "tiled.ome.tif",
        lambda p: write_tiff(p, ome=True, tile=(16, 16), compression="zlib"),
        read_image,
    ),
    "Zarr v2": Reader(
        "plain.zarr", lambda p: write_zarr(p, 2, is_ome=False), read_zarr
    ),
    "Zarr v3": Reader(
        "plain.zarr", lambda p: write_zarr(p, 3, is_ome=False), read_zarr
    ),
    "OME-Zarr 0.4": Reader("ome.zarr", lambda p: write_zarr(p, 2), read_zarr),
    "OME-Zarr 0.5": Reader("ome.zarr", lambda p: write_zarr(p, 3), read_zarr),
}


def fault_of(reader: Reader, content: bytes, folder: Path) -> BaseException | None:
    """Return what goes wrong when a reader is given these bytes, None if nothing does.

    An error of ours is what it should say, and no fault.
    """
    path = folder / reader.name
    path.write_bytes(content)
    logger = logging.getLogger("tifffile")
    was_disabled, logger.disabled = logger.disabled, False
    handler = logging.NullHandler()
    logger.addHandler(handler)
    propagates, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except PPN2VError as error:
        return None if str(error).strip() else error
    except Exception as error:  # noqa: BLE001 - this is the question
        return error
    finally:
        logger.removeHandler(handler)
        logger.disabled, logger.propagate = was_disabled, propagates
    return None
