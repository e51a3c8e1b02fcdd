"""Kaleidoscope's tables of detections: cluster.csv, id.csv and meta.csv (Wildlife Acoustics, "Kaleidoscope Pro User
Guide", ".csv output files"), and BirdNET's in their manner. FOLDER lies below INDIR, and IN FILE in it; OFFSET and
DURATION are seconds in that file; CHANNEL is 0 for the left, 1 for the right one. Versions write `AUTO ID`, `AUTO ID*`
or `AUTO-ID`, and columns in many orders.

A label is the MANUAL ID, if any row has one: then the others were not looked at, and nobody knows what is heard there.
Else it is what the tool heard, AUTO ID or TOP1MATCH (BirdNET: also common_name); `NoID` is a sound that it could not
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flam_train.data.labels.columns import ROLES, Column, named, plain, said, times
from flam_train.data.labels.locations import joined
from flam_train.data.labels.rows import ABOUT, Labels, Row, Wanted, event, filled
from flam_train.data.labels.tool_tables import ToolTable, read

_ROLES = {
    "filename": ("in_file",),
    "onset": ("offset",),
    "duration": ("duration",),
    "label": ("auto_id", "top1match", "common_name", "scientific_name"),
    **{field: ROLES[field] for field in ABOUT},
}
_TOLD_BY = {"in_file", "offset", "duration"}
_NO_ID = "NoID"


def told_by(header: Sequence[str]) -> str | None:
    """Why this is its header, None: it is not."""
    if {plain(h) for h in header} >= _TOLD_BY:
        return "its header is Kaleidoscope's, with IN FILE, OFFSET and DURATION"
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """Its detections. A recording is INDIR/FOLDER/IN FILE, as far as there are these columns."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, "a header with IN FILE, OFFSET and DURATION")
    at = table.assign(_ROLES, wanted)
    own = at.get("label")  # what the tool heard
    manual = None if "label" in wanted.columns else table.find("manual_id")
    if manual is not None and any(filled(cells[manual]).strip() for _, cells in table.rows):
        at["label"] = Column(manual, table.header[manual])
    else:
        manual = None
    channel = table.find("channel")
    folders = table.find("folder"), table.find("indir")
    aliases: dict[str, tuple[str, ...]] = {}
    rows: list[Row] = []
    unknown: list[Row] = []
    without_id = 0
    for n, cells in table.rows:
        name = None
        if "filename" in at:
            name, *others = _paths(at["filename"].cell(cells), *("" if k is None else cells[k] for k in folders))
            if not name:
                raise table.fault("names no recording: write its IN FILE", n)
            aliases.update({name: tuple(others)} if others else {})
        label = filled(at["label"].cell(cells)) if "label" in at else ""
        unseen = manual is not None and not label.strip()
        if unseen:
            without_id += 1
            label = (filled(own.cell(cells)).strip() if own else "") or _NO_ID
        seen_in = _channel(cells[channel], table, n) if channel is not None else None
        row = event(name, *times(cells, at, file, n, comma=table.comma), label, file, n, wanted, channel=seen_in)
        (unknown if unseen or row.label.casefold() == _NO_ID.casefold() else rows).append(row)
    return Labels(
        rows,
        unknown=unknown,
        about=said(at, table.header, table.rows, {r.row: r.recording for r in (*rows, *unknown)}, wanted),
        aliases=aliases,
        columns=named(at, table.header, wanted),
        header=tuple(table.header),
        notes=_notes(at, rows, without_id, manual is not None),
    )


def _paths(name: str, folder: str, root: str) -> list[str]:
    """What a recording is called, likeliest first; "" if it has no name. INDIR may be called otherwise now, so the path
    below it will do; a bare name would be that of a recording in any folder."""
    if not name.strip():
        return [""]
    below = joined(folder, name)
    full = joined(root, below)
    return [full, below] if full != below and "/" in below else [full]


def _channel(cell: str, table: ToolTable, n: int) -> int | None:
    """From 1 on; None if it is empty."""
    cell = cell.strip()
    if not cell:
        return None
    if not cell.isascii() or not cell.isdigit() or len(cell) > 4:
        raise table.fault(f"CHANNEL {cell[:40]!r} is not 0, 1, ...: mend the row", n)
    return int(cell) + 1


def _notes(at: Mapping[str, Column], rows: list[Row], without_id: int, by_hand: bool) -> tuple[str, ...]:
    if without_id:
        return (f"{without_id} rows have no MANUAL ID, and others have one: nobody knows what is heard in them",)
    if rows and not by_hand and "label" in at and plain(at["label"].name) in _ROLES["label"]:
        return (f"{len(rows)} labels are the tool's own, of {at['label'].name!r}, whatever their score",)
    return ()
