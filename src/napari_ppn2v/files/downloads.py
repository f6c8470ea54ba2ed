"""Fetch image files out of archives on the internet, once; keep them in a folder.

The archive itself is not kept. What is kept about it is its checksum, in a small file
beside the images, so that a later download has to be the same as the first.
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import CannotDownload, CannotWrite
from napari_ppn2v.files.atomic import (
    atomic_path,
    readable_bytes,
    write_json_atomically,
)
from napari_ppn2v.files.lazy import DAMAGED
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORD = "archive.json"
# all but OSError, which tells of the drive
_DAMAGED_ARCHIVE = tuple(kind for kind in DAMAGED if kind is not OSError)
_CHUNK = 2**18
_TIMEOUT_SECONDS = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A zip archive on the internet and the files wanted of it.

    Attributes
    ----------
    url
        Address of the archive.
    members
        Names of the wanted files, without the folders they are in.
    n_bytes
        Size of the archive; None where nobody has said.
    checksum
        "md5:..." or "sha256:..."; None where unknown, then the first download's is
        kept and holds from then on.
    """

    url: str
    members: tuple[str, ...]
    n_bytes: int | None = None
    checksum: str | None = None


class Amount:
    """How much of a download is there; read by one thread, written by another.

    Attributes
    ----------
    done, total : bytes; total is None as long as it is not known
    """

    def __init__(self, stop: StopToken | None = None) -> None:
        self.done = 0
        self.total: int | None = None
        self.stop = stop or StopToken()


def fetch(archive: Archive, folder: Path, amount: Amount | None = None) -> list[Path]:
    """Return the paths of an archive's wanted files, downloading what is missing.

    Parameters
    ----------
    archive
        What to fetch.
    folder
        Where the files are kept; made if need be.
    amount
        Told about progress and asked whether to stop.

    Raises
    ------
    CannotDownload  If there is no connection, the server refuses, the file arrives
        incomplete or is not the expected one, or a stop was asked for.
    CannotWrite  If the drive has no room or the folder cannot be written to.
    """
    wanted = _kept(archive, folder)
    if wanted is not None:
        return wanted
    _make(folder)
    # a name of its own: a download that was given up may still be ending
    local = folder / f"{uuid.uuid4().hex[:12]}.zip"
    try:
        _download(archive, local, amount or Amount())
        _unpack(archive, local, folder)
    finally:
        local.unlink(missing_ok=True)
    return [folder / name for name in archive.members]


def _kept(archive: Archive, folder: Path) -> list[Path] | None:
    """Return the wanted files if an earlier download left all of them whole."""
    wanted = [folder / name for name in archive.members]
    sizes = _record(folder).get("members")
    if not isinstance(sizes, dict):
        return None
    if all(p.is_file() and p.stat().st_size == sizes.get(p.name) for p in wanted):
        return wanted
    return None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(
            f"The folder {folder} for downloads cannot be made: {error.strerror}. "
            "Check the drive and that you may write there."
        ) from error


