"""The folder of a run: the names in it, and the record that makes it resumable."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadFile, BadSetting, CannotWrite
from napari_ppn2v.files.atomic import (
    cannot_write,
    readable_bytes,
    write_json_atomically,
)
from napari_ppn2v.files.lazy import DAMAGED
from napari_ppn2v.files.leftovers import remove_leftovers
from napari_ppn2v.files.model_file import MODEL_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

RESULT_SUFFIXES = (".tif", ".tiff", ".zarr")
# names that are meant as a file, of a kind that no result is written as
_OTHER_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".avi", ".mp4"),
    *(".npy", ".npz", ".h5", ".hdf5", ".ims", ".n5", ".mat", ".csv", ".json"),
    *(".czi", ".nd2", ".lif", ".lsm", ".stk", ".oib", ".oif", ".dv"),
)
RUN_SUFFIX = ".ppn2v-run"
RECORD = "run.json"
FORMAT = "napari-ppn2v run"
SCHEMA = 1
RUNNING, STOPPED, FINISHED = "running", "stopped", "finished"
_SLACK = 100_000_000  # bytes for models, checkpoints and pictures


@dataclass(frozen=True)
class RunFolder:
    """Where everything of one run lies.

    Attributes
    ----------
    folder : holds all but what the user has named otherwise
    results : denoised images, one for each input
    model : name of the model file, for runs of a single channel
    """

    folder: Path
    results: tuple[Path, ...]
    model: Path

    @classmethod
    def for_output(cls, out: Path, names: Sequence[str]) -> RunFolder:
        """Lay out a run whose output the user has called `out`.

        Parameters
        ----------
        out
            Ends in .tif, .tiff or .zarr: the result file; in .ppn2v: the model file,
            without results. All else is then in a folder beside it. Otherwise a
            folder that holds everything.
        names : of the images to be denoised

        Raises
        ------
        BadSetting  If several images would go into one file, or into a file of a kind
            that is not written.
        """
        suffix = out.suffix.lower()
        beside = out.with_name(without_suffix(out.name) + RUN_SUFFIX)
        if suffix == MODEL_SUFFIX:
            beside = out.with_name(out.stem + RUN_SUFFIX)
            return cls(beside, (), out)
        if suffix in RESULT_SUFFIXES:
            if len(names) > 1:
                raise BadSetting(
                    f"{len(names)} images cannot all be written to {out.name}. Name a "
                    "folder for the results; it is created where it is missing."
                )
            return cls(beside, (out,), beside / f"model{MODEL_SUFFIX}")
        if suffix in _OTHER_SUFFIXES and not out.is_dir():
            raise BadSetting(
                f"The output is named {out.name}, but results are not written as "
                f"{suffix}. End it in .tif, .ome.tif or .zarr, or name a folder."
            )
        results = tuple(out / f"{n}_denoised.ome.tif" for n in unique_names(names))
        return cls(out, results, out / f"model{MODEL_SUFFIX}")

    @property
    def record(self) -> Path:
        """The JSON file of settings, provenance and progress."""
        return self.folder / RECORD

    def posterior_std(self, result: Path) -> Path:
        """Name of the uncertainty that belongs to a result."""
        return posterior_std_path(result)

    def file(self, stem: str, suffix: str, tag: str = "") -> Path:
        """Return the name of one file of the run; `tag` tells channels apart."""
        return self.folder / f"{stem}{tag}{suffix}"

    def model_file(self, tag: str = "") -> Path:
        """Name of the model of one channel."""
        return self.model.with_name(f"{self.model.stem}{tag}{MODEL_SUFFIX}")

    def checkpoint(self, stage: str, tag: str = "") -> Path:
        """Name of the training state of one stage of one channel."""
        return self.file(f"checkpoint_{stage.replace(' ', '_')}", ".pt", tag)

    def read_record(self) -> dict[str, Any] | None:
        """Return what is recorded of an earlier run, None if there was none.

        Raises
        ------
        BadFile  If the record is damaged, foreign or of a newer version.
        """
        return read_record(self.record) if self.record.exists() else None

    def write_record(self, content: dict[str, Any]) -> None:
        """Replace the record as a whole; raises CannotWrite."""
        head = {"format": FORMAT, "schema": SCHEMA}
        write_json_atomically(self.record, {**head, **content})

    def has_progress(self) -> bool:
        """Whether anything would be lost by beginning again."""
        states = self.folder.glob("checkpoint_*.pt")
        return any(states) or self.model.exists()

    def remove_leftovers(self) -> None:
        """Delete what killed processes have left half-written in the folders."""
        paths = (self.record, self.model, *self.results)
        for folder in {path.parent for path in paths}:
            remove_leftovers(folder)

    def remove_checkpoints(self) -> None:
        """Delete the training states, which a finished run needs no more."""
        for path in self.folder.glob("checkpoint_*.pt"):
            path.unlink(missing_ok=True)


def prepare_outputs(
    products: Sequence[Path], inputs: Iterable[Path], n_bytes: int
) -> None:
    """Create the folders of results, and refuse what would fail at the end.

    Parameters
    ----------
    products : files that will be written
    inputs : files that must not be written to
    n_bytes : size of the results

    Raises
    ------
    CannotWrite  If a folder cannot be written to, the disk is too small, or a result
        would replace an input.
    """
    clash = {path.resolve() for path in inputs} & {p.resolve() for p in products}
    if clash:
        raise CannotWrite(
            f"The result {clash.pop()} would replace an input image. Choose another "
            "name for the output."
        )
    folder = products[-1].parent
    free = _free_bytes(folder)
    if n_bytes + _SLACK > free:
        raise CannotWrite(
            f"The results need {readable_bytes(n_bytes + _SLACK)} (training states "
            f"included), but only {readable_bytes(free)} are free in {folder}. Free "
            "some space or choose another drive."
        )
    for folder in {path.parent for path in products}:
        check_writable(folder)


def _free_bytes(folder: Path) -> int:
    """Space where a folder is or will be made; raises CannotWrite."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise cannot_write(error, folder) from error


