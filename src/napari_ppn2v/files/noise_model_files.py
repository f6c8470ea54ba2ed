"""Read and write noise models: our own files, and those of PN2V, PPN2V and CAREamics.

Nothing here unpickles; a file can hold arrays, numbers and text only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ppn2v.errors import BadFile, BadSetting
from napari_ppn2v.files.archives import (
    MAGIC_NPY,
    MAGIC_ZIP,
    read_archive,
    read_array,
)
from napari_ppn2v.files.atomic import atomic_path
from napari_ppn2v.files.lazy import DAMAGED

if TYPE_CHECKING:
    from os import PathLike

    from napari_ppn2v.core.noise_models import (
        GaussianMixtureModel,
        HistogramModel,
        NoiseModel,
    )

__all__ = [
    "DIALECTS",
    "Provenance",
    "convert",
    "load_noise_model",
    "read_provenance",
    "save_noise_model",
]

SCHEMA = "napari-ppn2v noise model"
SCHEMA_VERSION = 1
DIALECTS = ("own", "ppn2v-gmm", "pn2v-histogram")

_HEADER = "header"
_GMM_KEYS = {"trained_weight", "min_signal", "max_signal", "min_sigma"}
_LARGEST = 500_000_000  # bytes; a histogram of 4096 bins has 400 MB
_PPN2V_LIKELIHOOD_FLOOR = 1e-10  # what the published program adds to every likelihood


@dataclass(frozen=True)
class Provenance:
    """Where a noise model comes from; all fields may be empty.

    `gain` is the setting of the camera as its user writes it, `date` an ISO date,
    `source` what the model was made from.
    """

    name: str = ""
    camera: str = ""
    gain: str = ""
    date: str = ""
    source: str = ""


def save_noise_model(
    path: str | PathLike[str],
    model: NoiseModel,
    provenance: Provenance | None = None,
    *,
    dialect: str = "own",
) -> Path:
    """Write a noise model; the file appears under its name only when complete.

    Parameters
    ----------
    path
        File to write. The suffix of the dialect (.npz or .npy) is added where missing.
    provenance
        Kept in our own files only.
    dialect
        "own", "ppn2v-gmm" (also read by DivNoising and CAREamics) for a mixture, or
        "pn2v-histogram" for a histogram.

    Raises
    ------
    BadSetting  If the dialect cannot hold this kind of model.
    CannotWrite  If the file cannot be written.
    """
    if dialect not in DIALECTS:
        raise BadSetting(
            f"The file dialect is {dialect!r}. Choose one of {', '.join(DIALECTS)}."
        )
    path = Path(path)
    suffix = ".npy" if dialect == "pn2v-histogram" else ".npz"
    if path.suffix.lower() != suffix:
        path = path.with_name(path.name + suffix)
    arrays = _arrays_of(model, provenance or Provenance(), dialect)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        if isinstance(arrays, dict):
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        else:
            np.save(file, arrays, allow_pickle=False)
    return path


def load_noise_model(
    path: str | PathLike[str], *, lower_edge: bool = False
) -> NoiseModel:
    """Read a noise model of any known dialect, told apart by what the file holds.

    Parameters
    ----------
    lower_edge
        Read a PN2V histogram as its own program does, interpolating from the lower
        edges of the bins. That is biased by half a bin; by default bins are centred.

    Raises
    ------
    BadFile  If the file is missing, damaged, foreign or of a newer version.
    """
    content = _read(Path(path))
    if isinstance(content, np.ndarray):
        return _histogram_from_pn2v(content, Path(path), lower_edge)
    if _HEADER in content:
        return _own_model(content, Path(path))
    if set(content) >= _GMM_KEYS:
        return _mixture_from_ppn2v(content, Path(path))
    raise _foreign(Path(path), f"it holds {', '.join(sorted(content)) or 'nothing'}")


def read_provenance(path: str | PathLike[str]) -> Provenance:
    """Read where a noise model comes from; empty for files of other programs.

    Raises
    ------
    BadFile  As `load_noise_model`.
    """
    content = _read(Path(path))
    if isinstance(content, np.ndarray) or _HEADER not in content:
        return Provenance(name=Path(path).stem)
    known = _header(content, Path(path)).get("provenance", {})
    if not isinstance(known, dict):
        raise _damaged(Path(path), "what it says about its origin is no list of names")
    fields = {k: str(v) for k, v in known.items() if k in asdict(Provenance())}
    return Provenance(**fields)


def convert(
    source: str | PathLike[str],
    target: str | PathLike[str],
    *,
    dialect: str,
    lower_edge: bool = False,
) -> Path:
    """Write the noise model in `source` in another dialect.

    Raises
    ------
    BadFile, BadSetting, CannotWrite  As reading and writing.
    """
    model = load_noise_model(source, lower_edge=lower_edge)
    origin = read_provenance(source)
    if not origin.source:
        origin = replace(origin, source=Path(source).name)
    return save_noise_model(target, model, origin, dialect=dialect)


def _arrays_of(
    model: NoiseModel, provenance: Provenance, dialect: str
) -> dict[str, np.ndarray] | np.ndarray:
    """Return what the file will hold."""
    from napari_ppn2v.core.noise_models import GaussianMixtureModel, HistogramModel

    if dialect == "own":
        return _own_arrays(model, provenance)
    if dialect == "ppn2v-gmm" and isinstance(model, GaussianMixtureModel):
        return _mixture_to_ppn2v(model)
    if dialect == "pn2v-histogram" and isinstance(model, HistogramModel):
        return _histogram_to_pn2v(model)
    wanted = "mixture of Gaussians" if dialect == "ppn2v-gmm" else "histogram"
    raise BadSetting(
        f"A file of the dialect {dialect!r} holds a {wanted}, but this noise model is "
        f"of the kind {model.kind!r}. Fit a {wanted}, or use the dialect 'own'."
    )


def _own_arrays(model: NoiseModel, provenance: Provenance) -> dict[str, np.ndarray]:
    state = model.state()
    arrays = {k: v for k, v in state.items() if isinstance(v, np.ndarray)}
    plain = {k: v for k, v in state.items() if not isinstance(v, np.ndarray)}
    header = {
        "schema": SCHEMA,
        "version": SCHEMA_VERSION,
        "kind": model.kind,
        "values": plain,
        "provenance": asdict(provenance),
    }
    text = json.dumps(header, ensure_ascii=False)
    return {_HEADER: np.array(text), **{f"state.{k}": v for k, v in arrays.items()}}


def _own_model(content: dict[str, np.ndarray], path: Path) -> NoiseModel:
    from napari_ppn2v.core.noise_models import model_from_state

    header = _header(content, path)
    arrays = {
        key.removeprefix("state."): value
        for key, value in content.items()
        if key.startswith("state.")
    }
    try:
        return model_from_state(
            str(header.get("kind")), {**header.get("values", {}), **arrays}
        )
    except (*DAMAGED, BadSetting) as error:
        raise _damaged(path, str(error)) from error


def _header(content: dict[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Read and check the JSON header of one of our files."""
    try:
        header = json.loads(str(content[_HEADER]))
    except DAMAGED as error:
        raise _damaged(path, "its header cannot be read") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise _foreign(path, "its header is of another program")
    version = header.get("version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise BadFile(
            f"'{path.name}' has version {version} of the noise-model format, but only "
            f"versions up to {SCHEMA_VERSION} are known. Update napari-ppn2v."
        )
    return header


