"""Tables of events, separated by tabs, commas or semicolons (then also with decimal commas).

With a header: `filename onset offset event_label` as DESED has it, or any names that mean the same, or that --columns
maps (`columns.py`). `name TAB TAB TAB` says that a recording has no event. Without a filename column the file belongs
to the recording of its own name. Times are seconds, milliseconds where the column's name or --unit says so, or
hh:mm:ss. Without a header, by the positions of the numbers (sed_eval, DCASE):

    onset offset | onset offset label | file onset offset label | file scene onset offset label

A number behind the label is not used, it may be a confidence or a class: soft labels are read by `soft.py`.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from flam_train.data.labels.columns import (
    EVENTS,
    Column,
    about_columns,
    assign,
    first_of,
    line,
    named,
    names_times,
    plain,
    said,
)
from flam_train.data.labels.formulas import as_meant
from flam_train.data.labels.locations import joined
from flam_train.data.labels.rows import (
    EVERY_ROW,
    Labels,
    Named,
    Wanted,
    event,
    fault,
    filled,
    is_no_call,
    is_time,
    lines_of,
    listed,
    seconds,
    text_of,
)
from flam_train.data.sound.suffixes import SUFFIXES

SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}

HEAD = 100_000
"""Characters of a file in which its separator and header are looked for."""

SCORES = ("confidence", "score", "probability", "value", "soft", "soft_label")
"""What columns are called whose numbers may be taken for labels, or their weights."""

_ELAN_OFFSET = re.compile(r"^#.* -- offset: *0*([1-9][0-9]*)", re.MULTILINE)
"""Of what ELAN writes between tabs: milliseconds of the medium's offset, which its export may have added or not."""

SEAMLESS = 4
"""Rows of a recording that make a seamless whole: fewer do by chance."""

Cells = tuple[int, list[str]]
"""A line's number, and its cells."""


def rows_of(text: str, separator: str, file: str, strict: bool = True) -> list[Cells]:
    """All lines but blank ones, a spreadsheet's `sep=;`, and comments that stand before the first. A first line that
    begins with '#' and has times, or names of times, is no comment. `strict`: bad quotes are a ValueError."""
    if separator == "\t":  # what is separated by tabs is seldom quoted, and quotes may stand anywhere
        rows = [(n, [_unquoted(c) for c in line.split("\t")]) for n, line in enumerate(lines_of(text), 1)]
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)
        rows = []
        before = 0
        try:
            for cells in reader:
                rows.append((before + 1, cells))
                before = reader.line_num
        except csv.Error as error:
            raise fault(file, f"{error}: mend the quotes, or remove the row", before + 1) from error
    rows = [(n, cells) for n, cells in rows if any(c.strip() for c in cells)]
    if rows and re.fullmatch(r"sep=.?", separator.join(rows[0][1]).strip().casefold()):
        rows.pop(0)
    while rows and rows[0][1][0].startswith("#"):
        n, (first, *others) = rows[0]
        if names_times([first[1:], *others], Wanted()):
            rows[0] = n, [first[1:].strip(), *others]
            break
        alone = not any(c.strip() for c in others)  # a recording without an event
        if by_position([first, *others], separator != ",") or (alone and (others or first.lower().endswith(SUFFIXES))):
            break
        rows.pop(0)
    return rows


def _unquoted(cell: str) -> str:
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def by_position(cells: Sequence[str], comma: bool) -> dict[str, int] | None:
    """Role -> column of a row without a header, told by where its numbers stand; `value` is a number behind the
    label, or an empty place for one."""
    cells = [c.strip().removesuffix("%") for c in cells]
    while len(cells) > 3 and not cells[-1]:
        cells = cells[:-1]
    match [is_time(c, comma) for c in cells]:
        case [True, True] | [True, True, _]:
            return {"onset": 0, "offset": 1} | ({"label": 2} if len(cells) == 3 else {})
        case [True, True, False, True]:
            return {"onset": 0, "offset": 1, "label": 2, "value": 3}
        case [_, True, True, False] | [False, True, True, True]:
            return {"filename": 0, "onset": 1, "offset": 2, "label": 3}
        case [False, True, True, False, True]:
            return {"filename": 0, "onset": 1, "offset": 2, "label": 3, "value": 4}
        case [False, _, True, True, _]:
            return {"filename": 0, "onset": 2, "offset": 3, "label": 4}
    return None


