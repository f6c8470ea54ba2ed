"""A page of HTML that needs nothing but itself; every text in it is escaped."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matplotlib.figure import Figure

    from napari_ppn2v.core.checks.findings import Finding

_DPI = 100
# nothing may be loaded, and nothing run, whatever a file name may hold
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_CSS = """
:root { color-scheme: light dark; --ink: #1a1a1a; --paper: #fff; --faint: #d4d4d4;
  --soft: #f4f4f5; --fine: #047857; --careful: #b45309; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8ea; --paper: #1e1f26;
  --faint: #4a4c57; --soft: #292a33; --fine: #63e6be; --careful: #ffa94d;
  --bad: #ff8787; } }
@media print { details > * { display: revert; } figure, tr { break-inside: avoid; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--faint); }
figure { margin: 1rem 0; } figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .92em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--faint); overflow-wrap: anywhere; }
th { font-weight: 600; width: 13rem; } td.verdict { width: 9rem; font-weight: 600; }
.fine { color: var(--fine); } .careful { color: var(--careful); }
.bad { color: var(--bad); }
.summary { background: var(--soft); padding: .8rem 1rem; border-radius: .4rem; }
.summary p { margin: .3rem 0; }
blockquote { margin: 1rem 0; padding: .6rem 1rem; background: var(--soft); }
summary { cursor: pointer; }
"""

_MARKS = {
    "fine": ("fine", "✓ fine"),
    "careful": ("careful", "! careful"),
    "will not work": ("bad", "✗ bad"),
}
"""Verdict -> class and words; the mark is for readers who see no colours."""


def text(value: object) -> str:
    """Escape a text for any place in a page."""
    return html.escape(str(value), quote=True)


def page(title: str, parts: Iterable[str]) -> str:
    """Put a page together from escaped parts."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def heading(title: str, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{text(title)}</h{level}>"


def paragraph(content: str) -> str:
    """Return a paragraph."""
    return f"<p>{text(content)}</p>"


def quotation(content: str) -> str:
    """Return a text that is meant to be copied."""
    return f"<blockquote>{text(content)}</blockquote>"


def summary(lines: Sequence[tuple[str, str, str]]) -> str:
    """Return a box of (question, verdict, answer)."""
    rows = "".join(
        f"<p><b>{text(question)}</b> {_verdict(verdict)} {text(answer)}</p>"
        for question, verdict, answer in lines
    )
    return f'<div class="summary">{rows}</div>'


def findings_table(findings: Iterable[Finding]) -> str:
    """Return findings, one in each row, with verdict, sentence and advice."""
    rows = []
    for each in findings:
        advice = f"<br><i>{text(each.advice)}</i>" if each.advice else ""
        rows.append(
            f"<tr><th>{text(each.name)}</th>"
            f'<td class="verdict">{_verdict(each.verdict)}</td>'
            f"<td>{text(each.sentence)}{advice}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"


def pairs_table(pairs: Iterable[tuple[object, object]]) -> str:
    """Return names and values."""
    rows = (f"<tr><th>{text(k)}</th><td>{text(v)}</td></tr>" for k, v in pairs)
    return f"<table>{''.join(rows)}</table>"


def folded(title: str, content: str) -> str:
    """Return a part that is opened by a click."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


def picture(light: Figure, dark: Figure, caption: str) -> str:
    """Embed a figure, in the style of the reader's screen."""
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img src="{_data(light)}" alt="{text(caption)}">'
        f"</picture><figcaption>{text(caption)}</figcaption></figure>"
    )


def _data(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _verdict(verdict: str) -> str:
    if verdict not in _MARKS:
        return ""
    name, words = _MARKS[verdict]
    return f'<span class="{name}">{words}</span>'