def _mixture_to_ppn2v(model: GaussianMixtureModel) -> dict[str, np.ndarray]:
    low, high = model.signal_range
    return {
        "trained_weight": model.coefficients.cpu().numpy().astype(np.float32),
        # Shape (1,) and 0-d: the one mix that all three programs read.
        "min_signal": np.array([low], np.float32),
        "max_signal": np.array([high], np.float32),
        "min_sigma": np.array(model.variance_floor),
    }


def _mixture_from_ppn2v(
    content: dict[str, np.ndarray], path: Path
) -> GaussianMixtureModel:
    from napari_ppn2v.core.noise_models import GaussianMixtureModel, check_usable

    try:
        if not all(np.isfinite(content[key]).all() for key in _GMM_KEYS):
            raise ValueError("it holds values that are not finite")
        low, high, floor = (
            float(content[key].reshape(-1)[0])
            for key in ("min_signal", "max_signal", "min_sigma")
        )
        model = GaussianMixtureModel(
            content["trained_weight"],
            min_signal=low,
            max_signal=high,
            variance_floor=floor,
            likelihood_floor=_PPN2V_LIKELIHOOD_FLOOR,
            is_clamped=False,
        )
        check_usable(model)
        return model
    except (*DAMAGED, BadSetting) as error:
        raise _damaged(path, str(error)) from error


