"""The command line `napari-ppn2v`: it parses, runs a long job and prints."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process."""
    from napari_ppn2v.cli.app import app

    app()
