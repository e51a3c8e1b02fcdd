"""Annotations of DCASE's task 5, few-shot bioacoustic event detection (github.com/c4dm/dcase-few-shot-bioacoustic): a
CSV a recording, `Audiofilename,Starttime,Endtime` in seconds and a column a class, with cells POS (an event of it), NEG
(none) or UNK (nobody is sure). Development and evaluation files have one class `Q`, whatever was sought in that file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flam_train.data.labels.columns import Column, named, plain, said, scale_of, times
from flam_train.data.labels.rows import Labels, Named, Row, Wanted, event, listed
from flam_train.data.labels.tool_tables import read

_TIMES = ["audiofilename", "starttime", "endtime"]


def told_by(header: Sequence[str]) -> str | None:
    """Why this is its header, None: it is not."""
    return "its header is the DCASE few-shot task's" if [plain(h) for h in header[:3]] == _TIMES else None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """An event for each POS, an unknown stretch for each UNK; a recording that has neither has no event."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, "a header Audiofilename,Starttime,Endtime and a column a class")
    if told_by(table.header) is None or not any(table.header[3:]):
        raise table.fault(
            f"the header must be Audiofilename,Starttime,Endtime and a column a class; it is {listed(table.header)}: "
            "mend it"
        )
    roles = zip(("filename", "onset", "offset"), table.header[:3], strict=True)
    at = {role: Column(k, name, scale_of(name, wanted)) for k, (role, name) in enumerate(roles)}
    rows: list[Row] = []
    unknown: list[Row] = []
    first: dict[str, int] = {}
    for n, (name, *cells) in table.rows:
        if not name.strip():
            raise table.fault("names no recording: write its Audiofilename", n)
        first.setdefault(name, n)
        onset, offset = times((name, *cells), at, file, n, comma=table.comma)
        for label, cell in zip(table.header[3:], cells[2:], strict=True):
            value = cell.strip().upper()
            if not label and not value:  # a comma too many at the end of each line
                continue
            if value not in ("POS", "NEG", "UNK"):
                raise table.fault(f"{label[:40]!r} is {cell[:40]!r}: write POS, NEG or UNK", n)
            row = event(name, onset, offset, label, file, n, wanted)
            if value != "NEG":
                (rows if value == "POS" else unknown).append(row)
    heard = {r.recording for r in (*rows, *unknown)}
    without = [Named(name, n) for name, n in first.items() if name not in heard]
    queries = [h for h in table.header[3:] if re.fullmatch(r"Q(_\d+)?", h)]
    return Labels(
        rows,
        without,
        unknown=unknown,
        about=said(at, table.header, table.rows, {n: cells[0] for n, cells in table.rows}, wanted),
        columns=named(at, table.header, wanted),
        header=tuple(table.header),
        notes=(f"a class is called {queries[0]!r}, whatever it is: rename the column",) if queries else (),
    )
