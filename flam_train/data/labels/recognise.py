"""Which format a label file is in, and why; or the one that is forced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePath
from typing import NamedTuple

from flam_train.data.labels import audacity, clip_json, elan, jams, raven, soft, tables, textgrid
from flam_train.data.labels.rows import Labels, Wanted, fault, is_time, lines_of, parse_json, text_of, without_no_calls

_TEXT = (".txt", ".tsv", ".csv", ".lab")


class Format(NamedTuple):
    """A parser, and how the names of its files end."""

    parse: Callable[[bytes, str, Wanted], Labels]
    suffixes: tuple[str, ...]


FORMATS = {
    "table": Format(tables.parse, _TEXT),
    "headerless": Format(tables.parse_headerless, _TEXT),
    "soft": Format(soft.parse, _TEXT),
    "audacity": Format(audacity.parse, (".txt", ".tsv", ".lab")),
    "raven": Format(raven.parse, (".txt", ".tsv")),
    "jams": Format(jams.parse, (".jams", ".json")),
    "textgrid": Format(textgrid.parse, (".textgrid",)),
    "elan": Format(elan.parse, (".eaf",)),
    "clip_json": Format(clip_json.parse, (".json",)),
}

SUFFIXES = tuple(sorted({s for f in FORMATS.values() for s in f.suffixes}))


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
        raise fault(file, "XML that is not ELAN's: give another format")
    if head.startswith("{"):
        return _of_json(data, file, wanted)
    if not head:
        if suffix in _TEXT:
            return Recognised("audacity", "it is empty: no labels")
        raise fault(file, "is empty: write it again, or remove it")
    return _of_table(text, file, wanted)


def _of_json(data: bytes, file: str, wanted: Wanted) -> Recognised:
    raw = parse_json(data, file, wanted)
    if "annotations" in raw:
        return Recognised("jams", "its JSON has `annotations`")
    for key in ("events", *clip_json.CAPTIONS):
        if key in raw:
            return Recognised("clip_json", f"its JSON has `{key}`")
    raise fault(
        file, f"JSON without annotations, events or captions (it has {', '.join(list(raw)[:8])[:80]}): add them"
    )


def _of_table(text: str, file: str, wanted: Wanted) -> Recognised:
    first = next(line for line in lines_of(text) if line.strip())
    if raven.separator_of(text, file) is not None:
        return Recognised("raven", f"its header has {raven.BEGIN!r} and {raven.END!r}")
    separator = tables.separator_of(text, file, wanted, header=True)
    if separator is not None and tables.given_numbers(wanted) is None:
        return Recognised("table", f"its header names the times, separated by {tables.SEPARATORS[separator]}")
    separator = tables.separator_of(text, file, wanted, header=False)
    if separator is None:
        cells = first.split("\t")
        if len(cells) == 2 and is_time(cells[0], comma=True):
            return Recognised("audacity", "its rows are start, text, as Audacity 1.2 wrote them")
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
    if not {"filename", "value"} & set(at) and separator == "\t":
        return Recognised(
            "audacity", f"row {n} is {names}, no header (URBAN-SED's, scaper's and sed_eval's look the same)"
        )
    return Recognised("headerless", f"row {n} is {names}, no header, separated by {tables.SEPARATORS[separator]}")


def parse(data: bytes, file: str, wanted: Wanted | None = None, format: str | None = None) -> tuple[Labels, Recognised]:
    """The labels of a file of any format, or of the one that is forced."""
    wanted = wanted or Wanted()
    found = Recognised(format, "--format says so") if format else recognise(data, file, wanted)
    labels = FORMATS[found.format].parse(data, file, wanted)
    rows, heard, note = without_no_calls(labels.rows)
    if heard:
        labels = replace(labels, rows=rows, without=[*labels.without, *heard], notes=(*labels.notes, *note))
    return labels, found
