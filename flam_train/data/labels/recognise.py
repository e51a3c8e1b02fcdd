"""Which format a label file is in, and why; or the one that is forced."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

from flam_train.data.labels import (
    audacity,
    birdnet,
    clip_json,
    elan,
    few_shot,
    htk,
    jams,
    json_lines,
    kaleidoscope,
    label_studio,
    raven,
    soft,
    sonic_visualiser,
    subrip,
    tables,
    tags,
    textgrid,
    tool_tables,
    via,
)
from flam_train.data.labels.answers import COLUMN, answers_of, judged
from flam_train.data.labels.answers import FORMATS as JUDGED
from flam_train.data.labels.rows import (
    Labels,
    Wanted,
    fault,
    is_time,
    lines_of,
    listed,
    parse_json,
    text_of,
    without_no_calls,
)

_TEXT = (".txt", ".tsv", ".csv", ".lab")


class Format(NamedTuple):
    """A parser, and how the names of its files end."""

    parse: Callable[[bytes, str, Wanted], Labels]
    suffixes: tuple[str, ...]


FORMATS = {
    "table": Format(tables.parse, _TEXT),
    "headerless": Format(tables.parse_headerless, _TEXT),
    "soft": Format(soft.parse, _TEXT),
    "tags": Format(tags.parse, _TEXT),
    "audacity": Format(audacity.parse, (".txt", ".tsv", ".lab")),
    "raven": Format(raven.parse, (".txt", ".tsv")),
    "jams": Format(jams.parse, (".jams", ".json")),
    "textgrid": Format(textgrid.parse, (".textgrid",)),
    "elan": Format(elan.parse, (".eaf",)),
    "clip_json": Format(clip_json.parse, (".json",)),
    "json_lines": Format(json_lines.parse, json_lines.SUFFIXES),
    "birdnet": Format(birdnet.parse, _TEXT),
    "kaleidoscope": Format(kaleidoscope.parse, _TEXT),
    "few_shot": Format(few_shot.parse, _TEXT),
    "sonic_visualiser": Format(sonic_visualiser.parse, (".svl", *_TEXT)),
    "label_studio": Format(label_studio.parse, (".json",)),
    "via": Format(via.parse, (".json", ".csv")),
    "subrip": Format(subrip.parse, (".srt", ".vtt", ".txt")),
    "htk": Format(htk.parse, (".lab", ".mlf", ".txt")),
}

SECONDS = ("elan", "jams", "label_studio", "raven", "subrip", "textgrid", "via")
"""Formats that say in which unit their times are."""

CHOSEN = {"filename", "onset", "offset", "duration"}
"""Roles of columns that Raven's tables do not leave open: where they are chosen, such a table is one like any other."""

_TOLD_BY = {
    "birdnet": birdnet.told_by,
    "kaleidoscope": kaleidoscope.told_by,
    "few_shot": few_shot.told_by,
    "sonic_visualiser": sonic_visualiser.told_by,
}
"""Formats whose tables have a header that no other has: they come before tables with any header."""

SUFFIXES = tuple(sorted({s for f in FORMATS.values() for s in f.suffixes}))

_JSON_LIST = re.compile(r"\[\s*[\]{]")


class Recognised(NamedTuple):
    """A format's name, and what it was told by."""

    format: str
    why: str


def recognise(data: bytes, file: str, wanted: Wanted | None = None) -> Recognised:
    """The format of a label file by its content. ValueError that says what was seen if it is none of them."""
    wanted = wanted or Wanted()
    suffix = PurePath(file).suffix.lower()
    if data.startswith(b"ooBinaryFile"):
        return Recognised("textgrid", "it begins with ooBinaryFile")
    text = text_of(data, file, wanted.encoding)
    head = text.lstrip()[:2000]
    if "ooTextFile" in head[:200]:
        return Recognised("textgrid", "it begins with ooTextFile")
    if head.startswith("<"):
        if "<ANNOTATION_DOCUMENT" in text:
            return Recognised("elan", "it is XML with an ANNOTATION_DOCUMENT")
        if sonic_visualiser.DOCTYPE in head or "<sv>" in head:
            return Recognised("sonic_visualiser", "it is XML with a layer of Sonic Visualiser, <sv>")
        raise fault(file, "XML that is not ELAN's or Sonic Visualiser's: give another format")
    if head.startswith("{") and json_lines.told_by(text, wanted):
        return Recognised("json_lines", "its first line is a JSON object that names times")
    if head.startswith("{"):
        return _of_json(data, file, wanted)
    if _JSON_LIST.match(head):
        if label_studio.is_export(parse_json(data, file, wanted)):
            return Recognised("label_studio", "it is a list of Label Studio's tasks")
        raise fault(file, "JSON that is a list, but not of Label Studio's tasks: give another format")
    if not head:
        if suffix in _TEXT:
            return Recognised("audacity", "it is empty: no labels")
        if suffix in json_lines.SUFFIXES:
            return Recognised("json_lines", "it is empty: no labels")
        raise fault(file, "is empty: write it again, or remove it")
    return _of_table(text, file, wanted)


