"""A small library of noise models in the user's data folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppn2v.errors import BadFile, BadSetting, CannotWrite
from napari_ppn2v.files.noise_model_files import (
    Provenance,
    load_noise_model,
    read_provenance,
    save_noise_model,
)

if TYPE_CHECKING:
    from os import PathLike

    from napari_ppn2v.core.noise_models import NoiseModel


@dataclass(frozen=True)
class LibraryEntry:
    """One noise model of the library."""

    path: Path
    provenance: Provenance


class NoiseModelLibrary:
    """Noise models kept by name, camera, gain and date, one file each.

    Parameters
    ----------
    folder
        Where the files are; by default in the user's data folder. It is made when
        the first model is saved.
    """

    def __init__(self, folder: str | PathLike[str] | None = None) -> None:
        if folder is None:
            from platformdirs import user_data_path

            folder = user_data_path("napari-ppn2v", appauthor=False) / "noise-models"
        self.folder = Path(folder)

    def save(
        self, model: NoiseModel, provenance: Provenance, *, replacing: bool = False
    ) -> LibraryEntry:
        """Add a model; its name must be given and, without `replacing`, be new.

        A missing date becomes today's.

        Raises
        ------
        BadSetting  If there is no name or it is taken.
        CannotWrite  If the folder cannot be made or written to.
        """
        path = self._path_of(provenance.name)
        if path.exists() and not replacing:
            raise BadSetting(
                f"There is already a noise model named '{provenance.name}' in the "
                "library. Choose another name, or delete the old one first."
            )
        if not provenance.date:
            provenance = replace(provenance, date=date.today().isoformat())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(
                f"The library folder '{self.folder}' cannot be made: {error.strerror}. "
                "Choose another folder."
            ) from error
        return LibraryEntry(save_noise_model(path, model, provenance), provenance)

    def entries(self) -> list[LibraryEntry]:
        """List all models, the newest date first; files that are none are left out."""
        found = []
        for path in sorted(self.folder.glob("*.npz")):
            try:
                found.append(LibraryEntry(path, read_provenance(path)))
            except BadFile:
                continue
        return sorted(found, key=lambda entry: entry.provenance.date, reverse=True)

    def load(self, name: str) -> NoiseModel:
        """Read the model of this name.

        Raises
        ------
        BadFile  If there is none, or it is damaged.
        """
        return load_noise_model(self._existing(name))

    def delete(self, name: str) -> None:
        """Remove the model of this name.

        Raises
        ------
        BadFile  If there is none.
        """
        self._existing(name).unlink()

    def _existing(self, name: str) -> Path:
        path = self._path_of(name)
        if not path.is_file():
            known = ", ".join(f"'{e.provenance.name}'" for e in self.entries())
            raise BadFile(
                f"There is no noise model named '{name}' in the library "
                f"'{self.folder}'. It holds {known or 'none yet'}."
            )
        return path

    def _path_of(self, name: str) -> Path:
        """File of a model: its name without what file systems do not allow."""
        safe = re.sub(r"[^\w.+-]+", "-", name, flags=re.UNICODE).strip("-. ")
        if not safe:
            raise BadSetting(
                f"The name {name!r} cannot be used for a noise model. Give it a name "
                "of letters or digits."
            )
        return self.folder / f"{safe}.npz"
