"""What `info` says of a package of the BioImage Model Zoo, ours or anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_ppn2v.files.bioimage_model import OURS, read_description

if TYPE_CHECKING:
    from pathlib import Path


def package_info(path: Path) -> str:
    """Describe a package in lines.

    Raises
    ------
    BadFile  If it is damaged.
    """
    found = read_description(path)
    authors = [str(_known(author, "name")) for author in found.get("authors", [])]
    lines = [
        f"Package of the BioImage Model Zoo: {found.get('name', path.stem)} "
        f"(format {found.get('format_version', 'unknown')})",
        f"Description: {found.get('description', 'none')}",
        f"Authors: {', '.join(authors) or 'none'}",
        f"Licence: {found.get('license', 'none')}",
        f"Weights: {', '.join(found.get('weights', {})) or 'none'}",
        f"Takes: {', '.join(_tensor(item) for item in found.get('inputs', []))}",
        f"Gives: {', '.join(_tensor(item) for item in found.get('outputs', []))}",
    ]
    ours = found.get("config", {}).get(OURS)
    if ours:
        lines.append("Made by napari-ppn2v:")
        lines += [f"  {key}: {value}" for key, value in ours.items()]
    lines.append("It is for other programs; napari-ppn2v applies .ppn2v files.")
    return "\n".join(lines)


def _tensor(plain: dict[str, Any]) -> str:
    axes = [str(_known(axis, "id", "type")) for axis in plain.get("axes", [])]
    return f"{_known(plain, 'id', 'name')} ({', '.join(axes)})"


def _known(plain: Any, *names: str) -> Any:
    """First entry there is; in older formats, axes are letters."""
    if not isinstance(plain, dict):
        return plain
    return next((plain[name] for name in names if name in plain), "unnamed")
