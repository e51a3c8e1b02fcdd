"""Tables of events, separated by tabs, commas or semicolons (then also with decimal commas).

With a header: `filename onset offset event_label` as DESED has it, or any names that mean the same, or that --columns
maps. `name TAB TAB TAB` says that a recording has no event. Without a filename column the file belongs to the recording
of its own name. Without a header, by the positions of the numbers (sed_eval, DCASE):

    onset offset | onset offset label | file onset offset label | file scene onset offset label

and `onset offset label value` is MAESTRO's soft labels: read as the stretches in which the value is above 0.5.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from flam_train.data.labels.rows import (
    Labels,
    Named,
    Row,
    Wanted,
    event,
    fault,
    is_number,
    lines_of,
    seconds,
    text_of,
)

ROLES = {
    "filename": "filename file_name fname file audio audio_file audio_filename recording path wav begin_file clip",
    "onset": "onset start start_time begin begin_time t_start tmin event_onset from",
    "offset": "offset end end_time stop stop_time t_end tmax event_offset to",
    "duration": "duration length event_duration",
    "label": "event_label label phrase class event category annotation species sound tag class_label text name",
}
"""What columns may be called, best first; case, spaces and a unit of seconds do not matter."""

SOFT_THRESHOLD = 0.5
"""A soft label counts strictly above it, as in the evaluation of DCASE 2023 task 4B."""

SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons"}

HEAD = 100_000
"""Characters of a file in which its separator and header are looked for."""

Cells = tuple[int, list[str]]
"""A line's number, and its cells."""


def rows_of(text: str, separator: str, file: str, strict: bool = True) -> list[Cells]:
    """All lines but blank ones, and comments that stand before the first. `strict`: bad quotes are a ValueError."""
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
    while rows and rows[0][1][0].startswith("#"):
        rows.pop(0)
    return rows


def _unquoted(cell: str) -> str:
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"'
    return cell[1:-1].replace('""', '"') if quoted else cell


def plain(name: str) -> str:
    """A header's name without case, spaces and a unit of seconds."""
    name = re.sub(r"\s*[\[(](s|sec|seconds)[\])]$", "", name.strip().casefold())
    return re.sub(r"_(s|sec|seconds)$", "", re.sub(r"[\s-]+", "_", name))


def find_roles(header: Sequence[str], wanted: Wanted) -> dict[str, int]:
    """Role -> column, of what is recognised."""
    names = [plain(h) for h in header]
    found = {}
    for role, known in ROLES.items():
        if role in wanted.columns:
            continue
        at = next((names.index(k) for k in known.split() if k in names), None)
        if at is not None and not (role == "duration" and "offset" in found):
            found[role] = at
    for role, name in wanted.columns.items():
        if name in header:
            found[role] = list(header).index(name)
    if "offset" in found and "duration" not in wanted.columns:
        found.pop("duration", None)
    if "duration" in wanted.columns and "offset" not in wanted.columns:
        found.pop("offset", None)
    return found


def roles_of(header: Sequence[str], wanted: Wanted, file: str, row: int, unit: str = "row") -> dict[str, int]:
    """Role -> column. ValueError if times cannot be told; a label or filename may lack."""
    found = find_roles(header, wanted)
    listed = ", ".join(repr(h[:40]) for h in header[:12])
    for role, name in wanted.columns.items():
        if role not in found:
            raise fault(file, f"no column {name[:40]!r} for {role}; there are {listed}: mend --columns", row, unit)
    if "onset" not in found or not ({"offset", "duration"} & set(found)):
        what = "onset" if "onset" not in found else "offset or duration"
        raise fault(
            file,
            f"no column is an {what}; there are {listed}: name it with --columns {what.split()[0]}=NAME",
            row,
            unit,
        )
    return found