def _record(folder: Path) -> dict[str, Any]:
    """Return what is kept about an earlier download; empty where there was none."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except DAMAGED:
        return {}
    return found if isinstance(found, dict) else {}


def _download(archive: Archive, local: Path, amount: Amount) -> None:
    import pooch

    recorded = _record(local.parent).get("checksum")
    recorded = recorded if isinstance(recorded, str) and ":" in recorded else None
    checksum = archive.checksum or recorded
    check_room(local.parent, archive.n_bytes or 0)
    download = pooch.HTTPDownloader(
        progressbar=_Progress(amount, local.parent),
        chunk_size=_CHUNK,
        timeout=_TIMEOUT_SECONDS,
    )
    # pooch tells the console about each file; the viewer shows it already
    pooch.get_logger().setLevel("WARNING")
    with _explained(archive, local.parent):
        pooch.retrieve(
            archive.url,
            known_hash=checksum,
            fname=local.name,
            path=local.parent,
            downloader=download,
        )
    if checksum is None:
        found = f"sha256:{pooch.file_hash(str(local), alg='sha256')}"
        logger.info("First download of %s: %s", archive.url, found)
        write_json_atomically(local.parent / RECORD, {"checksum": found})


def _unpack(archive: Archive, local: Path, folder: Path) -> None:
    """Take the wanted files out of the archive, each complete or not at all."""
    try:
        with zipfile.ZipFile(local) as opened:
            found = dict(_members(opened))
            missing = [name for name in archive.members if name not in found]
            if missing:
                raise CannotDownload(
                    f"The archive {archive.url} does not hold {', '.join(missing)}. It "
                    "may have been replaced by another version; please report this."
                )
            for name in archive.members:
                _extract(opened, found[name], folder / name)
    except _DAMAGED_ARCHIVE as error:
        raise CannotDownload(
            f"What {archive.url} sent is no zip archive, or a damaged one ({error}). "
            "Nothing of it was kept. Try again later."
        ) from error
    kept = {name: (folder / name).stat().st_size for name in archive.members}
    old = _record(folder)
    checksum = old.get("checksum", archive.checksum)
    content = {"url": archive.url, "checksum": checksum, "members": kept}
    write_json_atomically(folder / RECORD, content)


def _members(opened: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in opened.infolist():
        path = PurePosixPath(info.filename)
        # macOS adds a hidden twin of each file
        if "__MACOSX" not in path.parts and not info.is_dir():
            yield path.name, info


def _extract(opened: zipfile.ZipFile, info: zipfile.ZipInfo, final: Path) -> None:
    with (
        atomic_path(final, needed_bytes=info.file_size) as temporary,
        opened.open(info) as source,
        temporary.open("wb") as target,
    ):
        shutil.copyfileobj(source, target, _CHUNK)


def check_room(folder: Path, needed: int) -> None:
    """Refuse a download that does not fit on the drive; raises CannotWrite."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise CannotWrite(
            f"This download needs {readable_bytes(needed)}, but only "
            f"{readable_bytes(free)} are free on the drive of {folder}. Free some "
            "space and open the sample again."
        )


class _Progress:
    """What pooch calls a progress bar; the place to stop a download, too."""

    def __init__(self, amount: Amount, folder: Path) -> None:
        self._amount, self._folder = amount, folder

    @property
    def total(self) -> int:
        return self._amount.total or 0

    @total.setter
    def total(self, n_bytes: int) -> None:
        check_room(self._folder, n_bytes)
        self._amount.total = n_bytes or None

    def update(self, n_bytes: int) -> None:
        if self._amount.stop.is_stopped:
            raise CannotDownload("The download was stopped. Nothing of it was kept.")
        done = self._amount.done + n_bytes
        self._amount.done = min(done, self.total) if self.total else done

    def reset(self) -> None:
        """All is there already; pooch counts it once more at the end."""

    def close(self) -> None:
        """Nothing to close; pooch calls it at the end."""


@contextmanager
def _explained(archive: Archive, folder: Path) -> Iterator[None]:
    """Turn what pooch and requests raise into sentences."""
    import requests

    try:
        yield
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        raise CannotDownload(
            f"The server answered {status} when asked for {archive.url}. The file may "
            "have moved, or the server is busy. Try again later."
        ) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise CannotDownload(
            f"{archive.url} cannot be reached. Check that this computer is connected "
            "to the internet and that no firewall is in between, and open the sample "
            "again. The samples that need no download work without a connection."
        ) from error
    except requests.RequestException as error:
        raise CannotDownload(
            f"The connection broke off before all of {archive.url} had arrived. "
            "Nothing of it was kept. Try again."
        ) from error
    except ValueError as error:
        raise CannotDownload(
            f"The checksum of what {archive.url} sent is not the expected one: the "
            "download was damaged, or the file there is another one now. Nothing of it "
            "was kept. Try again; if this comes back, please report it."
        ) from error
    except OSError as error:
        raise CannotWrite(
            f"The download could not be written to {folder}: "
            f"{error.strerror or error}. Check the drive, and open the sample again."
        ) from error
