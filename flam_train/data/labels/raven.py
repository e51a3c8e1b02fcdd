"""Raven's selection tables (`NAME.Table.1.selections.txt`), with tabs or, from a spreadsheet, commas or semicolons;
times in seconds. BirdNET's selection tables are such. The column with the labels is the user's own (Annotation,
Species, ...). A selection has a row for each view it is drawn in, which are one event. Where several files were opened
as one, `Begin Path` or `Begin File` names each and `File Offset (s)` is the time within it."""

from __future__ import annotations

from collections.abc import Mapping

from flam_train.data.labels.columns import line, plain
from flam_train.data.labels.rows import Labels, Row, Wanted, event, fault, is_number, lines_of, seconds, text_of
from flam_train.data.labels.tables import SEPARATORS, channel_of, rows_of

BEGIN, END, IN_FILE, FILE, PATH = "Begin Time (s)", "End Time (s)", "File Offset (s)", "Begin File", "Begin Path"
STANDARD = {
    *("selection", "view", "channel", "begin file", "end file", "begin path", "end path", "begin date", "end date"),
    *("begin clock time", "end clock time", "begin date time", "begin hour", "score", "confidence", "rating", "notes"),
    *("begin sample", "end sample", "length", "occupancy", "sound id", "channel id", "species code", "lat", "lon"),
    *("week", "overlap", "sensitivity", "min_conf", "species_list", "model"),
}
"""Columns that hold no labels, nor do those whose names end in a unit like "(Hz)"."""

PREFERRED = "label annotation annotations species common_name class event call_type type"
"""Names of the column with the labels."""


def separator_of(text: str, file: str) -> str | None:
    """What separates the columns of a selection table; None: it is none."""
    first = next((line for line in lines_of(text) if line.strip() and not line.startswith("#")), "")
    for separator in SEPARATORS if BEGIN in first else ():
        cells = rows_of(first, separator, file, strict=False)
        if cells and {BEGIN, END} <= {c.strip() for c in cells[0][1]}:
            return separator
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The selections of a table, each once."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    separator = separator_of(text, file) or "\t"
    rows = rows_of(text, separator, file)
    if not rows:
        raise fault(file, f"is empty: a header with {BEGIN!r} was expected")
    (first, header), *rest = rows
    at = {h.strip(): k for k, h in enumerate(header)}
    for name in (BEGIN, END):
        if name not in at:
            raise fault(file, f"no column {name!r}: save the table again, or say the format with --format", first)
    for n, cells in rest:
        if any(c.strip() for c in cells[len(header) :]):
            raise fault(file, f"{len(cells)} columns, the header has {len(header)}: mend the row", n)
    table = [(n, cells + [""] * (len(header) - len(cells))) for n, cells in rest]
    label = _label_column(header, [cells for _, cells in table], wanted, file, first)
    selections: dict[tuple[str, ...], tuple[int, list[str]]] = {}
    for n, cells in table:
        number = cells[at["Selection"]].strip() if "Selection" in at else ""
        where = [cells[at[name]] if name in at else "" for name in (BEGIN, END, PATH, FILE, "Channel")]
        same = (number or f"row {n}", *where)
        kept = selections.setdefault(same, (n, cells))
        view = cells[at["View"]] if "View" in at else ""
        if kept[0] != n and (view == kept[1][at["View"]] if "View" in at else True):
            selections[(*same, str(n))] = n, cells  # drawn twice in one view: two selections
        elif kept[0] != n and not kept[1][label].strip():
            selections[same] = n, cells
    comma = separator != ","
    events = [_event(n, cells, at, label, comma, file, wanted) for n, cells in selections.values()]
    if len({e.recording for e in events}) > 1 and IN_FILE not in at:
        raise fault(
            file,
            f"several files in {PATH if PATH in at else FILE!r} but no {IN_FILE!r}: add this column in Raven and save "
            "again",
            first,
        )
    # Of a path and a name, the path is looked for first: names repeat from folder to folder.
    both = (
        {c[at[PATH]].strip(): (c[at[FILE]].strip(),) for _, c in table if c[at[FILE]].strip()}
        if {PATH, FILE} <= set(at)
        else {}
    )
    times = {"onset": IN_FILE, "duration": f"{END} - {BEGIN}"} if IN_FILE in at else {"onset": BEGIN, "offset": END}
    roles = {**times, "label": header[label].strip()}
    roles |= {"filename": PATH if PATH in at else FILE} if {PATH, FILE} & set(at) else {}
    return Labels(sorted(events, key=lambda e: e.row), aliases=both, columns=roles)


def _event(n: int, cells: list[str], at: Mapping[str, int], label: int, comma: bool, file: str, wanted: Wanted) -> Row:
    onset, offset = (seconds(cells[at[c]], file, n, c, comma=comma) for c in (BEGIN, END))
    if IN_FILE in at:
        within = seconds(cells[at[IN_FILE]], file, n, IN_FILE, comma=comma)
        onset, offset = within, within + (offset - onset)
    name = next((cells[at[c]].strip() for c in (PATH, FILE) if c in at and cells[at[c]].strip()), None)
    channel = channel_of(cells[at["Channel"]], file, n) if "Channel" in at else None
    return event(name, onset, offset, cells[label], file, n, wanted, channel=channel)


def _label_column(header: list[str], body: list[list[str]], wanted: Wanted, file: str, row: int) -> int:
    """The user's own column. ValueError if it cannot be told."""
    if "label" in wanted.columns:
        if wanted.columns["label"] not in header:
            raise fault(file, f"no column {wanted.columns['label'][:40]!r}: mend --columns", row)
        return header.index(wanted.columns["label"])
    own = [k for k, h in enumerate(header) if h.strip().casefold() not in STANDARD and not h.strip().endswith(")")]
    own = [k for k in own if header[k].strip()]
    known = [k for k in own if plain(header[k]) in PREFERRED.split()] or own
    # What is empty throughout, or counts, is no label if another column may be.
    filled = [k for k in known if any(c[k].strip() for c in body)] or known
    worded = [k for k in filled if any(c[k].strip() and not is_number(c[k], True) for c in body)] or filled
    if len(worded) != 1:
        found = ", ".join(repr(header[k][:40]) for k in worded[:8]) or "none of the user's own"
        ways = " or ".join(line(wanted, label=header[k].strip()) for k in worded[:2]) or "--columns label=NAME"
        raise fault(file, f"which column holds the labels? There are {found}: say {ways}", row)
    return worded[0]
