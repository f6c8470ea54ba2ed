"""Write docs/reference/messages.md: bad inputs and what is said about each.

The inputs are those of tests/hardening/bad_inputs.py, which the tests make too.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "messages.md"

HEAD = """# Bad inputs and their messages

<!-- Made from the tests by docs/make_messages.py (make reference); do not edit. -->

Every row is a bad input that the tests make and give to the program, and the whole
message that comes out, with paths shortened. What to do about the usual ones, and what
the viewer says besides, is in
[When images or settings are refused](../how-to/messages.md). The classes of errors are
in [Errors](errors.md). How files are tried with damage of all kinds, and what that
found, is in [Hostile files](../explanation/hostile-files.md).
"""


TABLE = "| bad input | error | message |\n|---|---|---|\n"


def page(folder: Path) -> str:
    """Make all bad inputs in folders of their own, and return the page."""
    sys.path.insert(0, str(ROOT))
    from tests.hardening.bad_inputs import CASES, message_of

    parts = [HEAD]
    number = 0
    for group, cases in groupby(CASES, key=lambda case: case.group):
        parts.append(
            f"\n## {group}\n\n| bad input | error | message |\n|---|---|---|\n"
        )
        for case in cases:
            number += 1
            own = folder / str(number)
            own.mkdir()
            text = message_of(case, own).replace("|", "\\|").replace("<", "&lt;")
            parts.append(f"| {case.what} | `{case.error.__name__}` | {text} |\n")
    return "".join(parts)


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(Path(folder)), encoding="utf-8")


if __name__ == "__main__":
    main()
