"""What a person said of the rows of a table: a column `heard` with yes or no, as in the table beside the clips that
detection cuts out (`flam_train.detection.clips`).

yes     the row is an event (or a tag)
no      it is none, and its recording was listened to: it has no event if no other row is one
(else)  an empty cell, `skip`, `unsure`, `?`: nobody has judged it. It is no event; nobody knows what is heard there
        (`Labels.unknown`), and a recording without a judged row is left out (`Labels.unheard`), where absence is to
        mean absence too

Also y and n, true and false, 1 and 0, in any case. The column is `heard`, or the one that --columns heard=NAME names. A
column `heard` without a yes or a no, or of other numbers, holds something else: the notes say that it is not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from flam_train.data.labels.columns import line, plain
from flam_train.data.labels.rows import (
    EVERY_ROW,
    Labels,
    Named,
    Row,
    Wanted,
    fault,
    filled,
    is_number,
    only_unheard,
    text_of,
)
from flam_train.data.labels.tables import HEAD
from flam_train.data.labels.tool_tables import header_of, read

COLUMN = "heard"
"""Of the answers, as `plain` writes it; also their role in --columns."""

FORMATS = ("table", "tags", "raven", "birdnet", "kaleidoscope")
"""Whose rows may be judged: tables with a header, in which an event is a line."""

YES = ("yes", "y", "true", "1", "1.0")
NO = ("no", "n", "false", "0", "0.0")
UNSURE = ("", "skip", "unsure", "?")
"""What cells may say; programs write 1.0 for a 1 where other cells are empty."""


class Answers(NamedTuple):
    """column: its name; of: {line of the table: yes, no, or None for not judged}; other: one of the cells of a column
    that holds something else, which has no answers."""

    column: str
    of: Mapping[int, bool | None]
    other: str = ""


def answers_of(data: bytes, file: str, wanted: Wanted, format: str) -> Answers | None:
    """The answers in a label file of a format; None: there is no column for them. ValueError that names file, row and
    fix for a cell that says something else."""
    text = text_of(data, file, wanted.encoding)
    own = wanted.columns.get(COLUMN)
    if format not in FORMATS or (own is None and COLUMN not in text[:HEAD].casefold()):
        return None
    k = _column(header_of(text)[2], wanted)
    if k is None:
        return None
    table = read(data, file, wanted, "a header")
    name = table.header[k]
    cells = {n: " ".join(filled(row[k]).casefold().split()) for n, row in table.rows}
    if own is None and (other := _something_else(list(cells.values()))):
        return Answers(name, {}, other)
    for n, cell in cells.items():
        if cell not in (*YES, *NO, *UNSURE):
            fix = "write yes, no, or nothing for what is not judged"
            fix += "" if own else ", or call the column otherwise if it says something else"
            raise table.fault(f"{name!r} says {cell[:40]!r}: {fix}", n)
    return Answers(name, {n: None if cell in UNSURE else cell in YES for n, cell in cells.items()})


def _column(header: Sequence[str], wanted: Wanted) -> int | None:
    if own := wanted.columns.get(COLUMN):
        return header.index(own.strip()) if own.strip() in header else None
    others = {name.strip() for name in wanted.columns.values()}
    return next((k for k, name in enumerate(header) if plain(name) == COLUMN and name not in others), None)


def _something_else(cells: Sequence[str]) -> str:
    """A cell of a column that holds no answers; "" if it holds some, or none yet."""
    others = [cell for cell in cells if cell not in (*YES, *NO, *UNSURE)]
    numbers = all(is_number(cell, comma=True) for cell in cells if cell not in UNSURE)
    answered = any(cell in (*YES, *NO) for cell in cells)
    return others[0] if others and (numbers or not answered) else ""


def judged(labels: Labels, answers: Answers, file: str) -> Labels:
    """The labels of a file, as they have been judged. ValueError if none of its rows is."""
    name = answers.column
    if answers.other:
        note = f"warning: column {name!r} says neither yes nor no, but {answers.other[:40]!r}: it is not used"
        return replace(labels, notes=(*labels.notes, f"{note} ({line(Wanted(), heard=name)} would read it)"))
    said = {r.row: answers.of.get(r.row) for r in (*labels.rows, *labels.tags)}
    if said and all(answer is None for answer in said.values()):
        raise fault(file, f"no row is judged in column {name!r}: write yes or no there, or remove the column")

    def of(rows: Sequence[Row], answer: bool | None) -> list[Row]:
        return [r for r in rows if said[r.row] is answer]

    counts = Counter(said.values())
    told = f"{len(said)} rows to be judged: {counts[True]} yes, {counts[False]} no, {counts[None]} not judged"
    rows, tags = of(labels.rows, True), of(labels.tags, True)
    without = [*labels.without, *_named(of(labels.rows, False)), *_named(of(labels.tags, False))]
    unjudged = [*of(labels.rows, None), *of(labels.tags, None)]
    silent = only_unheard(_named(unjudged), [*rows, *tags, *without])
    return replace(
        labels,
        rows=rows,
        tags=tags,
        without=without,
        unknown=[*labels.unknown, *unjudged],
        unheard=[*labels.unheard, *silent],
        columns={**labels.columns, COLUMN: name},
        notes=(*(note for note in labels.notes if EVERY_ROW not in note), told),
    )


def _named(rows: Sequence[Row]) -> list[Named]:
    return [Named(r.recording, r.row) for r in rows]
