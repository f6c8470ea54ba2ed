"""What MkDocs does to the pages so that they read as they do on a code host.

The Markdown is written for both. On the way to the site

- pictures that come in two themes follow the theme of the site, not of the computer;
- lists are indented by four characters for each level, which Python-Markdown wants;
- documents at the top of the repository become pages, and links to them follow;
- links to other files of the repository, which the site does not hold, become text;
- headings get the names that code hosts give them, so that one link serves both.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File
from pymdownx.slugs import slugify

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent

FROM_THE_TOP = {
    "CHANGELOG.md": "project/CHANGELOG.md",
    "CONTRIBUTING.md": "project/CONTRIBUTING.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
"""Documents outside of docs/ -> their pages on the site."""

PICTURE = re.compile(
    r'<picture>\s*<source[^>]*srcset="(?P<dark>[^"]+)">\s*'
    r'<img alt="(?P<alt>[^"]*)" src="(?P<light>[^"]+)">\s*</picture>'
)
LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s#]*)(?P<place>#\S*)?\)")
FENCE = re.compile(r"^ *(```|~~~)")
ITEM = re.compile(r"^(?P<indent> *)(?P<mark>[-*+]|\d+\.)(?P<space> +)(?=\S)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name headings as code hosts do."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents at the top of the repository."""
    for name, page in FROM_THE_TOP.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Turn the Markdown of the repository into that of the site."""
    del config
    here = page.file.src_uri
    origins = {page_: name for name, page_ in FROM_THE_TOP.items()}
    place = origins.get(here, f"docs/{here}")
    text = PICTURE.sub(_both_themes, markdown)
    text = LINK.sub(lambda found: _link(found, place, here, files), text)
    return widened_lists(text)


def _both_themes(found: re.Match[str]) -> str:
    dark, light = (
        f"![{found['alt']}]({found[theme]}#only-{theme})" for theme in ("dark", "light")
    )
    return f"{dark}\n{light}"


def _link(found: re.Match[str], origin: str, here: str, files: Files) -> str:
    """Follow a document to its page; what the site does not hold becomes text."""
    target, place = found["target"], found["place"] or ""
    if not target or "://" in target or target.startswith("mailto:"):
        return found[0]
    name = posixpath.normpath(posixpath.join(posixpath.dirname(origin), target))
    page = FROM_THE_TOP.get(name, name.removeprefix("docs/"))
    is_page = name in FROM_THE_TOP or name.startswith("docs/")
    if is_page and (files.get_file_from_path(page) is not None):
        way = posixpath.relpath(page, posixpath.dirname(here) or ".")
        return f"[{found['text']}]({way}{place})"
    if not (ROOT / name).exists():
        return found[0]  # a dead link, for MkDocs to complain about
    text = found["text"]
    return text if name in text else f"{text} (`{name}`)"


def widened_lists(markdown: str) -> str:
    """Indent what belongs to a list item by four characters for each level.

    An item after one of several paragraphs gets an empty line before it.
    """
    lines, levels, fence, is_loose = list[str](), list[int](), -1, False
    for line in markdown.split("\n"):
        bare = line.lstrip(" ")
        indent = len(line) - len(bare)
        may_begin = bool(levels) or not lines or not lines[-1]
        if bare and fence < 0:
            while levels and indent < levels[-1]:
                levels.pop()
        if bare and levels:
            begin = fence if fence >= 0 else indent
            line = " " * (4 * len(levels) + max(0, indent - begin)) + bare
        if FENCE.match(bare):
            fence = indent if fence < 0 else -1
        may_begin = may_begin and fence < 0
        item = ITEM.match(" " * indent + bare) if may_begin else None
        if item:
            levels.append(item.end())
            if is_loose and lines[-1]:
                lines.append("")
        is_loose = (is_loose and not item) or not bare
        lines.append(line)
    return "\n".join(lines)
