"""Published numbers, our results below them, and how far they are apart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from flam_train.evaluation.report.table import SPREAD, Kind, Table, better, cell_text, model_name
from flam_train.evaluation.result import Result

REFERENCES = ("OpenFLAM", "FLAM")
"""A column of ours is compared with the first of these that has a number there."""


def paper_tables(path: Path, results: Sequence[Result], intervals: bool = False) -> list[Table]:
    """Published rows; below them a row for each of our models, and its differences to what was published, in points.

    What was not measured stays empty. A cell of ours has a footnote, one for each result: the protocol, the set, and
    how many clips were evaluated of those expected. A table without a number of ours has the published rows alone.
    intervals: behind our numbers between what they lie, where that is known.
    Raises ValueError that names the file, the table and the row.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        sources, tables = raw["sources"], raw["tables"]
        published = [_published(path, table, sources) for table in tables]
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not readable as published tables ({error!r}): see eval/paper_table.yaml") from error
    return [_joined(table, rows, sources, results, intervals) for table, rows in zip(tables, published, strict=True)]


@dataclass(frozen=True)
class _Row:
    """`cells` of the table's own columns; `marks` by their number, from 0."""

    kind: Kind
    name: str
    source: str
    cells: list[str]
    marks: dict[int, str] = field(default_factory=dict)


def _published(path: Path, raw: dict[str, Any], sources: Mapping[str, str]) -> list[_Row]:
    rows = []
    for entry in raw["rows"]:
        source = entry.get("source", raw["source"])
        if len(entry["cells"]) != len(raw["columns"]) or source not in sources:
            raise ValueError(
                f"{path}: {raw['title']!r}, row {entry['model']!r}: needs {len(raw['columns'])} cells and a known "
                "source"
            )
        row = _Row("published", entry["model"], source, [_printed(cell) for cell in entry["cells"]])
        for n, cell in enumerate(row.cells):
            # "91.0 (a)" is the number 91.0 with the note `a`; figures are the marks of our own notes.
            found = re.fullmatch(r"(.*\S) \(([A-Za-z]\w*)\)", cell)
            if found and found[2] in (raw.get("notes") or {}):
                row.cells[n], row.marks[n] = found[1], found[2]
        rows.append(row)
    return rows


def _joined(
    raw: dict[str, Any],
    published: list[_Row],
    sources: Mapping[str, str],
    results: Sequence[Result],
    intervals: bool,
) -> Table:
    rows = list(published)
    said = raw.get("notes") or {}
    footnotes = {mark: str(said[mark]) for row in published for mark in row.marks.values()}
    notes = [f"{key}: {text}" for key, text in said.items() if key not in footnotes]
    numbered = 0
    for model in dict.fromkeys(model_name(r) for r in results):
        row, used = _ours(raw["columns"], model, [r for r in results if model_name(r) == model], numbered, intervals)
        if used:
            footnotes |= {str(n): _provenance(result, intervals) for n, result in enumerate(used, start=numbered + 1)}
            numbered += len(used)
            rows += [row, *_differences(row, published)]
    if any(row.kind == "difference" for row in rows):
        notes.append("difference: our number as printed less the published one, in points")
    metrics = [(column.get("ours") or {"metrics": [""]})["metrics"][0] for column in raw["columns"]]
    table = Table(
        raw["title"],
        ["model", "source", *(column["title"] for column in raw["columns"])],
        [[row.name, row.source, *row.cells] for row in rows],
        tuple(notes),
        tuple(row.kind for row in rows),
        footnotes,
        {(n, c + 2): mark for n, row in enumerate(rows) for c, mark in row.marks.items()},
        tuple(better(metric) for metric in ("", "", *metrics)),
    ).with_note_on_best()
    of = [f"{key}: {sources[key]}" for key in dict.fromkeys(row.source for row in published)]
    return replace(table, notes=(*table.notes, *of))


def _ours(
    columns: Sequence[dict[str, Any]], model: str, results: Sequence[Result], numbered: int, intervals: bool
) -> tuple[_Row, list[Result]]:
    """A model's row, and the results that its cells are of; their footnotes are numbered after `numbered`."""
    row = _Row("ours", model, "ours", [])
    used: list[Result] = []
    for n, column in enumerate(columns):
        result = _newest(column.get("ours"), results)
        metrics = column["ours"]["metrics"] if result else []
        cells = [cell_text(result, metric, 100, 2, intervals) for metric in metrics] if result else []
        row.cells.append(" / ".join(cells) if all(cells) else "")
        if result and row.cells[n]:
            if result not in used:
                used.append(result)
            row.marks[n] = str(numbered + 1 + used.index(result))
    return row, used


def _newest(ours: dict[str, Any] | None, results: Sequence[Result]) -> Result | None:
    """The newest result of the protocol in conf/eval that the column names: never of another split, filter or words."""
    if ours is None:
        return None
    names = {_plain(name) for name in ours["dataset"]}
    named = [r for r in results if _plain(str(r.parameters.get("protocol", ""))) in names]
    fitting = [r for r in named if r.protocol == ours["protocol"]]
    return max(fitting, key=lambda r: r.date, default=None)


def _provenance(result: Result, intervals: bool) -> str:
    method = result.parameters.get("method")
    protocol = f"protocol {result.protocol}{f' ({method})' if method else ''}"
    where = " ".join(x for x in (result.dataset, result.split) if x)
    sure = "".join(f"; {line}" for line in result.how_sure()) if intervals else ""
    return f"{protocol} on {where}, {result.clips_evaluated} of {result.clips_expected} clips{sure}"


def _differences(ours: _Row, published: Sequence[_Row]) -> list[_Row]:
    """A row for each published model that a column is compared with."""
    rows: dict[str, _Row] = {}
    for n, cell in enumerate(ours.cells):
        for theirs in sorted((r for r in published if r.name in REFERENCES), key=lambda r: REFERENCES.index(r.name)):
            apart = _difference(cell, theirs.cells[n])
            if apart:
                empty = _Row(
                    "difference", f"difference to {theirs.name}", f"ours - {theirs.source}", [""] * len(ours.cells)
                )
                row = rows.setdefault(theirs.name, empty)
                row.cells[n] = apart
                if n in theirs.marks:  # what is compared with a doubtful number is doubtful
                    row.marks[n] = theirs.marks[n]
                break
    return [rows[name] for name in REFERENCES if name in rows]


def _difference(ours: str, theirs: str) -> str:
    """Of the numbers as printed, so that the eye can check it: "+1.00", "+11.10 / -6.40"; empty if one has none."""
    try:
        pairs = [
            Decimal(re.split(SPREAD, a)[0]) - Decimal(b)
            for a, b in zip(ours.split(" / "), theirs.split(" / "), strict=True)
        ]
    except (InvalidOperation, ValueError):
        return ""
    return " / ".join(f"{x:+.2f}" if x else "0.00" for x in pairs)


def _printed(cell: Any) -> str:
    if cell is None:
        return ""
    return " / ".join(str(x) for x in cell) if isinstance(cell, list) else str(cell)


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name).casefold()
