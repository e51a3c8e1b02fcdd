"""HTK's label files and master label files ("The HTK Book", 6.2.1 and 6.3): `start end name [score]` between spaces, in
whole units of 100 ns; an MLF begins `#!MLF!#` and holds many, each behind its name, `"*/a.lab"`, and before a line with
a dot. MIREX' .lab are of the same form in decimals of seconds, so decimals and clock times are seconds. A label may
hold spaces; behind HTK's score stand names of other levels, which are not read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from flam_train.data.labels.rows import (
    Labels,
    Named,
    Wanted,
    event,
    fault,
    is_time,
    lines_of,
    seconds,
    text_of,
)

MLF = "#!MLF!#"

_UNIT = 1e-7
_LEAST = 0.1
"""Seconds: a file whose last label ends sooner is hardly one in units of 100 ns."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_SCORE = re.compile(r"[+-]?[0-9]+(\.[0-9]*([eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_OCTAL = re.compile(rb"\\([0-3][0-7]{2})")
_PATTERN = re.compile(r'"([^"]*)"\s*(.*)')
_SUFFIX = re.compile(r"\.(lab|rec|phn|wrd|mlf|txt)$", re.IGNORECASE)


class _Line(NamedTuple):
    recording: str | None
    row: int
    start: str
    end: str
    name: str


def is_line(line: str) -> bool:
    """Whether a line is `start end name` between spaces."""
    parts = line.split()
    return "\t" not in line and len(parts) > 2 and all(is_time(p, comma=True) for p in parts[:2])


def parse(data: bytes, file: str, wanted: Wanted | None = None) -> Labels:
    """The labels of one recording, or of all that an MLF names."""
    wanted = wanted or Wanted()
    lines = lines_of(text_of(data, file, wanted.encoding))
    is_mlf = next((line for line in lines if line.strip()), "").strip() == MLF
    named: dict[str, int] = {}
    found = list(_of_mlf(lines, file, named) if is_mlf else _of_lines(lines, file))
    whole = all(_WHOLE.fullmatch(t) for line in found for t in (line.start, line.end))
    if found and whole:
        last = max(found, key=lambda line: seconds(line.end, file, line.row, "end"))
        if seconds(last.end, file, last.row, "end", scale=_UNIT) < _LEAST:
            raise fault(
                file,
                f"whole numbers up to {last.end[:40]} would be {_UNIT * float(last.end):g} s in HTK's units of 100 ns: "
                f"if they are seconds, write them as decimals, {last.end[:40]}.0; if samples, divide them by the rate",
                last.row,
            )
    scale = _UNIT if whole else 1.0
    rows = []
    for line in found:
        onset = seconds(line.start, file, line.row, "start", comma=True, scale=scale)
        offset = seconds(line.end, file, line.row, "end", comma=True, scale=scale)
        name = _unscored(line.name) if whole else line.name
        rows.append(event(line.recording, onset, offset, _unquoted(name), file, line.row, wanted))
    heard = {row.recording for row in rows}
    cut = sum(whole and _unscored(line.name) != line.name for line in found)
    notes = (f"{cut} rows have a score behind the label: it is not used",) if cut else ()
    return Labels(rows, [Named(name, n) for name, n in named.items() if name not in heard], notes=notes)


def _of_lines(lines: list[str], file: str, recording: str | None = None, first: int = 1) -> Iterator[_Line]:
    for n, line in enumerate(lines, first):
        if not line.strip():
            continue
        start, end, name = (*line.split(maxsplit=2), "", "")[:3]
        if start == "///":
            raise fault(file, "begins another reading of the same recording: keep one of them", n)
        if not is_time(start, comma=True) or not is_time(end, comma=True):
            raise fault(file, f"{line[:40]!r} is not start end label: mend the row, or say the format with --format", n)
        yield _Line(recording, n, start, end, name)


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
            yield from _of_lines([line], file, recording, n)
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
