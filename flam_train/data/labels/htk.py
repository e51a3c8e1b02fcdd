"""HTK's label files and master label files ("The HTK Book", 6.2.1 and 6.3): `start end name [score]` between spaces, in
whole units of 100 ns; an MLF begins `#!MLF!#` and holds many, each behind its name, `"*/a.lab"`, and before a line with
a dot. MIREX' .lab are of the same form in decimals of seconds, so decimals and clock times are seconds; a number behind
the label of every row is not used then, as in tables. A label may hold spaces; behind HTK's score stand names of other
levels, which are not read.

Numbers in --columns say what stands where between the spaces, in seconds (--unit); a label that is the last one named
goes to the end of the line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from flam_train.data.labels.columns import UNITS, Column, times
from flam_train.data.labels.rows import (
    Labels,
    Named,
    Row,
    Wanted,
    event,
    fault,
    is_number,
    is_time,
    lines_of,
    seconds,
    text_of,
)
from flam_train.data.labels.tables import channel_of, either, given_numbers, only_durations

MLF = "#!MLF!#"

_UNIT = 1e-7
_LEAST = 0.1
"""Seconds: a file whose last label ends sooner is hardly one in units of 100 ns."""

MANY = 1_000_000
"""Seconds, of a file in which HTK's units have no other name."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_SCORE = re.compile(r"[+-]?[0-9]+(\.[0-9]*([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_PATTERN = re.compile(r'"([^"]*)"\s*(.*)')
_SUFFIX = re.compile(r"\.(lab|rec|phn|wrd|mlf|txt)$", re.IGNORECASE)


class _Line(NamedTuple):
    recording: str | None
    row: int
    text: str


def is_line(line: str) -> bool:
    """Whether a line is `start end name` between spaces."""
    parts = line.split()
    return "\t" not in line and len(parts) > 2 and all(is_time(p, comma=True) for p in parts[:2])


