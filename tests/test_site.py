"""The site that is built from the documents: order, generated pages, links."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from functools import cache

import pytest
import yaml
from markdown_it import MarkdownIt

from tests.documents import DOCS, DOCUMENTS, ROOT, named

FROM_THE_TOP = {
    "project/CONTRIBUTING.md",
    "project/CHANGELOG.md",
    "project/benchmarks.md",
}
needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="pip install '.[docs]'"
)


@cache
def configuration() -> dict:
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


def pages_of(part) -> list[str]:
    if isinstance(part, str):
        return [part]
    parts = part.values() if isinstance(part, dict) else part
    return [page for each in parts for page in pages_of(each)]


@cache
def script(name: str):
    """One of the scripts beside the documents, which import each other by name."""
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    return importlib.import_module(name)


def test_every_document_has_its_place_in_the_navigation_once():
    pages = pages_of(configuration()["nav"])
    assert len(pages) == len(set(pages))
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.glob("**/*.md")}
    assert set(pages) == written | FROM_THE_TOP


def test_the_kinds_of_documentation_are_the_tabs():
    tabs = [next(iter(part)) for part in configuration()["nav"]]
    assert tabs[1:6] == ["Tutorials", "How-to", "Explanation", "Reference", "Results"]


def test_nothing_is_loaded_from_other_hosts_by_its_settings():
    settings = configuration()
    assert settings["theme"]["font"] is False
    assert set(settings["plugins"]) == {"search"}
    assert not settings["use_directory_urls"]


def test_generated_pages_say_what_the_code_says():
    """Where this fails: make reference."""
    assert script("make_reference").stale_pages() == []


def test_a_changed_default_makes_a_page_stale(monkeypatch):
    reference = script("make_reference")
    monkeypatch.setattr(reference, "PRESET_NAMES", ("fast",))
    assert reference.stale_pages() == ["settings.md"]


def test_every_public_name_has_its_entry():
    import napari_ppn2v

    text = (DOCS / "reference" / "functions.md").read_text(encoding="utf-8")
    public = {name for name in napari_ppn2v.__all__ if not name.startswith("_")}
    assert not {name for name in public if f"\n## `{name}`\n" not in text}


def test_docstrings_are_taken_apart():
    parts = script("docstrings")
    text = (
        "Do it.\n\nParameters\n----------\n"
        "a, b : numbers\nc\n    Text on\n    two lines.\n"
    )
    found = parts.sections(text)
    assert list(found) == ["", "Parameters"]
    assert list(parts.entries(found["Parameters"])) == [
        ("a, b", "numbers"),
        ("c", "Text on two lines."),
    ]
    raises = ["BadData  If it is", "    dark.", "BadFile  If not."]
    assert parts.named_sentences(raises) == (
        "`BadData`: If it is dark. `BadFile`: If not."
    )


# -- what the hooks make of the Markdown -----------------------------------------------


@needs_mkdocs
def test_lists_are_indented_as_the_site_wants_them():
    widened = script("site_hooks").widened_lists
    text = "1. one\n\n   more\n   - inner\n     on\n2. two\n\nafter"
    assert widened(text) == (
        "1. one\n\n    more\n\n    - inner\n        on\n2. two\n\nafter"
    )
    code = "- item\n\n  ```bash\n  - no item\n  ```\n"
    assert widened(code) == "- item\n\n    ```bash\n    - no item\n    ```\n"


@needs_mkdocs
def test_pictures_in_two_themes_follow_the_theme_of_the_site():
    text = (
        '<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="a_dark.png">'
        '\n  <img alt="What it shows" src="a_light.png">\n</picture>'
    )
    hooks = script("site_hooks")
    assert hooks.PICTURE.sub(hooks._both_themes, text) == (
        "![What it shows](a_dark.png#only-dark)\n"
        "![What it shows](a_light.png#only-light)"
    )


@needs_mkdocs
@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_a_code_host_and_the_site_see_the_same_parts(path):
    """As many headings, items, tables and blocks of code, by two parsers."""
    import markdown

    text = path.read_text(encoding="utf-8")
    host = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    extensions = configuration()["markdown_extensions"]
    names = [next(iter(e)) if isinstance(e, dict) else e for e in extensions]
    site = markdown.markdown(
        script("site_hooks").widened_lists(text),
        extensions=[n for n in names if n not in ("toc", "pymdownx.highlight")],
    )
    parts = ("<h1", "<h2", "<h3", "<li", "<ul", "<ol", "<table", "<tr", "<blockquote")
    assert {p: site.count(p) for p in parts} == {p: host.count(p) for p in parts}
    assert site.count("<pre") == host.count("<pre")


# -- the whole site -------------------------------------------------------------------


@needs_mkdocs
@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_every_link_leads_somewhere(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(
        [*command, "--site-dir", str(site)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert script("check_site").faults_of(site) == []
    assert (site / "reference" / "settings.html").exists()


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="b.html#there">', ""),
        ('<a href="b.html#gone">', "leads nowhere"),
        ('<a href="c.html">', "leads nowhere"),
        ('<a href="https://napari.org">', ""),
        ('<img src="https://napari.org/a.png">', "loads"),
        ('<link rel="stylesheet" href="//fonts.example/a.css">', "loads"),
    ],
)
def test_dead_links_and_foreign_files_are_noticed(tmp_path, html, fault):
    (tmp_path / "a.html").write_text(html, encoding="utf-8")
    (tmp_path / "b.html").write_text('<h2 id="there">', encoding="utf-8")
    faults = script("check_site").faults_of(tmp_path)
    assert len(faults) == bool(fault)
    assert all(fault in each for each in faults)
