"""Markdown from docstrings in numpy style, for the pages of the reference."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def one_line(text: str | None) -> str:
    """Text without its line breaks."""
    return " ".join((text or "").split())


def sections(docstring: str) -> dict[str, list[str]]:
    """Parts of a docstring in numpy style; the text before the first one is ""."""
    found: dict[str, list[str]] = {"": []}
    here, lines = "", docstring.splitlines()
    for number, line in enumerate(lines):
        below = lines[number + 1] if number + 1 < len(lines) else ""
        if line and below and set(below) == {"-"}:
            here = line
            found[here] = []
        elif not (line and set(line) == {"-"} and lines[number - 1] == here):
            found[here].append(line)
    return found


def entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of "name : text" with what is indented below it."""
    name, text = "", list[str]()
    for line in [*lines, "end"]:
        if line.startswith(" ") or not line:
            text.append(line)
            continue
        if name:
            yield name, one_line(" ".join(text))
        name, _, first = line.partition(" : ")
        text = [first]


def named_sentences(lines: list[str]) -> str:
    """Turn lines of "Name  What of it." into sentences with the name as code."""
    found: list[str] = []
    for line in lines:
        name, gap, rest = line.partition("  ")
        if line and not line.startswith(" ") and gap:
            found.append(f"`{name}`: {rest.strip()}")
        else:
            found.append(line)
    return one_line(" ".join(found))


def documented(item: Any) -> Iterator[str]:
    """Parts of a page for the docstring of a function or a class."""
    parts = sections(inspect.getdoc(item) or "")
    yield "\n".join(parts.pop("")).strip()
    for title, lines in parts.items():
        if title in ("Parameters", "Attributes"):
            yield f"**{title}**"
            yield "\n".join(f"- `{name}`: {text}" for name, text in entries(lines))
        elif title == "Examples":
            shown_ = "\n".join(lines).replace("  # doctest: +SKIP", "").strip()
            yield f"**Example**\n\n```pycon\n{shown_}\n```"
        else:
            yield f"**{title}:** {named_sentences(lines)}"


def signature(name: str, function: Callable[..., Any]) -> str:
    """Show how a function is called, one parameter in each line."""
    items, lines, is_marked = inspect.signature(function).parameters, [], False
    for item in items.values():
        if item.kind is item.KEYWORD_ONLY and not is_marked:
            lines.append("*")
        is_marked = is_marked or item.kind in (item.KEYWORD_ONLY, item.VAR_POSITIONAL)
        default = "" if item.default is item.empty else f"={item.default!r}"
        stars = {item.VAR_POSITIONAL: "*", item.VAR_KEYWORD: "**"}.get(item.kind, "")
        lines.append(f"{stars}{item.name}{default}")
    inner = ", ".join(lines)
    if len(name) + len(inner) > 76:
        inner = "\n    " + ",\n    ".join(lines) + ",\n"
    return f"```py\n{name}({inner})\n```"


def members(kind: type) -> str:
    """List the properties and methods of a class."""
    rows = []
    for name, item in vars(kind).items():
        item = getattr(item, "__func__", item)
        is_shown = isinstance(item, property) or inspect.isfunction(item)
        if name.startswith("_") or not is_shown:
            continue
        call = "" if isinstance(item, property) else "()"
        first = one_line(inspect.getdoc(item)).split(". ")[0].rstrip(".")
        rows.append(f"- `{name}{call}`: {first}.")
    return "\n".join(rows)


def described(name: str, item: Any, before: str, level: int = 2) -> Iterator[str]:
    """Yield heading, call and docstring of a function or a class."""
    yield f"{'#' * level} `{name}`"
    if inspect.isfunction(item):
        yield signature(before + name, item)
    yield from documented(item)
    if inspect.isclass(item) and members(item):
        yield f"**Also**\n\n{members(item)}"