def in_units(rows: Sequence[Sequence[str]]) -> bool:
    """Whether times between tabs are hardly seconds: whole numbers, of which the last are many days."""
    times = [cell.strip() for cells in rows for cell in cells[:2]]
    return all(_WHOLE.fullmatch(t) for t in times) and max(int(t) for t in times) >= MANY


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The labels of one recording, or of all that an MLF names."""
    wanted = wanted or Wanted()
    lines = lines_of(text_of(data, file, wanted.encoding))
    is_mlf = next((line for line in lines if line.strip()), "").strip() == MLF
    named: dict[str, int] = {}
    found = [_Line(None, n, line) for n, line in enumerate(lines, 1) if line.strip()]
    if is_mlf:
        found = list(_of_mlf(lines, file, named))
    given = given_numbers(wanted)
    rows, notes = _in_columns(found, given, file, wanted) if given else _events(found, file, wanted)
    heard = {row.recording for row in rows}
    without = [Named(name, n) for name, n in named.items() if name not in heard]
    return Labels(rows, without, columns={role: str(k + 1) for role, k in (given or {}).items()}, notes=notes)


def _in_columns(
    lines: list[_Line], given: Mapping[str, int], file: str, wanted: Wanted
) -> tuple[list[Row], tuple[str, ...]]:
    """(rows, no notes): the columns are what the user says."""
    if "onset" not in given or not {"offset", "duration"} & set(given):
        raise fault(file, "--columns must name onset, and offset or duration")
    at = {role: Column(k, f"column {k + 1}", UNITS[wanted.unit]) for role, k in given.items()}
    most = max(given.values())
    rows = []
    for recording, n, text in lines:
        cells = text.split(maxsplit=most if given.get("label") == most else -1)
        label, name, channel = (at[role].cell(cells) if role in at else "" for role in ("label", "filename", "channel"))
        seen_in = channel_of(channel, file, n)
        onset, offset = times(cells, at, file, n, comma=True)
        rows.append(event(name or recording, onset, offset, label, file, n, wanted, channel=seen_in))
    return rows, ()


def _events(lines: list[_Line], file: str, wanted: Wanted) -> tuple[list[Row], tuple[str, ...]]:
    """(rows, notes): of units of 100 ns, or of seconds."""
    parts = [_parts(line, file) for line in lines]
    whole = all(_WHOLE.fullmatch(t) for start, end, _ in parts for t in (start, end))
    if parts and whole:
        _check_units(lines, parts, file)
    scored = not whole and all(_scored(name) for *_, name in parts)
    both = either({"onset": "1", "offset": "2", "label": "3"})
    rows = []
    cut = 0
    for (recording, n, _), (start, end, name) in zip(lines, parts, strict=True):
        onset, offset = (
            seconds(t, file, n, what, comma=True, scale=_UNIT if whole else 1.0)
            for t, what in ((start, "start"), (end, "end"))
        )
        label = name.rsplit(maxsplit=1)[0] if scored else _unscored(name) if whole else name
        cut += label != name
        fix = "swap or mend them" if whole else f"swap or mend them, or say {both}"
        rows.append(event(recording, onset, offset, _unquoted(label), file, n, wanted, reversed_fix=fix))
    if not whole and only_durations([(row.onset, row.offset) for row in rows]):
        raise fault(file, f"each row begins where the one before ends if the second number is a duration: say {both}")
    note = f"{cut} rows have a {'number' if scored else 'score'} behind the label: it is not used"
    return rows, (note,) if cut else ()


def _parts(line: _Line, file: str) -> tuple[str, str, str]:
    start, end, name = (*line.text.split(maxsplit=2), "", "")[:3]
    if start == "///":
        raise fault(file, "begins another reading of the same recording: keep one of them", line.row)
    if not is_time(start, comma=True) or not is_time(end, comma=True):
        what = f"{line.text[:40]!r} is not start end label: mend the row, or say the format with --format"
        raise fault(file, what, line.row)
    return start, end, name.rstrip()


def _check_units(lines: list[_Line], parts: list[tuple[str, str, str]], file: str) -> None:
    """ValueError if whole numbers are hardly units of 100 ns."""
    row, end = max(
        ((line.row, end) for line, (_, end, _) in zip(lines, parts, strict=True)),
        key=lambda found: seconds(found[1], file, found[0], "end"),
    )
    if seconds(end, file, row, "end", scale=_UNIT) < _LEAST:
        raise fault(
            file,
            f"whole numbers up to {end[:40]} would be {_UNIT * float(end):g} s in HTK's units of 100 ns: if they are "
            f"seconds, write them as decimals, {end[:40]}.0, or say --columns onset=1,offset=2,label=3; if samples, "
            "divide them by the rate",
            row,
        )


def _scored(name: str) -> bool:
    """Whether a number stands behind a label."""
    *label, last = name.split() or [""]
    return bool(label) and is_number(last, comma=True)


def _of_mlf(lines: list[str], file: str, named: dict[str, int]) -> Iterator[_Line]:
    """The labels of all entries; their names go to `named`, each with its row."""
    recording: str | None = None
    for n, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text == MLF:
            continue
        if text == ".":
            recording = None
        elif recording is not None and not text.startswith('"'):
            yield _Line(recording, n, line)
        else:
            if recording is not None:
                raise fault(file, "another entry begins: end the one above with a line that is a dot", n)
            recording = _entry(text, file, n)
            if recording in named:
                raise fault(file, f"{recording[:60]!r} has an entry in row {named[recording]} already: keep one", n)
            named[recording] = n


def _entry(text: str, file: str, n: int) -> str:
    """The recording of an entry's first line, without the pattern of its folder and without the label file's suffix."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise fault(file, f'{text[:40]!r} is not a name like "*/a.lab": write the name of the recording', n)
    if match[2]:
        raise fault(file, "points to label files elsewhere: give those", n)
    name = _SUFFIX.sub("", match[1].removeprefix("*/"))
    if not name.strip() or "*" in name or "?" in name:
        raise fault(file, f'{text[:40]!r} is not the name of one recording: write it, like "*/a.lab"', n)
    return name


def _unscored(name: str) -> str:
    """A label without HTK's score and what follows it."""
    parts = name.split()
    at = next((k for k, part in enumerate(parts) if k and _SCORE.fullmatch(part)), len(parts))
    return name if at == len(parts) else " ".join(parts[:at])


def _unquoted(name: str) -> str:
    """A label without HTK's quotes, with the bytes that it writes as octals (4.6 of the HTK Book)."""
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1]
    if "\\" not in name:
        return name
    data = _OCTAL.sub(lambda m: bytes([int(m[1], 8)]), name.encode("utf-8", "surrogatepass"))
    return data.decode("utf-8", "replace")
