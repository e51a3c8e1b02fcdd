"""Raven's selection tables (`NAME.Table.1.selections.txt`), with tabs or, from a spreadsheet, commas or semicolons;
times in seconds. BirdNET's selection tables are such. The column with the labels is the user's own (Annotation,
Species, ...). A selection has a row for each view it is drawn in, which are one event.

Where several files were opened as one, `Begin Path` or `Begin File` names each and `File Offset (s)` is the time within
it. A selection may end in another file, `End Path` or `End File`. When that one begins is known if another selection
begins in it: then each file has its part. Else nobody knows what is heard at the beginning of the second, as far as the
selection may reach."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flam_train.data.labels.columns import about_columns, kept, line, named, plain, said
from flam_train.data.labels.formulas import as_meant
from flam_train.data.labels.locations import joined
from flam_train.data.labels.rows import Labels, Row, Wanted, event, fault, is_number, seconds
from flam_train.data.labels.tables import HEAD, Cells, channel_of
from flam_train.data.labels.tool_tables import ToolTable, header_of, read

BEGIN, END, IN_FILE = "Begin Time (s)", "End Time (s)", "File Offset (s)"
FILE, PATH, LAST_FILE, LAST_PATH = "Begin File", "Begin Path", "End File", "End Path"
STANDARD = {
    *("selection", "view", "channel", "begin file", "end file", "begin path", "end path", "begin date", "end date"),
    *("begin clock time", "end clock time", "begin date time", "begin hour", "score", "confidence", "rating", "notes"),
    *("begin sample", "end sample", "length", "occupancy", "sound id", "channel id", "species code", "lat", "lon"),
    *("week", "overlap", "sensitivity", "min_conf", "species_list", "model"),
}
"""Columns that hold no labels, nor do those whose names end in a unit like "(Hz)"."""

_MEASURED = re.compile(
    r"(\(|\.\.)(?:(?:s|ms|k?hz|k?u|db|fs|bits|samples|deg|%|x|fft|frames|re|/)[ ./]*)+[).]$", re.IGNORECASE
)
"""How names of what Raven measures end: `Low Freq (Hz)`, in R `Low.Freq..Hz.`."""

_OWN = ("selection", "view", "file_offset", "low_freq")
"""Columns that only a selection table has, as `plain` writes them: other tables have begin and end times, too."""

PREFERRED = "label annotation annotations species common_name class event call_type type"
"""Names of the column with the labels."""


_CLOSE = 0.01
"""Seconds by which the beginning of a file, as two selections tell it, may differ."""


class _Part(NamedTuple):
    recording: str | None
    onset: float
    offset: float


class _Selection(NamedTuple):
    """`first` and `last`: the recordings in which it begins and ends, None: the one that the table is called like;
    `begin` and `end`: in the time of all files, `within`: in that of the first."""

    row: int
    cells: list[str]
    first: str | None
    last: str | None
    begin: float
    end: float
    within: float


def separator_of(text: str, file: str) -> str | None:
    """What separates the columns of a selection table; None: it is none. R writes `Begin.Time..s.`."""
    _, separator, header = header_of(text[:HEAD])
    names = {plain(h) for h in header}
    own = {BEGIN, END} <= set(header) or names & set(_OWN)
    return separator if own and {plain(BEGIN), plain(END)} <= names else None


def _places(header: Sequence[str]) -> dict[str, int]:
    """{name: place} of the columns, those that Raven writes by its own names for them."""
    by_plain: dict[str, int] = {}
    for k, h in enumerate(header):
        by_plain.setdefault(plain(h), k)
    own = (BEGIN, END, IN_FILE, FILE, PATH, LAST_FILE, LAST_PATH, "Selection", "View", "Channel")
    at = {h: k for k, h in enumerate(header)}
    return at | {name: by_plain[plain(name)] for name in own if name not in at and plain(name) in by_plain}


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The selections of a table, each once."""
    wanted = wanted or Wanted()
    table = read(data, file, wanted, f"a header with {BEGIN!r}")
    header = list(table.header)
    at = _places(header)
    for name in (BEGIN, END):
        if name not in at:
            raise table.fault(f"no column {name!r}: save the table again, or say the format with --format")
    label = _label_column(header, [cells for _, cells in table.rows], wanted, file, table.first)
    found = [_selection(n, cells, table, at) for n, cells in _once(table.rows, at, label)]
    if len({recording for s in found for recording in (s.first, s.last)}) > 1 and IN_FILE not in at:
        several = PATH if PATH in at else FILE
        raise table.fault(f"several files in {several!r} but no {IN_FILE!r}: add this column in Raven and save again")
    starts: dict[str | None, list[float]] = defaultdict(list)
    for s in found:
        starts[s.first].append(s.begin - s.within)
    events: list[Row] = []
    unknown: list[Row] = []
    for s in found:
        channel = channel_of(s.cells[at["Channel"]], file, s.row) if "Channel" in at else None
        parts, unsure = _parts(s, starts.get(s.last, []))
        for rows, some in ((events, parts), (unknown, unsure)):
            said_of = "" if label is None else as_meant(s.cells[label])
            rows += [event(*part, said_of, file, s.row, wanted, channel=channel) for part in some]
    events.sort(key=lambda e: e.row)
    about = about_columns(header, wanted, [] if label is None else [label])
    own = {name: header[k] for name, k in at.items()}
    length = f"{own[END]} - {own[BEGIN]}"
    times = {"onset": own[IN_FILE], "duration": length} if IN_FILE in at else {"onset": own[BEGIN], "offset": own[END]}
    roles = times | ({} if label is None else {"label": header[label].strip()})
    roles |= {"filename": own[PATH if PATH in at else FILE]} if {PATH, FILE} & set(at) else {}
    untold = "end in another file, at a time that the table does not tell: nobody knows what is heard where it begins"
    return Labels(
        events,
        unknown=unknown,
        about=said(about, header, table.rows, {s.row: s.first for s in found}, wanted),
        columns=roles | named(about, header, wanted),
        header=tuple(header),
        notes=(f"{len(unknown)} selections {untold}",) if unknown else (),
    )


