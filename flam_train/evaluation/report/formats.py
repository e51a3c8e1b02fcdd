"""Tables as text: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from flam_train.evaluation.report.table import Table


def markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [
            f"### {_md(table.title)}",
            "",
            _pipe([_md(c) for c in table.columns]),
            _pipe(["---"] * len(table.columns)),
        ]
        lines += [_pipe([_md_cell(table, n, c) for c in range(len(row))]) for n, row in enumerate(table.rows)]
        lines += ["", *(f"- {_md(line)}" for line in table.remarks())]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _md_cell(table: Table, n: int, c: int) -> str:
    text = "".join(f"**{_md(piece)}**" if best else _md(piece) for piece, best in table.pieces(n, c))
    mark = table.marks.get((n, c))
    return f"{text} ({_md(mark)})" if mark else text


def _md(text: str) -> str:
    """A name in angle brackets is no HTML tag."""
    return text.replace("<", "\\<")


def latex(tables: Sequence[Table]) -> str:
    """A booktabs tabular for each table, a rule between published rows and ours."""
    parts = []
    for table in tables:
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.title)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule"]
        lines += [" & ".join(_tex(c) for c in table.columns) + r" \\", r"\midrule"]
        for n, row in enumerate(table.rows):
            if n and table.kinds and table.kinds[n] == "ours":
                lines.append(r"\midrule")
            lines.append(" & ".join(_tex_cell(table, n, c) for c in range(len(row))) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par \textsuperscript{{{_tex(mark)}}} {_tex(text)}" for mark, text in table.footnotes.items()]
        lines += [*(rf"\par {_tex(note)}" for note in table.notes), r"\end{table}"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _tex_cell(table: Table, n: int, c: int) -> str:
    pieces = [
        rf"\textbf{{{_tex_numbers(piece)}}}" if best else _tex_numbers(piece) for piece, best in table.pieces(n, c)
    ]
    mark = table.marks.get((n, c))
    return "".join(pieces) + (rf"\textsuperscript{{{_tex(mark)}}}" if mark else "")


def _tex_numbers(text: str) -> str:
    return re.sub(r"(?<!\S)-(?=\d)", "$-$", _tex(text))  # a minus, not a hyphen


_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


def to_csv(tables: Sequence[Table]) -> str:
    """One row a filled cell: table, model, row, column, value, note. The model stands in a row's first cell, so that
    rows of one model are told apart by `row`, from 0."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "model", "row", "column", "value", "note"])
    for table in tables:
        for n, row in enumerate(table.rows):
            for c, (column, value) in enumerate(zip(table.columns, row, strict=True)):
                if c and value:
                    note = table.footnotes.get(table.marks.get((n, c), ""), "")
                    writer.writerow([table.title, row[0], n, column, value, note])
    return out.getvalue()
