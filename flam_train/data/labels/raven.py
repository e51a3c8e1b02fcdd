"""Raven's selection tables (`NAME.Table.1.selections.txt`): tabs, CRLF, times in seconds. The column with the labels
is the user's own (Annotation, Species, ...). A selection has a row for each view it is drawn in, which are one event.
Where several files were opened as one, `Begin File` names each and `File Offset (s)` is the time within it."""

from __future__ import annotations

from flam_train.data.labels.rows import Labels, Row, Wanted, event, fault, seconds, text_of
from flam_train.data.labels.tables import plain, rows_of

BEGIN, END, IN_FILE, FILE = "Begin Time (s)", "End Time (s)", "File Offset (s)", "Begin File"
STANDARD = {
    *("selection", "view", "channel", "begin file", "end file", "begin path", "end path", "begin date", "end date"),
    *("begin clock time", "end clock time", "begin date time", "begin hour", "score", "confidence", "rating", "notes"),
    *("begin sample", "end sample", "length", "occupancy", "sound id", "channel id", "species code"),
}
"""Columns that hold no labels, nor do those whose names end in a unit like "(Hz)"."""

PREFERRED = ("label", "annotation", "annotations", "species", "common_name", "class", "event", "call_type", "type")


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The selections of a table, each once."""
    wanted = wanted or Wanted()
    rows = rows_of(text_of(data, file, wanted.encoding), "\t", file)
    if not rows:
        raise fault(file, f"is empty: a header with {BEGIN!r} was expected")
    (first, header), *rest = rows
    at = {h.strip(): k for k, h in enumerate(header)}
    for name in (BEGIN, END):
        if name not in at:
            raise fault(file, f"no column {name!r}: save the table again, or say the format with --format", first)
    label = _label_column(header, wanted, file, first)
    selections: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    for n, cells in rest:
        cells = cells + [""] * (len(header) - len(cells))
        if any(c.strip() for c in cells[len(header) :]):
            raise fault(file, f"{len(cells)} columns, the header has {len(header)}: mend the row", n)
        number = cells[at["Selection"]].strip() if "Selection" in at else ""
        same = (number or f"row {n}", cells[at[BEGIN]], cells[at[END]], cells[at[FILE]] if FILE in at else "")
        kept = selections.setdefault(same, (n, cells))
        view = cells[at["View"]] if "View" in at else ""
        if kept[0] != n and (view == kept[1][at["View"]] if "View" in at else True):
            selections[(*same, str(n))] = n, cells  # drawn twice in one view: two selections
        elif kept[0] != n and not kept[1][label].strip():
            selections[same] = n, cells
    events = [_event(n, cells, at, label, file, wanted) for n, cells in selections.values()]
    if len({e.recording for e in events}) > 1 and IN_FILE not in at:
        raise fault(
            file, f"several files in {FILE!r} but no {IN_FILE!r}: add this column in Raven and save again", first
        )
    return Labels(sorted(events, key=lambda e: e.row))


def _event(n: int, cells: list[str], at: dict[str, int], label: int, file: str, wanted: Wanted) -> Row:
    onset, offset = (seconds(cells[at[c]], file, n, c, comma=True) for c in (BEGIN, END))
    if IN_FILE in at:
        within = seconds(cells[at[IN_FILE]], file, n, IN_FILE, comma=True)
        onset, offset = within, within + (offset - onset)
    name = cells[at[FILE]] if FILE in at else ""
    return event(name if name.strip() else None, onset, offset, cells[label], file, n, wanted)


def _label_column(header: list[str], wanted: Wanted, file: str, row: int) -> int:
    """The user's own column. ValueError if it cannot be told."""
    own = [k for k, h in enumerate(header) if h.strip().casefold() not in STANDARD and not h.strip().endswith(")")]
    own = [k for k in own if header[k].strip()]
    if "label" in wanted.columns:
        if wanted.columns["label"] not in header:
            raise fault(file, f"no column {wanted.columns['label'][:40]!r}: mend --columns", row)
        return header.index(wanted.columns["label"])
    names = [plain(header[k]) for k in own]
    best = next((own[names.index(p)] for p in PREFERRED if p in names), own[0] if len(own) == 1 else None)
    if best is None:
        found = ", ".join(repr(header[k][:40]) for k in own[:8]) or "none of the user's own"
        raise fault(file, f"which column holds the labels? There are {found}: say --columns label=NAME", row)
    return best