def _histogram_to_pn2v(model: HistogramModel) -> np.ndarray:
    """Return (3, B, B): mass per bin, lower edges, upper edges along axis 0."""
    rows = model.signal_edges.cpu().numpy()
    columns = model.observation_edges.cpu().numpy()
    if len(rows) != len(columns) or not np.allclose(rows, columns):
        raise BadSetting(
            "A PN2V histogram has the same equal bins for signal and observation, but "
            f"this one has {len(rows) - 1} bins of signal and {len(columns) - 1} of "
            "observation. Fit the histogram with a given number of bins first."
        )
    mass = model.mass.cpu().numpy()
    lower = np.broadcast_to(rows[:-1, None], mass.shape)
    upper = np.broadcast_to(rows[1:, None], mass.shape)
    return np.stack([mass, lower, upper])


def _histogram_from_pn2v(
    content: np.ndarray, path: Path, lower_edge: bool
) -> HistogramModel:
    from napari_ppn2v.core.noise_models import HistogramModel, check_usable

    shape = content.shape
    is_fitting = content.ndim == 3 and shape[0] == 3 and shape[1] == shape[2] > 2
    if not is_fitting or content.dtype.kind != "f":
        raise _foreign(path, f"its array has the shape {shape}, not (3, bins, bins)")
    mass, lower, upper = (part.astype(np.float64) for part in content)
    edges = np.append(lower[:, 0], upper[-1, 0])
    is_ascending = bool((np.diff(edges) > 0).all())
    if not (np.isfinite(content).all() and is_ascending and (mass >= 0).all()):
        raise _damaged(path, "its bins are not ascending or not finite")
    try:
        model = HistogramModel(
            mass if lower_edge else _filled_rows(mass),
            edges,
            edges,
            interpolation="lower-edge" if lower_edge else "centre",
        )
        check_usable(model)
    except BadSetting as error:
        raise _damaged(path, str(error)) from error
    return model


def _filled_rows(mass: np.ndarray) -> np.ndarray:
    """Give empty rows the shape of the nearest filled one, moved along the diagonal."""
    filled = np.flatnonzero(mass.sum(axis=1) > 0.5)
    result = mass.copy()
    for row in np.flatnonzero(mass.sum(axis=1) <= 0.5) if len(filled) else ():
        nearest = filled[np.abs(filled - row).argmin()]
        columns = np.arange(mass.shape[1]) + nearest - row
        inside = (columns >= 0) & (columns < mass.shape[1])
        moved = np.where(inside, mass[nearest, columns * inside], 0.0)
        result[row] = moved / moved.sum() if moved.sum() > 0 else mass[nearest]
    return result


def _read(path: Path) -> dict[str, np.ndarray] | np.ndarray:
    """Load all arrays of an .npz or the one of an .npy, never unpickling."""
    if not path.is_file():
        raise BadFile(f"The noise-model file '{path}' does not exist.")
    if path.stat().st_size == 0:
        raise BadFile(
            f"The noise-model file '{path.name}' is empty. It was probably not written "
            "to its end; make or copy it again."
        )
    try:
        with path.open("rb") as file:
            magic = file.read(6)
        if magic == MAGIC_NPY:
            return read_array(path, largest=_LARGEST)
        if not magic.startswith(MAGIC_ZIP):
            raise _foreign(path, "it is neither .npz nor .npy")
        return read_archive(path, largest=_LARGEST)
    except DAMAGED as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> BadFile:
    return BadFile(
        f"The noise-model file '{path.name}' is damaged or incomplete: {why}. Copy it "
        "again from its source, or make the noise model again."
    )


def _foreign(path: Path, why: str) -> BadFile:
    return BadFile(
        f"'{path.name}' is not a noise model that is known here: {why}. Choose one of "
        "our own .npz, a mixture (.npz) of PPN2V, DivNoising or CAREamics, or a "
        "histogram (.npy) of PN2V."
    )
