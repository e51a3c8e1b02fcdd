"""Weak labels: tables that say what is heard in a recording, or in some seconds of it, and not when.

    filename <tab> event_labels                       as DESED's weak.tsv: Speech,Dog
    filename, onset, offset, event_labels             somewhere in these seconds
    filename, label                                   a row a label, taken as it stands, commas and all

Several labels in a cell are separated by commas, or, where one is in any cell of the column, by `;` or `|`. Columns may
have any names that mean the same; --columns tags=NAME names that of the labels. An empty cell says that none is heard.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flam_train.data.labels.columns import (
    ABOUT,
    ROLES,
    Column,
    assign,
    first_of,
    named,
    names_times,
    plain,
    said,
    times,
)
from flam_train.data.labels.rows import Labels, Named, Row, Wanted, event, fault, filled, is_no_call, listed, phrase
from flam_train.data.labels.tool_tables import read

CALLED = "event_labels tags weak_labels positive_labels labels"
"""What columns of several labels are called."""

_TIMES = ("onset", "offset", "duration")
_LABEL = frozenset(ROLES["label"][0].split())


def told_by(header: Sequence[str], wanted: Wanted) -> str | None:
    """Why this is the header of a table of tags, None: it is not."""
    names = [plain(h) for h in header]
    own = wanted.columns.get("tags")
    if own is not None and own.strip() in [h.strip() for h in header]:
        return f"--columns says that {own!r} has tags"
    if first_of("filename", header) is None and "filename" not in wanted.columns:
        return None
    several = next((h.strip() for h, name in zip(header, names, strict=True) if name in CALLED.split()), None)
    if several is not None and not _LABEL & set(names) and "label" not in wanted.columns:
        return f"its header has {several!r}, labels of a recording or of some seconds of it"
    if len(names) == 2 and _LABEL & set(names):
        return "its header has a filename and a label, and no times"
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Rows as `Labels.tags`: from 0 to infinity where the table has no times."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, "a header filename and event_labels")
    timed = names_times(table.header, wanted) or "onset" in wanted.columns
    roles = {role: ROLES[role] for role in ("filename", *(_TIMES if timed else ()), *ABOUT)}
    labels = (CALLED, ROLES["label"][0])
    at = assign(
        table.header, [cells for _, cells in table.rows], wanted, file, table.first,
        roles=roles | {"tags": labels}, timed=timed,
    )  # fmt: skip
    if "tags" not in at or "filename" not in at:
        what = "filename" if "filename" not in at else "tags"
        raise table.fault(f"no column is the {what}; there are {listed(table.header)}: say --columns {what}=NAME")
    column = at["tags"]
    single = "tags" not in wanted.columns and plain(column.name) in _LABEL
    separator = None if single else _separator([column.cell(cells) for _, cells in table.rows])
    tags, without = [], []
    for n, cells in table.rows:
        name = filled(at["filename"].cell(cells))
        if not name.strip():
            raise fault(file, "names no recording: write its file name", n)
        onset, offset = _seconds(cells, at, file, n, table.comma) if timed else (0.0, math.inf)
        cell = filled(column.cell(cells))
        said_here = [one for one in (cell.split(separator) if separator else [cell]) if one.strip()]
        if not said_here or all(is_no_call(one) for one in said_here):
            without.append(Named(name, n))
        for one in said_here:
            if is_no_call(one):
                continue
            label = phrase(one, file, n)
            tags.append(event(name, onset, offset, label, file, n, wanted) if timed else _whole(name, label, n))
    how = f"several in a cell, between {separator!r}" if separator else "one a row"
    return Labels(
        tags=tags,
        without=without,
        about=said(at, table.header, table.rows, {n: at["filename"].cell(cells) for n, cells in table.rows}, wanted),
        columns=named(at, table.header, wanted),
        header=tuple(table.header),
        notes=(f"tags: {how}; heard somewhere in {'the seconds of their row' if timed else 'their recording'}",),
    )


def _seconds(cells: Sequence[str], at: dict[str, Column], file: str, n: int, comma: bool) -> tuple[float, float]:
    """ValueError for a tag without length: nobody can hear anything in none."""
    onset, offset = times(cells, at, file, n, comma=comma)
    if onset == offset:
        raise fault(file, f"its tags have no seconds, {onset:g} to {offset:g} s: mend the row, or remove it", n)
    return onset, offset


def _whole(name: str, label: str, n: int) -> Row:
    return Row(name, 0.0, math.inf, label, n)


def _separator(cells: Sequence[str]) -> str:
    return next((sign for sign in (";", "|") if any(sign in cell for cell in cells)), ",")