def by_position(cells: Sequence[str], comma: bool) -> dict[str, int] | None:
    """Role -> column of a row without a header, told by where its numbers stand; `value` is a soft label's."""
    numeric = [is_number(c, comma) for c in cells]
    match numeric:
        case [True, True] | [True, True, _]:
            return {"onset": 0, "offset": 1} | ({"label": 2} if len(cells) == 3 else {})
        case [True, True, False, True]:
            return {"onset": 0, "offset": 1, "label": 2, "value": 3}
        case [_, True, True, False] | [False, True, True, True]:
            return {"filename": 0, "onset": 1, "offset": 2, "label": 3}
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
        if header and rows:
            found = find_roles(rows[0][1], wanted)
            if "onset" in found and {"offset", "duration"} & set(found):
                return separator
        elif not header:
            at = given_numbers(wanted)
            # A recording without events has nothing but its name; the first row that has more decides.
            full = next((cells for _, cells in rows if sum(bool(c.strip()) for c in cells) > 1), [])
            if (at and len(full) > max(at.values())) or (not at and by_position(full, separator != ",")):
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
    at = roles_of(header, wanted, file, n)
    if "label" not in at and wanted.unlabelled is None:
        listed = ", ".join(repr(h[:40]) for h in header[:12])
        fix = "name it with --columns label=NAME, or all sounds with --unlabelled"
        raise fault(file, f"no column says what is heard; there are {listed}: {fix}", n)
    return _read(rest, at, separator != ",", file, wanted, len(header))


def parse_headerless(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """A table without a header."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    separator = separator_of(text, file, wanted, header=False) or next((s for s in SEPARATORS if s in text), "\t")
    rows = rows_of(text, separator, file)
    comma = separator != ","
    at = given_numbers(wanted) or next((found for _, cells in rows if (found := by_position(cells, comma))), None)
    if rows and at is None:
        raise fault(
            file, "no onset and offset are seen: name the columns by number, --columns onset=1,offset=2", rows[0][0]
        )
    if at is not None and "value" in at:
        return parse_soft(data, file, wanted)
    if at is not None and ("onset" not in at or not ({"offset", "duration"} & set(at))):
        raise fault(file, "--columns must name onset, and offset or duration")
    return _read(rows, at or {}, comma, file, wanted, None)


def parse_soft(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """MAESTRO's soft labels as events: adjoining segments of a label, each above the threshold, are one event."""
    wanted = wanted or Wanted()
    text = text_of(data, file, wanted.encoding)
    events: list[Row] = []
    last: dict[str, int] = {}
    for n, cells in rows_of(text, "\t" if "\t" in text else ",", file):
        if len(cells) != 4:
            raise fault(file, f"{len(cells)} columns, not onset, offset, label, value: mend the row", n)
        value = seconds(cells[3], file, n, "value")
        onset, offset = (seconds(cells[k], file, n, name) for k, name in enumerate(("onset", "offset")))
        row = event(None, onset, offset, cells[2], file, n, wanted)
        if value <= SOFT_THRESHOLD:
            continue
        k = last.get(row.label)
        if k is not None and abs(events[k].offset - row.onset) < 1e-6:
            events[k] = events[k]._replace(offset=row.offset)
        else:
            last[row.label] = len(events)
            events.append(row)
    return Labels(events)


def _read(
    rows: Sequence[Cells], at: dict[str, int], comma: bool, file: str, wanted: Wanted, width: int | None
) -> Labels:
    events, without = [], []
    for n, cells in rows:
        if width is not None and any(c.strip() for c in cells[width:]):
            raise fault(file, f"{len(cells)} columns, the header has {width}: mend the row", n)
        if width is None and len(cells) > 1 + max(at.values()) and "value" not in at and not wanted.columns:
            raise fault(file, f"{len(cells)} columns, other rows have fewer: mend the row", n)
        cell = {role: cells[k] if k < len(cells) else "" for role, k in at.items()}
        name = cell.get("filename")
        if name is not None and not name.strip():
            raise fault(file, "names no recording: write its file name", n)
        if name is not None and not any(cell.get(r, "").strip() for r in ("onset", "offset", "duration", "label")):
            without.append(Named(name, n))
            continue
        onset = seconds(cell["onset"], file, n, "onset", comma=comma)
        if "offset" in cell:
            offset = seconds(cell["offset"], file, n, "offset", comma=comma)
        else:
            offset = onset + seconds(cell["duration"], file, n, "duration", comma=comma)
        events.append(event(name, onset, offset, cell.get("label", ""), file, n, wanted))
    return Labels(events, without)
