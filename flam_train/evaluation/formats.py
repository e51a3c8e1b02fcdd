"""Tables as text: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from flam_train.evaluation.table import Table


def markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"### {table.title}", "", _pipe(table.columns), _pipe(["---"] * len(table.columns))]
        lines += [_pipe(row) for row in table.rows]
        lines += ["", *(f"- {note}" for note in table.notes)]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def latex(tables: Sequence[Table]) -> str:
    """A booktabs tabular for each table."""
    parts = []
    for table in tables:
        lines = [r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.title)}}}"]
        lines += [rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}", r"\toprule"]
        lines += [" & ".join(_tex(c) for c in table.columns) + r" \\", r"\midrule"]
        lines += [" & ".join(_tex(c) for c in row) + r" \\" for row in table.rows]
        lines += [r"\bottomrule", r"\end{tabular}", *(rf"\par {_tex(note)}" for note in table.notes), r"\end{table}"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


_TEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c) for c in text)


def to_csv(tables: Sequence[Table]) -> str:
    """One row a filled cell: table, row, column, value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", "model", "row", "column", "value"])
    for table in tables:
        for n, row in enumerate(table.rows):
            writer.writerows(
                [table.title, row[0], n, c, v] for c, v in zip(table.columns[1:], row[1:], strict=True) if v
            )
    return out.getvalue()
