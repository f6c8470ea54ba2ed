"""Check the built site: no link or anchor is dead, nothing is loaded from afar.

    python docs/check_site.py site

MkDocs checks the links of the Markdown; this looks at what it made of them, pictures,
themes and the files of the theme included.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"img": "src", "script": "src", "source": "srcset", "iframe": "src"}
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "manifest"}
URL_IN_CSS = re.compile(r"url\(\s*['\"]?(?!data:)([^)'\"]+)")
AFAR = re.compile(r"^(https?:)?//")


@dataclass
class PageLinks(HTMLParser):
    """What one page links to, loads, and offers as anchors."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses and names of one element."""
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADED and LOADED[tag] in found:
            self.loaded.append(found[LOADED[tag]])
        if tag == "link" and set(found.get("rel", "").split()) & LOADED_LINKS:
            self.loaded.append(found.get("href", ""))


def main() -> None:
    """Say what is wrong, and end with status 1 if anything is."""
    site = Path(sys.argv[1])
    faults = faults_of(site)
    for fault in faults:
        sys.stderr.write(fault + "\n")
    pages = len(list(site.rglob("*.html")))
    sys.stdout.write(f"{pages} pages, {len(faults)} faults\n")
    sys.exit(1 if faults or not pages else 0)


def faults_of(site: Path) -> list[str]:
    """Everything that leads nowhere, or to another host without being a mere link."""
    pages = {path.resolve(): read(path) for path in sorted(site.rglob("*.html"))}
    faults = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        if name.name == "404.html":  # is served for any address, so it is absolute
            continue
        for target in page.links + page.loaded:
            if not leads_somewhere(target, path, pages):
                faults.append(f"{name}: {target} leads nowhere")
        faults += [f"{name}: loads {t}" for t in page.loaded if AFAR.match(t)]
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        found = [t for t in URL_IN_CSS.findall(text) if AFAR.match(t)]
        faults += [f"{path.relative_to(site)}: loads {target}" for target in found]
    return faults


def read(path: Path) -> PageLinks:
    """Links of one page."""
    page = PageLinks()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def leads_somewhere(target: str, path: Path, pages: dict[Path, PageLinks]) -> bool:
    """Whether a link of a page finds its file and its place there."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not target:
        return True
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if file.is_dir():
        file = file / "index.html"
    if not file.exists():
        return False
    place = unquote(parts.fragment)
    is_theme = place in ("only-light", "only-dark")
    return not place or is_theme or file not in pages or place in pages[file].anchors


if __name__ == "__main__":
    main()
