"""BirdNET's tables of detections. BirdNET-Analyzer's CSV (`analyze/core.py`, and `analyze.py` before 2.0) begins
`Start (s),End (s),Scientific name,Common name,Confidence`, since 1.3 with a column `File`, with semicolons in
BirdNET-Lite; until 2.0 there was one for R, `filepath,start,end,scientific_name,common_name,confidence,...`; the
Python package `birdnet` writes `input,start_time,end_time,species_name,confidence`, its times as hh:mm:ss. A combined
table has the same columns. Tables for Raven, Audacity and Kaleidoscope are read as those.

All rows are taken, whatever their confidence.
"""

from __future__ import annotations

from collections.abc import Sequence

from flam_train.data.labels.rows import Labels, Wanted, event, seconds
from flam_train.data.labels.tool_tables import plain, read

NAMES = (
    ".BirdNET.selection.table.txt",
    ".BirdNET.results.kaleidoscope.csv",
    ".BirdNET.results.r.csv",
    ".BirdNET.results.csv",
    ".BirdNET.results.txt",
    ".HawkEars.selection.table.txt",
)
"""What takes the place of a recording's own ending in the names of the files beside it, the longer ones first."""

_COLUMNS = {
    "onset": ("start s", "start", "start time"),
    "offset": ("end s", "end", "end time"),
    "label": ("common name", "species name"),
    "filename": ("file", "filepath", "file path", "input"),
}
_LIBRARY = {"start time", "end time", "species name", "confidence"}
_HEADS = ({"start s", "end s", "common name"}, {"start", "end", "scientific name", "common name"})


def told_by(header: Sequence[str]) -> str | None:
    """Why this is its header, None: it is not."""
    names = {plain(h) for h in header}
    if any(head <= names for head in _HEADS) or (names >= _LIBRARY and {"input", "file path"} & names):
        return f"its header is BirdNET's, with {', '.join(repr(h) for h in header[:5])}"
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Its detections, called by the common name, or by the scientific one if that is empty."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, "a header with 'Start (s)' and 'Common name'")
    at = table.roles(_COLUMNS, wanted)
    scientific, confidence = table.find("scientific name"), table.find("confidence")
    joined = "label" in at and plain(table.header[at["label"]]) == "species name"
    rows = []
    for n, cells in table.rows:
        name = cells[at["filename"]] if "filename" in at else None
        if name is not None and not name.strip():
            raise table.fault("names no recording: write its file name", n)
        label = cells[at["label"]] if "label" in at else ""
        if joined:  # "Turdus merula_Eurasian Blackbird"
            label = label.partition("_")[2].strip() or label
        if not label.strip() and scientific is not None and "label" not in wanted.columns:
            label = cells[scientific]
        onset = seconds(cells[at["onset"]], file, n, "start", comma=True)
        if "offset" in at:
            offset = seconds(cells[at["offset"]], file, n, "end", comma=True)
        else:
            offset = onset + seconds(cells[at["duration"]], file, n, "duration", comma=True)
        rows.append(event(name, onset, offset, label, file, n, wanted))
    about = table.kept(wanted, {r.row: r.recording for r in rows})
    note = f"all {len(rows)} detections are taken: the column {table.header[confidence or 0]!r} is not used"
    notes = (note,) if rows and confidence is not None else ()
    return Labels(rows, about=about, columns=table.columns(at), notes=notes)