def posterior_std_path(result: Path) -> Path:
    """Name of the uncertainty file that belongs to a result."""
    stem = without_suffix(result.name).removesuffix("_denoised")
    return result.with_name(f"{stem}_posterior_std{_ending(result)}")


def read_record(path: Path) -> dict[str, Any]:
    """Read a run's record.

    Raises
    ------
    BadFile  If it is damaged, foreign or of a newer version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("it is of another program")
        schema = int(content["schema"])
    except DAMAGED as error:
        raise BadFile(
            f"{path} is not the record of a run of napari-ppn2v, or it is damaged "
            f"({error}). Choose another output folder."
        ) from error
    if schema > SCHEMA:
        raise BadFile(
            f"{path} was written by a newer version of napari-ppn2v (schema {schema}; "
            f"this version reads up to {SCHEMA}). Update napari-ppn2v."
        )
    return content


def check_writable(folder: Path) -> None:
    """Create a folder where it is missing and write a byte into it, for a moment.

    Raises
    ------
    CannotWrite  If either fails.
    """
    probe = folder / ".napari-ppn2v-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"0")
        probe.unlink()
    except OSError as error:
        raise cannot_write(error, folder) from error


def unique_names(names: Sequence[str]) -> list[str]:
    """Tell equal names apart by numbers: a, a_2, a_3."""
    unique: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in unique:
            number += 1
            candidate = f"{name}_{number}"
        unique.append(candidate)
    return unique


def without_suffix(name: str) -> str:
    """Name of an image without .tif, .ome.tif, .zarr..."""
    return re.sub(r"(\.ome)?\.(tiff?|zarr|npy|lsm|stk)$", "", name, flags=re.IGNORECASE)


def _ending(path: Path) -> str:
    """Suffix of an image file, ".ome.tif" as a whole."""
    return path.name[len(without_suffix(path.name)) :]
