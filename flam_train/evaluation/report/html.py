"""Tables and figures as one page that loads nothing from anywhere."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from flam_train.evaluation.report.table import Table

MANY = 12
"""Columns that stand closer together, in smaller type."""

LONG = len("100.0 / 100.0")


def to_html(
    tables: Sequence[Table], title: str, figures: Sequence[tuple[str, Path]] = (), about: Sequence[str] = ()
) -> str:
    """A whole document: tables, each with its notes below it, then figures.

    figures  (caption, PNG file); the pictures are part of the page
    about    lines below the title: dates and versions

    The best numbers of a column are bold. A table fits a window of 1280 px; in a narrower one it scrolls in its box.

    A cell with a footnote shows it when pointed at, and leads to it. Nothing is loaded, not even by mistake (the page
    forbids it to itself), no script runs, and names are text whatever they contain.
    Raises ValueError for a figure that is not a PNG.
    """
    parts = [f'<p class="about">{"<br>".join(map(escape, about))}</p>\n'] if about else []
    parts += [_table(table, f"table-{n}") for n, table in enumerate(tables, start=1)]
    if figures:
        parts.append("<h2>Figures</h2>")
        parts += [_figure(caption, path) for caption, path in figures]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{"".join(parts)}</main>
</body>
</html>
"""


def _table(table: Table, anchor: str) -> str:
    words = [_is_text(row[c] for row in table.rows) for c in range(len(table.columns))]
    heads = "".join(
        f'<th scope="col"{_WORDS if words[c] else ""}>{_unbroken(column)}</th>'
        for c, column in enumerate(table.columns)
    )
    rows = "".join(_row(table, n, anchor, words) for n in range(len(table.rows)))
    notes = "".join(
        f'<li id="{anchor}-{escape(mark)}"><b>{escape(mark)}</b> {escape(text)}</li>\n'
        for mark, text in table.footnotes.items()
    )
    notes += "".join(f"<li>{escape(note)}</li>\n" for note in table.notes)
    look = " ".join(["many"] * (len(table.columns) >= MANY) + ["marked"] * bool(table.marks))
    return (
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{escape(table.title)}</h2>\n'
        f'<div class="box" tabindex="0" role="region" aria-labelledby="{anchor}">\n<table class="{look}">\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>\n</div>\n"
        + (f'<ul class="notes">\n{notes}</ul>\n' if notes else "")
        + "</section>\n"
    )


def _row(table: Table, n: int, anchor: str, words: Sequence[bool]) -> str:
    kind = table.kinds[n] if table.kinds else ""
    cells = []
    for c, text in enumerate(table.rows[n]):
        content = _breakable(text) if c == 0 or words[c] else _numbers(table, n, c)
        # The signs of differences are minus signs; a model's name keeps its hyphens.
        content = content.replace("-", "\N{MINUS SIGN}") if kind == "difference" and c else content
        said = ""
        mark = table.marks.get((n, c))
        if mark is not None:
            said = f' title="{escape(table.footnotes[mark])}"'
            content += f'<sup><a href="#{anchor}-{escape(mark)}">{escape(mark)}</a></sup>'
        if c == 0:
            cells.append(f'<th scope="row"{said}>{content}</th>')
        else:
            cells.append(f"<td{_WORDS if words[c] else ''}{said}>{content}</td>")
    return f'<tr class="{kind}">{"".join(cells)}</tr>\n'


_WORDS = ' class="words"'


def _is_text(cells: Iterable[str]) -> bool:
    """Whether a column has words, which stand on the left, rather than numbers."""
    return any(cell and not cell.lstrip("+-")[:1].isdigit() for cell in cells)


def _breakable(text: str) -> str:
    """Names that a narrow column may break at their underscores."""
    return escape(text).replace("_", "_<wbr>")


def _numbers(table: Table, n: int, c: int) -> str:
    """A line may end before a spread, after a slash in a long cell, never within a number."""
    spans, long = [""], len(table.rows[n][c]) > LONG
    for piece, best in table.pieces(n, c):
        if piece == " / " and long:
            spans[-1] += " /"
            spans.append("")
        elif piece.startswith((" ± ", " [")):
            spans.append(f"<small>{escape(piece.strip())}</small>")
        else:
            spans[-1] += f"<b>{escape(piece)}</b>" if best else escape(piece)
    return " ".join(f"<span>{span}</span>" for span in spans) if len(table.pieces(n, c)) > 1 else spans[0]


