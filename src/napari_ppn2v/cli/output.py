"""What is said where: messages on stderr, results and tables on stdout."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def messages() -> Console:
    """Console for people, on the stderr of now."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def complain(message: str) -> None:
    """Say on stderr what went wrong."""
    typer.echo(f"Error: {message}", err=True)


def say(message: str) -> None:
    """Say something on stderr that is not a result."""
    typer.echo(message, err=True)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    left: Sequence[int] = (0,),
) -> str:
    """Lay out columns with spaces: numbers to the right, texts (`left`) to the left."""
    cells = [[str(item) for item in row] for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in cells:
        parts = [
            text.ljust(width) if i in left else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def show(text: str) -> None:
    """Print a result on stdout."""
    typer.echo(text)


def is_terminal() -> bool:
    """Whether people watch stderr."""
    return sys.stderr.isatty()
