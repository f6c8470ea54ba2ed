"""Results as rows of a CSV file that only ever grows by finished runs.

The file is the memory of an experiment: what stands in it is not run again, so that an
experiment that was interrupted goes on where it was, and figures and tables are made
from it alone.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_ppn2v.files.atomic import write_text_atomically

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a CSV file, numbers as numbers; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{key: _value(text) for key, text in row.items()} for row in _csv(file)]


def _csv(file: Iterable[str]) -> Iterator[dict[str, str]]:
    return iter(csv.DictReader(file))


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace a CSV file as a whole; columns in order of their first appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _shown(value) for key, value in row.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, text.getvalue())


def _shown(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


@dataclass
class Ledger:
    """Rows of finished runs, kept in a CSV file.

    Attributes
    ----------
    path : of the file, made with its folder when the first run is finished
    keys : columns whose values name a run
    """

    path: Path
    keys: tuple[str, ...]
    rows: list[Row] = field(init=False)

    def __post_init__(self) -> None:
        self.rows = read_rows(self.path)

    def has(self, **named: Any) -> bool:
        """Whether this run is finished."""
        return bool(self.of(**named))

    def of(self, **named: Any) -> list[Row]:
        """Return the rows with these values."""
        return [
            row
            for row in self.rows
            if all(row.get(key) == value for key, value in named.items())
        ]

    def add(self, new: Sequence[Row]) -> None:
        """Keep the rows of one more run; all of them reach the disk or none."""
        for row in new:
            missing = [key for key in self.keys if key not in row]
            if missing:
                raise ValueError(f"A row lacks {', '.join(missing)}.")
        self.rows += [
            {key: _value(str(_shown(value))) for key, value in row.items()}
            for row in new
        ]
        write_rows(self.path, self.rows)