def _unbroken(heading: str) -> str:
    """Lines break between words, not at a hyphen: ASFX-SED."""
    return " ".join(f"<span>{escape(word)}</span>" for word in heading.split())


def _figure(caption: str, path: Path) -> str:
    raw = path.read_bytes()
    if raw[:8] != b"\x89PNG\r\n\x1a\n" or len(raw) < 24:
        raise ValueError(f"{path}: not a PNG: leave it out, or write it again")
    # Saved at 150 dpi, shown at 100: in a readable size, and sharp on fine screens.
    width, height = (round(side / 1.5) for side in struct.unpack(">II", raw[16:24]))
    data = base64.b64encode(raw).decode()
    return (
        f'<figure>\n<figcaption>{escape(caption)}</figcaption>\n<div class="box picture">'
        f'<img alt="{escape(caption)}" width="{width}" height="{height}" src="data:image/png;base64,{data}"></div>\n'
        "</figure>\n"
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #1f2430; --quiet: #5b6472; --line: #dfe3e8; --sheet: #ffffff; --head: #f4f6f8;
  --ours: #e8f1fa; --mark: #2569a8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ee; --quiet: #9aa4b2; --line: #333b47; --sheet: #14181f; --head: #1c222b; --ours: #172d42;
    --mark: #7db8ea; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--sheet); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 24px clamp(14px, 3vw, 40px) 64px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1.2rem; }
h2 { font-size: 1.1rem; line-height: 1.35; margin: 2.4rem 0 0.7rem; }
.about { color: var(--quiet); font-size: 0.84rem; margin: -0.7rem 0 0; overflow-wrap: anywhere; }
.box { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
.box:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
table { border-collapse: separate; border-spacing: 0; width: 100%; font-size: 0.86rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 6px 7px; text-align: right; border-bottom: 1px solid var(--line); }
thead th { background: var(--head); color: var(--quiet); font-weight: 600; vertical-align: bottom; }
thead span, td span { white-space: nowrap; }
.many { font-size: 0.79rem; }
.many th, .many td { padding: 5px; }
.marked th, .marked td { padding-right: 11px; }
td b { font-weight: 750; }
td small { color: var(--quiet); font-size: 0.92em; font-weight: 400; }
.words { text-align: left; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child { position: sticky; left: 0; z-index: 1; text-align: left; background: var(--sheet);
  border-right: 1px solid var(--line); min-width: min(8.5em, 34vw); max-width: 16em; overflow-wrap: break-word; }
th:first-child { padding-left: 12px; }
th:last-child, td:last-child { padding-right: 14px; }
.many th:first-child { max-width: 10.5em; }
thead th:first-child { background: var(--head); }
tbody th { font-weight: 500; }
.ours > * { background: var(--ours); border-top: 2px solid var(--mark); }
.ours > th:first-child { background: var(--ours); font-weight: 700; }
.difference > *, .difference > th:first-child { color: var(--quiet); font-style: italic; font-weight: 400; }
[title] { cursor: help; }
sup { line-height: 0; display: inline-block; width: 0; font-weight: 400; } /* numbers stay in line */
sup a { color: var(--mark); text-decoration: none; padding: 0 2px; }
.notes { list-style: none; margin: 0.7rem 0 0; padding: 0; color: var(--quiet); font-size: 0.84rem; max-width: 95ch; }
.notes li { padding: 1px 4px; overflow-wrap: anywhere; }
.notes li[id] { padding-left: 1.9em; text-indent: -1.6em; }
.notes li:target { background: var(--ours); color: var(--ink); border-radius: 4px; }
.notes b { color: var(--mark); display: inline-block; min-width: 1.4em; text-indent: 0; }
figure { margin: 0 0 2rem; }
figcaption { color: var(--quiet); font-size: 0.87rem; margin-bottom: 0.4rem; overflow-wrap: anywhere; }
.picture { background: #ffffff; width: fit-content; max-width: 100%; }
img { display: block; height: auto; max-width: max(100%, 640px); }
"""