def _of_json(data: bytes, file: str, wanted: Wanted) -> Recognised:
    raw = parse_json(data, file, wanted)
    if raw.keys() >= via.KEYS:
        return Recognised("via", f"its JSON has {', '.join(f'`{key}`' for key in sorted(via.KEYS))}")
    if label_studio.is_export(raw):
        return Recognised("label_studio", "its JSON is a task of Label Studio, with `data` and `annotations`")
    if "annotations" in raw:
        return Recognised("jams", "its JSON has `annotations`")
    for key in ("events", "tags", *clip_json.CAPTIONS):
        if key in raw and (key not in ("events", "tags") or isinstance(raw[key], list)):
            return Recognised("clip_json", f"its JSON has `{key}`")
    raise fault(file, f"JSON without annotations, events, tags or captions (it has {listed(raw)}): add them")


def _of_lines(text: str, first: str) -> Recognised | None:
    """Formats that are no tables, told by how they begin."""
    if first.strip() == htk.MLF:
        return Recognised("htk", f"it begins with {htk.MLF}")
    if first.startswith(subrip.VTT):
        return Recognised("subrip", f"it begins with {subrip.VTT}")
    if first.startswith("#") and via.CSV_HEADER in text[: tables.HEAD]:
        return Recognised("via", "a comment holds the header that VIA writes")
    if any(subrip.is_times(line) for line in lines_of(text[:2000])[:10]):
        return Recognised("subrip", "it has times like 00:00:01,000 --> 00:00:02,000")
    return None


def _of_table(text: str, file: str, wanted: Wanted) -> Recognised:
    first = next(line for line in lines_of(text) if line.strip())
    if (found := _of_lines(text, first)) is not None:
        return found
    if PurePath(file).suffix.lower() in (".srt", ".vtt"):
        return Recognised("subrip", "it is called like subtitles")
    if raven.separator_of(text, file) is not None and not CHOSEN & set(wanted.columns):
        return Recognised("raven", f"its header has {raven.BEGIN!r} and {raven.END!r}")
    header = tool_tables.header_of(text[: tables.HEAD])[2]
    for name, told_by in _TOLD_BY.items():
        if (why := told_by(header)) is not None:
            return Recognised(name, why)
    if (why := tags.told_by(header, wanted)) is not None:
        return Recognised("tags", why)
    separator = tables.separator_of(text, file, wanted, header=True)
    if separator is not None and tables.given_numbers(wanted) is None:
        return Recognised("table", f"its header names the times, separated by {tables.SEPARATORS[separator]}")
    separator = tables.separator_of(text, file, wanted, header=False)
    if separator is None:
        cells = first.split("\t")
        if len(cells) == 2 and is_time(cells[0], comma=True):
            return Recognised("audacity", "its rows are start, text, as Audacity 1.2 wrote them")
        if htk.is_line(first):
            return Recognised("htk", "its rows are start end label, separated by spaces")
        if first.startswith("\\"):
            return Recognised("audacity", "it begins with the frequencies of an Audacity label")
        raise fault(
            file,
            f"no label format is recognised in {first[:60]!r}: say it with --format {'|'.join(FORMATS)}, or name the "
            "columns with --columns",
            lines_of(text).index(first) + 1,
        )
    rows = tables.rows_of(text, separator, file)
    if tables.given_numbers(wanted):
        return Recognised("headerless", "--columns gives numbers")
    n, at = next((n, f) for n, cells in rows if (f := tables.by_position(cells, separator != ",")))
    names = " ".join(sorted(at, key=lambda role: at[role]))
    if "value" in at and soft.looks_soft(rows, separator != ","):
        return Recognised("soft", "onset, offset, label, value in adjoining segments of one length: soft labels")
    whole = PurePath(file).suffix.lower() == ".lab" and htk.in_units([cells for _, cells in rows])
    if whole and not {"filename", "value"} & set(at) and separator == "\t":
        return Recognised("htk", "its rows are start end label, in whole units of 100 ns")
    if not {"filename", "value"} & set(at) and separator == "\t":
        return Recognised(
            "audacity", f"row {n} is {names}, no header (URBAN-SED's, scaper's and sed_eval's look the same)"
        )
    return Recognised("headerless", f"row {n} is {names}, no header, separated by {tables.SEPARATORS[separator]}")


def as_written(data: bytes, file: str, wanted: Wanted, format: str | None = None) -> tuple[Labels, Recognised]:
    """All rows of a file, whatever a person has said of them."""
    found = Recognised(format, "--format says so") if format else recognise(data, file, wanted)
    return FORMATS[found.format].parse(data, file, wanted), found


def parse(data: bytes, file: str, wanted: Wanted | None = None, format: str | None = None) -> tuple[Labels, Recognised]:
    """The labels of a file of any format, or of the one that is forced; of judged rows those that are events."""
    wanted = wanted or Wanted()
    labels, found = as_written(data, file, wanted, format)
    answers = answers_of(data, file, wanted, found.format)
    if answers is not None:
        labels = judged(labels, answers, file)
    elif COLUMN in labels.columns:
        of = ", ".join(JUDGED)
        raise fault(file, f"--columns {COLUMN}=... is not read of {found.format}, only of a table with a header ({of})")
    rows, heard, note = without_no_calls(labels.rows)
    if heard:
        labels = replace(labels, rows=rows, without=[*labels.without, *heard], notes=(*labels.notes, *note))
    return labels, found
