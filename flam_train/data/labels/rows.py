"""What every label file becomes, and what all parsers share: decoding, numbers, labels, faults."""

from __future__ import annotations

import codecs
import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

ALL_TIERS = "all"

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_CLOCK = re.compile(r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{1,2}(?:[.,][0-9]*)?)")
_LINE_END = re.compile(r"\r\n|\n|\r")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


NO_CALL = ("nocall", "no call", "nocall, nocall", "nocall nocall")
"""Labels, in any case, by which BirdNET and data sets of bird song say that a stretch was heard and has no event."""


NOTHING = ("NA", "N/A", "#N/A", "NaN", "nan")
"""What stands in an empty cell of a table that a program wrote."""


EVERY_ROW = "every row counts"
"""What notes say where scores are not used; where a person has judged the rows it is not so."""


class Row(NamedTuple):
    """One event, or a tag. `recording` is the audio's name as the file has it, None: that of the label file itself.
    Seconds, finite but for a tag's offset, onset <= offset; the label is not empty. `row` is a line of the file (1 is
    the first), or what `Labels.unit` says. `channel` is the one it was seen in, from 1, None: not said."""

    recording: str | None
    onset: float
    offset: float
    label: str
    row: int
    channel: int | None = None


class Named(NamedTuple):
    """A recording that a row names, and the row."""

    recording: str | None
    row: int


class Caption(NamedTuple):
    """A sentence about a whole recording."""

    recording: str | None
    text: str
    row: int


class About(NamedTuple):
    """What a row says of its recording, beyond events: `field` is one of `ABOUT`, or a column that was asked for."""

    recording: str | None
    field: str
    text: str
    row: int


ABOUT = ("id", "author", "licence", "source")
"""What label files may say of a recording and records keep."""


