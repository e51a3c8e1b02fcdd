"""BirdNET's tables of detections. BirdNET-Analyzer's CSV (`analyze/core.py`, and `analyze.py` before 2.0) begins
`Start (s),End (s),Scientific name,Common name,Confidence`, since 1.3 with a column `File`, with semicolons in
BirdNET-Lite; until 2.0 there was one for R, `filepath,start,end,scientific_name,common_name,confidence,...`; the
Python package `birdnet` writes `input,start_time,end_time,species_name,confidence`, its times as hh:mm:ss. A combined
table has the same columns. Tables for Raven, Audacity and Kaleidoscope are read as those.

All rows are taken, whatever their confidence. It listens to windows of a few seconds and fills up the last one: rows
that begin in a recording may end behind it, and are cut there.
"""

from __future__ import annotations

from collections.abc import Sequence

from flam_train.data.labels.columns import ROLES, named, plain, said, times
from flam_train.data.labels.rows import EVERY_ROW, Labels, Wanted, event
from flam_train.data.labels.tool_tables import read

NAMES = (
    ".BirdNET.selection.table.txt",
    ".BirdNET.results.kaleidoscope.csv",
    ".BirdNET.results.r.csv",
    ".BirdNET.results.csv",
    ".BirdNET.results.txt",
    ".HawkEars.selection.table.txt",
)
"""What takes the place of a recording's own ending in the names of the files beside it, the longer ones first."""

_ROLES = {**ROLES, "filename": ("input", *ROLES["filename"]), "label": ("common_name", "species_name")}
_HEADS = (
    {"start", "end", "scientific_name", "common_name"},
    {"start_time", "end_time", "species_name", "confidence", "input"},
    {"start_time", "end_time", "species_name", "confidence", "file_path"},
)


def is_its(format: str, name: str) -> bool:
    """Whether a file of this format and name holds BirdNET's detections."""
    return format == "birdnet" or "BirdNET" in name


def told_by(header: Sequence[str]) -> str | None:
    """Why this is its header, None: it is not."""
    names = {plain(h) for h in header}
    if any(head <= names for head in _HEADS):
        return f"its header is BirdNET's, with {', '.join(repr(h) for h in header[:5])}"
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Its detections, called by the common name, or by the scientific one if that is empty."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, "a header with 'Start (s)' and 'Common name'")
    at = table.assign(_ROLES, wanted)
    scientific, confidence = table.find("scientific_name"), table.find("confidence")
    joined = "label" in at and plain(at["label"].name) == "species_name"
    rows = []
    for n, cells in table.rows:
        name = at["filename"].cell(cells) if "filename" in at else None
        if name is not None and not name.strip():
            raise table.fault("names no recording: write its file name", n)
        label = at["label"].cell(cells) if "label" in at else ""
        if joined:  # "Turdus merula_Eurasian Blackbird"
            label = label.partition("_")[2].strip() or label
        if not label.strip() and scientific is not None and "label" not in wanted.columns:
            label = cells[scientific]
        rows.append(event(name, *times(cells, at, file, n, comma=table.comma), label, file, n, wanted))
    note = f"the numbers of column {table.header[confidence or 0]!r} are not used: {EVERY_ROW}"
    return Labels(
        rows,
        about=said(at, table.header, table.rows, {r.row: r.recording for r in rows}, wanted),
        columns=named(at, table.header, wanted),
        header=tuple(table.header),
        notes=(note,) if rows and confidence is not None else (),
    )