def _once(table: Sequence[Cells], at: Mapping[str, int], label: int | None) -> list[Cells]:
    """A row for each selection, of its views the first with a label."""
    selections: dict[tuple[str, ...], Cells] = {}
    for n, cells in table:
        number = cells[at["Selection"]].strip() if "Selection" in at else ""
        where = [cells[at[name]] if name in at else "" for name in (BEGIN, END, PATH, FILE, "Channel")]
        same = (number or f"row {n}", *where)
        before = selections.setdefault(same, (n, cells))
        view = cells[at["View"]] if "View" in at else ""
        if before[0] != n and (view == before[1][at["View"]] if "View" in at else True):
            selections[(*same, str(n))] = n, cells  # drawn twice in one view: two selections
        elif before[0] != n and label is not None and not before[1][label].strip():
            selections[same] = n, cells
    return list(selections.values())


def _selection(n: int, cells: list[str], table: ToolTable, at: Mapping[str, int]) -> _Selection:
    first, last = (
        _name(*(cells[at[name]].strip() if name in at else "" for name in names))
        for names in ((PATH, FILE), (LAST_PATH, LAST_FILE))
    )
    if first is None or last is None or f"/{first}".endswith(f"/{last}") or f"/{last}".endswith(f"/{first}"):
        last = first
    elif "/" not in last:
        last = joined(first.rpartition("/")[0], last)
    begin, end = (seconds(cells[at[name]], table.file, n, name, comma=table.comma) for name in (BEGIN, END))
    within = seconds(cells[at[IN_FILE]], table.file, n, IN_FILE, comma=table.comma) if IN_FILE in at else begin
    return _Selection(n, cells, first, last, begin, end, within)


def _name(path: str, file: str) -> str | None:
    """What a recording is called: by its path if there is one, which may be its folder's. Names repeat from folder to
    folder."""
    if not path:
        return file or None
    path = path.replace("\\", "/")
    name, suffix = path.rpartition("/")[2], f".{file.rpartition('.')[2]}" if "." in file else ""
    same_kind = suffix and name.casefold().endswith(suffix.casefold())
    is_file = name and (file in (name, name.rpartition(".")[0]) or same_kind)
    return path if is_file or not file else joined(path, file)


def _parts(s: _Selection, starts: Sequence[float]) -> tuple[list[_Part], list[_Part]]:
    """(what of its recordings it fills, where it may go on). `starts`: the beginning of the last one in the time of all
    files, as other selections tell it."""
    whole = _Part(s.first, s.within, s.within + (s.end - s.begin))
    if s.last == s.first:
        return [whole], []
    if starts and max(starts) - min(starts) < _CLOSE and s.begin < starts[0] < s.end:
        return [whole._replace(offset=s.within + (starts[0] - s.begin)), _Part(s.last, 0.0, s.end - starts[0])], []
    return [whole], [_Part(s.last, 0.0, max(0.0, s.end - s.begin))]


def _label_column(header: list[str], body: list[list[str]], wanted: Wanted, file: str, row: int) -> int | None:
    """The user's own column; None: there is none, and what has no label has one all the same. ValueError if it cannot
    be told."""
    if "label" in wanted.columns:
        if wanted.columns["label"] not in header:
            raise fault(file, f"no column {wanted.columns['label'][:40]!r}: mend --columns", row)
        return header.index(wanted.columns["label"])
    titles = [h.strip() for h in header]
    standard = {plain(name) for name in STANDARD}
    own = [k for k, h in enumerate(titles) if h and plain(h) not in standard and not _MEASURED.search(h)]
    if not own:
        if wanted.unlabelled is not None:
            return None
        worded = [k for k in range(len(titles)) if any(c[k].strip() and not is_number(c[k], True) for c in body)]
        texts = [repr(titles[k][:40]) for k in worded if plain(titles[k]) in ("notes", "species_code")]
        fix = "name one with --columns label=NAME, or all selections with --unlabelled PHRASE"
        there = f" but {' and '.join(texts)}" if texts else ""
        raise fault(file, f"no column holds labels of the user's own{there}: {fix}", row)
    # Ids and sources may be what is heard, these are not.
    others = {c.at for field, c in about_columns(header, wanted).items() if field in ("author", "licence")}
    group = kept(header, wanted)
    own = [k for k in own if k not in others and k != group] or own
    known = [k for k in own if plain(header[k]) in PREFERRED.split()] or own
    # What is empty throughout, or counts, is no label if another column may be.
    filled = [k for k in known if any(c[k].strip() for c in body)] or known
    worded = [k for k in filled if any(c[k].strip() and not is_number(c[k], True) for c in body)] or filled
    if len(worded) != 1:
        found = ", ".join(repr(header[k][:40]) for k in worded[:8])
        ways = " or ".join(line(wanted, label=titles[k]) for k in worded[:2])
        raise fault(file, f"which column holds the labels? There are {found}: say {ways}", row)
    return worded[0]