@dataclass(frozen=True)
class Labels:
    """The content of one label file.

    rows      its events, in the file's order
    without   recordings of which it says that they have no event
    unheard   recordings that it mentions, and of which nobody knows what is heard in them: left out, where absence is
              to mean absence too. None of them has rows here, or is known to have no event; what is unknown of them
              does not count as heard
    captions  sentences about whole recordings
    unit      what `row` counts: "row" is a line of the file
    tags      of which it says that they are heard somewhere in their seconds; offset infinity: to the recording's end
    unknown   stretches of which it says that nobody knows whether the label is heard: neither an event nor its absence;
              of a tag they may end at infinity
    about     what it says of recordings
    of        paths of the recording that the file as a whole is about, the likeliest first; rows without a recording
              are that one's. Empty: the file is called like its recording
    aliases   other names of recordings: {as rows have it: names to look for if that one is unknown}
    columns   {role: the column's name} of a table, in the order of the roles
    uploaded  names of recordings may be those that they got when they were uploaded
    header    the names of all columns of a table, or of all that is said of a recording
    domain    onset and offset of what the file describes, in seconds, if it says so
    notes     what was read otherwise than its author may think, with counts, for the report
    """

    rows: list[Row] = field(default_factory=list)
    without: list[Named] = field(default_factory=list)
    captions: list[Caption] = field(default_factory=list)
    unit: str = "row"
    unheard: list[Named] = field(default_factory=list)
    unknown: list[Row] = field(default_factory=list)
    tags: list[Row] = field(default_factory=list)
    about: list[About] = field(default_factory=list)
    of: tuple[str, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    domain: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    uploaded: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a user may say about label files.

    columns     role (filename, onset, offset, duration, label, ...) -> name in the header, or number from 1 on
    tier        of several tiers (ELAN, TextGrid, VIA) or namespaces (JAMS) the one to read; "all": every one
    unlabelled  the label of what has none; None: that is a fault
    encoding    of the text; None: by the byte order mark, UTF-8 without one
    unit        "s" or "ms": of numbers whose format or column's name says no unit
    keep        a column whose text is wanted of each recording: `Labels.about` has it under its name
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    tier: str | None = None
    unlabelled: str | None = None
    encoding: str | None = None
    unit: str = "s"
    keep: str | None = None


def fault(file: str, what: str, row: int | None = None, unit: str = "row") -> ValueError:
    """`what` says what is wrong, and the fix behind a colon."""
    return ValueError(f"{file}: {what}" if row is None else f"{file}: {unit} {row}: {what}")


def text_of(data: bytes, file: str, encoding: str | None = None) -> str:
    """The text without its byte order mark. ValueError for bytes that are none."""
    name = encoding or next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        text = data.decode(name).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        row = len(_LINE_END.findall(data[: error.start].decode("latin-1"))) + 1
        raise fault(
            file, f"not text in {name} ({error.reason}): save it as UTF-8, or say its encoding with --encoding", row
        ) from error
    except LookupError as error:
        raise fault(file, f"unknown encoding {name!r}: use a name like utf-8, utf-16, latin-1, cp1252") from error
    if "\0" in text:
        row = len(_LINE_END.findall(text[: text.index("\0")])) + 1
        raise fault(
            file, "holds a zero byte: no label file, or UTF-16 without its mark: save it as UTF-8, or --encoding", row
        )
    return text


def lines_of(text: str) -> list[str]:
    """Lines without their ends: LF, CRLF or CR, and nothing else that Unicode calls a line's end."""
    return _LINE_END.split(text)


def is_number(cell: str, comma: bool = False) -> bool:
    """A decimal number; with `comma` also one with a decimal comma."""
    cell = cell.strip()
    return bool(_NUMBER.fullmatch(cell) or (comma and _DECIMAL_COMMA.fullmatch(cell)))


def is_time(cell: str, comma: bool = False) -> bool:
    """A number, or hours, minutes and seconds: `1:02:03.5`, `02:03`."""
    return is_number(cell, comma) or _CLOCK.fullmatch(cell.strip()) is not None


def seconds(
    cell: object, file: str, row: int, name: str, unit: str = "row", comma: bool = False, scale: float = 1.0
) -> float:
    """A cell of a table or a number of JSON as a finite time. `scale`: seconds of one unit of a plain number (.001 for
    milliseconds); `1:02:03.5` and `02:03` are hours, minutes, seconds whatever it is."""
    value = math.nan
    if isinstance(cell, str) and is_number(cell, comma):
        value = float(cell.strip().replace(",", "."))
    elif isinstance(cell, str) and (clock := _CLOCK.fullmatch(cell.strip())):
        hours, minutes, rest = clock.groups()
        value, scale = 3600 * int(hours or 0) + 60 * int(minutes) + float(rest.replace(",", ".")), 1.0
    elif isinstance(cell, (int, float)) and not isinstance(cell, bool):
        try:
            value = float(cell)
        except OverflowError:
            value = math.inf
    if not math.isfinite(value):
        raise fault(file, f"{name} {_short(cell)} is not a number of seconds: mend the row, or remove it", row, unit)
    # Divided by a whole number, 1500 ms are 1.5 s to the last bit.
    return value if scale == 1.0 else value / round(1 / scale)


def event(
    recording: str | None,
    onset: float,
    offset: float,
    label: object,
    file: str,
    row: int,
    wanted: Wanted,
    unit: str = "row",
    channel: int | None = None,
    reversed_fix: str = "swap or mend them",
) -> Row:
    """A checked row. White space within the label becomes single spaces. `reversed_fix`: what to do about an offset
    before its onset."""
    if offset < onset:
        raise fault(file, f"the offset {offset} s lies before the onset {onset} s: {reversed_fix}", row, unit)
    if not math.isfinite(offset):  # of an onset and a duration, each a number
        raise fault(file, f"the offset {offset} s is not a time: mend the row, or remove it", row, unit)
    return Row(recording, onset, offset, phrase(label, file, row, wanted.unlabelled, unit), row, channel)


def phrase(label: object, file: str, row: int, unlabelled: str | None = None, unit: str = "row") -> str:
    """A label or caption: not empty, no control characters; letters that look alike are one (NFC)."""
    if not isinstance(label, str):
        raise fault(file, f"the label {_short(label)} is not text: mend the row", row, unit)
    label = label.replace("\ufeff", "")  # of a file that was pasted into another
    text = " ".join(unicodedata.normalize("NFC", label if label.strip() else unlabelled or "").split())
    if not text:
        raise fault(
            file, "has no label: write what is heard, remove it, or name all such rows with --unlabelled", row, unit
        )
    if not text.isprintable() and any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise fault(file, f"the label {_short(text)} holds control characters: mend the row", row, unit)
    return text


def parse_json(data: bytes, file: str, wanted: Wanted) -> Any:
    """JSON, with Python's NaN and infinity: in a field that is not read they do no harm, and no time may be one.
    ValueError that names the file, and the row where there is one."""
    text = text_of(data, file, wanted.encoding)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise fault(file, f"not JSON ({error.msg}): mend it, or write it again", error.lineno) from error
    except RecursionError as error:
        raise fault(file, "nested too deeply for a label file: write it again") from error
    except ValueError as error:
        raise fault(file, f"not JSON that can be read ({error}): mend it, or write it again") from error


def one_tier(names: list[str], wanted: Wanted, file: str, what: str = "tier") -> list[str]:
    """Which of the tiers with labels to read. ValueError if there are several and none was chosen."""
    if wanted.tier is not None and wanted.tier != ALL_TIERS:
        if wanted.tier not in names:
            raise fault(
                file, f"no labels in a {what} {wanted.tier!r}: it has {listed(sorted(names))}: choose with --tier"
            )
        return [wanted.tier]
    if len(set(names)) > 1 and wanted.tier is None:
        raise fault(
            file, f"has several {what}s, {listed(sorted(names))}: choose one with --tier, or --tier {ALL_TIERS}"
        )
    return names


def is_no_call(label: str) -> bool:
    return " ".join(label.replace("_", " ").split()).casefold() in NO_CALL


def filled(cell: str) -> str:
    """A cell, "" for what R, pandas and spreadsheets write into an empty one."""
    return "" if cell.strip() in NOTHING else cell


def without_no_calls(rows: list[Row]) -> tuple[list[Row], list[Named], tuple[str, ...]]:
    """(rows that are events, recordings of the others, a note): a stretch without a call is no event, but heard."""
    none = [row for row in rows if is_no_call(row.label)]
    note = (f"{len(none)} rows say that there is no call: heard, no events",) if none else ()
    return [row for row in rows if not is_no_call(row.label)], [Named(r.recording, r.row) for r in none], note


def only_unheard(named: Iterable[Named], heard: Iterable[Row | Named]) -> list[Named]:
    """`named` without recordings of which something is known, each once."""
    known = {r.recording for r in heard}
    return list({r.recording: r for r in named if r.recording not in known}.values())


def listed(names: Iterable[str]) -> str:
    """The first of some names, none of them long, for a message."""
    return ", ".join(_short(n) for n in list(dict.fromkeys(names))[:12]) or "none"


def _short(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
