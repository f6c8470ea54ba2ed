"""Trained models as one file: weights, noise model, normalisation, settings, origin.

The file is a NumPy archive of plain arrays and a JSON header. Reading it runs no
code from it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadFile, PPN2VError
from napari_ppn2v.files.archives import read_archive
from napari_ppn2v.files.atomic import atomic_path
from napari_ppn2v.files.bioimage_model import is_bioimage_model
from napari_ppn2v.files.lazy import DAMAGED
from napari_ppn2v.settings import from_plain_settings

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.inference import Blindness
    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.prior_network import PriorNetwork

MODEL_SUFFIX = ".ppn2v"
FORMAT = "napari-ppn2v model"
SCHEMA = 1
_WEIGHT, _REFINED, _NOISE = "weight/", "refined/", "noise_model/"
_LARGEST = 8_000_000_000  # bytes; the largest network that can be set has 7 GB
_MOST_SAMPLES, _LARGEST_BOX = 4096, 64  # as the settings allow
_LARGEST_HEADER = 16_000_000  # bytes; provenance is kilobytes


def save_model(path: str | PathLike[str], denoiser: Denoiser) -> Path:
    """Write a denoiser to one file, atomically.

    Raises
    ------
    CannotWrite  If the disk is full or the folder missing or read-only.
    """
    path = Path(path)
    model, noise_model = denoiser.model, denoiser.noise_model
    arrays = _weights_of(model, _WEIGHT)
    if denoiser.refined is not None:
        arrays |= _weights_of(denoiser.refined, _REFINED)
    plain: dict[str, Any] | None = None
    if noise_model is not None:
        state = noise_model.to("cpu").state()
        plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
        plain["kind"] = noise_model.kind
        arrays |= {_NOISE + k: v for k, v in state.items() if isinstance(v, np.ndarray)}
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "model": _description(model),
        "refined": None if denoiser.refined is None else _description(denoiser.refined),
        "training_blindness": None
        if denoiser.training_blindness is None
        else asdict(denoiser.training_blindness),
        "target": denoiser.target,
        "estimate": denoiser.estimate,
        "is_blind": denoiser.is_blind,
        "reason": denoiser.reason,
        "averages_orientations": denoiser.averages_orientations,
        "noise_model": plain,
        "std_calibration": None
        if denoiser.std_calibration is None
        else denoiser.std_calibration.as_plain(),
        "provenance": denoiser.provenance,
    }
    content = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{"header": content, **arrays})  # type: ignore[arg-type]
    return path


def load_model(path: str | PathLike[str]) -> Denoiser:
    """Read a denoiser, ready for inference on the CPU.

    Raises
    ------
    BadFile  If the file is missing, damaged, foreign, or of a newer version.
    """
    from napari_ppn2v.core.denoiser import TARGET_WORDS, Denoiser
    from napari_ppn2v.core.std_calibration import StdCalibration

    path = Path(path)
    header, arrays = _read(path)
    try:
        hidden, target = header["training_blindness"], header.get("target", "")
        calibration = header.get("std_calibration")  # not in older files
        if target not in ("", *TARGET_WORDS):
            raise ValueError(f"the target {target!r} is unknown")
        denoiser = Denoiser(
            model=_model(header["model"], arrays, _WEIGHT),
            refined=None
            if header["refined"] is None
            else _model(header["refined"], arrays, _REFINED),
            noise_model=_noise_model(header, arrays),
            training_blindness=None if hidden is None else _blindness(hidden),
            estimate=str(header["estimate"]),
            is_blind=bool(header["is_blind"]),
            reason=str(header["reason"]),
            provenance=dict(header["provenance"]),
            target=target,
            averages_orientations=bool(header.get("averages_orientations", False)),
            std_calibration=None
            if calibration is None
            else StdCalibration.from_plain(calibration),
        )
        if denoiser.estimate not in ("refined", "mmse", "prior-mean"):
            raise ValueError(f"the estimate {denoiser.estimate!r} is unknown")
        denoiser.require(denoiser.estimate)
        if denoiser.is_blind:
            denoiser.require_blind()
        return denoiser
    except (*DAMAGED, PPN2VError) as error:
        raise BadFile(
            f"{path.name} is a model file of ours, but its content is damaged "
            f"({error}). Use another copy, or train again."
        ) from error


def read_model_header(path: str | PathLike[str]) -> dict[str, Any]:
    """Return what a model file says about itself, without its weights.

    Raises
    ------
    BadFile  As `load_model`.
    """
    return _read(Path(path), header_only=True)[0]


def is_model_file(path: str | PathLike[str]) -> bool:
    """Whether a file looks like a model file of ours."""
    try:
        _read(Path(path), header_only=True)
    except BadFile:
        return False
    return True


def _read(
    path: Path, *, header_only: bool = False
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    if not path.is_file():
        raise BadFile(f"There is no model file {path}. Check the path.")
    try:
        head = read_archive(path, largest=_LARGEST, names=("header",))
        if head["header"].nbytes > _LARGEST_HEADER:
            raise ValueError("the header is too large")
        header = json.loads(head["header"].tobytes())
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError("the header is foreign")
        arrays = {} if header_only else read_archive(path, largest=_LARGEST)
        arrays.pop("header", None)
    except DAMAGED as error:
        if is_bioimage_model(path):
            raise BadFile(
                f"{path.name} is a package of the BioImage Model Zoo, made for other "
                f"programs. Use the {MODEL_SUFFIX} file that it was exported from."
            ) from error
        raise BadFile(
            f"{path.name} is not a model file of napari-ppn2v, or it is damaged "
            f"({error}). Choose a file that ends in {MODEL_SUFFIX}, saved "
            "after a training."
        ) from error
    schema = header.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise BadFile(
            f"{path.name} was written by a newer version of napari-ppn2v (schema "
            f"{schema}; this version reads up to {SCHEMA}). Update napari-ppn2v."
        )
    return header, arrays


def _description(model: PriorNetwork) -> dict[str, Any]:
    return {
        "network_kind": model.network_kind,
        "network": asdict(model.config),
        "prior_kind": model.prior_kind,
        "n_samples": model.n_samples,
        "normalisation": asdict(model.normalisation),
    }


def _weights_of(model: PriorNetwork, prefix: str) -> dict[str, NDArray]:
    return {
        prefix + name: value.detach().cpu().numpy()
        for name, value in model.state_dict().items()
    }


def _model(
    description: dict[str, Any], arrays: dict[str, NDArray], prefix: str
) -> PriorNetwork:
    import torch

    from napari_ppn2v.core.networks import NETWORKS
    from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork

    _, config_type = NETWORKS[description["network_kind"]]
    normal = description["normalisation"]
    scale = Normalisation(float(normal["mean"]), float(normal["std"]))
    if not (abs(scale.mean) < np.inf and 0 < scale.std < np.inf):
        raise ValueError(f"its grey values are scaled by {scale.mean} and {scale.std}")
    n_samples = int(description["n_samples"])
    if not 1 <= n_samples <= _MOST_SAMPLES:
        raise ValueError(f"it has {n_samples} samples of the prior")
    kind, settings = description["network_kind"], description["network"]
    if kind == "unet":  # that of older files had no other activation
        settings = {"activation": "relu", **settings}
    config = from_plain_settings(config_type, settings)
    kinds = description["prior_kind"], n_samples, scale, kind
    weights = {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
    with torch.device("meta"):  # takes no memory, whatever size is claimed
        _check_weights(PriorNetwork(config, *kinds).state_dict(), weights)
    model = PriorNetwork(config, *kinds)
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return model.eval()


def _check_weights(wanted: dict[str, Any], found: dict[str, NDArray]) -> None:
    """Compare weights with those of a network of the settings in the header.

    Raises
    ------
    ValueError  If some are missing, of another shape, or no finite numbers.
    """
    if set(wanted) != set(found):
        odd = sorted(set(wanted) ^ set(found))[0]
        raise ValueError(f"its weights and settings differ in {odd!r}")
    for name, weight in found.items():
        if weight.shape != tuple(wanted[name].shape):
            raise ValueError(f"its weight {name!r} has the shape {weight.shape}")
        largest = np.finfo(np.float32).max
        is_number = weight.dtype.kind in "fiu"
        if not is_number or not (np.abs(weight) <= largest).all():
            raise ValueError(f"its weight {name!r} is not a finite number everywhere")


def _blindness(plain: dict[str, Any]) -> Blindness:
    from napari_ppn2v.core.inference import Blindness

    box, replacement = plain["box"], plain["replacement"]
    is_known = replacement in ("mean", "random") and isinstance(box, int)
    if not is_known or not 2 <= box <= _LARGEST_BOX:
        raise ValueError(f"pixels are hidden in an unknown way ({plain})")
    return Blindness(box, replacement)


def _noise_model(
    header: dict[str, Any], arrays: dict[str, NDArray]
) -> NoiseModel | None:
    from napari_ppn2v.core.noise_models import model_from_state

    plain = header["noise_model"]
    if plain is None:
        return None
    state = {k: v for k, v in plain.items() if k != "kind"}
    state |= {
        name.removeprefix(_NOISE): value
        for name, value in arrays.items()
        if name.startswith(_NOISE)
    }
    return model_from_state(str(plain["kind"]), state)