def given_numbers(wanted: Wanted) -> dict[str, int] | None:
    """--columns given as numbers from 1 on: a table without a header."""
    if wanted.columns and all(v.isascii() and v.isdigit() and 0 < int(v[:9]) < 10_000 for v in wanted.columns.values()):
        return {role: int(v) - 1 for role, v in wanted.columns.items()}
    return None


def separator_of(text: str, file: str, wanted: Wanted, header: bool) -> str | None:
    """The separator with which the table can be read, or None."""
    for separator in SEPARATORS:
        if separator not in text:
            continue
        try:
            rows = rows_of(text[:HEAD], separator, file, strict=False)
        except ValueError:
            continue
        if header and rows and names_times(rows[0][1], wanted):
            return separator
        if not header:
            at = given_numbers(wanted)
            # A recording without events has nothing but its name; the first row that has more decides.
            full = next((cells for _, cells in rows if sum(bool(c.strip()) for c in cells) > 1), [])
            if at:
                onset = full[at.get("onset", 0)] if len(full) > max(at.values()) else ""
                found = is_time(onset, separator != ",")
            else:
                found = by_position(full, separator != ",") is not None
            if found:
                return separator
    return None


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """A table with a header."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    separator = separator_of(text, file, wanted, header=True) or next((s for s in SEPARATORS if s in text), "\t")
    rows = rows_of(text, separator, file)
    if not rows:
        raise fault(file, "is empty: a table with a header was expected")
    (n, header), *rest = rows
    at = assign(header, [cells for _, cells in rest], wanted, file, n)
    if "label" not in at and wanted.unlabelled is None:
        fix = "name it with --columns label=NAME, or all sounds with --unlabelled"
        raise fault(file, f"no column says what is heard; there are {listed(header)}: {fix}", n)
    for row, cells in rest:
        if any(c.strip() for c in cells[len(header) :]):
            raise fault(file, f"{len(cells)} columns, the header has {len(header)}: mend the row", row)
    scores = [h.strip() for k, h in enumerate(header) if plain(h) in SCORES and k not in {c.at for c in at.values()}]
    notes: tuple[str, ...] = (f"the numbers of column {scores[0]!r} are not used: {EVERY_ROW}",) if scores else ()
    if offset := _ELAN_OFFSET.search(text[:HEAD]):
        said_so = f"its head says that the recording begins at {int(offset[1]) / 1000:g} s of ELAN's time"
        notes += (f"{said_so}, which ELAN adds when it is asked to: times are taken as they are",)
    read = _read(rest, at, separator != ",", file, wanted, notes=notes)
    of = {n: _name(cells, at) for n, cells in rest}
    about = said(
        about_columns(header, wanted, [column.at for role, column in at.items() if role in EVENTS]),
        header,
        rest,
        of,
        wanted,
    )
    return replace(read, about=about, columns=named(at, header, wanted), header=tuple(header))


def parse_headerless(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """A table without a header. A number behind the label is passed over, and the notes say so."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    separator = separator_of(text, file, wanted, header=False) or next((s for s in SEPARATORS if s in text), "\t")
    rows = rows_of(text, separator, file)
    comma = separator != ","
    given = given_numbers(wanted)
    told = [found for _, cells in rows if (found := by_position(cells, comma))]
    at = given or next((found for found in told if "value" in found), None) or next(iter(told), None)
    if rows and at is None:
        raise fault(
            file, "no onset and offset are seen: name the columns by number, --columns onset=1,offset=2", rows[0][0]
        )
    if at is not None and ("onset" not in at or not ({"offset", "duration"} & set(at))):
        raise fault(file, "--columns must name onset, and offset or duration")
    at = dict(at or {})
    unused = at.pop("value", None)
    most = max((*at.values(), unused if unused is not None else -1), default=-1)
    for n, cells in rows:
        if not given and any(c.strip() for c in cells[1 + most :]):
            raise fault(file, f"{len(cells)} columns, other rows have fewer: mend the row", n)
    columns = {role: Column(k, str(k + 1), 0.001 if wanted.unit == "ms" else 1.0) for role, k in at.items()}
    both = "" if given else either({role: column.name for role, column in columns.items()})
    notes: tuple[str, ...] = ()
    if unused is not None:
        notes = (f"the numbers of column {unused + 1} are not used: {EVERY_ROW}; soft labels: --format soft",)
    return _read(rows, columns, comma, file, wanted, both, notes)


