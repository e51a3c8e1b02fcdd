"""Kaleidoscope's tables of detections: cluster.csv, id.csv and meta.csv (Wildlife Acoustics, "Kaleidoscope Pro User
Guide", ".csv output files"), and BirdNET's in their manner. FOLDER lies below INDIR, and IN FILE in it; OFFSET and
DURATION are seconds in that file; CHANNEL is 0 for the left, 1 for the right one. Versions write `AUTO ID`, `AUTO ID*`
or `AUTO-ID`, and columns in many orders.

A label is the MANUAL ID, if any row has one: then the others were not looked at. Else it is what the tool heard, AUTO
ID or TOP1MATCH (BirdNET: also common_name); `NoID` is a sound that it could not name.
"""

from __future__ import annotations

from collections.abc import Sequence

from flam_train.data.labels.rows import Labels, Row, Wanted, event, seconds
from flam_train.data.labels.tool_tables import ToolTable, plain, read

_COLUMNS = {
    "onset": ("offset",),
    "duration": ("duration",),
    "label": ("auto id", "top1match", "common name", "scientific name"),
    "filename": ("in file",),
}
_TOLD_BY = {"in file", "offset", "duration"}
_NO_ID = "noid"


def told_by(header: Sequence[str]) -> str | None:
    """Why this is its header, None: it is not."""
    if {plain(h) for h in header} >= _TOLD_BY:
        return "its header is Kaleidoscope's, with IN FILE, OFFSET and DURATION"
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Its detections. A recording is FOLDER/IN FILE; with several INDIR, INDIR/FOLDER/IN FILE."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, "a header with IN FILE, OFFSET and DURATION")
    at = table.roles(_COLUMNS, wanted)
    manual = table.find("manual id")
    by_hand = "label" not in wanted.columns and manual is not None and any(c[manual].strip() for _, c in table.rows)
    if by_hand and manual is not None:
        at["label"] = manual
    channel = table.find("channel")
    names = _recordings(table, at.get("filename"))
    rows: list[Row] = []
    unknown: list[Row] = []
    without_id = 0
    for n, cells in table.rows:
        label = cells[at["label"]] if "label" in at else ""
        if by_hand and not label.strip():
            without_id += 1
            continue
        onset = seconds(cells[at["onset"]], file, n, table.header[at["onset"]], comma=True)
        if "offset" in at:
            offset = seconds(cells[at["offset"]], file, n, table.header[at["offset"]], comma=True)
        else:
            offset = onset + seconds(cells[at["duration"]], file, n, table.header[at["duration"]], comma=True)
        seen_in = _channel(cells[channel], table, n) if channel is not None else None
        row = event(names.get(n, (None,))[0], onset, offset, label, file, n, wanted, channel=seen_in)
        (unknown if row.label.casefold() == _NO_ID else rows).append(row)
    return Labels(
        rows,
        unknown=unknown,
        about=table.kept(wanted, {r.row: r.recording for r in (*rows, *unknown)}),
        aliases={every[0]: every[1:] for every in names.values() if len(every) > 1},
        columns=table.columns(at),
        notes=_notes(table, at, rows, without_id, by_hand),
    )


def _recordings(table: ToolTable, in_file: int | None) -> dict[int, tuple[str, ...]]:
    """Row -> the names of its recording, the likeliest first."""
    if in_file is None:
        return {}
    folder, root = table.find("folder"), table.find("indir")
    several = root is not None and len({cells[root].strip() for _, cells in table.rows}) > 1
    out = {}
    for n, cells in table.rows:
        if not cells[in_file].strip():
            raise table.fault("names no recording: write its IN FILE", n)
        below = _joined(cells[folder] if folder is not None else "", cells[in_file])
        full = _joined(cells[root] if root is not None else "", below)
        base = below.rsplit("/", 1)[-1]
        out[n] = tuple(dict.fromkeys((full, below, base) if several else (below, full, base)))
    return out


def _joined(folder: str, name: str) -> str:
    """A path; Kaleidoscope on Windows writes backslashes."""
    folder = folder.strip().replace("\\", "/").rstrip("/")
    return f"{folder}/{name.strip()}" if folder not in ("", ".") else name.strip().replace("\\", "/")


def _channel(cell: str, table: ToolTable, n: int) -> int | None:
    """From 1 on; None if it is empty."""
    cell = cell.strip()
    if not cell:
        return None
    if not cell.isascii() or not cell.isdigit() or len(cell) > 4:
        raise table.fault(f"CHANNEL {cell[:40]!r} is not 0, 1, ...: mend the row", n)
    return int(cell) + 1


def _notes(table: ToolTable, at: dict[str, int], rows: list[Row], without_id: int, by_hand: bool) -> tuple[str, ...]:
    if without_id:
        return (f"{without_id} rows have no MANUAL ID: left out, since others have one",)
    if rows and not by_hand and "label" in at and plain(table.header[at["label"]]) in _COLUMNS["label"]:
        return (f"{len(rows)} labels are the tool's own, of {table.header[at['label']]!r}, whatever their score",)
    return ()