def either(columns: Mapping[str, str]) -> str:
    """The lines for `columns`, {role: number}, with the second number as offset, and as duration."""
    durations = {"duration" if role == "offset" else role: number for role, number in columns.items()}
    ways = line(Wanted(), **columns), line(Wanted(), **durations)
    return f"{ways[0]} if the second number is an offset, {ways[1]} if it is a duration"


def _name(cells: Sequence[str], at: Mapping[str, Column]) -> str | None:
    """What a row calls its recording, behind the folder that it names, if it is a bare name; None: no column does."""
    if "filename" not in at:
        return None
    name, folder = filled(at["filename"].cell(cells)), filled(at["folder"].cell(cells)) if "folder" in at else ""
    bare = name.strip() and folder.strip() and not re.search(r"[/\\]", name)
    return joined(folder, name) if bare else name


def _read(
    rows: Sequence[Cells],
    at: Mapping[str, Column],
    comma: bool,
    file: str,
    wanted: Wanted,
    both: str = "",
    notes: tuple[str, ...] = (),
) -> Labels:
    """`both`: the ways to read the second number, of a table without a header."""
    events, without = [], []
    for n, cells in rows:
        cell = {role: at[role].cell(cells) for role in EVENTS if role in at}
        name = _name(cells, at)
        if name is not None and not name.strip():
            raise fault(file, "names no recording: write its file name", n)
        timed = any(filled(cell.get(r, "")).strip() for r in ("onset", "offset", "duration"))
        label = as_meant(" ".join(filled(cell.get("label", "")).split()))
        if not timed and ((name is not None and not label) or is_no_call(label)):
            without.append(Named(name, n))
            continue
        onset = seconds(cell["onset"], file, n, "onset", comma=comma, scale=at["onset"].scale)
        if "offset" in cell:
            offset = seconds(cell["offset"], file, n, "offset", comma=comma, scale=at["offset"].scale)
        else:
            offset = onset + seconds(cell["duration"], file, n, "duration", comma=comma, scale=at["duration"].scale)
        channel = channel_of(cell.get("channel", ""), file, n)
        fix = f"swap or mend them, or say {both}" if both else "swap or mend them"
        events.append(event(name, onset, offset, label, file, n, wanted, "row", channel, fix))
    times: dict[str | None, list[tuple[float, float]]] = defaultdict(list)
    for e in events:
        times[e.recording].append((e.onset, e.offset))
    if both and any(map(only_durations, times.values())):
        raise fault(file, f"each row begins where the one before ends if the second number is a duration: say {both}")
    return Labels(events, without, columns={role: column.name for role, column in at.items()}, notes=notes)


def only_durations(times: Sequence[tuple[float, float]]) -> bool:
    """Whether pairs of numbers that can be read as onset and offset make a seamless whole as onset and duration."""
    if len(times) < SEAMLESS:
        return False
    as_durations = all(abs(a[0] + a[1] - b[0]) < 1e-6 for a, b in pairwise(times))
    return as_durations and not all(abs(a[1] - b[0]) < 1e-6 for a, b in pairwise(times))


def channel_of(cell: str, file: str, row: int) -> int | None:
    """A channel, counted from 1; None for an empty cell."""
    text = cell.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) < 10_000):
        raise fault(file, f"channel {text[:40]!r} is none: channels are counted from 1: mend the row", row)
    return int(text)


def tells_times(data: bytes, file: str, wanted: Wanted) -> bool:
    """Whether what a header calls an onset may be one: a table of other things has dates there."""
    text = text_of(data, file, wanted.encoding)
    separator = separator_of(text, file, wanted, header=True)
    if separator is None:
        return True
    (_, header), *rest = rows_of(text, separator, file, strict=False)
    at = first_of("onset", header)
    cells = [] if at is None else [cells[at] for _, cells in rest if at < len(cells) and filled(cells[at]).strip()]
    return not cells or any(is_time(cell, comma=True) for cell in cells)
